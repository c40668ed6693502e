"""The ladder for a gang that hangs, crawls or computes nonsense, with no node to blame.

Where one node differs from its peers the incident is that node's (`node_suspect`), and the node's
ladder treats it. Here only the gang itself is touched: ended, and requeued. The second time the
question goes to a person, with the nodes named.
"""

from __future__ import annotations

from watchkeeper.core.action import JobPreempt
from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.fault import NAN_PROOF_S, Fault
from watchkeeper.core.incident import Incident
from watchkeeper.remedy.doubt import may_go_on
from watchkeeper.remedy.evict import group_of
from watchkeeper.remedy.group_test import group_test
from watchkeeper.remedy.jobs import after_repair, later_requeues_of
from watchkeeper.remedy.plan import Done, Escalate, Plan, RemedyView, Step, Steps, Wait
from watchkeeper.remedy.taint import newest_is_tainted, tainted_since
from watchkeeper.remedy.verify import expected_effect

CALM_S = 600.0
"""A gang that was not called slow for so long is so no more: a slow one is told of each 2 min."""
SLOW_S = 3600.0
"""How long a slow gang with nobody to blame is watched before a person gets a ticket (ours)."""
WATCHDOG_S = 2100.0
"""How long a gang that nobody may end gets to end itself: a collective's watchdog is 10 to 30
minutes by default (PyTorch), and we give it five more."""
_SAYS = {
    Fault.GANG_HANG: "makes no steps, and holds its GPUs",
    Fault.GANG_NAN: "computes nothing of worth since its loss is no number",
}


def gang_ladder(incident: Incident, view: RemedyView) -> Plan:
    """End what hangs, requeue it once; a slow gang is only reported."""
    jobs = [view.snapshot.jobs[n] for n in incident.jobs if n in view.snapshot.jobs]
    if not jobs:
        return Wait(why=f"Ray does not list {', '.join(incident.jobs) or incident.target}.")
    ill = [job for job in jobs if job.state is JobState.RUNNING and _speaks_of(incident, job)]
    if not ill:
        return group_test(incident, view) or _proven(incident, view)
    job = ill[0]
    lasted = (view.snapshot.at - incident.opened_at).total_seconds()
    if lasted < view.settings.settle_s:
        return Wait(why=f"{incident.title}. A driver's word on why may follow.")
    if incident.fault == Fault.GANG_SLOW:
        return _slow(incident, view, lasted)
    if may_go_on(incident, view.snapshot.at):
        return Wait(why=f"{incident.title}. It may go on by itself.")
    may = 2 if incident.fault == Fault.GANG_NAN and "check.run" in view.serves else 1
    if len(view.tried("job.requeue")) >= may or len(view.tried("job.preempt")) >= may + 1:
        again = group_of(job.nodes, view.snapshot)
        return Escalate(why=f"{incident.title} again after a requeue. {again}", page=True)
    if not view.can_preempt(job.attempt_id):
        if lasted < WATCHDOG_S:
            return Wait(why=f"{incident.title}. Its own watchdog may end it; we may not.")
        return Escalate(why=f"{incident.title}, and nobody here may end it.", page=True)
    return Steps(steps=(_preempt(incident, view, job), *later_requeues_of(incident, view, (job,))))


def _proven(incident: Incident, view: RemedyView) -> Plan:
    """A gang that computed nonsense is watched for a while before it counts as well again: its next
    word belongs to this incident, and then it is one of its nodes."""
    plan = after_repair(incident, view)
    if not isinstance(plan, Done) or incident.fault != Fault.GANG_NAN:
        return plan
    jobs = [view.snapshot.jobs[n] for n in incident.jobs if n in view.snapshot.jobs]
    for job in jobs:
        if (view.snapshot.at - job.state_since).total_seconds() < NAN_PROOF_S:
            return Wait(why=f"{job.name} runs again. Whether its loss stays a number shows soon.")
    return plan


def _slow(incident: Incident, view: RemedyView, lasted: float) -> Plan:
    """Nobody is to blame, so nothing is done: it passes, or a person looks at it at leisure."""
    told = max((s.at for s in incident.signals if s.code == "gang.slow"), default=None)
    if told is not None and (view.snapshot.at - told).total_seconds() > CALM_S:
        return Done(why=f"{incident.title}; it has not been told of any more for a while.")
    if lasted < SLOW_S:
        return Wait(why=f"{incident.title}. None of its nodes differs from its peers; it may pass.")
    return Escalate(why=f"{incident.title}, and none of its nodes differs from its peers.")


def _speaks_of(incident: Incident, job: Job) -> bool:
    """Whether the incident's newest word is of this attempt: a new attempt is a new patient, but
    for one that went on from a state that was corrupt already."""
    own = job.checkpoint_at is not None and job.checkpoint_at > job.state_since
    since = tainted_since(incident)
    if incident.fault == Fault.GANG_NAN and not own and newest_is_tainted(job, since):
        return True
    told = [s for s in incident.signals if s.target == f"job:{job.name}"]
    return bool(told) and max(told, key=lambda s: (s.at, s.id)).incarnation == job.attempt_id


def _preempt(incident: Incident, view: RemedyView, job: Job) -> Step:
    action = JobPreempt(job=job.name, attempt_id=job.attempt_id, at_once=True)
    return Step(
        action=action,
        reason=f"{job.name} {_SAYS[Fault(incident.fault)]}. It is ended, to go on elsewhere.",
        effect=expected_effect(action, view),
        rung=f"{incident.fault}: job.preempt",
    )
