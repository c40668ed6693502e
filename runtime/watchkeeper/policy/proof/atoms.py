"""Conditions as formulas over atoms: the parts that `policy check --prove` takes as given.

An atom is a largest part of a condition without `&&`, `||`, `!` or `?:`. Two atoms of one subject,
such as `node.gpus < 4` and `node.gpus >= 8`, vary together; atoms of two subjects never do. Where
this cannot tell what a part means, the part is an atom of its own: that can spoil a proof, and
never make a false one.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from fractions import Fraction

from watchkeeper.core.action import TRAITS
from watchkeeper.core.facts import FACTS
from watchkeeper.policy.expr import MAX_EXPANDED, NOW, Condition, compile_condition
from watchkeeper.policy.proof.formula import (
    Atom,
    Both,
    Choice,
    Either,
    Fixed,
    Formula,
    Is,
    Not,
    ordered,
    plain,
)
from watchkeeper.policy.syntax import Call, Const, Field, Group, Loop, Name, Tree, walk


def formula_of(
    condition: Condition, kind: str, *, errors: bool, known: Mapping[str, bool] | None = None
) -> Formula:
    """What a condition says of one kind of action. known: facts that are taken as given.

    errors: whether a part that may fail is followed up to that. Without it such a part is true or
    false; enough where errors, which only deny, need not be told from denials.
    """
    traits = TRAITS[kind]
    given: dict[str, bool | str] = {
        "action.kind": kind,
        "action.disruptive": traits.disruptive,
        "action.recovers": traits.recovers,
        **(known or {}),
    }
    formula = _Reading(condition, given, errors).of(condition.tree)
    if errors and any(isinstance(part, Loop) for part in walk(condition.tree)):
        # A loop that runs too long fails the whole condition, whatever its other parts say.
        ends = plain(("ends", condition.text), "its loops end", f"{condition.text} runs too long")
        formula = Choice(Is(ends, (ends,)), formula, formula)
    return formula


_OURS = frozenset({"action.kind", "world", "node.ray_state"})
"""Facts whose texts are words of ours: short and plain."""
_CONNECTIVES = frozenset({"_&&_", "_||_", "!_", "_?_:_"})
_FLIPPED = {"_<_": ">", "_<=_": ">=", "_>_": "<", "_>=_": "<=", "_==_": "=="}
_OPS = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">=", "_==_": "=="}
_ORDER = {"int": "int", "double": "double", "duration": "ordered"}
_TEXT_TESTS = {"startsWith": str.startswith, "endsWith": str.endswith, "contains": str.__contains__}
_STRICT = frozenset({*_OPS, "_!=_", "@in", *_TEXT_TESTS, "size"})
"""Functions that never fail by themselves, and fail where an argument does."""
_BOOLEAN = frozenset({*_CONNECTIVES, *_OPS, "_!=_", "@in", *_TEXT_TESTS, "matches"})
_CALENDAR = frozenset(
    f"get{part}"
    for part in [
        "FullYear",
        "Month",
        "Date",
        "DayOfMonth",
        "DayOfWeek",
        "DayOfYear",
        "Hours",
        "Minutes",
        "Seconds",
        "Milliseconds",
    ]
)


class _Reading:
    """Reads one condition. `given` holds facts whose value is known."""

    def __init__(self, condition: Condition, given: Mapping[str, bool | str], errors: bool) -> None:
        self._condition, self._given, self._errors = condition, given, errors
        again = compile_condition(condition.text, MAX_EXPANDED)
        # Numbers are read from the text, so it must be the one that the tree was made of.
        self._legible = isinstance(again, Condition) and again.tree == condition.tree

    def of(self, tree: Tree) -> Formula:
        match tree:
            case Const(value=bool(value)):
                return Fixed(value)
            case Call(function="!_", args=(inner,)):
                return Not(self.of(inner))
            case Call(function="_&&_", args=args):
                return Both(tuple(map(self.of, args)))
            case Call(function="_||_", args=args):
                return Either(tuple(map(self.of, args)))
            case Call(function="_?_:_", args=(test, yes, no)):
                return Choice(self.of(test), self.of(yes), self.of(no))
            case Call(function="_!=_", args=args):
                return Not(self.of(Call(tree.at, "_==_", args)))
            case Call(function="_==_", args=args):
                literal, other = _literal_first(args)
                if isinstance(literal.value, bool) and _is_boolean(other):
                    return self.of(other) if literal.value else Not(self.of(other))
            case Name(name=name) if isinstance(self._given.get(name), bool):
                return Fixed(bool(self._given[name]))
        return self._told(tree) or self._compared(tree) or self._opaque(tree)

    def _told(self, tree: Tree) -> Formula | None:
        """A test of a text that is known, or against texts that are written out."""
        match tree:
            case Call(function="_==_", args=args):
                literal, other = _literal_first(args)
                if isinstance(literal.value, str):
                    return self._among(other, frozenset({literal.value}))
            case Call(function="@in", args=(Const(value=str(key)), Name(name=name))):
                if _has_keys(name):
                    return Is(self._present(name, key), self._readable(name))
            case Field(operand=Name(name=name), test_only=True) if _has_keys(name):
                return Is(self._present(name, tree.field), self._readable(name))
            case Call(function="@in", args=(other, Group(parts=parts))):
                texts = [
                    p.value for p in parts if isinstance(p, Const) and isinstance(p.value, str)
                ]
                return self._among(other, frozenset(texts)) if len(texts) == len(parts) else None
            case Call(function=function, args=(Name(name=name), Const(value=str(text)))):
                value = self._given.get(name)
                if function in _TEXT_TESTS and isinstance(value, str):
                    return Fixed(bool(_TEXT_TESTS[function](value, text)))
        return None

    def _among(self, tree: Tree, texts: frozenset[str]) -> Formula | None:
        """Is this text one of those?"""
        needs: tuple[Atom, ...] = ()
        entry = _entry(tree)
        if isinstance(tree, Name):
            if FACTS.get(tree.name) is None or FACTS[tree.name].type != "string":
                return None
            value, needs = self._given.get(tree.name), self._readable(tree.name)
            if isinstance(value, str):
                return Fixed(value in texts)
        elif entry is not None:
            needs = (*self._readable(entry[0]), self._present(*entry))
        else:
            return None
        subject = self._shown(tree)
        quoted = [json.dumps(text, ensure_ascii=False) for text in sorted(texts)]
        said = f"{subject} == {quoted[0]}" if len(texts) == 1 else f"{subject} in {_row(quoted)}"
        return Is(Atom("text", subject, texts, f"{said} is true", f"{said} is false"), needs)

    def _compared(self, tree: Tree) -> Formula | None:
        """A fact against a literal, on either side."""
        if not (isinstance(tree, Call) and tree.function in _OPS and len(tree.args) == 2):
            return None
        left, right = tree.args
        for fact, literal, ops in ((left, right, _OPS), (right, left, _FLIPPED)):
            if not isinstance(fact, Name) or fact.name not in FACTS:
                continue
            sort = _ORDER.get(FACTS[fact.name].type)
            bound = self._bound(literal, sort or "")
            if sort is None or bound is None:
                continue
            op = ops[tree.function]
            # What is surely ordered needs one atom for both; a double may be no number at all.
            if sort != "double" and op in (">=", ">"):
                less = "<" if op == ">=" else "<="
                return Not(Is(ordered(sort, fact.name, less, bound, self._shown(literal))))
            return Is(ordered(sort, fact.name, op, bound, self._shown(literal)))
        return None

    def _bound(self, tree: Tree, sort: str) -> float | int | Fraction | None:
        match tree:
            case Call(function="duration", args=(Const(value=str(text)),)) if sort == "ordered":
                return _seconds(text)
            case Const(value=None) if sort in ("int", "double"):
                token = self._token(tree)
                try:
                    return float(token) if sort == "double" else int(token, 0)
                except ValueError:
                    return None
        return None

    def _opaque(self, tree: Tree) -> Formula:
        """Any other part: a boolean of its own."""
        key = self._shown(tree)
        needs = self._needs(tree)
        sort = "fragile" if self._errors and needs is None else "free"
        atom = Atom(sort, key, None, f"{key} is true", f"{key} is false")
        return Is(atom, tuple(sorted(needs or (), key=lambda a: a.yes)))

    def _needs(self, tree: Tree) -> frozenset[Atom] | None:
        """The part is an error exactly where one of these does not hold; None: not known."""
        entry = _entry(tree)
        if entry is not None:
            return frozenset({*self._readable(entry[0]), self._present(*entry)})
        match tree:
            case Const():
                return frozenset()
            case Name(name=name):
                return frozenset(self._readable(name)) if name in FACTS or name == NOW else None
            case Field(operand=Name(name=name), test_only=True) if _has_keys(name):
                return frozenset(self._readable(name))
            case Group(parts=parts) if all(isinstance(part, Const) for part in parts):
                # A map with one key twice is an error, and looks like a list here.
                return frozenset() if len({self._shown(p) for p in parts}) == len(parts) else None
            case Call(function="duration" | "timestamp", args=(Const(value=str()),)):
                return frozenset()  # the literal was tried when the policy was loaded
            case Call(function="matches", args=(text, Const(value=str()))):
                return self._needs(text)
            case Call(function=f, args=(Name(name="now"), *zone)) if f in _CALENDAR:
                sure = all(isinstance(z, Const) for z in zone)
                return frozenset() if sure else None
            case Call(function=function, args=args):
                needs = frozenset[Atom]()
                for arg in args:
                    part = self._needs(arg)
                    if part is None:
                        return None
                    needs |= part
                if function in _CONNECTIVES:  # they can absorb an error
                    return None if needs else needs
                sure = function in _STRICT or self._is_double(tree)
                return needs if sure else None
        return None

    def _is_double(self, tree: Tree) -> bool:
        """Arithmetic of doubles never fails."""
        match tree:
            case Name(name=name):
                return name in FACTS and FACTS[name].type == "double"
            case Const(value=None):
                return bool(re.search(r"[.eE]", self._token(tree))) and "x" not in self._token(tree)
            case Call(function="_+_" | "_-_" | "_*_" | "_/_" | "-_", args=args):
                return all(map(self._is_double, args))
            case Call(function="double", args=(Name(name=name),)):
                return name in FACTS and FACTS[name].type in ("int", "double")
        return False

    def _present(self, name: str, key: str) -> Atom:
        said = f"{json.dumps(key, ensure_ascii=False)} in {name}"
        return Atom("free", said, None, f"{said} is true", f"{said} is false")

    def _readable(self, name: str) -> tuple[Atom, ...]:
        """Texts, lists and maps that are too long, or hold a null, are not shown to conditions."""
        free = name in FACTS and FACTS[name].type in ("string", "map", "list")
        if not self._errors or not free or name in _OURS:
            return ()
        no = f"{name} cannot be read (too long, or no plain text)"
        return (plain(("readable", name), f"{name} can be read", no),)

    def _token(self, tree: Const) -> str:
        """A number as it is written, or "" where that cannot be told."""
        found = _NUMBER.match(self._condition.text, tree.at) if self._legible else None
        return found[0] if found else ""

    def _shown(self, tree: Tree) -> str:
        """The part in words that only it has: the key by which two parts are the same."""
        match tree:
            case Const(value=str(text)):
                return json.dumps(text, ensure_ascii=False)
            case Const(value=bool(value)):
                return str(value).lower()
            case Const():
                where = self._condition.text if self._legible else id(self._condition)
                return self._token(tree) or f"<{where}@{tree.at}>"
            case Name(name=name):
                return name
            case Field(operand=operand, field=name, test_only=test):
                entry = _entry(tree)
                if entry is not None:
                    return f"{entry[0]}[{json.dumps(entry[1], ensure_ascii=False)}]"
                shown = f"{self._shown(operand)}.{name}"
                return f"has({shown})" if test else shown
            case Group(parts=parts):
                return _row([self._shown(part) for part in parts])
            case Loop(over=over, variable=variable, parts=parts):
                inner = "; ".join(self._shown(part) for part in parts)
                return f"{self._shown(over)}.each({variable}: {inner})"
            case Call(function="_[_]", args=(operand, key)):
                return f"{self._shown(operand)}[{self._shown(key)}]"
            case Call(function=function, args=args):
                return _called(function, [self._part(arg) for arg in args])

    def _part(self, tree: Tree) -> str:
        """In parentheses where it would else run into what stands beside it."""
        shown = self._shown(tree)
        return f"({shown})" if " " in shown and not isinstance(tree, Const) else shown


_NUMBER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|(?:\d+\.\d+|\d+|\.\d+)(?:[eE][+-]?\d+)?)[uU]?")
_TIMES = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|ns|m|s)")
_UNITS = {
    "h": Fraction(3600),
    "m": Fraction(60),
    "s": Fraction(1),
    "ms": Fraction(1, 10**3),
    "us": Fraction(1, 10**6),
    "ns": Fraction(1, 10**9),
}


def _called(function: str, args: list[str]) -> str:
    operator = function.strip("_@")
    if len(args) == 2 and function.startswith(("_", "@")):
        return f"{args[0]} {operator} {args[1]}"
    if function in ("!_", "-_"):
        return f"{operator}({args[0]})"
    if len(args) > 1 or function in _CALENDAR:
        return f"{args[0]}.{function}({', '.join(args[1:])})"
    return f"{function}({', '.join(args)})"


@functools.lru_cache(maxsize=256)
def _seconds(text: str) -> Fraction | None:
    """A CEL duration such as `1h30m`, exactly; None where it is not plain."""
    sign, body = (-1, text[1:]) if text.startswith("-") else (1, text)
    parts = _TIMES.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        return None
    return sign * sum(
        (Fraction(number.rstrip(".") if number[0] != "." else f"0{number}") * _UNITS[unit]
         for number, unit in parts),
        Fraction(0),
    )  # fmt: skip


def _literal_first(args: tuple[Tree, ...]) -> tuple[Const, Tree]:
    """The two sides of `==`, a literal first; a literal without a value where there is none."""
    left, right = args
    if isinstance(left, Const):
        return left, right
    return (right, left) if isinstance(right, Const) else (Const(0, None), right)


def _entry(tree: Tree) -> tuple[str, str] | None:
    """(map, key) where the part is the value of a written key."""
    match tree:
        case Call(function="_[_]", args=(Name(name=name), Const(value=str(key)))):
            return (name, key) if _has_keys(name) else None
        case Field(operand=Name(name=name), test_only=False):
            return (name, tree.field) if _has_keys(name) else None
    return None


def _has_keys(name: str) -> bool:
    return name in FACTS and FACTS[name].type == "map"


def _is_boolean(tree: Tree) -> bool:
    match tree:
        case Name(name=name):
            return name in FACTS and FACTS[name].type == "bool"
        case Call(function=function):
            return function in _BOOLEAN
        case Field(test_only=test):
            return test
    return False


def _row(items: list[str]) -> str:
    return f"[{', '.join(items)}]"
