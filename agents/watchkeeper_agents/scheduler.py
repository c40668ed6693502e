"""The scheduler agent: a gang waits; would nodes help, are some on their way, who could add them?

First version: it proposes `pool.scale`, or says why the gang waits. It moves and stops nothing.
"""

from __future__ import annotations

import msgspec

from watchkeeper.core.action import PoolScale, kind_of, say
from watchkeeper.core.cluster import Job, PoolDemand
from watchkeeper.core.crew import StepResult
from watchkeeper.core.facts import quantile_at
from watchkeeper.core.fault import REPAIRED_ON_NODE, Fault
from watchkeeper.core.impact import is_out
from watchkeeper.core.incident import Incident
from watchkeeper.placement.fit import Strategy, bundles_of, nodes_needed, room, why_waits
from watchkeeper_agents.hearing import hear, hushed
from watchkeeper_agents.reasoner import Option, Question, Reasoner, decide
from watchkeeper_agents.tools import Tools, outlook
from watchkeeper_agents.words import CrewSettings, Memory, Move, Turn

BY = "agent:scheduler"


def think(
    incident: Incident,
    memory: Memory,
    result: StepResult | None,
    tools: Tools,
    reasoner: Reasoner,
    settings: CrewSettings,
) -> Turn:
    """One turn of one pool's shortage."""
    pool = pool_of(incident.target)
    demand = tools.demand(pool)
    world = looks(demand)
    memory, over = hear(memory, result, tools.snapshot.steady, world, settings)
    if over is not None:
        return Turn(memory=memory, move=over, thoughts=(over.why,))
    if demand is None or demand.pending_gpus <= 0:
        return _stop(memory, "resolved", f"Nothing waits in {pool} any more.")
    if why := hushed(memory, tools.snapshot.steady, world):
        return Turn(memory=memory, move=Move(end="waiting", why=why))
    waiting = tools.waiting(pool)
    if not waiting:
        why = f"{demand.pending_gpus:g} GPUs are asked for in {pool}, by work that is no gang."
        return _stop(memory, "waiting", why)
    return _weigh(incident, memory, demand, waiting[0], tools, reasoner, settings)


def watch_ahead(pool: str, memory: Memory, tools: Tools) -> Turn:
    """Without a shortage: one thought when the forecast sees one within the hour."""
    demand = tools.demand(pool)
    forecast = tools.forecast(pool)
    total = demand.total_gpus if demand else 0.0
    short = expects_shortage(tools, pool)
    # Remembered as a fact, not as numbers: a forecast that wobbles is told once.
    told = f"short:{forecast.method}" if short and forecast else "enough"
    thoughts: tuple[str, ...] = ()
    if told != memory.said and short:
        thoughts = (f"{pool} may run short. {outlook(forecast, total)}",)
    why = thoughts[0] if thoughts else f"{pool} is expected to hold what is wanted."
    memory = msgspec.structs.replace(memory, said=told)
    return Turn(memory=memory, move=Move(end="waiting", why=why), thoughts=thoughts)


def expects_shortage(tools: Tools, pool: str) -> bool:
    """The median forecast for one hour ahead is above what the pool has."""
    demand, forecast = tools.demand(pool), tools.forecast(pool)
    if demand is None or forecast is None:
        return False
    middle = quantile_at(forecast, 3600.0, 0.5)
    return middle is not None and middle > demand.total_gpus


def looks(demand: PoolDemand | None) -> str:
    """What the shortage looks like, in a short text that changes when it does."""
    if demand is None:
        return "unknown"
    return f"{demand.total_gpus:g}/{demand.pending_gpus:g}/{demand.blocked_job}"


def pool_of(target: str) -> str:
    return target.partition(":")[2]


