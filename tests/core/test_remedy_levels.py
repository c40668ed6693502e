"""What comes and goes by itself is acted on while it is seen, and is left alone once it is not."""

import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.action import CheckRun, kind_of
from watchkeeper.core.cluster import JobState, World
from watchkeeper.core.crew import StepResult
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Trust
from watchkeeper.core.telemetry import GPU_FIELDS
from watchkeeper.health.correlate import correlate
from watchkeeper.health.illness import healed, passed_by, still_ill
from watchkeeper.health.sense import REAL, sense
from watchkeeper.remedy.ladder import next_steps
from watchkeeper.remedy.plan import Escalate, RemedySettings, RemedyView, Steps

ALL = frozenset(
    {
        *("node.cordon", "node.uncordon", "node.drain", "node.restart", "node.reboot"),
        *("node.replace", "gpu.reset", "check.run", "job.requeue", "job.preempt"),
    }
)
REASONS = GPU_FIELDS.index("throttle_reasons")
CHECK = CheckRun(node="w1", incarnation="w1-life1")
FENCED = {"fences": [c.fence("w1")]}


def read(code: str, seconds_ago: float, where: str = "node:w1", trust: Trust = Trust.DRIVER):
    """One reading of a counter, or one line of the kernel."""
    ident = f"S-{code}-{seconds_ago}"
    at = c.ago(seconds_ago)
    kept = c.xid(1, id=ident, target=where, at=at, world=World.REAL, trust=trust)
    source = "kernel-log" if trust is Trust.KERNEL else "counters"
    return c.renamed(kept, code=code, source=source)


def told(*lines, **fields):
    """The incident of these lines, and the cluster as it is now."""
    snapshot = c.snapshot(world=World.REAL, **fields)
    signals = (*lines, *sense(snapshot, REAL))
    found = correlate((), signals, snapshot, c.Counter(), REAL)
    (incident,) = [i for i in found if i.node == "w1"]
    return c.renamed(incident, opened_at=min(s.at for s in lines)), snapshot


def plan(incident, snapshot, *tried, serves=ALL):
    return next_steps(
        incident,
        RemedyView(
            snapshot=snapshot,
            serves=serves,
            attempts=tried,
            settings=RemedySettings(settle_s=0.0, silent_after_s=60.0),
        ),
    )


def first(answer) -> str:
    return kind_of(answer.next.action) if isinstance(answer, Steps) else type(answer).__name__


def done(action, value="recovered") -> StepResult:
    return StepResult(
        thread="INC-1", proposal=f"P-{value}", action=action, kind="outcome", value=value
    )


def test_a_node_is_fenced_for_a_link_on_a_reading_of_now_and_not_of_a_minute_ago():
    assert first(plan(*told(read("ib.link_down", 70), read("ib.link_down", 10)))) == "node.cordon"
    assert first(plan(*told(read("ib.link_down", 110), read("ib.link_down", 50)))) == "Wait"


def test_a_gang_is_moved_off_a_degraded_link_on_a_reading_of_now_too():
    gang = c.job("g", step_at=c.ago(5))
    for seconds_ago, wanted in ((10, "job.preempt"), (50, "Wait")):
        slow = c.renamed(read("gang.slow", 100, "job:g"), incarnation=gang.attempt_id)
        lines = (*(read("ib.symbol_errors", seconds_ago + k) for k in (120, 60, 0)), slow)
        assert first(plan(*told(*lines, **FENCED, jobs=[gang]))) == wanted


def test_a_word_of_the_kernel_stands_though_the_counters_cannot_be_read_any_more():
    lines = (read("nic.down", 130, trust=Trust.KERNEL), read("ib.link_down", 100))
    assert first(plan(*told(*lines))) == "node.cordon"


def test_a_counter_that_fell_silent_is_over_and_what_stopped_goes_on():
    incident, snapshot = told(read("ib.link_down", 260), read("ib.link_down", 200))
    assert still_ill(incident, snapshot) is False
    assert healed(incident, snapshot)
    assert first(plan(incident, snapshot)) == "Done"
    gang = c.job("g", state=JobState.STOPPED, state_since=c.ago(250))
    incident, snapshot = told(read("ib.link_down", 260), read("ib.link_down", 200), jobs=[gang])
    assert first(plan(c.renamed(incident, jobs=("g",)), snapshot)) == "job.requeue"


NOT_OVER = {
    "a reading was due not long ago": ([read("ib.link_down", 100)], {}),
    "the node is not heard": ([read("ib.link_down", 400)], {"silent": {"w1": 300.0}}),
    "the kernel said more": (
        [read("ib.link_down", 400), read("nic.down", 400, trust=Trust.KERNEL)],
        {},
    ),
    "a check that began since has failed": (
        [read("ib.link_down", 400)],
        {"checks": [c.renamed(c.check("w1", "w1-life1", False), at=c.ago(300))]},
    ),
    "a slow gang is seldom told of": (
        [read("gang.suspect", 900), read("gang.slow", 900, "job:g")],
        {"jobs": [c.job("g")]},
    ),
}


