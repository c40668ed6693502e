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
        case Name(name=name) if sort_of(name) == "bool":
            return Atom(name, "in", (True,))
        case Call(function="@in", args=(Name(name=name), Group(parts=parts))):
            values = tuple(_value(part, sort_of(name)) for part in parts)
            return None if None in values else Atom(name, "in", values)
        case Call(function="@in", args=(Const(value=str(key)), Name(name=name))):
            return Atom(name, "has", key) if sort_of(name) in ("map", "list") else None
        case Call(function=function, args=(Name(name=name), Const(value=str(text)))) if (
            function in _OF_TEXTS and sort_of(name) == "string"
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
_TURNED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
_COMPARISONS = {"_==_": "in", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}


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