def _weigh(
    incident: Incident,
    memory: Memory,
    demand: PoolDemand,
    job: Job,
    tools: Tools,
    reasoner: Reasoner,
    settings: CrewSettings,
) -> Turn:
    pool, why = demand.pool, why_waits(job, tools.snapshot)
    size, count = bundles_of(job)
    nodes = [n for n in tools.snapshot.nodes.values() if n.pool == pool and not n.control_path]
    per_node = max((n.gpus for n in nodes), default=0)
    free = tuple(room(tools.snapshot, pool).values())
    need = nodes_needed(size, free, Strategy.PACK, count, per_node)
    if need is None:
        end = "escalated" if demand.fits_nowhere else "waiting"
        return _stop(memory, end, f"{why} Adding nodes like those of {pool} would not help.")
    if need == 0:
        return _stop(memory, "waiting", why)
    # Asked of the incidents, not of the nodes: only what is under repair will come back.
    mending = {i.node for i in tools.briefing.incidents if i.fault in REPAIRED_ON_NODE}
    back = [n.name for n in nodes if n.name in mending and is_out(tools.snapshot, n)]
    lasted = (tools.snapshot.at - incident.opened_at).total_seconds()
    if len(back) >= need and lasted < settings.repair_s:
        return _stop(memory, "waiting", f"{why} {', '.join(back)} is under repair and would do.")
    if failed := _failed(memory):
        return _stop(memory, "escalated", f"{why} {failed}")
    if not tools.serves("pool.scale"):
        end = "escalated" if demand.fits_nowhere else "waiting"
        return _stop(memory, end, f"{why} No provider here can add nodes to {pool}.")
    add = min(need, settings.most_add)
    return _ask(incident, memory, demand, PoolScale(pool=pool, add=add), why, tools, reasoner)


def _ask(
    incident: Incident,
    memory: Memory,
    demand: PoolDemand,
    action: PoolScale,
    why: str,
    tools: Tools,
    reasoner: Reasoner,
) -> Turn:
    ahead = outlook(tools.forecast(action.pool), demand.total_gpus)
    reason = (
        f"{why} {demand.pending_gpus:g} GPUs wait in {action.pool}, "
        f"{demand.running_gpus:g} of {demand.total_gpus:g} are in use. {ahead}"
    ).strip()
    options = (
        Option("step", say(action)),
        Option("wait", "Let the gang wait"),
        Option("escalate", "Leave it to a person"),
    )
    pick = decide(reasoner, Question(thread=incident.id, facts=(reason,), options=options))
    noted = (pick.fell_back,) if pick.fell_back else ()
    if pick.option != "step":
        end = "waiting" if pick.option == "wait" else "escalated"
        move = Move(end=end, why=pick.why or f"{pick.model} chose to {pick.option}.")
        return Turn(memory=memory, move=move, thoughts=(*noted, move.why), model=pick.model)
    draft = tools.draft(
        incident,
        action,
        by=BY,
        reason=reason,
        rung=f"{Fault.CAPACITY_SHORT.value}: {kind_of(action)}",
        if_ignored=f"{demand.blocked_job or 'The gang'} goes on waiting for GPUs in {action.pool}.",
    )
    told = f"{why} Next: {say(action)}."
    return Turn(
        memory=msgspec.structs.replace(memory, said=told),
        move=Move(draft=draft),
        thoughts=(*noted, *(() if told == memory.said else (told,))),
        model=pick.model,
    )


def _failed(memory: Memory) -> str:
    """The last scaling failed: a second try of the same would tell nothing new."""
    last = memory.attempts[-1] if memory.attempts else None
    if last is None or last.kind != "outcome" or last.value in ("recovered", "refused"):
        return ""
    return f"{say(last.action)} did not work: {last.says or last.value}"


def _stop(memory: Memory, end: str, why: str) -> Turn:
    thoughts = () if why == memory.said else (why,)
    return Turn(
        memory=msgspec.structs.replace(memory, said=why),
        move=Move(end=end, why=why),
        thoughts=thoughts,
    )