@pytest.mark.parametrize(("lines", "fields"), NOT_OVER.values(), ids=NOT_OVER)
def test_silence_is_no_proof_where_something_else_may_still_be_true(lines, fields):
    assert not passed_by(*told(*lines, **fields))


def test_a_fenced_node_whose_counters_are_quiet_is_given_back_once_its_gang_ran_on_for_a_while():
    gang = c.job("g", step_at=c.ago(5))
    for quiet_s, wanted in ((300, "Wait"), (700, "node.uncordon")):
        lines = (read("ib.symbol_errors", quiet_s + 60), read("ib.symbol_errors", quiet_s))
        assert first(plan(*told(*lines, **FENCED, jobs=[gang]))) == wanted


def warm(told_s: float, reasons: float, **fields):
    """A node that was hot: when that was last told of, and what its driver says now."""
    incident, snapshot = told(read("gpu.thermal", told_s, "gpu:w1/3"), **FENCED, **fields)
    snapshot.frame.gpu[0, :, REASONS] = 0.0
    snapshot.frame.gpu[0, 3, REASONS] = reasons
    assert incident.fault == Fault.GPU_THERMAL
    return incident, snapshot


def test_a_question_about_heat_is_over_when_no_clock_is_cut_any_more():
    assert passed_by(*warm(700, 0.0))
    assert not passed_by(*warm(700, 64.0))
    assert not passed_by(*warm(700, float("nan")))
    assert not passed_by(*warm(60, 0.0))


def test_a_node_that_has_cooled_is_given_back_once_its_gang_ran_on_for_a_while():
    gang = c.job("g", step_at=c.ago(5))
    for told_s, reasons, wanted in ((300, 0.0, "Wait"), (700, 0.0, "node.uncordon")):
        assert first(plan(*warm(told_s, reasons, jobs=[gang]))) == wanted
    hot = plan(*warm(700, 64.0, jobs=[gang]))
    assert first(hot) == "Wait"
    assert "runs well" in hot.why, "one instrument speaks"


def test_an_empty_node_that_failed_its_check_while_the_fault_lasted_is_checked_again_after_it():
    failed = c.renamed(c.check("w1", "w1-life1", False), at=c.ago(400))
    quiet = (read("ib.link_down", 420), read("ib.link_down", 300))
    answer = plan(*told(*quiet, **FENCED, checks=[failed]), done(CHECK, "failed"))
    assert first(answer) == "check.run"
    since = c.renamed(failed, at=c.ago(200))
    answer = plan(*told(*quiet, **FENCED, checks=[since]), done(CHECK, "failed"))
    assert first(answer) == "node.replace"


def test_a_gang_that_hung_and_makes_steps_again_takes_the_blame_off_the_node():
    lines = (read("gang.suspect", 300), read("gang.hang", 400, "job:g"))
    lines = tuple(c.renamed(s, incarnation="g-a1") if s.target == "job:g" else s for s in lines)
    hangs = c.job("g", step_at=c.ago(400))
    assert not passed_by(*told(*lines, jobs=[hangs]))
    goes_on = c.renamed(hangs, step_at=c.ago(5))
    assert passed_by(*told(*lines, jobs=[goes_on]))
    assert passed_by(*told(lines[0], jobs=[goes_on])), "the hang itself is told in another incident"
    assert not passed_by(*told(lines[0], jobs=[hangs]))
    slow = read("gang.slow", 290, "job:g")
    assert not passed_by(*told(lines[0], slow, jobs=[goes_on])), "a slow gang makes steps, too"
    for told_s, over in ((200, True), (295, False)):
        paced = read("gang.paced", told_s, "job:g")
        assert passed_by(*told(lines[0], slow, paced, jobs=[goes_on])) is over
    other = c.renamed(read("gang.paced", 200, "job:g"), incarnation="another attempt")
    assert not passed_by(*told(lines[0], slow, other, jobs=[goes_on]))


def test_a_node_is_not_fenced_for_a_gang_that_hung_and_makes_steps_again():
    lines = (read("gang.suspect", 60), read("gang.hang", 90, "job:g"))
    for stepped, wanted in ((100, "node.cordon"), (5, "Wait")):
        gang = c.job("g", step_at=c.ago(stepped))
        hang = c.renamed(lines[1], incarnation=gang.attempt_id)
        assert first(plan(*told(lines[0], hang, jobs=[gang]))) == wanted


