"""What is known of faults, held against the tables: which code may cost what, which end of a link
is blamed, what is kept for the next failure. Each test is one sentence of docs/faults.md."""

import re
from pathlib import Path

import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.action import CheckRun, GpuReset, kind_of
from watchkeeper.core.cluster import World
from watchkeeper.core.crew import StepResult
from watchkeeper.core.fault import REPAIRED_ON_NODE, Fault
from watchkeeper.core.incident import HypothesisStatus
from watchkeeper.core.telemetry import GPU_FIELDS
from watchkeeper.health.catalogue import FAULT_OF, xid
from watchkeeper.health.correlate import correlate
from watchkeeper.health.doubt import weigh
from watchkeeper.health.gang import odd_nodes
from watchkeeper.health.sense import LAB, REAL
from watchkeeper.health.sightings import Sightings
from watchkeeper.remedy.cures import cures_for
from watchkeeper.remedy.gpu import is_lemon
from watchkeeper.remedy.ladder import next_steps
from watchkeeper.remedy.plan import Done, RemedySettings, RemedyView, Steps, Wait
from watchkeeper.remedy.rungs import Patient
from watchkeeper.remedy.spares import kept_back, wanted
from watchkeeper.remedy.witness import (
    blames_the_network,
    board_of_both,
    only_the_wire,
    sick_gpus,
    to_reset,
)

ALL = frozenset(
    {
        *("node.cordon", "node.uncordon", "node.drain", "node.restart", "node.reboot"),
        *("node.replace", "gpu.reset", "check.run", "job.requeue"),
    }
)
DOCS = Path(__file__).parents[2] / "docs" / "faults.md"


def incident(*signals, **fields):
    """The one incident that these make, on a real cluster."""
    said = tuple(c.renamed(s, world=World.REAL) for s in signals)
    (found,) = correlate((), said, c.snapshot(world=World.REAL), c.Counter(), LAB)
    return c.renamed(found, **fields)


def says(code: str, seconds_ago: float = 5, where: str = "node:w1", **fields):
    at = c.ago(seconds_ago)
    return c.renamed(
        c.xid(1), id=f"S-{code}-{where}-{seconds_ago}", code=code, target=where, at=at, **fields
    )


def plan(of, *changed, **fields):
    snapshot = c.snapshot(*changed, world=World.REAL, **fields)
    settings = RemedySettings(settle_s=0.0)
    return next_steps(of, RemedyView(snapshot=snapshot, serves=ALL, settings=settings))


# The table of codes.

VOCABULARY = {
    "IGNORE": {None},
    "RESTART_APP": {Fault.APPLICATION},
    "CONTACT_SUPPORT": {Fault.GPU_HANDS_ON},
    "CHECK_MECHANICALS": {Fault.GPU_HANDS_ON},
    "UPDATE_SWFW": {Fault.GPU_HANDS_ON},
    "CHECK_UVM": {Fault.GPU_NOTICE},
    "NONE_STATED": {None, Fault.GPU_NOTICE},
    "RESET_GPU": {Fault.GPU_HARDWARE, Fault.GPU_MEMORY, Fault.GPU_DRIVER, Fault.NVLINK},
    "RESTART_BM": {Fault.GPU_OFF_BUS},
    "RESTART_VM": {Fault.GPU_DRIVER},
    "WORKFLOW_XID_48": {Fault.GPU_MEMORY},
    "FOLLOW_48": {Fault.GPU_MEMORY},
    "WORKFLOW_XID_45": {None},
    "WORKFLOW_NVLINK_ERR": {Fault.NVLINK},
    "WORKFLOW_NVLINK5_ERR": {Fault.GPU_UNKNOWN},
    "XID_154": {None},
}
"""What the catalogue asks for -> what we may make of it."""
OURS = {
    63: Fault.GPU_MEMORY_CONTAINED,
    160: Fault.GPU_MEMORY_CONTAINED,
    94: Fault.GPU_MEMORY_CONTAINED,
    43: None,
    167: Fault.GPU_HANDS_ON,
    169: Fault.GPU_HANDS_ON,
}
"""Where its word alone would do too much, or too little."""


@pytest.mark.parametrize("code", range(1, 173))
def test_what_the_catalogue_asks_for_decides_what_a_code_may_cost(code):
    if code in OURS:
        assert FAULT_OF[code] is OURS[code]
    else:
        assert FAULT_OF[code] in VOCABULARY[xid(code).action]


