"""How often people are called on somebody else's word: a planner's, or for what a planner asked.

What the watch has to say of itself does not pass here, so that no planner can use up the pager
and bury a halt. Each source has its own bounds, for an hour and for one thing; a page beyond them
becomes a ticket, a ticket beyond them is held back, counted, and the count is told.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from watchkeeper.core.event import Kind

if TYPE_CHECKING:
    from watchkeeper.control.watch import Watch

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Bound:
    """Most pages and tickets of one source in an hour; about: of both, on one incident."""

    pages: int
    tickets: int
    about: int


PLANNER, ESCALATION, QUESTION, ALERT = "planner", "escalation", "question", "alert"
BARRED = "repair held back"
BOUNDS = {
    PLANNER: Bound(pages=4, tickets=15, about=3),
    ESCALATION: Bound(pages=8, tickets=40, about=3),
    QUESTION: Bound(pages=4, tickets=30, about=6),
    ALERT: Bound(pages=4, tickets=10, about=3),
    BARRED: Bound(pages=0, tickets=15, about=3),
}
"""Together well below what the pager itself sends in an hour (30 pages, 130 tickets): the rest is
the watch's own."""

MOST_ASKED = 100
"""Questions that may wait for people at once."""
MOST_ASKED_ABOUT = 5
"""The same, of one incident (or of none)."""
_EXAMPLES = 5


@dataclass(slots=True)
class Held:
    """What was held back and not yet told: how often for each source, and some of the titles. A
    crash loses the count of at most an hour, never the bounds themselves."""

    since: float = 0.0
    count: Counter[str] = field(default_factory=Counter)
    titles: list[str] = field(default_factory=list)


def call(
    watch: Watch,
    source: str,
    key: str,
    title: str,
    body: str,
    subject: tuple[str, ...] = (),
    *,
    about: str = "",
    page: bool = False,
    **said: Any,
) -> str:
    """Page or leave a ticket on this source's word, once for each key. What became of it: "page",
    "ticket", "held", or "known" for a key that went out before. said: what else its line in the
    record says."""
    books, bound = watch.record.books, BOUNDS[source]
    if key in books.paged:
        return "known"
    now = watch.clock.steady()
    mine = [c for c in books.calls if c[1] == source and now - c[0] < HOUR_S]
    near = sum(c[3] == about for c in mine)
    if near < bound.about:
        more = {"source": source, "about": about, **said}
        if page and sum(c[2] == Kind.PAGED for c in mine) < bound.pages:
            return "page" if watch.teller.page(key, title, body, subject, **more) else "known"
        if sum(c[2] == Kind.TICKETED for c in mine) < bound.tickets:
            return "ticket" if watch.teller.ticket(key, title, body, subject, **more) else "known"
    _hold(watch, source, title, now)
    return "held"


def may_ask(watch: Watch, incident: str) -> str:
    """Why no further question may be put now, or ""."""
    waiting = [f for f in watch.record.books.waiting() if f.question is not None]
    if len(waiting) >= MOST_ASKED:
        return f"{len(waiting)} questions wait for people already"
    near = sum(f.proposal.incident == incident for f in waiting)
    if near >= MOST_ASKED_ABOUT:
        return f"{near} questions about {incident or 'no incident'} wait for people already"
    return ""


def tell_held(watch: Watch) -> None:
    """Say once an hour how much was held back. Asked every turn."""
    held = watch.held
    if not held.count or watch.clock.steady() - held.since < HOUR_S:
        return
    watch.held = Held()
    total = held.count.total()
    by = ", ".join(f"{n} of {source}s" for source, n in sorted(held.count.items()))
    watch.teller.ticket(
        f"held:{watch.record.journal.head[0]}",
        f"{total} calls on people were held back in the last hour",
        f"{by}. Among them: {'; '.join(held.titles)}.",
        held=total,
    )


def _hold(watch: Watch, source: str, title: str, now: float) -> None:
    held, bound = watch.held, BOUNDS[source]
    if not held.count:
        held.since = now
    # What is never worth a page wakes nobody by its number either.
    if bound.pages and not any(BOUNDS[before].pages for before in held.count):
        watch.teller.page(
            f"holding:{watch.clock.now():%Y%m%dT%H}",
            "Calls on people are being held back",
            f"More came on the word of a {source} than {bound.pages} pages and {bound.tickets} "
            f"tickets an hour, or {bound.about} about one incident. The rest is counted and told "
            "in an hour; look at the watch itself: `watchkeeper status`.",
        )
    held.count[source] += 1
    if len(held.titles) < _EXAMPLES:
        held.titles.append(title[:120])
