"""The planner: incidents and capacity questions into work items; what comes back, into one reply.

It holds Drafts back where two want the same node or gang, and sends disruptive steps in waves: for
each kind of step and class of fault first a canary, then two, four, eight, each wave once the one
before it is verified. A Draft held back is thought over afresh next turn.
"""

from __future__ import annotations

from watchkeeper.core.action import kind_of, node_of, say, traits_of
from watchkeeper.core.cluster import JobState
from watchkeeper.core.crew import Briefing, Conclusion, CrewReply, Draft, Thought
from watchkeeper.core.fault import Fault, rank
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.remedy.group_test import to_check
from watchkeeper.remedy.moving import MOVES
from watchkeeper.remedy.waves import Gone, Item, Result, may_go
from watchkeeper_agents.admission import to_admit
from watchkeeper_agents.ahead import ahead_of
from watchkeeper_agents.keeping import to_keep
from watchkeeper_agents.order import Turns, in_order
from watchkeeper_agents.power import to_cap
from watchkeeper_agents.reasoner import Reasoner, Rules
from watchkeeper_agents.reserve import shortfalls
from watchkeeper_agents.serving import to_serve
from watchkeeper_agents.tools import Tools
from watchkeeper_agents.words import CHECK, GANGS, CrewSettings, Turn, WorkItem, incident_of

UNDER_WAY = (IncidentState.ACTING, IncidentState.VERIFYING)
_ENDED = {
    "recovered": Result.VERIFIED,
    "worse": Result.WORSE,
    "under_way": Result.UNDER_WAY,
}
"""What became of a step; every other end counts as a failure."""


def triage(briefing: Briefing, settings: CrewSettings) -> tuple[WorkItem, ...]:
    """One work item per open incident that nobody waits on, gravest first; one more for its gangs
    where one stands still, and for each node of a gang under test; one per gang that may be
    admitted now, per GPU to be capped, and per pool that is expected to run short."""
    items = []
    stands = _Standing(briefing)
    for incident in sorted(briefing.incidents, key=_gravity):
        if not incident.is_open:
            continue
        gangs = f"{incident.id}{GANGS}"
        if gangs not in briefing.busy and stands.of(incident):
            items.append(WorkItem(thread=gangs, agent="remediation", subject=incident.target))
        items += [
            WorkItem(thread=thread, agent="remediation", subject=f"node:{name}")
            for name in to_check(incident, briefing.snapshot)
            if (thread := f"{incident.id}{CHECK}{name}") not in briefing.busy
        ]
        if incident.id in briefing.busy:
            continue
        agent = "scheduler" if incident.fault == Fault.CAPACITY_SHORT else "remediation"
        items.append(WorkItem(thread=incident.id, agent=agent, subject=incident.target))
    items += to_admit(briefing, settings)
    items += to_cap(briefing) if briefing.feeds else ()
    items += to_serve(briefing)
    items += to_keep(briefing)
    tools = Tools(briefing)
    known = {i.target for i in briefing.incidents if i.fault == Fault.CAPACITY_SHORT}
    for demand in briefing.snapshot.state.demand:
        target = f"pool:{demand.pool}"
        thread = f"capacity:{demand.pool}"
        if target in known or thread in briefing.busy or ahead_of(tools, demand.pool) is None:
            continue
        items.append(WorkItem(thread=thread, agent="scheduler", subject=target))
    return tuple(items)


def reconcile(
    briefing: Briefing,
    turns: Turns,
    settings: CrewSettings,
    reasoner: Reasoner | None = None,
) -> CrewReply:
    """One reply of all threads' answers, in the order of triage; where steps are in each other's
    way, in one of the orders that were reckoned, as the reasoner picks."""

    def settle(turns: Turns) -> dict[str, str]:
        return _settled(briefing, turns, settings)

    turns, held, weighed = in_order(briefing, turns, settle, reasoner or Rules())
    drafts: list[Draft] = []
    ends: list[Conclusion] = []
    thoughts: list[Thought] = list(shortfalls(briefing, settings)) if turns else []
    thoughts += weighed
    for item, turn in turns:
        by = f"agent:{item.agent}"
        thoughts += [
            Thought(thread=item.thread, text=text, by=by, model=turn.model)
            for text in turn.thoughts
        ]
        draft = turn.move.draft
        if draft is None:
            if item.thread == incident_of(item.thread):  # only its own thread ends an incident
                ends.append(_end_of(item, turn))
            continue
        if held[draft.thread]:
            why = f"{say(draft.action)} is held back: {held[draft.thread]}"
            ends.append(Conclusion(thread=item.thread, end="waiting", why=why))
            continue
        drafts.append(draft)
    return CrewReply(drafts=tuple(drafts), conclusions=tuple(ends), thoughts=tuple(thoughts))