def test_the_docs_name_each_code_in_its_own_class():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*)\|", DOCS.read_text(), re.MULTILINE)
    named = {}
    for fault, evidence in rows:
        listed = re.match(r"Xid ([\d, ]+\d)", evidence)
        for code in re.findall(r"\d+", listed[1]) if listed else ():
            named[int(code)] = fault
    assert len(named) > 25
    decoded = {149: "nvlink"}  # by its status word
    wrong = {n: f for n, f in named.items() if FAULT_OF[n] != f and decoded.get(n) != f}
    assert not wrong


def test_no_code_of_a_program_and_no_code_of_a_person_repairs_a_node():
    for code, fault in FAULT_OF.items():
        if xid(code).action in ("IGNORE", "RESTART_APP", "NONE_STATED"):
            assert fault not in REPAIRED_ON_NODE, code


# Which end of a link.


def test_of_an_nvlinks_two_ends_the_one_whose_counter_speaks_is_reset():
    both = [c.xid(74, "w1/2", seconds_ago=20), c.xid(74, "w1/5", seconds_ago=8)]
    assert sick_gpus(incident(*both)) == [2, 5], "each complains: both are emptied"
    counted = incident(*both, says("nvlink.errors", 6, "gpu:w1/5", value=300.0))
    assert sick_gpus(counted) == to_reset(counted) == [5]


def test_an_nvlink_error_before_the_network_is_down_blames_the_network():
    one = c.xid(74, "w1/2", seconds_ago=200)
    down = [says("ib.link_down", ago) for ago in (120, 60)]
    assert blames_the_network(incident(one, *down, fault=Fault.NVLINK))
    for other in (
        [one, down[0]],  # said once
        [one, c.xid(74, "w1/2", seconds_ago=150), *down],  # the link itself said it again
        [c.xid(74, "w1/2", seconds_ago=5), *down],  # the network was down before
        [one, *down, says("sxid.11001")],  # the switch speaks too
    ):
        assert not blames_the_network(incident(*other, fault=Fault.NVLINK))


def test_several_gpus_that_complain_of_one_link_point_at_what_they_share():
    near = incident(c.xid(74, "w1/2", seconds_ago=20), c.xid(74, "w1/2"))
    assert near.hypotheses[0].claim == "a failing link on this node"
    far = incident(c.xid(74, "w1/2", seconds_ago=20), c.xid(74, "w1/5"))
    assert far.hypotheses[0].claim == "the switch or the far end of the link"
    assert far.hypotheses[0].status is HypothesisStatus.PROPOSED
    told = incident(c.xid(74, "w1/2", seconds_ago=20), says("sxid.11001"))
    assert told.hypotheses[1].status is HypothesisStatus.SUPPORTED


WIRE = {
    "a counter of the wire alone": ([("ib.symbol_errors", 60)], True),
    "the host lost its adapter with it": ([("ib.link_down", 60), ("nic.down", 30)], False),
    "it said so once, and the wire goes on": ([("nic.down", 200), ("ib.link_down", 60)], True),
    "only the adapter": ([("nic.down", 60)], False),
}


@pytest.mark.parametrize(("lines", "wire"), WIRE.values(), ids=WIRE)
def test_a_cable_is_not_rebooted_and_an_adapter_is(lines, wire):
    found = incident(*(says(code, ago) for code, ago in lines))
    assert only_the_wire(found) is wire
    first = cures_for(Fault.NETWORK_LINK, World.REAL, ALL, wire=only_the_wire(found))[0]
    assert first == ("node.replace" if wire else "node.reboot")


def test_pcie_errors_with_a_lost_adapter_are_the_board_that_carries_both():
    both = [says("pcie.aer", 60, value=20.0), says("nic.down", 30)]
    assert board_of_both(incident(*both))
    assert not board_of_both(incident(both[0]))
    assert not board_of_both(incident(*both, says("pcie.width", 10, "gpu:w1/2", value=0.5)))
    spare = {"board": True, "spare": True}
    assert cures_for(Fault.NETWORK_LINK, World.REAL, ALL, **spare)[0] == "node.replace"
    alone = {"board": True, "spare": False}
    assert cures_for(Fault.NETWORK_LINK, World.REAL, ALL, **alone)[0] == "node.reboot"


