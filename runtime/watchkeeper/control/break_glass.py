"""Break-glass: one person lifts a soft rule for one proposal, with a reason; another reviews it.

It grants nothing by itself: the proposal is judged again without the rules that were lifted, and
everything else (invariants, hard rules, hard limits, the dial, the stop) still holds.
"""

from __future__ import annotations

from datetime import timedelta

from watchkeeper.control.gate import bound_of
from watchkeeper.control.life import State
from watchkeeper.control.papers import File, Lift
from watchkeeper.control.watch import Watch
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Refused
from watchkeeper.core.event import Kind
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import plain
from watchkeeper.policy.schema import BREAK_GLASS

REVIEW_WITHIN = timedelta(hours=24)
"""A second person looks at every break-glass within this time, or is paged."""

LIFTABLE_FOR_S = 900.0
"""A refusal older than this is history: the watch proposes again if there is still a need."""


def break_glass(watch: Watch, proposal: str, person: Person, reason: str) -> Lift:
    """Lift the soft rules that stand in the way of one proposal. Durable before it returns.

    Raises Refused when the person may not, gives no reason, or there is nothing soft to lift.
    """
    with watch.record.lock:
        file = watch.record.books.files.get(proposal)
        if file is None:
            raise Refused(f"There is no proposal {proposal}.")
        newest = watch.record.books.last_of_thread(file.thread)
        _may_lift(file, newest, person, reason, watch.clock.steady())
        if watch.latest is None:
            raise Refused("The cluster was not read yet; wait for the first turn.")
        lift = _lift(watch, file, watch.latest, person, reason)
        watch.record.write(
            Kind.BREAK_GLASS,
            (proposal, lift.incident),
            proposal=proposal,
            lift=plain(lift),
            durable=True,
        )
        watch.teller.ticket(
            f"broken:{proposal}:{len(lift.rules)}",
            f"{person.name} broke the glass on {proposal}; it owes a review",
            f"Lifted {', '.join(lift.rules)}: {lift.reason}",
            (proposal, lift.incident),
        )
        return lift


def _lift(watch: Watch, file: File, seen: Snapshot, person: Person, reason: str) -> Lift:
    """What is written down; with an earlier lift of the same proposal, both hold."""
    assert file.verdict is not None
    proposal, now = file.proposal, watch.clock.now()
    earlier = watch.record.books.lifts.get(proposal.id)
    return Lift(
        proposal=proposal.id,
        incident=proposal.incident,
        rules=tuple(dict.fromkeys((*(earlier.rules if earlier else ()), *file.verdict.liftable))),
        person=person.name,
        reason=reason.strip()[:500],
        at=now,
        steady=watch.clock.steady(),
        review_by=now + REVIEW_WITHIN,
        bound=bound_of((proposal.action, *proposal.plan), seen),
        before=(*earlier.before, earlier.person) if earlier else (),
    )


def _may_lift(file: File, newest: File | None, person: Person, reason: str, steady: float) -> None:
    if person.name.startswith("agent:"):
        raise Refused("Agents lift nothing (S15).")
    if BREAK_GLASS not in person.groups:
        raise Refused(f"{person.name} is not in the group {BREAK_GLASS}; only they may.")
    if file.proposal.by == f"person:{person.name}":
        raise Refused("Who asks may not lift the rule that refuses (S15).")
    if not reason.strip():
        raise Refused("Say why, with --reason: it is read at the review.")
    if why := why_not(file, newest, steady):
        raise Refused(why)


def why_not(file: File, newest: File | None, steady: float) -> str:
    """Why nobody may lift anything for this proposal now, or "". newest: of its thread."""
    if file.state not in (State.DENIED, State.ASKING):
        return f"{file.proposal.id} is {file.state.value}: there is nothing to lift."
    if file.verdict is None or not file.verdict.liftable:
        return "Nothing soft stands in the way; what is hard nobody may lift."
    if file.state is State.DENIED and steady - file.changed_steady > LIFTABLE_FOR_S:
        return "The refusal is too old. Wait until the watch proposes it again."
    if newest is not None and newest is not file:
        return f"The watch has gone on: the newest proposal is {newest.proposal.id}."
    return ""


def owed_says(lift: Lift) -> str:
    """A review that is owed, in a sentence."""
    return (
        f"{lift.person} lifted {', '.join(lift.rules)} on {lift.proposal} ({lift.reason}): another "
        f"person reviews it until {lift.review_by:%Y-%m-%d %H:%M} UTC"
    )


def review(watch: Watch, proposal: str, person: Person, note: str) -> Lift:
    """Close the review that a break-glass owes. Raises Refused where this person may not."""
    with watch.record.lock:
        lift = watch.record.books.lifts.get(proposal)
        if lift is None:
            raise Refused(f"Nobody broke the glass on {proposal}.")
        if lift.reviewed_by:
            raise Refused(f"Reviewed already by {lift.reviewed_by}.")
        if person.name in (lift.person, *lift.before) or person.name.startswith("agent:"):
            raise Refused("Another person reviews it.")
        watch.record.write(
            Kind.REVIEWED,
            (proposal, lift.incident),
            proposal=proposal,
            by=person.name,
            note=note.strip()[:500],
            durable=True,
        )
        return watch.record.books.lifts[proposal]
