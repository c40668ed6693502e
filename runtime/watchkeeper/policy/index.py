"""Which of many conditions hold, without asking each. Built at load, asked by each verdict.

Most conditions only compare facts with written values. Each such comparison is one bit; one look
among a fact's thresholds or values tells all its bits at once, however many rules there are, and
a condition holds when its bits do. This is no second CEL: a condition of any other shape is left
to CEL, and so are all of them while a fact is missing or is not quite what its declaration says.
Nothing else here can err, so `&&`, `||` and `!` are plain logic.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from watchkeeper.core.facts import FACTS, NEVER_S, Facts
from watchkeeper.policy.syntax import Call, Const, Group, Name, Tree

MOST_CLAUSES = 16
"""A condition with more, once `||` is written out, is left to CEL."""

MAX_CHARACTERS, MAX_ITEMS = 256, 64
"""A fact with a longer text, or of more items, is left to CEL."""


class Atom(NamedTuple):
    """`fact op value`. op: `<`, `<=`, `>`, `>=`; `in`, where the fact is one of the values; `has`,
    where the value is a key or an item of the fact; `startsWith`, `endsWith`, `contains`."""

    fact: str
    op: str
    value: Any


class Literal(NamedTuple):
    """An atom, or its denial."""

    atom: Atom
    denied: bool


Clauses = list[frozenset[Literal]]
"""A condition: every clause must hold, and of a clause any one literal."""


class Number(NamedTuple):
    """What a fact with an order decides. cuts: every value that it is compared with, in order.
    bits[2 * i] is what is true of a value just below cuts[i], bits[2 * i + 1] of cuts[i] itself,
    and the last of a value above them all."""

    name: str
    fit: Callable[[Any], Any]
    cuts: tuple[Any, ...]
    bits: tuple[int, ...]


class Text(NamedTuple):
    """What any other fact decides. values: what is true of one value. tests: the rest."""

    name: str
    fit: Callable[[Any], Any]
    values: Mapping[Any, int]
    tests: tuple[tuple[Callable[[Any, Any], bool], Any, int], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Index:
    """all_of: (place of a condition, the bits that must all be true). any_of: the same, and masks
    of which each must have a bit that is true as well. width: how many bits there are; their
    denials stand above them."""

    numbers: tuple[Number, ...]
    texts: tuple[Text, ...]
    all_of: tuple[tuple[int, int], ...]
    any_of: tuple[tuple[int, int, tuple[int, ...]], ...]
    width: int

    def holding(self, facts: Facts) -> list[int] | None:
        """The places of the conditions that hold, in no order; None where CEL must be asked of
        each."""
        true = 0
        for name, fit, cuts, bits in self.numbers:
            value = fit(facts.get(name))
            if value is None:
                return None
            at = bisect_left(cuts, value)
            true |= bits[2 * at + (at < len(cuts) and cuts[at] == value)]
        for name, fit, values, tests in self.texts:
            value = fit(facts.get(name))
            if value is None:
                return None
            true |= values.get(value, 0) if values else 0
            for test, wanted, bit in tests:
                if test(value, wanted):
                    true |= bit
        false = true ^ ((1 << self.width) - 1)
        true, false = true | false << self.width, false | true << self.width
        held = [place for place, need in self.all_of if not need & false]
        for place, need, any_of in self.any_of:
            if not need & false and all([true & mask for mask in any_of]):  # noqa: C419  (faster)
                held.append(place)
        return held


def index(conditions: Iterable[Clauses]) -> Index:
    """An index of these conditions."""
    conditions = tuple(conditions)
    atoms = dict.fromkeys(x.atom for clauses in conditions for c in clauses for x in c)
    bits = {atom: 1 << at for at, atom in enumerate(atoms)}
    by_fact: dict[str, list[tuple[Atom, int]]] = {}
    for atom, bit in bits.items():
        by_fact.setdefault(atom.fact, []).append((atom, bit))
    needs = [(at, *_needs(clauses, bits)) for at, clauses in enumerate(conditions)]
    return Index(
        numbers=tuple(_number(name, own) for name, own in by_fact.items() if _ordered(name)),
        texts=tuple(_text(name, own) for name, own in by_fact.items() if not _ordered(name)),
        all_of=tuple((at, need) for at, need, any_of in needs if not any_of),
        any_of=tuple((at, need, any_of) for at, need, any_of in needs if any_of),
        width=len(bits),
    )


def _needs(clauses: Clauses, bits: Mapping[Atom, int]) -> tuple[int, tuple[int, ...]]:
    width = len(bits)
    masks = [(len(c), _union(bits[x.atom] << width * x.denied for x in c)) for c in clauses]
    return _union(m for size, m in masks if size == 1), tuple(m for size, m in masks if size != 1)


def _union(masks: Iterable[int]) -> int:
    return reduce(or_, masks, 0)


def _ordered(name: str) -> bool:
    return _sort(name) in _NUMBERS


def _number(name: str, atoms: list[tuple[Atom, int]]) -> Number:
    compared = [(atom.op, cut, bit) for atom, bit in atoms for cut in _cuts_of(atom)]
    cuts = sorted({cut for _, cut, _ in compared})
    place = {cut: 2 * at + 1 for at, cut in enumerate(cuts)}
    most = 2 * len(cuts) + 1
    bits = [0] * most
    for op, cut, bit in compared:
        for at in _stretch(op, place[cut], most):
            bits[at] |= bit
    return Number(name, _FIT[_sort(name)], tuple(cuts), tuple(bits))


def _cuts_of(atom: Atom) -> tuple[Any, ...]:
    return atom.value if atom.op == "in" else (atom.value,)


def _text(name: str, atoms: list[tuple[Atom, int]]) -> Text:
    values: dict[Any, int] = {}
    for atom, bit in atoms:
        for value in atom.value if atom.op == "in" else ():
            values[value] = values.get(value, 0) | bit
    tests = [(_TESTS[atom.op], atom.value, bit) for atom, bit in atoms if atom.op in _TESTS]
    return Text(name, _FIT[_sort(name)], values, tuple(tests))


_NUMBERS = ("int", "double", "duration")


def _stretch(op: str, at: int, most: int) -> range:
    """The places of `Number.bits`, of `most`, in which it is true of the cut that has this one."""
    begins = {">": at + 1, ">=": at, "in": at}.get(op, 0)
    ends = {"<": at, "<=": at + 1, "in": at + 1}.get(op, most)
    return range(begins, ends)


_TURNED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "has": lambda value, wanted: wanted in value,
    "contains": lambda value, wanted: wanted in value,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
}


def clauses_of(tree: Tree, *, denied: bool = False) -> Clauses | None:
    """A condition, or its denial, as clauses; None where only CEL can tell it."""
    match tree:
        case Call(function="!_", args=(inner,)):
            return clauses_of(inner, denied=not denied)
        case Call(function="_&&_" | "_||_" as joint, args=(left, right)):
            one, other = clauses_of(left, denied=denied), clauses_of(right, denied=denied)
            if one is None or other is None:
                return None
            both = one + other
            if (joint == "_||_") is not denied:
                both = [a | b for a in one for b in other]
            return both if len(both) <= MOST_CLAUSES else None
        case Const(value=bool(value)):
            return [] if value is not denied else [frozenset()]
        case Call(function="_!=_", args=args):
            tree, denied = Call(tree.at, "_==_", args), not denied
    atom = _atom(tree)
    return None if atom is None else [frozenset((Literal(atom, denied),))]


def _atom(tree: Tree) -> Atom | None:
    """The comparison that a tree is, or None."""
    match tree:
        case Name(name=name) if _sort(name) == "bool":
            return Atom(name, "in", (True,))
        case Call(function="@in", args=(Name(name=name), Group(parts=parts))):
            values = tuple(_value(part, _sort(name)) for part in parts)
            return None if None in values else Atom(name, "in", values)
        case Call(function="@in", args=(Const(value=str(key)), Name(name=name))):
            return Atom(name, "has", key) if _sort(name) in ("map", "list") else None
        case Call(function=function, args=(Name(name=name), Const(value=str(text)))) if (
            function in _OF_TEXTS and _sort(name) == "string"
        ):
            return Atom(name, function, text)
        case Call(function=sign, args=(left, right)) if sign in _COMPARISONS:
            op = _COMPARISONS[sign]
            if isinstance(right, Name):
                left, right, op = right, left, _TURNED.get(op, op)
            if isinstance(left, Name):
                return _comparison(left.name, op, right)
    return None


_OF_TEXTS = ("startsWith", "endsWith", "contains")
_COMPARISONS = {"_==_": "in", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}


def _comparison(name: str, op: str, with_: Tree) -> Atom | None:
    sort = _sort(name)
    value = _value(with_, sort)
    if value is None:
        return None
    if op == "in":
        return None if sort == "duration" else Atom(name, op, (value,))
    return Atom(name, op, value) if sort in ("int", "double", "duration") else None


def _sort(name: str) -> str:
    return FACTS[name].type if name in FACTS else ""


def _value(tree: Tree, sort: str) -> Any:
    """A written value of just this type, or None."""
    match tree:
        case Const(value=str(text)) if sort == "string":
            return text
        case Const(value=bool(value)) if sort == "bool":
            return value
        case Const(number=int(number)) if sort == "int":
            return number
        case Const(number=float(number)) if sort == "double":
            return number
        case Call(function="duration", args=(Const(value=str(text)),)) if sort == "duration":
            return _duration(text)
    return None


def _duration(text: str) -> int | None:
    """A written duration in one unit, in microseconds, where it is exact in those."""
    match = re.fullmatch(r"(\d{1,9})(?:\.(\d{1,6}))?s|(\d{1,6})([mh])", text, re.ASCII)
    if match is None:
        return None
    if match[4]:
        return int(match[3]) * {"m": 60_000_000, "h": 3_600_000_000}[match[4]]
    return int(match[1]) * 1_000_000 + int((match[2] or "").ljust(6, "0"))


def _fit_bool(value: Any) -> bool | None:
    return value if type(value) is bool else None


def _fit_int(value: Any) -> int | None:
    return value if type(value) is int and abs(value) < 2**53 else None


def _fit_double(value: Any) -> float | None:
    if type(value) is float:
        return value if value == value else None  # no number compares as none does
    return None if _fit_int(value) is None else float(value)


def _fit_duration(value: Any) -> int | None:
    # What CEL would be given, in whole microseconds: rounded as `timedelta` does, at half its cost.
    if type(value) is not float or not 0.0 <= value <= NEVER_S:
        return None
    return int(value) * 1_000_000 + round(value % 1.0 * 1e6)


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
    "int": _fit_int,
    "double": _fit_double,
    "duration": _fit_duration,
    "string": _fit_string,
    "map": _fit_map,
    "list": _fit_list,
}
"""By a fact's declared type: the value, to be compared in Python just as CEL would; None where
that is not sure."""
