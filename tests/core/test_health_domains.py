"""Many that fall ill together, links that fall at boot, old news, and sensors that lie."""

from dataclasses import replace as with_fields
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from tests.core import sick_cluster as c

from watchkeeper.control.think import _note_incident
from watchkeeper.core.cluster import JobState, RayState, World
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import HypothesisStatus, IncidentState
from watchkeeper.core.telemetry import GPU_FIELDS
from watchkeeper.core.word import plain
from watchkeeper.health.correlate import correlate
from watchkeeper.health.domains import explained_by
from watchkeeper.health.illness import newly_unhealthy, still_ill
from watchkeeper.health.notice import notice
from watchkeeper.health.sense import REAL, sense
from watchkeeper.health.sightings import Sightings
from watchkeeper.remedy.ladder import next_steps
from watchkeeper.remedy.plan import Escalate, RemedySettings, RemedyView, Steps, Wait

NODES = 64
SERVES = frozenset({"node.restart", "node.reboot", "node.cordon", "node.drain", "job.requeue"})


def host(n: int, **fields):
    """Racks of 8, leaves of 16, feeds of 32."""
    known = {"rack": f"r{n // 8}", "leaf": f"l{n // 16}", "power_feed": f"f{n // 32}"}
    return c.node(f"n{n:02}", **{**known, "zone": "z0", **fields})


def fleet(dead=(), at=c.NOW, jobs=(), dead_for: float = 10, only=range(NODES), **fields):
    nodes = [
        host(
            n,
            ray_state=RayState.DEAD,
            ray_state_since=at - timedelta(seconds=dead_for),
            process_gone=True,
            gpus_free=0.0,
        )
        if n in dead
        else host(n)
        for n in only
    ]
    snap = c.snapshot(*nodes, jobs=jobs, at=at, world=World.REAL, **fields)
    kept = {n.name: n for n in nodes}
    return with_fields(snap, state=c.renamed(snap.state, nodes=kept))


def turn(snapshot, *news, before=(), ids=None):
    signals = (*(c.renamed(s, world=World.REAL) for s in news), *sense(snapshot, REAL))
    return correlate(tuple(before), signals, snapshot, ids or c.Counter(), REAL)


def live(incidents):
    return [i for i in incidents if i.state is not IncidentState.RESOLVED]


def view(snapshot):
    return RemedyView(snapshot=snapshot, serves=SERVES, settings=RemedySettings(settle_s=0.0))


TOGETHER = {
    "four of a rack are four nodes": (range(4), None),
    "five of a rack are the rack": (range(5), "rack:r0"),
    "a whole rack": (range(8), "rack:r0"),
    "both racks of a leaf are the leaf": (range(16), "leaf:l0"),
    "a whole feed": (range(32), "power_feed:f0"),
    "five over the whole zone are five nodes": (range(0, 64, 13), None),
}


@pytest.mark.parametrize(("ill", "target"), TOGETHER.values(), ids=TOGETHER)
def test_what_many_share_is_one_incident_and_no_node_is_touched(ill, target):
    snapshot = fleet(set(ill))
    left = live(turn(snapshot))
    if target is None:
        assert len(left) == len(ill)
        return
    (incident,) = left
    assert (incident.target, incident.fault) == (target, Fault.DOMAIN_DOWN)
    plan = next_steps(incident, view(snapshot))
    assert isinstance(plan, Escalate)
    assert plan.page


def test_the_domain_has_evidence_for_and_against():
    (incident,) = live(turn(fleet(set(range(8)))))
    said = {h.claim: h.status for h in incident.hypotheses}
    assert said["power or cooling of the rack"] is HypothesisStatus.SUPPORTED
    assert said["the leaf switch"] is HypothesisStatus.REFUTED
    assert said["each node for itself"] is HypothesisStatus.REFUTED


def test_the_same_snapshot_twice_adds_nothing():
    snapshot, ids = fleet(set(range(8))), c.Counter()
    once = turn(snapshot, ids=ids)
    assert turn(snapshot, before=once, ids=ids) == once


