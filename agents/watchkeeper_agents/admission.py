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
            f"{_idle(job, tools.briefing):g} nodes of {job.pool} stand idle. It goes on from its "
            "checkpoint with more."
        )
        return _draft(name, memory, action, reason, tools)
    return Turn(memory=memory, move=Move(end="waiting", why=f"{name} has no room now."))


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
    """Nodes of its pool with room for one more worker, at most as many as it lacks."""
    each = job.gpus / max(1, len(job.nodes))
    snapshot = briefing.snapshot
    free = sum(
        node.pool == job.pool
        and not node.control_path
        and node.ray_state is RayState.ALIVE
        and node.name not in snapshot.fences
        and node.gpus_free >= each
        for node in snapshot.nodes.values()
    )
    return min(free, job.workers - len(job.nodes))
