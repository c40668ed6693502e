"""Which signals make which incidents."""

import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.cluster import JobState, PoolDemand, RayState, World
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import HypothesisStatus, IncidentState, Trust
from watchkeeper.core.telemetry import SourceState
from watchkeeper.health.correlate import correlate
from watchkeeper.health.evidence import confidence, merged
from watchkeeper.health.illness import newly_unhealthy, still_ill
from watchkeeper.health.sense import LAB, sense

STOPPED = c.job("g", state=JobState.STOPPED, state_since=c.ago(20))


def turn(snapshot, *events, before=(), ids=None):
    signals = (*events, *sense(snapshot, LAB))
    return correlate(tuple(before), signals, snapshot, ids or c.Counter(), LAB)


def test_a_dead_node_is_one_incident_with_both_witnesses():
    (incident,) = turn(c.snapshot(c.dead("w1")))
    assert (incident.fault, incident.node, incident.target) == ("node_lost", "w1", "node:w1")
    assert incident.title == "w1: node lost"
    assert incident.incarnation == "w1-life1"
    assert incident.confidence == 0.94
    assert incident.independent_sources == 2
    died, partition = incident.hypotheses
    assert (died.claim, died.status) == ("the raylet process died", HypothesisStatus.SUPPORTED)
    assert (partition.claim, partition.status) == ("network partition", HypothesisStatus.REFUTED)


def test_a_lost_gpu_and_its_xid_are_one_incident():
    (incident,) = turn(c.snapshot(lost=[("w1", 3)]), c.xid(79))
    assert (incident.fault, incident.target, incident.gpu) == ("gpu_off_bus", "gpu:w1/3", 3)
    assert incident.confidence == 0.94
    assert {s.code for s in incident.signals} == {"gpu.lost", "xid.79"}


def test_an_xid_known_only_by_its_address_joins_the_lost_gpu():
    (incident,) = turn(c.snapshot(lost=[("w1", 3)]), c.xid(79, "w1/pci:0000:3b:00"))
    assert (incident.target, incident.gpu) == ("gpu:w1/3", 3)


def test_two_sick_gpus_of_one_node_are_one_sick_node():
    (incident,) = turn(c.snapshot(), c.xid(48, "w1/2"), c.xid(79, "w1/3"))
    assert (incident.fault, incident.target, incident.gpu) == ("gpu_off_bus", "node:w1", None)


@pytest.mark.parametrize(
    ("celsius", "status"),
    [(95.0, HypothesisStatus.SUPPORTED), (55.0, HypothesisStatus.REFUTED)],
    ids=["hot", "cool"],
)
def test_heat_is_weighed_by_the_temperature_seen(celsius, status):
    (incident,) = turn(c.snapshot(celsius=celsius), c.xid(79))
    heat = next(h for h in incident.hypotheses if h.claim == "heat")
    assert heat.status is status
    assert f"{celsius:.0f} °C" in heat.why


def test_a_gang_that_stopped_with_its_node_belongs_to_the_nodes_incident():
    (incident,) = turn(c.snapshot(c.dead("w1"), jobs=[STOPPED]))
    assert (incident.fault, incident.jobs) == ("node_lost", ("g",))


def test_a_gang_that_stopped_before_its_node_was_declared_dead_is_taken_in():
    ids = c.Counter()
    first = turn(c.snapshot(jobs=[STOPPED]), ids=ids)
    assert [i.fault for i in first] == ["job_stopped"]
    alone, host = turn(c.snapshot(c.dead("w1"), jobs=[STOPPED]), before=first, ids=ids)
    assert alone.state is IncidentState.RESOLVED
    assert host.id in alone.closed_because
    assert (host.fault, host.jobs) == ("node_lost", ("g",))


def test_a_gang_that_stopped_on_healthy_nodes_is_its_own_incident():
    (incident,) = turn(c.snapshot(c.dead("w4"), jobs=[STOPPED]))[1:]
    assert (incident.fault, incident.target, incident.jobs) == ("job_stopped", "job:g", ("g",))


def test_a_silence_explains_no_stopped_gang():
    faults = {i.fault for i in turn(c.snapshot(silent={"w1": 60}, jobs=[STOPPED]))}
    assert faults == {"node_silent", "job_stopped"}


@pytest.mark.parametrize("state", [IncidentState.ACTING, IncidentState.OPEN])
def test_a_node_that_died_of_our_drain_is_no_new_incident(state):
    (sick,) = turn(c.snapshot(), c.xid(79))
    sick = c.renamed(sick, state=state)
    (after,) = turn(c.snapshot(c.dead("w1")), before=(sick,))
    assert (after.id, after.fault, after.state) == (sick.id, "gpu_off_bus", state)


def test_s10_a_silent_node_becomes_a_lost_one_only_by_another_source():
    ids = c.Counter()
    (silent,) = turn(c.snapshot(silent={"w1": 400}), ids=ids)
    assert (silent.fault, silent.confidence) == ("node_silent", 0.3)
    (lost,) = turn(c.snapshot(c.dead("w1"), silent={"w1": 400}), before=(silent,), ids=ids)
    assert (lost.id, lost.fault) == (silent.id, "node_lost")


