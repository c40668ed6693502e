"""The scheduler agent: a gang finds no room, or a forecast says that one soon will not.

It draws up the line of those that wait, prices each way to serve the first that is blocked, and
proposes the cheapest: wait, make room, move, or add nodes. It moves and stops nothing.
"""

from __future__ import annotations

import math

import msgspec

from watchkeeper.core.action import Action, PoolScale, kind_of, say
from watchkeeper.core.cluster import Job, PoolDemand
from watchkeeper.core.crew import StepResult
from watchkeeper.core.facts import quantile_at
from watchkeeper.core.fault import REPAIRED_ON_NODE, Fault
from watchkeeper.core.impact import is_out
from watchkeeper.core.incident import Incident
from watchkeeper.placement.fit import why_waits
from watchkeeper.placement.line import Line
from watchkeeper_agents.ahead import Ahead, ahead_of
from watchkeeper_agents.choosing import advised, choose, held_back
from watchkeeper_agents.hearing import hear, hear_beside, hushed
from watchkeeper_agents.mending import leaving, repaired_by
from watchkeeper_agents.reasoner import Option, Question, Reasoner
from watchkeeper_agents.tools import Tools, outlook, span
from watchkeeper_agents.ways import Way, nodes_short, ways
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
    line = tools.line(settings.terms)
    waiting = [n for n in line.order if line.gang(n).pool == pool] if line is not None else []
    if line is None or not waiting:
        if why := hushed(memory, tools.snapshot.steady, world):
            return Turn(memory=memory, move=Move(end="waiting", why=why))
        why = f"{demand.pending_gpus:g} GPUs are asked for in {pool}, by work that is no gang."
        return _stop(memory, "waiting", why)
    blocked = line.blocked(pool)
    ours = {
        name: ident for name in blocked if (ident := repaired_by(name, incident, tools, settings))
    }
    if blocked and len(ours) == len(blocked):
        return _stop(memory, "waiting", f"{blocked[0]} waits for its repair, {ours[blocked[0]]}.")
    blocked = tuple(name for name in blocked if name not in ours)
    if not blocked:
        return _stop(memory, "waiting", line.why(waiting[0]))
    job = tools.snapshot.jobs[blocked[0]]
    return _weigh(incident, memory, demand, job, line, tools, reasoner, settings)


def watch_ahead(
    pool: str, memory: Memory, result: StepResult | None, tools: Tools, settings: CrewSettings
) -> Turn:
    """Without a shortage: more nodes where a proven forecast sees one before they could come;
    a thought, told once, where it is not proven or nobody can add any."""
    memory, why, said = hear_beside(memory, result, tools.snapshot.steady, pool, settings)
    if said:
        return Turn(memory=memory, move=Move(end="waiting", why=why), thoughts=said)
    sees = ahead_of(tools, pool)
    if sees is None:
        why = f"{pool} is expected to hold what is wanted."
        memory = msgspec.structs.replace(memory, said="enough")
        return Turn(memory=memory, move=Move(end="waiting", why=why))
    if why:
        return Turn(memory=memory, move=Move(end="waiting", why=why))
    may = tools.serves("pool.scale") and not tools.snapshot.state.scaler
    if sees.acts and may and tools.room_to_grow(pool):
        return _grow_ahead(pool, memory, sees, tools, settings)
    # Remembered as a fact, not as numbers: a forecast that wobbles is told once.
    told = f"short:{sees.forecast.method}"
    text = f"{pool} may run short. {sees.says}"
    thoughts = (text,) if told != memory.said else ()
    memory = msgspec.structs.replace(memory, said=told)
    return Turn(memory=memory, move=Move(end="waiting", why=text), thoughts=thoughts)


def looks(demand: PoolDemand | None) -> str:
    """What the shortage looks like, in a short text that changes when it does."""
    if demand is None:
        return "unknown"
    return f"{demand.total_gpus:g}/{demand.pending_gpus:g}/{demand.blocked_job}"


def pool_of(target: str) -> str:
    return target.partition(":")[2]


