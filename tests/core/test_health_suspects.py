"""Who is suspected, who only seems to be, and when a suspicion is over."""

from datetime import timedelta

from tests.core import sick_cluster as c

from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.incident import Trust
from watchkeeper.core.telemetry import GPU_FIELDS
from watchkeeper.health.correlate import correlate
from watchkeeper.health.gang import odd_nodes
from watchkeeper.health.illness import still_ill
from watchkeeper.health.notice import notice
from watchkeeper.health.sense import REAL, sense
from watchkeeper.health.sensors import watch_sensors
from watchkeeper.health.sightings import Sightings


def test_a_node_that_dies_right_after_our_fence_was_on_it_died_of_our_doing():
    seen, said = Sightings(), set()
    for n in range(4):
        hour = c.NOW + timedelta(hours=n)
        life = f"w1-life{n}"
        alive = c.node("w1", incarnation=life)
        _, seen = notice(c.snapshot(alive, at=hour, fences=[c.fence("w1")]), seen, REAL)
        at = hour + timedelta(seconds=20)  # the fence ends with the raylet behind it
        dead = c.node("w1", incarnation=life, ray_state=RayState.DEAD, ray_state_since=at)
        signals, seen = notice(c.snapshot(dead, at=at), seen, REAL)
        said |= {s.code for s in signals}
    assert "node.dead" in said
    assert "node.flap" not in said


# Who stands out, and who only seems to.


def test_in_a_gang_of_one_node_the_gpu_that_stands_out_names_the_node():
    snapshot = c.snapshot(jobs=[c.job("g", ["w1"])])
    load = GPU_FIELDS.index("utilization_percent")
    snapshot.frame.gpu[0, :, load] = 100.0
    assert odd_nodes(snapshot, snapshot.jobs["g"]) == {}
    snapshot.frame.gpu[0, 3, load] = 0.0
    assert list(odd_nodes(snapshot, snapshot.jobs["g"])) == ["w1"]
    snapshot.frame.gpu[0, 3:6, load] = 0.0
    assert odd_nodes(snapshot, snapshot.jobs["g"]) == {}


def test_a_node_whose_sensors_stand_still_bears_no_witness_and_is_not_named():
    names = ("w1", "w2", "w3", "w4")
    load = GPU_FIELDS.index("utilization_percent")
    power = GPU_FIELDS.index("power_watts")
    past = None
    for minute in range(20):
        snapshot = c.snapshot(jobs=[c.job("g", names)], at=c.NOW + timedelta(minutes=minute))
        snapshot.frame.gpu[:, :, load] = 100.0
        snapshot.frame.gpu[:, :, power] = 600.0 + minute
        if minute >= 10:  # w2's collector repeats what it read while the gang was starting
            snapshot.frame.gpu[1, :, load] = 4.0
            snapshot.frame.gpu[1, :, power] = 120.0
        _, past = watch_sensors(snapshot, past, REAL)
    job = snapshot.jobs["g"]
    assert list(odd_nodes(snapshot, job)) == ["w2"]
    assert odd_nodes(snapshot, job, past) == {}


# Nonsense.


def nonsense(**fields):
    """A gang that computes nonsense, said by the scheduler, who names the life of a node."""
    line = c.renamed(
        c.xid(1),
        id="S-nan",
        code="gang.nan",
        target="job:g",
        at=c.ago(30),
        trust=Trust.SCHEDULER,
        incarnation="w1-life1",
    )
    snapshot = c.snapshot(jobs=[c.job("g", **fields)])
    return correlate((), (line,), snapshot, c.Counter())


def test_nonsense_is_over_only_when_another_attempt_goes_on_from_before_it():
    (incident,) = nonsense()
    assert incident.fault == "gang_nan"
    assert still_ill(incident, c.snapshot(jobs=[c.job("g")])) is None
    stopped = c.job("g", state=JobState.STOPPED)
    assert still_ill(incident, c.snapshot(jobs=[stopped])) is True
    again = {"attempt_id": "g-a2", "step_at": c.NOW, "state_since": c.ago(5)}
    tainted = c.job("g", checkpoint_at=c.ago(10), **again)
    assert still_ill(incident, c.snapshot(jobs=[tainted])) is True
    clean = c.job("g", checkpoint_at=c.ago(600), **again)
    assert still_ill(incident, c.snapshot(jobs=[clean])) is None  # it has yet to show that
    proven = c.job("g", checkpoint_at=c.ago(3000), **{**again, "state_since": c.ago(2000)})
    (old,) = (c.renamed(incident, signals=(c.renamed(incident.signals[0], at=c.ago(2500)),)),)
    assert still_ill(old, c.snapshot(jobs=[proven])) is False
    saved = c.renamed(proven, checkpoint_at=c.ago(100))
    assert still_ill(old, c.snapshot(jobs=[saved])) is False


def test_a_gang_that_its_own_watchdog_ended_makes_the_suspect_sure():
    hang = c.renamed(c.xid(1), id="S-h", code="gang.hang", target="job:g", incarnation="g-a1")
    hang = c.renamed(hang, source="gang-progress", trust=Trust.JOB_LOG)
    odd = c.renamed(c.xid(1), id="S-o", code="gang.suspect", target="node:w1", source="gang-peers")
    odd = c.renamed(odd, trust=Trust.DRIVER)
    before = correlate((), (odd, hang), c.snapshot(jobs=[c.job("g")]), c.Counter())
    assert [(i.fault, i.confidence) for i in before] == [("node_suspect", 0.7)]
    ended = c.snapshot(jobs=[c.job("g", state=JobState.STOPPED, state_since=c.ago(20))])
    after = correlate(before, sense(ended), ended, c.Counter())
    assert [(i.fault, i.confidence, i.jobs) for i in after] == [("node_suspect", 0.91, ("g",))]
