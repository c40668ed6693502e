"""What an agent makes of a refusal: what only a person can change goes to a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.core.crew_stage import briefing, ends, kinds, lost, node, snapshot, told
from tests.core.policy_case import DRAIN

from watchkeeper.core.cluster import RayState
from watchkeeper.core.crew import CrewReply, StepResult
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.hearing import _refused, hear
from watchkeeper_agents.words import CrewSettings, Memory


@pytest.mark.parametrize(
    ("refused_by", "escalates"),
    [("limit", True), ("budget", True), ("error", True), ("policy", False), ("default", False)],
)
def test_a_spent_limit_or_budget_escalates_and_a_rule_is_waited_out(
    refused_by: str, escalates: bool
) -> None:
    result = StepResult(
        thread="INC-1",
        proposal="P-1",
        action=DRAIN,
        kind="verdict",
        value="deny",
        says="no",
        refused_by=refused_by,
    )
    memory, move = _refused(Memory(), result, "Drain train-01", 0.0, "looks", CrewSettings())
    assert (move is not None and move.end == "escalated") is escalates
    assert (memory.quiet_until is not None) is not escalates


@pytest.mark.parametrize(
    ("refused_by", "waits"), [("limit", True), ("budget", False), ("error", False)]
)
def test_a_limit_is_waited_for_while_people_are_called_for_a_domain_that_fills_it(
    refused_by: str, waits: bool
) -> None:
    crew, down = LangGraphCrew(), {"power_feed:f1": frozenset({"node_lost"})}

    def ask(
        steady: float, out: int, results: tuple[StepResult, ...] = (), is_down: Any = down
    ) -> CrewReply:
        nodes = [
            node(f"train-0{i}", RayState.DEAD if i <= out else RayState.ALIVE) for i in range(1, 5)
        ]
        seen = snapshot(*nodes, steady=steady)
        told_of = briefing(seen, lost("train-01", jobs=()), results=results)
        return crew.ask(replace(told_of, down=is_down))

    (draft,) = ask(100.0, 3).drafts
    no = told(draft, "verdict", "deny", refused_by=refused_by)
    assert ends(ask(101.0, 3, (no,))) == {"INC-1": "waiting" if waits else "escalated"}
    if not waits:
        return
    assert kinds(ask(140.0, 3)) == [], "none of them is back"
    (again,) = ask(150.0, 1).drafts
    late = told(again, "verdict", "deny", "P-2", refused_by=refused_by)
    assert ends(ask(160.0, 1, (late,), {})) == {"INC-1": "escalated"}, "it is over"


def test_what_a_halt_refused_is_no_answer_and_the_thread_thinks_on() -> None:
    told = StepResult(
        thread="INC-1",
        proposal="P-1",
        action=DRAIN,
        kind="verdict",
        value="halted",
        refused_by="invariant",
        reason_ids=("S9",),
    )
    memory, move = hear(Memory(), told, 0.0, "looks", CrewSettings())
    assert move is None
    assert memory.quiet_until is None
    assert memory.attempts == (told,)


def test_what_was_refused_for_others_that_are_out_is_asked_again_soon_after_one_is_back() -> None:
    crew = LangGraphCrew()

    def ask(steady: float, *out: str, results: tuple[StepResult, ...] = ()) -> list[str]:
        nodes = [
            node(n, RayState.DEAD if n in ("train-02", *out) else RayState.ALIVE)
            for n in ("train-01", "train-02", "train-03", "train-04")
        ]
        seen = snapshot(*nodes, steady=steady)
        return kinds(crew.ask(briefing(seen, lost("train-02", jobs=()), results=results)))

    (draft,) = crew.ask(
        briefing(
            snapshot(*(node(f"train-0{i}", RayState.DEAD) for i in (1, 2, 3))),
            lost("train-02", jobs=()),
        )
    ).drafts
    no = told(draft, "verdict", "deny", refused_by="invariant", reason_ids=("S2",))
    assert ask(101.0, "train-01", "train-03", results=(no,)) == []
    for later in range(102, 200, 7):
        assert ask(float(later), "train-01", "train-03") == [], "nothing has changed"
    assert ask(200.0, "train-01", "train-03", "train-04") == [], "more are out: no better"
    assert ask(202.0, "train-01") == ["node.restart"], "one of them is back"


def test_a_pool_that_comes_back_node_by_node_is_not_asked_about_at_each() -> None:
    crew = LangGraphCrew()
    names = [f"train-{i:02}" for i in range(1, 21)]
    asked = 0
    results: tuple[StepResult, ...] = ()
    for second in range(60):
        back = names[2 : 2 + second // 3]  # every three seconds one more is back
        nodes = [node(n, RayState.ALIVE if n in back else RayState.DEAD) for n in names]
        seen = snapshot(*nodes, steady=100.0 + second)
        reply = crew.ask(briefing(seen, lost("train-02", jobs=()), results=results))
        results = ()
        if reply.drafts:
            asked += 1
            results = (
                told(
                    reply.drafts[0],
                    "verdict",
                    "deny",
                    f"P-{asked}",
                    refused_by="invariant",
                    reason_ids=("S2",),
                ),
            )
    assert asked == 2