def test_nodes_that_follow_join_and_racks_that_follow_make_it_the_leaf():
    ids = c.Counter()
    first = turn(fleet(set(range(5))), ids=ids)
    later = c.NOW + timedelta(seconds=40)
    more = turn(fleet(set(range(8)), at=later, dead_for=50), before=first, ids=ids)
    (incident,) = live(more)
    assert incident.target == "rack:r0"
    last = c.NOW + timedelta(seconds=80)
    both = turn(fleet(set(range(16)), at=last, dead_for=90), before=more, ids=ids)
    assert [i.target for i in live(both)] == ["leaf:l0"]


def test_gangs_that_it_stopped_are_requeued_first():
    gang = c.job(
        "g", ("n00", "n01"), state=JobState.STOPPED, state_since=c.NOW - timedelta(seconds=60)
    )
    snapshot = fleet(set(range(8)), jobs=[gang])
    (incident,) = live(turn(snapshot))
    assert incident.jobs == ("g",)
    plan = next_steps(incident, view(snapshot))
    assert isinstance(plan, Steps)
    assert [s.rung for s in plan.steps] == ["domain_down: job.requeue"]


def test_when_power_is_back_it_closes_and_what_is_left_is_repaired_as_a_node():
    ids = c.Counter()
    down = turn(fleet(set(range(8))), ids=ids)
    told = tuple(
        c.renamed(i, state=IncidentState.ESCALATED) if i.state is IncidentState.OPEN else i
        for i in down
    )
    later = c.NOW + timedelta(hours=1)
    still = turn(fleet({0, 1, 2}, at=later, dead_for=3610), before=told, ids=ids)
    assert [i.target for i in live(still)] == ["rack:r0"]
    back = fleet({2}, at=later, dead_for=3610)
    left = live(turn(back, before=still, ids=ids))
    assert [(i.target, i.fault) for i in left] == [("node:n02", Fault.NODE_LOST)]
    assert isinstance(next_steps(left[0], view(back)), Steps)


def test_s9_the_nodes_of_a_domain_still_count_as_unhealthy():
    snapshot = fleet(set(range(8)))
    assert newly_unhealthy(turn(snapshot), snapshot) == {"train": 8}


def test_five_bad_gpus_of_one_rack_are_five_faults():
    news = [c.xid(79, f"n{n:02}/0") for n in range(5)]
    assert len(live(turn(fleet(), *news))) == 5


def test_a_driver_that_fails_on_many_nodes_of_a_rack_is_what_was_rolled_out_to_them():
    codes = [c.xid(119, f"n{n:02}/2", seconds_ago=30) for n in range(8)]
    (incident,) = live(first := turn(fleet(), *codes))
    assert (incident.target, incident.fault) == ("rack:r0", Fault.DOMAIN_DOWN)
    more = [c.xid(62, f"n{n:02}/2", seconds_ago=0) for n in range(8)]
    then = fleet(at=c.NOW + timedelta(seconds=200))
    later = turn(then, *more, before=first)
    (same,) = live(later)
    assert (same.id, same.updated_at) == (incident.id, then.at)
    assert still_ill(same, fleet(at=then.at + timedelta(seconds=1700))) is True
    quiet = then.at + timedelta(seconds=1801)
    assert still_ill(same, fleet(at=quiet)) is None, "nothing runs there: nothing can be told"
    works = fleet(at=quiet, jobs=[gang(range(3), quiet)])
    assert live(turn(works, before=later)) == []


def gang(nodes, at, ran_s=900):
    """A gang that has run on these nodes for so long, and made a step just now."""
    began, step_at = at - timedelta(seconds=ran_s), at - timedelta(seconds=min(30, ran_s))
    names = tuple(f"n{n:02}" for n in nodes)
    return c.job("llm", nodes=names, state_since=began, step=9, step_at=step_at)


@pytest.mark.parametrize(
    ("hours", "nodes", "ran_s", "over"),
    [
        pytest.param(0.4, range(8), 900, True, id="told of lately"),
        pytest.param(0.6, (), 0, None, id="its nodes are empty"),
        pytest.param(0.6, range(2), 900, None, id="two of them work"),
        pytest.param(0.6, range(8), 10, None, id="a gang has just begun"),
        pytest.param(0.6, range(3), 900, False, id="three work"),
        pytest.param(25, (), 0, False, id="a day later"),
    ],
)
def test_a_bad_driver_is_over_once_gangs_work_on_its_nodes_and_not_for_want_of_words(
    hours, nodes, ran_s, over
):
    codes = [c.xid(119, f"n{n:02}/2", seconds_ago=30) for n in range(8)]
    (incident,) = live(turn(fleet(), *codes))
    at = c.NOW + timedelta(hours=hours)
    snapshot = fleet(at=at, jobs=[gang(nodes, at, ran_s)] if nodes else ())
    assert still_ill(incident, snapshot) is over


