"""What break-glass could lift now, and what it lifted, for the pages. Reads the books; it lifts
nothing (`control.break_glass` does)."""

from __future__ import annotations

from datetime import timedelta

from watchkeeper.control.asking import blast, title_of
from watchkeeper.control.books import Books
from watchkeeper.control.break_glass import LIFTABLE_FOR_S, why_not
from watchkeeper.control.life import State
from watchkeeper.control.papers import File, Lift
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import say
from watchkeeper.core.proposal import Proposal
from watchkeeper.core.verdict import Verdict
from watchkeeper.core.views import GlassView, Liftable, LiftView
from watchkeeper.core.word import digest

SHOWN = 40


def glass_of(watch: Watch) -> GlassView:
    """Both lists, SHOWN of each at most."""
    with watch.record.lock:
        books, steady = watch.record.books, watch.clock.steady()
        soft = [f for f in books.files.values() if f.verdict is not None and f.verdict.liftable]
        soft = [f for f in soft if not why_not(f, books.last_of_thread(f.thread), steady)]
        lifts = sorted(books.lifts.values(), key=lambda x: (bool(x.reviewed_by), -x.steady))
        return GlassView(
            at=watch.clock.now(),
            liftable=tuple(_liftable(f, f.verdict) for f in soft[-SHOWN:] if f.verdict),
            lifts=tuple(_lifted(lift, books) for lift in lifts[:SHOWN]),
        )


def _liftable(file: File, verdict: Verdict) -> Liftable:
    proposal = file.proposal
    binding = [r for r in verdict.reasons if r.binds]
    asks = file.state is State.ASKING
    return Liftable(
        proposal=proposal.id,
        title=title_of(proposal),
        why=proposal.reason,
        if_ignored=proposal.if_ignored,
        by=proposal.by,
        incident=proposal.incident,
        steps=_steps(proposal),
        blast=blast(file.impact, (proposal.action, *proposal.plan)),
        asks=asks,
        soft=tuple(r for r in binding if r.id in verdict.liftable),
        others=tuple(r for r in binding if r.id not in verdict.liftable),
        until=None if asks else file.changed_at + timedelta(seconds=LIFTABLE_FOR_S),
        digest=digest([proposal, file.impact, verdict.reasons, verdict.liftable]),
    )


def _lifted(lift: Lift, books: Books) -> LiftView:
    file = books.files.get(lift.proposal)
    return LiftView(
        proposal=lift.proposal,
        title=title_of(file.proposal) if file else lift.proposal,
        incident=lift.incident,
        rules=lift.rules,
        person=lift.person,
        before=lift.before,
        reason=lift.reason,
        at=lift.at,
        review_by=lift.review_by,
        state=file.state.value if file else "",
        reviewed_by=lift.reviewed_by,
        note=lift.note,
    )


def _steps(proposal: Proposal) -> tuple[str, ...]:
    return tuple(say(a) for a in (proposal.action, *proposal.plan))
