"""The driver of the twin: deterministic, the same dense and skipped, every promise asserted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.app.twin_assert import Asserting, Past
from watchkeeper.app.twin_parts import Parts, put_together
from watchkeeper.app.twin_run import Played, play
from watchkeeper.control.turn import turn
from watchkeeper.core.action import CheckRun, JobRequeue, NodeCordon, NodeDrain
from watchkeeper.core.crew import Briefing, CrewReply
from watchkeeper.core.errors import WatchkeeperError
from watchkeeper.core.event import Kind
from watchkeeper.core.ports import EffectOrder
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.laws import laws
from watchkeeper.twin.topology import build
from watchkeeper.twin.words import Noise, NoiseKind, TrueFault, TwinSpec
from watchkeeper_evals.remediation.setup import Setup

ORDERS = read_policy_dir(Path(__file__).parents[2] / "policies")
TWO_HOURS = TwinSpec(
    seed=1,
    nodes=64,
    days=2 / 24,
    gang_nodes=(16, 8),
    acceleration=400.0,
    noise_level=5.0,
)
QUIET = TwinSpec(seed=1, nodes=64, days=1 / 24, gang_nodes=(16, 8), faults=False, noise=False)


def test_skipped_and_dense_give_the_same_signals_verdicts_and_effects() -> None:
    dense = play(TWO_HOURS, ORDERS, skip=False, keep_lines=True)
    skipped = play(TWO_HOURS, ORDERS, keep_lines=True)
    print(f"dense: {dense.cadence}; skipped: {skipped.cadence}")
    assert dense.verdicts, "something was judged, or the comparison says nothing"
    assert dense.effects, "something was done, or the comparison says nothing"
    assert skipped.lines == dense.lines
    assert skipped.trace_hash == dense.trace_hash
    assert skipped.tally == dense.tally
    assert skipped.turns < dense.turns / 2
    assert not dense.violations
    assert not skipped.violations


def test_readings_that_stand_still_are_told_at_the_same_minute_dense_and_skipped() -> None:
    """They begin between two whole minutes, far from any turn, and end between two others."""
    spec = msgspec.structs.replace(QUIET, nodes=16, days=1.25 / 24, gang_nodes=(4,))
    times = ((1195.0, 3455.0), (1831.0, 4321.0))
    stills = [
        Noise(id=i, kind=NoiseKind.FROZEN_SENSOR, at_s=begin, ends_s=end, nodes=(i + 5,))
        for i, (begin, end) in enumerate(times)
    ]

    def played(*, skip: bool) -> Played:
        cluster = TwinCluster(spec, build(spec), (), tuple(stills), laws())
        return play(spec, ORDERS, skip=skip, keep_lines=True, cluster=cluster)

    dense, skipped = played(skip=False), played(skip=True)
    assert sum("sensor.frozen" in line for line in dense.lines) == len(times)
    assert skipped.lines == dense.lines
    assert skipped.turns < dense.turns / 10


def test_silence_and_nonsense_between_two_looks_are_told_at_the_same_tick_dense_and_skipped() -> (
    None
):
    """Half of the nodes are not heard for less than a heartbeat, and a gang's loss is no number:
    it is well again once it has run for half an hour, on no tick of the crew's own."""
    spec = msgspec.structs.replace(QUIET, nodes=32, days=1.5 / 24, gang_nodes=(8, 4))
    deaf = Noise(
        id=0, kind=NoiseKind.HALF_MISSING, at_s=4095.0, ends_s=4385.0, nodes=tuple(range(20))
    )
    nonsense = TrueFault(
        id=0,
        law="software_nan",
        at_s=1203.0,
        nodes=(1,),
        gpu=-1,
        ends_s=float("inf"),
        first="gang.nan",
        luck=0.5,
    )

    def played(*, skip: bool) -> Played:
        cluster = TwinCluster(spec, build(spec), (nonsense,), (deaf,), laws())
        return play(spec, ORDERS, skip=skip, keep_lines=True, cluster=cluster)

    dense, skipped = played(skip=False), played(skip=True)
    assert dense.incidents["gang_nan"] == 1
    assert any("source:collectors" in line for line in dense.lines)
    assert skipped.lines == dense.lines
    assert skipped.turns < dense.turns / 3


def _under_a_bad_driver(spec: TwinSpec, nodes: range) -> Played:
    rollout = TrueFault(
        id=0,
        law="driver_rollout",
        at_s=1800.0,
        nodes=tuple(nodes),
        gpu=-1,
        ends_s=float("inf"),
        first="xid.119",
        luck=0.5,
    )
    return play(spec, ORDERS, cluster=TwinCluster(spec, build(spec), (rollout,), (), laws()))


