"""When could a waiting gang start, and which nodes are kept for it until then?

One reservation, for the first gang in turn that cannot start (EASY backfill): others may pass it
where they end before its time or stay off its nodes. Without a runtime estimate nothing passes on
those nodes, and work without one is not counted on to end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Bools
from watchkeeper.placement.running import Running
from watchkeeper.placement.words import Gang, Placement


@dataclass(frozen=True, eq=False, slots=True)
class Reservation:
    """From `at`, `gang` should fit on `rows` (bool[N]). after: the last gang it waits for."""

    gang: Gang
    at: float
    rows: Bools
    after: str


def reserve(
    engine: Engine, gang: Gang, running: Iterable[Running], now: float
) -> Reservation | None:
    """The earliest time by the estimates given; None where no estimates make room for it.

    Ends are taken in order, and the first with which it fits is found by doubling and halving.
    """
    ends = [(end, run.name) for run in running if (end := run.ends(now)) is not None]
    ends.sort()
    trial = engine.copy()
    removed: list[Placement] = []

    def gone(first: int) -> None:
        while len(removed) < first:
            removed.append(trial.release(ends[len(removed)][1]))
        while len(removed) > first:
            trial.adopt(removed.pop())

    low, high = 0, 1
    while high < len(ends):  # most need few to end: look near first, in growing steps
        gone(high)
        if trial.fits(gang):
            break
        low, high = high + 1, 2 * high
    high = min(high, len(ends))
    gone(high)
    if not trial.fits(gang):
        return None
    while low < high:
        middle = (low + high) // 2
        gone(middle)
        low, high = (low, middle) if trial.fits(gang) else (middle + 1, high)
    gone(low)
    placement = trial.place(gang)
    if placement is None:
        return None
    rows = np.zeros(len(engine.fleet), np.bool_)
    rows[list(placement.rows)] = True
    at, after = ends[low - 1] if low else (now, "")
    return Reservation(gang=gang, at=at, rows=rows, after=after)


def passes(gang: Gang, reservation: Reservation, now: float) -> bool:
    """It ends before the reservation's time, so it may use the nodes kept."""
    return gang.runtime_s is not None and now + gang.runtime_s <= reservation.at
