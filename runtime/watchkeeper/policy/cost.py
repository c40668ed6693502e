"""How much work could a condition be, at the most? Asked once, when it is compiled.

CEL stops a loop after 10,000 rounds and has no other bound: `["x"].map(a, a + a)` ten times over,
or a pattern that repeats a thousand times, would hold a verdict up for seconds and fill the memory.
So the work is added up on the syntax tree, from the sizes of the literals and usual sizes of facts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from watchkeeper.core.facts import FACTS
from watchkeeper.policy.syntax import Call, Const, Field, Group, Loop, Name, Tree

MAX_COST = 400_000.0
"""Most work of one condition. A unit is one item or 16 characters handled: about 60 ns."""

MAX_PATTERN = 1_000
"""Most steps of one pattern, its repetitions counted: RE2 does all of them for each character in
the worst case, and builds them anew each time."""

PLAIN = 300
"""A condition this short, in which nothing loops, matches or puts texts together, is never too
much: each part looks at two facts at the most, and so many of the largest stay below `MAX_COST`."""

_MULTIPLIES = re.compile(r"\+|\b(?:all|exists|exists_one|map|filter|matches|string|bytes|dyn)\b")
_ROUNDS = 10_000.0  # CEL ends an evaluation after so many rounds of its loops
_FACT_ITEMS, _FACT_CHARACTERS = 100.0, 64.0  # usual at most; `activate` bounds them for sure
_REPEAT = re.compile(r"(\))?\{(\d+)(?:(,)(\d*))?\}")


class _Size(NamedTuple):
    """Of a value: so many units, or so many items of that size."""

    units: float = 1.0
    of: _Size | None = None

    @property
    def total(self) -> float:
        return self.units if self.of is None else self.units * self.of.total


_ONE = _Size()
_TEXT = _Size(1 + _FACT_CHARACTERS / 16)
_FACTS = {"string": _TEXT, "map": _Size(_FACT_ITEMS, _TEXT), "list": _Size(_FACT_ITEMS, _TEXT)}


def too_much(tree: Tree, text: str) -> tuple[int, str] | None:
    """Where and why a condition is too much work, or None. The offset is in code points."""
    if len(text) <= PLAIN and not _MULTIPLIES.search(text):
        return None
    meter = _Meter(text)
    meter.size(tree, 1.0, {})
    if meter.refused is None and meter.spent > MAX_COST:
        return 0, "the condition is too much work: its loops and values multiply"
    return meter.refused


class _Meter:
    """Adds up the work of a tree, each part as often as its loops may run it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spent = 0.0
        self.refused: tuple[int, str] | None = None

    def size(self, tree: Tree, times: float, known: dict[str, _Size]) -> _Size:
        """The size of a value at the most; its work is added on the way."""
        match tree:
            case Const():
                return self._literal(tree, times)
            case Name():
                return known.get(tree.name) or _fact(tree.name)
            case Field():
                return _item(self.size(tree.operand, times, known))
            case Group():
                parts = [self.size(part, times, known) for part in tree.parts]
                self.spent += times * len(parts)
                return _Size(float(len(parts)), _larger(*parts))
            case Loop():
                return self._loop(tree, times, known)
            case Call():
                return self._call(tree, times, known)

    def _literal(self, tree: Const, times: float) -> _Size:
        if isinstance(tree.value, str):
            size = _Size(1 + len(tree.value) / 16)
        elif self.text[tree.at : tree.at + 1].lower() in ("b", "r"):
            size = _Size(1 + len(self.text) / 16)  # bytes have no value here: at most all of it
        else:
            return _ONE
        self.spent += times * size.units
        return size

    def _call(self, tree: Call, times: float, known: dict[str, _Size]) -> _Size:
        args = [self.size(arg, times, known) for arg in tree.args]
        match tree.function:
            case "_&&_" | "_||_" | "!_" | "size":
                self.spent += times
                return _ONE
            case "_?_:_":
                self.spent += times
                return _larger(*args[1:])
            case "_[_]":
                self.spent += times
                return _item(args[0])
            case "_+_":
                self.spent += times * sum(arg.units for arg in args)
                return _Size(sum(arg.units for arg in args), _inner(*args))
            case "@in" if _is_map(tree.args[1]):
                self.spent += times
                return _ONE
            case "matches":
                self._pattern(tree, times, args[0])
                return _ONE
            case "string" | "bytes" | "dyn":
                self.spent += times * args[0].total
                return _Size(1 + args[0].units, args[0].of)
        self.spent += times * sum(arg.total for arg in args)
        return _ONE

    def _pattern(self, tree: Call, times: float, over: _Size) -> None:
        pattern = tree.args[-1]
        if not isinstance(pattern, Const) or not isinstance(pattern.value, str):
            said = "a pattern must be a text that is written out here, so that its work is known"
            self.refused = self.refused or (tree.at, said)
            return
        steps = _steps(pattern.value)
        if steps > MAX_PATTERN:
            said = f"the pattern is too much work: its repetitions make over {MAX_PATTERN} steps"
            self.refused = self.refused or (pattern.at, said)
        self.spent += times * (4 * steps + over.total)

    def _loop(self, tree: Loop, times: float, known: dict[str, _Size]) -> _Size:
        over = self.size(tree.over, times, known)
        first, *test, step, result = tree.parts
        items = over.total if over.of is None else over.units
        rounds = min(times * max(items, 1.0), _ROUNDS)
        before = self.size(first, times, known)
        inside = {**known, tree.variable: _item(over), tree.accumulator: before}
        for part in test:
            self.size(part, rounds, inside)
        after = self.size(step, rounds, inside)
        if after.of is not None:  # `map` and `filter` add to a list, once a round
            after = _Size(before.units + items * max(after.units - before.units, 0.0), after.of)
        return self.size(result, times, {**inside, tree.accumulator: after})


def _is_map(tree: Tree) -> bool:
    return isinstance(tree, Name) and tree.name in FACTS and FACTS[tree.name].type == "map"


def _fact(name: str) -> _Size:
    return _FACTS.get(FACTS[name].type, _ONE) if name in FACTS else _ONE


def _item(size: _Size) -> _Size:
    return size if size.of is None else size.of


def _inner(*sizes: _Size) -> _Size | None:
    inner = [size.of for size in sizes if size.of is not None]
    return _larger(*inner) if inner else None


def _larger(*sizes: _Size) -> _Size:
    """At least as large as each."""
    return _Size(max((size.units for size in sizes), default=1.0), _inner(*sizes))


def _steps(pattern: str) -> float:
    """About how many steps RE2 makes of a pattern, rather too many than too few."""
    classes = pattern.count("\\p") + pattern.count("\\P")  # classes of Unicode are large
    single = 300.0 if classes else 4.0
    steps, groups = len(pattern) + 300.0 * classes, 1.0
    for group, least, comma, most in _REPEAT.findall(pattern):
        count = float(most or int(least) + bool(comma))
        if group:
            groups *= max(count, 1.0)
        else:
            steps += single * count
    return steps * groups