def test_a_node_that_came_back_by_itself_closes_its_incident():
    (lost,) = turn(c.snapshot(c.dead("w1")))
    (closed,) = turn(c.snapshot(c.reborn("w1")), before=(lost,))
    assert closed.state is IncidentState.RESOLVED
    assert closed.closed_because == "w1 came back as w1-life2."
    assert turn(c.snapshot(c.reborn("w1")), before=(closed,)) == (closed,)


NOT_CLOSED = {
    "our fence stands": c.snapshot(c.reborn("w1"), fences=[c.fence("w1")]),
    "its gang is still stopped": c.snapshot(c.reborn("w1"), jobs=[STOPPED]),
    "Ray does not know it": c.snapshot(c.node("w1", ray_state=RayState.UNKNOWN)),
    "Ray does not answer": c.snapshot(
        c.reborn("w1"), sources={"ray": SourceState("ray", 99.0, "down")}
    ),
}


@pytest.mark.parametrize("later", NOT_CLOSED.values(), ids=NOT_CLOSED)
def test_an_incident_stays_open_while(later):
    (lost,) = turn(c.snapshot(c.dead("w1"), jobs=[STOPPED]))
    after = turn(later, before=(lost,))
    assert after[0].is_open


def test_what_is_in_hand_is_never_closed_from_outside():
    (lost,) = turn(c.snapshot(c.dead("w1")))
    acting = c.renamed(lost, state=IncidentState.VERIFYING)
    assert turn(c.snapshot(c.reborn("w1")), before=(acting,)) == (acting,)


def test_what_a_person_has_is_not_opened_again_on_every_turn():
    (lost,) = turn(c.snapshot(c.dead("w1")))
    escalated = c.renamed(lost, state=IncidentState.ESCALATED)
    assert turn(c.snapshot(c.dead("w1")), before=(escalated,)) == (escalated,)


def test_a_graver_fault_than_the_one_a_person_has_is_a_new_incident():
    (silent,) = turn(c.snapshot(silent={"w1": 400}))
    escalated = c.renamed(silent, state=IncidentState.ESCALATED)
    ids = c.Counter()
    ids.n = 7
    old, new = turn(c.snapshot(c.dead("w1")), before=(escalated,), ids=ids)
    assert (old, new.fault) == (escalated, "node_lost")


def test_the_next_life_of_a_node_is_another_patient():
    (lost,) = turn(c.snapshot(c.dead("w1")))
    closed = c.renamed(lost, state=IncidentState.RESOLVED)
    ids = c.Counter()
    ids.n = 7
    again = turn(c.snapshot(c.dead("w1", incarnation="w1-life2")), before=(closed,), ids=ids)
    assert [i.fault for i in again] == ["node_lost", "node_lost"]
    assert again[1].incarnation == "w1-life2"


def test_a_late_word_about_a_life_that_is_over_opens_nothing():
    late = c.xid(79, incarnation="w1-life1")
    assert turn(c.snapshot(c.reborn("w1")), late) == ()


NO_FAULT = {
    "43, a user's program": [c.xid(43)],
    "45 alone, a channel torn down": [c.xid(45)],
    "14, a test": [c.xid(14)],
    "154, a summary": [c.xid(154)],
    "a tenant's Xid 79": [c.xid(79, trust=Trust.JOB_LOG, source="job-log")],
    "a chat's Xid 79": [c.xid(79, trust=Trust.USER_CHAT, source="chat")],
    "a forecast": [c.xid(79, trust=Trust.FORECAST, source="forecast")],
    "another world's Xid 79": [c.xid(79, world=World.TWIN)],
    "a code of no family": [c.renamed(c.xid(1), code="rumour.1")],
}


@pytest.mark.parametrize("events", NO_FAULT.values(), ids=NO_FAULT)
def test_no_incident_comes_of(events):
    assert turn(c.snapshot(), *events) == ()


def test_a_companion_joins_and_changes_nothing_else():
    (incident,) = turn(c.snapshot(), c.xid(79), c.xid(45))
    assert (incident.fault, len(incident.signals)) == ("gpu_off_bus", 2)
    assert incident.confidence == 0.8


def test_links_that_go_down_at_boot_open_nothing():
    storm = [c.xid(74, f"w1/{gpu}", seconds_ago=1) for gpu in range(8)]
    assert turn(c.snapshot(c.reborn("w1")), *storm) == ()


def test_one_link_error_is_a_suspicion_and_does_not_count_as_unhealthy():
    snapshot = c.snapshot()
    one = turn(snapshot, c.xid(74, seconds_ago=1))
    assert [i.fault for i in one] == ["nvlink"]
    assert newly_unhealthy(one, snapshot) == {}
    two = turn(snapshot, c.xid(74, seconds_ago=9), c.xid(74, seconds_ago=1))
    assert newly_unhealthy(two, snapshot) == {"train": 1}


