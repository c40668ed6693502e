"""Conditions as plain logic over comparisons, for those that are no more than that.

Read at load by the compiler of conditions; what these clauses say is told by the index. A
condition of any other shape has none, and CEL is asked.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from watchkeeper.core.facts import FACTS
from watchkeeper.policy.syntax import Call, Const, Group, Name, Tree

MOST_CLAUSES = 16
"""A condition with more, once `||` is written out, is left to CEL."""


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


def clauses_of(tree: Tree, *, denied: bool = False) -> Clauses | None:
    """A condition, or its denial, as clauses; None where only CEL can tell it."""
    if isinstance(tree, Call):
        joint = tree.function
        if joint == "!_":
            return clauses_of(tree.args[0], denied=not denied)
        if joint in ("_&&_", "_||_"):
            one, other = [clauses_of(side, denied=denied) for side in tree.args]
            if one is None or other is None:
                return None
            both = one + other
            if (joint == "_||_") is not denied:
                both = [a | b for a in one for b in other]
            return both if len(both) <= MOST_CLAUSES else None
    elif isinstance(tree, Const) and isinstance(tree.value, bool):
        return [] if tree.value is not denied else [frozenset()]
    literal = _literal(tree, denied=denied)
    return None if literal is None else [frozenset((literal,))]


def _literal(tree: Tree, *, denied: bool) -> Literal | None:
    """The comparison that a tree is, or None."""
    if isinstance(tree, Name):
        atom = Atom(tree.name, "in", (True,)) if sort_of(tree.name) == "bool" else None
    elif isinstance(tree, Call) and len(tree.args) == _SIDES:
        denied ^= tree.function == "_!=_"
        atom = _atom(tree.function, *tree.args)
    else:
        return None
    return None if atom is None else Literal(atom, denied)


_SIDES = 2


def _atom(function: str, left: Tree, right: Tree) -> Atom | None:
    """What a function says of its receiver, or an operator of its sides."""
    if op := _COMPARISONS.get(function):
        if isinstance(right, Name):
            left, right, op = right, left, _TURNED.get(op, op)
        return _comparison(left.name, op, right) if isinstance(left, Name) else None
    if function == "@in":
        return _membership(left, right)
    if function in _OF_TEXTS and isinstance(left, Name) and isinstance(right, Const):
        fits = sort_of(left.name) == "string" and isinstance(right.value, str)
        return Atom(left.name, function, right.value) if fits else None
    return None


def _membership(left: Tree, right: Tree) -> Atom | None:
    """A fact among written values, or a written key in a fact."""
    if isinstance(left, Name) and isinstance(right, Group):
        values = tuple([_value(part, sort_of(left.name)) for part in right.parts])
        return None if None in values else Atom(left.name, "in", values)
    if isinstance(left, Const) and isinstance(left.value, str) and isinstance(right, Name):
        holds = sort_of(right.name) in ("map", "list")
        return Atom(right.name, "has", left.value) if holds else None
    return None


_OF_TEXTS = ("startsWith", "endsWith", "contains")
_TURNED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
_COMPARISONS = {"_==_": "in", "_!=_": "in", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}


def _comparison(name: str, op: str, with_: Tree) -> Atom | None:
    sort = sort_of(name)
    value = _value(with_, sort)
    if value is None:
        return None
    if op == "in":
        return None if sort == "duration" else Atom(name, op, (value,))
    return Atom(name, op, value) if sort in ("int", "double", "duration") else None


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


def sort_of(name: str) -> str:
    """A fact's declared type; "" of a name that is none."""
    return FACTS[name].type if name in FACTS else ""
