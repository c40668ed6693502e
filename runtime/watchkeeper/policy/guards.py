"""What a well-typed condition can still get wrong: an index that may miss its key, a literal that
can never work, a condition that is always the same.

A missing key is an error in CEL, and an error denies; so an unguarded index would turn a label
that somebody forgot into a page at night. Guards are found on the syntax tree.
"""

from __future__ import annotations

from typing import NamedTuple

from watchkeeper.core.facts import FACTS
from watchkeeper.policy.expr import Condition, literal_fault
from watchkeeper.policy.syntax import Call, Const, Field, Group, Loop, Name, Tree, parts_of, walk

_ZONED = frozenset(
    {
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    }
)
"""Functions of a timestamp that take a time zone."""


class Flaw(NamedTuple):
    """One flaw: its offset in the condition, and what is wrong."""

    at: int
    message: str
    offending: str = ""
    among: tuple[str, ...] = ()
    """The words that would have been right here."""


_Known = frozenset[tuple[str, str]]


def flaws_of(condition: Condition) -> tuple[Flaw, ...]:
    """Every flaw of a condition, in the order of its text."""
    found = literal_flaws(condition.tree)
    if any(map(_is_map, condition.names)):
        found += _unguarded(condition.tree, frozenset())
    if isinstance(condition.tree, Const):
        always = "true; leave `when` out" if condition.tree.value else "false, so it never matches"
        found.append(Flaw(0, f"the condition is always {always}", condition.text.strip()))
    return tuple(sorted(found))


def literal_flaws(tree: Tree) -> list[Flaw]:
    """Literals that can never work, wherever the part of the condition stands that holds them."""
    found: list[Flaw | None] = []
    for part in walk(tree):
        if type(part) is not Call:
            continue
        match part:
            case Call(function="_==_" | "_!=_", args=(Name(name=name), Const() as text)):
                found.append(_no_such_value(name, text))
            case Call(function="_==_" | "_!=_", args=(Const() as text, Name(name=name))):
                found.append(_no_such_value(name, text))
            case Call(function="@in", args=(Name(name=name), Group(parts=parts))):
                found += [_no_such_value(name, text) for text in parts if isinstance(text, Const)]
            case Call(function=function, args=(*_, Const(value=str(text), at=at))):
                found.append(_bad_literal(function, text, at))
    return [flaw for flaw in found if flaw is not None]


def _no_such_value(name: str, text: Const) -> Flaw | None:
    fact = FACTS.get(name)
    if fact is None or not fact.values or not isinstance(text.value, str):
        return None
    if text.value in fact.values or text.value == fact.unknown:
        return None
    said = f"{name} is never {text.value!r}"
    if len(fact.values) <= _FEW:
        said += f": it is one of {', '.join(fact.values)}"
    return Flaw(text.at, said, text.value, fact.values)


_FEW = 8
"""So many words are all told."""


def _bad_literal(function: str, text: str, at: int) -> Flaw | None:
    """The last argument of a function that reads it, such as `duration("5 minutes")`."""
    if function not in _READERS:
        return None
    why = literal_fault(function, text)
    if not why:
        return None
    how = _HOW.get(function) if "conversion failed" in why else None
    why = how or why.removeprefix("INVALID_ARGUMENT: ")
    return Flaw(at, f"{function}({text!r}): {why}", repr(text))


_READERS = _ZONED | {"duration", "timestamp", "matches"}
_HOW = {
    "duration": 'write it in h, m or s, such as duration("20m") or duration("24h")',
    "timestamp": 'write it as timestamp("2026-12-24T12:00:00Z")',
}
"""How a literal is written that the library only says it cannot read."""


def _unguarded(tree: Tree, known: _Known) -> list[Flaw]:
    """Indexes of maps whose key is not among the `known` (map, key) pairs.

    `a && b` is tried with what the other side tests for, on either side: CEL's `&&` is false
    whenever one side is, whatever became of the other.
    """
    match tree:
        case Call(function="_&&_", args=(left, right)):
            return [
                *_unguarded(left, known | _present(right, when=True)),
                *_unguarded(right, known | _present(left, when=True)),
            ]
        case Call(function="_||_", args=(left, right)):
            return [
                *_unguarded(left, known | _present(right, when=False)),
                *_unguarded(right, known | _present(left, when=False)),
            ]
        case Call(function="_?_:_", args=(test, yes, no)):
            return [
                *_unguarded(test, known),
                *_unguarded(yes, known | _present(test, when=True)),
                *_unguarded(no, known | _present(test, when=False)),
            ]
        case Loop(over=Name(name=range_name)):
            inside = known | {(range_name, f"${tree.variable}")}
            return [flaw for part in tree.parts for flaw in _unguarded(part, inside)]
    here: list[Flaw] = []
    wanted = _index(tree)
    if wanted is not None and wanted not in known:
        name, key = wanted
        shown = key.removeprefix("$") if key.startswith("$") else f'"{key}"'
        guard = f"{shown} in {name} && …" if key else f"a membership test on {name}"
        here.append(Flaw(tree.at, f"a key may be missing from {name}: write {guard}", name))
    return here + [flaw for part in parts_of(tree) for flaw in _unguarded(part, known)]


def _index(tree: Tree) -> tuple[str, str] | None:
    """(map, key) when the tree reads a map fact by key; the key is "" when it is computed."""
    match tree:
        case Call(function="_[_]", args=(Name(name=name), key)) if _is_map(name):
            return name, _key(key)
        case Field(operand=Name(name=name), test_only=False) if _is_map(name):
            return name, tree.field
    return None


def _present(tree: Tree, *, when: bool) -> _Known:
    """The keys that are surely there if the tree is true (or, with when=False, if it is false)."""
    match tree:
        case Call(function="@in", args=(key, Name(name=name))) if when and _is_map(name):
            return frozenset({(name, _key(key))} if _key(key) else ())
        case Field(operand=Name(name=name), test_only=True) if when and _is_map(name):
            return frozenset({(name, tree.field)})
        case Call(function="!_", args=(inner,)):
            return _present(inner, when=not when)
        case Call(function="_&&_", args=(left, right)):
            sides = _present(left, when=when), _present(right, when=when)
            return sides[0] | sides[1] if when else sides[0] & sides[1]
        case Call(function="_||_", args=(left, right)):
            sides = _present(left, when=when), _present(right, when=when)
            return sides[0] & sides[1] if when else sides[0] | sides[1]
    return frozenset()


def _key(tree: Tree) -> str:
    match tree:
        case Const(value=str(text)):
            return text
        case Name(name=name):
            return f"${name}"
    return ""


def _is_map(name: str) -> bool:
    return name in FACTS and FACTS[name].type == "map"
