"""Each promise is held by a check that can fail: the check is taken out, and somebody notices.

Two layers, each with a bug seeded into it. A check of `policy.invariants` or of the executor is
taken out, and a hostile crew (or a hostile hour) over a twin then breaks the promise under the eyes
of `twin_assert`; so the guard can bark, and what keeps it quiet is that check.

What cannot be shown so, and why:
- S1: an action names one target by its type, and the twin's door refuses a name that it does not
  know; shown here as a refusal that disappears, not as a harm.
- S5 of lives, S6, S18: held twice, by the executor and by the provider's door; the guard sees the
  attempt only where the door is opened too.
- S16 is S7 for what cannot be undone.
- S8, S17, S22, S24, S25: by construction (import arrows, loaders, no provider), nothing to
  take out; tests/contracts/test_arrows.py and tests/core/test_policy_load.py hold them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.properties.hostile_crews import RECKLESS, draft, spec
from tests.stories.world import Story

from watchkeeper.app.twin_parts import Parts, put_together
from watchkeeper.control import brief, execute, keep, propose
from watchkeeper.control.acted import Acted
from watchkeeper.control.desk import WatchDesk
from watchkeeper.control.life import State
from watchkeeper.control.turn import turn
from watchkeeper.core.action import (
    TRAITS,
    Action,
    CheckRun,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeRestart,
    NodeUncordon,
    PoolScale,
    node_of,
)
from watchkeeper.core.cluster import World
from watchkeeper.core.crew import Briefing, CrewReply, Draft
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Refused
from watchkeeper.core.event import Kind
from watchkeeper.core.ports import Receipt
from watchkeeper.core.verdict import Answer
from watchkeeper.policy import invariants, judge
from watchkeeper.remedy import verify
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.words import TwinSpec

QUIET: TwinSpec = spec(1, faults=False, noise=False, nodes=64, gang_nodes=(16,))
Asks = Callable[[Briefing], list[Draft]]
FLOORS = "floors: {default: {nodes_at_least: 4}, train: {nodes_at_least: 55}}\n"


class Planner:
    """Asks what it is told to, turn after turn."""

    def __init__(self) -> None:
        self.asks: Asks = lambda _b: []

    def ask(self, briefing: Briefing) -> CrewReply:
        return CrewReply(drafts=tuple(self.asks(briefing)))


class Stage:
    """A quiet twin under reckless orders, and a planner who does what the test says."""

    def __init__(self, home: Path, orders: dict[str, str] = RECKLESS) -> None:
        self.planner = Planner()
        self.cluster = TwinCluster.of(QUIET)
        self.parts: Parts = put_together(self.cluster, orders, home, crew=self.planner)
        self.tick = 0
        self.turns(3)

    def turns(self, count: int, every_s: float = 20.0) -> None:
        for _ in range(count):
            turn(self.parts.watch)
            self.cluster.advance(self.cluster.clock.s + every_s)

    def asks(self, asks: Asks, count: int = 6) -> set[str]:
        """Have this asked, turn after turn; which promises did the guard see broken?"""
        self.planner.asks = asks
        self.turns(count)
        return self.broken

    @property
    def broken(self) -> set[str]:
        return {v.id for v in self.parts.guard.ledger.violations}

    @property
    def refused(self) -> set[str]:
        events = [e for e in self.parts.journal.events() if e.kind is Kind.VERDICT]
        return {r["id"] for e in events for r in e.data["verdict"]["reasons"]}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.parts.close()


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Seed the bug: this promise is no longer judged."""

    def take_out(ident: str) -> None:
        kept = tuple(i for i in invariants.INVARIANTS if i.id != ident)
        assert len(kept) < len(invariants.INVARIANTS)
        monkeypatch.setattr(invariants, "ASKED", invariants.by_kind(kept))

    return take_out


NUMBER = iter(range(10**9))


def each(kind: type, names: tuple[str, ...], **more: Any) -> Asks:
    """This kind on each of these nodes, as it lives now."""

    def asks(briefing: Briefing) -> list[Draft]:
        nodes = [briefing.snapshot.nodes[n] for n in names if n in briefing.snapshot.nodes]
        return [
            draft(f"T-{next(NUMBER)}", kind(node=n.name, incarnation=n.incarnation), **more)
            for n in nodes
        ]

    return asks