def test_a_counter_of_a_cable_leaves_its_far_end_open_and_clears_the_switch():
    claims = {h.claim: h.status for h in incident(says("ib.symbol_errors", value=200.0)).hypotheses}
    assert claims["the far end of the cable, a switch port"] is HypothesisStatus.PROPOSED
    assert claims["the whole switch"] is HypothesisStatus.REFUTED


def test_heat_and_the_brake_each_speak_against_a_power_cap():
    for code, cause in (
        ("gpu.thermal", "cooling of this host"),
        ("gpu.power_brake", "a power sup"),
    ):
        first, *others = incident(says(code, 5, "gpu:w1/2")).hypotheses
        assert first.claim.startswith(cause)
        assert {h.claim: h.status for h in others}["a power cap"] is HypothesisStatus.REFUTED


# What a node has behind it, and what is kept for the next.


def test_a_node_repaired_for_two_other_incidents_in_a_week_is_replaced():
    sick = incident(c.xid(48, seconds_ago=90), opened_at=c.ago(120))
    snapshot = c.snapshot(world=World.REAL, jobs=[], fences=[c.fence("w1")])
    for repairs, cure in ((1, "gpu.reset"), (2, "node.replace")):
        view = RemedyView(snapshot=snapshot, serves=ALL, repairs_7d={"w1": repairs})
        steps = next_steps(sick, view)
        assert isinstance(steps, Steps)
        assert cure in [kind_of(s.action) for s in steps.steps]
        assert is_lemon(Patient(sick, snapshot.nodes["w1"], view)) is (repairs == 2)


def test_a_fenced_empty_node_is_listened_to_for_a_minute_before_it_is_repaired():
    def after(seconds: float):
        idle = c.node("w1", gpus_free=8.0)
        sick = incident(c.xid(64, seconds_ago=seconds), opened_at=c.ago(seconds))
        return plan(sick, idle, jobs=[], fences=[c.fence("w1")])

    early = after(50)
    assert isinstance(early, Wait)
    assert "more may be said" in early.why
    assert isinstance(after(61), Steps)


def pool(size: int, free: int):
    return {
        f"n{k:02}": c.node(f"n{k:02}", gpus_free=8.0 if k >= size - free else 0.0)
        for k in range(size)
    }


def test_spares_are_sized_by_what_failed_and_kept_from_gangs_in_a_large_pool_only():
    repaired = {f"n{k:02}": ("INC",) * 20 for k in range(5)}
    large, small = pool(40, 6), pool(10, 6)
    assert wanted(large, {}) == {}, "nothing failed: no evidence, no spares"
    few = wanted(large, {"n00": ("INC",)})["train"]
    many = wanted(large, repaired)["train"]
    assert 0 < few < many
    kept = kept_back(c.snapshot(*large.values()), repaired, suspects=())
    assert len(kept) == many
    assert all(large[n].gpus_free for n in kept if n in large)
    doubted = kept_back(c.snapshot(*large.values()), repaired, suspects=kept)
    assert not kept & doubted, "a suspect is no spare"
    gone = c.snapshot(*small.values())
    names = {n.name: n for n in gone.nodes.values()}
    assert wanted(names, repaired)["train"] > 0
    assert kept_back(gone, repaired, ()) == frozenset()


# What no reboot mends, what is tried once, how long one waits.


@pytest.mark.parametrize(
    "fault", [Fault.GPU_THERMAL, Fault.GPU_POWER_BRAKE, Fault.GPU_HANDS_ON, Fault.GPU_RMA]
)
def test_no_reboot_cools_a_gpu_or_mends_worn_memory(fault):
    assert cures_for(fault, World.REAL, ALL) == ("node.replace",)


def failed(action) -> StepResult:
    return StepResult(thread="INC-1", proposal="P", action=action, kind="outcome", value="failed")


def test_a_link_that_a_reset_did_not_mend_is_the_vendors():
    sick = incident(c.xid(74, seconds_ago=300), c.xid(74, seconds_ago=200), opened_at=c.ago(300))
    check = c.renamed(c.check("w1", "w1-life1", False), at=c.ago(20))
    idle = c.node("w1", gpus_free=8.0)
    snapshot = c.snapshot(idle, world=World.REAL, jobs=[], fences=[c.fence("w1")], checks=[check])
    looked = failed(CheckRun(node="w1", incarnation="w1-life1"))
    reset = failed(GpuReset(node="w1", incarnation="w1-life1", gpu=3))
    kinds = []
    for tried in ((looked,), (looked, reset)):
        told = next_steps(sick, RemedyView(snapshot=snapshot, serves=ALL, attempts=tried))
        assert isinstance(told, Steps), told
        kinds.append({kind_of(s.action) for s in told.steps})
    assert "gpu.reset" in kinds[0]
    assert "node.replace" in kinds[1]
    assert not {"gpu.reset", "node.reboot"} & kinds[1]


