"""The rungs about gangs: requeue what stopped, see that it runs, say why where it cannot."""

from __future__ import annotations

from watchkeeper.core.action import Action, JobRequeue
from watchkeeper.core.cluster import Job, JobState, Node
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident
from watchkeeper.remedy.plan import Done, Escalate, Plan, RemedyView, Step, Steps, Wait
from watchkeeper.remedy.verify import expected_effect

MAX_REQUEUES = 2
"""Requeues of one gang within one incident; the budget over days is the policy's and S19's."""


def job_ladder(incident: Incident, view: RemedyView) -> Plan:
    """For a gang that stopped by itself, or whose program failed: requeue, and nothing else."""
    plan = after_repair(incident, view)
    if not isinstance(plan, Done):
        return plan
    lasted = (view.snapshot.at - incident.opened_at).total_seconds()
    if not incident.jobs and lasted < view.settings.settle_s:
        return Wait(why="It is the job's own fault. We watch whether a gang stops of it.")
    if incident.fault == Fault.GPU_MEMORY_CONTAINED:
        return Escalate(why=f"{incident.title}. Reset the GPU when the node next drains.")
    if not incident.jobs:
        return Done(why="The job's own fault; no gang stopped of it, and the GPU is healthy.")
    return plan


def after_repair(incident: Incident, view: RemedyView) -> Plan:
    """Requeue each gang of the incident that stands still; done when all of them run."""
    jobs = [view.snapshot.jobs[n] for n in incident.jobs if n in view.snapshot.jobs]
    stopped = [job for job in jobs if job.state is JobState.STOPPED]
    blocked = [f"{j.name} ({j.requeue_blocked})" for j in stopped if j.requeue_blocked]
    able = [job for job in stopped if not job.requeue_blocked]
    if able and "job.requeue" not in view.serves:
        blocked += [f"{job.name} (no provider submits jobs here)" for job in able]
        able = []
    spent = [job for job in able if _spent(job, view)]
    ready = [job for job in able if job not in spent]
    if ready:
        also = f" Not possible for {', '.join(blocked)}." if blocked else ""
        return Steps(steps=tuple(_step(incident, view, job, also) for job in ready))
    if spent:
        names = ", ".join(job.name for job in spent)
        return Escalate(why=f"{names} stopped again after a requeue.", page=True)
    if blocked:
        return Escalate(why=f"Cannot be submitted again by us: {', '.join(blocked)}.")
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
        if job.state in (JobState.RUNNING, JobState.STOPPED) and not job.requeue_blocked
    ]
    return tuple((_requeue(job), f"{job.name} goes on from its checkpoint.") for job in wanted)


def _requeue(job: Job) -> JobRequeue:
    return JobRequeue(job=job.name, attempt_id=job.attempt_id)


def _spent(job: Job, view: RemedyView) -> bool:
    """This attempt was requeued already, or the gang was requeued often enough."""
    of_job = [r for r in view.tried("job.requeue") if getattr(r.action, "job", "") == job.name]
    return len(of_job) >= MAX_REQUEUES or any(
        getattr(r.action, "attempt_id", "") == job.attempt_id for r in of_job
    )


def _step(incident: Incident, view: RemedyView, job: Job, also: str) -> Step:
    action = _requeue(job)
    origin = f" from step {job.checkpoint_step}" if job.checkpoint_step is not None else ""
    return Step(
        action=action,
        reason=f"{job.name} stopped and can go on{origin}.{also}",
        effect=expected_effect(action, view),
        rung=f"{incident.fault}: job.requeue",
    )
