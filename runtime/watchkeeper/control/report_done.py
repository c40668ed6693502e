"""What the watch did: the effects of a span as items. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from watchkeeper.control.books import Books
from watchkeeper.control.report_night import Done, Night
from watchkeeper.control.report_words import (
    closed,
    few,
    first_up,
    hours,
    names,
    sentence,
    times,
    went_badly,
    without,
)
from watchkeeper.control.story import rule_of
from watchkeeper.core.action import (
    Action,
    GpuPowerCap,
    PoolReserve,
    PoolScale,
    kind_of,
    node_of,
    say,
    targets_of,
)
from watchkeeper.core.incident import Incident
from watchkeeper.core.proposal import Proposal
from watchkeeper.core.report import Item
from watchkeeper.core.verdict import Decision, Verdict
from watchkeeper.core.word import digest

TOLD_APART = 4
"""So many repairs that went alike and well are told one by one; more become one item."""

_PAST = {
    "node.cordon": "fenced",
    "node.uncordon": "returned to service",
    "node.drain": "drained",
    "node.restart": "restarted",
    "node.reboot": "rebooted",
    "node.replace": "replaced",
    "gpu.reset": "GPU {gpu} reset",
    "gpu.quarantine": "GPU {gpu} hidden from Ray",
    "job.requeue": "submitted again",
    "job.preempt": "stopped after a checkpoint",
    "job.place": "placed",
    "check.run": "checked",
}
NOUN = {"check.run": "check", "gpu.power_cap": "power cap", "job.requeue": "requeue"}


class Deed(NamedTuple):
    """One effect of the span. done: how it ended; None while it is under way."""

    seq: int
    at: datetime
    proposal: Proposal
    verdict: Verdict | None
    done: Done | None

    @property
    def result(self) -> str:
        return self.done.result if self.done else "under_way"

    @property
    def went_badly(self) -> bool:
        return went_badly(kind_of(self.proposal.action), self.result)


def deeds(night: Night, books: Books) -> list[Deed]:
    """Every effect that was begun, or that ended, in the span; without those that the last look
    before the effect refused: there nothing was done."""
    found = []
    for ident in dict.fromkeys((*night.started, *night.finished)):
        proposal = night.proposal(ident, books)
        done = night.finished.get(ident)
        if proposal is None or (done is not None and done.result == "refused"):
            continue
        ended = (done.seq, done.at) if done else (0, proposal.at)
        seq, at = night.started.get(ident, ended)
        found.append(Deed(seq, at, proposal, night.verdict(ident, books), done))
    return found


def did(night: Night, books: Books) -> list[Item]:
    """One item for each incident that was acted on, or for each action outside of one; many
    alike that went well are one item."""
    groups: dict[str, list[Deed]] = {}
    for deed in deeds(night, books):
        own = deed.proposal.incident or targets_of(deed.proposal.action)[0]
        groups.setdefault(own, []).append(deed)
    alike: dict[tuple[str, ...], list[str]] = {}
    for key, group in groups.items():
        if _tone(group, night.incident(group[0].proposal.incident, books)) == "good":
            signature = tuple(
                f"{kind_of(d.proposal.action)}:{d.result}:{d.verdict.decision if d.verdict else ''}"
                for d in group
            )
            alike.setdefault(signature, []).append(key)
    merged = {k: keys for keys in alike.values() if len(keys) > TOLD_APART for k in keys[:1]}
    swallowed = {k for keys in merged.values() for k in keys[1:]}
    items = []
    for key, group in groups.items():
        if key in merged:
            items.append(_many([groups[k] for k in merged[key]], night))
        elif key not in swallowed:
            items.append(_one(key, group, night, books))
    return items


def _one(key: str, group: list[Deed], night: Night, books: Books) -> Item:
    incident = night.incident(group[0].proposal.incident, books)
    by_target: dict[str, list[Deed]] = {}
    for deed in group:
        by_target.setdefault(target_of(deed.proposal.action), []).append(deed)
    told = [f"{target}: {', '.join(_verbs(own))}" for target, own in by_target.items()]
    badly = [f"{first_up(_noun(d))}: {d.done.why}" for d in group if d.went_badly and d.done]
    more = [f"{incident.title}." if incident else sentence(group[0].proposal.reason)]
    more += [sentence(said) for said in badly[:3]]
    more += [_end(incident), _by_whom(group, night), _cost(group, night, books)]
    return Item(
        key=f"did:{key}",
        text=f"{'; '.join(told)}.",
        more=" ".join(part for part in more if part),
        tone=_tone(group, incident),
        at=group[0].at,
        incident=incident.id if incident else "",
        proposal=group[-1].proposal.id if len(group) == 1 else "",
        where=_where(group),
        seqs=few([d.seq for d in group]),
    )


def _many(groups: list[list[Deed]], night: Night) -> Item:
    targets = [target_of(g[0].proposal.action) for g in groups]
    first = groups[0]
    verbs = ", ".join(_verbs(first))
    incidents = [d.proposal.incident for g in groups for d in g[:1] if d.proposal.incident]
    about = f"Incidents {names(incidents)}. " if incidents else ""
    whom = _by_whom([d for g in groups for d in g], night)
    more = f"{about}All verified. {whom}".strip()
    return Item(
        key=f"did:many:{digest(sorted(incidents or targets))[:12]}",
        text=f"{len(groups)} times: {verbs}. {first_up(names(targets))}.",
        more=more,
        tone="good",
        at=first[0].at,
        where=_where(first),
        count=len(groups),
        seqs=few([g[0].seq for g in groups]),
    )


def _where(group: list[Deed]) -> str:
    """The first rule that spoke for one of them."""
    return next((w for d in group if d.verdict and (w := rule_of(d.verdict))), "")


def noun_of(kind: str) -> str:
    """A kind of action as a thing: `restart`, `power cap`."""
    return NOUN.get(kind, kind.partition(".")[2])


def target_of(action: Action) -> str:
    """The node, gang or pool that it acts on, by its bare name."""
    return node_of(action) or str(getattr(action, "job", "") or getattr(action, "pool", ""))


def _noun(deed: Deed) -> str:
    return f"the {noun_of(kind_of(deed.proposal.action))} of {target_of(deed.proposal.action)}"


def _verbs(group: list[Deed]) -> list[str]:
    """`fenced`, `check failed`, `drained`, ...: each deed by how it ended, alike ones as one."""
    told = [_verb(d.proposal.action, d.result) for d in group]
    return [
        f"{verb} ({times(told.count(verb))})" if told.count(verb) > 1 else verb
        for verb in dict.fromkeys(told)
    ]


def _verb(action: Action, result: str) -> str:
    kind = kind_of(action)
    noun = noun_of(kind)
    match result:
        case "recovered":
            return _past(action, kind)
        case "under_way":
            return f"{noun} under way"
        case "in_doubt":
            return f"{noun} in doubt"
        case "worse":
            return f"{noun} made it worse"
        case _:
            return f"{noun} failed"


def _past(action: Action, kind: str) -> str:
    match action:
        case GpuPowerCap():
            return f"GPU {action.gpu} capped at {action.watts:g} W"
        case PoolScale():
            return f"{action.add} node{'s' if action.add != 1 else ''} added"
        case PoolReserve():
            return f"{action.nodes} nodes reserved"
        case _:
            told = _PAST.get(kind, say(action))
            return told.format(gpu=getattr(action, "gpu", ""))


def _tone(group: list[Deed], incident: Incident | None) -> str:
    if any(d.went_badly for d in group):
        return "bad"
    if any(d.done is None for d in group) or (incident is not None and incident.is_open):
        return "act"
    if incident is not None and incident.state.value == "escalated":
        return "you"
    return "good"


def _end(incident: Incident | None) -> str:
    if incident is None:
        return ""
    because = closed(without(incident.closed_because, incident.title))
    match incident.state.value:
        case "resolved":
            return f"Verified: {because}"
        case "escalated":
            return f"It needs a person: {because}"
        case _:
            return "It goes on."


def _by_whom(group: list[Deed], night: Night) -> str:
    yes = [person for d in group for person in night.approved.get(d.proposal.id, ())]
    if yes:
        return f"Approved by {names(dict.fromkeys(yes))}."
    if asked := night.asked_about[group[0].proposal.incident]:
        return f"Asked {times(asked)}; nobody approved."
    alone = all(d.verdict is not None and d.verdict.decision is Decision.ALLOW for d in group)
    return "Nobody was asked." if alone else ""


def _cost(group: list[Deed], night: Night, books: Books) -> str:
    impacts = [night.impact(d.proposal.id, books) for d in group]
    lost = sum(i.gpu_hours for i in impacts)
    jobs = list(dict.fromkeys(j for i in impacts for j in i.jobs))
    said = f"It stopped {names(jobs)}. " if jobs else ""
    return f"{said}Expected to cost {hours(lost)}." if lost >= 0.05 else said.strip()
