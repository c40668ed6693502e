"""Model servers that will need more replicas than there are GPUs for: nodes before the goal is
missed. One thread for each deployment.

Asked by the planner, which makes the threads, and by them. Replicas are started by the server's own
autoscaler or its owner; this asks for nodes alone, and only on a forecast with a measured error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from watchkeeper.core.action import PoolScale, kind_of, say
from watchkeeper.core.cluster import RayState
from watchkeeper.core.crew import Briefing, StepResult
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.serving import SERVE, ServePlan
from watchkeeper_agents.hearing import hear_beside
from watchkeeper_agents.tools import Tools
from watchkeeper_agents.words import CrewSettings, Memory, Move, Turn, WorkItem

BY = "agent:scheduler"


def to_serve(briefing: Briefing) -> Iterator[WorkItem]:
    """One work item for each deployment that wants more replicas than there are."""
    for name, plan in sorted(briefing.serving.items()):
        if plan.act_now and plan.gpus > 0 and plan.pool and SERVE + name not in briefing.busy:
            yield WorkItem(thread=SERVE + name, agent="scheduler", subject=f"pool:{plan.pool}")


def serve(
    thread: str, memory: Memory, result: StepResult | None, tools: Tools, settings: CrewSettings
) -> Turn:
    """One turn of one deployment that needs more replicas."""
    plan = tools.briefing.serving.get(thread.removeprefix(SERVE))
    if plan is None or not plan.act_now:
        return Turn(memory=memory, move=Move(end="waiting", why="It has the replicas it needs."))
    world = f"{plan.replicas}/{plan.now}/{_free(plan, tools):g}"
    memory, why, said = hear_beside(memory, result, tools.snapshot.steady, world, settings)
    if why:
        return Turn(memory=memory, move=Move(end="waiting", why=why), thoughts=said)
    short = plan.more_gpus - _free(plan, tools)
    told = f"{plan.name}: {plan.why}"
    if short <= 0:
        text = f"{told} {plan.pool} has {_free(plan, tools):g} GPUs free for them."
        return _tell(memory, f"room:{plan.replicas}", text)
    forecast = tools.forecast(thread)
    if forecast is None or forecast.score is None or forecast.score >= 1 or forecast.drifted:
        text = f"{told} {plan.pool} lacks {short:g} GPUs for them. {_unproven(forecast)}"
        return _tell(memory, f"unproven:{plan.replicas}", text)
    room = tools.room_to_grow(plan.pool)
    if not tools.serves("pool.scale") or tools.snapshot.state.scaler or not room:
        text = f"{told} {plan.pool} lacks {short:g} GPUs for them, and nobody here may add nodes."
        return _tell(memory, f"nobody:{plan.replicas}", text)
    nodes = [n for n in tools.snapshot.nodes.values() if n.pool == plan.pool and n.gpus]
    each = max((n.gpus for n in nodes), default=1)
    action = PoolScale(pool=plan.pool, add=min(math.ceil(short / each), settings.most_add, room))
    draft = tools.propose(
        thread,
        action,
        by=BY,
        reason=(
            f"{told} {plan.pool} lacks {short:g} GPUs for them. In the backtest "
            f"{forecast.method} lost {forecast.score:.2f} of what persistence lost."
        ),
        confidence=round(min(1.0, forecast.coverage80 or 0.0), 3),
        rung=f"serving: {kind_of(action)}",
        if_ignored=f"By the forecast, {plan.name} misses its goal of {plan.goal}.",
        evidence=(thread,),
    )
    said_now = f"grow:{action.add}"
    thoughts = () if memory.said == said_now else (f"{told} Next: {say(action)}.",)
    memory = msgspec.structs.replace(memory, said=said_now)
    return Turn(memory=memory, move=Move(draft=draft), thoughts=thoughts)


def _tell(memory: Memory, fact: str, text: str) -> Turn:
    """A thought, once: figures that wobble are no news."""
    thoughts = () if memory.said == fact else (text,)
    memory = msgspec.structs.replace(memory, said=fact)
    return Turn(memory=memory, move=Move(end="waiting", why=text), thoughts=thoughts)


def _free(plan: ServePlan, tools: Tools) -> float:
    """GPUs on open nodes of its pool, in whole replicas: of two halves on two nodes none starts."""
    snapshot = tools.snapshot
    return sum(
        math.floor(node.gpus_free / plan.gpus + 1e-9) * plan.gpus
        for node in snapshot.nodes.values()
        if node.pool == plan.pool
        and not node.control_path
        and node.ray_state is RayState.ALIVE
        and node.name not in snapshot.fences
    )


def _unproven(forecast: Forecast | None) -> str:
    if forecast is None or forecast.score is None:
        return "The error of its forecast was not measured yet, so no node is asked for."
    if forecast.drifted:
        return "Its forecast drifted of late, so no node is asked for."
    return "Its forecast was no better than persistence, so no node is asked for."
