"""What the watch is unsure of, by its own record: as items. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from watchkeeper.control.books import Books
from watchkeeper.control.report_done import Deed
from watchkeeper.control.report_night import Night
from watchkeeper.control.report_words import closed, count, first_up, sentence
from watchkeeper.core.action import kind_of, say, traits_of
from watchkeeper.core.incident import HypothesisStatus
from watchkeeper.core.report import Item

CLOSE = 0.25
"""Two causes whose confidence lies no further apart are not told apart."""
THIN = 0.75
"""Below this confidence what was done rests on thin evidence."""
GAP = timedelta(minutes=2)
"""A watch that was away for less was started anew by its supervisor: nothing to tell."""


def unsure(night: Night, books: Books, found: list[Deed], *, watched: bool) -> list[Item]:
    """Where the record itself says that it does not know. watched: a watch runs now."""
    return [
        *_gaps(night, watched=watched),
        *_in_doubt(found),
        *_two_causes(night, books),
        *_thin(night, books, found),
        *_too_sure(found),
    ]


def _gaps(night: Night, *, watched: bool) -> Iterable[Item]:
    for gap in night.gaps:
        if gap.last is not None and gap.last - max(gap.first, night.since) < GAP:
            continue
        begun = night.clock(gap.first)
        until = f"until {night.clock(gap.last)}" if gap.last else "on, and has not begun again"
        text = f"The watch was not running from {begun} {until}."
        if not gap.certain and gap.last is not None:
            text = (
                f"The watch ended without a word some time after {begun}, and began again at "
                f"{night.clock(gap.last)}."
            )
        yield Item(
            key=f"unsure:gap:{gap.first.isoformat()}",
            text=text,
            more="What happened meanwhile was not seen, unless telemetry kept it.",
            tone="bad",
            at=gap.first,
        )
    ended = bool(night.gaps) and night.gaps[-1].last is None
    if not watched and not ended and night.last_at is not None:
        yield Item(
            key="unsure:no-watch",
            text="No watch answers now.",
            more=f"The record ends at {night.clock(night.last_at)}. What came after is not known.",
            tone="bad",
            at=night.last_at,
        )


def _in_doubt(found: list[Deed]) -> Iterable[Item]:
    for deed in found:
        if deed.done is not None and deed.result == "in_doubt":
            yield Item(
                key=f"unsure:{deed.proposal.id}",
                text=f"{say(deed.proposal.action)}: nobody could see how it ended.",
                more=sentence(deed.done.why),
                tone="bad",
                at=deed.at,
                incident=deed.proposal.incident,
                proposal=deed.proposal.id,
                seqs=(deed.seq,),
            )


def _two_causes(night: Night, books: Books) -> Iterable[Item]:
    for ident in night.incidents:
        incident = night.incident(ident, books)
        if incident is None:
            continue
        alive = [h for h in incident.hypotheses if h.status is not HypothesisStatus.REFUTED]
        alive.sort(key=lambda h: -h.confidence)
        if len(alive) < 2 or alive[0].confidence - alive[1].confidence > CLOSE:
            continue
        causes = f"{alive[0].claim} ({alive[0].confidence:.2f})"
        other = f"{alive[1].claim} ({alive[1].confidence:.2f})"
        yield Item(
            key=f"unsure:cause:{ident}",
            text=f"{incident.title}: the cause is not settled.",
            more=f"{first_up(causes)}, or {other}.",
            at=incident.opened_at,
            incident=ident,
        )


def _thin(night: Night, books: Books, found: list[Deed]) -> Iterable[Item]:
    """Work was disturbed on little evidence."""
    told: set[str] = set()
    for deed in found:
        incident = night.incident(deed.proposal.incident, books)
        traits = traits_of(deed.proposal.action)
        if incident is None or incident.id in told or not traits.disruptive or traits.reversible:
            continue
        if incident.independent_sources >= 2 and deed.proposal.confidence >= THIN:
            continue
        told.add(incident.id)
        yield Item(
            key=f"unsure:thin:{incident.id}",
            text=f"{say(deed.proposal.action)} was done on thin evidence.",
            more=f"{first_up(count(incident.independent_sources, 'independent source'))}, "
            f"confidence {deed.proposal.confidence:.2f}: {incident.title}.",
            at=deed.at,
            incident=incident.id,
            proposal=deed.proposal.id,
            seqs=(deed.seq,),
        )


def _too_sure(found: list[Deed]) -> Iterable[Item]:
    """What was held for sure and did not come to pass."""
    for deed in found:
        if deed.went_badly and deed.result != "in_doubt" and deed.proposal.confidence >= THIN:
            seen = closed(deed.done.why) if deed.done else ""
            yield Item(
                key=f"unsure:outcome:{deed.proposal.id}",
                text=f"{say(deed.proposal.action)} did not do what was expected.",
                more=f"{deed.proposal.by} was sure to {deed.proposal.confidence:.2f} of "
                f"{kind_of(deed.proposal.action)}. Seen: {seen}",
                tone="bad",
                at=deed.at,
                incident=deed.proposal.incident,
                proposal=deed.proposal.id,
                seqs=(deed.seq,),
            )
