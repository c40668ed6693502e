"""How many workers of one gang some rows would hold, while others leave them and come back.

Asked by `clear`, which tries hundreds of sets of victims: here one of them leaving touches its own
rows only, where a trial engine passes over the fleet each time. It places nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from watchkeeper.placement.fleet import Bools, Fleet
from watchkeeper.placement.rule import fitting, slots
from watchkeeper.placement.words import WHOLE, Gang, Seat


class Part(NamedTuple):
    """What a gang gives up on one row by leaving `seats` seats there. whole: GPUs that it held for
    itself; slices: (GPU, thousandths) that it shared."""

    row: int
    seats: int
    cpu: int
    memory: int
    whole: int
    slices: tuple[tuple[int, int], ...]


def parts(seats: Sequence[Seat]) -> tuple[Part, ...]:
    """These seats of one gang, row by row."""
    if len(seats) == 1:
        return (_part(seats[0].row, seats),)
    by_row: dict[int, list[Seat]] = {}
    for seat in seats:
        by_row.setdefault(seat.row, []).append(seat)
    return tuple(_part(row, held) for row, held in by_row.items())


def _part(row: int, seats: Sequence[Seat]) -> Part:
    whole, cpu, memory = 0, 0, 0
    slices: list[tuple[int, int]] = []
    for seat in seats:
        cpu += seat.cpu_milli
        memory += seat.memory_mib
        if seat.milli == WHOLE:
            whole += len(seat.gpus)
        else:
            slices += [(gpu, seat.milli) for gpu in seat.gpus]
    return Part(row, len(seats), cpu, memory, whole, tuple(slices))


class Room:
    """The room that `gang` has within one set of rows, kept up to date one leaving at a time.

    It says what `Engine.fits` says of a trial engine on which the same gangs were released: that
    is a property test. A GPU that was held whole is nobody else's, as the engine promises.
    """

    def __init__(self, fleet: Fleet, gang: Gang) -> None:
        self._fleet, self._gang, piece = fleet, gang, gang.piece
        may, self._base = fleet.may(gang), np.zeros(len(fleet), np.int64)
        if gang.within:
            may = may & (fleet.domains[gang.within] >= 0)
        if gang.count == 1:
            self._base[fitting(fleet, piece, may)] = 1
        else:
            self._base = np.minimum(slots(fleet, piece, may), gang.count)
        suits = fleet.suits(gang)
        if gang.within:
            suits = suits & (fleet.domains[gang.within] >= 0)
        self._suits = suits.tolist()
        self._count, self._floor, self._slice = gang.count, gang.floor, piece.is_slice
        self._gpus, self._cpu_each, self._memory_each = (
            piece.gpus,
            piece.cpu_milli,
            piece.memory_mib,
        )
        self._alone = fleet.has_soles or gang.sole  # who else is on a node matters
        self._tenant = fleet.tenant(gang.tenant)
        self._cpu, self._memory = fleet.cpu.tolist(), fleet.memory.tolist()
        self._whole, self._holds = fleet.whole.tolist(), self._base.tolist()
        self._partial: dict[int, dict[int, int]] = {}
        self._lodgers: dict[int, tuple[dict[int, int], int]] = {}
        self._inside: list[bool] = []
        self._touched: set[int] = set()
        self.total = 0

    def look_at(self, rows: Bools) -> None:
        """Begin anew with these rows, bool[N], and everybody back."""
        fleet = self._fleet
        for row in self._touched:
            self._cpu[row], self._memory[row] = int(fleet.cpu[row]), int(fleet.memory[row])
            self._whole[row], self._holds[row] = int(fleet.whole[row]), int(self._base[row])
        self._touched.clear()
        self._partial.clear()
        self._lodgers.clear()
        self._inside = rows.tolist()
        self.total = int(self._base[rows].sum())

    @property
    def fits(self) -> bool:
        """The gang, or its fewest workers, would have room here."""
        return self.total >= self._floor

    def leave(self, gang: Gang, gives: Sequence[Part]) -> None:
        """Somebody gives these up."""
        self._move(gang, gives, 1)

    def come_back(self, gang: Gang, gives: Sequence[Part]) -> None:
        """Exactly undoes `leave`."""
        self._move(gang, gives, -1)

    def _move(self, gang: Gang, gives: Sequence[Part], sign: int) -> None:
        inside, holds = self._inside, self._holds
        for part in gives:
            row = part.row
            if not inside[row]:
                continue
            self._touched.add(row)
            self._cpu[row] += sign * part.cpu
            self._memory[row] += sign * part.memory
            self._whole[row] += sign * part.whole
            if part.slices:
                self._share(row, part.slices, sign)
            if self._alone:
                self._lodge(row, gang, sign * part.seats)
            now = self._held(row)
            self.total += now - holds[row]
            holds[row] = now

    def _held(self, row: int) -> int:
        """Workers of the gang that this row would hold: as `rule.slots` counts them, capped."""
        if not self._suits[row] or (self._alone and not self._open(row)):
            return 0
        if self._slice:
            each = self._gang.piece.milli
            count: int = self._whole[row] * (WHOLE // each)
            count += sum([free // each for free in self._shared(row).values() if free < WHOLE])
        elif self._gpus:
            count = self._whole[row] // self._gpus
        else:
            count = self._count
        if self._cpu_each:
            count = min(count, self._cpu[row] // self._cpu_each)
        if self._memory_each:
            count = min(count, self._memory[row] // self._memory_each)
        return min(count, self._count)

    def _shared(self, row: int) -> dict[int, int]:
        """What is free of each GPU of a row that was not wholly free to begin with."""
        found = self._partial.get(row)
        if found is None:
            free = self._fleet.slices[row, : int(self._fleet.gpus[row])].tolist()
            found = self._partial[row] = {gpu: f for gpu, f in enumerate(free) if f < WHOLE}
        return found

    def _share(self, row: int, slices: Sequence[tuple[int, int]], sign: int) -> None:
        free = self._shared(row)
        for gpu, milli in slices:
            before = free[gpu]
            free[gpu] = before + sign * milli
            self._whole[row] += (free[gpu] == WHOLE) - (before == WHOLE)

    def _lodge(self, row: int, gang: Gang, left: int) -> None:
        """So many seats of this gang left its tenant's count on the row."""
        lodgers, sole = self._lodgers.get(row) or (
            self._fleet.lodgers(row), int(self._fleet.sole[row]),
        )  # fmt: skip
        tenant = self._fleet.tenant(gang.tenant)
        lodgers[tenant] = lodgers.get(tenant, 0) - left
        if not lodgers[tenant]:
            del lodgers[tenant]
        self._lodgers[row] = lodgers, sole - left * gang.sole

    def _open(self, row: int) -> bool:
        """As `Fleet.may`: nobody else is there, or nobody minds."""
        lodgers, sole = self._lodgers[row]
        own = all(tenant == self._tenant for tenant in lodgers)
        return own if self._gang.sole else own or not sole