def of(action: Action) -> Asks:
    return lambda _b: [draft(f"T-{next(NUMBER)}", action)]


def workers(stage: Stage, count: int, *, apart: int = 1) -> tuple[str, ...]:
    return stage.cluster.machines.names[: count * apart : apart]


def rack(stage: Stage) -> tuple[str, ...]:
    return tuple(n.name for n in stage.cluster.read().nodes.values() if n.rack == "rack-02")


def idle(stage: Stage) -> str:
    """A node that runs nothing."""
    work = stage.cluster.work
    names = stage.cluster.machines.names
    return next(n for i, n in enumerate(names) if work.on(i) is None)


# What the judge holds: taken out, the guard sees the harm; left in, there is none.


def s2(stage: Stage) -> Asks:
    return each(NodeCordon, rack(stage))


def s3(stage: Stage) -> Asks:
    return each(NodeCordon, workers(stage, 32, apart=2))


def s4(stage: Stage) -> Asks:
    """Written as stopped, right before the effect, and the latch is not yet set."""
    return _at_the_effect(stage, lambda p: p.watch.record.write(Kind.STOPPED, by="x", reason="y"))


def s7(stage: Stage) -> Asks:
    return each(NodeRestart, workers(stage, 1))  # it runs a gang


def s9(stage: Stage) -> Asks:
    return _at_the_effect(stage, lambda p: p.watch.record.write(Kind.HALTED, why="a test"))


def s10(stage: Stage) -> Asks:
    name = workers(stage, 20)[19]
    i = stage.cluster.machines.index[name]
    stage.cluster.machines.end(i, gone=False)
    return each(NodeRestart, (name,))


def s11(stage: Stage) -> Asks:
    """All but two nodes of the pool must stay, far above the half of S2 (see ORDERS)."""
    return each(NodeCordon, workers(stage, 6, apart=9))


def s13(stage: Stage) -> Asks:
    head = next(n.name for n in stage.cluster.read().nodes.values() if n.control_path)
    return each(CheckRun, (head,))


def s19(stage: Stage) -> Asks:
    job = sorted(stage.cluster.work.gangs)[0]

    def asks(briefing: Briefing) -> list[Draft]:
        gang = stage.cluster.work.gangs[job]
        if gang.running:
            stage.cluster.work.stop(gang)
        now = stage.cluster.read().jobs[job]
        return [draft(f"T-{next(NUMBER)}", JobRequeue(job=job, attempt_id=now.attempt_id))]

    return asks


def s20(stage: Stage) -> Asks:
    name = idle(stage)

    def asks(briefing: Briefing) -> list[Draft]:
        node = briefing.snapshot.nodes[name]
        life = {"node": name, "incarnation": node.incarnation}
        if node.ray_state.value != "alive":
            return [draft(f"T-{next(NUMBER)}", NodeRestart(**life))]
        fenced = name in briefing.snapshot.fences
        kind = NodeUncordon if fenced else NodeDrain
        return [draft(f"T-{next(NUMBER)}", kind(**life))]

    return asks


def s21(stage: Stage) -> Asks:
    stage.parts.watch.record.write(Kind.GATE_CLOSED, action="node.cordon", why="a test")
    return each(NodeCordon, workers(stage, 1))


def s23(stage: Stage) -> Asks:
    """Ray was started anew, and is reconciled."""
    session = stage.parts.watch.record.books.session
    write = stage.parts.watch.record.write
    write(Kind.SESSION_CHANGED, session=session, before="another")
    write(Kind.SESSION_RECONCILED, session=session, fences={}, jobs=[])
    return each(NodeCordon, workers(stage, 16, apart=4), incident="")


def s27(stage: Stage) -> Asks:
    return each(NodeDrain, workers(stage, 3), incident="")


def s5(stage: Stage) -> Asks:
    """Ray is started anew, and nothing was reconciled, right before the effect."""
    session = stage.parts.watch.record.books.session

    def begins_anew(parts: Parts) -> None:
        parts.watch.record.write(Kind.SESSION_CHANGED, session=session, before="another")

    return _at_the_effect(stage, begins_anew)


