"""The ledger: what was spent stays spent, over restarts and whatever the wall clock says; and a
verdict sees all of the past that has to do with it, and is told how far back the rest goes."""

# ruff: noqa: E501  (tables read best one case a line)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stories.world import Kind, Story

from watchkeeper.control import past
from watchkeeper.control.books import Books
from watchkeeper.control.papers import Effect
from watchkeeper.control.past import ledger_of, ledger_view
from watchkeeper.core.action import Action, JobRequeue, NodeDrain, PoolScale, kind_of, targets_of
from watchkeeper.core.cluster import World
from watchkeeper.core.event import GENESIS, Event
from watchkeeper.core.impact import simulate
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Effect as Expected
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Decision, Verdict
from watchkeeper.core.word import plain
from watchkeeper.twin.memory import ManualClock, MemoryCluster

DAY_S = 86400.0
HEAD = "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: story}\n"
OPEN = 'rules:\n  - {id: all, effect: allow, actions: ["*"]}\n'
ONE_A_WEEK = {
    "a budget": "budgets: [{id: one, every: 7d, disruptions: 1, actions: [node.restart]}]\n",
    "a budget of GPU-hours": (
        "budgets: [{id: one, every: 7d, gpu_hours: 0.2, actions: [node.restart]}]\n"
    ),
    "a budget of money": (
        "prices: {train: 10 USD}\n"
        "budgets: [{id: one, every: 7d, money: 2 USD, actions: [node.restart]}]\n"
    ),
    "a rate": (
        "limits: [{id: one, actions: [node.restart], per: fleet, rate: {count: 1, per: 7d}}]\n"
    ),
}


# Restarts and clocks: the real turn, journal and books.


@pytest.fixture
def spent(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Story]:
    """One restart was done; the week's bound is used up."""
    orders = {"policies/p.yaml": HEAD + ONE_A_WEEK[request.param] + OPEN}
    story = Story(tmp_path, policies=orders, pools={"train": 12})
    story.turns(2)
    story.cluster.lose("train-02")
    story.until(lambda: story.done() and story.quiet())
    yield story
    story.journal.close()


def lose_another(story: Story, node: str) -> list[str]:
    """What the verdicts on a second restart say refused it."""
    before = len(story.events(Kind.VERDICT))
    story.cluster.lose(node)
    story.turns(30, every_s=4.0)
    verdicts = [e.data["verdict"] for e in story.events(Kind.VERDICT)[before:]]
    return [v["refused_by"] for v in verdicts if v["decision"] == "deny"]


@pytest.mark.parametrize("spent", ONE_A_WEEK, indirect=True)
@pytest.mark.parametrize("step_s", [0.0, DAY_S, -DAY_S, 30 * DAY_S])
@pytest.mark.parametrize("restart", [False, True], ids=["", "after a restart"])
def test_s3_s28_what_was_spent_stays_spent(spent: Story, step_s: float, restart: bool) -> None:
    if restart:
        spent.crash_and_start()
    spent.clock.step_wall(step_s)
    spent.turns(2)
    assert set(lose_another(spent, "train-05")) & {"budget", "limit"}
    assert spent.done().count("node.restart") == 1


@pytest.mark.parametrize("spent", ONE_A_WEEK, indirect=True)
def test_it_comes_back_when_real_time_has_passed_and_not_before(spent: Story) -> None:
    spent.clock.pass_s(7 * DAY_S - 3600.0)
    assert lose_another(spent, "train-05")
    assert spent.done().count("node.restart") == 1
    spent.clock.pass_s(3600.0)
    spent.crash_and_start()
    spent.cluster.lose("train-08")
    spent.until(lambda: spent.done().count("node.restart") == 2)


@pytest.mark.parametrize("spent", ["a budget"], indirect=True)
def test_s9_losing_redis_refills_nothing(spent: Story) -> None:
    spent.mirror.flushall()
    spent.turns(2)
    assert lose_another(spent, "train-05")
    assert spent.done().count("node.restart") == 1


@pytest.mark.parametrize("spent", ["a budget of money"], indirect=True)
def test_folding_the_journal_anew_gives_the_same_ledger(spent: Story) -> None:
    anew = Books()
    for event in spent.journal.events():
        anew.apply(event)
    snapshot = spent.watch.latest
    assert snapshot is not None
    view = ledger_view(anew, snapshot)
    assert view == ledger_view(spent.record.books, snapshot)
    costs = {e.action: (e.gpu_hours, e.money) for e in view.effects}
    assert costs["node.restart"] == (0.133, 1.33), "as it was expected when it was proposed"


# What a verdict sees.


