"""The fleet as columns: what each node has free, where it lies, and who may use it.

The engine reads it with one numpy pass a decision; taking or giving back a seat touches one row.
It decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from watchkeeper.placement.words import LEVELS, WHOLE, Gang, Seat

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NOBODY, SEVERAL = -1, -2
"""In `Fleet.occupant`: no tenant works on the node; more than one does."""

MANY = 4
"""Seats from which moving them in one go is faster than one by one."""

AMPLE = 1 << 40
"""CPU and memory of a node whose source tells neither: more than any worker asks for."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One node as it is bought: what it has, and where it stands. Unknown names are empty.

    tenant: whose work alone may run here; empty is everybody's.
    """

    name: str
    gpus: int
    cpu_milli: int = AMPLE
    memory_mib: int = AMPLE
    model: str = ""
    pool: str = ""
    tenant: str = ""
    nvlink_domain: str = ""
    rack: str = ""
    leaf: str = ""
    zone: str = ""


class Kept(Protocol):
    """Nodes that are kept for somebody; `keep.Hold` is one."""

    @property
    def rows(self) -> Bools: ...

    def lets(self, gang: Gang) -> bool:
        """This gang may use them now."""
        ...


class Fleet:
    """Free resources and standing of N nodes, in row order.

    cpu, memory: free, i8[N]. slices: free thousandths of each GPU, i8[N, G]. milli: their sum.
    size: how large a node is, as the root of its CPU over the mean node's. whole: GPUs wholly
    free. widest: the largest free slice. occupant: the tenant with work here.
    domains: level -> number of the domain, -1 where the node belongs to none. near_by: a place in
    line in which nodes of one domain stand together. closed, suspect, spare: bool[N], see `mark`.
    """

    def __init__(self, machines: Iterable[Machine]) -> None:
        self.machines = tuple(machines)
        self.names = tuple(m.name for m in self.machines)
        self.row: Mapping[str, int] = {name: row for row, name in enumerate(self.names)}
        if len(self.row) < len(self.names):
            raise ValueError("two nodes of the fleet have one name")
        size = len(self.names)
        self.gpus = _ints(m.gpus for m in self.machines)
        self.cpu_total = _ints(m.cpu_milli for m in self.machines)
        self.memory_total = _ints(m.memory_mib for m in self.machines)
        self.size = np.sqrt(
            self.cpu_total / max(float(self.cpu_total.mean()) if size else 1.0, 1.0)
        )
        self.cpu, self.memory = self.cpu_total.copy(), self.memory_total.copy()
        width = max(1, int(self.gpus.max(initial=0)))
        self.slices = np.where(np.arange(width) < self.gpus[:, None], WHOLE, 0).astype(np.int64)
        self.milli, self.whole = self.gpus * WHOLE, self.gpus.copy()
        self.widest = np.where(self.gpus > 0, WHOLE, 0).astype(np.int64)
        self.free_cpu, self.free_memory = int(self.cpu.sum()), int(self.memory.sum())
        self.free_milli = int(self.milli.sum())
        self.capacity_milli = self.free_milli
        self.domains: dict[str, Ints] = {}
        self.domain_names: dict[str, tuple[str, ...]] = {}
        for level in LEVELS:
            self.domains[level], self.domain_names[level] = _numbered(
                [getattr(m, level) for m in self.machines]
            )
        keys = [self.domains[level] for level in LEVELS]
        self.near_by = np.empty(size, np.int64)
        self.near_by[np.lexsort((np.arange(size), *keys))] = np.arange(size)
        self._names = {
            column: _named([getattr(m, column) for m in self.machines])
            for column in ("model", "pool", "zone", "tenant")
        }
        self.closed, self.suspect, self.spare = (np.zeros(size, np.bool_) for _ in range(3))
        self.occupant = np.full(size, NOBODY, np.int64)
        self.sole = np.zeros(size, np.int64)
        self._lodgers: list[dict[int, int]] = [{} for _ in range(size)]
        self._tenants: dict[str, int] = {}
        self._suits: dict[tuple[object, ...], Bools] = {}
        self._soles = 0
        self.kept: tuple[Kept, ...] = ()
        self.given_back = 0
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.names)

    def mark(
        self,
        name: str,
        *,
        closed: bool | None = None,
        suspect: bool | None = None,
        spare: bool | None = None,
    ) -> None:
        """Fence a node, doubt it, or keep it as a spare; None leaves that as it is."""
        row = self.row[name]
        for column, value in ((self.closed, closed), (self.suspect, suspect), (self.spare, spare)):
            if value is not None:
                column[row] = value
        self._suits = {}
        self.epoch += 1
        self.given_back += 1

    def keep(self, held: Sequence[Kept]) -> None:
        """Keep nodes for reservations, in place of those kept before."""
        self.kept = tuple(held)
        self._suits = {}
        self.epoch += 1
        self.given_back += 1

    def may(self, gang: Gang) -> Bools:
        """Nodes that this gang may use as things stand, whatever is free there: bool[N]. Not to be
        written to."""
        allowed = self.suits(gang)
        if not (self._soles or gang.sole):
            return allowed
        own = (self.occupant == NOBODY) | (self.occupant == self.tenant(gang.tenant))
        open_: Bools = own if gang.sole else (self.sole == 0) | own
        return allowed & open_

    def suits(self, gang: Gang) -> Bools:
        """Nodes that this gang could use if nobody else were there: bool[N]. Not to be written
        to."""
        piece = gang.piece
        key = (
            piece.models, gang.pool, gang.zones, gang.tenant, gang.suspects_ok, gang.spares_ok,
            *[kept.lets(gang) for kept in self.kept],
        )  # fmt: skip
        found = self._suits.get(key)
        if found is None:
            found = self._suits[key] = self._allowed(gang)
        return found

    def _allowed(self, gang: Gang) -> Bools:
        """By what each node is and where it stands; then by its health."""
        fits = ~self.closed
        for column, wanted in (
            ("model", gang.piece.models),
            ("pool", {gang.pool} if gang.pool else ()),
            ("zone", gang.zones),
            ("tenant", {"", gang.tenant}),
        ):
            if wanted:
                ids, names = self._names[column]
                told = np.fromiter((name in wanted for name in names), np.bool_, len(names))
                fits &= told[ids]
        for kept in self.kept:
            if not kept.lets(gang):
                fits &= ~kept.rows
        if not gang.suspects_ok:
            fits &= ~self.suspect
        if not gang.spares_ok:
            fits &= ~self.spare
        return fits

    def tenant(self, name: str) -> int:
        """The number of a tenant."""
        return self._tenants.setdefault(name, len(self._tenants))

    @property
    def has_soles(self) -> bool:
        """Somebody wants its nodes to itself."""
        return self._soles > 0

    def lodgers(self, row: int) -> dict[int, int]:
        """Seats on a node by tenant's number: a copy."""
        return dict(self._lodgers[row])

    def room(self, row: int, gpus: int, milli: int) -> tuple[int, ...]:
        """Indexes of the GPUs that the next piece would get on this node: the tightest slice, or
        the first whole ones. Asked only where they exist."""
        free = self.slices[row]
        if gpus == 1 and milli < WHOLE:
            return (int(np.where(free >= milli, free, WHOLE + 1).argmin()),)
        return tuple(np.flatnonzero(free == WHOLE)[:gpus].tolist())

    def take(self, seats: Sequence[Seat], gang: Gang) -> None:
        """Hold these seats. The caller has seen that they are free."""
        self._move(seats, gang, -1)

    def give(self, seats: Sequence[Seat], gang: Gang) -> None:
        """Give these seats back. Exactly undoes `take`."""
        self._move(seats, gang, 1)
        self.given_back += 1

    def copy(self) -> Fleet:
        """The same fleet, to try things on. Machines and domains are shared: they never change."""
        twin = object.__new__(Fleet)
        twin.__dict__.update(self.__dict__)
        for name in _MOVING:
            setattr(twin, name, getattr(self, name).copy())
        twin._lodgers = list(self._lodgers)  # each is replaced as a whole, never written to
        twin._tenants, twin._suits = dict(self._tenants), dict(self._suits)
        return twin

    def _move(self, seats: Sequence[Seat], gang: Gang, sign: int) -> None:
        if len(seats) >= MANY:
            self._move_many(seats, sign)
        else:
            for seat in seats:
                self._move_one(seat, sign)
        tenant, sole = self.tenant(gang.tenant), -sign * gang.sole
        for seat in seats:
            self._lodge(seat.row, tenant, -sign, sole)
        self._soles += sole * len(seats)

    def _move_one(self, seat: Seat, sign: int) -> None:
        row, cpu, memory = seat.row, sign * seat.cpu_milli, sign * seat.memory_mib
        self.cpu[row] += cpu
        self.memory[row] += memory
        self.free_cpu += cpu
        self.free_memory += memory
        if not seat.gpus:
            return
        free = self.slices[row].tolist()
        for gpu in seat.gpus:
            free[gpu] += sign * seat.milli
        milli = sign * seat.milli * len(seat.gpus)
        self.slices[row] = free
        self.milli[row] += milli
        self.free_milli += milli
        self.whole[row] = free.count(WHOLE)
        self.widest[row] = max(free)

    def _move_many(self, seats: Sequence[Seat], sign: int) -> None:
        """The same for a whole gang in one go."""
        rows = np.array([seat.row for seat in seats])
        cpu = np.array([sign * seat.cpu_milli for seat in seats])
        memory = np.array([sign * seat.memory_mib for seat in seats])
        np.add.at(self.cpu, rows, cpu)
        np.add.at(self.memory, rows, memory)
        self.free_cpu += int(cpu.sum())
        self.free_memory += int(memory.sum())
        width = self.slices.shape[1]
        at = [seat.row * width + gpu for seat in seats for gpu in seat.gpus]
        if not at:
            return
        milli = np.array([sign * seat.milli for seat in seats for _ in seat.gpus])
        np.add.at(self.slices.reshape(-1), at, milli)
        self.free_milli += int(milli.sum())
        free = self.slices[rows]
        self.milli[rows] = free.sum(axis=1)
        self.whole[rows] = (free == WHOLE).sum(axis=1)
        self.widest[rows] = free.max(axis=1)

    def _lodge(self, row: int, tenant: int, came: int, sole: int) -> None:
        lodgers = self._lodgers[row] = dict(self._lodgers[row])  # copies of the fleet share it
        held = lodgers.get(tenant, 0) + came
        if held:
            lodgers[tenant] = held
        else:
            del lodgers[tenant]
        if held == 0 or held == came:  # somebody new, or the last of a tenant
            self.occupant[row] = SEVERAL if len(lodgers) > 1 else next(iter(lodgers), NOBODY)
        if sole:
            self.sole[row] += sole


_MOVING = (
    "cpu", "memory", "slices", "milli", "whole", "widest", "occupant", "sole",
    "closed", "suspect", "spare",
)  # fmt: skip


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)


def _numbered(names: list[str]) -> tuple[Ints, tuple[str, ...]]:
    """Domains numbered in the order of their names; -1 for none."""
    known = tuple(sorted({name for name in names if name}))
    number = {name: at for at, name in enumerate(known)}
    return _ints(number.get(name, -1) for name in names), known


def _named(values: list[str]) -> tuple[Ints, tuple[str, ...]]:
    """Each value as a number into the names, the empty one among them."""
    known = tuple(sorted(set(values)))
    number = {name: at for at, name in enumerate(known)}
    return _ints(number[value] for value in values), known
