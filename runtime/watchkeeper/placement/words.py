"""What is placed, and where it went: pieces, gangs, seats. Every module of this room speaks these.

A gang runs whole or waits: a `Placement` holds at least `Gang.least` seats, or does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WHOLE = 1000
"""Thousandths of one GPU."""

LEVELS = ("nvlink_domain", "rack", "leaf", "zone")
"""Domains in which a gang can be kept together, narrowest first: fields of `core.cluster.Node`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one worker needs, all of it on one node.

    gpus: how many GPUs. milli: thousandths of each; below 1000 it is a slice of exactly one.
    models: GPU models it accepts; empty accepts every one.
    Raises ValueError for a negative amount, and for slices of several GPUs.
    """

    gpus: int = 0
    milli: int = WHOLE
    cpu_milli: int = 0
    memory_mib: int = 0
    models: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if min(self.gpus, self.cpu_milli, self.memory_mib) < 0:
            raise ValueError(f"a piece cannot need less than nothing: {self}")
        if self.gpus and not 0 < self.milli <= WHOLE:
            raise ValueError(f"milli must be within 1..{WHOLE}, not {self.milli}")
        if self.gpus > 1 and self.milli != WHOLE:
            raise ValueError(f"a slice is of one GPU, not of {self.gpus}")

    @property
    def is_slice(self) -> bool:
        """It shares its GPU."""
        return self.gpus == 1 and self.milli < WHOLE

    @property
    def gpu_milli(self) -> int:
        """Thousandths of GPUs in all."""
        return self.gpus * self.milli


@dataclass(frozen=True, slots=True)
class Gang:
    """Workers that run, wait or stop together.

    count: workers wanted. least: with how many it can run (0: all of them; fewer make it elastic).
    within: a level of LEVELS that must hold all of it. near: a level that should; wider where
    none does. tenant owns it. sole: no other tenant's work on its nodes. zones: where its data
    may be (residency); empty is anywhere. suspects_ok, spares_ok: may use nodes under suspicion,
    and those kept for repairs. runtime_s: expected, None where nobody says.
    """

    name: str
    piece: Piece
    count: int = 1
    least: int = 0
    within: str = ""
    near: str = ""
    tenant: str = ""
    sole: bool = False
    pool: str = ""
    zones: frozenset[str] = frozenset()
    priority: int = 0
    preemptible: bool = True
    suspects_ok: bool = False
    spares_ok: bool = False
    runtime_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.count or self.count < 1:
            raise ValueError(f"{self.name}: 0 <= least <= count and count >= 1 must hold")
        for level in (self.within, self.near):
            if level and level not in LEVELS:
                raise ValueError(f"{self.name}: {level!r} is none of {', '.join(LEVELS)}")

    @property
    def floor(self) -> int:
        """The fewest workers it runs with."""
        return self.least or self.count

    @property
    def elastic(self) -> bool:
        return self.floor < self.count

    @property
    def gpus(self) -> float:
        """GPUs it wants in all."""
        return self.count * self.piece.gpu_milli / WHOLE


@dataclass(frozen=True, slots=True)
class Seat:
    """One worker's place: the node's row, the indexes of its GPUs, and thousandths of each."""

    row: int
    gpus: tuple[int, ...]
    milli: int
    cpu_milli: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Placement:
    """A gang and its seats, one a worker: between `gang.floor` and `gang.count` of them. Given in
    this order, worker ranks that follow one another lie close together.

    seat_rows, seat_milli: of each seat its row, and thousandths of GPUs; gpus: held in all. Worked
    out once, since every question of who might make room asks all that runs for them.
    """

    gang: Gang
    seats: tuple[Seat, ...]
    seat_rows: tuple[int, ...] = field(init=False, repr=False, compare=False)
    seat_milli: tuple[int, ...] = field(init=False, repr=False, compare=False)
    gpus: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        milli = tuple([len(seat.gpus) * seat.milli for seat in self.seats])
        object.__setattr__(self, "seat_rows", tuple([seat.row for seat in self.seats]))
        object.__setattr__(self, "seat_milli", milli)
        object.__setattr__(self, "gpus", sum(milli) / WHOLE)

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of its nodes, each once, ascending."""
        return tuple(sorted(set(self.seat_rows)))
