"""Ways to get a gang running that finds no room, each with its price: wait, make room, move, grow.

Asked by the scheduler. Prices are GPU-seconds: work lost since a checkpoint and in restarts, and
the time for which the gang's own GPUs would stand idle. It proposes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from watchkeeper.core.action import Action, JobPlace, JobPreempt, PoolScale
from watchkeeper.core.cluster import Job
from watchkeeper.core.facts import gpus_per_node
from watchkeeper.core.word import utc
from watchkeeper.placement.clear import Victim
from watchkeeper.placement.fit import Strategy, bundles_of, nodes_needed, room
from watchkeeper.placement.line import Line
from watchkeeper.placement.reserve import Reservation
from watchkeeper.placement.words import Placement
from watchkeeper_agents.tools import Tools, span
from watchkeeper_agents.words import CrewSettings


class Way(NamedTuple):
    """action: None is to wait. plan: what would follow it. gpu_s: what it costs, in GPU-seconds.
    says: the same for people, with its figures."""

    action: Action | None
    plan: tuple[Action, ...]
    gpu_s: float
    says: str


def ways(job: Job, line: Line, need: int | None, tools: Tools, settings: CrewSettings) -> list[Way]:
    """Every way that is open to this blocked gang, the cheapest first; a tie goes to what stops
    nobody. need: as `nodes_short` tells it."""
    kept = line.reservation(job.name)
    found = [*_wait(job, line, kept), *_grow(job, need, tools, settings)]
    if tools.serves("job.preempt"):
        found += [*_move(job, line, kept, tools, settings), *_make_room(job, line, tools, settings)]
    return sorted(found, key=lambda way: way.gpu_s)


def nodes_short(job: Job, tools: Tools) -> int | None:
    """Nodes like those of its pool that would have to come: 0 where it fits; None where no number
    of them would help."""
    size, count = bundles_of(job)
    least = job.least if 0 < job.least < count else count
    nodes = [n for n in tools.snapshot.nodes.values() if n.pool == job.pool and not n.control_path]
    per_node = max((n.gpus for n in nodes), default=0)
    free = tuple(room(tools.snapshot, job.pool).values())
    return nodes_needed(size, free, Strategy.PACK, least, per_node)


def place(job: Job, placement: Placement, line: Line) -> JobPlace:
    """The order that seats it there."""
    names = line.queue.engine.fleet.names
    return JobPlace(
        job=job.name,
        attempt_id=job.attempt_id,
        nodes=tuple(names[row] for row in placement.rows),
        workers=len(placement.seats),
    )


def _wait(job: Job, line: Line, kept: Reservation | None) -> Iterator[Way]:
    if kept is None:
        return
    idle = max(0.0, kept.at - line.now) * line.gang(job.name).gpus
    when = utc(kept.at)
    says = f"Waiting until {when:%H:%M} UTC costs {_hours(idle)}."
    yield Way(None, (), idle, says)


def _grow(job: Job, need: int | None, tools: Tools, settings: CrewSettings) -> Iterator[Way]:
    if not need or job.within or not tools.serves("pool.scale") or tools.snapshot.state.scaler:
        return
    add = min(need, settings.most_add, tools.room_to_grow(job.pool))
    if not add:
        return
    idle = (job.pending_gpus or job.gpus) * settings.provision_s
    minutes = f"{settings.provision_s / 60:.0f} min"
    noun = "node" if add == 1 else "nodes"
    says = f"{add} more {noun} would come in about {minutes}, which costs {_hours(idle)} of waiting"
    says += f"{_bill(job.pool, add, tools)}."
    yield Way(PoolScale(pool=job.pool, add=add), (), idle, says)


def _make_room(job: Job, line: Line, tools: Tools, settings: CrewSettings) -> Iterator[Way]:
    """Stop the cheapest gangs of lower priority, the dearest of them last."""
    clearing = line.clearing(job.name, settings.terms)
    if clearing is None:
        return
    victims = sorted(clearing.victims, key=lambda victim: (victim.price, victim.name))
    steps = _stops([v.name for v in victims], job, tools)
    told = ", ".join(_victim(victim, tools) for victim in victims)
    says = f"Making room stops {told}; that loses {_hours(clearing.price)}."
    after = (place(job, clearing.placement, line),) if job.held else ()
    yield Way(steps[0], (*steps[1:], *after), clearing.price, says)


def _move(
    job: Job, line: Line, kept: Reservation | None, tools: Tools, settings: CrewSettings
) -> Iterator[Way]:
    """Move what is cheap to move: only work that we place again ourselves."""
    if not tools.serves("job.place"):
        return
    moves = line.moves(job.name, settings.terms, None if kept is None else kept.at - line.now)
    if moves is None:
        return
    steps = _stops([run.name for run, _ in moves.moved], job, tools)
    told = ", ".join(run.name for run, _ in moves.moved)
    says = f"Moving {told} to other nodes loses {_hours(moves.price)}."
    after = (place(job, moves.placement, line),) if job.held else ()
    yield Way(steps[0], (*steps[1:], *after), moves.price, says)


def _stops(names: list[str], job: Job, tools: Tools) -> list[Action]:
    jobs = tools.snapshot.jobs
    return [
        JobPreempt(job=name, attempt_id=jobs[name].attempt_id, for_job=job.name) for name in names
    ]


def _victim(victim: Victim, tools: Tools) -> str:
    job = tools.snapshot.jobs[victim.name]
    saved = "never saved"
    if job.checkpoint_at is not None:
        age_s = (tools.snapshot.at - job.checkpoint_at).total_seconds()
        saved = f"saved {span(max(0.0, age_s))} ago"
    seats = len(victim.run.placement.seats)
    goes_on = f", goes on with {victim.keeps} of {seats} workers" if victim.keeps else ""
    return f"{job.name} ({job.gpus:g} GPUs, priority {job.priority}, {saved}{goes_on})"


def _bill(pool: str, add: int, tools: Tools) -> str:
    """What nodes cost a day, where the policy names a price."""
    price = tools.briefing.gpu_hour.get(pool)
    each = gpus_per_node(tools.snapshot, pool)
    if price is None or not each:
        return ""
    return f" and {price * each * add * 24:.0f} {tools.briefing.currency} a day"


def _hours(gpu_s: float) -> str:
    return f"{gpu_s / 3600:.1f} GPU-hours"
