"""A person asks for an action of their own accord: the turn proposes it, and policy judges it.

A door leaves the wish and waits for the answer; only the turn makes Proposals. This is how nodes
are reserved, and how an assistant from outside suggests a step (`suggesting`). The requester is the
person, who therefore never counts to the quorum.
"""

from __future__ import annotations

from dataclasses import dataclass

from watchkeeper.control.left import WAIT_S, Left, await_turn, take_up
from watchkeeper.control.propose import ask_people_if_told_to, judge_it, proof_of, propose
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import Action, PoolReserve, kind_of, say
from watchkeeper.core.crew import Draft
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Refused
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Decision
from watchkeeper.core.word import digest
from watchkeeper.remedy.precondition import unmet

MOST_EVIDENCE = 32
"""Signals that a wish cites, the newest kept."""


@dataclass(eq=False)
class Wish(Left):
    """One wish that a door left for the turn. Ends with `says`: what became of it, and with
    `proposal` and `decision`; or with `refused`. by: who asks, where it is no person. incident:
    what it is about, whose evidence is cited. thread, rung: of its Proposal, where they are not
    made from the wish itself."""

    action: Action
    person: Person
    reason: str
    by: str = ""
    incident: str = ""
    thread: str = ""
    rung: str = ""
    decision: Decision | None = None
    proposal: str = ""
    says: str = ""


def wish(watch: Watch, action: PoolReserve, person: Person, reason: str) -> Wish:
    """Leave it for the turn. Raises Refused where it could not work, whatever policy says."""
    if person.name.startswith("agent:"):
        raise Refused("Agents reserve nothing for themselves (S15).")
    if kind_of(action) not in watch.serves:
        raise Refused(f"No provider serves {kind_of(action)} here.")
    with watch.record.lock:
        if watch.latest is None:
            raise Refused("The cluster was not read yet; wait for the first turn.")
        if action.begin is None or action.until is None:
            raise Refused("Say from when and until when: nothing is kept for ever.")
        if why := unmet(action, watch.latest):
            raise Refused(why)
        left = Wish(action, person, reason.strip())
        watch.wishes.append(left)
        return left


def outcome_of(watch: Watch, left: Wish, timeout_s: float = WAIT_S) -> Wish:
    """The wish once the turn has judged it. Raises Refused; then nothing was asked."""
    await_turn(watch.record.lock, watch.wishes, left, "Nothing was reserved", timeout_s)
    if not left.proposal:
        raise Refused(left.refused or "Nothing was reserved.")
    return left


def propose_what_people_wish(watch: Watch, snapshot: Snapshot) -> None:
    """A step of the turn: each wish becomes a Proposal and is judged like any other."""
    take_up(watch.record.lock, watch.wishes, lambda left: _propose(watch, snapshot, left))


def _propose(watch: Watch, snapshot: Snapshot, left: Wish) -> None:
    if why := unmet(left.action, snapshot):
        raise Refused(why)
    draft = draft_of(watch, snapshot, left)
    proposal = propose(watch, snapshot, draft)
    if proposal is None:
        raise Refused(f"{say(left.action)}: nothing here can do that.")
    verdict = judge_it(watch, snapshot, proposal)
    ask_people_if_told_to(watch, snapshot, proposal, verdict)
    left.proposal, left.decision = proposal.id, verdict.decision
    match verdict.decision:
        case Decision.DENY:
            left.says = f"Policy refuses it: {verdict.because}."
        case Decision.ASK:
            left.says = "Policy asks people about it first. You may not approve it yourself."
        case Decision.ALLOW:
            left.says = "Policy allows it. The nodes are kept from the next look on."
            if not isinstance(left.action, PoolReserve):
                left.says = "Policy allows it. It begins with the next look."


def draft_of(watch: Watch, snapshot: Snapshot, left: Wish) -> Draft:
    """The Draft that a wish becomes."""
    asked = (left.action, left.person.name, watch.clock.now())
    incident = watch.record.books.incidents.get(left.incident)
    signals = incident.signals[-MOST_EVIDENCE:] if incident is not None else ()
    reserves = isinstance(left.action, PoolReserve)
    return Draft(
        thread=left.thread or f"wish:{digest(asked)[:12]}",
        action=left.action,
        by=left.by or f"person:{left.person.name}",
        reason=left.reason or f"{left.person.name} asked for it.",
        confidence=1.0 if incident is None else incident.confidence,
        effect=proof_of(left.action, snapshot),
        rung=left.rung or f"{'assistant' if left.by else 'person'}: {kind_of(left.action)}",
        if_ignored="Nothing is kept; others may start there." if reserves else "Nothing changes.",
        incident=left.incident if incident is not None else "",
        evidence=tuple(s.id for s in signals),
    )
