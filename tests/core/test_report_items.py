"""What is alike is told once with its number, and nothing that went badly hides in a number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from watchkeeper.control.books import Books
from watchkeeper.control.report import MOST_ITEMS, report
from watchkeeper.control.report_bounds import missed
from watchkeeper.control.report_done import TOLD_APART, did
from watchkeeper.control.report_night import Done, Judged, Night
from watchkeeper.control.report_seen import TOLD_APART as SEEN_APART
from watchkeeper.control.report_seen import saw
from watchkeeper.control.report_undone import did_not
from watchkeeper.control.report_unsure import unsure
from watchkeeper.core.action import NodeDrain, NodeRestart
from watchkeeper.core.cluster import World
from watchkeeper.core.desk import LogLine
from watchkeeper.core.event import Kind
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.core.proposal import Effect, Impact, Proposal
from watchkeeper.core.regret import Regret
from watchkeeper.core.verdict import Autonomy, Decision, Orders, Reason, Verdict

BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
RULE = "policies/night.yaml:23"


def night() -> Night:
    return Night(BEGIN, BEGIN + timedelta(hours=8), ZoneInfo("UTC"), world="twin")


def incident(n: int, state: IncidentState = IncidentState.RESOLVED) -> Incident:
    at = BEGIN + timedelta(minutes=n)
    return Incident(
        id=f"INC-{n}", target=f"node:train-{n:02d}", fault="node_lost",
        title=f"train-{n:02d}: node lost", state=state, opened_at=at,
        updated_at=at + timedelta(minutes=n), world=World.TWIN, confidence=0.9,
        node=f"train-{n:02d}", closed_because=f"train-{n:02d} serves again",
    )  # fmt: skip


def restart(into: Night, n: int, result: str = "recovered", why: str = "alive") -> None:
    """One restart for one incident, allowed and ended so."""
    found = incident(n)
    at, ident = found.opened_at, f"P-{n}"
    into.incidents[found.id] = found
    into.opened[found.id] = 10 * n
    into.proposals[ident] = Proposal(
        id=ident, action=NodeRestart(node=found.node, incarnation="a"), by="agent:remediation",
        reason="r", at=at, world=World.TWIN, effect=Effect(predicate="node.alive", within_s=60),
        generation="g", confidence=0.9, incident=found.id,
    )  # fmt: skip
    into.impacts[ident] = Impact()
    reason = Reason(kind="rule", id="restart", says=Decision.ALLOW, text="t", where=RULE)
    into.judge(
        Judged(10 * n + 1, at, ident, Verdict(decision=Decision.ALLOW, reasons=(reason,),
                                              policy_version="v"))
    )  # fmt: skip
    into.started[ident] = (10 * n + 2, at)
    into.finished[ident] = Done(10 * n + 3, at + timedelta(minutes=1), result, why)


def refuse(into: Night, n: int, why: str, would_be: Decision | None = None) -> None:
    """One drain that a limit refused."""
    ident = f"P-{n}"
    into.proposals[ident] = Proposal(
        id=ident, action=NodeDrain(node=f"train-{n:02d}", incarnation="a"), by="agent:remediation",
        reason="r", at=BEGIN, world=World.TWIN, effect=Effect(predicate="node.gone", within_s=60),
        generation="g", confidence=0.9, incident=f"INC-{n}",
    )  # fmt: skip
    reason = Reason(kind="limit", id="few-out", says=Decision.DENY, text=why, where=RULE)
    verdict = Verdict(
        decision=Decision.DENY, reasons=(reason,), policy_version="v", would_be=would_be
    )
    into.judge(Judged(n, BEGIN, ident, verdict))


@pytest.mark.parametrize("times", [TOLD_APART, TOLD_APART + 1])
def test_many_repairs_that_went_alike_become_one_item(times: int) -> None:
    made = night()
    for n in range(1, times + 1):
        restart(made, n)
    items = did(made, Books())
    if times <= TOLD_APART:
        assert [i.count for i in items] == [1] * times
    else:
        (one,) = items
        assert one.count == times
        assert one.text == f"{times} times: restarted. train-01, train-02, train-03 and 2 more."
        assert one.where == RULE


@pytest.mark.parametrize("result", ["failed", "worse", "in_doubt"])
def test_one_that_went_badly_is_told_apart_from_the_many(result: str) -> None:
    made = night()
    for n in range(1, 8):
        restart(made, n)
    restart(made, 8, result, "it did not come up")
    bad = [i for i in did(made, Books()) if i.tone == "bad"]
    assert [i.incident for i in bad] == ["INC-8"]
    assert "it did not come up." in bad[0].more
    told = unsure(made, Books(), [], watched=True)
    assert told == []


def test_what_the_last_look_refused_was_not_done() -> None:
    made = night()
    restart(made, 1, "refused", "the target changed")
    assert did(made, Books()) == []
    (item,) = did_not(made, Books())
    assert item.text == "Did not restart train-01."
    assert "last look" in item.more


def test_refusals_for_one_reason_are_one_item_that_counts_them() -> None:
    made = night()
    for n in range(1, 6):
        refuse(made, n, "5 of 8 nodes of rack r1 are out")
    refuse(made, 6, "another reason")
    many, other = did_not(made, Books())
    assert (many.count, other.count) == (5, 1)
    assert many.text == "Did not drain train-01, train-02, train-03 and 2 more."
    assert many.more == "Refused: few-out, 5 of 8 nodes of rack r1 are out."
    assert (other.incident, many.where) == ("INC-6", RULE)


def test_asked_again_for_the_same_target_is_said_to_be_so() -> None:
    made = night()
    for _ in range(3):
        refuse(made, 1, "too many")
    (item,) = did_not(made, Books())
    assert item.more.endswith("Proposed 3 times.")


def test_rules_in_shadow_are_counted_by_what_they_would_have_changed() -> None:
    made = night()
    for n in range(1, 4):
        refuse(made, n, "too many", would_be=Decision.ASK)
    shadow = [i for i in did_not(made, Books()) if "shadow" in i.key]
    assert [(i.count, i.text) for i in shadow] == [
        (3, "Rules in shadow would have decided otherwise 3 times: deny would be ask.")
    ]


def test_an_open_incident_that_nobody_touched_says_what_was_last_thought() -> None:
    made = night()
    open_one = incident(1, IncidentState.OPEN)
    made.incidents[open_one.id], made.opened[open_one.id] = open_one, 5
    made.thoughts[open_one.id] = (6, "one source speaks; a second may follow.")
    (item,) = did_not(made, Books())
    assert item.more == "One source speaks; a second may follow."
    made.thoughts.clear()
    (item,) = did_not(made, Books())
    assert item.more == "The record does not say why."


@pytest.mark.parametrize(
    ("books", "orders", "says"),
    [
        (Books(halted="S9: 2 of 3 nodes fell silent"), [],
         "The watch has halted itself: S9: 2 of 3 nodes fell silent. Nothing acts."),
        (Books(orders=Orders(autonomy=Autonomy.AUTO, stopped=True, stopped_by="ann")), [],
         "The watch is stopped, by ann: nothing acts."),
        (Books(), [(Kind.HALTED, 0), (Kind.RESUMED, 30)],
         "The watch had halted itself from 00:00 to 00:30."),
        (Books(), [(Kind.HALTED, -60), (Kind.RESUMED, 0)], "The record does not say why."),
        (Books(closed_kinds={"node.restart": "worse"}), [],
         "Closed until a person resumes: node.restart."),
    ],
    ids=["halted", "stopped", "halted for a while", "halted before", "gate closed"],
)  # fmt: skip
def test_an_incident_that_nobody_touched_during_a_halt_says_so(
    books: Books, orders: list[tuple[Kind, int]], says: str
) -> None:
    made, open_one = night(), incident(1, IncidentState.OPEN)
    made.incidents[open_one.id], made.opened[open_one.id] = open_one, 5
    for kind, minute in orders:
        at = BEGIN + timedelta(minutes=minute)
        made.orders.append((kind, LogLine(seq=1, at=at, kind="", tone="", text="")))
    (item,) = did_not(made, books)
    assert item.more == says


def test_many_resolved_incidents_of_one_class_are_one_item_and_open_ones_never() -> None:
    made = night()
    for n in range(1, SEEN_APART + 3):
        made.incidents[f"INC-{n}"] = incident(n)
    made.incidents["INC-40"] = incident(40, IncidentState.ESCALATED)
    made.incidents["INC-41"] = incident(41, IncidentState.OPEN)
    items = saw(made, Books())
    assert [i.incident for i in items if i.incident] == ["INC-41", "INC-40"]
    (many,) = [i for i in items if i.count > 1]
    assert many.count == SEEN_APART + 2
    assert "half of them within 5 min, the longest took 8 min" in many.more


def test_the_plan_that_was_furthest_off_is_told_for_each_pool() -> None:
    made = night()

    def regret(hour: int, planned: float, needed: float) -> Regret:
        at = BEGIN + timedelta(hours=hour)
        return Regret(
            pool="train", since=at, until=at + timedelta(hours=1), planned=planned, had=100.0,
            needed=needed, idle=3.0, short=2.0, method="persistence",
        )  # fmt: skip

    made = replace(made, regrets=[(1, regret(1, 90, 88)), (2, regret(2, 90, 120))])
    (item,) = missed(made, None)
    assert item.text == "train: 02:00 to 03:00: 90 GPUs were planned, 120 were needed at most."
    assert item.more.endswith("The furthest off of 2 plans.")
    assert item.tone == "bad"


def test_where_not_all_find_room_what_went_badly_is_told() -> None:
    made = night()
    for n in range(1, 61):
        restart(made, n, "failed" if n > 55 else "worse" if n == 50 else "recovered")
    for n in range(1, 50):
        del made.finished[f"P-{n}"]  # under way: never told as one
    told = report(made, Books(), None)
    did_section = next(s for s in told.sections if s.id == "did")
    assert len(did_section.items) == MOST_ITEMS
    assert did_section.left_out > 0
    assert sum(i.tone == "bad" for i in did_section.items) >= 6
    assert [i.at for i in did_section.items] == sorted(i.at for i in did_section.items)
