"""What the watch can see of three things that come and go: relapses, a rollout, an outage; and what
people do who look for a broken node on their own. Only ports are read here, never the truth.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from tests.core.twin_stage import Stage, fault, law, noise

from watchkeeper.core.cluster import JobState
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.telemetry import HOST_FIELDS
from watchkeeper.twin.laws import by_name
from watchkeeper.twin.people import FOUND_H, found_s, manual_repair_s
from watchkeeper.twin.words import Hurt, NoiseKind, Scope, TwinSpec

DAY_S = 86400.0
OFF_BUS = law()


def test_a_transient_fault_that_relapses_is_seen_go_and_come_back() -> None:
    """It says its code, its slow steps pass; within a week the same GPU says it again."""
    slow = law("slow", hurts=Hurt.SLOWS, shows=("pcie.width",), slowdown=0.5, relapse=1.0)
    stage = Stage(fault(slow, ends_s=700.0, luck=0.3), laws=(slow,)).at(400.0)
    first = stage.listen()
    assert {(s.code, s.target) for s in first} == {("pcie.width", "gpu:train-0001/3")}
    early = stage.job().step
    steps = stage.at(640.0).job().step - early
    stage.at(700.0).listen()
    assert stage.at(1500.0).listen() == []
    before = stage.job().step
    assert stage.at(1740.0).job().step - before == pytest.approx(2 * steps, abs=2)
    again = stage.at(7.1 * DAY_S).listen()
    assert {(s.code, s.target) for s in again} == {("pcie.width", "gpu:train-0001/3")}
    assert min(s.at for s in again) > max(s.at for s in first)


def test_counters_of_a_link_are_told_each_minute_while_it_is_ill_and_not_after_it() -> None:
    cable = law("cable", scope=Scope.NODE, shows=("ib.link_down", "ib.symbol_errors"))
    stage = Stage(fault(cable, ends_s=700.0), laws=(cable,)).at(695.0)
    told = [s for s in stage.listen() if s.code == "ib.link_down"]
    assert len(told) == 10
    gaps = [(b.at - a.at).total_seconds() for a, b in pairwise(told[1:])]
    assert set(gaps) == {60.0}
    assert stage.at(2000.0).listen() == []


def test_the_counters_of_a_host_that_is_down_are_not_read() -> None:
    cable = law("cable", scope=Scope.NODE, shows=("ib.link_down",))
    stage = Stage(fault(cable), laws=(cable,)).at(300.0)
    stage.do("node.cordon")
    stage.do("node.drain", deadline_s=30.0)
    stage.at(350.0).listen()
    assert stage.at(700.0).listen() == []


def test_a_bad_driver_rollout_is_seen_as_one_code_rack_by_rack_and_nowhere_else() -> None:
    rollout = by_name()["driver_rollout"]
    reached = tuple(range(32, 48))
    stage = Stage(
        fault(rollout, at_s=600.0, nodes=reached), laws=(rollout,), nodes=64, gang_nodes=()
    ).at(700.0)
    lines = stage.listen()
    nodes = {s.target.partition(":")[2].partition("/")[0] for s in lines}
    assert nodes == {f"train-{i + 1:04d}" for i in reached}
    assert {s.code for s in lines} <= {"xid.119", "xid.62"}
    racks = {stage.twin.read().nodes[n].rack for n in nodes}
    assert len(racks) == 1
    first = {s.target: s.at for s in reversed(lines)}.values()
    assert 1.0 <= (max(first) - min(first)).total_seconds() <= 10.0
    stopped = {j.nodes[0] for j in stage.twin.read().jobs.values() if j.state is JobState.STOPPED}
    assert stopped == nodes - {n for n in nodes if stage.twin.fleet.spare[_index(stage, n)]}


def test_a_monitoring_outage_is_seen_as_silence_of_all_and_its_lines_come_afterwards() -> None:
    outage = noise(NoiseKind.MONITORING_OUTAGE, 90.0, 400.0)
    stage = Stage(fault(OFF_BUS), laws=(OFF_BUS,), noise=(outage,)).at(89.0)
    assert len(stage.source.read().frame.nodes) == 20
    with pytest.raises(ClusterUnavailable, match="simulated outage"):
        stage.at(90.0).source.read()
    with pytest.raises(ClusterUnavailable):
        stage.at(399.0).source.read()
    late = [s for s in stage.at(410.0).listen() if s.code == "xid.79"]
    assert stage.twin.clock.at(100.0) in {s.at for s in late}
    assert stage.twin.read().jobs["train-gang-01"].state is JobState.STOPPED


@pytest.mark.parametrize(
    ("hurts", "share"),
    [pytest.param(Hurt.HANGS, 0.02, id="lost"), pytest.param(Hurt.SLOWS, 0.5, id="slow")],
)
def test_the_throughput_of_storage_is_seen_at_the_hosts_that_read_from_it(
    hurts: Hurt, share: float
) -> None:
    mount = law(
        "mount",
        scope=Scope.STORAGE,
        hurts=hurts,
        shows=("storage.stall",),
        cured_by=("person",),
        slowdown=0.5,
    )
    stage = Stage(
        fault(mount, at_s=1000.0, nodes=tuple(range(20))), laws=(mount,), nodes=20, gang_nodes=(4,)
    )
    rx = HOST_FIELDS.index("network_rx_bytes_per_s")
    well = stage.at(900.0).source.read().frame.host[:4, rx]
    ill = stage.at(1100.0).source.read().frame.host[:4, rx]
    assert np.all(ill <= share * well)
    assert np.all(ill > 0)


# People who find a broken node, and have nothing to mend it with.


def test_people_who_found_a_broken_node_run_its_gang_elsewhere_long_before_it_is_mended() -> None:
    dead = law("dead", cured_by=("node.replace", "person"), manual_repair_h=72.0)
    words = fault(dead)
    stage = Stage(words, laws=(dead,))
    found = 100.0 + found_s(stage.spec, dead, stage.twin.faults[0])
    assert stage.at(found - 1.0).job().state is JobState.STOPPED
    job = stage.at(found + 1.0).job()
    assert job.state is JobState.RUNNING
    assert "train-0001" not in job.nodes
    assert stage.twin.active_faults("train-0001"), "found is not mended"
    assert stage.node().ray_state.value == "alive"
    assert stage.twin.read().fences == {}, "Ray and the watch see nothing of it"


def test_nobody_starts_anything_on_a_node_that_people_know_to_be_broken_until_it_is_well() -> None:
    dead = law("dead", cured_by=("node.reboot", "node.replace", "person"), manual_repair_h=72.0)
    stage = Stage(fault(dead), laws=(dead,), spares=0.0)
    found = 100.0 + found_s(stage.spec, dead, stage.twin.faults[0])
    assert stage.at(found + 1.0).job().state is JobState.WAITING
    stage.do("node.reboot")
    stage.at(found + 700.0)
    stage.do("node.uncordon")
    assert stage.job().state is JobState.RUNNING
    assert "train-0001" in stage.job().nodes


def test_what_was_found_and_ends_by_itself_gives_its_node_back() -> None:
    dead = law("dead", manual_repair_h=72.0)
    stage = Stage(fault(dead, ends_s=6 * DAY_S), laws=(dead,), spares=0.0)
    assert stage.at(5 * DAY_S).job().state in (JobState.WAITING, JobState.RUNNING)
    job = stage.at(6 * DAY_S + 61.0).job()
    assert job.state is JobState.RUNNING


def test_a_gang_is_moved_off_a_slow_node_that_people_found_if_there_is_another() -> None:
    slow = law("slow", hurts=Hurt.SLOWS, shows=("gpu.thermal",), slowdown=0.5, manual_repair_h=24.0)
    for spares, moved in ((0.1, True), (0.0, False)):
        stage = Stage(fault(slow), laws=(slow,), spares=spares)
        found = 100.0 + found_s(stage.spec, slow, stage.twin.faults[0])
        assert "train-0001" in stage.at(found - 1.0).job().nodes
        assert ("train-0001" not in stage.at(found + 60.0).job().nodes) is moved
        assert stage.job().state is JobState.RUNNING


@pytest.mark.parametrize(
    ("name", "finds"),
    [
        pytest.param("gpu_board_dead", True, id="a part that takes days"),
        pytest.param("ib_cable", True, id="a cable"),
        pytest.param("gpu_off_bus", False, id="mended as soon as found"),
        pytest.param("gpu_straggler", False, id="what nobody sees"),
        pytest.param("silent_corruption", False, id="what no instrument says"),
        pytest.param("software_crash", False, id="a program"),
        pytest.param("storage_mount", False, id="nowhere to go"),
    ],
)
def test_people_find_what_shows_and_takes_long_to_mend(name: str, finds: bool) -> None:
    spec, it = TwinSpec(seed=1), by_name()[name]
    one = fault(it, luck=0.5)
    assert (found_s(spec, it, one) < manual_repair_s(spec, it, one)) is finds


def test_people_find_a_node_in_the_published_time_on_average() -> None:
    spec, it = TwinSpec(seed=1), by_name()["gpu_board_dead"]
    times = [found_s(spec, it, fault(it, id=i + 1, luck=0.5)) for i in range(2000)]
    assert np.mean(times) == pytest.approx(FOUND_H * 3600, rel=0.1)


def _index(stage: Stage, name: str) -> int:
    return stage.twin.machines.index[name]
