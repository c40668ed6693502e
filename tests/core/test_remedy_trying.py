"""A bad driver on many nodes: one gang tries, the others wait, and where it works more follow."""

from datetime import timedelta

import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.cluster import JobState
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.remedy.jobs import job_ladder
from watchkeeper.remedy.plan import RemedyView, Steps, Wait
from watchkeeper.remedy.trying import LOOK_S, TRY_S

DRIVER = {"leaf:l1": frozenset({Fault.GPU_DRIVER})}
NODES = [c.node(f"w{n}", leaf="l1" if n < 6 else "l2") for n in range(1, 8)]


def ago(seconds):
    return c.NOW - timedelta(seconds=seconds)


def gang(n, state=JobState.STOPPED, since_s=2 * TRY_S - 60, step_s=None, **fields):
    step_at = None if step_s is None else ago(step_s)
    name, nodes = f"gang-{n}", (f"w{n}",)
    return c.job(
        name, nodes=nodes, state=state, state_since=ago(since_s), step_at=step_at, **fields
    )


def who_goes(*gangs, down=DRIVER, denied=()):
    """The gangs whose own incident asks for a requeue on this snapshot."""
    snapshot = c.snapshot(*NODES, jobs=gangs)
    view = RemedyView(
        snapshot=snapshot, serves=frozenset({"job.requeue"}), down=down, denied=dict(denied)
    )
    plans = {g.name: job_ladder(stopped(g), view) for g in gangs if g.state is JobState.STOPPED}
    assert all(p.again_s == LOOK_S for p in plans.values() if isinstance(p, Wait))
    return {name for name, plan in plans.items() if isinstance(plan, Steps)}


def stopped(job) -> Incident:
    return Incident(
        id=f"INC-{job.name}",
        target=f"job:{job.name}",
        fault=Fault.JOB_STOPPED,
        title=f"{job.name}: stopped",
        state=IncidentState.OPEN,
        opened_at=job.state_since,
        updated_at=job.state_since,
        jobs=(job.name,),
        world=c.snapshot().world,
        confidence=0.7,
    )


WORKS = {"state": JobState.RUNNING, "since_s": 500.0, "step_s": 10.0}


@pytest.mark.parametrize(
    ("gangs", "go"),
    [
        pytest.param((gang(1), gang(2), gang(3)), {"gang-1"}, id="by name, of equals"),
        pytest.param((gang(1), gang(2, since_s=1190)), {"gang-2"}, id="who stopped first"),
        pytest.param((gang(1), gang(2, since_s=60)), set(), id="one has just stopped again"),
        pytest.param(
            (gang(1), gang(2, JobState.RUNNING, since_s=60)), set(), id="one is about to show"
        ),
        pytest.param((gang(1), gang(2), gang(3, **WORKS)), {"gang-1"}, id="one works, one more"),
        pytest.param(
            (gang(1), gang(2), gang(3, **WORKS), gang(4, **WORKS)),
            {"gang-1", "gang-2"},
            id="two work, two more",
        ),
        pytest.param(
            (gang(1), gang(2), gang(3, **WORKS), gang(4, JobState.RUNNING, since_s=60)),
            set(),
            id="the one more has begun",
        ),
        pytest.param((gang(6, since_s=60), gang(7, since_s=60)), {"gang-6", "gang-7"}, id="others"),
        pytest.param(
            (gang(1, requeue_blocked="no entrypoint"), gang(2)), {"gang-2"}, id="no turn is wasted"
        ),
        pytest.param(
            (gang(1, since_s=2 * TRY_S), gang(2, since_s=2 * TRY_S), gang(3, since_s=2 * TRY_S)),
            {"gang-1", "gang-2"},
            id="who does not take its turn holds up nobody",
        ),
    ],
)
def test_where_a_bad_driver_was_rolled_out_gangs_try_one_after_the_other(gangs, go):
    assert who_goes(*gangs) == go


def test_when_the_domain_is_well_again_all_of_them_go():
    assert who_goes(gang(1), gang(2, since_s=60), down={}) == {"gang-1", "gang-2"}


def test_a_domain_that_is_down_for_another_cause_holds_no_gang_back():
    dead = {"leaf:l1": frozenset({Fault.NODE_LOST})}
    assert who_goes(gang(1), gang(2), down=dead) == {"gang-1", "gang-2"}