def test_forty_gangs_under_a_bad_driver_call_a_person_for_the_driver_alone() -> None:
    spec = TwinSpec(seed=1, nodes=96, days=2 / 24, gang_nodes=(32,), faults=False)
    night = _under_a_bad_driver(spec, range(36, 76))
    assert night.incidents["job_stopped"] >= 40, "each of its gangs stopped"
    assert set(night.escalations) == {"domain_down"}
    assert night.asks == 0
    assert 3 <= night.effects["job.requeue"] < 20, "one tries, and again; the others wait"


def test_a_bad_driver_that_people_roll_back_after_hours_makes_us_repair_no_node() -> None:
    spec = TwinSpec(seed=1, nodes=288, days=5 / 24, gang_nodes=(96, 48, 24), faults=False)
    night = _under_a_bad_driver(spec, range(32, 80))
    assert night.incidents["domain_down"] == 2
    assert night.effects["job.requeue"] >= 2, "its gang met the bad driver again and again"
    assert night.false_actions.taken == 0


@pytest.mark.skipif("WATCHKEEPER_NIGHTLY" not in os.environ, reason="minutes: make nightly")
@pytest.mark.timeout(1800)
def test_a_day_of_256_nodes_is_the_same_dense_and_skipped() -> None:
    spec = TwinSpec(seed=1, nodes=256, days=1.0, gang_nodes=(64, 32, 16), acceleration=20.0)
    dense = play(spec, ORDERS, skip=False, keep_lines=True)
    skipped = play(spec, ORDERS, keep_lines=True)
    print(f"dense: {dense.cadence}; skipped: {skipped.cadence}")
    assert len(dense.lines) > 100
    assert skipped.lines == dense.lines
    assert skipped.trace_hash == dense.trace_hash


@pytest.mark.skipif("WATCHKEEPER_NIGHTLY" not in os.environ, reason="minutes: make nightly")
@pytest.mark.timeout(1800)
def test_a_day_of_2048_nodes_is_the_same_dense_and_skipped_and_its_pace_is_told() -> None:
    """At published rates, with noise and gangs of up to 512 nodes, as the evals play it."""
    spec = Setup(nodes=2048, days=1.0).spec(3)
    lines, took = {}, {}
    for name, skip in (("skipped", True), ("dense", False)):
        began = time.process_time()
        played = play(spec, ORDERS, skip=skip, keep_lines=True)
        took[name] = time.process_time() - began
        lines[name] = played.lines
        assert not played.violations
        print(f"{name}: {took[name]:.1f} s of processor time for {played.turns} turns")
    assert len(lines["dense"]) > 100
    assert lines["skipped"] == lines["dense"]
    assert took["skipped"] < took["dense"]


def test_the_same_seed_gives_the_same_run_to_the_byte_and_another_seed_another() -> None:
    first, again = play(TWO_HOURS, ORDERS), play(TWO_HOURS, ORDERS)
    assert again.trace_hash == first.trace_hash
    assert msgspec.structs.replace(again, wall_s=0.0) == msgspec.structs.replace(first, wall_s=0.0)
    other = play(msgspec.structs.replace(TWO_HOURS, seed=2), ORDERS)
    assert other.trace_hash != first.trace_hash


def test_a_quiet_hour_is_skipped_and_nothing_is_done_in_it() -> None:
    played = play(QUIET, ORDERS)
    assert not played.effects
    assert not played.verdicts
    assert played.turns < played.ticks / 5
    assert played.tally.ettr > 0.95


def test_without_orders_the_watch_only_looks() -> None:
    played = play(TWO_HOURS, {})
    assert not played.effects
    assert played.incidents


def test_s18_killed_at_every_kind_of_boundary_each_effect_is_still_done_at_most_once() -> None:
    seen: set[str] = set()

    def once_each(where: str) -> bool:
        new = where not in seen
        seen.add(where)
        return new and len(seen) > 8  # the first boundaries are those of a first start

    busy = msgspec.structs.replace(TWO_HOURS, days=3 / 24, acceleration=1500.0)
    played = play(busy, ORDERS, crash_at=once_each)
    assert played.crashes >= 8, sorted(seen)
    assert {"effect.before", "effect.after"} <= seen
    assert not played.violations


class Silent:
    """A planner that never asks for anything."""

    def ask(self, briefing: Briefing) -> CrewReply:
        return CrewReply()

    def next_s(self) -> float:
        return float("inf")


def test_another_planner_can_take_the_crews_place() -> None:
    assert not play(TWO_HOURS, ORDERS, crew=Silent()).effects


