"""Nothing is broken, and the view goes wrong: nobody is disturbed. One specification for each kind
of noise, at night, when the watch may act alone. Everything here is simulated."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.app.twin_run import Played, play
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.laws import laws
from watchkeeper.twin.noise import draw_noise
from watchkeeper.twin.topology import build
from watchkeeper.twin.words import Noise, NoiseKind, TwinSpec

ORDERS = read_policy_dir(Path(__file__).parents[2] / "policies")
NIGHT = TwinSpec(
    seed=1,
    nodes=288,
    days=8 / 24,
    start=datetime(2026, 1, 5, 22, tzinfo=UTC),
    gang_nodes=(96, 48, 24),
    faults=False,
)


def played(*noise: Noise, spec: TwinSpec = NIGHT, people: bool = True) -> Played:
    """One night with this noise and no fault."""
    numbered = tuple(msgspec.structs.replace(one, id=i) for i, one in enumerate(noise))
    cluster = TwinCluster(spec, build(spec), (), numbered, laws())
    return play(spec, ORDERS, cluster=cluster, people=people, keep_lines=True)


def drawn(kind: NoiseKind, level: float) -> Played:
    """A night of one kind, so many times as frequent as usual."""
    spec = msgspec.structs.replace(NIGHT, noise_level=level)
    noise = [n for n in draw_noise(spec) if n.kind is kind]
    assert len(noise) >= 3, "too few for the night to say anything"
    return played(*noise, spec=spec)


def disturbs_nobody(night: Played) -> None:
    assert night.false_actions.taken == 0
    assert night.effects == {}
    assert night.asks == 0, "nobody is woken with a question about it"
    assert night.halts == 0, "nothing waits for a person to resume the watch"


def test_a_boot_storm_of_214_of_288_nodes_disturbs_nobody():
    storm = Noise(
        id=0, kind=NoiseKind.BOOT_STORM, at_s=3600, ends_s=7200, nodes=tuple(range(214)), value=10
    )
    night = played(storm)
    disturbs_nobody(night)
    assert night.incidents == {}
    assert night.pages == 0
    assert night.tickets == 0


def test_a_leaf_that_boots_twice_within_minutes_disturbs_nobody():
    leaf = [
        Noise(
            id=0,
            kind=NoiseKind.BOOT_STORM,
            at_s=at,
            ends_s=at + 60,
            nodes=tuple(range(32)),
            value=10,
        )
        for at in (3600, 3900)
    ]
    disturbs_nobody(played(*leaf))


def test_half_of_the_telemetry_missing_halts_the_watch_until_it_is_heard_again():
    missing = Noise(
        id=0, kind=NoiseKind.HALF_MISSING, at_s=3600, ends_s=5400, nodes=tuple(range(0, 288, 2))
    )
    night = played(missing, people=False)
    assert (night.false_actions.taken, night.effects, night.asks) == (0, {}, 0)
    assert night.incidents == {"source_lost": 1}
    assert night.halts == 1
    assert night.pages <= 2, "for the source that is lost, and for the halt"
    assert night.lines[-1].endswith("has been heard again for 5 minutes.")


def test_two_minutes_without_half_of_the_telemetry_hold_nothing_up_for_long():
    gaps = [
        Noise(
            id=0,
            kind=NoiseKind.HALF_MISSING,
            at_s=at,
            ends_s=at + 120,
            nodes=tuple(range(at % 2, 288, 2)),
        )
        for at in range(3600, 25200, 1801)
    ]
    night = played(*gaps, people=False)
    assert (night.false_actions.taken, night.effects, night.asks) == (0, {}, 0)
    ends = sum(line.endswith("has been heard again for 5 minutes.") for line in night.lines)
    assert ends == night.halts > 0, "nothing waits for a person to resume the watch"


KINDS = {
    "old lines that are told again as if they were new": (NoiseKind.STALE_EVENTS, 900.0),
    "sensors that stand still": (NoiseKind.FROZEN_SENSOR, 900.0),
    "watts that are told as milliwatts": (NoiseKind.UNIT_CHANGE, 900.0),
    "clocks that are up to an hour off": (NoiseKind.CLOCK_SKEW, 900.0),
    "a store that does not answer": (NoiseKind.MONITORING_OUTAGE, 300.0),
    "tenants who print the lines of a dying GPU": (NoiseKind.TENANT_PRINTS, 300.0),
    "job logs that give orders": (NoiseKind.INSTRUCTIONS_IN_LOG, 300.0),
    "programs that fail by themselves": (NoiseKind.APPLICATION_CODES, 100.0),
}


@pytest.mark.parametrize("case", KINDS.values(), ids=KINDS)
def test_a_night_full_of_this_disturbs_nobody(case):
    disturbs_nobody(drawn(*case))


def test_each_line_fifty_times_over_disturbs_nobody():
    spec = msgspec.structs.replace(NIGHT, noise_level=20.0)
    copies = Noise(
        id=0, kind=NoiseKind.DUPLICATES, at_s=0, ends_s=8 * 3600, nodes=tuple(range(288)), value=50
    )
    said = (NoiseKind.BOOT_STORM, NoiseKind.APPLICATION_CODES, NoiseKind.STALE_EVENTS)
    lines = [n for n in draw_noise(spec) if n.kind in said]
    assert len(lines) > 10
    disturbs_nobody(played(copies, *lines, spec=spec))


def test_one_changed_unit_is_one_ticket_and_not_one_for_each_node():
    rack = Noise(
        id=0,
        kind=NoiseKind.UNIT_CHANGE,
        at_s=3600,
        ends_s=9000,
        nodes=tuple(range(16)),
        value=1000,
    )
    assert played(rack).tickets == 1


def test_a_sensor_that_stands_still_is_told_and_treated_by_nobody():
    frozen = Noise(id=0, kind=NoiseKind.FROZEN_SENSOR, at_s=3600, ends_s=18000, nodes=(7,))
    night = played(frozen)
    disturbs_nobody(night)
    assert night.incidents == {"sensor": 1}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_of_it_together_twenty_times_over_disturbs_nobody(seed):
    spec = msgspec.structs.replace(NIGHT, seed=seed, noise_level=20.0)
    night = played(*draw_noise(spec), spec=spec, people=False)
    assert (night.false_actions.taken, night.effects, night.asks) == (0, {}, 0)
    ends = sum(line.endswith("has been heard again for 5 minutes.") for line in night.lines)
    assert ends >= night.halts - 1, "only the last may outlast the night; no person resumes"
