"""The planner: incidents and capacity questions into work items; what comes back, into one reply.

It holds Drafts back where two want the same node or gang, and where a pool has a disruptive step
under way: first a canary, then the next. A Draft held back is thought over afresh next turn.
"""

from __future__ import annotations

from collections.abc import Sequence

from watchkeeper.core.action import kind_of, node_of, say, traits_of
from watchkeeper.core.crew import Briefing, Conclusion, CrewReply, Draft, Thought
from watchkeeper.core.fault import Fault, rank
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper_agents.scheduler import expects_shortage
from watchkeeper_agents.tools import Tools
from watchkeeper_agents.words import CrewSettings, Turn, WorkItem

UNDER_WAY = (IncidentState.ACTING, IncidentState.VERIFYING)


def triage(briefing: Briefing) -> tuple[WorkItem, ...]:
    """One work item per open incident that nobody waits on, gravest first; and one per pool
    that is expected to run short."""
    items = []
    for incident in sorted(briefing.incidents, key=_gravity):
        if incident.id in briefing.busy or not incident.is_open:
            continue
        agent = "scheduler" if incident.fault == Fault.CAPACITY_SHORT else "remediation"
        items.append(WorkItem(thread=incident.id, agent=agent, subject=incident.target))
    tools = Tools(briefing)
    known = {i.target for i in briefing.incidents if i.fault == Fault.CAPACITY_SHORT}
    for demand in briefing.snapshot.state.demand:
        target = f"pool:{demand.pool}"
        thread = f"capacity:{demand.pool}"
        if target in known or thread in briefing.busy or not expects_shortage(tools, demand.pool):
            continue
        items.append(WorkItem(thread=thread, agent="scheduler", subject=target))
    return tuple(items)


def reconcile(
    briefing: Briefing, turns: Sequence[tuple[WorkItem, Turn]], settings: CrewSettings
) -> CrewReply:
    """One reply of all threads' answers, in the order of triage."""
    claims = _Claims(briefing, settings)
    drafts: list[Draft] = []
    ends: list[Conclusion] = []
    thoughts: list[Thought] = []
    for item, turn in turns:
        by = f"agent:{item.agent}"
        thoughts += [
            Thought(thread=item.thread, text=text, by=by, model=turn.model)
            for text in turn.thoughts
        ]
        if turn.move.draft is None:
            ends.append(_end_of(item, turn))
            continue
        if held := claims.held(turn.move.draft):
            why = f"{say(turn.move.draft.action)} is held back: {held}"
            ends.append(Conclusion(thread=item.thread, end="waiting", why=why))
            continue
        claims.take(turn.move.draft)
        drafts.append(turn.move.draft)
    return CrewReply(drafts=tuple(drafts), conclusions=tuple(ends), thoughts=tuple(thoughts))


def _end_of(item: WorkItem, turn: Turn) -> Conclusion:
    move = turn.move
    return Conclusion(thread=item.thread, end=move.end, why=move.why, page=move.page)


class _Claims:
    """Who holds which node, gang and pool in this turn: those at work already come first."""

    def __init__(self, briefing: Briefing, settings: CrewSettings) -> None:
        self._briefing = briefing
        self._canary = settings.canary
        self._targets: dict[str, str] = {}
        self._pools: dict[str, str] = {}
        for incident in briefing.incidents:
            if incident.id not in briefing.busy:
                continue
            if incident.node:
                self._targets[f"node:{incident.node}"] = incident.id
            if incident.state in UNDER_WAY and (pool := self._pool(incident.node)):
                self._pools[pool] = incident.id

    def held(self, draft: Draft) -> str:
        """Why this Draft must wait; "" when it may go."""
        for key in _keys(draft):
            holder = self._targets.get(key)
            if holder is not None and holder != draft.thread:
                return f"{holder} works on {key.partition(':')[2]} already."
        if not self._canary or not traits_of(draft.action).disruptive:
            return ""
        pool = self._pool(node_of(draft.action))
        first = self._pools.get(pool)
        if pool and first is not None and first != draft.thread:
            return f"{first} goes first in {pool}, and is not verified yet."
        return ""

    def take(self, draft: Draft) -> None:
        """From now on these are this Draft's."""
        for key in _keys(draft):
            self._targets[key] = draft.thread
        pool = self._pool(node_of(draft.action))
        if pool and traits_of(draft.action).disruptive:
            self._pools[pool] = draft.thread

    def _pool(self, name: str) -> str:
        node = self._briefing.snapshot.nodes.get(name)
        return node.pool if node is not None else ""


def _keys(draft: Draft) -> tuple[str, ...]:
    node = node_of(draft.action)
    if node:
        return (f"node:{node}",)
    job = str(getattr(draft.action, "job", ""))
    if job:
        return (f"job:{job}",)
    pool = str(getattr(draft.action, "pool", ""))
    return (f"{kind_of(draft.action)}:{pool}",) if pool else ()


def _gravity(incident: Incident) -> tuple[bool, int, str, str]:
    """Those at work first, then the graver class of fault, then the older."""
    at_work = incident.state in UNDER_WAY
    return (not at_work, -rank(incident.fault), incident.opened_at.isoformat(), incident.id)