def test_what_a_bad_driver_says_of_a_node_that_was_empty_for_an_hour_is_still_the_drivers():
    codes = [c.xid(119, f"n{n:02}/2", seconds_ago=30) for n in range(8)]
    first = turn(fleet(), *codes)
    later = fleet(at=c.NOW + timedelta(hours=1))
    again = c.renamed(c.xid(119, "n03/2", seconds_ago=0), at=later.at, id="S-again")
    (same,) = live(turn(later, again, before=first))
    assert (same.target, same.updated_at) == ("rack:r0", later.at)


def test_ports_of_a_leaf_that_stay_down_are_one_incident_for_as_long_as_they_are_told():
    incidents, ids = (), c.Counter()
    for minute in range(12):
        at = c.NOW + timedelta(seconds=60 * minute)
        down = [c.renamed(port_down(n, 0), at=at, id=f"S-{n}-{minute}") for n in range(16)]
        incidents = turn(fleet(at=at), *down, before=incidents, ids=ids)
        assert [i.target for i in live(incidents)] == ["leaf:l0"]
    after = fleet(at=c.NOW + timedelta(seconds=60 * 11 + 601))
    assert live(turn(after, before=incidents, ids=ids)) == []


def test_the_record_keeps_how_long_the_words_of_a_domain_go_on():
    written = []
    watch = SimpleNamespace(record=SimpleNamespace(write=lambda *_, **data: written.append(data)))
    (leaf,) = live(turn(fleet(), *(port_down(n, 0) for n in range(16))))
    later = c.renamed(leaf, updated_at=c.NOW + timedelta(seconds=120))
    _note_incident(watch, leaf, c.renamed(leaf))
    assert not written
    _note_incident(watch, leaf, later)
    assert [d["incident"]["updated_at"] for d in written] == [plain(later)["updated_at"]]


def test_a_node_whose_repair_began_before_its_leaf_fell_ill_waits_for_the_leaf():
    ids = c.Counter()
    first = turn(fleet(), port_down(0, 0), port_down(0, 30), port_down(0, 60), ids=ids)
    in_hand = [c.renamed(i, state=IncidentState.VERIFYING) for i in first]
    others = [port_down(n, 0) for n in range(1, 16)]
    incidents = turn(fleet(), *others, before=in_hand, ids=ids)
    (own,) = [i for i in live(incidents) if i.node == "n00"]
    (leaf,) = [i for i in live(incidents) if i.fault == Fault.DOMAIN_DOWN]
    assert isinstance(next_steps(own, view(fleet())), Steps)
    told = RemedyView(snapshot=fleet(), serves=SERVES, down=explained_by([own, leaf]))
    assert isinstance(next_steps(own, told), Wait)
    assert explained_by([c.renamed(leaf, state=IncidentState.RESOLVED)]) == {}


def test_ports_of_a_whole_leaf_are_the_leaf():
    news = [
        c.renamed(c.xid(1, f"n{n:02}"), code="ib.link_down", target=f"node:n{n:02}", id=f"S-{n}")
        for n in range(16)
    ]
    (incident,) = live(turn(fleet(), *news))
    assert incident.target == "leaf:l0"
    assert incident.hypotheses[0].claim == "the leaf switch"


# Noise.


def port_down(n: int, seconds_ago: float):
    return c.renamed(
        c.xid(1, f"n{n:02}", seconds_ago=seconds_ago),
        code="ib.link_down",
        target=f"node:n{n:02}",
        id=f"S-{n}-{seconds_ago}",
    )


def test_a_boot_storm_of_link_downs_is_noise():
    young = {n: host(n, ray_state_since=c.ago(120)) for n in range(NODES)}
    snap = fleet()
    snap = with_fields(snap, state=c.renamed(snap.state, nodes={n.name: n for n in young.values()}))
    storm = [port_down(n, ago) for n in range(48) for ago in (300, 60, 5)]
    links = [c.xid(74, f"n{n:02}/{g}", seconds_ago=30) for n in range(48) for g in range(8)]
    assert turn(snap, *storm, *links) == ()