def s29(stage: Stage) -> Asks:
    """Decided on what was seen in the lab."""
    real = propose.Proposal
    forged = MONKEY.setattr
    forged(propose, "Proposal", lambda **words: real(**(words | {"world": World.LAB})))
    return each(NodeCordon, workers(stage, 1))


def _at_the_effect(stage: Stage, befall: Callable[[Parts], Any]) -> Asks:
    """It happens after the first judgement and before the second."""
    look = stage.parts.watch.executor.look

    def looks() -> Any:
        found = look()
        books = stage.parts.watch.record.books
        if not books.halted and not books.orders.stopped:
            befall(stage.parts)
        return found

    object.__setattr__(stage.parts.watch.executor, "look", looks)
    return each(NodeCordon, workers(stage, 1))


MONKEY = pytest.MonkeyPatch()
"""What a set-up changes of the world; taken back after each test."""


@pytest.fixture(autouse=True)
def _taken_back() -> Iterator[None]:
    yield
    MONKEY.undo()


JUDGED: dict[str, tuple[Callable[[Stage], Asks], int]] = {
    "S2": (s2, 14),
    "S3": (s3, 26),
    "S5": (s5, 2),
    "S7": (s7, 3),
    "S9": (s9, 3),
    "S10": (s10, 3),
    "S11": (s11, 6),
    "S13": (s13, 3),
    "S19": (s19, 60),
    "S20": (s20, 80),
    "S21": (s21, 3),
    "S23": (s23, 4),
    "S27": (s27, 3),
    "S29": (s29, 3),
}


ORDERS = {
    "S11": {"policies/floors.yaml": RECKLESS["policies/reckless.yaml"] + FLOORS},
}
"""What must be declared before it can be kept."""


@pytest.mark.parametrize("ident", JUDGED)
def test_with_its_check_the_promise_holds_and_without_it_the_guard_barks(
    ident: str, tmp_path: Path, without: Callable[[str], None]
) -> None:
    set_up, turns = JUDGED[ident]
    orders = ORDERS.get(ident, RECKLESS)
    sound = Stage(tmp_path / "sound", orders)
    assert sound.asks(set_up(sound), turns) == set()
    assert ident in sound.refused, "it was this check that refused"
    sound.parts.close()
    without(ident)
    sick = Stage(tmp_path / "sick", orders)
    with MonkeyDoor(ident):
        assert ident in sick.asks(set_up(sick), turns)
    sick.parts.close()


class MonkeyDoor:
    """What stands behind a judged promise as a second lock, opened for this test alone."""

    def __init__(self, ident: str) -> None:
        self.patch = pytest.MonkeyPatch()
        self.ident = ident

    def __enter__(self) -> None:
        if self.ident in ("S7", "S13", "S10"):
            self.patch.setattr(execute, "unmet", lambda _a, _s: "")
            done = Receipt(provider="twin")  # whatever the provider itself would have refused
            self.patch.setattr(TwinCluster, "execute", lambda _c, _o: done)
        if self.ident == "S29":  # the executor asks once more by itself
            self.patch.setattr(execute.Executor, "_why_not", lambda *_: "")

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