def _grow_ahead(
    pool: str, memory: Memory, sees: Ahead, tools: Tools, settings: CrewSettings
) -> Turn:
    need = math.ceil(sees.short_gpus / sees.node_gpus)
    add = min(need, settings.most_add, tools.room_to_grow(pool))
    action = PoolScale(pool=pool, add=add)
    draft = tools.propose(
        f"capacity:{pool}",
        action,
        by=BY,
        reason=f"{sees.says} {sees.proof}",
        confidence=round(min(1.0, sees.forecast.coverage80 or 0.0), 3),
        rung=f"forecast: {kind_of(action)}",
        if_ignored=f"By the forecast, {sees.short_gpus:.0f} GPUs are waited for in {pool} then.",
    )
    told = f"{sees.says} Next: {say(action)}."
    return Turn(
        memory=msgspec.structs.replace(memory, said=f"grow:{add}"),
        move=Move(draft=draft),
        thoughts=() if memory.said == f"grow:{add}" else (told,),
    )


def _weigh(
    incident: Incident,
    memory: Memory,
    demand: PoolDemand,
    job: Job,
    line: Line,
    tools: Tools,
    reasoner: Reasoner,
    settings: CrewSettings,
) -> Turn:
    """The first that is blocked: is something on its way, and if not, which way is cheapest?"""
    pool, why, snapshot = demand.pool, line.why(job.name), tools.snapshot
    need = nodes_short(job, tools)
    repairs = [i for i in tools.briefing.incidents if i.fault in REPAIRED_ON_NODE]
    mending = {i.node for i in repairs}
    # Asked of the incidents, not of the nodes: only what is under repair will come back.
    back = [
        name
        for name in sorted(mending & snapshot.nodes.keys())
        if snapshot.nodes[name].pool == pool and is_out(snapshot, snapshot.nodes[name])
    ]
    if those := leaving(job, tools, settings):
        return _stop(memory, "waiting", f"{job.name} waits until {those} has left its nodes.")
    lasted = (snapshot.at - incident.opened_at).total_seconds()
    if need and len(back) >= need and lasted < settings.repair_s:
        return _stop(memory, "waiting", f"{why} {', '.join(back)} is under repair and would do.")
    lost = {i.node for i in repairs if job.name in i.jobs or i.node in job.nodes}.intersection(back)
    if lost and lasted < settings.repair_s:  # what it ran on comes back: nobody is stopped for it
        own = ", ".join(sorted(lost))
        return _stop(memory, "waiting", f"{why} {own}, which it ran on, is under repair.")
    if job.nodes and not job.held and lasted < settings.repair_s:
        on = ", ".join(job.nodes)  # it lost a part of itself; Ray tells its end seconds late
        return _stop(memory, "waiting", f"{why} Its attempt is not over: it still sits on {on}.")
    found = ways(job, line, need, tools, settings)
    shut = _failed(memory)
    hush = hushed(memory, snapshot.steady, looks(demand))
    if hush:
        shut |= dict.fromkeys(_refused(memory), hush)
    open_ways = [way for way in found if way.action is None or kind_of(way.action) not in shut]
    if open_ways and open_ways[0].action is not None:
        best, rest = open_ways[0], [w for w in found if w is not open_ways[0]]
        return _ask(incident, memory, demand, job, why, best, rest, tools, reasoner)
    if open_ways:
        return _stop(memory, "waiting", f"{why} {open_ways[0].says} Nothing else costs less.")
    if hush:
        return Turn(memory=memory, move=Move(end="waiting", why=hush))
    return _at_a_loss(memory, demand, job, why, need, shut, tools)


def _at_a_loss(
    memory: Memory,
    demand: PoolDemand,
    job: Job,
    why: str,
    need: int | None,
    shut: dict[str, str],
    tools: Tools,
) -> Turn:
    """No way is left that we could go."""
    if shut:
        return _stop(memory, "escalated", f"{why} {' '.join(shut.values())}")
    end = "escalated" if demand.fits_nowhere else "waiting"
    pool = demand.pool
    if need is None:
        never = why_waits(job, tools.snapshot)
        return _stop(memory, end, f"{never} Adding nodes like those of {pool} would not help.")
    if owner := tools.snapshot.state.scaler:
        return _stop(memory, "waiting", f"{why} {owner} scales {pool}, so we do not.")
    if need and not tools.serves("pool.scale"):
        return _stop(memory, end, f"{why} No provider here can add nodes to {pool}.")
    return _stop(memory, "waiting", why)


