"""Safety under any planner: whatever takes the crew's place, the promises hold, and when the real
crew is back, what can be cured is cured.

The guard is `twin_assert`: after every effect, with a ledger of its own, S1, S2, S3, S4, S5, S6,
S7, S9, S10, S13, S14, S15, S18, S19, S20, S21, S23, S26, S27, S29 and the dial. 40 short seeds of
each of five planners are played; WATCHKEEPER_SEEDS says how many by night, and then long ones too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.properties.hostile_crews import (
    BY_NIGHT,
    HOSTILE,
    LONG_SEEDS,
    RECKLESS,
    SEEDS,
    SHIPPED,
    Broken,
    Garbage,
    Randomly,
    Returns,
    draft,
    figures,
    played,
    played_short,
    real_crew,
    spec,
)
from tests.stories.world import ALICE, LadderCrew, Story

from watchkeeper.app.twin_run import Played, play
from watchkeeper.control.heard import MOST, heard
from watchkeeper.core.action import NodeCordon, NodeDrain, NodeUncordon, kind_of
from watchkeeper.core.crew import Briefing, Crew, CrewReply
from watchkeeper.core.event import Kind
from watchkeeper.core.proposal import Effect
from watchkeeper.twin.ailment import Ailment
from watchkeeper.twin.cluster import TwinCluster

HOUR_S = 3600.0
CURED_WITHIN_S = 2 * HOUR_S
"""On the twin, from the moment at which both the fault and the real crew are there."""
QUIET_WITHIN_S = 900.0
"""In memory, where effects are instant and nobody was worn out: from the crew's return."""


@pytest.mark.timeout(0 if BY_NIGHT else 180)
@pytest.mark.parametrize("name", HOSTILE)
def test_s1_to_s29_no_promise_breaks_in_any_short_seed_whoever_plans(name: str) -> None:
    _hold(name, [played_short(name, seed) for seed in range(1, SEEDS + 1)])


@pytest.mark.skipif(not BY_NIGHT, reason="two hours of each are played by night")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", HOSTILE)
def test_s1_to_s29_no_promise_breaks_in_two_hours_either(name: str) -> None:
    _hold(name, [played(name, seed) for seed in range(1, LONG_SEEDS + 1)])


def _hold(name: str, runs: list[Played]) -> None:
    print(f"{name}: {figures(runs)}")
    assert [v for run in runs for v in run.violations] == []
    if name != "garbage":
        assert sum(run.effects_checked for run in runs) > 0, "something was done to be checked"
        assert any(run.refused_by for run in runs), "something was refused"


def test_there_are_two_hundred_short_seeds_at_least() -> None:
    assert SEEDS * len(HOSTILE) >= 200


@pytest.mark.parametrize("seed", [8, 22])
def test_s21_a_drain_is_not_ended_by_force_while_the_gate_for_drains_is_closed(seed: int) -> None:
    """Seeds in which a drain made things worse while another one was under way."""
    assert played("random", seed).violations == ()


def test_the_same_seed_plays_the_same_hostile_night() -> None:
    first, again = played("random", 1, days=0.5 / 24), played("random", 1, days=0.5 / 24)
    assert first.trace_hash == again.trace_hash


# What is heard of a crew.


class Once:
    """Asks this one thing, once."""

    def __init__(self, ask: Callable[[Briefing], Any]) -> None:
        self._ask, self.asked = ask, 0

    def ask(self, briefing: Briefing) -> CrewReply:
        self.asked += 1
        return self._ask(briefing) if self.asked == 1 else CrewReply()  # type: ignore[no-any-return]


def reckless(home: Path, crew: Callable[[], Any], **more: Any) -> Story:
    people = {name: text for name, text in SHIPPED.items() if "people" in name}
    files = {**people, **RECKLESS}
    return Story(home, policies=files, crew=crew, pools={"train": 16}, **more)


@pytest.mark.parametrize("number", range(23))
def test_garbage_stops_no_turn_asks_for_nothing_and_wakes_a_person_once(
    tmp_path: Path, number: int
) -> None:
    garbage = Garbage(1)
    crew = type("G", (), {"ask": lambda _s, b: garbage.replies(b)[number]()})
    story = reckless(tmp_path, crew)
    story.turns(5)
    assert story.done() == []
    assert story.files() == []
    assert len([k for k, _, _ in story.notifier.pages if k.startswith("crew:")]) == 1
    story.journal.close()