def test_s9_mended_incidents_count_for_five_minutes_and_tickets_never():
    snapshot = c.snapshot()
    (incident,) = turn(snapshot, c.xid(79))
    (app,) = turn(snapshot, c.xid(13, "w2/0"))
    mended = c.renamed(incident, state=IncidentState.RESOLVED)
    assert newly_unhealthy((mended, app), snapshot) == {"train": 1}
    old = c.renamed(mended, opened_at=c.ago(301))
    assert newly_unhealthy((old,), snapshot) == {}


def test_a_lost_source_is_an_incident_of_its_own_and_closes_by_itself():
    lost = c.snapshot(sources={"redis": SourceState("redis", 99.0, "refused")})
    (incident,) = turn(lost)
    assert (incident.fault, incident.node) == ("source_lost", "")
    (closed,) = turn(c.snapshot(), before=(incident,))
    assert closed.state is IncidentState.RESOLVED


ILL = {
    "a dead node is ill": (c.dead("w1"), True),
    "its next life is not": (c.reborn("w1"), False),
    "a draining one is Unknown": (c.node("w1", ray_state=RayState.DRAINING), None),
    "an unknown one is Unknown": (c.node("w1", ray_state=RayState.UNKNOWN), None),
}


@pytest.mark.parametrize(("now", "expected"), ILL.values(), ids=ILL)
def test_still_ill(now, expected):
    (lost,) = turn(c.snapshot(c.dead("w1")))
    assert still_ill(lost, c.snapshot(now), LAB) is expected


def test_an_xid_holds_for_its_incarnation_and_a_lost_gpu_for_as_long_as_it_is_seen():
    (off,) = turn(c.snapshot(), c.xid(79))
    assert still_ill(off, c.snapshot(), LAB) is True
    assert still_ill(off, c.snapshot(c.reborn("w1")), LAB) is False
    assert still_ill(off, c.snapshot(c.reborn("w1"), lost=[("w1", 3)]), LAB) is True
    assert still_ill(off, c.snapshot(c.reborn("w1"), silent={"w1": 6}), LAB) is None


CONFIDENCE = {
    "one kernel": ([c.xid(79)], 0.8),
    "the kernel a hundred times is one witness": (
        [c.xid(79, seconds_ago=6 * n) for n in range(100)],
        0.8,
    ),
    "kernel and driver": (
        [c.xid(79), c.xid(79, source="nvml", trust=Trust.DRIVER)],
        0.94,
    ),
    "a tenant alone": ([c.xid(79, source="log", trust=Trust.JOB_LOG)], 0.3),
    "a tenant adds nothing": (
        [c.xid(79), c.xid(79, source="log", trust=Trust.JOB_LOG)],
        0.8,
    ),
    "nobody": ([], 0.0),
}


@pytest.mark.parametrize(("signals", "expected"), CONFIDENCE.values(), ids=CONFIDENCE)
def test_confidence(signals, expected):
    assert confidence(signals) == expected


def test_a_storm_stays_small_and_keeps_first_and_newest():
    storm = [c.xid(79, seconds_ago=10 * n) for n in range(500)]
    kept = merged((), storm)
    assert len(kept) == 8
    assert kept[0].at == storm[-1].at
    assert kept[-1].at == storm[0].at
    assert merged(kept, storm[:3]) == kept


def test_the_same_code_within_five_seconds_is_one_event():
    assert len(merged((), [c.xid(79, seconds_ago=s) for s in (9.0, 8.0, 7.0, 3.0)])) == 2


def test_every_fault_has_a_title_and_a_hypothesis():
    from watchkeeper.health.hypotheses import hypotheses
    from watchkeeper.health.titles import title

    for fault in Fault:
        assert title(fault, "w1", "node:w1").startswith("w1: ")
        assert hypotheses(fault, "w1", None, (c.xid(1),), c.snapshot())


def test_a_pool_is_not_too_small_for_a_gang_that_waits_for_its_own_repair():
    ids = c.Counter()
    (repair,) = turn(c.snapshot(c.dead("w1")), ids=ids)
    repair = c.renamed(repair, jobs=("g",))
    gang = c.job("g", state=JobState.WAITING, nodes=("w2",), pending_gpus=8.0)
    other = c.job("h", state=JobState.WAITING, nodes=(), pending_gpus=8.0)
    want = (PoolDemand("train", 32, 16, pending_gpus=8, waiting_jobs=1, fits_nowhere=True),)
    seen = c.snapshot(c.dead("w1"), jobs=[gang], demand=want)
    assert [i.fault for i in turn(seen, before=[repair], ids=ids)] == ["node_lost"]
    seen = c.snapshot(c.dead("w1"), jobs=[gang, other], demand=want)
    faults = [i.fault for i in turn(seen, before=[repair], ids=ids)]
    assert faults == ["node_lost", "capacity_short"], "another gang waits too"