def _ask(
    incident: Incident,
    memory: Memory,
    demand: PoolDemand,
    job: Job,
    why: str,
    best: Way,
    others: list[Way],
    tools: Tools,
    reasoner: Reasoner,
) -> Turn:
    action: Action | None = best.action
    assert action is not None
    reason = _reason(demand, job, why, best, others, tools)
    options = (
        Option("step", say(action), action),
        Option("wait", "Let the gang wait"),
        Option("ticket", "Leave it to a person, with a ticket"),
        Option("escalate", "Leave it to a person"),
    )
    question = Question(
        thread=incident.id,
        facts=(reason,),
        options=options,
        agent="scheduler",
        incident=incident,
        tools=tools,
        attempts=memory.attempts,
        figures=_figures(demand, best, others, tools),
    )
    pick = choose(reasoner, question, memory)
    memory = advised(memory, pick)
    noted = (pick.fell_back, *pick.notes) if pick.fell_back else pick.notes
    if pick.option != "step":
        return held_back(incident, question, pick, memory, looks(demand), BY)
    draft = tools.draft(
        incident,
        action,
        by=BY,
        reason=reason,
        rung=f"{Fault.CAPACITY_SHORT.value}: {kind_of(action)}",
        plan=best.plan,
        if_ignored=f"{job.name} goes on waiting for GPUs in {demand.pool}.",
    )
    draft = msgspec.structs.replace(draft, chosen=pick.chosen)
    told = f"{why} Next: {say(action)}."
    return Turn(
        memory=msgspec.structs.replace(memory, said=told),
        move=Move(draft=draft),
        thoughts=(*noted, *(() if told == memory.said else (told,))),
        model=pick.model,
    )


def _figures(demand: PoolDemand, best: Way, others: list[Way], tools: Tools) -> dict[str, float]:
    """What the engines reckoned, for a model that weighs it: numbers, and no name."""
    forecast = tools.forecast(demand.pool)
    found = {
        "gpus": demand.total_gpus,
        "gpus_in_use": demand.running_gpus,
        "gpus_waited_for": demand.pending_gpus,
        "step_gpu_hours": round(best.gpu_s / 3600, 2),
    }
    for way in others[:3]:
        name = "wait" if way.action is None else kind_of(way.action).replace(".", "_")
        found[f"{name}_gpu_hours"] = round(way.gpu_s / 3600, 2)
    for name, level in (("wanted_in_1h", 0.5), ("wanted_in_1h_at_90_percent", 0.9)):
        value = None if forecast is None else quantile_at(forecast, 3600.0, level)
        if value is not None:
            found[name] = round(value, 1)
    return found


def _reason(
    demand: PoolDemand, job: Job, why: str, best: Way, others: list[Way], tools: Tools
) -> str:
    """The figures that justify it: who waits for what and since when, what each way costs."""
    waited = max(0.0, (tools.snapshot.at - job.state_since).total_seconds())
    pool = demand.pool
    said = [
        why,
        f"{demand.pending_gpus:g} GPUs wait in {pool}, this gang for {span(waited)}; "
        f"{demand.running_gpus:g} of {demand.total_gpus:g} are in use.",
        best.says,
        *(way.says for way in others[:2]),
        outlook(tools.forecast(pool), demand.total_gpus),
    ]
    return " ".join(text for text in said if text)


def _failed(memory: Memory) -> dict[str, str]:
    """Kinds whose last try did not work, and what became of it: a second try of the same would
    tell nothing new."""
    found: dict[str, str] = {}
    for past in memory.attempts:
        kind = kind_of(past.action)
        found.pop(kind, None)
        if past.kind == "outcome" and past.value not in ("recovered", "refused"):
            found[kind] = f"{say(past.action)} did not work: {past.says or past.value}"
    return found


def _refused(memory: Memory) -> list[str]:
    """Kinds that were refused or put off one after the other, the newest last heard."""
    found = []
    for past in reversed(memory.attempts):
        if (past.kind, past.value) not in (("verdict", "deny"), ("answer", "not_now")):
            break
        found.append(kind_of(past.action))
    return found


def _stop(memory: Memory, end: str, why: str) -> Turn:
    thoughts = () if why == memory.said else (why,)
    return Turn(
        memory=msgspec.structs.replace(memory, said=why),
        move=Move(end=end, why=why),
        thoughts=thoughts,
    )
