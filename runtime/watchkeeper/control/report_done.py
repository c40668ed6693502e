"""What the watch did, and what it did not do and why: the deeds of a span as items. Pure."""

from __future__ import annotations

from collections.abc import Iterable
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
    without,
)
from watchkeeper.control.story import rule_of, texts
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
from watchkeeper.core.verdict import Answer, Decision, Verdict
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
_NOUN = {"check.run": "check", "gpu.power_cap": "power cap", "job.requeue": "requeue"}


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
        """A check that finds a fault has done its work; anything else that failed has not."""
        failed = self.result == "failed" and kind_of(self.proposal.action) != "check.run"
        return failed or self.result in ("worse", "in_doubt")


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
        by_target.setdefault(_target(deed.proposal.action), []).append(deed)
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
        where=next((w for d in group if (w := rule_of(d.verdict) if d.verdict else "")), ""),
        seqs=few([d.seq for d in group]),
    )


def _many(groups: list[list[Deed]], night: Night) -> Item:
    targets = [_target(g[0].proposal.action) for g in groups]
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
        where=next((w for d in first if (w := rule_of(d.verdict) if d.verdict else "")), ""),
        count=len(groups),
        seqs=few([g[0].seq for g in groups]),
    )


def _target(action: Action) -> str:
    return node_of(action) or str(getattr(action, "job", "") or getattr(action, "pool", ""))


def _noun(deed: Deed) -> str:
    kind = kind_of(deed.proposal.action)
    return f"the {_NOUN.get(kind, kind.partition('.')[2])} of {_target(deed.proposal.action)}"


def _verbs(group: list[Deed]) -> list[str]:
    """`fenced`, `check failed`, `drained`, ...: each deed by how it ended, alike ones as one."""
    told = [_verb(d.proposal.action, d.result) for d in group]
    return [
        f"{verb} ({times(told.count(verb))})" if told.count(verb) > 1 else verb
        for verb in dict.fromkeys(told)
    ]


def _verb(action: Action, result: str) -> str:
    kind = kind_of(action)
    noun = _NOUN.get(kind, kind.partition(".")[2])
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


def did_not(night: Night, books: Books) -> list[Item]:
    """What was refused, by policy, by people, by time or by the last look; and incidents that
    nobody touched. Alike ones are one item."""
    items = [*_denied(night, books), *_turned_down(night, books), *_lapsed(night, books)]
    return [*items, *_untouched(night, books), *_shadow(night)]


def _denied(night: Night, books: Books) -> Iterable[Item]:
    groups: dict[tuple[str, str], list[tuple[int, datetime, Proposal, Verdict]]] = {}
    for seq, at, ident, verdict in night.judged:
        proposal = night.proposal(ident, books)
        if verdict.decision is Decision.DENY and proposal is not None:
            group = groups.setdefault((kind_of(proposal.action), texts(verdict)), [])
            group.append((seq, at, proposal, verdict))
    for (kind, why), group in groups.items():
        _, at, proposal, verdict = group[0]
        on = list(dict.fromkeys(_target(p.action) for _, _, p, _ in group))
        incidents = list(dict.fromkeys(p.incident for _, _, p, _ in group if p.incident))
        again = f" Proposed {times(len(group))}." if len(group) > len(on) else ""
        yield Item(
            key=f"did_not:{digest((kind, why))[:12]}",
            text=f"{_did_not(proposal.action, kind, on)}.",
            more=f"Refused: {closed(why)}{again}",
            tone="bad",
            at=at,
            incident=incidents[0] if len(incidents) == 1 else "",
            where=rule_of(verdict),
            count=len(group),
            seqs=few([seq for seq, *_ in group]),
        )


def _did_not(action: Action, kind: str, on: list[str]) -> str:
    if len(on) == 1:
        return f"Did not {_infinitive(action)}"
    return f"Did not {_NOUN.get(kind, kind.partition('.')[2].replace('_', ' '))} {names(on)}"


def _infinitive(action: Action) -> str:
    told = say(action)
    return told[:1].lower() + told[1:]


def _turned_down(night: Night, books: Books) -> Iterable[Item]:
    for seq, answer in night.answers:
        proposal = night.proposal(answer.proposal, books)
        if proposal is None or answer.answer is Answer.APPROVE:
            continue
        put_off = answer.answer is Answer.NOT_NOW
        verb = "said not now" if put_off else "denied it"
        reason = f": {closed(answer.reason)}" if answer.reason else "."
        yield Item(
            key=f"did_not:{proposal.id}",
            text=f"Did not {_infinitive(proposal.action)}.",
            more=f"{answer.person} {verb}{reason}",
            tone="you",
            at=answer.at,
            incident=proposal.incident,
            proposal=proposal.id,
            seqs=(seq,),
        )


_LAPSED = {
    "expired": "Asked, and nobody answered in time",
    "void": "Asked or allowed, and void before it began",
    "withdrawn": "Withdrawn before anybody was asked",
    "refused": "Refused by the last look, right before it would have been done",
}


def _lapsed(night: Night, books: Books) -> Iterable[Item]:
    refused = {i: d for i, d in night.finished.items() if d.result == "refused"}
    groups: dict[tuple[str, str, str], list[tuple[str, Done]]] = {}
    for ident, done in {**night.ended, **refused}.items():
        proposal = night.proposal(ident, books)
        if proposal is not None:
            kind = kind_of(proposal.action)
            why = "" if done.result == "expired" else done.why
            groups.setdefault((kind, done.result, why), []).append((ident, done))
    for (kind, result, why), group in groups.items():
        first = night.proposal(group[0][0], books)
        assert first is not None
        found = [night.proposal(ident, books) for ident, _ in group]
        on = list(dict.fromkeys(_target(p.action) for p in found if p is not None))
        reason = f": {closed(why)}" if why else "."
        alone = group[0][0] if len(group) == 1 else ""
        yield Item(
            key=f"did_not:{alone or digest((kind, result, why))[:12]}",
            text=f"{_did_not(first.action, kind, on)}.",
            more=f"{_LAPSED[result]}{reason}",
            tone="bad" if result == "expired" else "",
            at=group[0][1].at,
            incident=first.incident if len(group) == 1 else "",
            proposal=alone,
            count=len(group),
            seqs=few([done.seq for _, done in group]),
        )


def _untouched(night: Night, books: Books) -> Iterable[Item]:
    touched = {d.proposal.incident for d in deeds(night, books)}
    touched |= {f.proposal.incident for f in books.past()}
    touched |= {f.proposal.incident for f in books.waiting()}
    for ident in night.opened:
        incident = night.incident(ident, books)
        if incident is None or ident in touched or not incident.is_open:
            continue
        seq, thought = night.thoughts.get(ident, (night.opened[ident], ""))
        yield Item(
            key=f"did_not:{ident}",
            text=f"Has not acted on {ident}: {incident.title}.",
            more=sentence(thought) or "The record does not say why.",
            at=incident.opened_at,
            incident=ident,
            seqs=(seq,),
        )


def _shadow(night: Night) -> Iterable[Item]:
    groups: dict[str, list[int]] = {}
    for judged in night.judged:
        would = judged.verdict.would_be
        if would is not None:
            change = f"{judged.verdict.decision.value} would be {would.value}"
            groups.setdefault(change, []).append(judged.seq)
    for change, seqs in groups.items():
        yield Item(
            key=f"did_not:shadow:{change.replace(' ', '-')}",
            text=f"Rules in shadow would have decided otherwise {times(len(seqs))}: {change}.",
            more="They are recorded, and not applied.",
            count=len(seqs),
            seqs=few(seqs),
        )