@pytest.mark.parametrize(("seconds", "over"), [(590, False), (610, True)])
def test_one_nvlink_error_is_watched_for_ten_minutes(seconds, over):
    one = incident(c.xid(74, seconds_ago=seconds), opened_at=c.ago(seconds))
    assert isinstance(plan(one), Done if over else Wait)


@pytest.mark.parametrize(("seconds", "checked"), [(1790, False), (1810, True)])
def test_a_hot_empty_node_is_given_half_an_hour_to_cool(seconds, checked):
    hot = incident(says("gpu.thermal", seconds, "gpu:w1/2"), opened_at=c.ago(seconds))
    idle = c.node("w1", gpus_free=8.0)
    snapshot = c.snapshot(idle, world=World.REAL, jobs=[], fences=[c.fence("w1")])
    snapshot.frame.gpu[0, 2, GPU_FIELDS.index("throttle_reasons")] = 0x40  # hot still
    told = next_steps(hot, RemedyView(snapshot=snapshot, serves=ALL))
    assert isinstance(told, Steps if checked else Wait), told


# Who is alone, and who is not.


@pytest.mark.parametrize(("odd", "named"), [((5,), ["w6"]), ((2, 5), [])])
def test_of_eight_nodes_one_may_stand_out_and_two_are_the_programs_shape(odd, named):
    names = tuple(f"w{n}" for n in range(1, 9))
    snapshot = c.snapshot(*map(c.node, names), jobs=[c.job("g", names)])
    load = GPU_FIELDS.index("utilization_percent")
    snapshot.frame.gpu[:, :, load] = 95.0
    snapshot.frame.gpu[list(odd), :, load] = 20.0
    assert list(odd_nodes(snapshot, snapshot.jobs["g"])) == named


@pytest.mark.parametrize(("percent", "named"), [(75.0, []), (65.0, ["w1"])])
def test_a_node_stands_out_by_six_robust_deviations_and_not_by_five(percent, named):
    names = tuple(f"w{n}" for n in range(1, 5))
    snapshot = c.snapshot(jobs=[c.job("g", names)])
    load = GPU_FIELDS.index("utilization_percent")
    snapshot.frame.gpu[:, :, load] = 95.0
    snapshot.frame.gpu[0, 0, load] = percent  # the least spread of a load is 4 points
    assert list(odd_nodes(snapshot, snapshot.jobs["g"])) == named


def test_two_mounts_of_a_zone_are_not_its_storage():
    lines = [says("storage.stall", ago, f"node:w{n}") for n, ago in ((1, 20), (2, 10))]
    zone = [c.node(f"w{n}", zone="z1") for n in range(1, 5)]
    passed, _ = weigh(lines, (), c.snapshot(*zone), Sightings(), REAL)
    assert passed == ()


@pytest.mark.parametrize("code", ["gpu.power_brake", "gpu.thermal"])
def test_clocks_that_are_cut_in_a_whole_rack_are_the_racks(code):
    rack = [c.node(f"w{n}", rack="r1") for n in range(1, 9)]
    told = [says(code, 5, f"gpu:w{n}/0") for n in range(1, 9)]
    found = correlate((), told, c.snapshot(*rack), c.Counter(), LAB)
    assert [i.target for i in found if i.fault == Fault.DOMAIN_DOWN] == ["rack:r1"]


def test_links_that_fail_on_five_nodes_of_one_nvlink_domain_are_its_switches():
    hosts = [c.node(f"w{n}", rack=f"r{n}", nvlink_domain="d1") for n in range(1, 9)]
    told = [c.xid(74, f"w{n}/0", seconds_ago=ago) for n in range(1, 9) for ago in (20, 5)]
    found = correlate((), told, c.snapshot(*hosts), c.Counter(), LAB)
    assert [i.target for i in found if i.fault == Fault.DOMAIN_DOWN] == ["nvlink_domain:d1"]
