"""The crew over turns, as control sees it: drafts, one result each, ends, and what it survives."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from tests.core.crew_stage import (
    ALL,
    AT,
    DEAD,
    FORECAST,
    FULL,
    briefing,
    ends,
    job,
    kinds,
    lost,
    many,
    node,
    short,
    signal,
    snapshot,
    told,
    waits,
    want,
)

from watchkeeper.core.action import NodeCordon, kind_of
from watchkeeper.core.cluster import (
    Job,
    JobState,
    RayState,
)
from watchkeeper.core.crew import CrewReply, PastStep
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.incident import Incident, IncidentState, Trust
from watchkeeper.core.telemetry import Snapshot
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.words import CrewSettings


@pytest.fixture(params=["kept by a saver", "in memory only"])
def crew(request: pytest.FixtureRequest) -> LangGraphCrew:
    kept = request.param == "kept by a saver"
    return LangGraphCrew(saver=InMemorySaver() if kept else None)


def test_a_lost_node_is_restarted_checked_opened_and_its_gang_requeued(
    crew: LangGraphCrew,
) -> None:
    first = crew.ask(briefing(DEAD, lost("train-02")))
    (restart,) = first.drafts
    assert kinds(first) == ["node.restart"]
    assert [kind_of(a) for a in restart.plan] == ["check.run", "node.uncordon", "job.requeue"]
    assert restart.effect.predicate == "node.alive"
    assert restart.evidence == tuple(s.id for s in lost("train-02").signals)
    assert "2 independent sources, confidence 0.95" in restart.reason
    assert restart.if_ignored == "train-02 stays out with its 8 GPUs. llm may stay stopped."

    asleep = crew.ask(briefing(DEAD, lost("train-02"), busy=("INC-1",)))
    assert asleep == CrewReply()

    again = node("train-02", incarnation="inc-new")
    back = snapshot(node("train-01"), again, jobs=(job(),), fenced=("train-02",))
    check = crew.ask(
        briefing(back, lost("train-02"), results=(told(restart, "outcome", "recovered"),))
    )
    assert kinds(check) == ["check.run"]
    uncordon = crew.ask(
        briefing(
            back,
            lost("train-02"),
            results=(told(check.drafts[0], "outcome", "recovered", "P-2"),),
            checked={"train-02": "inc-new"},
        )
    )
    assert kinds(uncordon) == ["node.uncordon"]
    opened = snapshot(node("train-01"), again, jobs=(job(),))
    requeue = crew.ask(
        briefing(
            opened,
            lost("train-02"),
            results=(told(uncordon.drafts[0], "outcome", "recovered", "P-3"),),
            checked={"train-02": "inc-new"},
        )
    )
    assert kinds(requeue) == ["job.requeue"]
    running = snapshot(
        node("train-01"), again, jobs=(job(state=JobState.RUNNING, attempt_id="a2", step=41),)
    )
    done = crew.ask(
        briefing(
            running,
            lost("train-02"),
            results=(told(requeue.drafts[0], "outcome", "recovered", "P-4"),),
            checked={"train-02": "inc-new"},
        )
    )
    assert ends(done) == {"INC-1": "resolved"}


def test_the_log_hears_the_diagnosis_once(crew: LangGraphCrew) -> None:
    said = [t.text for t in crew.ask(briefing(DEAD, lost("train-02"))).thoughts]
    assert said == [
        "train-02 is lost. The raylet process died: 0.95. Network partition: refuted, because "
        "the provider sees no process. Next: Restart train-02."
    ]
    assert crew.ask(briefing(DEAD, lost("train-02"))).thoughts == ()


@pytest.mark.parametrize(
    ("kind", "value", "over", "end", "asks_again_after_s"),
    [
        pytest.param("answer", "not_now", {}, "waiting", 901, id="not now asks again later"),
        pytest.param("answer", "deny", {"says": "Not tonight."}, "escalated", None, id="no"),
        pytest.param("answer", "expired", {}, "draft", None, id="nobody answered: ask once more"),
        pytest.param(
            *("answer", "expired", {"refused_by": "silence"}, "escalated", None),
            id="nobody answered, which the orders call a no",
        ),
        pytest.param(
            "verdict", "deny", {"refused_by": "policy"}, "waiting", 301, id="the policy says no"
        ),
        pytest.param(
            "verdict", "deny", {"refused_by": "dial"}, "waiting", 301, id="the dial is at observe"
        ),
        pytest.param(
            "verdict", "deny", {"refused_by": "limit"}, "escalated", None, id="a limit is used up"
        ),
        pytest.param(
            "verdict",
            "deny",
            {"refused_by": "invariant", "reason_ids": ("S20",)},
            "escalated",
            None,
            id="S20 too many repairs of one node",
        ),
        pytest.param(
            "verdict",
            "deny",
            {"refused_by": "invariant", "reason_ids": ("S27",)},
            "waiting",
            301,
            id="another step holds the domain",
        ),
        pytest.param("outcome", "refused", {}, "draft", None, id="the world moved: ask anew"),
        pytest.param("answer", "void", {}, "draft", None, id="the approval lapsed: ask anew"),
    ],
)
def test_what_a_result_leads_to(
    crew: LangGraphCrew,
    kind: str,
    value: str,
    over: dict[str, Any],
    end: str,
    asks_again_after_s: float | None,
) -> None:
    (draft,) = crew.ask(briefing(DEAD, lost("train-02"))).drafts
    result = told(draft, kind, value, **over)
    reply = crew.ask(briefing(DEAD, lost("train-02"), results=(result,)))
    if end == "draft":
        assert kinds(reply) == ["node.restart"]
        return
    assert ends(reply) == {"INC-1": end}
    assert not reply.drafts
    if asks_again_after_s is None:
        return
    nearly = _later(DEAD, asks_again_after_s - 10)
    assert kinds(crew.ask(briefing(nearly, lost("train-02")))) == []
    later = _later(DEAD, asks_again_after_s)
    assert kinds(crew.ask(briefing(later, lost("train-02")))) == ["node.restart"]


def _later(seen: Snapshot, by: float) -> Snapshot:
    return Snapshot(
        at=seen.at, steady=seen.steady + by, state=seen.state, frame=seen.frame,
        sources=seen.sources,
    )  # fmt: skip


def test_a_refusal_lasts_only_until_the_evidence_changes(crew: LangGraphCrew) -> None:
    (draft,) = crew.ask(briefing(DEAD, lost("train-02"))).drafts
    no = told(draft, "verdict", "deny", refused_by="policy", says="needs more evidence")
    crew.ask(briefing(DEAD, lost("train-02"), results=(no,)))
    surer = lost("train-02", confidence=0.99)
    assert kinds(crew.ask(briefing(_later(DEAD, 2), surer))) == ["node.restart"]


def test_a_question_that_nobody_answered_twice_is_a_persons(crew: LangGraphCrew) -> None:
    for ident, end in (("P-1", {}), ("P-2", {"INC-1": "escalated"})):
        (draft,) = crew.ask(briefing(DEAD, lost("train-02"))).drafts
        silence = told(draft, "answer", "expired", ident)
        reply = crew.ask(briefing(DEAD, lost("train-02"), results=(silence,)))
        assert ends(reply) == end


def test_a_not_now_is_a_persons_wish_and_outlasts_new_evidence(crew: LangGraphCrew) -> None:
    (draft,) = crew.ask(briefing(DEAD, lost("train-02"))).drafts
    crew.ask(briefing(DEAD, lost("train-02"), results=(told(draft, "answer", "not_now"),)))
    surer = lost("train-02", confidence=0.99)
    assert ends(crew.ask(briefing(_later(DEAD, 60), surer))) == {"INC-1": "waiting"}


def test_the_gate_refusing_at_the_last_moment_again_and_again_makes_it_wait(
    crew: LangGraphCrew,
) -> None:
    reply = crew.ask(briefing(DEAD, lost("train-02")))
    for i in range(3):
        (draft,) = reply.drafts
        refused = told(draft, "outcome", "refused", f"P-{i}", says="S5 drift")
        reply = crew.ask(briefing(DEAD, lost("train-02"), results=(refused,)))
    assert ends(reply) == {"INC-1": "waiting"}


def test_a_result_told_twice_counts_once(crew: LangGraphCrew) -> None:
    (draft,) = crew.ask(briefing(DEAD, lost("train-02"))).drafts
    not_now = told(draft, "answer", "not_now")
    crew.ask(briefing(DEAD, lost("train-02"), results=(not_now,)))
    later = _later(DEAD, 901)
    assert kinds(crew.ask(briefing(later, lost("train-02"), results=(not_now,)))) == [
        "node.restart"
    ]


def test_no_action_is_drafted_that_nobody_can_carry_out(crew: LangGraphCrew) -> None:
    reply = crew.ask(briefing(DEAD, lost("train-02"), serves=frozenset()))
    assert (kinds(reply), ends(reply)) == ([], {"INC-1": "escalated"})
    assert "no provider here can restart it" in reply.conclusions[0].why


def test_a_step_that_made_it_worse_is_taken_back_first_and_then_a_person_goes_on(
    crew: LangGraphCrew,
) -> None:
    ill = lost("train-02", fault="gpu_off_bus", target="gpu:train-02/3", gpu=3, jobs=())
    open_node = snapshot(node("train-01"), node("train-02", process_gone=None))
    (cordon,) = crew.ask(briefing(open_node, ill)).drafts
    assert isinstance(cordon.action, NodeCordon)
    fenced = snapshot(node("train-01"), node("train-02", process_gone=None), fenced=("train-02",))
    worse = told(cordon, "outcome", "worse", says="llm stopped, and was not meant to.")
    undo = crew.ask(briefing(fenced, ill, results=(worse,)))
    assert kinds(undo) == ["node.uncordon"]
    after = told(undo.drafts[0], "outcome", "recovered", "P-2")
    assert ends(crew.ask(briefing(open_node, ill, results=(after,)))) == {"INC-1": "escalated"}


# Many at once.


def test_s21_one_canary_goes_first_in_a_pool_and_the_next_waits_until_it_is_verified(
    crew: LangGraphCrew,
) -> None:
    seen, incidents = many(3)
    first = crew.ask(briefing(seen, *incidents))
    assert [d.thread for d in first.drafts] == ["INC-1"]
    assert ends(first) == {"INC-2": "waiting", "INC-3": "waiting"}
    assert "Another step is under way in train" in first.conclusions[0].why

    under_way = [msgspec.structs.replace(incidents[0], state=IncidentState.VERIFYING)]
    past = (PastStep("node.restart", "node_lost", incidents[0].node, "under_way"),)
    held = crew.ask(briefing(seen, *under_way, *incidents[1:], busy=("INC-1",), past=past))
    assert (kinds(held), ends(held)) == ([], {"INC-2": "waiting", "INC-3": "waiting"})

    past = (msgspec.structs.replace(past[0], value="recovered"),)
    next_one = crew.ask(briefing(seen, *incidents[1:], past=past))
    assert [d.thread for d in next_one.drafts] == ["INC-2"]


def test_s21_after_the_canary_the_wave_widens_over_racks_and_a_failure_makes_it_one_again(
    crew: LangGraphCrew,
) -> None:
    names = [f"train-{n:02d}" for n in range(2, 10)]
    racks = {name: f"rack-{n}" for n, name in enumerate(names)}
    dead = [node(name, RayState.DEAD, rack=rack) for name, rack in racks.items()]
    incidents = [lost(name, f"INC-{n}", jobs=()) for n, name in enumerate(names)]

    def go(*values: str) -> int:
        past = tuple(PastStep("node.restart", "node_lost", "train-99", v) for v in values)
        return len(crew.ask(briefing(snapshot(*dead), *incidents, past=past)).drafts)

    assert go() == 1
    assert go("recovered") == 2
    assert go("recovered", "recovered") == 4
    assert go("recovered", "recovered", "failed") == 1
    assert go("recovered", "worse") == 0


def test_the_gangs_of_a_sick_node_go_on_while_a_person_is_asked_about_it(
    crew: LangGraphCrew,
) -> None:
    seen = snapshot(node("train-01", gpus_free=8.0), node("train-02", RayState.DEAD), jobs=(job(),))
    ill = lost("train-02")
    reply = crew.ask(briefing(seen, ill, busy=("INC-1",)))
    assert kinds(reply) == ["job.requeue"]
    assert [d.thread for d in reply.drafts] == ["INC-1/gangs"]
    assert reply.drafts[0].incident == "INC-1"
    assert kinds(crew.ask(briefing(seen, ill, busy=("INC-1", "INC-1/gangs")))) == []


def test_while_a_sick_node_is_open_its_gangs_wait_for_a_change_of_it_and_not_for_a_while(
    crew: LangGraphCrew,
) -> None:
    ill, spare = lost("train-02"), node("train-01", gpus_free=8.0)

    def ask(sick: RayState, steady: float) -> CrewReply:
        seen = snapshot(spare, node("train-02", sick), jobs=(job(),), steady=steady)
        return crew.ask(briefing(seen, ill, busy=("INC-1",)))

    assert kinds(ask(RayState.ALIVE, 100.0)) == []
    assert crew.next_s() == float("inf"), "what is submitted now may land there again"
    assert kinds(ask(RayState.ALIVE, 10_000.0)) == []
    assert kinds(ask(RayState.DEAD, 10_010.0)) == ["job.requeue"]


def test_a_pool_with_too_few_free_nodes_for_its_own_repairs_is_told_of(
    crew: LangGraphCrew,
) -> None:
    seen = snapshot(node("train-01"), node("train-02", RayState.DEAD))
    often = {"train-02": frozenset({"INC-7", "INC-8"})}
    told = crew.ask(briefing(seen, lost("train-02"), repaired=often)).thoughts
    assert any(t.thread == "reserve:train" and "fewer nodes ready" in t.text for t in told)
    quiet = crew.ask(briefing(seen, lost("train-02"))).thoughts
    assert not any(t.thread.startswith("reserve:") for t in quiet)


def test_a_question_that_waits_for_a_person_does_not_hold_back_the_pool(
    crew: LangGraphCrew,
) -> None:
    seen, incidents = many(2)
    crew.ask(briefing(seen, *incidents))
    second = crew.ask(briefing(seen, *incidents, busy=("INC-1",)))
    assert [d.thread for d in second.drafts] == ["INC-2"]


def test_two_incidents_on_one_node_give_one_draft(crew: LangGraphCrew) -> None:
    other = lost("train-02", "INC-2", fault="gpu_off_bus", gpu=1, jobs=())
    reply = crew.ask(briefing(DEAD, lost("train-02", jobs=()), other))
    assert len(reply.drafts) == 1
    assert len(reply.conclusions) == 1


def test_without_the_canary_every_incident_drafts_at_once() -> None:
    crew = LangGraphCrew(settings=CrewSettings(canary=False))
    seen, incidents = many(40)
    assert len(crew.ask(briefing(seen, *incidents)).drafts) == 40


# Losses.


class Flaky(InMemorySaver):
    """Redis, as far as the crew can tell: it may be gone, or empty."""

    down = False

    def get_tuple(self, config: Any) -> Any:
        if self.down:
            raise ClusterUnavailable("Redis does not answer")
        return super().get_tuple(config)


def test_a_saver_that_fails_does_not_stop_the_crew_and_is_told_once() -> None:
    saver = Flaky()
    crew = LangGraphCrew(saver=saver)
    saver.down = True
    reply = crew.ask(briefing(DEAD, lost("train-02")))
    assert kinds(reply) == ["node.restart"]
    assert "cannot be kept: Redis does not answer. It goes on in memory." in reply.thoughts[-1].text

    not_now = told(reply.drafts[0], "answer", "not_now")
    waits = crew.ask(briefing(DEAD, lost("train-02"), results=(not_now,)))
    assert ends(waits) == {"INC-1": "waiting"}
    assert not [t for t in waits.thoughts if t.thread == "crew"]

    saver.down = False
    back = crew.ask(briefing(_later(DEAD, 30), lost("train-02"), history={"INC-1": (not_now,)}))
    assert [t.text for t in back.thoughts] == ["The crew's threads are kept again."]
    assert ends(back) == {"INC-1": "waiting"}, "the journal remembers what memory lost"


def test_what_was_heard_while_the_saver_was_away_is_not_forgotten_when_it_is_back() -> None:
    saver = Flaky()
    crew = LangGraphCrew(saver=saver)
    (draft,) = crew.ask(briefing(DEAD, lost("train-02"))).drafts
    saver.down = True
    failed = told(draft, "outcome", "failed", says="did not come back")
    away = crew.ask(briefing(DEAD, lost("train-02"), results=(failed,)))
    assert ends(away) == {"INC-1": "escalated"}

    saver.down = False
    back = crew.ask(briefing(DEAD, lost("train-02"), history={"INC-1": (failed,)}))
    assert (kinds(back), ends(back)) == ([], {"INC-1": "escalated"})


def test_a_lost_thread_starts_anew_and_hears_the_result_that_was_meant_for_it() -> None:
    saver = InMemorySaver()
    crew = LangGraphCrew(saver=saver)
    (draft,) = crew.ask(briefing(DEAD, lost("train-02"))).drafts
    saver.delete_thread("INC-1")
    failed = told(draft, "outcome", "failed", says="did not come back")

    reply = crew.ask(briefing(DEAD, lost("train-02"), results=(failed,)))
    assert ends(reply) == {"INC-1": "escalated"}, "the restart is not tried twice"


def test_a_lost_thread_does_not_ask_again_what_a_person_answered() -> None:
    (draft,) = LangGraphCrew().ask(briefing(DEAD, lost("train-02"))).drafts
    told_before = {"INC-1": (told(draft, "answer", "not_now"),)}
    anew = LangGraphCrew(saver=InMemorySaver())
    assert kinds(anew.ask(briefing(DEAD, lost("train-02"), history=told_before))) == []


def test_another_process_goes_on_where_the_thread_was_parked() -> None:
    saver = InMemorySaver()
    (draft,) = LangGraphCrew(saver=saver).ask(briefing(DEAD, lost("train-02"))).drafts
    no = told(draft, "answer", "deny", says="Not tonight.")
    reply = LangGraphCrew(saver=saver).ask(briefing(DEAD, lost("train-02"), results=(no,)))
    assert ends(reply) == {"INC-1": "escalated"}
    assert reply.conclusions[0].why == "A person said no to: Restart train-02. Not tonight."


def test_a_thread_whose_memory_was_tampered_with_is_lost_not_believed() -> None:
    saver = InMemorySaver()
    crew = LangGraphCrew(saver=saver)
    crew.ask(briefing(DEAD, lost("train-02")))
    for key in [k for k in saver.blobs if k[2] == "memory"]:
        saver.blobs[key] = saver.serde.dumps_typed({"attempts": "all of them"})
    assert kinds(crew.ask(briefing(DEAD, lost("train-02")))) == ["node.restart"]


def test_what_is_stored_is_plain_json_and_holds_no_snapshot() -> None:
    saver = InMemorySaver()
    LangGraphCrew(saver=saver).ask(briefing(DEAD, lost("train-02")))
    found = saver.get_tuple({"configurable": {"thread_id": "INC-1"}})
    assert found is not None
    values = found.checkpoint["channel_values"]
    assert msgspec.json.decode(msgspec.json.encode(values)) == values
    assert "inc-train-01" not in str(values)


def test_the_rules_give_the_same_reply_every_time() -> None:
    seen, incidents = many(4)
    asked = briefing(seen, *incidents, short())
    assert LangGraphCrew().ask(asked) == LangGraphCrew().ask(asked)


# A model, later: it may choose, and nothing else.


class Choosing:
    name = "a-model"

    def __init__(self, option: str) -> None:
        self.option = option

    def pick(self, question: Any) -> tuple[str, str]:
        if self.option == "raise":
            raise TimeoutError
        return self.option, "because I say so"


@pytest.mark.parametrize(
    ("option", "drafts", "told_log"),
    [
        pytest.param("step", 1, "", id="the step"),
        pytest.param("wait", 0, "because I say so", id="waiting is open to it"),
        pytest.param("rm -rf", 1, "which is not open", id="s22 what is not offered falls back"),
        pytest.param("raise", 1, "a-model failed: TimeoutError", id="a timeout falls back"),
    ],
)
def test_s22_a_reasoner_picks_from_the_closed_set_only(
    option: str, drafts: int, told_log: str
) -> None:
    reply = LangGraphCrew(reasoner=Choosing(option)).ask(briefing(DEAD, lost("train-02")))
    assert len(reply.drafts) == drafts
    assert told_log in " ".join(t.text for t in reply.thoughts)


# Capacity.


def test_a_gang_that_no_node_can_hold_leads_to_pool_scale_with_the_forecast_named(
    crew: LangGraphCrew,
) -> None:
    reply = crew.ask(briefing(FULL, short(), forecasts={"train": FORECAST}))
    (draft,) = reply.drafts
    assert (kind_of(draft.action), draft.action.add) == ("pool.scale", 2)  # type: ignore[union-attr]
    assert draft.by == "agent:scheduler"
    assert draft.effect.predicate == "pool.grown"
    assert draft.reason == (
        "big needs 2 whole nodes; none is free; the rest is held by work that is no gang "
        "(16 GPUs); no runtime estimate says when that ends. 16 GPUs wait in train, this gang for "
        "0 s; 16 of 16 are in use. 2 more nodes would come in about 5 min, which costs 1.3 "
        "GPU-hours of waiting. The forecast (persistence) sees 32 GPUs wanted in 1 h, 40 at the "
        "90 % quantile; the pool has 16."
    )
    assert draft.if_ignored == "big goes on waiting for GPUs in train."


def test_nodes_under_repair_are_waited_for_before_more_are_asked_for(crew: LangGraphCrew) -> None:
    ill = node("train-02", RayState.DEAD)
    one = snapshot(node("train-01"), ill, jobs=(waits(pending=8.0),), demand=want(8.0), steady=5.0)
    repair = lost("train-02", jobs=())
    reply = crew.ask(briefing(one, short(), repair, busy=("INC-1",)))
    assert ends(reply) == {"INC-9": "waiting"}
    assert "train-02 is under repair and would do" in reply.conclusions[0].why


def test_nobody_is_stopped_for_a_gang_whose_own_node_is_under_repair(crew: LangGraphCrew) -> None:
    gang = msgspec.structs.replace(waits(), nodes=("train-01", "train-02"))
    ill = node("train-02", RayState.DEAD)
    one = snapshot(node("train-01"), ill, jobs=(gang,), demand=want(), steady=5.0)
    reply = crew.ask(briefing(one, short(), lost("train-02", jobs=()), busy=("INC-1",)))
    assert (reply.drafts, ends(reply)) == ((), {"INC-9": "waiting"})
    assert reply.conclusions[0].why.endswith("train-02, which it ran on, is under repair.")


def test_nobody_is_stopped_for_a_gang_whose_attempt_ray_has_not_ended(crew: LangGraphCrew) -> None:
    gang = msgspec.structs.replace(waits(), nodes=("train-01",))
    one = snapshot(node("train-01"), jobs=(gang,), demand=want(), steady=5.0)
    reply = crew.ask(briefing(one, short()))
    assert (reply.drafts, ends(reply)) == ((), {"INC-9": "waiting"})
    assert reply.conclusions[0].why.endswith("is not over: it still sits on train-01.")


REPAIR = lost("train-02", jobs=("big",), ended=("a1",))


@pytest.mark.parametrize("state", [RayState.DEAD, RayState.ALIVE], ids=["out", "back"])
def test_nobody_is_stopped_for_a_gang_that_an_open_repair_has_ended(
    crew: LangGraphCrew, state: RayState
) -> None:
    late = AT + timedelta(hours=1)  # its repair lasts longer than any patience
    other = job("other", state=JobState.RUNNING, nodes=("train-01",), attempt_id="b1",
                preemptible=True, priority=-1)  # fmt: skip
    one = snapshot(
        node("train-01", gpus_free=0.0), node("train-02", state), jobs=(waits(), other),
        demand=want(), steady=5.0,
    )  # fmt: skip
    one = replace(one, at=late)
    reply = crew.ask(briefing(one, short(), REPAIR, busy=("INC-1",), serves=ALL | {"job.preempt"}))
    assert (reply.drafts, ends(reply)) == ((), {"INC-9": "waiting"})
    assert reply.conclusions[0].why == "big waits for its repair, INC-1."


def test_nobody_is_stopped_while_a_gang_that_a_repair_has_ended_still_sits_on_its_nodes(
    crew: LangGraphCrew,
) -> None:
    ghost = job("ghost", state=JobState.WAITING, nodes=("train-01",), attempt_id="g1",
                gpus=16.0, pending_gpus=8.0, pending_bundle_gpus=8.0)  # fmt: skip
    one = snapshot(
        node("train-01", gpus_free=0.0), node("train-02", RayState.DEAD), jobs=(waits(), ghost),
        demand=want(), steady=5.0,
    )  # fmt: skip
    repair = lost("train-02", jobs=("ghost",), ended=("g1",))
    one = replace(one, at=AT + timedelta(hours=1))
    reply = crew.ask(briefing(one, short(), repair, busy=("INC-1",), serves=ALL | {"job.preempt"}))
    assert (reply.drafts, ends(reply)) == ((), {"INC-9": "waiting"})
    assert reply.conclusions[0].why == "big waits until ghost has left its nodes."


@pytest.mark.parametrize(
    ("seen", "serves", "end", "why"),
    [
        pytest.param(
            FULL, frozenset(), "escalated", "No provider here can add nodes", id="nobody can add"
        ),
        pytest.param(
            snapshot(node("train-01"), jobs=(waits(16.0),), demand=want()),
            ALL,
            "escalated",
            "would not help",
            id="a bundle larger than a node",
        ),
        pytest.param(
            snapshot(node("train-01"), demand=want(0.0)),
            ALL,
            "resolved",
            "Nothing waits",
            id="gone",
        ),
        pytest.param(
            snapshot(node("train-01", gpus_free=8.0), node("train-02", gpus_free=8.0),
                     jobs=(waits(),), demand=want(nowhere=False)),
            ALL,
            "waiting",
            "and should start soon",
            id="there is room",
        ),
    ],
)  # fmt: skip
def test_when_nodes_are_not_the_answer_it_says_what_is(
    crew: LangGraphCrew, seen: Snapshot, serves: frozenset[str], end: str, why: str
) -> None:
    reply = crew.ask(briefing(seen, short(), serves=serves))
    assert (kinds(reply), ends(reply)) == ([], {"INC-9": end})
    assert why in reply.conclusions[0].why


def test_a_scaling_that_failed_is_not_tried_again(crew: LangGraphCrew) -> None:
    (draft,) = crew.ask(briefing(FULL, short())).drafts
    failed = told(draft, "outcome", "failed", says="the provider has no more nodes")
    reply = crew.ask(briefing(FULL, short(), results=(failed,)))
    assert ends(reply) == {"INC-9": "escalated"}


def test_a_forecast_above_the_pool_is_told_once_and_proposes_nothing(crew: LangGraphCrew) -> None:
    calm = snapshot(node("train-01"), demand=want(0.0, nowhere=False))
    reply = crew.ask(briefing(calm, forecasts={"train": FORECAST}))
    assert [t.text[:24] for t in reply.thoughts] == ["train may run short. 40 "]
    assert kinds(reply) == []
    again = crew.ask(briefing(_later(calm, 60), forecasts={"train": FORECAST}))
    assert again.thoughts == ()


def test_a_quiet_cluster_costs_the_crew_nothing_to_say(crew: LangGraphCrew) -> None:
    assert crew.ask(briefing(snapshot(node("train-01")))) == CrewReply()


def _ill(ident: str = "INC-1") -> Incident:
    return lost(
        "train-02",
        ident,
        fault="gpu_hardware",
        target="gpu:train-02/3",
        title="GPU 3 of train-02: hardware",
        signals=(
            signal("xid.48", "gpu:train-02/3", "kernel", Trust.DRIVER),
            signal("gang.slow", "job:llm", "ray", Trust.SCHEDULER),
        ),
        hypotheses=(),
        opened_at=AT - timedelta(minutes=10),
    )


def _with_work(steady: float, *jobs: Job) -> Snapshot:
    free = 0.0 if jobs else 8.0
    sick = node("train-02", gpus_free=free)
    return snapshot(node("train-01"), sick, jobs=jobs, fenced=("train-02",), steady=steady)


def test_work_that_a_person_leaves_running_ends_by_itself_and_the_repair_goes_on(
    crew: LangGraphCrew,
) -> None:
    runs = job(state=JobState.RUNNING)
    (draft,) = crew.ask(briefing(_with_work(100.0, runs), _ill())).drafts
    assert kind_of(draft.action) == "node.drain"
    no = told(draft, "answer", "deny", says="Not tonight.")
    reply = crew.ask(briefing(_with_work(110.0, runs), _ill(), results=(no,)))
    assert ends(reply) == {"INC-1": "waiting"}
    for steady in (500.0, 5000.0, 50_000.0):
        assert kinds(crew.ask(briefing(_with_work(steady, runs), _ill()))) == []
    assert kinds(crew.ask(briefing(_with_work(50_400.0), _ill()))) == ["check.run"]


def test_a_no_to_emptying_a_node_on_which_nothing_runs_is_a_persons(crew: LangGraphCrew) -> None:
    (draft,) = crew.ask(briefing(_with_work(100.0), _ill())).drafts
    no = told(draft, "answer", "deny", says="I look at it myself.")
    reply = crew.ask(briefing(_with_work(110.0), _ill(), results=(no,)))
    assert ends(reply) == {"INC-1": "escalated"}
