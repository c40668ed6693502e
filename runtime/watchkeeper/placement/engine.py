"""Places gangs and gives them back: all of a gang or nothing of it, one numpy pass a decision.

Asked by the queue, by what-ifs and by the evals. It has no clock and no queue, and it reads
nothing but the fleet and the asks it has heard.
"""

from __future__ import annotations

import numpy as np

from watchkeeper.placement.balance import Balance
from watchkeeper.placement.fleet import Bools, Fleet
from watchkeeper.placement.rule import costs, fitting, slots
from watchkeeper.placement.topology import capacity, share_out
from watchkeeper.placement.words import WHOLE, Gang, Piece, Placement, Seat


class Engine:
    """One fleet, what is placed on it, and what was learned of the work that comes.

    `placed` is by gang name. Not thread-safe: one turn, one engine.
    """

    def __init__(self, fleet: Fleet, balance: Balance | None = None) -> None:
        self.fleet = fleet
        self.balance = balance or Balance(fleet)
        self.placed: dict[str, Placement] = {}

    def hear(self, gang: Gang) -> None:
        """Learn from a gang when it first arrives: once, whether or not it finds a place."""
        self.balance.hear(gang.piece, gang.count)

    def place(
        self, gang: Gang, *, avoid: Bools | None = None, most: int | None = None
    ) -> Placement | None:
        """Find seats and take them; None, and nothing changed, when it does not fit.

        avoid: bool[N], rows not to be used, such as those kept for a reservation. An elastic gang
        gets as many of its workers as fit, down to `gang.floor`; never more than `most`, which is
        not below that. Raises ValueError when it runs already.
        """
        if gang.name in self.placed:
            raise ValueError(f"{gang.name} is placed already")
        count = gang.count if most is None else min(gang.count, max(most, gang.floor))
        seats = self._seats(gang, count, gang.floor, avoid)
        if seats is None:
            return None
        return self._keep(Placement(gang=gang, seats=seats))

    def adopt(self, placement: Placement) -> None:
        """Take over what runs already, as a snapshot shows it. Looks at no rule."""
        self.fleet.take(placement.seats, placement.gang)
        self._keep(placement)

    def release(self, name: str) -> Placement:
        """Give all seats of a gang back. Exactly undoes `place`. Raises KeyError."""
        placement = self.placed.pop(name)
        self.fleet.give(placement.seats, placement.gang)
        return placement

    def shrink(self, name: str, to: int, *, first: Bools | None = None) -> Placement:
        """Leave an elastic gang `to` workers. Those on the rows of `first` (bool[N]) go first,
        then the last seated.

        Raises ValueError below `gang.floor` or above what it has: stopping is `release`.
        """
        placement = self.placed[name]
        gang, seats = placement.gang, placement.seats
        if not gang.floor <= to <= len(seats):
            raise ValueError(f"{name} runs with {gang.floor} to {len(seats)} workers, not {to}")
        stays = sorted(
            range(len(seats)), key=lambda at: (first is not None and bool(first[seats[at].row]), at)
        )
        self.fleet.give([seats[at] for at in stays[to:]], gang)
        kept = tuple(seats[at] for at in sorted(stays[:to]))
        return self._keep(Placement(gang=gang, seats=kept))

    def grow(self, name: str, *, avoid: Bools | None = None, most: int | None = None) -> Placement:
        """Give an elastic gang back as many workers as fit, up to `gang.count` (or `most`), in the
        domain that holds it where it must stay within one."""
        placement = self.placed[name]
        gang = placement.gang
        missing = min(gang.count, most or gang.count) - len(placement.seats)
        if missing <= 0:
            return placement
        if gang.within:
            ids = self.fleet.domains[gang.within]
            away = ids != ids[placement.seats[0].row]
            avoid = away if avoid is None else avoid | away
        more = self._seats(gang, missing, 1, avoid)
        if more is None:
            return placement
        return self._keep(Placement(gang=gang, seats=placement.seats + more))

    def copy(self) -> Engine:
        """The same engine, to try things on; what is tried there is seen nowhere else."""
        twin = Engine(self.fleet.copy(), self.balance)
        twin.placed = dict(self.placed)
        return twin

    def _keep(self, placement: Placement) -> Placement:
        self.placed[placement.gang.name] = placement
        return placement

    def fits(self, gang: Gang, *, avoid: Bools | None = None) -> bool:
        """Whether `place` would find seats now. Changes nothing."""
        may = self._may(gang, avoid)
        if gang.count == 1:
            return bool(fitting(self.fleet, gang.piece, may).size)
        free = np.minimum(slots(self.fleet, gang.piece, may), gang.count)
        if not gang.within:
            return int(free.sum()) >= gang.floor
        room = capacity(self.fleet, free, gang.within)
        return bool(room.size) and int(room.max()) >= gang.floor

    def _may(self, gang: Gang, avoid: Bools | None) -> Bools:
        may = self.fleet.may(gang)
        if avoid is not None:
            may = may & ~avoid
        if gang.within:
            may = may & (self.fleet.domains[gang.within] >= 0)
        return may

    def _seats(
        self, gang: Gang, count: int, least: int, avoid: Bools | None
    ) -> tuple[Seat, ...] | None:
        """Seats, already taken; None when fewer than `least` fit."""
        fleet, piece = self.fleet, gang.piece
        may = self._may(gang, avoid)
        if count == 1:
            rows = fitting(fleet, piece, may)
            if not rows.size:
                return None
            row = int(rows[costs(fleet, piece, rows, self.balance).argmin()])
            return (self._sit(gang, row),)
        free = np.minimum(slots(fleet, piece, may), count)
        shares = share_out(fleet, free, count, gang.within, gang.near, least)
        if shares is None:
            return None
        rows = np.flatnonzero(shares)
        rows = rows[fleet.near_by[rows].argsort()]  # ranks in order: ring neighbours lie close
        seats: list[Seat] = []
        for row, held in zip(rows.tolist(), shares[rows].tolist(), strict=True):
            if piece.is_slice:  # where the next slice goes depends on where this one went
                seats += [self._sit(gang, row) for _ in range(held)]
            else:
                seats += seats_on(fleet, piece, row, held)
        if not piece.is_slice:
            fleet.take(seats, gang)
        return tuple(seats)

    def _sit(self, gang: Gang, row: int) -> Seat:
        seat = seat_on(self.fleet, gang.piece, row)
        self.fleet.take((seat,), gang)
        return seat


def seats_on(fleet: Fleet, piece: Piece, row: int, count: int) -> list[Seat]:
    """The seats of several pieces of whole GPUs (or none) on a node where all of them fit."""
    each = piece.gpus
    gpus = fleet.room(row, each * count, WHOLE) if each else ()
    return [_seat(piece, row, gpus[at * each : (at + 1) * each]) for at in range(count)]


def seat_on(fleet: Fleet, piece: Piece, row: int) -> Seat:
    """The seat that a piece gets on a node where it fits."""
    return _seat(piece, row, fleet.room(row, piece.gpus, piece.milli) if piece.gpus else ())


def _seat(piece: Piece, row: int, gpus: tuple[int, ...]) -> Seat:
    return Seat(
        row=row,
        gpus=gpus,
        milli=piece.milli if gpus else 0,
        cpu_milli=piece.cpu_milli,
        memory_mib=piece.memory_mib,
    )
