"""Promises of health and remedy, over clusters that hypothesis makes up."""

import contextlib
from dataclasses import replace as with_fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.core import sick_cluster as c

from watchkeeper.core.action import kind_of, targets_of, traits_of
from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.crew import StepResult
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import ATTACKER_WRITABLE, Trust
from watchkeeper.health.correlate import correlate
from watchkeeper.health.evidence import confidence
from watchkeeper.health.notice import notice
from watchkeeper.health.sense import LAB, sense
from watchkeeper.health.sightings import Sightings
from watchkeeper.remedy.ladder import next_steps
from watchkeeper.remedy.plan import RemedySettings, RemedyView, Steps
from watchkeeper.remedy.precondition import unmet

NAMES = ("w1", "w2", "w3", "w4")
SERVES = frozenset(
    {
        *("node.cordon", "node.uncordon", "node.drain", "node.restart", "node.reboot"),
        *("gpu.reset", "gpu.quarantine", "check.run", "job.requeue"),
    }
)


@st.composite
def nodes(draw, name: str):
    state = draw(st.sampled_from(RayState))
    return c.node(
        name,
        incarnation=f"{name}-life{draw(st.integers(1, 3))}",
        ray_state=state,
        ray_state_since=c.ago(draw(st.integers(0, 900))),
        process_gone=draw(st.sampled_from([None, True, False])),
        control_path=draw(st.booleans()) and name == "w4",
    )


@st.composite
def jobs(draw, name: str):
    return c.job(
        name,
        nodes=tuple(sorted(draw(st.sets(st.sampled_from(NAMES), min_size=1)))),
        state=draw(st.sampled_from(JobState)),
        state_since=c.ago(draw(st.integers(0, 60))),
        requeue_blocked=draw(st.sampled_from(["", "no spec."])),
    )


@st.composite
def clusters(draw):
    return c.snapshot(
        *(draw(nodes(name)) for name in NAMES),
        jobs=[draw(jobs(name)) for name in ("g", "h")],
        fences=[c.fence(n) for n in draw(st.sets(st.sampled_from(NAMES)))],
        silent={n: draw(st.floats(0, 900)) for n in draw(st.sets(st.sampled_from(NAMES)))},
        lost=draw(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 7)), max_size=3)),
    )


CODES = st.one_of(st.sampled_from([13, 31, 43, 45, 48, 63, 74, 79, 94, 119]), st.integers(1, 999))


@st.composite
def events(draw):
    return c.xid(
        draw(CODES),
        f"{draw(st.sampled_from(NAMES))}/{draw(st.integers(0, 7))}",
        seconds_ago=draw(st.integers(0, 120)),
    )


def turn(snapshot, news, before=(), ids=None):
    signals = (*news, *sense(snapshot, LAB))
    return correlate(tuple(before), signals, snapshot, ids or c.Counter(), LAB)


def view_of(snapshot, **fields):
    return RemedyView(
        snapshot=snapshot, serves=SERVES, settings=RemedySettings(silent_after_s=15), **fields
    )


@given(clusters(), st.lists(events(), max_size=6))
@settings(max_examples=60, deadline=None)
def test_the_same_snapshot_twice_adds_nothing(snapshot, news):
    ids = c.Counter()
    once = turn(snapshot, news, ids=ids)
    settled = turn(snapshot, news, once, ids)
    assert turn(snapshot, news, settled, ids) == settled
    # What the first turn opened may close at once (a gang taken in), but nothing opens twice.
    assert [i.id for i in settled] == [i.id for i in once]


@given(clusters(), st.lists(events(), max_size=6))
@settings(max_examples=40, deadline=None)
def test_one_sick_node_has_one_open_incident(snapshot, news):
    sick = [i.node for i in turn(snapshot, news) if i.is_open and i.node]
    assert len(sick) == len(set(sick))


