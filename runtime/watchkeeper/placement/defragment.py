"""Could work be moved, so that a gang fits, with nobody worse off than by one restart?

Moves only what lands elsewhere at once, and only where all of it costs less than the wait it
saves. Asked by the scheduler agent; nothing moves here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from watchkeeper.placement.clear import Victim, clear
from watchkeeper.placement.engine import Engine
from watchkeeper.placement.running import Running, Terms
from watchkeeper.placement.words import Gang, Placement

MOST_MOVES = 4
"""Gangs moved for one that waits. More is a reshuffle, which nobody can check."""


@dataclass(frozen=True, slots=True)
class Moves:
    """Stop these, start them at their new seats, then start the gang. price: GPU-seconds lost."""

    gang: Gang
    placement: Placement
    moved: tuple[tuple[Running, Placement], ...]
    price: float


def defragment(
    engine: Engine,
    gang: Gang,
    running: Iterable[Running],
    now: float,
    terms: Terms | None = None,
    wait_s: float | None = None,
) -> Moves | None:
    """The cheapest moves that make room for `gang`; None when there are none worth it.

    wait_s: how long it would wait otherwise, where known: then moves that lose more GPU-seconds
    than the wait are not worth it. Work of higher priority is not moved.
    """
    terms = terms or Terms()
    if engine.fits(gang):
        return None
    movable = [
        run
        for run in sorted(running, key=lambda run: run.name)
        if run.placement.gang.preemptible
        and run.placement.gang.priority <= gang.priority
        and terms.settled(run, now)
    ]

    def lands(trial: Engine, gone: Sequence[Victim]) -> bool:
        """Largest first, as all packing is."""
        if len(gone) > MOST_MOVES:
            return False
        for victim in sorted(gone, key=lambda v: (-v.run.placement.gpus, v.name)):
            seats = trial.place(victim.run.placement.gang)
            if seats is None or len(seats.seats) < len(victim.run.placement.seats):
                return False
        return True

    best = clear(engine, gang, movable, now, terms, shrink=False, accept=lands)
    if best is None or (wait_s is not None and best.price > gang.gpus * wait_s):
        return None
    return Moves(
        gang=gang,
        placement=best.placement,
        moved=_moved(engine, best.victims, best.placement),
        price=best.price,
    )


def _moved(
    engine: Engine, victims: Sequence[Victim], placement: Placement
) -> tuple[tuple[Running, Placement], ...]:
    """Where each of them lands, worked out once more for the domain that won."""
    trial = engine.copy()
    for victim in victims:
        trial.release(victim.name)
    trial.adopt(placement)
    found = []
    for victim in sorted(victims, key=lambda v: (-v.run.placement.gpus, v.name)):
        seats = trial.place(victim.run.placement.gang)
        if seats is not None:
            found.append((victim.run, seats))
    return tuple(found)
