"""`*_test.yaml` text to cases, or every mistake with its place. Asked by `cases`; opens no file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from watchkeeper.core.action import TRAITS
from watchkeeper.core.errors import Problem
from watchkeeper.core.facts import FACTS
from watchkeeper.policy.reader import At, Reader, plain, zones
from watchkeeper.policy.trial.case_schema import CASE_FILE, LISTS, NONE, TEST_FILE, UNKNOWN, leaf_of
from watchkeeper.policy.yaml_text import Mapping as YamlMapping
from watchkeeper.policy.yaml_text import Mark, Sequence, Tree, compose


class Said(NamedTuple):
    """A value and where its key stands."""

    value: Any
    mark: Mark


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """One test. given: by dotted name, the file's defaults included: `node.rack`, `ledger.out`.
    expect: by key; lists of ids as tuples. at: the virtual clock, aware, in the author's zone."""

    file: str
    line: int
    name: str
    kind: str
    at: datetime
    given: Mapping[str, Said]
    expect: Mapping[str, Said]


def read_cases(file: str, text: str, problems: list[Problem]) -> tuple[Case, ...]:
    """The cases of one file; what is wrong with it goes to `problems`."""
    tree, found = compose(file, text)
    problems.extend(found)
    if tree is None:
        return ()
    return cases_of(Reader(file, problems), tree)


def cases_of(reader: Reader, tree: Tree, *, judged: bool = True) -> tuple[Case, ...]:
    """The cases of a file's tree. judged: each must say what it expects; else it need not."""
    top = reader.read(tree, TEST_FILE if judged else CASE_FILE, "the file")
    return () if top is None else _File(reader, top, _mappings(tree), judged).cases()


class _File:
    """One file being read: its defaults, and the key marks that the reader does not keep."""

    def __init__(
        self, reader: Reader, top: At, trees: Mapping[Mark, YamlMapping], judged: bool
    ) -> None:
        self._reader, self._top, self._trees, self._judged = reader, top, trees, judged

    def cases(self) -> tuple[Case, ...]:
        defaults = self._given(self._top.get("given"))
        used: set[str] = set()
        names: dict[str, int] = {}
        found = []
        for test in self._top.each("tests"):
            name = test.get("name")
            if name is not None:
                if name.value in names:
                    twice = f"the test stands twice; first on line {names[name.value]}"
                    self._reader.problem(name.mark, twice, name.value)
                names.setdefault(name.value, name.mark.line)
            own = self._given(test.get("given"))
            case = self._case(test, defaults, own)
            if case is not None:
                used.update(case.given)
                found.append(case)
        if len(found) == len(self._top.each("tests")):  # else who knows what the others use
            for key, said in defaults.items():
                if key not in used:
                    why = f"{key} is given to all tests, and the action of none of them has it"
                    self._reader.problem(said.mark, why, key)
        return tuple(found)

    def _case(self, test: At, defaults: Mapping[str, Said], own: Mapping[str, Said]) -> Case | None:
        action = own.get("proposal.action") or defaults.get("proposal.action")
        at = self._moment(test) if test.get("at") else self._moment(self._top)
        expect = test.get("expect")
        if action is None and not self._written(test, "given", "proposal", "action"):
            lacks = "a test says what is asked for: `given: {proposal: {action: node.drain}}`"
            self._reader.problem(test.mark, lacks)
        if at is None and not self._written(test, "at"):
            lacks = (
                "a test has a moment: `at: 2026-03-18T02:30 Europe/Berlin`, here or for the file"
            )
            self._reader.problem(test.mark, lacks)
        if action is None or at is None or (expect is None and self._judged):
            return None
        scope = TRAITS[action.value].scope
        among = [key for key in _EVERY if belongs(key, scope)]
        for key, said in own.items():
            if not belongs(key, scope):
                why = f"{key} is not a fact of {action.value}"
                self._reader.problem(said.mark, f"{why}.", key, among)
        fitting = {key: said for key, said in defaults.items() if belongs(key, scope)}
        return Case(
            file=self._reader.file,
            line=test.mark.line,
            name=test.of("name", ""),
            kind=action.value,
            at=at,
            given={**fitting, **own},
            expect={key: Said(_expected(key, value), value.mark) for key, value in _items(expect)},
        )

    def _written(self, test: At, *path: str) -> bool:
        """Does the test or the file name this key, readable or not? Then all is said already."""
        return any(_has(self._trees[holder.mark], path) for holder in (test, self._top))

    def _given(self, at: At | None) -> dict[str, Said]:
        """`given` by dotted name, each fact in the type that it is declared with."""
        found: dict[str, Said] = {}
        for section, value in _items(at):
            if not isinstance(value.value, dict):
                self._put(found, section, value, value.mark)
                continue
            tree = self._trees[value.mark]
            marks = {key.text: key.mark for key, _ in tree.items}
            for key, inner in _items(value):
                self._put(found, f"{section}.{key}", inner, marks[key])
        return found

    def _put(self, found: dict[str, Said], name: str, at: At, mark: Mark) -> None:
        fact = FACTS.get(name)
        if fact is not None and fact.type == "list":
            words = {(NONE,): [], (UNKNOWN,): fact.unknown}
            found[name] = Said(words.get(tuple(plain(at)), plain(at)), mark)
            return
        if fact is None or fact.type == "map" or at.scalar is None:
            value = plain(at)
            found[name] = Said(value == "true" if name in _YES_NO else value, mark)
            return
        text = at.scalar.text.strip()
        if text == UNKNOWN:
            found[name] = Said(fact.unknown, mark)
        elif fact.type == "duration" and re.fullmatch(r"0(ms|[smhdw])", text):
            found[name] = Said(0.0, mark)
        else:
            read = self._reader.read(at.scalar, leaf_of(name), f"{name!r}")
            if read is not None:
                value = text == "true" if fact.type == "bool" else read.value
                found[name] = Said(value, mark)

    def _moment(self, holder: At) -> datetime | None:
        at = holder.get("at")
        if at is None:
            return None
        parts = re.fullmatch(r"([0-9-]+)[T ]([0-9:]+) *(.+)", at.value)
        day, clock, zone = parts.groups() if parts else ("", "", "")
        if zone[0] not in "Z+-" and zone not in zones():
            said = f"{zone!r} is not an IANA time zone."
            self._reader.problem(at.mark, said, zone, zones())
            return None
        try:
            if zone[0] in "Z+-":
                return datetime.fromisoformat(f"{day}T{clock}{zone}")
            local = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=ZoneInfo(zone))
        except ValueError as err:
            self._reader.problem(at.mark, f"{at.value!r} is no moment: {err}", at.value)
            return None
        back = local.astimezone(UTC).astimezone(local.tzinfo)
        if back.replace(tzinfo=None) != local.replace(tzinfo=None):
            said = f"{at.value!r} never comes: the clocks jump over it"
            self._reader.problem(at.mark, said, at.value)
            return None
        return local