def test_there_are_as_many_kinds_of_garbage_as_are_tried(tmp_path: Path) -> None:
    seen: list[int] = []

    def count(briefing: Briefing) -> CrewReply:
        seen.append(len(Garbage(1).replies(briefing)))
        return CrewReply()

    story = reckless(tmp_path, lambda: Once(count))
    story.turns(1)
    assert seen == [23]
    story.journal.close()


def test_s21_what_is_under_way_is_still_verified_while_the_crew_raises(tmp_path: Path) -> None:
    story = reckless(tmp_path, LadderCrew)
    story.cluster.lose("train-02")
    story.until(story.done)
    broken = type("B", (), {"ask": lambda _s, _b: (_ for _ in ()).throw(Broken("bug"))})
    story.watch.crew = broken()
    story.until(lambda: not story.record.books.in_hand())
    assert story.events(Kind.EFFECT_FINISHED)
    assert story.paged("Broken: bug")
    story.journal.close()


def test_what_a_crew_did_not_hear_because_it_raised_is_told_again(tmp_path: Path) -> None:
    heard_of: list[str] = []

    class Deaf:
        turns = 0

        def ask(self, briefing: Briefing) -> CrewReply:
            self.turns += 1
            node = briefing.snapshot.nodes["train-02"]
            if self.turns == 1:
                action = NodeCordon(node=node.name, incarnation=node.incarnation)
                return CrewReply(drafts=(draft("T", action),))
            if briefing.results and self.turns < 6:
                raise TimeoutError
            heard_of.extend(r.value for r in briefing.results)
            return CrewReply()

    story = reckless(tmp_path, Deaf)
    story.turns(12)
    assert heard_of == ["recovered"]
    story.journal.close()


@pytest.mark.parametrize("by", ["person:primary", "primary", ""])
def test_s20_no_planner_gives_a_broken_node_back_in_a_persons_name(tmp_path: Path, by: str) -> None:
    story = reckless(tmp_path, LadderCrew)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: "train-02" in story.cluster.fences)

    def give_back(briefing: Briefing) -> CrewReply:
        node = briefing.snapshot.nodes["train-02"]
        action = NodeUncordon(node=node.name, incarnation=node.incarnation)
        return CrewReply(drafts=(draft("U", action, by=by),))

    story.watch.crew = Once(give_back)
    story.turns(10)
    assert "node.uncordon" not in story.done()
    assert story.paged("a planner signs as agent:NAME")
    story.journal.close()


def test_s21_s27_a_planner_cannot_name_its_own_proof_and_so_end_its_own_effect(
    tmp_path: Path,
) -> None:
    """Else one drain would count as done at once, and the next in the same rack could begin."""

    def both(briefing: Briefing) -> CrewReply:
        nodes = [briefing.snapshot.nodes[n] for n in ("train-01", "train-02")]
        return CrewReply(
            drafts=tuple(
                draft(n.name, NodeDrain(node=n.name, incarnation=n.incarnation, deadline_s=600.0))
                for n in nodes
            )
        )

    class Always:
        ask = staticmethod(both)

    story = reckless(tmp_path, lambda: Always)
    story.cluster.run("llm", ("train-01",))
    story.cluster.run("other", ("train-02",))
    story.turns(30)
    assert story.done() == ["node.drain"]
    assert story.files()[0].proposal.effect.predicate == "node.gone"
    story.journal.close()


def test_no_reply_makes_the_record_grow_without_bound(tmp_path: Path) -> None:
    seen: list[tuple[int, tuple[str, ...]]] = []

    def flood(briefing: Briefing) -> CrewReply:
        node = briefing.snapshot.nodes["train-01"]
        one = draft("F", NodeCordon(node=node.name, incarnation=node.incarnation))
        sound, wrong = heard(CrewReply(drafts=(one,) * (MOST + 50)), briefing.snapshot)
        seen.append((len(sound.drafts), wrong))
        assert sound.drafts[0].effect == Effect(predicate="node.fenced", within_s=120.0)
        return CrewReply()

    story = reckless(tmp_path, lambda: Once(flood))
    story.turns(1)
    assert seen[0][0] == MOST
    assert f"{MOST} are heard" in seen[0][1][0]
    story.journal.close()


