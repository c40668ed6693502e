"""Gangs that wait for our admission: which may start now, and where? One thread for each.

Asked by the planner, which makes the threads, and by them. A gang is placed whole, in its turn, on
nodes that are named; who would have to make room is the scheduler's question.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from watchkeeper.core.action import Action, JobPreempt, kind_of, say
from watchkeeper.core.cluster import Job, JobState, RayState
from watchkeeper.core.crew import Briefing, StepResult
from watchkeeper.core.once import once_for
from watchkeeper.placement.share import room_under, used_up_for
from watchkeeper_agents.hearing import hear_beside
from watchkeeper_agents.tools import Tools
from watchkeeper_agents.ways import place
from watchkeeper_agents.words import GANG, CrewSettings, Memory, Move, Turn, WorkItem

BY = "agent:scheduler"


def to_admit(briefing: Briefing, settings: CrewSettings) -> Iterator[WorkItem]:
    """One work item for each held gang that has room now, in the order of their turn; and for an
    elastic one that could grow back while nobody waits. Nothing where no gang is either."""
    held = any(job.held for job in briefing.snapshot.not_running)
    if held and "job.place" in briefing.serves:
        line = Tools(briefing).line(settings.terms)
        if line is not None:
            for name in line.order:
                if name in line.starts and briefing.snapshot.jobs[name].held:
                    yield from _item(name, briefing)
    for job in _small(briefing.snapshot.running):
        if _may_grow(job, briefing, settings):
            yield from _item(job.name, briefing)


def _item(name: str, briefing: Briefing) -> Iterator[WorkItem]:
    thread = f"{GANG}{name}"
    if thread not in briefing.busy:
        yield WorkItem(thread=thread, agent="scheduler", subject=f"job:{name}")


def admit(
    name: str, memory: Memory, result: StepResult | None, tools: Tools, settings: CrewSettings
) -> Turn:
    """One turn of one gang that may start, or grow."""
    world = looks(name, tools, settings)
    memory, why, said = hear_beside(memory, result, tools.snapshot.steady, world, settings)
    if why:
        return Turn(memory=memory, move=Move(end="waiting", why=why), thoughts=said)
    job, line = tools.snapshot.jobs.get(name), tools.line(settings.terms)
    if job is None:
        return Turn(memory=memory, move=Move(end="waiting", why=f"{name} is gone."))
    if job.held and line is not None and name in line.starts:
        waited = max(0.0, (tools.snapshot.at - job.state_since).total_seconds())
        placement = line.starts[name]
        if placement.gang.elastic and (
            soon := _on_the_way(job, len(placement.seats), settings, waited)
        ):
            return Turn(memory=memory, move=Move(end="waiting", why=soon))
        if soon := uncounted(job, tools.briefing):
            return Turn(memory=memory, move=Move(end="waiting", why=soon))
        reason = (
            f"{name} waits for {job.pending_gpus or job.gpus:g} GPUs since {waited:.0f} s, and "
            f"is number {line.order.index(name) + 1} of {len(line.order)} in the line. "
            f"{line.why(name)}"
        )
        if placement.gang.elastic:
            reason += f" It begins with {len(placement.seats)} of {placement.gang.count} workers."
        return _draft(name, memory, place(job, placement, line), reason, tools)
    if _may_grow(job, tools.briefing, settings):
        action = JobPreempt(job=name, attempt_id=job.attempt_id)
        reason = (
            f"{name} runs with {len(job.nodes)} of {job.workers} workers; nobody waits, and "
            f"{job.pool} has room for {_idle(job, tools.briefing)} more. It goes on from its "
            "checkpoint with them."
        )
        return _draft(name, memory, action, reason, tools)
    return Turn(memory=memory, move=Move(end="waiting", why=f"{name} has no room now."))


def _on_the_way(job: Job, seats: int, settings: CrewSettings, waited: float) -> str:
    """Why an elastic gang that stopped just now is not seated with fewer workers yet: its own
    seats are given back seconds after it ended, and it would go on smaller beside them."""
    if not job.attempt or seats >= job.workers or waited >= settings.leaves_s:
        return ""
    return f"{job.name} stopped {waited:.0f} s ago; its own seats are on their way."


def uncounted(job: Job, briefing: Briefing) -> str:
    """Why a gang whose tenant is bounded waits some seconds: another of that tenant is on its way
    from the line to its seats, and is counted neither there nor here."""
    if all(o.tenant != job.tenant or o.gpus_at_most is None for o in briefing.quotas):
        return ""
    for thread in sorted(briefing.busy):
        name = thread.removeprefix(GANG)
        if not thread.startswith(GANG) or name == job.name:
            continue
        other = briefing.snapshot.jobs.get(name)
        if other is None or (
            other.tenant == job.tenant and not other.held and other.state is not JobState.RUNNING
        ):
            return f"{name} is on its way to its seats; what {job.tenant} holds is seen then."
    return ""


def looks(name: str, tools: Tools, settings: CrewSettings) -> str:
    """Where it would go now: a refusal holds until that changes."""
    line = tools.line(settings.terms)
    if line is None or name not in line.starts:
        return f"{GANG}{name}"
    return f"{GANG}{name}/{','.join(line.nodes(name))}"


def _draft(name: str, memory: Memory, action: Action, reason: str, tools: Tools) -> Turn:
    told = f"Next: {say(action)}."
    draft = tools.propose(
        f"{GANG}{name}",
        action,
        by=BY,
        reason=reason,
        rung=f"queue: {kind_of(action)}",
        if_ignored=f"{name} goes on as it is.",
    )
    return Turn(
        memory=msgspec.structs.replace(memory, said=told),
        move=Move(draft=draft),
        thoughts=() if told == memory.said else (f"{reason} {told}",),
    )


@once_for
def _small(running: tuple[Job, ...]) -> tuple[Job, ...]:
    """Elastic gangs that run with fewer workers than they want."""
    return tuple(j for j in running if j.least and 0 < len(j.nodes) < j.workers)


def _may_grow(job: Job, briefing: Briefing, settings: CrewSettings) -> bool:
    """Nobody waits, it has run for long enough, and a restart costs little: it saved just now."""
    if any(other.state is JobState.WAITING for other in briefing.snapshot.not_running):
        return False
    if not {"job.place", "job.preempt"} <= briefing.serves or job not in _small(
        briefing.snapshot.running
    ):
        return False
    ran = (briefing.snapshot.at - job.state_since).total_seconds()
    if ran < settings.grow_after_s or job.checkpoint_at is None:
        return False
    unsaved = (briefing.snapshot.at - job.checkpoint_at).total_seconds()
    return unsaved <= settings.terms.restart_s and _idle(job, briefing) > 0


def _idle(job: Job, briefing: Briefing) -> int:
    """Workers that it could have more: nodes of its pool with room, at most as many as it lacks.
    Not those under an open incident, those kept for others, or what its tenant may not hold."""
    each = job.gpus / max(1, len(job.nodes))
    snapshot = briefing.snapshot
    suspects = {i.node for i in briefing.incidents if i.is_open}
    free = sum(
        node.pool == job.pool
        and not node.control_path
        and node.ray_state is RayState.ALIVE
        and node.name not in snapshot.fences
        and node.name not in suspects
        and node.gpus_free >= each
        for node in snapshot.nodes.values()
    )
    kept = sum(
        r.nodes
        for r in snapshot.state.reserved
        if r.pool == job.pool and (not r.tenant or r.tenant != job.tenant)
    )
    lacks = job.workers - len(job.nodes)
    return max(0, min(free - kept, lacks, _may_hold(job, each, briefing)))


def _may_hold(job: Job, each: float, briefing: Briefing) -> int:
    """How many workers more its tenant's quota and allowances let it have."""
    if used_up_for(briefing.used_up, job.tenant, job.pool):
        return 0
    quota = next((q for q in briefing.quotas if q.tenant == job.tenant), None)
    if quota is None or quota.gpus_at_most is None or not each:
        return job.workers
    held = sum(j.gpus for j in briefing.snapshot.running if j.tenant == job.tenant)
    return room_under(quota.gpus_at_most, held, each)
