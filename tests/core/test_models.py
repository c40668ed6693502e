"""What a model behind the reasoner may do, and for how long: its options, its caps, its breaker,
its measured trust, and what it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from tests.core.crew_stage import ALL, briefing, job, lost, node, signal, snapshot, told

from watchkeeper.core.action import TicketOpen, kind_of
from watchkeeper.core.cluster import RayState
from watchkeeper.core.crew import Briefing, CrewReply
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Trust, lowest
from watchkeeper.core.model import ModelAsk, ModelCall, ModelFailed, ModelReply, Scored
from watchkeeper.core.redact import redact
from watchkeeper.core.verdict import Decision
from watchkeeper.remedy.runbook import RUNBOOKS, runbook_of
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.models.belt import NAMES
from watchkeeper_agents.models.pages import prompt, runbook, tool_says
from watchkeeper_agents.models.reasoner import ModelReasoner
from watchkeeper_agents.models.settings import (
    AGENTS,
    BreakerSettings,
    Cap,
    Caps,
    Seat,
    TrustSettings,
    UseOfModels,
)
from watchkeeper_agents.models.spending import Breaker, Purse
from watchkeeper_agents.models.trust import brier, promotion, reliability, standings, strategy

Says = Callable[[ModelAsk], Any]


def said(option: str, confidence: float = 0.8, **more: Any) -> dict[str, Any]:
    return {
        "option": option,
        "confidence": confidence,
        "why": "w",
        "causes": [],
        "checks": [],
    } | more


class Fake:
    """A model that says what it is told to, and remembers what it was asked."""

    def __init__(self, says: Says, name: str = "fake") -> None:
        self.says, self.name = says, name
        self.asked: list[ModelAsk] = []

    def price(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in + tokens_out) / 1e6

    def call(self, ask: ModelAsk) -> ModelReply:
        self.asked.append(ask)
        answer = self.says(ask)
        if isinstance(answer, ModelReply):
            return answer
        return ModelReply(text=json.dumps(answer), tokens_in=500, tokens_out=50, took_s=1.0)


def crew_of(model: Fake, use: UseOfModels | None = None, **more: Any) -> LangGraphCrew:
    seats = {"remediation": Seat(model="m", hold_s=300.0, recoveries=True)}
    return LangGraphCrew(
        reasoner=ModelReasoner(use or UseOfModels(seats=seats), {"m": model}, **more)
    )


def at(steady: float, **over: Any) -> Briefing:
    seen = snapshot(node("train-01"), node("train-02", RayState.DEAD), jobs=(job(),), steady=steady)
    return briefing(seen, lost("train-02"), **over)


def kinds(reply: CrewReply) -> list[str]:
    return [kind_of(d.action) for d in reply.drafts]


# How far its word reaches.


@pytest.mark.parametrize("option", ["wait", "ticket", "escalate"])
def test_a_model_holds_a_step_back_for_its_time_and_then_the_rules_go_on(option: str) -> None:
    model = Fake(lambda _: said(option))
    crew = crew_of(model)
    first = crew.ask(at(100.0))
    assert "node.restart" not in kinds(first)
    results = tuple(told(d, "outcome", "recovered", ident="") for d in first.drafts)
    assert kinds(crew.ask(at(105.0, results=results))) == []
    assert kinds(crew.ask(at(390.0))) == []
    assert kinds(crew.ask(at(401.0))) == ["node.restart"]
    assert len(model.asked) == 1, "the same question is asked once"


def test_a_ticket_says_what_is_known_what_comes_next_and_where_to_read_on() -> None:
    checks = [s.id for s in runbook("node_lost").steps[:1]]  # type: ignore[union-attr]
    cause = {"id": "h1", "status": "supported", "because": ["e1"]}
    crew = crew_of(Fake(lambda _: said("ticket", checks=checks, causes=[cause])))
    (draft,) = crew.ask(at(100.0)).drafts
    assert isinstance(draft.action, TicketOpen)
    body = draft.action.body
    assert "Seen: node.dead on node:train-02 by ray" in body
    assert "the raylet process died: supported, 0.95 (two sources)" in body
    assert "Next by the rules, in 300 s, if policy allows it: Restart train-02." in body
    assert "docs/runbooks/node-lost.md (derived, not vendor guidance)" in body
    assert "A model's advice, which decides nothing: fake chose ticket" in body
    assert "It would look first at docs/runbooks/node-lost.md: 1. Confirm the death" in body


def test_the_ladders_own_escalation_tells_what_the_model_had_said() -> None:
    crew = crew_of(Fake(lambda _: said("step", why="Two instruments agree, 77 do not.")))
    steady, results, end = 100.0, (), None
    for turn in range(12):
        reply = crew.ask(at(steady, results=results))
        end = next((c for c in reply.conclusions if c.end == "escalated"), None)
        if end is not None:
            break
        results = tuple(told(d, "outcome", "failed", ident=f"P-{turn}") for d in reply.drafts)
        steady += 600.0
    assert end is not None
    assert "fake chose node.restart" in end.advice
    assert "Two instruments agree" in end.advice
    assert "77" not in end.advice


def test_a_fence_is_the_gentler_step_where_the_ladder_would_drain() -> None:
    incident = lost(
        "train-02",
        fault="gpu_memory",
        signals=(
            signal("xid.95", "gpu:train-02/0", "kernel-log", Trust.KERNEL),
            signal("ecc.dbe", "gpu:train-02/0", "nvml", Trust.DRIVER),
        ),
    )
    seen = snapshot(node("train-01"), node("train-02"), jobs=(), fenced=("train-02",))
    model = Fake(lambda _: said("gentler"))
    serves = ALL | {"gpu.reset", "node.reboot"}
    crew_of(model).ask(briefing(seen, incident, serves=serves))
    offered = model.asked[0].answer["properties"]["option"]["enum"] if model.asked else []
    assert "gentler" not in offered, "what is fenced already cannot be fenced instead"


def test_what_policy_refused_of_a_model_is_the_rules_next_time() -> None:
    model = Fake(lambda _: said("step"))
    crew = crew_of(model)
    (draft,) = crew.ask(at(100.0)).drafts
    assert draft.chosen is not None
    denied = told(draft, "verdict", "deny", refused_by="policy")
    crew.ask(at(105.0, results=(denied,)))
    (again,) = crew.ask(at(500.0)).drafts
    assert (kind_of(again.action), again.chosen) == ("node.restart", None)


def test_confidence_and_evidence_of_a_draft_stay_those_of_the_record() -> None:
    (draft,) = crew_of(Fake(lambda _: said("step", 0.01))).ask(at(100.0)).drafts
    assert draft.confidence == 0.95
    assert draft.by == "agent:remediation"
    assert draft.chosen is not None
    assert draft.chosen.confidence == 0.01


def test_only_classes_that_it_has_a_seat_for_are_asked_about() -> None:
    model = Fake(lambda _: said("wait"))
    use = UseOfModels(
        seats={"remediation": Seat(model="m", classes=("gpu_memory",), recoveries=True)}
    )
    assert kinds(crew_of(model, use).ask(at(100.0))) == ["node.restart"]
    assert model.asked == []


def test_without_any_seat_nothing_is_asked_and_nothing_is_written() -> None:
    model = Fake(lambda _: said("wait"))
    reply = crew_of(model, UseOfModels(seats={"scheduler": Seat(model="m")})).ask(at(100.0))
    assert kinds(reply) == ["node.restart"]
    assert (reply.calls, model.asked) == ((), [])


# It is asked beside the turn.


class Slow:
    """A pool whose work ends when the test says so."""

    def __init__(self) -> None:
        self.work: list[tuple[Callable[[], Any], Future[Any]]] = []

    def __call__(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self.work.append((work, future))
        return future

    def finish(self) -> None:
        for work, future in self.work:
            future.set_result(work())


def test_a_turn_never_waits_for_an_answer_and_takes_it_when_it_is_there() -> None:
    slow = Slow()
    crew = crew_of(Fake(lambda _: said("step")), run=slow)
    first = crew.ask(at(100.0))
    assert (kinds(first), first.calls) == ([], ())
    slow.finish()
    reply = crew.ask(at(106.0))
    assert kinds(reply) == ["node.restart"]
    assert [c.ended for c in reply.calls] == ["answered"]


def test_an_answer_that_comes_too_late_counts_for_nothing_and_the_rules_go_on() -> None:
    slow = Slow()
    crew = crew_of(Fake(lambda _: said("wait")), run=slow)
    crew.ask(at(100.0))
    assert kinds(crew.ask(at(120.0))) == []
    reply = crew.ask(at(131.0))
    assert kinds(reply) == ["node.restart"]
    assert [c.ended for c in reply.calls] == ["late"]


def test_in_a_burst_what_is_too_much_for_the_model_is_the_rules() -> None:
    model, slow = Fake(lambda _: said("wait")), Slow()
    names = [f"train-{n:02d}" for n in range(2, 42)]
    seen = snapshot(*(node(n, RayState.DEAD) for n in names), steady=100.0)
    incidents = [lost(n, ident=f"INC-{i}", jobs=()) for i, n in enumerate(names, 1)]
    crew_of(model, run=slow).ask(briefing(seen, *incidents))
    assert len(slow.work) == 16


def test_thinking_is_no_failure() -> None:
    reasoner = ModelReasoner(
        UseOfModels(seats={"remediation": Seat(model="m", recoveries=True)}),
        {"m": Fake(lambda _: said("step"))},
        Slow(),
    )
    crew = LangGraphCrew(reasoner=reasoner)
    assert not crew.ask(at(100.0)).thoughts


# What it may cost.


def call(
    steady: float = 0.0, about: str = "INC-1", ended: str = "answered", **more: Any
) -> ModelCall:
    words: dict[str, Any] = {
        "agent": "remediation", "model": "fake", "prompt": "p", "asked": "a", "tokens_in": 100,
        "tokens_out": 10, "took_s": 2.0, "cost": 0.01, "fault": "node_lost", "kind": "node.restart",
    }  # fmt: skip
    return ModelCall(about=about, ended=ended, steady=steady, **(words | more))


WIDE = Cap(calls=99, tokens=10**6, seconds=1e6, money=1e6)


@pytest.mark.parametrize(
    ("cap", "says"),
    [
        (Cap(calls=2, tokens=10**6, seconds=1e6, money=1e6), "2 calls"),
        (Cap(calls=99, tokens=300, seconds=1e6, money=1e6), "300 tokens"),
        (Cap(calls=99, tokens=10**6, seconds=4.0, money=1e6), "4 s of answering"),
        (Cap(calls=99, tokens=10**6, seconds=1e6, money=0.025), "0.025 of money"),
    ],
    ids=["calls", "tokens", "seconds", "money"],
)
def test_each_cap_ends_the_asking_for_the_incident_and_for_the_day(cap: Cap, says: str) -> None:
    for caps, where in ((Caps(incident=cap, day=WIDE), "incident"), (Caps(WIDE, cap), "day")):
        purse = Purse(caps)
        assert purse.shut("INC-1", 10.0, 100, 0.01) == ""
        purse.spend(call(1.0))
        purse.spend(call(2.0))
        assert says in purse.shut("INC-1", 10.0, 100, 0.01)
        assert where in purse.shut("INC-1", 10.0, 100, 0.01)
        assert (purse.shut("INC-2", 10.0, 100, 0.01) == "") is (where == "incident")


def test_s28_a_day_ends_by_the_watchs_own_clock_and_a_restart_refills_nothing() -> None:
    caps = Caps(incident=WIDE, day=Cap(calls=1, tokens=10**6, seconds=1e6, money=1e6))
    purse = Purse(caps)
    purse.spend(call(1000.0))
    assert purse.shut("INC-2", 1000.0 + 86399.0, 10, 0.0)
    assert purse.shut("INC-2", 1000.0 + 86400.0, 10, 0.0) == ""
    model = Fake(lambda _: said("wait"))
    use = UseOfModels(seats={"remediation": Seat(model="m", recoveries=True)}, caps=caps)
    reply = crew_of(model, use, past=(call(90.0),)).ask(at(100.0))
    assert (kinds(reply), model.asked) == (["node.restart"], [])
    assert "the day's cap of 1 calls is reached" in reply.thoughts[0].text


def test_the_breaker_opens_after_failures_doubles_its_pause_and_tries_once() -> None:
    breaker = Breaker(BreakerSettings(failures=2, pause_s=60.0, longest_s=100.0))
    breaker.hear(call(0.0, ended="timeout"))
    assert breaker.shut(0.0) == ""
    breaker.hear(call(1.0, ended="malformed"))
    assert "2 times in a row" in breaker.shut(2.0)
    assert breaker.shut(61.0) == ""
    assert "tried again" in breaker.shut(61.0)
    breaker.hear(call(61.0, ended="late"))
    assert breaker.shut(160.0)
    assert breaker.shut(161.5) == ""
    breaker.hear(call(162.0))
    assert breaker.shut(163.0) == ""


def test_a_model_that_fails_is_left_alone_and_the_rules_go_on() -> None:
    def fails(_: ModelAsk) -> Any:
        raise ModelFailed("timeout", "no answer")

    model = Fake(fails)
    crew = crew_of(model)
    names = [f"train-{n:02d}" for n in range(2, 8)]
    seen = snapshot(*(node(n, RayState.DEAD) for n in names), steady=100.0)
    incidents = [lost(n, ident=f"INC-{i}", jobs=()) for i, n in enumerate(names, 1)]
    crew.ask(briefing(seen, *incidents))
    assert len(model.asked) == 3, "three failures open the breaker"


def test_s28_a_model_that_rests_rests_on_after_a_restart() -> None:
    def down(_: ModelAsk) -> Any:
        raise ModelFailed("unreachable", "hung up")

    names = [f"train-{n:02d}" for n in range(2, 8)]
    seen = snapshot(*(node(n, RayState.DEAD) for n in names), steady=100.0)
    incidents = [lost(n, ident=f"INC-{i}", jobs=()) for i, n in enumerate(names, 1)]
    calls = crew_of(Fake(down)).ask(briefing(seen, *incidents)).calls
    again = Fake(lambda _: said("step"))
    seats = UseOfModels(seats={"remediation": Seat(model="m", recoveries=True)})
    crew_of(again, seats, past=calls).ask(briefing(seen, *incidents))
    assert again.asked == []


# How far it is believed.


def scored(confidence: float, happened: bool, n: int = 1, **more: Any) -> list[Scored]:
    words: dict[str, Any] = {
        "agent": "remediation", "model": "fake", "fault": "node_lost", "kind": "node.restart",
        "steady": 0.0,
    }  # fmt: skip
    return [Scored(confidence=confidence, happened=happened, **(words | more)) for _ in range(n)]


def test_brier_and_reliability_are_the_textbooks() -> None:
    assert brier(scored(1.0, True, 3)) == 0.0
    assert brier([*scored(0.5, True), *scored(0.5, False)]) == 0.25
    assert brier([]) is None
    bars = reliability([*scored(0.95, True, 3), *scored(0.95, False), *scored(0.1, False)])
    assert [(b.said, b.true, b.of) for b in bars] == [(0.1, 0.0, 1), (0.95, 0.75, 4)]


GOOD = scored(0.9, True, 8)


@pytest.mark.parametrize(
    ("scores", "who"),
    [
        pytest.param([], "model", id="unknown yet"),
        pytest.param(GOOD, "model", id="good"),
        pytest.param(scored(0.9, False, 3), "rules", id="three sure and wrong in a row, at once"),
        pytest.param([*GOOD, *scored(0.9, False, 3)], "rules", id="however good it was before"),
        pytest.param(scored(0.5, False, 3), "model", id="unsure and wrong is no lie"),
        pytest.param([*scored(0.9, False, 4), *scored(0.9, True, 4)], "rules", id="Brier 0.41"),
        pytest.param(scored(0.9, True, 8, took_s=40.0), "rules", id="too slow"),
        pytest.param(scored(0.9, True, 8, cost=3.0), "rules", id="too dear"),
        pytest.param(
            [*scored(0.6, True, 6), *scored(0.6, False, 2), *scored(1.0, True, 9, model="rules")],
            "rules",
            id="the rules do better",
        ),
        pytest.param(scored(0.9, False, 3, steady=-31 * 86400.0), "model", id="a month ago"),
        pytest.param(scored(0.5, False, 9, fault="nvlink"), "model", id="of another class"),
        pytest.param(
            scored(0.9, False, 3, fault="nvlink"), "rules", id="sure and wrong on another class"
        ),
        pytest.param(scored(0.9, False, 9, model="other"), "model", id="of another model"),
        pytest.param(scored(0.9, False, 9, agent="scheduler"), "model", id="of another agent"),
    ],
)
def test_rules_or_model_by_class_of_incident_on_measured_results(
    scores: list[Scored], who: str
) -> None:
    settings = TrustSettings()
    found = strategy(scores, "remediation", "fake", "node_lost", 10.0, settings)
    assert found.who == who, found.why
    again = strategy(scores, "remediation", "fake", "node_lost", 10.0, settings)
    assert found == again


def test_a_demoted_model_is_not_asked_and_the_log_says_why() -> None:
    model = Fake(lambda _: said("wait"))
    reply = crew_of(model).ask(replace(at(100.0), scores=tuple(scored(0.9, False, 3))))
    assert (kinds(reply), model.asked) == (["node.restart"], [])
    assert (
        "not asked about node_lost: its last 3 words on this class were sure and wrong"
        in reply.thoughts[0].text
    )


def drafted(scores: list[Scored]) -> str:
    (own,) = standings(scores, 1.0, TrustSettings())
    made = promotion(scores, own, TrustSettings())
    return "" if made is None else made.text


def test_rising_trust_only_drafts_a_rule_in_shadow() -> None:
    text = drafted(scored(0.95, True, 40))
    assert "mode: shadow" in text
    assert 'proposal.model == "fake"' in text
    assert "actions: [node.restart]" in text


@pytest.mark.parametrize(
    "scores",
    [
        pytest.param([*scored(0.9, True, 30), *scored(0.9, False, 10)], id="a quarter wrong"),
        pytest.param(scored(0.95, True, 9), id="too few"),
        pytest.param(scored(0.95, True, 40, kind="node.replace"), id="not to be taken back"),
        pytest.param(scored(0.95, True, 40, agent="planner"), id="who asks for nothing itself"),
    ],
)
def test_no_other_record_drafts_anything(scores: list[Scored]) -> None:
    assert drafted(scores) == ""


def test_a_planners_model_is_held_to_what_the_rules_steps_of_any_agent_came_to() -> None:
    mine = [*scored(0.6, True, 6, agent="planner"), *scored(0.6, False, 2, agent="planner")]
    theirs = scored(1.0, True, 9, model="rules")
    found = strategy([*mine, *theirs], "planner", "fake", "node_lost", 10.0, TrustSettings())
    assert found.who == "rules", found.why


# What it is told.


def test_a_case_holds_no_name_of_the_cluster() -> None:
    model = Fake(lambda _: said("step"))
    crew_of(model).ask(at(100.0))
    sent = " ".join(s.text for s in model.asked[0].said[1:])
    assert "train" not in sent
    assert "llm" not in sent
    facts = json.loads(model.asked[0].said[1].text)
    assert (facts["fault"], facts["label"], facts["sources"]) == ("node_lost", "ray", 2)
    assert [g["id"] for g in facts["gangs"]] == ["gang-1"]
    assert facts["options"][0]["says"] == "node.restart of node-1"


def test_what_policy_would_say_is_told_where_somebody_can_say_it() -> None:
    model = Fake(lambda _: said("step"))
    crew_of(model).ask(replace(at(100.0), would=lambda _a, _i: Decision.ASK))
    facts = json.loads(model.asked[0].said[1].text)
    assert facts["options"][0]["policy"] == "ask"


def test_a_label_is_the_lowest_of_what_it_rests_on_and_tenants_words_come_last() -> None:
    assert lowest([Trust.KERNEL, Trust.RAY, Trust.DRIVER]) == "ray"
    assert lowest([Trust.KERNEL, Trust.JOB_LOG]) == "job_log"
    assert lowest([Trust.FORECAST, Trust.SCHEDULER]) == "forecast"
    assert lowest([]) == ""


@pytest.mark.parametrize("name", [*AGENTS, "tools", "mcp"])
def test_every_prompt_has_a_version_and_is_named_by_what_it_says(name: str) -> None:
    page = prompt(name)
    assert page.id.startswith(f"{name}@")
    assert len(page.id.rpartition(" ")[2]) == 8
    assert "version" not in page.text.splitlines()[0]


@pytest.mark.parametrize("fault", list(Fault), ids=str)
def test_every_class_of_fault_has_one_runbook_with_numbered_steps(fault: Fault) -> None:
    page = runbook(fault.value)
    assert page is not None
    assert sum(fault in faults for faults in RUNBOOKS.values()) == 1
    assert runbook_of(fault.value) == page.name
    assert [s.id for s in page.steps] == [f"r{n}" for n in range(1, len(page.steps) + 1)]
    assert len(page.steps) >= 5


def test_every_tool_is_described_in_a_file() -> None:
    assert all(len(tool_says(name)) > 20 for name in NAMES)


@pytest.mark.parametrize(
    "secret",
    [
        "password=hunter2hunter2",
        "https://user:pa55word@host/",
        "Authorization: Bearer abcdefgh12345678",
        "AKIAABCDEFGHIJKLMNOP",
        "sk-abcdefghijklmnop1234",
        "ghp_abcdefghijklmnop1234",
        '"api_key": "0123456789"',
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n-----END RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1.eyJzdWIiOiIx.c2lnbmF0dXJl",
    ],
)
def test_a_secret_is_taken_out_of_text(secret: str) -> None:
    cleaned = redact(f"before {secret} after")
    assert "[redacted]" in cleaned
    assert cleaned.startswith("before ")
    for part in ("hunter2", "pa55word", "abcdefgh12345678", "0123456789", "MIIE", "c2lnbm"):
        assert part not in cleaned


def test_text_without_secrets_stays_as_it_is() -> None:
    text = "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus. tokens: 12"
    assert redact(text) == text


def test_a_step_that_only_gives_back_is_not_put_to_a_model() -> None:
    model = Fake(lambda _: said("wait"))
    use = UseOfModels(seats={"remediation": Seat(model="m")})
    assert kinds(crew_of(model, use).ask(at(100.0))) == ["node.restart"]
    assert model.asked == [], "a restart of what is dead takes nothing away"
