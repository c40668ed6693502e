"""What the watch did not do, and why: refused, denied, lapsed or left alone, as items. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from watchkeeper.control.books import Books
from watchkeeper.control.report_done import deeds, noun_of, target_of
from watchkeeper.control.report_night import Done, Night
from watchkeeper.control.report_words import closed, few, names, sentence, times
from watchkeeper.control.story import rule_of, texts
from watchkeeper.core.action import Action, kind_of, say
from watchkeeper.core.event import Kind
from watchkeeper.core.incident import Incident
from watchkeeper.core.proposal import Proposal
from watchkeeper.core.report import Item
from watchkeeper.core.verdict import Answer, Decision, Verdict
from watchkeeper.core.word import digest


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
        on = list(dict.fromkeys(target_of(p.action) for _, _, p, _ in group))
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
    return f"Did not {noun_of(kind)} {names(on)}"


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
    groups: dict[tuple[str, str, str], list[tuple[Proposal, Done]]] = {}
    for ident, done in {**night.ended, **refused}.items():
        proposal = night.proposal(ident, books)
        if proposal is not None:
            kind = kind_of(proposal.action)
            why = "" if done.result == "expired" else done.why
            groups.setdefault((kind, done.result, why), []).append((proposal, done))
    for (kind, result, why), group in groups.items():
        first, done = group[0]
        on = list(dict.fromkeys(target_of(p.action) for p, _ in group))
        reason = f": {closed(why)}" if why else "."
        alone = first.id if len(group) == 1 else ""
        yield Item(
            key=f"did_not:{alone or digest((kind, result, why))[:12]}",
            text=f"{_did_not(first.action, kind, on)}.",
            more=f"{_LAPSED[result]}{reason}",
            tone="bad" if result == "expired" else "",
            at=done.at,
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
            more=sentence(thought) or _held(night, books, incident),
            at=incident.opened_at,
            incident=ident,
            seqs=(seq,),
        )


def _held(night: Night, books: Books, incident: Incident) -> str:
    """What kept it from acting, where no thought is written: a stop, a halt, a closed gate."""
    if books.orders.stopped:
        return f"The watch is stopped, by {books.orders.stopped_by}: nothing acts."
    if books.halted:
        return f"The watch has halted itself: {closed(books.halted)} Nothing acts."
    over = None
    for kind, line in night.orders:  # oldest first
        if kind in _HOLDS:
            over = (_HOLDS[kind], line.at)
        elif kind in _FREES and over is not None and line.at >= incident.opened_at:
            what, since = over
            return f"The watch {what} from {night.clock(since)} to {night.clock(line.at)}."
        elif kind in _FREES:
            over = None
    if books.closed_kinds:
        gates = names(sorted(books.closed_kinds))
        return f"Closed until a person resumes: {gates}."
    return "The record does not say why."


_HOLDS = {Kind.STOPPED: "was stopped", Kind.HALTED: "had halted itself"}
_FREES = (Kind.RESUMED, Kind.HEARD_AGAIN)


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