# Each promise is seen to be broken when it is: a guard that never barks guards nothing.


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = put_together(TwinCluster.of(QUIET), ORDERS, tmp_path)
    turn(made.watch)
    yield made
    made.close()


def _order(parts: Parts, node: str = "train-0001", **changes: object) -> EffectOrder:
    word = parts.cluster.read().nodes[node]
    order = EffectOrder(
        action=NodeCordon(node=node, incarnation=word.incarnation),
        key=f"P-{len(parts.guard.ledger.keys) + 1}:k",
        token=parts.guard.ledger.token + 1,
        session=parts.cluster.session,
        cluster=parts.cluster.cluster_id,
        note="INC-1",
    )
    return msgspec.structs.replace(order, **changes)


def _broken(guard: Asserting) -> set[str]:
    return {v.id for v in guard.ledger.violations}


def _free(parts: Parts, *nodes: str) -> None:
    for node in nodes:
        parts.guard.execute(_order(parts, node))


def test_s26_an_effect_without_a_line_in_the_record_is_seen(parts: Parts) -> None:
    parts.guard.execute(_order(parts))
    assert "S26" in _broken(parts.guard)


def test_s4_an_effect_while_the_watch_is_stopped_is_seen(parts: Parts) -> None:
    parts.watch.stop.set("primary", "a test")
    parts.guard.execute(_order(parts))
    assert "S4" in _broken(parts.guard)


def test_s9_an_effect_while_the_watch_is_halted_is_seen(parts: Parts) -> None:
    parts.watch.record.write(Kind.HALTED, why="a test", durable=True)
    parts.guard.execute(_order(parts))
    assert "S9" in _broken(parts.guard)


def test_s21_an_effect_of_a_kind_whose_gate_is_closed_is_seen(parts: Parts) -> None:
    parts.watch.record.write(Kind.GATE_CLOSED, action="node.cordon", why="a test", durable=True)
    parts.guard.execute(_order(parts))
    assert "S21" in _broken(parts.guard)


def test_s6_a_token_that_does_not_grow_is_seen(parts: Parts) -> None:
    parts.guard.execute(_order(parts, token=7))
    parts.guard.execute(_order(parts, "train-0040", token=7))
    assert "S6" in _broken(parts.guard)


def test_s18_the_same_effect_twice_is_seen(parts: Parts) -> None:
    parts.guard.execute(_order(parts, key="P-1:k"))
    parts.guard.execute(_order(parts, key="P-1:k"))
    assert "S18" in _broken(parts.guard)


def test_s3_more_than_twenty_disruptive_effects_in_an_hour_are_seen(parts: Parts) -> None:
    nodes = parts.cluster.machines.names
    _free(parts, *nodes[:20])
    assert "S3" not in _broken(parts.guard)
    _free(parts, nodes[20])
    assert "S3" in _broken(parts.guard)


def test_s2_more_than_half_of_a_rack_out_is_seen(parts: Parts) -> None:
    rack = [n.name for n in parts.cluster.read().nodes.values() if n.rack == "rack-01"]
    _free(parts, *rack[: len(rack) // 2])
    assert "S2" not in _broken(parts.guard)
    _free(parts, rack[len(rack) // 2])
    assert "S2" in _broken(parts.guard)


def test_s19_s20_spent_budgets_are_seen(parts: Parts) -> None:
    """What came before is put into the guard's own ledger by hand."""
    guard, cluster = parts.guard, parts.cluster
    name = cluster.machines.names[0]
    life = cluster.read().nodes[name].incarnation
    for k in range(4):
        guard.ledger.past.append(
            Past(cluster.clock.s, "node.drain", f"node:{name}", name, f"INC-{k}")
        )
    guard.execute(_order(parts, action=NodeDrain(node=name, incarnation=life)))
    assert "S20" in _broken(guard)
    job = next(iter(cluster.work.gangs))
    for k in range(5):
        guard.ledger.past.append(Past(cluster.clock.s, "job.requeue", f"job:{job}", "", f"INC-{k}"))
    gang = cluster.work.gangs[job]
    cluster.work.stop(gang)
    attempt = cluster.read().jobs[job].attempt_id
    guard.execute(_order(parts, action=JobRequeue(job=job, attempt_id=attempt)))
    assert "S19" in _broken(guard)


def test_an_effect_that_is_refused_by_the_provider_breaks_nothing(parts: Parts) -> None:
    name = parts.cluster.machines.names[3]
    gone = _order(parts, action=CheckRun(node=name, incarnation="another-life"))
    with pytest.raises(WatchkeeperError):
        parts.guard.execute(gone)
    assert not parts.guard.ledger.violations