def test_s4_the_latch_and_the_verdict_each_stop_and_without_both_the_guard_barks(
    tmp_path: Path, without: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[set[str]] = []
    for n, seed in enumerate(("none", "latch", "both")):
        if seed == "latch":
            monkeypatch.setattr(execute.Executor, "_stopped", lambda _self: False)
        if seed == "both":
            without("S4")
        stage = Stage(tmp_path / str(n))
        broken.append(stage.asks(s4(stage), 2))
        stage.parts.close()
    assert broken == [set(), set(), {"S4"}]


# What is held at the effect.


def test_s5_a_decision_about_a_life_before_is_void_and_without_both_locks_it_is_seen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = workers(stage, 1)[0]
    stale = of(NodeCordon(node=name, incarnation="another-life"))
    assert stage.asks(stale, 2) == set()
    monkeypatch.setattr(execute, "unmet", lambda _a, _s: "")
    monkeypatch.setattr(stage.cluster.effects.door, "admit", lambda _o: None)
    assert stage.asks(stale, 2) == {"S5"}


def test_s26_an_executor_that_writes_nothing_down_is_seen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = execute.Executor._start

    def forgetful(self: Any, file: Any, seen: Any) -> Any:
        order = real(self, file, seen)
        books = self.record.books
        books.files[file.proposal.id] = file  # as if *started* had never been written
        return order

    monkeypatch.setattr(execute.Executor, "_start", forgetful)
    monkeypatch.setattr(
        execute.Executor, "_call", lambda s, f, o: s.actuators["node.cordon"].execute(o)
    )
    assert "S26" in stage.asks(each(NodeCordon, workers(stage, 1)), 1)


def test_s6_s18_an_executor_that_forgets_what_it_did_is_seen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = execute.Executor._call

    def twice(self: Any, file: Any, order: Any) -> None:
        self.actuators["node.cordon"].execute(order)
        real(self, file, order)

    monkeypatch.setattr(execute.Executor, "_call", twice)
    assert {"S18", "S6"} <= stage.asks(each(NodeCordon, workers(stage, 1)), 1)


def test_s29_evidence_of_another_world_is_refused_and_an_order_for_another_cluster_is_seen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = execute._order

    def astray(*args: Any) -> Any:
        return msgspec.structs.replace(real(*args), cluster=f"{World.REAL.value}-other")

    monkeypatch.setattr(execute, "_order", astray)
    monkeypatch.setattr(stage.cluster.effects.door, "admit", lambda _o: None)
    assert "S29" in stage.asks(each(NodeCordon, workers(stage, 1)), 1)


def test_s1_a_target_that_is_not_there_is_refused_by_that_check_alone(
    stage: Stage, without: Callable[[str], None]
) -> None:
    nowhere = of(PoolScale(pool="nowhere", add=1))
    stage.asks(nowhere, 1)
    assert "S1" in stage.refused
    assert not stage.parts.cluster.effects.done
    without("S1")
    stage.asks(nowhere, 1)
    verdicts = [e for e in stage.parts.journal.events() if e.kind is Kind.VERDICT]
    assert verdicts[-1].data["verdict"]["decision"] == "allow"


# What people said, and when.


ASKS = {
    "policies/ask.yaml": """apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: ask, owner: nobody}
people: {oncall: [role:primary, role:secondary]}
rules:
  - {id: two, effect: ask, actions: ["*"], approvals: {quorum: 2, from: [oncall]}}
"""
}
PRIMARY = Person(name="primary", groups=("oncall", "role:primary"))


def asked(home: Path) -> tuple[Stage, Any]:
    """One question that two people must answer."""
    stage = Stage(home, ASKS)
    stage.asks(once(each(NodeCordon, workers(stage, 1))), 1)
    return stage, stage.parts.desk.asks()[0]


def once(asks: Asks) -> Asks:
    left = [asks]
    return lambda briefing: left.pop()(briefing) if left else []


@pytest.mark.parametrize("seeded", [False, True], ids=["as it is", "without it"])
def test_s14_one_yes_of_two_moves_nothing_and_an_executor_that_does_not_count_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeded: bool
) -> None:
    stage, ask = asked(tmp_path)
    yes = {"digest": ask.digest, "nonce": ask.nonce}
    stage.parts.desk.answer(ask.id, Answer.APPROVE, PRIMARY, **yes)
    books = stage.parts.watch.record.books
    books.files[ask.id] = replace(books.files[ask.id], state=State.CLEARED)  # one was enough
    if seeded:
        monkeypatch.setattr(execute.Executor, "_not_covered", lambda *_: "")
    stage.turns(2)
    assert stage.broken == ({"S14"} if seeded else set())
    stage.parts.close()


@pytest.mark.parametrize("seeded", [False, True], ids=["as it is", "without it"])
def test_s15_an_agents_yes_is_refused_and_a_desk_that_takes_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeded: bool
) -> None:
    stage, ask = asked(tmp_path)
    if seeded:
        monkeypatch.setattr(WatchDesk, "_may_answer", lambda *_: None)
    for name in ("agent:remediation", "agent:planner"):
        agent = Person(name=name, groups=("oncall",))
        with contextlib.suppress(Refused):
            yes = {"digest": ask.digest, "nonce": ask.nonce}
            stage.parts.desk.answer(ask.id, Answer.APPROVE, agent, **yes)
    stage.turns(2)
    assert stage.broken == ({"S15"} if seeded else set())
    stage.parts.close()


