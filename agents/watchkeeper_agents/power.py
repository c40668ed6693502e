"""Power feeds near their limit: which GPUs to cap, and which caps to take back. A thread for each
GPU; one more for a feed that cannot be helped here.

Asked by the planner, which makes the threads, and by them. Where policy names no feed there is
nothing to do; where a feed's load is unknown nobody is slowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from watchkeeper.capacity.power import release, shed
from watchkeeper.core.action import GpuPowerCap, kind_of, say
from watchkeeper.core.capacity import PowerCap, Shedding
from watchkeeper.core.crew import Briefing, StepResult
from watchkeeper_agents.hearing import hear_beside
from watchkeeper_agents.tools import Tools
from watchkeeper_agents.words import FEED, POWER, CrewSettings, Memory, Move, Turn, WorkItem

BY = "agent:scheduler"
MOST_AT_ONCE = 16
"""Caps under way at once: what they gave is looked at before the next."""


def to_cap(briefing: Briefing) -> Iterator[WorkItem]:
    """The GPUs to be capped or given their power back now, least harm first, on a node each."""
    wanted = _wanted(briefing)
    busy = [thread for thread in briefing.busy if thread.startswith(POWER)]
    nodes = {thread.removeprefix(POWER).partition("/")[0] for thread in busy}
    free = _at_once(briefing) - len(busy)
    for thread, (action, _) in wanted.items():
        node = action.node
        if free <= 0:
            break
        if node not in nodes:
            nodes.add(node)
            free -= 1
            yield WorkItem(thread=thread, agent="scheduler", subject=f"node:{node}")
    for found in _sheds(briefing):
        if not found.enough or "gpu.power_cap" not in briefing.serves:
            name = found.load.feed
            yield WorkItem(thread=f"{FEED}{name}", agent="scheduler", subject=f"power_feed:{name}")


def _at_once(briefing: Briefing) -> int:
    """How many may be under way: one, and twice as many as were just seen to work. So a policy that
    asks people asks them one question, and one that allows it is soon done."""
    worked = sum(
        result.thread.startswith(POWER) and result.value == "recovered"
        for result in briefing.results
    )
    return min(MOST_AT_ONCE, max(1, 2 * worked))


def cap(
    thread: str, memory: Memory, result: StepResult | None, tools: Tools, settings: CrewSettings
) -> Turn:
    """One turn of one GPU, or of one feed."""
    world = looks(thread, tools)
    memory, why, said = hear_beside(memory, result, tools.snapshot.steady, world, settings)
    if why:
        return Turn(memory=memory, move=Move(end="waiting", why=why), thoughts=said)
    if thread.startswith(FEED):
        return _tell(thread.removeprefix(FEED), memory, tools)
    found = _wanted(tools.briefing).get(thread)
    if found is None:
        return Turn(memory=memory, move=Move(end="waiting", why="Its feed has room now."))
    action, reason = found
    told = f"Next: {say(action)}."
    draft = tools.propose(
        thread,
        action,
        by=BY,
        reason=reason,
        rung=f"power: {kind_of(action)}",
        if_ignored="The feed stays as near its limit as it is; its breaker takes all of it.",
    )
    return Turn(memory=msgspec.structs.replace(memory, said=told), move=Move(draft=draft))


def looks(thread: str, tools: Tools) -> str:
    """What would be asked for now: a refusal holds until that changes."""
    if thread.startswith(FEED):
        return thread
    found = _wanted(tools.briefing).get(thread)
    return thread if found is None else f"{thread}/{found[0].watts:g}"


def _tell(feed: str, memory: Memory, tools: Tools) -> Turn:
    """Once: that a feed is near its limit, and that nothing here brings it down."""
    found = next((s for s in _sheds(tools.briefing) if s.load.feed == feed), None)
    if found is None:
        return Turn(memory=memory, move=Move(end="waiting", why="The feed has room now."))
    why = f"The feed {feed} is near its limit"
    if "gpu.power_cap" not in tools.briefing.serves:
        why += ", and no provider here can cap a GPU."
    else:
        why += ", and caps down to the least that policy lets do not bring it down."
    said = () if memory.said == why else (why,)
    memory = msgspec.structs.replace(memory, said=why)
    return Turn(memory=memory, move=Move(end="waiting", why=why), thoughts=said)


@lru_cache(maxsize=2)
def _sheds(briefing: Briefing) -> tuple[Shedding, ...]:
    """Every feed that must come down. Once for each briefing."""
    found = (shed(briefing.snapshot, order) for order in briefing.feeds.values())
    return tuple(s for s in found if s is not None)


@lru_cache(maxsize=2)
def _wanted(briefing: Briefing) -> dict[str, tuple[GpuPowerCap, str]]:
    """Thread -> (action, reason), in the order in which they are asked for."""
    if "gpu.power_cap" not in briefing.serves:
        return {}
    found = {}
    for one in _sheds(briefing):
        for each in one.caps:
            found[_thread(each)] = (_action(each), one.says)
    for order in briefing.feeds.values():
        for each in release(briefing.snapshot, order, _ours(briefing)):
            why = (
                f"The feed {order.feed} has room again: GPU {each.gpu} of {each.node} gets back "
                f"the {each.watts:g} W that policy names for it."
            )
            found[_thread(each)] = (_action(each), why)
    return found


def _ours(briefing: Briefing) -> frozenset[tuple[str, int]]:
    """GPUs that we capped, by the journal: a cap that somebody else set is theirs to take back."""
    found = set()
    for thread, results in briefing.history.items():
        last = results[-1] if thread.startswith(POWER) and results else None
        if last is not None and isinstance(last.action, GpuPowerCap) and last.value == "recovered":
            found.add((last.action.node, last.action.gpu))
    return frozenset(found)


def _thread(cap: PowerCap) -> str:
    return f"{POWER}{cap.node}/{cap.gpu}"


def _action(cap: PowerCap) -> GpuPowerCap:
    return GpuPowerCap(node=cap.node, incarnation=cap.incarnation, gpu=cap.gpu, watts=cap.watts)
