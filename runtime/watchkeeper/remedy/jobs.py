"""The rungs about gangs: requeue what stopped, see that it runs, say why where it cannot."""

from __future__ import annotations

from datetime import UTC, datetime

from watchkeeper.core.action import REQUEUE_BEFORE, Action, JobRequeue, is_name
from watchkeeper.core.cluster import Job, JobState, Node
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident
from watchkeeper.remedy.plan import Done, Escalate, Plan, RemedyView, Step, Steps, Wait
from watchkeeper.remedy.taint import newest_is_tainted, tainted_since
from watchkeeper.remedy.trying import waits_its_turn
from watchkeeper.remedy.verify import expected_effect

MAX_REQUEUES = 2
"""Requeues of one gang within one incident; the budget over days is the policy's and S19's."""


def job_ladder(incident: Incident, view: RemedyView) -> Plan:
    """For a gang that stopped by itself, or whose program failed: requeue, and nothing else."""
    named = (view.snapshot.jobs[name] for name in incident.jobs if name in view.snapshot.jobs)
    if turn := waits_its_turn((j for j in named if j.state is JobState.STOPPED), view):
        return turn
    plan = after_repair(incident, view)
    if not isinstance(plan, Done):
        return plan
    lasted = (view.snapshot.at - incident.opened_at).total_seconds()
    if not incident.jobs and lasted < view.settings.settle_s:
        return Wait(why="It is the job's own fault. We watch whether a gang stops of it.")
    if incident.fault == Fault.GPU_MEMORY_CONTAINED:
        # The row is put aside at the next reset, of which every drain of ours brings one; until
        # then the driver keeps the page out of use, and nobody need be called.
        return Done(why=f"{incident.title}. It was contained; the next reset of the GPU ends it.")
    if not incident.jobs:
        return Done(why="The job's own fault; no gang stopped of it, and the GPU is healthy.")
    return plan


def after_repair(incident: Incident, view: RemedyView) -> Plan:
    """Requeue each gang of the incident that stands still; done when all of them run."""
    jobs = [view.snapshot.jobs[n] for n in incident.jobs if n in view.snapshot.jobs]
    stopped = [job for job in jobs if job.state is JobState.STOPPED]
    barred = [f"{j.name} ({why})" for j in stopped if (why := blocked(incident, view, j))]
    able = [job for job in stopped if not blocked(incident, view, job)]
    if able and "job.requeue" not in view.serves:
        barred += [f"{job.name} (no provider submits jobs here)" for job in able]
        able = []
    used = [job for job in able if spent(job, view)]
    ready = [job for job in able if job not in used]
    if ready:
        also = f" Not possible for {', '.join(barred)}." if barred else ""
        return Steps(steps=tuple(requeue_step(incident, view, job, also) for job in ready))
    if used:
        names = ", ".join(job.name for job in used)
        return Escalate(why=f"{names} stopped again after a requeue.", page=True)
    if barred and incident.node and all(job.name in view.denied for job in stopped):
        return Done(why=f"{incident.node} serves again. It stays stopped: {', '.join(barred)}.")
    if barred:
        return Escalate(why=f"Cannot be submitted again by us: {', '.join(barred)}.")
    waiting = [job.name for job in jobs if job.state is JobState.WAITING]
    if waiting:
        return Wait(why=f"{', '.join(waiting)} waits for GPUs.")
    ran = ", ".join(job.name for job in jobs)
    where = f"{incident.node} serves again" if incident.node else "Nothing is stopped"
    return Done(why=f"{where}; {ran} runs again." if ran else f"{where}.")


def later_requeues(
    incident: Incident, view: RemedyView, node: Node
) -> tuple[tuple[Action, str], ...]:
    """The gangs that a repair of this node would have to requeue, as a preview."""
    if "job.requeue" not in view.serves:
        return ()
    here = {job.name: job for job in view.snapshot.jobs_on(node.name)}
    named = {n: view.snapshot.jobs[n] for n in incident.jobs if n in view.snapshot.jobs}
    wanted = [
        job
        for _, job in sorted({**here, **named}.items())
        if job.state in (JobState.RUNNING, JobState.STOPPED) and not blocked(incident, view, job)
    ]
    return tuple(
        (_requeue(incident, job), f"{job.name} goes on from its checkpoint.") for job in wanted
    )


def later_requeues_of(
    incident: Incident, view: RemedyView, jobs: tuple[Job, ...]
) -> tuple[Step, ...]:
    """The same for gangs that we end ourselves."""
    if "job.requeue" not in view.serves:
        return ()
    able = (job for job in jobs if not blocked(incident, view, job))
    return tuple(requeue_step(incident, view, job, "") for job in able)


def _requeue(incident: Incident, job: Job) -> JobRequeue:
    return JobRequeue(job=job.name, attempt_id=job.attempt_id, before=_not_after(incident, job))


def _not_after(incident: Incident, job: Job) -> datetime | None:
    """The time since which its checkpoints are not trusted; None when the newest will do."""
    since = tainted_since(incident)
    return since if newest_is_tainted(job, since) else None


def blocked(incident: Incident, view: RemedyView, job: Job) -> str:
    """Why we cannot submit it again; "" when we can. A gang whose newest checkpoint is tainted
    goes back to an older one, or to a person where no provider can do that."""
    if not is_name(job.name):
        return "its name is not one plain name, so no action can be about it"
    if said := view.denied.get(job.name):
        return said
    before = _not_after(incident, job)
    if before is None or job.requeue_blocked or REQUEUE_BEFORE in view.serves:
        return job.requeue_blocked
    when = before.astimezone(UTC)
    return (
        f"its newest checkpoint may be tainted; start it from one before {when:%H:%M:%S} UTC, "
        "which no provider here can do"
    )


def spent(job: Job, view: RemedyView) -> bool:
    """This attempt was requeued already, or the gang was requeued often enough."""
    of_job = [r for r in view.tried("job.requeue") if getattr(r.action, "job", "") == job.name]
    return len(of_job) >= MAX_REQUEUES or any(
        getattr(r.action, "attempt_id", "") == job.attempt_id for r in of_job
    )


def requeue_step(incident: Incident, view: RemedyView, job: Job, also: str) -> Step:
    action = _requeue(incident, job)
    origin = f" from step {job.checkpoint_step}" if job.checkpoint_step is not None else ""
    if action.before is not None:
        origin = " from an older checkpoint, since the newest may be tainted"
    return Step(
        action=action,
        reason=f"{job.name} stopped and can go on{origin}.{also}",
        effect=expected_effect(action, view),
        rung=f"{incident.fault}: job.requeue",
    )