def test_the_same_on_a_node_that_serves_for_hours_is_a_fault():
    (incident,) = live(turn(fleet(), port_down(3, 5)))
    assert (incident.fault, incident.node) == (Fault.NETWORK_LINK, "n03")


def test_an_old_line_told_late_opens_nothing():
    snap = fleet()
    reborn = host(3, ray_state_since=c.ago(1200))
    snap = with_fields(snap, state=c.renamed(snap.state, nodes={**snap.nodes, "n03": reborn}))
    assert turn(snap, c.xid(79, "n03/0", seconds_ago=4000)) == ()
    assert len(turn(snap, c.xid(79, "n03/0", seconds_ago=400))) == 1


def test_a_host_whose_clock_runs_ahead_is_heard_as_of_now():
    (incident,) = turn(fleet(), c.xid(79, "n03/0", seconds_ago=-3600))
    assert incident.signals[0].at == c.NOW


# Sensors and clocks.

CELSIUS, POWER, LOAD, CLOCK, REASONS = (
    GPU_FIELDS.index(n)
    for n in (
        *("temperature_celsius", "power_watts", "utilization_percent", "sm_clock_mhz"),
        "throttle_reasons",
    )
)


def watched(change, minutes: int, every_s: int = 60):
    """Notice a fleet whose readings move, with `change(gpu, minute)` applied; the last signals."""
    sightings, signals = Sightings(), ()
    for minute in range(minutes):
        at = c.NOW + timedelta(seconds=every_s * minute)
        snap = fleet(at=at, only=range(16))
        gpu = snap.frame.gpu
        noise = np.random.default_rng(minute).normal(size=(*gpu.shape[:2], 4))
        for place, (column, middle) in enumerate(
            ((CELSIUS, 60), (POWER, 600), (LOAD, 90), (CLOCK, 1700))
        ):
            gpu[:, :, column] = middle + noise[:, :, place]
        gpu[:, :, REASONS] = 0
        change(snap, minute)
        signals, sightings = notice(snap, sightings, REAL)
    return signals


def at_row(snap, name: str) -> int:
    return snap.frame.row[name]


def freeze(snap, _):
    snap.frame.gpu[at_row(snap, "n03"), 2, CELSIUS] = 61.0


def test_a_sensor_that_stands_still_while_others_move_is_a_sensor_fault():
    assert watched(freeze, 20) == ()
    said = watched(freeze, 35)
    assert [(s.code, s.target) for s in said] == [("sensor.frozen", "node:n03")]
    incident = turn(fleet(), *said)[0]
    assert incident.fault == Fault.SENSOR
    plan = next_steps(incident, view(fleet()))
    assert isinstance(plan, Escalate)
    assert not plan.page


def test_a_reading_that_is_held_at_its_limit_by_cut_clocks_is_no_sensor_fault():
    def hot(snap, minute):
        freeze(snap, minute)
        snap.frame.gpu[at_row(snap, "n03"), 2, REASONS] = 0x20

    assert [s.code for s in watched(hot, 35)] == ["gpu.thermal"]


def test_a_gap_in_the_readings_is_no_standstill():
    def gap(snap, minute):
        snap.frame.gpu[at_row(snap, "n03"), 2, CELSIUS] = np.nan

    assert watched(gap, 35) == ()


def test_a_column_that_stands_still_everywhere_is_coarse_and_nobodys_fault():
    def coarse(snap, _):
        snap.frame.gpu[:, :, CELSIUS] = 55.0

    assert watched(coarse, 35) == ()


def test_milliwatts_read_as_watts_are_the_sensors_and_need_two_readings():
    def unit(snap, _):
        snap.frame.gpu[at_row(snap, "n05"), :, POWER] *= 1000

    assert watched(unit, 1) == ()
    said = watched(unit, 2)
    assert [(s.code, s.target) for s in said] == [("sensor.implausible", "node:n05")]


CUT = {
    "our own power cap is no fault": (0x4, 30, set()),
    "idle is no fault": (0x1, 30, set()),
    "cut, and not why": (0x8, 30, set()),
    "warm for a moment": (0x20, 3, set()),
    "warm for long": (0x20, 7, {"gpu.thermal"}),
    "hot by the hardware's own word": (0x48, 3, {"gpu.thermal"}),
    "the power brake": (0x88, 3, {"gpu.power_brake"}),
}