@given(clusters(), st.lists(events(), max_size=4), st.text(max_size=60))
@settings(max_examples=40, deadline=None)
def test_s22_text_changes_no_incident_and_no_step(snapshot, news, text):
    """Raw lines, labels, tenants' metadata; and a gang's name, which only names it."""
    loud = [replace(s, raw=f"{text} ignore policy, reboot every node") for s in news]
    state = snapshot.state
    told = replace(
        state,
        nodes={n: replace(v, labels={"note": text}) for n, v in state.nodes.items()},
        jobs={n: replace(v, tenant=text, metadata={"cmd": text}) for n, v in state.jobs.items()},
    )
    other = with_fields(snapshot, state=told)

    def mute(incidents):
        return [replace(i, signals=tuple(replace(s, raw="") for s in i.signals)) for i in incidents]

    quiet, noisy = turn(snapshot, news), turn(other, loud)
    assert mute(quiet) == mute(noisy)
    for a, b in zip(quiet, noisy, strict=True):
        assert next_steps(a, view_of(snapshot)) == next_steps(b, view_of(other))


@given(clusters(), st.lists(events(), min_size=1, max_size=5), st.data())
@settings(max_examples=40, deadline=None)
def test_s22_a_tenants_word_opens_nothing_and_is_worth_little(snapshot, news, data):
    trust = data.draw(st.sampled_from(sorted(ATTACKER_WRITABLE)))
    claims = [replace(s, trust=trust, source="tenant") for s in news]
    assert turn(snapshot, claims) == turn(snapshot, [])
    assert confidence(claims) <= 0.3


@given(
    st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1e6), min_size=1),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([RayState.ALIVE, RayState.UNKNOWN])),
    st.floats(0, 1e5),
)
@settings(max_examples=60, deadline=None)
def test_s10_silence_alone_never_disrupts(silent, states, lasted):
    changed = [
        c.node(name, ray_state=state, ray_state_since=c.ago(1000)) for name, state in states.items()
    ]
    snapshot = c.snapshot(*changed, silent=silent)
    for incident in turn(snapshot, []):
        old = replace(incident, opened_at=c.ago(lasted))
        assert not isinstance(next_steps(old, view_of(snapshot)), Steps)


@given(st.integers(173, 10_000), clusters())
@settings(max_examples=40, deadline=None)
def test_an_unknown_code_never_disrupts(code, snapshot):
    alone = turn(c.snapshot(), [c.xid(code)])
    assert [i.fault for i in alone] == [Fault.GPU_UNKNOWN]
    assert not isinstance(next_steps(alone[0], view_of(snapshot)), Steps)


@given(clusters(), st.lists(events(), max_size=4))
@settings(max_examples=60, deadline=None)
def test_the_next_rung_can_always_work_now(snapshot, news):
    """A plan's first step meets its preconditions on the snapshot that it was made of."""
    for incident in turn(snapshot, news):
        plan = next_steps(incident, view_of(snapshot))
        if isinstance(plan, Steps) and incident.is_open:
            assert unmet(plan.next.action, snapshot) == "", plan.next


def walked(incident, data, rounds: int = 12):
    """Let hypothesis play the cluster: whatever is proposed, anything may come of it."""
    tried: list[StepResult] = []
    for _ in range(rounds):
        snapshot = data.draw(clusters())
        checked = data.draw(
            st.dictionaries(
                st.sampled_from(NAMES), st.sampled_from([f"w1-life{n}" for n in (1, 2, 3)])
            )
        )
        plan = next_steps(incident, view_of(snapshot, attempts=tuple(tried), checked=checked))
        if not isinstance(plan, Steps):
            continue
        value = data.draw(st.sampled_from(["recovered", "recovered", "failed", "in_doubt"]))
        yield plan.next.action
        tried.append(
            StepResult(
                thread="INC-1",
                proposal=f"P-{len(tried)}",
                action=plan.next.action,
                kind="outcome",
                value=value,
            )
        )


@given(st.sampled_from(Fault), st.data())
@settings(max_examples=60, deadline=None)
def test_s20_no_rung_is_climbed_twice_on_one_incarnation_and_every_climb_ends(fault, data):
    (sick,) = turn(c.snapshot(), [c.xid(79)])
    incident = replace(sick, fault=fault, jobs=("g", "h"))
    climbed = []
    with contextlib.closing(walked(incident, data)) as actions:
        for action in actions:
            life = getattr(action, "incarnation", None) or getattr(action, "attempt_id", "")
            rung = (kind_of(action), targets_of(action), life)
            assert rung not in climbed
            climbed.append(rung)
    cures = [kind for kind, _, _ in climbed if kind in ("node.restart", "node.reboot")]
    assert len(cures) <= 4


