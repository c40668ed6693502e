"""What each agent asked for, what became of it, and whether its confidence was earned. Pure, from
the proposals that the books hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from watchkeeper.control.life import BADLY, State
from watchkeeper.control.papers import File
from watchkeeper.core.action import kind_of
from watchkeeper.core.desk import LogLine
from watchkeeper.core.model import ModelCall
from watchkeeper.core.verdict import Answer, Decision
from watchkeeper.core.views import AgentView, Bin, KindRecord, TrustView

EDGES = (0.0, 0.5, 0.7, 0.8, 0.9, 1.0)
"""Confidence below one half is rare: one bin holds it."""
CREW = ("agent:planner", "agent:remediation", "agent:scheduler")
"""These are shown even where they have asked for nothing yet."""
LAST = 5


def agents_of(
    files: Sequence[File],
    lines: Sequence[LogLine],
    calls: Sequence[ModelCall] = (),
    trust: Sequence[TrustView] = (),
) -> tuple[AgentView, ...]:
    """Every agent, the crew's own first; people who asked for something are no agents. calls: what
    they asked of models. trust: how far each of those is believed."""
    of: dict[str, list[File]] = defaultdict(list, {name: [] for name in CREW})
    for file in files:
        if file.proposal.by.startswith("agent:"):
            of[file.proposal.by].append(file)
    found = (
        _agent(name, own, lines, [c for c in calls if _is(c.agent, name)])
        for name, own in of.items()
    )
    return tuple(
        msgspec.structs.replace(a, trust=tuple(t for t in trust if _is(t.agent, a.name)))
        for a in found
    )


def _is(agent: str, name: str) -> bool:
    """Calls name an agent with or without the mark of one."""
    return agent.removeprefix("agent:") == name.removeprefix("agent:")


def _agent(
    name: str, files: Sequence[File], lines: Sequence[LogLine], calls: Sequence[ModelCall]
) -> AgentView:
    decisions = [f.verdict.decision for f in files if f.verdict is not None]
    ended = [f for f in files if _ended(f)]
    kinds: dict[str, list[File]] = defaultdict(list)
    for file in files:
        kinds[kind_of(file.action)].append(file)
    mine = {f.proposal.id for f in files}
    said = [line for line in reversed(lines) if line.proposal in mine]
    hours = sum(f.impact.gpu_hours for f in files if f.effect is not None)
    return AgentView(
        name=name,
        proposed=len(files),
        allowed=decisions.count(Decision.ALLOW),
        asked=decisions.count(Decision.ASK),
        refused=decisions.count(Decision.DENY),
        approved=sum(any(a.answer is Answer.APPROVE for a in f.approvals) for f in files),
        turned_down=sum(f.state is State.TURNED_DOWN for f in files),
        recovered=sum(f.state is State.RECOVERED for f in ended),
        failed=sum(f.state in BADLY for f in ended),
        brier=_brier(ended),
        bins=_bins(ended),
        kinds=tuple(
            KindRecord(
                kind=kind,
                proposed=len(own),
                recovered=sum(f.state is State.RECOVERED for f in own),
                failed=sum(f.state in BADLY for f in own),
                brier=_brier([f for f in own if _ended(f)]),
            )
            for kind, own in sorted(kinds.items())
        ),
        gpu_hours=round(hours, 2),
        cost=f"{_cost(files, hours)} {_thought(calls)}".strip(),
        last=tuple(said[:LAST]),
    )


def _ended(file: File) -> bool:
    """Was an outcome seen that its confidence can be held to?"""
    return file.state is State.RECOVERED or file.state in BADLY


def _brier(ended: Iterable[File]) -> float | None:
    errors = [(f.proposal.confidence - (f.state is State.RECOVERED)) ** 2 for f in ended]
    return round(sum(errors) / len(errors), 4) if errors else None


def _bins(ended: Sequence[File]) -> tuple[Bin, ...]:
    found = []
    for low, high in pairwise(EDGES):
        inside = [
            f
            for f in ended
            if low <= f.proposal.confidence < high or f.proposal.confidence == high == 1.0
        ]
        good = sum(f.state is State.RECOVERED for f in inside)
        found.append(Bin(low, high, len(inside), good))
    return tuple(found)


def _cost(files: Sequence[File], hours: float) -> str:
    """What its acts took."""
    acted = sum(f.effect is not None for f in files)
    if not acted:
        return "Nothing of it was carried out."
    money = [f.impact.money for f in files if f.effect is not None and f.impact.money]
    priced = f", {sum(money):,.2f} at the policy's prices" if money else ""
    return f"{acted} of them carried out, {hours:.1f} GPU-hours of work lost or held{priced}."


def _thought(calls: Sequence[ModelCall]) -> str:
    """What its thinking took: rules think for nothing."""
    if not calls:
        return "It thought by rules."
    tokens = sum(c.tokens_in + c.tokens_out for c in calls)
    answered = sum(c.ended == "answered" for c in calls)
    cost = sum(c.cost for c in calls)
    priced = f", {cost:,.4f} at the prices given" if cost else ""
    models = ", ".join(dict.fromkeys(c.model for c in calls))
    return (
        f"It asked {models} {len(calls)} times of late, {answered} answered: {tokens:,} tokens"
        f"{priced}."
    )
