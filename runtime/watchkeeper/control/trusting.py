"""What models said, held against what came of it; and what policy would say of a step, for whoever
thinks. Read from the record; decides nothing.

A model's step counts as true when telemetry showed that it worked, and so does its word that this
step goes first. A step that it held back counts against it when the rules then took that very step
and it worked: it only cost time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from watchkeeper.control.books import Books
from watchkeeper.control.gate import weigh
from watchkeeper.control.life import State
from watchkeeper.control.papers import File
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import Action, kind_of
from watchkeeper.core.impact import generation
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.core.model import Chosen, ModelCall, Scored
from watchkeeper.core.proposal import Effect, Proposal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Decision

RULES = "rules"
HELD = frozenset({"wait", "ticket", "escalate"})
_ENDS = {State.RECOVERED: True, State.FAILED: False, State.WORSE: False}
"""What a step's end says of whoever chose it. In doubt, refused or turned down says nothing."""


def scores(watch: Watch) -> tuple[Scored, ...]:
    """Every word of a model that has shown to be true or not, and the rules' steps beside them, so
    that both can be compared. Nothing where no model was ever asked: then nobody reads them."""
    books = watch.record.books
    if not books.model_calls:
        return ()
    marks = (books.files.changes, books.incidents.changes, len(books.model_calls))
    if watch.scores_of[0] != marks or len(books.model_calls) == books.model_calls.maxlen:
        watch.scores_of = (marks, scores_of(books))
    return watch.scores_of[1]


def scores_of(books: Books) -> tuple[Scored, ...]:
    """The same, of these books; oldest first."""
    answered = [c for c in books.model_calls if c.ended == "answered"]
    found = [s for f in books.files.values() for s in _of_step(f, books, answered)]
    found += [s for c in answered if c.option in HELD and (s := _of_hold(c, books)) is not None]
    return tuple(sorted(found, key=lambda s: s.steady))


def _of_step(file: File, books: Books, answered: list[ModelCall]) -> Iterator[Scored]:
    """What the end of one step says of each model that chose it, or of the rules."""
    incident = books.incidents.get(file.proposal.incident)
    if file.state not in _ENDS or incident is None:
        return
    by, kind = file.proposal.by.removeprefix("agent:"), kind_of(file.action)
    scored = Scored(
        agent=by,
        model=RULES,
        fault=incident.fault,
        kind=kind,
        confidence=file.proposal.confidence,
        happened=_ENDS[file.state],
        steady=file.changed_steady,
    )
    chosen = file.proposal.chosen
    if chosen is None:
        yield scored
        return
    for choice in chosen.each:
        call = _call_of(choice, file, answered)
        yield msgspec.structs.replace(
            scored,
            agent=choice.agent or by,
            model=choice.model,
            fault=call.fault if call is not None else incident.fault,
            confidence=choice.confidence,
            took_s=call.took_s if call is not None else 0.0,
            cost=call.cost if call is not None else 0.0,
        )


def _call_of(choice: Chosen, file: File, answered: list[ModelCall]) -> ModelCall | None:
    """The call that this choice came from: the last of this model before its step ended, about this
    very step; of an order, which is asked about whichever step the rules would let go, the last."""
    for call in reversed(answered):
        if call.model != choice.model or call.steady > file.changed_steady:
            continue
        if choice.agent:
            if call.agent == choice.agent:
                return call
        elif (call.about, call.kind) == (file.thread, kind_of(file.action)):
            return call
    return None


def _of_hold(call: ModelCall, books: Books) -> Scored | None:
    """None while nothing is known yet."""
    incident = books.incidents.get(call.about.partition("/")[0])
    if incident is None:
        return None
    right = _was_right_to_hold(call, incident, books)
    if right is None:
        return None
    return Scored(
        agent=call.agent,
        model=call.model,
        fault=call.fault,
        kind=call.kind,
        confidence=call.confidence or 0.0,
        happened=right,
        steady=call.steady,
        took_s=call.took_s,
        cost=call.cost,
    )


def _was_right_to_hold(call: ModelCall, incident: Incident, books: Books) -> bool | None:
    later = [f for f in books.of_incident(incident.id) if f.changed_steady >= call.steady]
    for file in later:
        if kind_of(file.action) == call.kind and file.state in _ENDS:
            return not _ENDS[file.state]
        if file.state is State.TURNED_DOWN:
            return True  # a person, too, said no
    if incident.state is IncidentState.RESOLVED:
        return True  # it went without the step
    return None


def would(watch: Watch, snapshot: Snapshot) -> Callable[[Action, str], Decision]:
    """What policy would decide on an action of the crew now. Judges a Proposal that nobody made:
    nothing is written, and nothing comes of it. May be asked from another thread."""

    def decide(action: Action, incident: str) -> Decision:
        with watch.record.lock:
            books = watch.record.books
            found = books.incidents.get(incident)
            proposal = Proposal(
                id="P-0",
                action=action,
                by="agent:remediation",
                reason="what if",
                at=snapshot.at,
                world=snapshot.world,
                effect=Effect(predicate="none", within_s=0.0),
                generation=generation(snapshot, action, books.policy_version),
                confidence=found.confidence if found is not None else 0.0,
                incident=incident,
                evidence=tuple(s.id for s in found.signals) if found is not None else (),
            )
            return weigh(
                proposal, snapshot, books, watch.policies.current(), watch.clock
            ).verdict.decision

    return decide