def test_a_gang_that_makes_steps_there_after_the_last_word_is_a_check():
    word = read("xid.109", 1300, "gpu:w1/3", Trust.KERNEL)
    incident, snapshot = told(word, jobs=[c.job("g", step_at=c.ago(5))])
    assert still_ill(incident, snapshot) is False
    assert passed_by(incident, snapshot), "what was asked meanwhile is asked no more"
    assert first(plan(incident, snapshot)) == "Done"
    young = c.renamed(word, at=c.ago(200))
    assert first(plan(*told(young, jobs=[c.job("g", step_at=c.ago(5))]))) == "Wait"
    assert not passed_by(*told(young, jobs=[c.job("g", step_at=c.ago(5))]))
    for step_at in (c.ago(1310), c.ago(400)):
        stands = c.job("g", step_at=step_at)
        assert not passed_by(*told(word, jobs=[stands]))
        assert first(plan(*told(word, jobs=[stands]))) == "node.cordon"
    row = read("xid.48", 1300, "gpu:w1/3", Trust.KERNEL)
    assert first(plan(*told(row, jobs=[c.job("g", step_at=c.ago(5))]))) == "node.cordon"


def test_an_upset_of_sram_is_checked_before_a_reset_and_a_row_of_memory_is_not():
    sram = [read(f"xid.{n}", 90, "gpu:w1/3", Trust.KERNEL) for n in (48, 172)]
    row = [read(f"xid.{n}", 90, "gpu:w1/3", Trust.KERNEL) for n in (48, 171)]
    assert first(plan(*told(*sram, **FENCED))) == "check.run"
    assert first(plan(*told(*row, **FENCED))) == "node.drain"


def test_of_two_sick_gpus_the_one_with_a_narrow_slot_is_not_reset_for_the_others_memory():
    lines = (read("pcie.width", 30, "gpu:w1/3"), read("xid.48", 90, "gpu:w1/4", Trust.KERNEL))
    answer = plan(*told(*lines, **FENCED))
    resets = [s.action.gpu for s in answer.steps if kind_of(s.action) == "gpu.reset"]
    assert resets == [4]


FAILED = {
    "the adapter is down": ([read("nic.down", 20, trust=Trust.KERNEL)], "node.drain"),
    "its counters go on, and the adapter was down once": (
        [read("nic.down", 200, trust=Trust.KERNEL), read("ib.link_down", 20)],
        "node.replace",
    ),
    "both say so to the end": (
        [read("nic.down", 20, trust=Trust.KERNEL), read("ib.link_down", 20)],
        "node.drain",
    ),
    "two devices of one board": (
        [read("nic.down", 20, trust=Trust.KERNEL), read("pcie.aer", 30, trust=Trust.KERNEL)],
        "node.replace",
    ),
    "a collective blamed NVLink first": (
        [
            read("xid.74", 200, "gpu:w1/3", Trust.KERNEL),
            *(read("nic.down", s, trust=Trust.KERNEL) for s in (140, 80, 20)),
        ],
        "node.drain",
    ),
}


@pytest.mark.parametrize(("lines", "wanted"), FAILED.values(), ids=FAILED)
def test_what_failed_its_check_is_cured_of_what_its_instruments_go_on_to_say(lines, wanted):
    failed = c.renamed(c.check("w1", "w1-life1", False), at=c.ago(10))
    answer = plan(*told(*lines, **FENCED, checks=[failed]), done(CHECK, "failed"))
    assert first(answer) == wanted
    if wanted == "node.drain":
        assert kind_of(answer.steps[1].action) == "node.reboot"


def test_a_check_that_failed_long_ago_is_taken_again_before_a_repair_that_had_to_wait():
    word = read("xid.109", 2100, "gpu:w1/3", Trust.KERNEL)
    for checked_s, wanted in ((1800, "check.run"), (300, "node.drain")):
        failed = c.renamed(c.check("w1", "w1-life1", False), at=c.ago(checked_s))
        answer = plan(*told(word, **FENCED, checks=[failed]), done(CHECK, "failed"))
        assert first(answer) == wanted


def test_a_lost_node_that_fails_its_check_is_replaced_and_only_then_a_persons():
    snapshot = c.snapshot(c.dead("w1", since_s=20), world=World.REAL)
    (incident,) = correlate((), sense(snapshot, REAL), snapshot, c.Counter(), REAL)
    assert incident.fault == Fault.NODE_LOST
    back = c.snapshot(
        c.reborn("w1", since_s=300, gpus_free=0.0),
        world=World.REAL,
        checks=[c.renamed(c.check("w1", "w1-life2", False), at=c.ago(30))],
        **FENCED,
    )
    assert first(plan(incident, back)) == "node.replace"
    assert isinstance(plan(incident, back, serves=ALL - {"node.replace"}), Escalate)