@pytest.mark.parametrize("seeded", [False, True], ids=["as it is", "without it"])
def test_s23_what_was_allowed_long_ago_is_dropped_and_an_executor_that_keeps_it_is_seen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, seeded: bool
) -> None:
    if seeded:
        monkeypatch.setattr(keep, "CLEARED_FOR_S", float("inf"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.Executor, "_held_by_another", lambda *_: True)  # an outage
        stage.asks(once(each(NodeCordon, workers(stage, 1))), 30)
    stage.turns(2)
    assert stage.broken == ({"S23"} if seeded else set())


@pytest.mark.parametrize("seeded", [False, True], ids=["as it is", "without it"])
def test_s28_a_stepped_wall_clock_refills_nothing_and_a_ledger_aged_by_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeded: bool
) -> None:
    planner = Planner()
    story = Story(tmp_path, policies=RECKLESS, crew=lambda: planner, pools={"train": 80})
    story.journal._sync = lambda _head: None  # type: ignore[method-assign]
    names = tuple(f"train-{i:02d}" for i in range(1, 81, 3))
    planner.asks = each(NodeCordon, names)
    if seeded:
        clock, ages = story.clock, Acted.ages
        begun = clock.now().timestamp() - clock.steady()

        def by_the_wall(acted: Acted, steady: float) -> Any:
            return ages(acted, steady) + (clock.now().timestamp() - clock.steady() - begun)

        monkeypatch.setattr(Acted, "ages", by_the_wall)
    story.turns(24)
    assert story.done().count("node.cordon") == 20
    story.clock.step_wall(7200.0)
    story.turns(4)
    assert (story.done().count("node.cordon") > 20) == seeded
    story.journal.close()


def test_s12_an_error_in_the_judge_is_a_no_and_one_that_shrugs_is_seen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(judge, "_judge", broken)
    stage.asks(each(NodeCordon, workers(stage, 1)), 3)
    verdicts = [e.data["verdict"] for e in stage.parts.journal.events() if e.kind is Kind.VERDICT]
    assert {v["decision"] for v in verdicts} == {"deny"}
    assert not stage.cluster.effects.done


def test_each_promise_that_is_judged_or_held_at_the_effect_is_shown_to_fire() -> None:
    """By the table of docs/invariants.md, against the names of the tests above."""
    table = (Path(__file__).parents[2] / "docs" / "invariants.md").read_text()
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| S")]
    held = {r[1].strip() for r in rows if "judged" in r[3] or "at the effect" in r[3]}
    shown = {f"S{n}" for name in globals() for n in re.findall(r"(?<![a-z])s(\d+)(?=_)", name)}
    assert held - shown - set(JUDGED) == set()
    assert {i.id for i in invariants.INVARIANTS} - {"S1", "S4"} == set(JUDGED)


# What is held before the judge: what a crew may claim.


def test_s20_without_the_check_of_signatures_a_planner_gives_nodes_back_as_a_person(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = idle(stage)
    stage.asks(each(NodeCordon, (name,)), 2)
    as_person = each(NodeUncordon, (name,), by="person:primary")
    stage.asks(as_person, 3)
    assert name in stage.cluster.machines.fences
    monkeypatch.setattr(brief, "heard", lambda reply, _s: (reply, ()))
    stage.asks(as_person, 3)
    assert name not in stage.cluster.machines.fences


def test_s21_without_its_own_proof_control_would_believe_the_planners(stage: Stage) -> None:
    """Held twice: the planner's proof is not heard, and one that proves nothing fails."""
    results: list[str] = []
    for node, open_too in zip(workers(stage, 2, apart=8), (False, True), strict=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(brief, "heard", lambda reply, _s: (reply, ()))
            if open_too:
                patch.setattr(verify, "traits_of", lambda _a: TRAITS["notify.page"])
            stage.asks(each(NodeDrain, (node,)), 2)
        files = stage.parts.watch.record.books.files.values()
        drain = next(f for f in files if node_of(f.action) == node and f.effect is not None)
        results.append(drain.state.value)
    assert results == ["failed", "recovered"]
