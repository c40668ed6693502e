"""What one line alone does not prove, and what then does."""

from datetime import timedelta

import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.cluster import JobState
from watchkeeper.core.incident import IncidentState, Trust
from watchkeeper.health.correlate import correlate
from watchkeeper.health.doubt import weigh
from watchkeeper.health.illness import still_ill
from watchkeeper.health.sense import REAL
from watchkeeper.health.sightings import Sightings

STOPPED = c.job("g", state=JobState.STOPPED, state_since=c.ago(1))


def says(code: str, seconds: float = 0.0, where: str = "node:w1", **fields):
    """One line, so many seconds from now."""
    at = c.NOW + timedelta(seconds=seconds)
    ident = f"S-{code}-{where}-{seconds}"
    return c.renamed(c.xid(1), id=ident, code=code, target=where, at=at, **fields)


def believed(*lines, jobs=(), incidents=(), before: Sightings | None = None) -> list[str]:
    """Codes that pass, line by line, each heard when it is told."""
    seen, passed = before or Sightings(), []
    for line in lines:
        snapshot = c.snapshot(at=max(line.at, c.NOW), jobs=jobs)
        some, seen = weigh([line], incidents, snapshot, seen, REAL)
        passed += [f"{s.code}@{(s.at - c.NOW).total_seconds():g}" for s in some]
    return passed


TABLE = {
    "a link that went down once": ([says("ib.link_down")], []),
    "the same line a thousand times": ([says("ib.link_down")] * 1000, []),
    "two readings within one poll": ([says("nic.down"), says("ib.link_down", 10)], []),
    "two readings of one counter": ([says("ib.link_down"), says("ib.link_down", 60)], []),
    "three readings of one counter": (
        [says("ib.link_down"), says("ib.link_down", 60), says("ib.link_down", 300)],
        ["ib.link_down@0", "ib.link_down@60", "ib.link_down@300"],
    ),
    "a port that falls each five seconds": (
        [says("ib.link_down", 5.0 * k) for k in range(9)],
        ["ib.link_down@0", "ib.link_down@20", "ib.link_down@40"],
    ),
    "a port that falls each second, for half a minute": (
        [says("ib.link_down", 1.0 * k) for k in range(30)],
        [],
    ),
    "three readings that are hours apart": (
        [says("ib.link_down", 7200.0 * k) for k in range(3)],
        [],
    ),
    "a second instrument a minute later": (
        [says("ib.link_down"), says("ib.symbol_errors", 60)],
        ["ib.link_down@0", "ib.symbol_errors@60"],
    ),
    "the switch of another node": (
        [says("ib.link_down"), says("ib.symbol_errors", 60, "node:w2")],
        [],
    ),
    "a narrow slot and errors on it": (
        [says("pcie.width", where="gpu:w1/2"), says("pcie.aer", 30)],
        ["pcie.width@0", "pcie.aer@30"],
    ),
    "clocks cut once": ([says("gpu.thermal", where="gpu:w1/2")], []),
    "a raylet that left and came back": ([says("node.flap")], []),
    "a raylet that did so three times in a day": (
        [says("node.flap", 3600.0 * k) for k in range(3)],
        ["node.flap@0", "node.flap@3600", "node.flap@7200"],
    ),
    "a driver's word on its GPU": ([says("xid.79", where="gpu:w1/2")], ["xid.79@0"]),
    "a reading in spec": ([says("ib.symbol_errors", value=3.0)], ["ib.symbol_errors@0"]),
}


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE)
def test_what_is_believed(case):
    lines, expected = case
    assert believed(*lines) == expected


def test_two_readings_are_enough_where_the_gang_stopped_with_them():
    twice = [says("ib.link_down"), says("ib.link_down", 60)]
    assert believed(*twice, jobs=[STOPPED]) == ["ib.link_down@0", "ib.link_down@60"]


def test_once_it_is_an_incident_each_further_reading_joins_it():
    lines = [says("ib.link_down"), says("ib.symbol_errors", 60)]
    incidents = correlate((), tuple(lines), c.snapshot(at=lines[-1].at), c.Counter())
    assert [i.fault for i in incidents] == ["network_link"]
    assert believed(says("ib.link_down", 4000), incidents=incidents) == ["ib.link_down@4000"]


def test_once_one_link_of_a_host_is_believed_all_that_its_links_said_is():
    lines = [says("pcie.aer"), *(says("nic.down", 60.0 * k) for k in range(3))]
    assert believed(*lines) == ["nic.down@0", "nic.down@60", "nic.down@120", "pcie.aer@0"]
    adapter = correlate((), tuple(lines[1:]), c.snapshot(at=lines[-1].at), c.Counter())
    assert believed(says("pcie.aer", 200), incidents=adapter) == ["pcie.aer@200"]


@pytest.mark.parametrize("hours", [1, 24, 72])
def test_an_old_line_told_now_is_not_believed(hours):
    assert believed(says("xid.79", -3600.0 * hours, "gpu:w1/2")) == []


def test_an_old_line_is_believed_where_its_harm_was_seen_at_that_time():
    old = says("xid.48", -3600.0, "gpu:w1/2")
    then = c.renamed(STOPPED, state_since=c.ago(3590))
    assert believed(old, jobs=[then]) == ["xid.48@-3600"]
    elsewhere = c.renamed(then, nodes=("w3", "w4"))
    assert believed(old, jobs=[elsewhere]) == []
    today = c.renamed(STOPPED, state_since=c.ago(10))
    assert believed(old, jobs=[today]) == []


