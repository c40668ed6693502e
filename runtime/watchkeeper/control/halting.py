"""Halt when too much is ill at once (S9), and go on when that was silence and is over.

A halt is lifted by a person. One exception: where nodes only fell silent, nothing was wrong that
anybody knows of, and the watch goes on by itself once all have been heard again for a while.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from watchkeeper.control.books import Books
from watchkeeper.control.look import stale
from watchkeeper.control.past import fell_ill, since_resumed
from watchkeeper.control.watch import Watch
from watchkeeper.core.event import Kind
from watchkeeper.core.impact import out_by_domain
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.health.illness import is_silence, newly_unhealthy
from watchkeeper.policy.invariants import SILENCE_S, mass_unhealthy

HEARD_S = SILENCE_S
"""So long must all be heard again: as long as silence must last to say anything (S10)."""


def halt_if_too_many_are_ill(watch: Watch, snapshot: Snapshot) -> None:
    """Too many unhealthy at once is a sensor or facility fault: halt and page (S9)."""
    books = watch.record.books
    if books.halted and not books.halted_by_silence:
        return
    ill = fell_ill(books, snapshot)
    view = LedgerView(newly_unhealthy=ill, size=out_by_domain(snapshot)[1]) if ill else None
    why = mass_unhealthy(view) if view is not None else ""
    silence = bool(why) and not _ill_beside_silence(books, snapshot)
    if why and not (books.halted and silence):
        halt(watch, why, silence=silence)
    elif books.halted and not stale(snapshot):
        _go_on_when_heard(watch, snapshot)


def halt(watch: Watch, why: str, *, silence: bool = False) -> None:
    """Stop acting alone until a person resumes, or, after silence, until all are heard again. The
    page goes out even if nothing else works."""
    until = "until all are heard again for 5 minutes, or " if silence else "until "
    watch.teller.page(
        f"halt:{watch.record.journal.head[0]}",
        "The watch has halted and needs a person",
        f"{why.rstrip('.')}. Nothing is repaired {until}somebody resumes the watch.",
    )
    watch.record.write(Kind.HALTED, why=why, silence=silence, durable=True)


def goes_on_at(books: Books) -> datetime | None:
    """When a halt for silence ends by itself; None for any other, and while one is silent."""
    if not books.halted_by_silence:
        return None
    silent = [i for i in books.incidents.values() if is_silence(i)]
    if not silent or any(i.is_open for i in silent):
        return None
    return max(i.updated_at for i in silent) + timedelta(seconds=HEARD_S)


def _go_on_when_heard(watch: Watch, snapshot: Snapshot) -> None:
    at = goes_on_at(watch.record.books)
    if at is not None and snapshot.at >= at:
        why = "Every node that had fallen silent has been heard again for 5 minutes."
        watch.record.write(Kind.HEARD_AGAIN, why=why, durable=True)


def _ill_beside_silence(books: Books, snapshot: Snapshot) -> bool:
    """Did anything turn unhealthy just now that is more than silent?"""
    told = tuple(i for i in since_resumed(books) if not is_silence(i))
    return bool(newly_unhealthy(told, snapshot))
