"""A YAML tree read by its declaration in `schema`: plain values, each with its place in the text.

Reports every mistake and reads on, so that an author sees all of them at once.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from datetime import date
from typing import Any, NamedTuple
from zoneinfo import available_timezones

from watchkeeper.core.errors import Problem
from watchkeeper.policy.schema import CLOCK, DATE, DURATION, MONEY, Leaf, Many, Named, Record, Spec
from watchkeeper.policy.yaml_text import Mapping, Mark, Scalar, Sequence, Tree

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_MAX_DURATION_S = 366 * 86400.0


class Money(NamedTuple):
    """An amount in a currency, by its ISO 4217 code."""

    amount: float
    currency: str


class At(NamedTuple):
    """A value and where it stands. value: a scalar, a list of At, or a dict of At. wrong: keys that
    are written and could not be read, which is reported already."""

    value: Any
    mark: Mark
    scalar: Scalar | None = None
    wrong: frozenset[str] = frozenset()

    def get(self, key: str) -> At | None:
        """A field of a record, or None where it is not written (or was not readable)."""
        found = self.value.get(key) if isinstance(self.value, dict) else None
        return found if isinstance(found, At) else None

    def wrote(self, *keys: str) -> int:
        """How many of these fields are written, readable or not."""
        return len({*keys} & (self.value.keys() | self.wrong))

    def of(self, key: str, default: Any = None) -> Any:
        """The plain value of a field, or `default`."""
        found = self.get(key)
        return default if found is None else found.value

    def each(self, key: str) -> list[At]:
        """The items of a list field; none where it is not written."""
        found = self.of(key, [])
        return found if isinstance(found, list) else []


class Reader:
    """Reads the trees of one file and gathers its problems."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self._problems = problems
        self.unresolved: list[Problem] = []
        """Names that stand for nothing: mistakes only if all that defines names could be read."""

    def problem(
        self, mark: Mark, message: str, offending: str = "", among: Iterable[str] = ()
    ) -> None:
        """Report a mistake; `among` are the words that would have been right here."""
        hint = nearest(offending, among)
        self._problems.append(
            Problem(self.file, mark.line, mark.column, message, offending, suggestion=hint)
        )

    def unknown(self, mark: Mark, message: str, name: str, among: Iterable[str] = ()) -> None:
        """Report a name that nothing defines; see `unresolved`."""
        hint = nearest(name, among)
        self.unresolved.append(
            Problem(self.file, mark.line, mark.column, message, name, suggestion=hint)
        )

    def read(self, tree: Tree, spec: Spec, what: str) -> At | None:
        """The tree as its declaration wants it, or None after a reported mistake."""
        match spec:
            case Leaf():
                return self._leaf(tree, spec, what)
            case Many():
                return self._many(tree, spec, what)
            case Named():
                return self._named(tree, spec, what)
            case Record():
                return self._record(tree, spec, what)

    def _record(self, tree: Tree, spec: Record, what: str) -> At | None:
        if not isinstance(tree, Mapping):
            self.problem(tree.mark, f"{what} must have keys and values: {spec.says}")
            return None
        found: dict[str, At] = {}
        for key, value in tree.items:
            if key.text not in spec.fields:
                known = ", ".join(spec.fields)
                said = f"{what} has no key {key.text!r}; it has: {known}."
                self.problem(key.mark, said, key.text, spec.fields)
                continue
            read = self.read(value, spec.fields[key.text], f"{key.text!r}")
            if read is not None:
                found[key.text] = read
        written = {key.text for key, _ in tree.items}
        for name in spec.required:
            if name not in written:
                self.problem(tree.mark, f"{what} lacks the key {name!r}")
        return At(found, tree.mark, wrong=frozenset((written & spec.fields.keys()) - found.keys()))

    def _named(self, tree: Tree, spec: Named, what: str) -> At | None:
        if not isinstance(tree, Mapping):
            self.problem(tree.mark, f"{what} must be names with values: {spec.says}")
            return None
        found: dict[str, At] = {}
        for key, value in tree.items:
            if not re.fullmatch(spec.key, key.text):
                self.problem(key.mark, f"{key.text!r} is not a plain name", key.text)
                continue
            read = self.read(value, spec.value, f"{what} {key.text!r}")
            if read is not None:
                found[key.text] = At(read.value, key.mark, read.scalar, read.wrong)
        written = {key.text for key, _ in tree.items}
        return At(found, tree.mark, wrong=frozenset(written - found.keys()))

    def _many(self, tree: Tree, spec: Many, what: str) -> At | None:
        if spec.or_one and not isinstance(tree, Sequence):
            one = self.read(tree, spec.item, what)
            return None if one is None else At([one], tree.mark)
        if not isinstance(tree, Sequence):
            said = f"{what} must be a list"
            shown = tree.text if isinstance(tree, Scalar) else ""
            self.problem(tree.mark, f"{said}, such as [{shown}]" if shown else said, shown)
            return None
        if not tree.items:
            self.problem(tree.mark, f"{what} must not be empty")
        items = (self.read(item, spec.item, f"an item of {what}") for item in tree.items)
        return At([item for item in items if item is not None], tree.mark)

    def _leaf(self, tree: Tree, spec: Leaf, what: str) -> At | None:
        if not isinstance(tree, Scalar):
            self.problem(tree.mark, f"{what} must be a single value: {spec.says}")
            return None
        text = tree.text if spec.kind == "condition" else tree.text.strip()
        if not text.strip() or (not tree.style and text in ("null", "~")):
            self.problem(tree.mark, f"{what} must not be empty")
            return None
        if spec.choices and text not in spec.choices:
            said = f"{what} must be one of {', '.join(spec.choices)}, not {text!r}."
            if len(spec.choices) > 8 and nearest(text, spec.choices):
                said = f"{what} cannot be {text!r}."  # the nearest word says enough
            self.problem(tree.mark, said, text, spec.choices)
            return None
        if spec.pattern and not re.fullmatch(spec.pattern, text):
            self.problem(tree.mark, f"{what} cannot be {text!r}: {spec.says}", text)
            return None
        value, why = _converted(text, tree, spec)
        if why:
            self.problem(tree.mark, f"{what} {why}, not {text!r}", text)
            return None
        return At(value, tree.mark, tree)