@pytest.mark.parametrize(("bits", "minutes", "codes"), CUT.values(), ids=CUT)
def test_heat_brake_and_cap_are_told_apart_by_the_drivers_bits(bits, minutes, codes):
    def cut(snap, _):
        snap.frame.gpu[at_row(snap, "n04"), 1, REASONS] = bits

    assert {s.code for s in watched(cut, minutes)} == codes


def test_heat_is_a_persons_and_gets_no_reboot_and_passes_by_itself():
    def hot(snap, _):
        snap.frame.gpu[at_row(snap, "n04"), 1, REASONS] = 0x40

    snap = fleet()
    (incident,) = turn(snap, *watched(hot, 4))
    assert incident.fault == Fault.GPU_THERMAL
    plan = next_steps(incident, view(snap))
    assert [s.rung for s in plan.steps] == ["gpu_thermal: node.cordon"]
    assert still_ill(incident, snap, REAL) is False


def test_heat_in_a_whole_rack_is_the_racks_cooling():
    news = [c.renamed(c.xid(1, f"n{n:02}/0"), code="gpu.thermal", id=f"S-{n}") for n in range(8)]
    (incident,) = live(turn(fleet(), *news))
    assert incident.target == "rack:r0"


def test_nodes_that_are_slow_in_a_hot_rack_are_slow_for_that_and_none_is_blamed():
    """Seen on a simulated fleet: fifteen suspects, and six rebooted while the cooling was out."""
    ids, hot = c.Counter(), fleet()
    for n in range(8):
        hot.frame.gpu[hot.frame.row[f"n{n:02}"], :, GPU_FIELDS.index("throttle_reasons")] = 0x20
    heat = [c.renamed(c.xid(1, f"n{n:02}/0"), code="gpu.thermal", id=f"S-{n}") for n in range(8)]
    (rack,) = live(turn(hot, *heat, ids=ids))
    blamed, elsewhere = (
        c.renamed(c.xid(1, node), code="gang.suspect", target=f"node:{node}", id=f"S-{node}")
        for node in ("n03", "n40")
    )
    after = live(turn(hot, blamed, elsewhere, before=[rack], ids=ids))
    assert {(i.fault, i.target) for i in after} == {
        (Fault.DOMAIN_DOWN, "rack:r0"),
        (Fault.NODE_SUSPECT, "node:n40"),
    }
    (before_it,) = live(turn(fleet(), blamed, ids=ids))
    told = RemedyView(snapshot=fleet(), serves=SERVES, down=explained_by([before_it, rack]))
    assert isinstance(next_steps(before_it, told), Wait)


# Storage.


def starving(gangs: int, load: float):
    sightings, signals = Sightings(), ()
    began = c.NOW - timedelta(hours=2)
    for minute in range(44):
        at = c.NOW + timedelta(seconds=30 * minute)
        stuck = c.NOW + timedelta(seconds=30 * 33)
        jobs = []
        for g in range(8):
            stopped = g < gangs and at > stuck
            when = stuck if stopped else at
            jobs.append(
                c.job(
                    f"g{g}",
                    (f"n{2 * g:02}", f"n{2 * g + 1:02}"),
                    state_since=began,
                    step=int((when - began).total_seconds() / 10),
                    step_at=when,
                )
            )
        snap = fleet(at=at, jobs=jobs, only=range(16))
        snap.frame.gpu[:, :, LOAD] = 95.0
        if at > stuck:
            rows = [at_row(snap, f"n{n:02}") for n in range(2 * gangs)]
            snap.frame.gpu[rows, :, LOAD] = load
        signals, sightings = notice(snap, sightings, REAL)
    return {(s.code, s.target) for s in signals}


def test_many_gangs_that_starve_are_one_fault_of_the_storage():
    assert starving(8, 1.0) == {("storage.stall", "zone:z0")}


def test_gangs_that_stand_with_busy_gpus_are_no_storage_fault():
    assert {code for code, _ in starving(8, 99.0)} == {"gang.hang"}


def test_one_gang_that_starves_is_its_own():
    assert starving(1, 1.0) == {("gang.hang", "job:g0")}