_YES_NO = ("orders.stopped", "ledger.reconciled")
_GANG = ("job.name", "job.gpus", "job.checkpoint_age", "job.priority", "job.tenant")
_NO_FACT: dict[str, tuple[str, ...]] = {
    "proposal.action": (),
    "proposal.world": (),
    # On a node, `job` is the gang that runs there: it has no facts, and yet an impact.
    **dict.fromkeys(_GANG, ("node", "gpu", "job")),
}
"""Names that may be given beside the facts, by the scopes that have them; () means all."""

_EVERY = (*_NO_FACT, *FACTS)


def belongs(key: str, scope: str) -> bool:
    """May a test of an action of this scope be given `key`?"""
    if key.partition(".")[0] in ("ledger", "orders"):
        return True
    if key in _NO_FACT and (not _NO_FACT[key] or scope in _NO_FACT[key]):
        return True
    return key in FACTS and scope in FACTS[key].scopes


def _expected(key: str, at: At) -> Any:
    if key in LISTS:
        ids = tuple(plain(at))
        return () if ids == (NONE,) else ids
    value = plain(at)
    return value == "true" if key == "halts" else value


def _has(tree: Tree, path: tuple[str, ...]) -> bool:
    if not path:
        return True
    inner = {k.text: v for k, v in tree.items} if isinstance(tree, YamlMapping) else {}
    return path[0] in inner and _has(inner[path[0]], path[1:])


def _items(at: At | None) -> list[tuple[str, At]]:
    return [] if at is None or not isinstance(at.value, dict) else list(at.value.items())


def _mappings(tree: Tree) -> dict[Mark, YamlMapping]:
    """Every mapping of a tree by its place; depth is bounded by the composer."""
    found: dict[Mark, YamlMapping] = {}
    if isinstance(tree, YamlMapping):
        found[tree.mark] = tree
        for _, value in tree.items:
            found |= _mappings(value)
    elif isinstance(tree, Sequence):
        for item in tree.items:
            found |= _mappings(item)
    return found