def nearest(word: str, among: Iterable[str]) -> str:
    """The known word most like this one; "" when none is, or when it is known itself."""
    known = list(among)
    if not word or word in known:
        return ""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return close[0] if close else ""


def plain(at: At) -> Any:
    """The values alone, without places: what a policy means."""
    if isinstance(at.value, dict):
        return {key: plain(value) for key, value in at.value.items()}
    if isinstance(at.value, list):
        return [plain(value) for value in at.value]
    return at.value


def _converted(text: str, scalar: Scalar, spec: Leaf) -> tuple[Any, str]:
    """(value, "") or (None, what the value must be)."""
    match spec.kind:
        case "whole" | "number":
            return _number(text, scalar, spec)
        case "duration":
            if not re.fullmatch(DURATION, text):
                return None, "must be a duration such as 15m, 1h30m or 7d"
            parts = re.findall(r"([0-9]+)(ms|[smhdw])", text)
            seconds = sum(int(n) * _UNIT_S[u] for n, u in parts)
            if not 0 < seconds <= _MAX_DURATION_S:
                return None, "must be longer than nothing and at most a year"
            return seconds, ""
        case "clock":
            if not re.fullmatch(CLOCK, text):
                return None, 'must be a time such as "22:00"'
            hours, _, minutes = text.partition(":")
            return int(hours) * 60 + int(minutes), ""
        case "money":
            if not re.fullmatch(MONEY, text):
                return None, "must be an amount and a currency, such as 500 USD"
            amount, _, currency = text.partition(" ")
            return Money(float(amount), currency), ""
        case "date":
            try:
                if not re.fullmatch(DATE, text):
                    raise ValueError(text)
                return date.fromisoformat(text), ""
            except ValueError:
                return None, "must be a day such as 2026-12-01"
    return text, ""


def _number(text: str, scalar: Scalar, spec: Leaf) -> tuple[Any, str]:
    whole = spec.kind == "whole"
    pattern = r"[0-9]{1,9}" if whole else r"[0-9]{1,9}(\.[0-9]{1,9})?"
    bounds = f"{spec.least:g} to {spec.most:g}" if spec.least is not None else ""
    wanted = f"must be a {'whole ' if whole else ''}number from {bounds}, without quotes"
    if scalar.style or not re.fullmatch(pattern, text):
        return None, wanted
    value = int(text) if whole else float(text)
    inside = (spec.least is None or value >= spec.least) and (
        spec.most is None or value <= spec.most
    )
    return (value, "") if inside else (None, wanted)


@functools.cache
def zones() -> frozenset[str]:
    """Every IANA time zone; found once, since that walks folders."""
    return frozenset(available_timezones())