# Liveness: to refuse everything is no safety.


@pytest.mark.parametrize("name", HOSTILE)
def test_when_the_real_crew_returns_a_lost_node_is_back_within_a_quarter_of_an_hour(
    tmp_path: Path, name: str
) -> None:
    """In one watch. A person resumes what the hostile phase closed or halted, and puts the shipped
    orders in the place of the reckless ones. The lost node was not repaired before."""
    crew = HOSTILE[name](7)
    story = reckless(tmp_path, lambda: crew)
    story.cluster.run("llm", ("train-01", "train-03"))
    story.turns(18, every_s=10.0)
    story.watch.crew = LadderCrew()
    story.policy_files = SHIPPED
    books = story.record.books
    if books.halted or books.closed_kinds:
        story.desk.resume(ALICE, "that planner is gone")
    repaired = {o.action.node for o in story.cluster.effects if hasattr(o.action, "node")}
    well = [n for n in story.cluster.nodes if n.startswith("train-0") and n not in repaired]
    lost = well[-1]
    before = story.cluster.nodes[lost].incarnation
    story.cluster.lose(lost)
    began = story.clock.steady()

    def back() -> bool:
        node = story.cluster.nodes[lost]
        alive = node.incarnation != before and node.ray_state.value == "alive"
        return alive and lost not in story.cluster.fences

    story.until(back, within=int(QUIET_WITHIN_S / 5), every_s=5.0)
    took = story.clock.steady() - began
    print(f"{name}: {lost} was back after {took:.0f} s; before: {len(repaired)} nodes touched")
    assert took <= QUIET_WITHIN_S
    story.journal.close()


@pytest.mark.timeout(0 if BY_NIGHT else 180)
def test_when_the_real_crew_returns_faults_are_cured_within_two_hours() -> None:
    """Two of the planners for their first hour, each of them by night. Faults that only a person or
    a new node ends may wait for one; of all others that are there two hours before the end, hardly
    one is left."""
    done: list[float] = []
    late: list[str] = []
    for n, name in enumerate(HOSTILE if BY_NIGHT else ("malicious", "timeouts")):
        for seed in range(1 + n, 1 + n + LONG_SEEDS):
            twin = spec(seed, nodes=24, days=3.5 / 24, acceleration=1200.0)
            cluster = TwinCluster.of(twin)
            crew: Crew = Returns(HOSTILE[name](seed), HOUR_S, real_crew)
            run = play(twin, RECKLESS, crew=crew, cluster=cluster)
            assert run.violations == ()
            for ailment in (*cluster.harm.over, *cluster.ailments.now.values()):
                took = _took_s(ailment, twin.days * 24 * HOUR_S)
                if took is None:
                    continue
                done += [took] if took <= CURED_WITHIN_S else []
                late += [f"{name} {seed}: {ailment.law.name}"] if took > CURED_WITHIN_S else []
    print(f"{len(done)} cured, the slowest after {max(done, default=0.0):.0f} s; late: {late}")
    assert len(done) >= LONG_SEEDS * (n + 1), "to refuse everything scores zero"
    assert len(late) <= len(done) / 4


def _took_s(ailment: Ailment, ends_s: float) -> float | None:
    """Seconds from the moment at which both the fault and the real crew were there until it was
    cured (inf: never). None: it is not the crew's to cure, or there was no time."""
    there, over = max(ailment.fault.at_s, HOUR_S), ailment.over_s
    curable = ailment.hurts and bool(set(ailment.law.cured_by) - {"person"})
    if not curable or there > ends_s - CURED_WITHIN_S:
        return None
    if over is not None and (over < HOUR_S or over == ailment.fault.ends_s):
        return None  # it was over before, or went by itself
    return math.inf if over is None else over - there


def test_the_random_planner_does_use_every_kind() -> None:
    chance, seen = Randomly(1), set[str]()

    class Watcher:
        def ask(self, briefing: Briefing) -> CrewReply:
            for _ in range(400):
                seen.add(kind_of(chance._action(briefing)))
            return CrewReply()

    play(spec(1, days=0.002), RECKLESS, crew=Watcher())
    assert len(seen) == 17, sorted(seen)
