"""A gang that computes nonsense twice: which of its nodes is to blame, and what becomes of it."""

import msgspec
import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.action import CheckRun, kind_of
from watchkeeper.core.cluster import CheckResult, JobState
from watchkeeper.core.crew import StepResult
from watchkeeper.core.incident import IncidentState, Trust
from watchkeeper.health.correlate import correlate
from watchkeeper.remedy.gang import gang_ladder
from watchkeeper.remedy.group_test import attempts_in_doubt, check_step, to_check
from watchkeeper.remedy.plan import Done, Escalate, RemedyView, Step, Steps, Wait

SERVES = frozenset(
    {
        *("node.cordon", "node.uncordon", "node.replace", "check.run"),
        *("job.preempt", "job.requeue", "job.requeue+before"),
    }
)


def word(attempt, ago_s):
    line = c.renamed(c.xid(1), id=f"S-{attempt}-{ago_s}", code="gang.nan", target="job:g")
    return c.renamed(line, at=c.ago(ago_s), trust=Trust.SCHEDULER, incarnation=attempt)


def gang(**fields):
    return c.job("g", **{"nodes": ("w1", "w2"), "attempt_id": "g-a2", **fields})


ENDED = gang(state=JobState.STOPPED, state_since=c.ago(20))


def cluster(*checks, job=ENDED, **fields):
    nodes = [c.node(name, gpus_free=8.0) for name in ("w1", "w2")]
    return c.snapshot(*nodes, jobs=[job], checks=checks, **fields)


def check(node, *, passed, began_s_ago=10.0):
    return CheckResult(node, f"{node}-life1", "k", passed, "", c.ago(began_s_ago))


def incident(*words):
    first, *rest = words
    (found,) = correlate((), (first,), c.snapshot(jobs=[gang(attempt_id="g-a1")]), c.Counter())
    return msgspec.structs.replace(found, signals=(first, *rest), opened_at=c.ago(600))


TWICE = incident(word("g-a1", 500), word("g-a2", 60))


def view(snapshot, *tried):
    return RemedyView(snapshot=snapshot, serves=SERVES, attempts=tried)


def done(action, value="recovered"):
    return StepResult(thread="INC-1", proposal="P", action=action, kind="outcome", value=value)


def test_one_attempt_that_computes_nonsense_is_no_reason_to_test_its_nodes() -> None:
    once = incident(word("g-a2", 120), word("g-a2", 60))
    assert attempts_in_doubt(once) == 1
    assert to_check(once, cluster()) == ()


def test_after_the_second_each_node_is_checked_while_the_gang_stands_still() -> None:
    assert to_check(TWICE, cluster()) == ("w1", "w2")
    assert isinstance(gang_ladder(TWICE, view(cluster())), Wait)


@pytest.mark.parametrize(
    ("checks", "left"),
    [
        ((check("w1", passed=True),), ("w2",)),
        ((check("w1", passed=None),), ("w1", "w2")),
        ((check("w1", passed=True, began_s_ago=90.0),), ("w1", "w2")),
        ((check("w1", passed=False),), ()),
        ((check("w1", passed=True), check("w2", passed=True)), ()),
    ],
    ids=["one-passed", "one-runs", "one-before-the-word", "one-failed", "all-passed"],
)
def test_what_is_left_to_check(checks, left) -> None:
    assert to_check(TWICE, cluster(*checks)) == left


def test_nothing_is_checked_while_the_gang_runs_there() -> None:
    assert to_check(TWICE, cluster(job=gang())) == ()


def test_a_node_is_checked_once_in_a_life() -> None:
    step = check_step(TWICE, "w1", view(cluster()))
    assert isinstance(step, Step)
    assert step.action == CheckRun(node="w1", incarnation="w1-life1")
    assert isinstance(check_step(TWICE, "w1", view(cluster(), done(step.action))), Wait)
    assert isinstance(check_step(TWICE, "nobody", view(cluster())), Wait)


def first(plan):
    assert isinstance(plan, Steps)
    return kind_of(plan.next.action), getattr(plan.next.action, "node", "")


def test_who_fails_is_fenced_and_the_gang_goes_on_before_anything_else_is_done() -> None:
    wrong = check("w2", passed=False)
    plan = gang_ladder(TWICE, view(cluster(wrong)))
    assert first(plan) == ("node.cordon", "w2")
    fenced = cluster(wrong, fences=[c.fence("w2")])
    plan = gang_ladder(TWICE, view(fenced, done(plan.next.action)))
    assert first(plan)[0] == "job.requeue"


def test_who_fails_is_checked_again_behind_its_fence_and_then_given_back() -> None:
    on = {"job": gang(attempt_id="g-a3", nodes=("w1",)), "fences": [c.fence("w2")]}
    wrong = check("w2", passed=False)
    cordon = gang_ladder(TWICE, view(cluster(wrong))).next.action
    plan = gang_ladder(TWICE, view(cluster(wrong, **on), done(cordon)))
    assert first(plan) == ("check.run", "w2")
    tried = (done(cordon), done(plan.next.action, "failed"))
    assert first(gang_ladder(TWICE, view(cluster(wrong, **on), *tried))) == ("node.replace", "w2")


def test_who_passes_behind_its_fence_goes_home() -> None:
    on = {"job": gang(attempt_id="g-a3", nodes=("w1",)), "fences": [c.fence("w2")]}
    cordon = gang_ladder(TWICE, view(cluster(check("w2", passed=False)))).next.action
    again = cluster(check("w2", passed=True), **on)
    assert first(gang_ladder(TWICE, view(again, done(cordon)))) == ("node.uncordon", "w2")


def test_where_no_check_finds_it_the_gang_goes_on_and_next_time_a_person_is_called() -> None:
    passed = (check("w1", passed=True), check("w2", passed=True))
    plan = gang_ladder(TWICE, view(cluster(*passed)))
    assert first(plan)[0] == "job.requeue"
    third = incident(word("g-a1", 500), word("g-a2", 300), word("g-a3", 60))
    requeues = [
        done(msgspec.structs.replace(plan.next.action, attempt_id=f"g-a{n}")) for n in (1, 2)
    ]
    running = cluster(job=gang(attempt_id="g-a3"))
    assert isinstance(gang_ladder(third, view(running, *requeues)), Escalate)


@pytest.mark.parametrize(("ran_s", "plan"), [(600, Wait), (2000, Done)])
def test_a_gang_counts_as_well_only_after_it_ran_for_a_while(ran_s, plan) -> None:
    once = incident(word("g-a1", 3000))
    runs = gang(checkpoint_at=c.ago(3600), state_since=c.ago(ran_s))
    assert isinstance(gang_ladder(once, view(cluster(job=runs))), plan)


def test_what_a_person_looks_for_makes_no_second_incident_when_the_gang_starts_anew() -> None:
    theirs = c.renamed(TWICE, state=IncidentState.ESCALATED)
    third = c.snapshot(jobs=[gang(attempt_id="g-a3")])
    (same,) = correlate((theirs,), (word("g-a3", 5),), third, c.Counter())
    assert (same.id, same.state) == (theirs.id, IncidentState.ESCALATED)
    mended = c.renamed(TWICE, id="INC-77", state=IncidentState.RESOLVED)
    found = correlate((mended,), (word("g-a3", 5),), third, c.Counter())
    assert [i.state for i in found if i.id != mended.id] == [IncidentState.OPEN]
