"""What the watch saw, and what waits for people: as items. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from watchkeeper.control.asking import title_of
from watchkeeper.control.books import Books
from watchkeeper.control.break_glass import owed_says
from watchkeeper.control.report_night import Night
from watchkeeper.control.report_words import (
    closed,
    count,
    few,
    first_up,
    names,
    sentence,
    times,
    without,
)
from watchkeeper.core.desk import LogLine
from watchkeeper.core.event import Kind
from watchkeeper.core.incident import Incident
from watchkeeper.core.report import Item, Mark
from watchkeeper.core.since import span
from watchkeeper.core.word import digest

TOLD_APART = 6
"""So many incidents of one class that are over are told one by one; more become one item."""

_TONE = {"resolved": "good", "escalated": "you", "acting": "act", "verifying": "act"}


def waits(night: Night, books: Books) -> list[Item]:
    """All that needs a person now: questions, orders that hold, reviews, incidents handed over."""
    return [
        *_orders_that_hold(books),
        *_questions(night, books),
        *_reviews(books),
        *_handed_over(night, books),
        *_tickets(night),
    ]


def _questions(night: Night, books: Books) -> Iterable[Item]:
    for file in books.waiting():
        question = file.question
        if question is None:
            continue
        ident, yes = file.proposal.id, len(file.approvals)
        so_far = f" {yes} of {question.needs} approved." if question.needs > 1 else ""
        yield Item(
            key=f"waits:{ident}",
            text=title_of(file.proposal),
            more=f"Asked at {night.clock(question.asked_at)}, until "
            f"{night.clock(question.expires_at)}.{so_far} {sentence(file.proposal.if_ignored)}",
            tone="you",
            at=question.asked_at,
            incident=file.proposal.incident,
            proposal=ident,
            seqs=(night.asked[ident],) if ident in night.asked else (),
        )


def _orders_that_hold(books: Books) -> Iterable[Item]:
    if books.orders.stopped:
        why = f" {sentence(books.orders.stop_reason)}" if books.orders.stop_reason else ""
        yield Item(
            key="waits:stopped",
            text=f"The watch is stopped, by {books.orders.stopped_by}.",
            more=f"Nothing is repaired until a person resumes it.{why}",
            tone="bad",
            at=books.orders.stopped_at,
        )
    if books.halted:
        until = " It goes on by itself once all are heard again." if books.halted_by_silence else ""
        yield Item(
            key="waits:halted",
            text="The watch has halted itself.",
            more=f"{sentence(books.halted)}{until}",
            tone="bad",
        )
    for kind, why in books.closed_kinds.items():
        yield Item(
            key=f"waits:gate:{kind}",
            text=f"No further {kind} is done until a person resumes the watch.",
            more=f"The last one made it worse: {closed(why)}",
            tone="bad",
        )
    if books.policy_error:
        yield Item(
            key="waits:policy",
            text="The changed policy does not load; the last good one holds.",
            more=sentence(books.policy_error.splitlines()[0]),
            tone="bad",
        )


def _reviews(books: Books) -> Iterable[Item]:
    for lift in books.to_review():
        yield Item(
            key=f"waits:review:{lift.proposal}",
            text=f"Review owed: {closed(owed_says(lift))}",
            more=f"`watchkeeper review {lift.proposal}`",
            tone="you",
            at=lift.at,
            incident=lift.incident,
            proposal=lift.proposal,
        )


def _handed_over(night: Night, books: Books) -> Iterable[Item]:
    for ident in night.incidents:
        incident = night.incident(ident, books)
        if incident is not None and incident.state.value == "escalated":
            yield Item(
                key=f"waits:{ident}",
                text=f"{incident.title}. It needs a person.",
                more=closed(without(incident.closed_because, incident.title)),
                tone="you",
                at=incident.updated_at,
                incident=ident,
            )


def _tickets(night: Night) -> Iterable[Item]:
    """Tickets about a question or an incident are told there."""
    for told in night.told:
        if told.page or told.key.startswith(("ask:", "escalated:", "expired:", "escalate:")):
            continue
        yield Item(
            key=f"waits:ticket:{digest(told.key)[:12]}",
            text=sentence(told.title),
            more="A ticket was left. The journal does not know whether it was closed.",
            at=told.at,
            seqs=(told.seq,),
        )


def saw(night: Night, books: Books) -> list[Item]:
    """Incidents of the span, the open ones first; then what happened to the watch itself."""
    found = [i for ident in night.incidents if (i := night.incident(ident, books)) is not None]
    found.sort(key=lambda i: (not i.is_open, i.opened_at, i.id))
    over: dict[str, list[Incident]] = {}
    for incident in found:
        if incident.state.value == "resolved":
            over.setdefault(incident.fault, []).append(incident)
    many = {fault: group for fault, group in over.items() if len(group) > TOLD_APART}
    items = [
        _incident(i, night)
        for i in found
        if i.state.value != "resolved" or i.fault not in many  # escalated ones are always told
    ]
    items += [_class(fault, group) for fault, group in many.items()]
    return [*items, *_to_the_watch(night)]


def _incident(incident: Incident, night: Night) -> Item:
    end = night.until if incident.is_open else incident.updated_at
    lasted = span((end - incident.opened_at).total_seconds())
    state = f"Open for {lasted}." if incident.is_open else f"{_state(incident)} after {lasted}."
    sources = count(incident.independent_sources, "independent source")
    jobs = f" Gangs touched: {names(incident.jobs)}." if incident.jobs else ""
    seq = night.opened.get(incident.id)
    return Item(
        key=f"saw:{incident.id}",
        text=f"{incident.title}.",
        more=f"{state} {first_up(sources)}, confidence {incident.confidence:.2f}.{jobs}",
        tone=_TONE.get(incident.state.value, "bad"),
        at=incident.opened_at,
        incident=incident.id,
        seqs=(seq,) if seq else (),
    )


def _state(incident: Incident) -> str:
    return "Resolved" if incident.state.value == "resolved" else "Handed to a person"


def _class(fault: str, group: list[Incident]) -> Item:
    took = sorted((i.updated_at - i.opened_at).total_seconds() for i in group)
    targets = list(dict.fromkeys(i.node or i.target for i in group))
    return Item(
        key=f"saw:many:{fault}",
        text=f"{len(group)} incidents of {fault.replace('_', ' ')}: {names(targets)}.",
        more=f"All resolved; half of them within {span(took[len(took) // 2])}, the longest took "
        f"{span(took[-1])}.",
        tone="good",
        at=group[0].opened_at,
        count=len(group),
    )


def _to_the_watch(night: Night) -> Iterable[Item]:
    groups: dict[tuple[Kind, str], list[LogLine]] = {}
    for kind, line in night.orders:
        groups.setdefault((kind, line.text), []).append(line)
    for (kind, text), lines in groups.items():
        again = f" ({times(len(lines))})" if len(lines) > 1 else ""
        yield Item(
            key=f"saw:{kind.value}:{digest(text)[:12]}",
            text=f"{closed(text)[:-1]}{again}.",
            tone="bad" if lines[0].tone == "bad" else "",
            at=lines[0].at,
            count=len(lines),
            seqs=few([line.seq for line in lines]),
        )
    if night.refused_telemetry:
        yield Item(
            key="saw:telemetry-refused",
            text=f"Telemetry was refused {times(night.refused_telemetry)}.",
            more="It was malformed, or from another world. Nothing was decided on it.",
            tone="bad",
            count=night.refused_telemetry,
        )


def marks(night: Night, books: Books) -> tuple[Mark, ...]:
    """Incidents and halts on the line of the night."""
    found = []
    for ident in night.incidents:
        incident = night.incident(ident, books)
        if incident is None:
            continue
        end = night.until if incident.is_open else incident.updated_at
        begin = max(incident.opened_at, night.since)
        tone = _TONE.get(incident.state.value, "bad")
        label = incident.node or incident.target.partition(":")[2] or incident.target
        found.append(Mark(at=begin, until=max(end, begin), tone=tone, label=label))
    for kind, line in night.orders:
        if kind in (Kind.HALTED, Kind.STOPPED):
            word = "halted" if kind is Kind.HALTED else "stopped"
            found.append(Mark(at=line.at, until=None, tone="bad", label=word))
    return tuple(sorted(found, key=lambda m: m.at))