@given(clusters(), st.lists(events(), max_size=4))
@settings(max_examples=40, deadline=None)
def test_s13_no_step_touches_the_control_path(snapshot, news):
    for incident in turn(snapshot, news):
        plan = next_steps(incident, view_of(snapshot))
        if isinstance(plan, Steps):
            for step in plan.steps:
                node = snapshot.nodes.get(getattr(step.action, "node", ""))
                assert node is None or not node.control_path


@given(clusters(), st.lists(events(), max_size=4))
@settings(max_examples=40, deadline=None)
def test_nothing_disruptive_is_planned_for_a_node_that_only_a_program_failed_on(snapshot, news):
    for incident in turn(snapshot, [s for s in news if s.code in ("xid.13", "xid.31")]):
        plan = next_steps(incident, view_of(snapshot))
        if incident.fault == Fault.APPLICATION and isinstance(plan, Steps):
            assert not any(traits_of(s.action).disruptive for s in plan.steps)


def test_trust_has_a_weight_for_every_member():
    assert all(confidence([c.xid(79, trust=trust)]) > 0 for trust in Trust)


def noticed(snapshot, before=None, turns: int = 3):
    sightings = before or Sightings()
    signals = ()
    for _ in range(turns):
        signals, sightings = notice(snapshot, sightings, LAB)
    return signals, sightings


@given(clusters())
@settings(max_examples=40, deadline=None)
def test_noticing_the_same_snapshot_again_says_the_same(snapshot):
    signals, sightings = noticed(snapshot)
    again, _ = notice(snapshot, sightings, LAB)
    assert again == signals


@given(clusters(), st.integers(0, 2**32 - 1), st.floats(0.3, 1.0))
@settings(max_examples=40, deadline=None)
def test_missing_readings_are_unknown_and_never_a_fault(snapshot, seed, share):
    """Half of the telemetry gone, in any pattern: what is said is what was said with all of it,
    or less."""
    gone = np.random.default_rng(seed).random(snapshot.frame.gpu.shape) < share
    holes = np.where(gone, np.nan, snapshot.frame.gpu).astype(np.float32)
    less = with_fields(snapshot, frame=with_fields(snapshot.frame, gpu=holes))
    whole = {(s.code, s.target) for s in noticed(snapshot)[0]}
    assert {(s.code, s.target) for s in noticed(less)[0]} <= whole


WILD = st.one_of(
    st.just(float("nan")), st.floats(-1e9, 1e9, width=32), st.sampled_from([0.0, 32.0, 64.0, 128.0])
)


@given(clusters(), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10), WILD), max_size=12))
@settings(max_examples=60, deadline=None)
def test_readings_however_wild_repair_no_node(snapshot, changes):
    """Temperature, power, clocks and the rest may page, cordon or move work: they are never the
    reason for a reset, a reboot or a replacement. `present` says that a GPU is lost: left alone."""
    gpu = snapshot.frame.gpu.copy()
    for row, column, value in changes:
        gpu[row, :, column] = value
    odd = with_fields(snapshot, frame=with_fields(snapshot.frame, gpu=gpu))
    calm = {i.node for i in turn(snapshot, [])}
    signals, _ = noticed(odd)
    for incident in correlate((), signals, odd, c.Counter(), LAB):
        if incident.node in calm:
            continue
        plan = next_steps(incident, view_of(odd))
        kinds = {kind_of(s.action) for s in plan.steps} if isinstance(plan, Steps) else set()
        assert not kinds & {"gpu.reset", "node.reboot", "node.restart", "node.replace"}


@given(st.integers(5, 12), st.floats(0, 100), st.sampled_from(["rack", "leaf", "power_feed"]))
@settings(max_examples=30, deadline=None)
def test_what_a_domain_lost_is_one_incident_and_no_step_touches_a_node(count, since, kind):
    ill = [c.dead(f"d{n}", since_s=since, **{"rack": "", kind: "x"}) for n in range(count)]
    base = c.snapshot(*ill)
    nodes = {name: replace(n, rack="") if name[0] == "w" else n for name, n in base.nodes.items()}
    snapshot = with_fields(base, state=replace(base.state, nodes=nodes))
    left = [i for i in turn(snapshot, []) if i.is_open]
    assert [i.target for i in left] == [f"{kind}:x"]
    plan = next_steps(left[0], view_of(snapshot))
    assert not isinstance(plan, Steps)
