"""Which of many conditions hold, without asking each. Built at load, asked by each verdict.

Most conditions only compare facts with written values. One look among a fact's values tells, for
all of them at once, which cannot hold any more and which of their alternatives do; the fewer that
are left are looked at one by one. This is no second CEL: a condition of any other shape is left
to CEL, and so are all of them while a fact is missing or is not quite what its declaration says.
Nothing else here can err, so `&&`, `||` and `!` are plain logic.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import contains, or_
from typing import Any, NamedTuple

from watchkeeper.core.facts import NEVER_S, Facts
from watchkeeper.policy.clauses import Atom, Clauses, sort_of

MAX_CHARACTERS, MAX_ITEMS = 256, 64
"""A fact with a longer text, or of more items, is left to CEL."""


class Number(NamedTuple):
    """What a fact with an order decides. edges: the values, in order, from which on something else
    is true. marks: what is told of a value that so many edges are at or below; None where Python
    does not compare it as CEL does."""

    name: str
    type: type
    edges: tuple[float, ...]
    marks: tuple[int | None, ...]


class Text(NamedTuple):
    """What any other fact decides. values: what is told of one value, and `otherwise` of every
    other. tests: (test, with what, what is told where it holds, and where it does not)."""

    name: str
    fit: Callable[[Any], Any]
    values: Mapping[Any, int]
    otherwise: int
    tests: tuple[tuple[Callable[[Any, Any], bool], Any, int, int], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Index:
    """What a value tells is a row of marks. The lowest has one for each condition: it cannot hold.
    Above them stands one for each choice between literals: one of them holds.

    never: the conditions that cannot hold at all. plain: those without a choice. choosing: of each
    other its place, the marks that matter to it, and those of them that it needs.
    """

    numbers: tuple[Number, ...]
    texts: tuple[Text, ...]
    never: int
    plain: int
    choosing: tuple[tuple[int, int, int], ...]

    def holding(self, facts: Facts) -> list[int] | None:
        """The places of the conditions that hold, in no order; None where CEL must be asked of
        each."""
        told, get = self.never, facts.get
        for name, declared, edges, marks in self.numbers:
            value: Any = get(name)
            if type(value) is not declared:
                value = _as_double(value) if declared is float else math.nan
            mark = marks[bisect_right(edges, value)]
            if mark is None:
                return None
            told |= mark
        for name, fit, values, otherwise, tests in self.texts:
            value = fit(get(name))
            if value is None:
                return None
            told |= values.get(value, otherwise) if values else otherwise
            for test, wanted, true, false in tests:
                told |= true if test(value, wanted) else false
        held = [place for place, matter, need in self.choosing if told & matter == need]
        left = self.plain & ~told
        while left:
            place = left.bit_length() - 1
            held.append(place)
            left ^= 1 << place
        return held


def index(conditions: Iterable[Clauses]) -> Index:
    """An index of these conditions."""
    conditions = tuple(conditions)
    marks: dict[Atom, _Marks] = {}
    never, choices = 0, [0] * len(conditions)
    above = len(conditions)
    for at, clauses in enumerate(conditions):
        for clause in clauses:
            if len(clause) > 1:
                choices[at] |= 1 << above
            for literal in clause:
                of = marks.setdefault(literal.atom, _Marks())
                if len(clause) == 1:
                    of.mark(1 << at, where=literal.denied)
                else:
                    of.mark(1 << above, where=not literal.denied)
            if not clause:
                never |= 1 << at
            above += len(clause) > 1
    by_fact: dict[str, list[tuple[Atom, _Marks]]] = {}
    for atom, of in marks.items():
        by_fact.setdefault(atom.fact, []).append((atom, of))
    ordered = {name for name in by_fact if sort_of(name) in _RANGES}
    return Index(
        numbers=tuple(_number(name, own) for name, own in by_fact.items() if name in ordered),
        texts=tuple(_text(name, own) for name, own in by_fact.items() if name not in ordered),
        never=never,
        plain=_union(1 << at for at, need in enumerate(choices) if not need),
        choosing=tuple((at, 1 << at | need, need) for at, need in enumerate(choices) if need),
    )


class _Marks:
    """What an atom tells, by whether it is true."""

    __slots__ = ("false", "true")

    def __init__(self) -> None:
        self.true = self.false = 0

    def mark(self, bit: int, *, where: bool) -> None:
        if where:
            self.true |= bit
        else:
            self.false |= bit


def _union(marks: Iterable[int]) -> int:
    return reduce(or_, marks, 0)


# Numbers.


_RANGES: dict[str, tuple[type, float, float]] = {
    "int": (int, 1 - 2**53, 2**53),
    "double": (float, -math.inf, math.inf),
    "duration": (float, 0.0, math.nextafter(NEVER_S, math.inf)),
}
"""By a fact's declared type: the Python type, and from what to before what its values compare as
in CEL. What is no number sorts behind all."""


def _number(name: str, atoms: list[tuple[Atom, _Marks]]) -> Number:
    sort = sort_of(name)
    declared, least, end = _RANGES[sort]
    around = {cut: _AROUND[sort](cut) for atom, _ in atoms for cut in _cuts_of(atom)}
    starts = [least, *sorted({e for pair in around.values() for e in pair if least < e < end})]
    marks = [0] * len(starts)
    for atom, of in atoms:
        true: set[int] = set()
        for first, above in [around[cut] for cut in _cuts_of(atom)]:
            reached, passed = bisect_left(starts, first), bisect_left(starts, above)
            true.update(_stretch(atom.op, reached, passed, len(starts)))
        for at in range(len(starts)):
            marks[at] |= of.true if at in true else of.false
    return Number(name, declared, (*starts, end), (None, *marks, None))


def _cuts_of(atom: Atom) -> tuple[Any, ...]:
    return atom.value if atom.op == "in" else (atom.value,)


def _stretch(op: str, reached: int, passed: int, end: int) -> range:
    """The places of `starts` at which it is true of a cut that is reached and passed there."""
    begins = {">": passed, ">=": reached, "in": reached}.get(op, 0)
    ends = {"<": reached, "<=": passed, "in": passed}.get(op, end)
    return range(begins, ends)


def _around_whole(cut: int) -> tuple[int, int]:
    return cut, cut + 1


def _around_double(cut: float) -> tuple[float, float]:
    return cut, math.nextafter(cut, math.inf)


def _around_duration(cut: int) -> tuple[float, float]:
    """The first seconds that CEL is given as this many microseconds, and as more."""
    return _first_second(cut), _first_second(cut + 1)


def _first_second(micros: int) -> float:
    seconds = max(0.0, (micros - 0.5) / 1e6)
    while seconds > 0.0 and _micros(seconds) >= micros:
        seconds = math.nextafter(seconds, 0.0)
    while _micros(seconds) < micros:
        seconds = math.nextafter(seconds, math.inf)
    return seconds


def _micros(seconds: float) -> int:
    """As `timedelta` rounds."""
    return int(seconds) * 1_000_000 + round(seconds % 1.0 * 1e6)


_AROUND: dict[str, Callable[[Any], tuple[float, float]]] = {
    "int": _around_whole,
    "double": _around_double,
    "duration": _around_duration,
}
"""By a fact's declared type: the first value that is the written one, or more, and the first that
is more."""


def _as_double(value: Any) -> float:
    """A whole number where a double is declared, if it is exact; else no number."""
    return float(value) if type(value) is int and abs(value) < 2**53 else math.nan


# Everything else. The value, to be compared in Python just as CEL would; None where that is not
# sure.


def _text(name: str, atoms: list[tuple[Atom, _Marks]]) -> Text:
    told = [(atom.value, of) for atom, of in atoms if atom.op == "in"]
    values = {value for among, _ in told for value in among}
    return Text(
        name,
        _FIT[sort_of(name)],
        {
            value: _union((of.true if value in among else of.false) for among, of in told)
            for value in values
        },
        _union(of.false for _, of in told),
        tuple(
            (_TESTS[atom.op], atom.value, of.true, of.false)
            for atom, of in atoms
            if atom.op in _TESTS
        ),
    )


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "has": contains,
    "contains": contains,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
}


def _fit_bool(value: Any) -> bool | None:
    return value if type(value) is bool else None


def _fit_string(value: Any) -> str | None:
    if type(value) is not str or len(value) > MAX_CHARACTERS:
        return None
    if value.isascii() and value.isprintable():
        return value  # nearly all of them
    return value if "\0" not in value and _encodes(value) else None


def _fit_map(value: Any) -> Mapping[str, str] | None:
    if type(value) is not dict or len(value) > MAX_ITEMS:
        return None
    return value if _fit_all((*value, *value.values())) else None


def _fit_list(value: Any) -> Sequence[str] | None:
    return value if type(value) is list and len(value) <= MAX_ITEMS and _fit_all(value) else None


def _fit_all(texts: Sequence[Any]) -> bool:
    return None not in map(_fit_string, texts)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_FIT: dict[str, Callable[[Any], Any]] = {
    "bool": _fit_bool,
    "string": _fit_string,
    "map": _fit_map,
    "list": _fit_list,
}
