"""The syntax tree of a compiled condition, so that checks ask the parser and never guess at text.

CEL hands a checked expression out as a protocol buffer (`cel.expr.CheckedExpr`, a stable public
format). This reads the few fields that the checks in `guards` need; it evaluates nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec import Struct


class Const(Struct, frozen=True, gc=False):
    """A literal. `value` is its text for strings, the boolean for booleans, None for others;
    `number` is that of an int or a double."""

    at: int
    value: str | bool | None
    number: int | float | None = None


class Name(Struct, frozen=True, gc=False):
    """A variable: a declared fact such as `node.pool`, or the variable of a macro."""

    at: int
    name: str


class Field(Struct, frozen=True, gc=False):
    """`operand.field`; a mere membership test when written `has(operand.field)`."""

    at: int
    operand: Tree
    field: str
    test_only: bool


class Call(Struct, frozen=True, gc=False):
    """A function or operator; operators are spelt `_&&_`, `_[_]`, `@in`, `!_` and so on."""

    at: int
    function: str
    args: tuple[Tree, ...]


class Loop(Struct, frozen=True, gc=False):
    """A macro over a range: `range.exists(variable, …)`, `all`, `map`, `filter`."""

    at: int
    variable: str
    accumulator: str
    over: Tree
    parts: tuple[Tree, ...]


class Group(Struct, frozen=True, gc=False):
    """A list or a struct literal: only its parts matter here."""

    at: int
    parts: tuple[Tree, ...]


Tree = Const | Name | Field | Call | Loop | Group
Meaning = tuple[object, ...]


def tree_of(serialized: bytes) -> Tree:
    """The tree of a serialized `Any(CheckedExpr)`. Raises ValueError when it is none.

    `at` of every part is its offset, in code points, in the text that was compiled.
    """
    checked = _message(_message(serialized)[2][0])
    places = {}
    for entry in _message(checked[5][0]).get(4, ()):
        if len(entry) == 4 and entry[0] == 0x08 and entry[2] == 0x10:
            places[entry[1]] = entry[3]  # nearly all: two numbers of one byte each
        else:
            pair = _message(entry)
            places[_number(pair[1][-1])] = _number(pair[2][-1]) if 2 in pair else 0
    return _tree(checked[4][0], places)


def walk(tree: Tree) -> Iterator[Tree]:
    """The tree and everything in it, outermost first."""
    left = [tree]
    while left:
        part = left.pop()
        yield part
        if type(part) is Call:
            left += part.args[::-1]
        elif type(part) is not Name and type(part) is not Const:  # by far the most are one of these
            left += parts_of(part)[::-1]


def parts_of(tree: Tree) -> tuple[Tree, ...]:
    """What a tree is directly made of."""
    match tree:
        case Const() | Name():
            return ()
        case Field():
            return (tree.operand,)
        case Call():
            return tree.args
        case Loop():
            return (tree.over, *tree.parts)
        case Group():
            return tree.parts


def conjuncts(tree: Tree) -> Iterator[Tree]:
    """The parts that must all be true for the tree to be true."""
    match tree:
        case Call(function="_&&_", args=(left, right)):
            yield from conjuncts(left)
            yield from conjuncts(right)
        case _:
            yield tree


def meaning_of(tree: Tree) -> Meaning | None:
    """What a tree says, wherever it stands in its text: equal for trees that say the same.

    None where it holds a literal that is neither text nor boolean: that has no value here, so the
    tree cannot be seen to say the same as any other.
    """
    if isinstance(tree, Const):
        return None if tree.value is None else (Const, tree.value)
    parts = [meaning_of(part) for part in parts_of(tree)]
    return None if None in parts else (type(tree), *_label(tree), *parts)


def _label(tree: Tree) -> tuple[object, ...]:
    match tree:
        case Name():
            return (tree.name,)
        case Field():
            return (tree.field, tree.test_only)
        case Call():
            return (tree.function,)
        case Loop():
            return (tree.variable, tree.accumulator)
        case _:
            return ()


def names_in(tree: Tree) -> frozenset[str]:
    """Every declared name that the condition reads; the variables of macros are left out."""
    names: set[str] = set()
    own: set[str] = set()
    for part in walk(tree):
        if type(part) is Name:
            names.add(part.name)
        elif type(part) is Loop:
            own |= {part.variable, part.accumulator}
    return frozenset(names - own)


_BOOL, _INT, _DOUBLE, _STRING = 2, 3, 5, 6


def _tree(data: bytes, places: dict[int, int]) -> Tree:
    fields = _message(data)
    at = places.get(_number(fields[2][0]), 0) if 2 in fields else 0
    kind = max(fields, default=0)  # there is one, and the id's number is below all of them
    body = _message(fields[kind][0]) if kind else {}
    match kind:
        case 4:
            return Name(at, _text(body, 1))
        case 6:
            args = [*body.get(1, ()), *body.get(3, ())]
            return Call(at, _text(body, 2), tuple([_tree(a, places) for a in args]))
        case 3:
            return Const(at, _literal(body), _written_number(body))
        case 5:
            test_only = 3 in body and bool(_number(body[3][0]))
            return Field(at, _tree(body[1][0], places), _text(body, 2), test_only)
        case 7:
            return Group(at, tuple([_tree(e, places) for e in body.get(1, ())]))
        case 8:
            entries = [_message(e) for e in body.get(2, ())]
            parts = [p for e in entries for k in (3, 4) for p in e.get(k, ())]
            return Group(at, tuple([_tree(p, places) for p in parts]))
        case 9:
            steps = tuple([_tree(body[f][0], places) for f in (4, 5, 6, 7) if f in body])
            over = _tree(body[2][0], places)
            return Loop(at, _text(body, 1), _text(body, 3), over, steps)
        case _:
            raise ValueError(f"{kind} is no kind of expression")


def _literal(body: dict[int, list[bytes]]) -> str | bool | None:
    if _STRING in body:
        return _text(body, _STRING)
    if _BOOL in body:
        return bool(_number(body[_BOOL][0]))
    return None


def _written_number(body: dict[int, list[bytes]]) -> int | float | None:
    if _INT in body:
        number = _number(body[_INT][0])
        return number - 2**64 if number >= 2**63 else number
    if _DOUBLE in body:
        return float(struct.unpack("<d", body[_DOUBLE][0])[0])
    return None


def _text(body: dict[int, list[bytes]], field: int) -> str:
    return body[field][0].decode() if field in body else ""


def _number(raw: bytes) -> int:
    return _varint(raw, 0)[0] if raw else 0


def _message(data: bytes) -> dict[int, list[bytes]]:
    """Field number to raw values, in the order written. A varint is kept as its own bytes."""
    fields: dict[int, list[bytes]] = {}
    i, end = 0, len(data)
    while i < end:
        # Nearly all keys and sizes fit one byte, and a load reads tens of thousands of them.
        key = data[i]
        i += 1
        if key >= 0x80:
            key, i = _varint(data, i - 1)
        wire = key & 7
        if wire == 2:
            size = data[i] if i < end else 0x80
            i += 1
            if size >= 0x80:
                size, i = _varint(data, i - 1)
            start = i
            i += size
        elif wire == 0:
            start = i
            _, i = _varint(data, i)
        elif wire in (1, 5):
            start, i = i, i + (8 if wire == 1 else 4)
        else:
            raise ValueError(f"wire type {wire} is not part of a checked expression")
        if i > end:
            raise ValueError("a checked expression ends too early")
        number = key >> 3
        if number in fields:
            fields[number].append(data[start:i])
        else:
            fields[number] = [data[start:i]]
    return fields


def _varint(data: bytes, i: int) -> tuple[int, int]:
    if i < len(data) and data[i] < 0x80:
        return data[i], i + 1  # nearly all of them: small field numbers, lengths and ids
    value = shift = 0
    while True:
        if i >= len(data):
            raise ValueError("a checked expression ends too early")
        byte = data[i]
        i += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, i
        shift += 7