def _settled(briefing: Briefing, turns: Turns, settings: CrewSettings) -> dict[str, str]:
    """Thread of each Draft -> why it is held back, for turns in this order; "" where it goes."""
    claims = _Claims(briefing)
    waves = _waves(briefing, turns) if settings.canary else {}
    held: dict[str, str] = {}
    for draft in (turn.move.draft for _, turn in turns):
        if draft is None:
            continue
        why = _denied(briefing, draft) or claims.held(draft) or waves.get(draft.thread, "")
        if not why:
            claims.take(draft)
        held[draft.thread] = why
    return held


def _denied(briefing: Briefing, draft: Draft) -> str:
    """Who said no of late to this very step on this gang, whichever thread had asked."""
    said = briefing.denied.get((kind_of(draft.action), str(getattr(draft.action, "job", ""))), "")
    return f"{said}." if said else ""


def _end_of(item: WorkItem, turn: Turn) -> Conclusion:
    move = turn.move
    advice = turn.memory.advice if move.end == "escalated" else ""
    return Conclusion(thread=item.thread, end=move.end, why=move.why, page=move.page, advice=advice)


def _waves(briefing: Briefing, turns: Turns) -> dict[str, str]:
    """Thread -> why its disruptive step must wait; "" where it may go now."""
    fault = {i.id: i.fault for i in briefing.incidents}
    waiting = [
        Item(
            id=draft.thread,
            kind=kind_of(draft.action),
            fault=fault.get(draft.incident, ""),
            domain=_domain(briefing, node_of(draft.action)),
            order=(float(n), draft.thread),
        )
        for n, (_, turn) in enumerate(turns)
        if (draft := turn.move.draft) is not None and traits_of(draft.action).disruptive
    ]
    if not waiting:
        return {}
    gone = [
        Gone(
            kind=step.kind,
            fault=step.fault,
            result=_ENDED.get(step.value, Result.FAILED),
            domain=_domain(briefing, step.node),
        )
        for step in briefing.past
    ]
    return dict(may_go(waiting, gone))


def _domain(briefing: Briefing, name: str) -> str:
    """What two steps must not disturb at once: the rack; where the cluster names none, the pool."""
    node = briefing.snapshot.nodes.get(name)
    if node is None:
        return ""
    return f"rack {node.rack}" if node.rack else node.pool


class _Standing:
    """Which incidents have gangs that stand still."""

    def __init__(self, briefing: Briefing) -> None:
        stopped = [j for j in briefing.snapshot.not_running if j.state is JobState.STOPPED]
        self._jobs = {job.name for job in stopped}
        self._nodes = {name for job in stopped for name in job.nodes}

    def of(self, incident: Incident) -> bool:
        """Of a node's incident alone; others requeue by their own ladders."""
        if not incident.node or incident.fault not in MOVES:
            return False
        return incident.node in self._nodes or not self._jobs.isdisjoint(incident.jobs)


class _Claims:
    """Who holds which node and gang in this turn: those at work already come first."""

    def __init__(self, briefing: Briefing) -> None:
        self._targets: dict[str, str] = {}
        for incident in briefing.incidents:
            if incident.id in briefing.busy and incident.node:
                self._targets[f"node:{incident.node}"] = incident.id
            if f"{incident.id}{GANGS}" in briefing.busy:
                for job in incident.jobs:
                    self._targets[f"job:{job}"] = f"{incident.id}{GANGS}"

    def held(self, draft: Draft) -> str:
        """Why this Draft must wait; "" when it may go."""
        for key in _keys(draft):
            holder = self._targets.get(key)
            if holder is not None and holder != draft.thread:
                return f"{incident_of(holder)} works on {key.partition(':')[2]} already."
        return ""

    def take(self, draft: Draft) -> None:
        """From now on these are this Draft's."""
        for key in _keys(draft):
            self._targets[key] = draft.thread


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
