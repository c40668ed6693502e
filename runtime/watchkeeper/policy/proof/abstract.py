"""Every case that a few atoms can make together, as columns: the ground of `policy check --prove`.

What varies together has only the states that it can really be in: a fact against its literals,
the windows of one zone over the week. Different subjects vary freely, so there may be cases that
never occur, and none that occurs is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable
from fractions import Fraction
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchkeeper.policy.model import Window
from watchkeeper.policy.proof.formula import (
    Atom,
    Both,
    Choice,
    Either,
    Fixed,
    Formula,
    Is,
    Not,
    Order,
)

MOST_ATOMS = 20
"""Most atoms for one kind of action: 2^20 cases are decided in a few seconds."""

_WEEK = 7 * 1440
_MOST_JOINT = 10
"""Most windows of one zone whose holidays or dates are followed together."""

Flags = npt.NDArray[np.bool_]


class Truth(NamedTuple):
    """Case by case: surely true, surely false; neither is an error."""

    yes: Flags
    no: Flags


def weight(atoms: Iterable[Atom]) -> int:
    """How many atoms count against MOST_ATOMS; one that may be an error counts as two."""
    return sum(2 if atom.sort == "fragile" else 1 for atom in set(atoms))


class Space:
    """All cases of some atoms, at most 2^weight. The first case of each subject is plain."""

    def __init__(self, atoms: Iterable[Atom]) -> None:
        self.atoms = tuple(dict.fromkeys(atoms))
        subjects: dict[Hashable, list[Atom]] = {}
        for atom in self.atoms:
            subjects.setdefault((atom.sort, atom.subject), []).append(atom)
        tables = [(group, _states(group)) for group in subjects.values()]
        self.size = prod(len(states) for _, states in tables)
        self._columns: dict[Atom, npt.NDArray[np.uint8]] = {}
        self.odd: Flags = np.zeros(self.size, np.bool_)
        stride = 1
        for group, states in tables:
            for i, atom in enumerate(group):
                self._columns[atom] = self._spread([state.values[i] for state in states], stride)
            if any(state.odd for state in states):
                self.odd |= self._spread([state.odd for state in states], stride).astype(np.bool_)
            stride *= len(states)

    def _spread(self, values: list[int] | list[bool], stride: int) -> npt.NDArray[np.uint8]:
        once = np.repeat(np.array(values, np.uint8), stride)
        return np.tile(once, self.size // len(once))

    def column(self, atom: Atom) -> npt.NDArray[np.uint8]:
        """1 where it holds, 0 where not, 2 where it is an error."""
        return self._columns[atom]

    def only(self, cases: npt.NDArray[np.intp]) -> Space:
        """These cases and no others."""
        space = Space(())
        space.atoms, space.size, space.odd = self.atoms, len(cases), self.odd[cases]
        space._columns = {atom: column[cases] for atom, column in self._columns.items()}
        return space

    def all(self, value: bool) -> Flags:
        """So, or not so, in every case."""
        return np.full(self.size, value, np.bool_)

    def holds(self, atom: Atom) -> Flags:
        """Where an atom holds."""
        return np.equal(self.column(atom), 1)

    def truth(self, formula: Formula) -> Truth:
        """A formula in every case."""
        match formula:
            case Fixed(value=value):
                return Truth(self.all(value), self.all(not value))
            case Is(atom=atom, needs=needs):
                column = self.column(atom)
                yes, no = column == 1, column == 0
                for need in needs:
                    yes, no = yes & self.holds(need), no & self.holds(need)
                return Truth(yes, no)
            case Not(of=of):
                inner = self.truth(of)
                return Truth(inner.no, inner.yes)
            case Both(of=parts):
                yes, no = self.all(True), self.all(False)
                for part in map(self.truth, parts):
                    yes, no = yes & part.yes, no | part.no
                return Truth(yes, no)
            case Either(of=parts):
                yes, no = self.all(False), self.all(True)
                for part in map(self.truth, parts):
                    yes, no = yes | part.yes, no & part.no
                return Truth(yes, no)
            case Choice(test=test, yes=then, no=other):
                asked, one, two = self.truth(test), self.truth(then), self.truth(other)
                return Truth(
                    (asked.yes & one.yes) | (asked.no & two.yes),
                    (asked.yes & one.no) | (asked.no & two.no),
                )


class _State(NamedTuple):
    """What every atom of one subject is, together. odd: it takes a value that is no number."""

    values: tuple[int, ...]
    odd: bool = False


def _states(group: list[Atom]) -> list[_State]:
    """The states that the atoms of one subject can be in together."""
    match group[0].sort:
        case "int" | "double" | "ordered":
            found = list(_regions(group))
        case "text":
            tests = [a.test for a in group if isinstance(a.test, frozenset)]
            texts = sorted(frozenset[str]().union(*tests))
            found = [_State(tuple(int(t in test) for test in tests)) for t in (None, *texts)]
        case "window":
            hours = [a.test for a in group if isinstance(a.test, Hours)]
            found = [_State(values) for values in _joint(hours)]
        case "fragile":
            found = [_State((0,)), _State((1,)), _State((2,))]
        case _:
            found = [_State((0,)), _State((1,))]
    seen: dict[tuple[int, ...], _State] = {}
    for state in found:
        seen.setdefault(state.values, state)
    return list(seen.values())


def _regions(group: list[Atom]) -> Iterable[_State]:
    """One state for each place that a value can have between, or at, the bounds."""
    tests: list[Order] = [a.test for a in group if isinstance(a.test, Order)]
    bounds = sorted({test.bound for test in tests})
    for place in range(2 * len(bounds) + 1):  # odd: at a bound; even: between two
        if group[0].sort == "int" and place % 2 == 0 and 0 < place < 2 * len(bounds):
            below, above = bounds[place // 2 - 1], bounds[place // 2]
            if above - below <= 1:
                continue
        yield _State(tuple(int(_at(place, test, bounds)) for test in tests))
    if group[0].sort == "double":
        yield _State(tuple(0 for _ in tests), odd=True)


def _at(place: int, test: Order, bounds: list[float | int | Fraction]) -> bool:
    bound = 2 * bounds.index(test.bound) + 1
    match test.op:
        case "<":
            return place < bound
        case "<=":
            return place <= bound
        case "==":
            return place == bound
        case ">=":
            return place >= bound
        case _:
            return place > bound


class Hours(NamedTuple):
    """When a window may be open, whatever it is called. sometimes: holidays or dates keep it
    shut at times."""

    days: frozenset[int]
    from_min: int
    to_min: int
    sometimes: tuple[object, ...] = ()

    def covers(self, minute: int) -> bool:
        """May it be open at this minute of the week?"""
        length = (self.to_min - self.from_min) % 1440 or 1440
        return any((minute - day * 1440 - self.from_min) % _WEEK < length for day in self.days)

    def turns(self) -> set[int]:
        """The minutes of the week at which it opens or closes."""
        starts = {day * 1440 + self.from_min for day in self.days}
        length = (self.to_min - self.from_min) % 1440 or 1440
        return {m % _WEEK for start in starts for m in (start, start + length)}


def window_atom(window: Window, *, placed: bool) -> Atom:
    """`night is open`. placed: say where it is written, since another may have its name."""
    restricted = (window.holidays, window.first, window.last)
    free = restricted == ("", type(window.first).min, type(window.last).max)
    hours = Hours(window.days, window.from_min, window.to_min, () if free else restricted)
    name = f"{window.name} ({window.where})" if placed else window.name
    return Atom("window", window.tz, hours, f"{name} is open", f"{name} is shut")


def _joint(windows: list[Hours]) -> Iterable[tuple[int, ...]]:
    """What windows of one zone can be together, over the minutes of a week on the wall.

    Exact also where clocks change: an opening runs between two moments that stand for minutes on
    the wall, later ones for later minutes, so at each moment the windows are as at some minute.
    """
    if sum(bool(window.sometimes) for window in windows) > _MOST_JOINT:
        yield from itertools.product((0, 1), repeat=len(windows))
        return
    turns = sorted({0}.union(*(window.turns() for window in windows)))
    known: set[tuple[tuple[int, ...], ...]] = set()
    for minute in turns:
        may = tuple(
            (0,) if not w.covers(minute) else (0, 1) if w.sometimes else (1,) for w in windows
        )
        if may not in known:
            known.add(may)
            yield from itertools.product(*may)
