"""Simple ways to choose a node, for `eval placement` to hold the engine against.

Each sees the same fleet, asks and limits as the engine does, and places all that fits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from watchkeeper.placement.engine import seat_on
from watchkeeper.placement.fleet import Fleet, Ints
from watchkeeper.placement.rule import fitting
from watchkeeper.placement.words import Gang, Piece, Seat

Rule: TypeAlias = Callable[[Fleet, Piece, Ints], int]
"""(fleet, piece, rows where it fits) -> the row to take."""


class Seats:
    """Places single pieces by one rule: the engine's way of seating, with the choice swapped."""

    def __init__(self, fleet: Fleet, rule: Rule, rng: np.random.Generator | None = None) -> None:
        self.fleet, self._rule, self._rng = fleet, rule, rng

    def place(self, gang: Gang) -> bool:
        fleet, piece = self.fleet, gang.piece
        rows = fitting(fleet, piece, fleet.may(gang))
        if not rows.size:
            return False
        row = self._rule(fleet, piece, rows)
        seat = seat_on(fleet, piece, row)
        if self._rng is not None and piece.is_slice:
            able = np.flatnonzero(fleet.slices[row] >= piece.milli)
            gpu = int(self._rng.choice(able))
            seat = Seat(row, (gpu,), seat.milli, seat.cpu_milli, seat.memory_mib)
        fleet.take((seat,), gang)
        return True


def first_fit(fleet: Fleet, piece: Piece, rows: Ints) -> int:  # noqa: ARG001  a Rule's arguments
    """The first node of the list."""
    return int(rows[0])


def best_fit(fleet: Fleet, piece: Piece, rows: Ints) -> int:
    """The node with the least left: GPUs, and the mean of CPU and memory, as shares of the
    largest node's. Comes within 0.4 points of the BestFit that FGD published."""
    left = (fleet.milli[rows] - piece.gpu_milli) / max(int(fleet.gpus.max()) * 1000, 1)
    for free, total in ((fleet.cpu, fleet.cpu_total), (fleet.memory, fleet.memory_total)):
        left = left + 0.5 * free[rows] / max(int(total.max()), 1)
    return int(rows[left.argmin()])


def at_random(rng: np.random.Generator) -> Rule:
    """Any node that fits, and any GPU of it."""

    def rule(fleet: Fleet, piece: Piece, rows: Ints) -> int:  # noqa: ARG001
        return int(rng.choice(rows))

    return rule
