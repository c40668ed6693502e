"""Atoms, and formulas over them, with errors as CEL has them: what `policy check --prove` reads
conditions as, and what it holds against every case.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, TypeAlias


class Order(NamedTuple):
    """A test of something that is ordered: `op` is <, <=, ==, >= or >."""

    op: str
    bound: float | int | Fraction


@dataclass(frozen=True, slots=True)
class Atom:
    """Something that is so or not so. yes, no: the words for it.

    sort: `int`, `double`, `ordered` (durations and dates), `text`, `window`, `free`, or `fragile`
    (free, and it may also be an error). test: an Order, the texts that are meant, a Window's
    hours, or None.
    """

    sort: str
    subject: Hashable
    test: Hashable = None
    yes: str = field(default="", compare=False)
    no: str = field(default="", compare=False)

    def said(self, value: int) -> str:
        """1, 0 or 2 (an error) in words."""
        return (self.no, self.yes, f"{self.subject} cannot be decided")[value]


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always so, or never."""

    value: bool


@dataclass(frozen=True, slots=True)
class Is:
    """An atom holds. It is an error exactly where one of `needs` does not hold."""

    atom: Atom
    needs: tuple[Atom, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; an error stays one."""

    of: Formula


@dataclass(frozen=True, slots=True)
class Both:
    """CEL's `&&`: false where any part is, else an error where any part is."""

    of: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """CEL's `||`: true where any part is, else an error where any part is."""

    of: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """CEL's `a ? b : c`: an error where `a` is."""

    test: Formula
    yes: Formula
    no: Formula


Formula: TypeAlias = Fixed | Is | Not | Both | Either | Choice


def plain(subject: Hashable, yes: str, no: str) -> Atom:
    """An atom with a subject of its own."""
    return Atom("free", subject, None, yes, no)


def ordered(sort: str, name: str, op: str, bound: float | int | Fraction, shown: str) -> Atom:
    """`name op bound`, as an atom."""
    text, opposite = f"{name} {op} {shown}", {"<": ">=", "<=": ">"}.get(op)
    no = f"{text} is false"
    if opposite and sort != "double":
        no = f"{name} {opposite} {shown} is true"
    return Atom(sort, name, Order(op, bound), f"{text} is true", no)


def atoms_in(formula: Formula) -> Iterator[Atom]:
    """Every atom of a formula, in the order of its text."""
    match formula:
        case Is():
            yield from formula.needs
            yield formula.atom
        case Not():
            yield from atoms_in(formula.of)
        case Both() | Either():
            for part in formula.of:
                yield from atoms_in(part)
        case Choice():
            for part in (formula.test, formula.yes, formula.no):
                yield from atoms_in(part)
