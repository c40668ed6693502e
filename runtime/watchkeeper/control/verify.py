"""Hold what was done against what telemetry then shows, and end what is over.

The actor's own words are never evidence (S21). *Worse* closes the gate for that kind of action
and calls a person; after a crash, what was *started* is only ever observed (S18).
"""

from __future__ import annotations

from datetime import datetime

from watchkeeper.control.execute import Executor
from watchkeeper.control.life import State
from watchkeeper.control.look import stale
from watchkeeper.control.papers import File
from watchkeeper.control.record import Record
from watchkeeper.control.tell import Teller
from watchkeeper.core.action import kind_of, node_of, say
from watchkeeper.core.cluster import RayState
from watchkeeper.core.event import Kind
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Outcome, OutcomeKind
from watchkeeper.core.word import plain
from watchkeeper.remedy.verify import observe

BLIND_S = 600.0
"""How long past its time an effect may wait for telemetry that is not there, before it counts as
in doubt and a person is called."""


def verify(record: Record, executor: Executor, teller: Teller, snapshot: Snapshot) -> None:
    """Look at every effect in hand once: finished, overdue, to be enforced, or not yet."""
    for file in record.books.in_hand():
        _verify_one(file, record, executor, teller, snapshot)


def _verify_one(
    file: File, record: Record, executor: Executor, teller: Teller, snapshot: Snapshot
) -> None:
    effect = file.effect
    assert effect is not None
    blind = stale(snapshot)
    if blind:
        if snapshot.steady > effect.verify_by + BLIND_S:
            _end(file, record, snapshot.steady, Outcome(kind=OutcomeKind.IN_DOUBT, seen=blind))
            _call_a_person(file, teller, blind)
        return
    outcome = observe(
        file.proposal.effect,
        file.action,
        effect.before,
        snapshot,
        since=effect.started_at,
        impact=file.impact,
        ill_before=lambda node: _ill_at(record, node, effect.started_at),
    )
    match outcome.kind:
        case OutcomeKind.RECOVERED | OutcomeKind.FAILED:
            _end(file, record, snapshot.steady, outcome)
        case OutcomeKind.WORSE:
            _end(file, record, snapshot.steady, outcome)
            _close_the_gate(file, record, outcome)
            _call_a_person(file, teller, outcome.seen)
        case _ if snapshot.steady > effect.verify_by:
            _end(file, record, snapshot.steady, _overdue(file, outcome))
        case _ if _must_enforce(file, snapshot):
            executor.enforce(file, snapshot)


def _ill_at(record: Record, node: str, when: datetime) -> bool:
    """Whether an incident of this node was open at that time."""
    return any(
        i.node == node and i.opened_at < when and (i.is_open or i.updated_at >= when)
        for i in record.books.incidents.values()
    )


def _must_enforce(file: File, snapshot: Snapshot) -> bool:
    """Its deadline is over. An order of which a crash left only *started* is not repeated; but
    where Ray shows that very node draining, the drain was taken, and must not last for ever."""
    effect = file.effect
    if effect is None or effect.enforce_at is None:
        return False
    node = snapshot.nodes.get(node_of(file.action))
    taken = file.state is State.ISSUED or (
        node is not None
        and node.incarnation == effect.before
        and node.ray_state is RayState.DRAINING
    )
    return taken and snapshot.steady >= effect.enforce_at


def _overdue(file: File, outcome: Outcome) -> Outcome:
    """Time is up: a failure if the provider took the order, in doubt if that is not known."""
    kind = OutcomeKind.FAILED if file.state is State.ISSUED else OutcomeKind.IN_DOUBT
    return Outcome(kind=kind, seen=f"not seen in time; last seen: {outcome.seen}")


def _end(file: File, record: Record, now: float, outcome: Outcome) -> None:
    record.write(
        Kind.EFFECT_FINISHED,
        (file.proposal.id, file.proposal.incident),
        proposal=file.proposal.id,
        result=outcome.kind.value,
        why=outcome.seen,
        outcome=plain(outcome),
        **_against_the_prediction(file, now, outcome),
        durable=True,
    )


def _against_the_prediction(file: File, now: float, outcome: Outcome) -> dict[str, str]:
    """What the twin foresaw, held against what telemetry showed; nothing where none was asked."""
    seen, effect = file.proposal.predicted, file.effect
    if seen is None or effect is None:
        return {}
    ended = "done" if outcome.kind is OutcomeKind.RECOVERED else outcome.kind.value
    took = now - effect.started_steady
    return {"predicted": f"{seen.says()} Seen: {ended} after {took:.0f} s."}


def _close_the_gate(file: File, record: Record, outcome: Outcome) -> None:
    record.write(
        Kind.GATE_CLOSED,
        (file.proposal.id, file.proposal.incident),
        action=kind_of(file.action),
        why=outcome.seen,
        durable=True,
    )


def _call_a_person(file: File, teller: Teller, why: str) -> None:
    teller.page(
        f"outcome:{file.proposal.id}",
        f"{say(file.action)}: {why}",
        "The watch takes no further action of this kind until a person resumes it.",
        (file.proposal.id, file.proposal.incident),
    )
