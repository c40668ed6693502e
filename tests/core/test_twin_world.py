"""The twin as the watch sees it: what a fault looks like, who runs where, what stays the same."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from tests.core.twin_stage import Stage, fault, law, noise

from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.errors import Bug, ClusterUnavailable, UsageError
from watchkeeper.core.incident import Trust
from watchkeeper.core.telemetry import GPU_FIELDS
from watchkeeper.core.word import canonical
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.words import Hurt, Noise, NoiseKind, Scope, TwinSpec

OFF_BUS = law()
HOST = law(
    "host",
    scope=Scope.NODE,
    shows=("node.dead", "node.process_gone"),
    kills_raylet=True,
)
HANG = law("hang", hurts=Hurt.HANGS, silent=True, shows=("gang.hang",), watchdog_s=600.0)
SLOW = law("slow", hurts=Hurt.SLOWS, shows=("gpu.thermal",), slowdown=0.7)
PROGRAM = law(
    "program", scope=Scope.JOB, shows=("xid.31",), cured_by=("job.requeue",), manual_repair_h=0.25
)
MOUNT = law(
    "mount",
    scope=Scope.STORAGE,
    hurts=Hurt.HANGS,
    shows=("storage.stall",),
    cured_by=("person",),
)


def column(stage: Stage, name: str, i: int = 0) -> np.ndarray:
    frame = stage.source.read().frame
    return frame.gpu[frame.row[stage.twin.machines.names[i]], :, GPU_FIELDS.index(name)]


# Faults and their faces.


def test_a_gpu_off_the_bus_is_a_line_a_lost_gpu_and_a_stopped_gang() -> None:
    stage = Stage(fault(OFF_BUS), laws=(OFF_BUS,)).at(101.0)
    (line,) = stage.listen()
    assert (line.code, line.target, line.trust) == ("xid.79", "gpu:train-0001/3", Trust.KERNEL)
    assert line.simulated
    assert line.incarnation == stage.node().incarnation
    assert list(column(stage, "present")) == [1, 1, 1, 0, 1, 1, 1, 1]
    assert stage.job().state is JobState.STOPPED
    assert stage.node().ray_state is RayState.ALIVE


def test_a_first_symptom_may_mislead_and_the_true_one_follows_within_a_minute() -> None:
    stage = Stage(fault(OFF_BUS, first="xid.45"), laws=(OFF_BUS,)).at(130.0)
    assert [s.code for s in stage.listen()] == ["xid.45"]
    assert "xid.79" in {s.code for s in stage.at(160.0).listen()}


def test_a_code_may_blame_the_innocent_end() -> None:
    link = law("link", shows=("xid.74",))
    stage = Stage(fault(link, blames=5), laws=(link,)).at(160.0)
    assert [s.target for s in stage.listen()] == ["gpu:train-0001/5", "gpu:train-0001/3"]


def test_a_dead_host_falls_silent_at_once_and_is_dead_to_ray_later() -> None:
    stage = Stage(fault(HOST), laws=(HOST,)).at(110.0)
    assert stage.job().state is JobState.STOPPED
    assert stage.node().ray_state is RayState.ALIVE
    stage.at(120.0)
    assert (stage.node().ray_state, stage.node().process_gone) == (RayState.DEAD, True)
    frame = stage.at(600.0).source.read().frame
    assert frame.last_read("train-0001") == stage.spec.start.timestamp() + 100.0
    assert frame.last_read("train-0002") == stage.spec.start.timestamp() + 600.0


def test_without_the_providers_word_nobody_knows_whether_the_process_is_gone() -> None:
    taken = law("taken", scope=Scope.NODE, shows=("node.dead",), kills_raylet=True)
    stage = Stage(fault(taken), laws=(taken,)).at(130.0)
    assert stage.node().process_gone is None


def test_a_hang_shows_as_no_steps_and_full_utilisation_until_the_watchdog_ends_it() -> None:
    stage = Stage(fault(HANG, at_s=125.0), laws=(HANG,)).at(600.0)
    assert stage.listen() == []
    job = stage.job()
    assert job.state is JobState.RUNNING
    assert job.step_at == stage.twin.clock.at(125.0)
    assert column(stage, "utilization_percent", 1).mean() > 98
    assert column(stage, "power_watts", 1).mean() < 250
    assert column(stage, "utilization_percent", 0)[3] == 0.0  # the one that the others wait for
    assert stage.at(730.0).job().state is JobState.STOPPED
    assert stage.twin.tally().lost["hang"] == pytest.approx(600 / 3600 * 32)


def test_a_straggler_slows_the_gang_and_stands_out_among_its_peers() -> None:
    stage = Stage(fault(SLOW, at_s=0.0), laws=(SLOW,)).at(600.0)
    assert stage.job().step == pytest.approx(0.7 * 60, abs=1)
    hot = column(stage, "temperature_celsius")
    assert hot[3] > 90 > hot[2]
    assert column(stage, "throttle_reasons")[3] > 0
    assert stage.twin.tally().lost["slow"] > 0


def test_a_program_that_fails_takes_its_gang_and_no_node_and_a_requeue_ends_it() -> None:
    stage = Stage(fault(PROGRAM), laws=(PROGRAM,)).at(130.0)
    assert stage.job().state is JobState.STOPPED
    stage.requeue()
    assert stage.twin.active_faults() == ()
    assert (stage.job().state, stage.job().attempt) == (JobState.RUNNING, 2)


def test_a_program_fault_where_nothing_runs_does_not_happen() -> None:
    stage = Stage(fault(PROGRAM, nodes=(8,)), laws=(PROGRAM,))
    assert stage.twin.work.on(8) is None
    assert stage.at(200.0).twin.active_faults() == ()


def test_a_lost_mount_starves_every_gang_behind_it_without_a_gpu_code() -> None:
    stage = Stage(fault(MOUNT, nodes=tuple(range(20))), laws=(MOUNT,)).at(200.0)
    lines = stage.listen()
    assert {s.code for s in lines} == {"storage.stall"}
    assert {s.target for s in lines} == {f"node:{n}" for n in stage.twin.machines.names}
    assert column(stage, "utilization_percent", 0).max() < 10
    assert column(stage, "power_watts", 0).max() < 150
    tally = stage.twin.tally()
    assert tally.lost["starved"] > 0 == tally.lost["hang"]


def test_corrupt_steps_are_rolled_back_once_the_corruption_was_told() -> None:
    taints = law("taints", hurts=Hurt.TAINTS, shows=("xid.95",), cured_by=("gpu.reset",))
    stage = Stage(fault(taints, at_s=5000.0), laws=(taints,), checkpoint_every_s=1000.0).at(9000.0)
    stage.twin.work.stop(stage.gang)
    before = stage.job().checkpoint_at
    stage.twin.harm.cure([0], "gpu.reset", 3)
    stage.requeue()
    assert before > stage.twin.clock.at(5000.0) > stage.job().checkpoint_at
    assert stage.twin.tally().lost["taint"] > 0


def test_a_fault_that_ends_by_itself_lets_the_host_come_back_alone() -> None:
    stage = Stage(fault(HOST, ends_s=500.0), laws=(HOST,)).at(400.0)
    life = stage.node().incarnation
    stage.at(600.0)
    assert stage.node().ray_state is RayState.ALIVE
    assert stage.node().incarnation != life
    assert stage.job().state is JobState.STOPPED


def test_unasked_people_mend_it_in_their_time_and_submit_what_it_ended() -> None:
    mended = law("host", scope=Scope.NODE, shows=HOST.shows, kills_raylet=True, manual_repair_h=0.5)
    stage = Stage(fault(mended), laws=(mended,))
    stage.at(3 * 3600.0)
    assert stage.node().ray_state is RayState.ALIVE
    assert stage.job().state is JobState.RUNNING
    assert stage.twin.active_faults() == ()


def test_people_who_mend_a_gpu_start_its_node_anew_and_lift_the_fence() -> None:
    slow = law("slow", hurts=Hurt.SLOWS, shows=("pcie.width",), manual_repair_h=0.5)
    stage = Stage(fault(slow), laws=(slow,)).at(200.0)
    assert {s.target for s in stage.listen()} == {"gpu:train-0001/3"}
    life = stage.node().incarnation
    stage.do("node.cordon")
    stage.at(3 * 3600.0)
    assert stage.node().incarnation != life
    assert stage.twin.read().fences == {}
    assert (stage.job().state, stage.job().attempt) == (JobState.RUNNING, 2)
    assert stage.gang.pace.share == 1.0


def test_a_flapping_raylet_comes_and_goes_with_a_new_life_each_time() -> None:
    flaps = law("flaps", scope=Scope.NODE, shows=("node.flap", "node.dead"))
    stage, lives = Stage(fault(flaps), laws=(flaps,)), set()
    for t in range(100, 700, 10):
        lives.add(stage.at(float(t)).node().incarnation)
    assert len(lives) == 3
    assert stage.node().ray_state is RayState.DEAD


def test_a_cured_fault_comes_back_when_its_luck_says_so_and_not_on_a_new_machine() -> None:
    returns = law("returns", relapse=0.5)
    stage = Stage(fault(returns, luck=0.01), laws=(returns,)).at(200.0)
    stage.twin.harm.cure([0], "node.reboot")
    stage.at(86400.0)
    assert [f.relapse_of for f in stage.twin.active_faults()] == [0]
    stage = Stage(fault(returns, luck=0.01), laws=(returns,)).at(200.0)
    stage.twin.harm.cure([0], "node.replace")
    assert stage.at(86400.0).twin.active_faults() == ()


# Work.


def test_a_gang_that_is_started_upon_a_fault_ends_again_and_its_code_is_told_again() -> None:
    stage = Stage(fault(OFF_BUS), laws=(OFF_BUS,)).at(1000.0)
    stage.listen()
    stage.requeue()
    assert stage.at(1030.0).job().state is JobState.RUNNING
    assert stage.at(1070.0).job().state is JobState.STOPPED
    assert [s.code for s in stage.listen()] == ["xid.79"]


def test_a_gang_whose_node_is_gone_takes_a_spare_in_its_place() -> None:
    stage = Stage(fault(HOST), laws=(HOST,)).at(200.0)
    stage.requeue()
    job = stage.job()
    assert job.state is JobState.RUNNING
    assert "train-0001" not in job.nodes
    assert len(job.nodes) == 4
    assert {"train-0002", "train-0003", "train-0004"} < set(job.nodes)


def test_without_a_spare_it_waits_and_starts_by_itself_when_its_node_is_back() -> None:
    stage = Stage(fault(HOST), laws=(HOST,), spares=0.0).at(200.0)
    stage.requeue()
    job = stage.job()
    assert (job.state, job.pending_gpus, job.pending_bundle_gpus) == (JobState.WAITING, 8.0, 8.0)
    demand = next(d for d in stage.twin.read().demand if d.pool == "train")
    assert (demand.pending_gpus, demand.blocked_job) == (8.0, "train-gang-01")
    stage.do("node.reboot")
    stage.at(1000.0)
    stage.do("node.uncordon")
    assert stage.job().state is JobState.RUNNING
    assert stage.twin.tally().lost["queue"] == pytest.approx(800 / 3600 * 32)


def test_an_owner_submits_a_stopped_gang_again_after_hours() -> None:
    stage = Stage(fault(OFF_BUS, ends_s=300.0), laws=(OFF_BUS,)).at(3 * 3600.0)
    assert stage.job().state is JobState.STOPPED
    assert stage.at(5 * 3600.0).job().state is JobState.RUNNING


def test_gangs_that_do_not_fit_are_refused_with_a_reason() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        Stage(gang_nodes=(4, 400))


def test_every_gpu_hour_is_useful_or_lost_to_one_cause() -> None:
    twin = TwinCluster.of(TwinSpec(seed=3, nodes=128, days=20, gang_nodes=(64, 16)))
    twin.advance(20 * 86400.0)
    tally = twin.tally()
    assert tally.allocated > 0
    assert len(twin.harm.played) > 5
    assert tally.useful + sum(tally.lost.values()) == pytest.approx(tally.allocated)
    assert 0 < tally.ettr < 1
    assert tally.kwh > 0
    assert tally.money > 0


# Reading.


def test_what_did_not_change_is_the_same_object_and_what_was_handed_out_never_changes() -> None:
    stage = Stage(fault(HOST), laws=(HOST,)).at(60.0)
    before, frame = stage.twin.read(), stage.source.read().frame
    kept = canonical(before), frame.gpu.copy()
    again = stage.at(65.0).twin.read()
    assert again.nodes is before.nodes
    assert again.jobs is before.jobs
    assert stage.source.read().frame.gpu is frame.gpu
    after = stage.at(600.0).twin.read()
    assert after.nodes["train-0002"] is not before.nodes["train-0002"]  # its gang is gone
    assert after.nodes["train-0009"] is before.nodes["train-0009"]
    assert canonical(before) == kept[0]
    assert np.array_equal(frame.gpu, kept[1], equal_nan=True)


def test_a_mark_stands_for_what_is_visible_and_drift_does_not_move_it() -> None:
    stage = Stage(fault(OFF_BUS), laws=(OFF_BUS,)).at(10.0)
    mark = stage.twin.mark
    assert stage.twin.next_event_s() == 100.0
    stage.at(99.0).twin.read()
    stage.source.read()
    assert not stage.twin.changed_since(mark)
    assert stage.at(100.0).twin.changed_since(mark)


def test_time_does_not_go_back() -> None:
    with pytest.raises(Bug):
        Stage().at(100.0).at(50.0)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_that_skips_quiet_ticks_sees_the_same_as_one_that_does_not(seed: int) -> None:
    spec = TwinSpec(seed=seed, nodes=96, days=0.25, gang_nodes=(32, 16), acceleration=150.0)
    dense, skipped = TwinCluster.of(spec), TwinCluster.of(spec)
    ticks = [10.0 * k for k in range(1, 2160)]
    lines: dict[bool, list[bytes]] = {True: [], False: []}
    looked = 0
    seen = skipped.mark
    for tick in ticks:
        told = _look(dense, tick)
        lines[True] += told[1]
        due = skipped.next_event_s() <= tick or skipped.changed_since(seen) or tick % 1800 == 0
        if due:
            found = _look(skipped, tick)
            seen, looked = skipped.mark, looked + 1
            lines[False] += found[1]
            assert found[0] == told[0]
    assert lines[True] == lines[False]
    assert len(lines[True]) > 20
    assert looked < len(ticks) / 3
    skipped.advance(ticks[-1])
    assert dense.tally() == skipped.tally()


def _look(twin: TwinCluster, at_s: float) -> tuple[str, list[bytes]]:
    """A hash of everything that is read at this tick, and the lines that are new."""
    twin.advance(at_s)
    state = twin.read()
    try:
        read = twin.telemetry().read()
    except ClusterUnavailable:
        return hashlib.sha256(canonical(state)).hexdigest(), []
    digest = hashlib.sha256(canonical(state))
    for array in (read.frame.gpu, read.frame.host, read.frame.read_at):
        digest.update(array.tobytes())
    return digest.hexdigest(), [canonical(s) for s in read.signals]


# Noise.


def test_an_outage_of_monitoring_is_an_error_and_its_lines_come_afterwards() -> None:
    outage = noise(NoiseKind.MONITORING_OUTAGE, 90.0, 400.0)
    stage = Stage(fault(OFF_BUS), laws=(OFF_BUS,), noise=(outage,)).at(200.0)
    with pytest.raises(ClusterUnavailable, match="simulated"):
        stage.source.read()
    assert "xid.79" in {s.code for s in stage.at(400.0).listen()}


@pytest.mark.parametrize(
    ("kind", "value", "what", "code", "trust"),
    [
        (NoiseKind.TENANT_PRINTS, 79.0, "gpu:train-0003/0", "xid.79", Trust.JOB_LOG),
        (NoiseKind.INSTRUCTIONS_IN_LOG, 0.0, "job:train-gang-01", "job.log", Trust.JOB_LOG),
        (NoiseKind.APPLICATION_CODES, 31.0, "gpu:train-0003/0", "xid.31", Trust.KERNEL),
        (NoiseKind.STALE_EVENTS, 7200.0, "gpu:train-0003/0", "xid.79", Trust.KERNEL),
    ],
    ids=str,
)
def test_lines_of_noise_say_who_vouches_for_them_and_hurt_nobody(
    kind: NoiseKind, value: float, what: str, code: str, trust: Trust
) -> None:
    disturbance = noise(kind, 9000.0, 9010.0, nodes=(2,), value=value)
    stage = Stage(noise=(disturbance,)).at(9005.0)
    (line,) = stage.listen()
    assert (line.target, line.code, line.trust) == (what, code, trust)
    late = value if kind is NoiseKind.STALE_EVENTS else 0.0
    assert line.at == stage.twin.clock.at(9000.0 - late)
    assert stage.job().state is JobState.RUNNING
    assert stage.twin.active_faults() == ()


def test_a_boot_storm_says_link_down_of_every_node_and_boots_those_without_work() -> None:
    storm = noise(NoiseKind.BOOT_STORM, 100.0, 700.0, nodes=tuple(range(20)), value=10.0)
    stage = Stage(noise=(storm,)).at(90.0)
    before = stage.twin.read().nodes
    after = stage.at(800.0).twin.read().nodes
    lines = stage.listen()
    assert {s.code for s in lines} == {"ib.link_down"}
    assert len(lines) == 20
    idle = {n for i, n in enumerate(stage.twin.machines.names) if stage.twin.work.on(i) is None}
    assert {n for n in after if after[n].incarnation != before[n].incarnation} == idle
    assert stage.job().state is JobState.RUNNING


def test_readings_go_wrong_only_where_and_while_the_noise_lasts() -> None:
    noises: tuple[Noise, ...] = (
        noise(NoiseKind.FROZEN_SENSOR, 100.0, 1000.0, nodes=(0,)),
        noise(NoiseKind.UNIT_CHANGE, 100.0, 1000.0, nodes=(1,), value=1000.0),
        noise(NoiseKind.HALF_MISSING, 100.0, 1000.0, nodes=(2,)),
        noise(NoiseKind.CLOCK_SKEW, 100.0, 1000.0, nodes=(3,), value=-900.0),
    )
    stage, start = Stage(noise=noises), TwinSpec(seed=1).start.timestamp()
    first = stage.at(200.0).source.read().frame
    later = stage.at(900.0).source.read().frame
    assert np.array_equal(first.gpu[0], later.gpu[0])
    assert not np.array_equal(first.gpu[5], later.gpu[5])
    assert column(stage, "power_watts", 1).min() > 100_000
    assert later.last_read("train-0003") == start + 100.0
    assert later.last_read("train-0004") == start
    well = stage.at(1100.0).source.read().frame
    assert [well.last_read(n) for n in well.nodes[:4]] == [start + 1100.0] * 4
    assert column(stage, "power_watts", 1).max() < 800


def test_duplicates_are_the_same_line_many_times() -> None:
    copies = noise(NoiseKind.DUPLICATES, 50.0, 400.0, nodes=(0,), value=7.0)
    stage = Stage(fault(OFF_BUS), laws=(OFF_BUS,), noise=(copies,)).at(102.0)
    lines = stage.listen()
    assert len(lines) == 7
    assert len({s.id for s in lines}) == 1


def test_noise_moves_no_fault_and_no_gpu_hour() -> None:
    spec = {"seed": 5, "nodes": 64, "days": 10.0, "gang_nodes": (32,), "acceleration": 5.0}
    quiet = TwinCluster.of(TwinSpec(**spec, noise=False))
    loud = TwinCluster.of(TwinSpec(**spec))
    quiet.advance(864000.0)
    loud.advance(864000.0)
    assert loud.noise
    assert not quiet.noise
    assert loud.harm.played == quiet.harm.played
    assert loud.tally() == quiet.tally()