class Past:
    """Books that are told of effects, one event after another, and a snapshot to look from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, elsewhere: int = 3) -> None:
        monkeypatch.setattr(past, "ELSEWHERE", elsewhere)
        self.clock = ManualClock()
        self.cluster = MemoryCluster.of(self.clock, {"train": 4, "far": 20})
        self.books = Books()
        self._seq = self._begun = 0

    def effect(self, action: Action, *, domains: tuple[str, ...] = ("pool:far",), ends: str = "recovered", **more: Any) -> str:  # fmt: skip
        """An effect begins now, and ends as said; "" leaves it under way."""
        self._begun += 1
        ident = f"P-{self._begun}"
        proposal = self.proposal(action, ident, **more)
        impact = Impact(gpu_hours=1.5, money=3.0)
        effect = Effect(
            key=ident, token=1, started_steady=self.clock.steady(), started_at=self.clock.now(),
            verify_by=0.0, before="", domains=domains, session="session-1",
        )  # fmt: skip
        allowed = Verdict(decision=Decision.ALLOW, reasons=(), policy_version="v")
        self._write(Kind.PROPOSED, proposal=plain(proposal), impact=plain(impact), thread=ident)
        self._write(Kind.VERDICT, proposal=ident, verdict=plain(allowed))
        self._write(
            Kind.EFFECT_STARTED, proposal=ident, action=kind_of(action), effect=plain(effect)
        )
        if ends:
            if ends != "refused":
                self._write(Kind.EFFECT_ISSUED, proposal=ident)
            self._write(Kind.EFFECT_FINISHED, proposal=ident, result=ends)
        self.clock.pass_s(60.0)
        return ident

    def proposal(self, action: Action, ident: str = "P-999", incident: str = "") -> Proposal:
        return Proposal(
            id=ident, action=action, by="agent:remediation", reason="r", at=self.clock.now(),
            world=World.TWIN, effect=Expected(predicate="none", within_s=60.0), generation="g",
            confidence=0.9, incident=incident,
        )  # fmt: skip

    def seen_by(self, action: Action, **more: Any) -> LedgerView:
        """The ledger as a verdict on this action sees it."""
        snapshot = self.snapshot()
        proposal = self.proposal(action, **more)
        return ledger_of(self.books, snapshot, proposal, simulate(snapshot, action))

    def snapshot(self) -> Any:
        from watchkeeper.control.look import Looker

        looked = Looker(self.cluster, self.cluster.telemetry(), self.clock).look()
        assert looked is not None
        return looked

    def _write(self, kind: Kind, **data: Any) -> None:
        self._seq += 1
        self.books.apply(
            Event(
                seq=self._seq, at=self.clock.now(), policy_at=self.clock.now(),
                steady=self.clock.steady(), kind=kind, subject=(), data=data, prev=GENESIS,
            )
        )  # fmt: skip


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Past:
    return Past(monkeypatch)


def far(i: int) -> NodeDrain:
    return NodeDrain(node=f"far-{i:02d}", incarnation="x")


NEAR = NodeDrain(node="train-01", incarnation="x")


def test_elsewhere_is_cut_at_its_number_and_says_how_far_back_it_goes(told: Past) -> None:
    for i in range(1, 6):
        told.effect(far(i))
    view = told.seen_by(NEAR)
    assert [e.target for e in view.effects] == ["node:far-05", "node:far-04", "node:far-03"]
    assert view.reaches_s == view.effects[-1].age_s == 180.0


def test_nothing_left_out_reaches_all_the_way(told: Past) -> None:
    for i in range(1, 4):
        told.effect(far(i))
    view = told.seen_by(NEAR)
    assert len(view.effects) == 3
    assert view.reaches_s is None


@pytest.mark.parametrize(
    ("old", "mine", "more"),
    [
        ({"action": NEAR}, NEAR, {}),
        ({"action": NEAR, "domains": ("rack:train-r1",)}, NodeDrain(node="train-02", incarnation="x"), {}),
        ({"action": NEAR, "domains": ("pool:train",)}, PoolScale(pool="train", add=1), {}),
        ({"action": far(9), "incident": "INC-7"}, NEAR, {"incident": "INC-7"}),
        ({"action": far(9), "domains": ("tenant:blue",)}, NEAR, {}),
        ({"action": JobRequeue(job="llm", attempt_id="a"), "domains": ("job:llm",)}, NEAR, {}),
        ({"action": far(9), "ends": ""}, NEAR, {}),
    ],
    ids=["of the same target", "of its rack", "of its pool", "of its incident", "of a tenant it touches", "of a job it stops", "still under way"],
)  # fmt: skip
def test_what_has_to_do_with_it_is_always_complete(
    told: Past, old: dict[str, Any], mine: Action, more: dict[str, Any]
) -> None:
    told.cluster.run("llm", ("train-01",), tenant="blue")
    told.effect(**{"domains": ("pool:other",), **old})
    for i in range(1, 8):
        told.effect(far(i))
    view = told.seen_by(mine, **more)
    assert targets_of(old["action"])[0] in {e.target for e in view.effects}
    ages = [e.age_s for e in view.effects]
    assert ages == sorted(ages), "newest first"
    assert len(view.effects) == 4
    assert view.reaches_s == 180.0, "the rest is cut all the same"


def test_an_incident_without_a_name_relates_nothing(told: Past) -> None:
    for i in range(1, 8):
        told.effect(far(i))
    assert len(told.seen_by(NEAR).effects) == 3


def test_its_own_start_is_not_its_past(told: Past) -> None:
    own = told.effect(NEAR, ends="")
    view = ledger_of(
        told.books, told.snapshot(), told.proposal(NEAR, own), simulate(told.snapshot(), NEAR)
    )
    assert view.effects == ()


def test_what_the_second_look_refused_was_never_done(told: Past) -> None:
    told.effect(NEAR, ends="refused")
    assert told.seen_by(NEAR).effects == ()


@pytest.mark.parametrize(("ends", "counts"), [("recovered", False), ("", True)])
def test_the_ledger_goes_back_31_days_and_keeps_what_is_under_way(
    told: Past, ends: str, counts: bool
) -> None:
    told.effect(NEAR, ends=ends)
    told.clock.pass_s(31 * DAY_S - 120.0)
    assert told.seen_by(NEAR).effects
    told.clock.pass_s(120.0)
    assert bool(told.seen_by(NEAR).effects) is counts


def test_an_age_is_of_the_steady_clock_alone(told: Past) -> None:
    told.effect(NEAR)
    told.clock.step_wall(-DAY_S)
    assert told.seen_by(NEAR).effects[0].age_s == 60.0
    told.clock.step_wall(5 * DAY_S)
    assert told.seen_by(NEAR).effects[0].age_s == 60.0
