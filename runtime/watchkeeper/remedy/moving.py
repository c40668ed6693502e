"""What becomes of the gangs of a sick node: asked beside the node's own ladder, in a thread of its
own, so that no gang stands still while its node is asked about, repaired and checked.

Pure. It touches no node; it only says when a stopped gang may be submitted again.
"""

from __future__ import annotations

from watchkeeper.core.action import JobPreempt, NodeDrain, say
from watchkeeper.core.cluster import Job, JobState, Node, RayState
from watchkeeper.core.crew import StepResult
from watchkeeper.core.fault import REPAIRED_ON_NODE, Fault
from watchkeeper.core.incident import Incident
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.remedy.evict import spare_gpus
from watchkeeper.remedy.jobs import blocked, requeue_step, spent
from watchkeeper.remedy.plan import Done, Plan, RemedyView, Steps, Wait

LEFT_S = 300.0
"""How often one looks again whether a gang that people left running has ended (ours)."""
MOVES = REPAIRED_ON_NODE | {Fault.GPU_HANDS_ON, Fault.GPU_THERMAL, Fault.GPU_POWER_BRAKE}
"""Faults of a node that its gangs need not wait for."""


def stopped_by(incident: Incident, snapshot: Snapshot) -> list[Job]:
    """Gangs of this node's incident that stand still, by name."""
    return [
        job
        for name, job in sorted(snapshot.jobs.items())
        if job.state is JobState.STOPPED and (name in incident.jobs or incident.node in job.nodes)
    ]


def gangs_ladder(incident: Incident, view: RemedyView) -> Plan:
    """Submit what stopped there again as soon as it cannot land on the sick node, where others
    have room; else once waiting in the queue is no worse than waiting for the repair."""
    jobs = stopped_by(incident, view.snapshot)
    if not jobs or "job.requeue" not in view.serves:
        return Done(why="No gang of it stands still.")
    node = view.snapshot.nodes.get(incident.node)
    if node is not None and not out_of_reach(node, view.snapshot):
        why = f"{node.name} is open: what is submitted now may land there again."
        return Wait(why=why, for_change=True)
    room = {job.pool: spare_gpus(view.snapshot, job.pool, incident.node) for job in jobs}
    able = [job for job in jobs if not blocked(incident, view, job) and not spent(job, view)]
    ready, held = [], ""
    for job in able:
        stood = (view.snapshot.at - job.state_since).total_seconds()
        if room[job.pool] >= job.gpus:
            room[job.pool] -= job.gpus
            also = f" Others have room; {incident.node} is out."
        elif stood >= view.settings.queue_after_s:
            also = f" It waits in the queue for room; {incident.node} is out."
        else:
            held = f"No room for {job.name} yet: it waits for {incident.node}, or for others."
            continue
        ready.append(requeue_step(incident, view, job, also))
    if ready:
        return Steps(steps=tuple(ready))
    return Wait(why=held or "What stopped there cannot be submitted again by us.")


def left_running(
    incident: Incident, attempts: tuple[StepResult, ...], snapshot: Snapshot
) -> Wait | None:
    """For what a person would not have ended for this incident, and still runs: it is left until it
    ends by itself, and the repair goes on from there. None when nothing is."""
    for result in attempts:
        if (result.kind, result.value) != ("answer", "deny"):
            continue
        match result.action:
            case JobPreempt(job=name, attempt_id=attempt):
                job = snapshot.jobs.get(name)
                here = [job] if job is not None and job.attempt_id == attempt else []
            case NodeDrain(node=name, incarnation=life):
                node = snapshot.nodes.get(name)
                same = node is not None and node.incarnation == life
                here = list(snapshot.jobs_on(name)) if same else []
            case _:
                continue
        if names := ", ".join(sorted(j.name for j in here if j.state is JobState.RUNNING)):
            asked = say(result.action)
            why = f"A person said no to: {asked}. {incident.title}; {names} is left to end first."
            return Wait(why=why, again_s=LEFT_S)
    return None


def out_of_reach(node: Node, snapshot: Snapshot) -> bool:
    """Nothing new can land there: it is not alive, or our fence holds all that is free."""
    if node.ray_state is not RayState.ALIVE:
        return node.ray_state is not RayState.UNKNOWN
    fence = snapshot.fences.get(node.name)
    return fence is not None and (fence.sealed or node.gpus_free <= 0)
