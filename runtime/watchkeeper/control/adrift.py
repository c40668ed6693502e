"""What was left half done: a step of ours ended as failed or in doubt, and its trouble goes on.

Asked once a turn, from what is seen now and never from what was meant then. A drain that outlasts
its own end is ended; where nothing follows on a failed step, a person is called, in bounded time.
Begins nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchkeeper.control.books import Books
from watchkeeper.control.execute import Executor
from watchkeeper.control.life import BADLY, State
from watchkeeper.control.papers import Effect, File
from watchkeeper.control.record import Record
from watchkeeper.control.tell import Teller
from watchkeeper.core.action import node_of, say
from watchkeeper.core.cluster import RayState
from watchkeeper.core.telemetry import Snapshot

STILL_DRAINS_S = 300.0
"""A node that drains this long after its drain ended badly wakes a person; the drain is ended all
the same as soon as that may be."""

LEFT_S = 900.0
"""An open incident on whose failed step nothing followed for this long wakes a person. More than
the crew keeps quiet for after a refusal, unless it keeps quiet for good."""

_LEFT = BADLY | {State.REFUSED}


def look_after(record: Record, executor: Executor, teller: Teller, snapshot: Snapshot) -> None:
    """End drains that go on after their end, and call a person for what nobody goes on with."""
    for file in half_drained(record.books, snapshot):
        _end_it(file, executor, teller, snapshot)
    for file in left_open(record.books):
        if snapshot.steady - file.changed_steady >= LEFT_S:
            teller.page(
                f"left:{file.proposal.incident}:{file.proposal.id}",
                f"{file.proposal.incident} is open and nothing follows on {say(file.action)}",
                f"It ended as {file.state.value.replace('_', ' ')}: {file.why} The watch has not "
                "asked for another step since.",
                (file.proposal.id, file.proposal.incident),
            )


def half_drained(books: Books, snapshot: Snapshot) -> list[File]:
    """Drains that ended badly while that very raylet still drains."""
    found = []
    for name, file, effect in _ended_badly(books):
        node = snapshot.nodes.get(name)
        if node is None or node.ray_state is not RayState.DRAINING:
            continue
        if node.incarnation == effect.before:
            found.append(file)
    return found


def _ended_badly(books: Books) -> Iterator[tuple[str, File, Effect]]:
    """(node, proposal, effect) of each node's last drain, where it ended badly."""
    for name, ident in books.drains.items():
        file = books.files.get(ident)
        if file is not None and file.effect is not None and file.state in BADLY:
            yield name, file, file.effect


def left_open(books: Books) -> list[File]:
    """The last step of each open incident that ended badly or was turned back at the last look."""
    found = []
    for incident in books.open_incidents():
        files = books.of_incident(incident.id)
        if files and files[-1].state in _LEFT:
            found.append(files[-1])
    return found


def times(books: Books) -> list[float]:
    """Steady seconds at which `look_after` may have something to do though nothing changed."""
    found = [file.changed_steady + LEFT_S for file in left_open(books)]
    for _, file, effect in _ended_badly(books):
        found += [file.changed_steady + STILL_DRAINS_S, effect.enforce_at or 0.0]
    return found


def _end_it(file: File, executor: Executor, teller: Teller, snapshot: Snapshot) -> None:
    effect = file.effect
    assert effect is not None
    if snapshot.steady >= (effect.enforce_at or 0.0):
        executor.enforce(file, snapshot)
    if snapshot.steady - file.changed_steady < STILL_DRAINS_S:
        return
    held = executor.may_not_end(file, snapshot)
    teller.page(
        f"drains:{file.proposal.id}",
        f"{node_of(file.action)} still drains after its drain ended as "
        f"{file.state.value.replace('_', ' ')}",
        f"{file.why} It takes no work and is not repaired. "
        + (f"The watch cannot end it: {held}." if held else "The watch goes on trying to end it."),
        (file.proposal.id, file.proposal.incident),
    )