def test_what_was_said_while_we_could_not_hear_is_news():
    old = says("xid.79", -3600.0, "gpu:w1/2")
    just_back = Sightings(deaf=(c.NOW.timestamp() - 4000, c.NOW.timestamp() - 10))
    assert believed(old, before=just_back) == ["xid.79@-3600"]
    long_back = Sightings(deaf=(c.NOW.timestamp() - 4000, c.NOW.timestamp() - 2000))
    assert believed(old, before=long_back) == []


def test_a_tenants_words_are_left_to_the_rule_about_tenants():
    line = says("ib.link_down", trust=Trust.JOB_LOG)
    assert believed(line) == ["ib.link_down@0"]
    assert correlate((), (line,), c.snapshot(), c.Counter()) == ()


def test_a_link_that_falls_at_boot_does_not_count_towards_anything():
    seen, young = Sightings(), c.reborn("w1", since_s=30)
    for k in range(5):
        told = [says("ib.link_down", 60.0 * k), says("nic.down", 60.0 * k + 1)]
        snapshot = c.snapshot(young, at=told[-1].at)
        passed, seen = weigh(told, (), snapshot, seen, REAL)
        assert passed == ()
    assert not seen.held


def test_what_is_held_back_is_forgotten_in_time():
    _, seen = weigh([says("ib.link_down")], (), c.snapshot(), Sightings(), REAL)
    assert seen.held
    _, seen = weigh([], (), c.snapshot(at=c.NOW + timedelta(seconds=601)), seen, REAL)
    assert not seen.held


# Storage: of a node, or of a zone.


def stalls(*nodes: str, seconds: float = 0.0, zone: str = "z1"):
    lines = [says("storage.stall", seconds + n, f"node:{name}") for n, name in enumerate(nodes)]
    known = [c.node(f"w{n}", zone=zone) for n in range(1, 5)]
    return lines, c.snapshot(*known, at=lines[-1].at)


def test_three_nodes_of_a_zone_whose_mount_does_not_answer_are_its_storage_and_no_nodes_fault():
    lines, snapshot = stalls("w1", "w2", "w3")
    passed, seen = weigh(lines, (), snapshot, Sightings(), REAL)
    assert {s.target for s in passed} == {"zone:z1"}
    (incident,) = correlate((), passed, snapshot, c.Counter())
    assert (incident.fault, incident.target, incident.node) == ("storage_stall", "zone:z1", "")
    more, later = stalls("w4", "w1", seconds=60)
    passed, _ = weigh(more, (incident,), later, seen, REAL)
    again = correlate((incident,), passed, later, c.Counter())
    assert [i.id for i in again] == [incident.id]


@pytest.mark.parametrize(("quiet_s", "ill"), [(10.0, True), (590.0, True), (610.0, False)])
def test_a_storage_is_ill_until_no_mount_was_told_of_for_a_while_though_gangs_are_busy(
    quiet_s, ill
):
    lines, snapshot = stalls("w1", "w2", "w3")
    passed, _ = weigh(lines, (), snapshot, Sightings(), REAL)
    (incident,) = correlate((), passed, snapshot, c.Counter())
    known = [c.node(f"w{n}", zone="z1") for n in range(1, 5)]
    later = lines[-1].at + timedelta(seconds=quiet_s)
    busy = c.snapshot(*known, jobs=(c.job("busy", nodes=("w4",)),), at=later)
    assert (still_ill(incident, busy) is True) == ill


def test_a_mount_of_one_node_alone_is_that_nodes_once_it_persists():
    seen = Sightings()
    for minute in range(3):
        lines, snapshot = stalls("w1", seconds=60.0 * minute)
        passed, seen = weigh(lines, (), snapshot, seen, REAL)
        assert (len(passed) > 0) == (minute == 2)
    (incident,) = correlate((), passed, snapshot, c.Counter())
    assert (incident.fault, incident.node) == ("node_suspect", "w1")
    assert incident.hypotheses[0].claim.startswith("its own disk")


def test_a_gang_that_crawls_while_its_zones_storage_fails_belongs_to_that():
    lines, snapshot = stalls("w1", "w2", "w3")
    passed, _ = weigh(lines, (), snapshot, Sightings(), REAL)
    (incident,) = correlate((), passed, snapshot, c.Counter())
    slow = says("gang.slow", 60, "job:g", incarnation="g-a1", source="gang-progress")
    known = [c.node(f"w{n}", zone="z1") for n in range(1, 5)]
    later = c.snapshot(*known, jobs=[c.job("g")], at=slow.at)
    with_person = c.renamed(incident, state=IncidentState.ESCALATED)
    over = c.renamed(incident, state=IncidentState.RESOLVED, updated_at=slow.at)
    for held in (incident, with_person, over):
        after = correlate((held,), (slow,), later, c.Counter())
        assert [(i.id, i.state) for i in after] == [(held.id, held.state)]
    before = c.renamed(over, updated_at=c.NOW)  # it crawls since long after the storage was back
    ids = c.Counter()
    ids.new("INC")
    assert len(correlate((before,), (slow,), later, ids)) == 2


def test_what_a_person_has_is_not_opened_again_while_more_of_the_same_is_said():
    snapshot = c.snapshot(jobs=[c.job("g")], at=c.NOW + timedelta(seconds=300))
    first, second = (
        says("gang.slow", s, "job:g", incarnation="g-a1", source="gang-progress") for s in (0, 300)
    )
    ids = c.Counter()
    (incident,) = correlate((), (first,), snapshot, ids)
    told = c.renamed(incident, state=IncidentState.ESCALATED)
    after = correlate((told,), (second,), snapshot, ids)
    assert [(i.id, i.state, len(i.signals)) for i in after] == [(told.id, told.state, 2)]
    other = c.renamed(second, incarnation="g-a2")
    assert len(correlate((told,), (other,), snapshot, ids)) == 2
