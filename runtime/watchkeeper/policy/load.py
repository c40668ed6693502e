"""Policy text to a CheckedPolicy, or every mistake of every file at once.

Asked at start, on reload and by `policy check`. Reads no files and never repairs what it reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from zoneinfo import ZoneInfo

import msgspec

from watchkeeper.core.action import KINDS
from watchkeeper.core.errors import PolicyError, Problem
from watchkeeper.policy.conditions import Conditions
from watchkeeper.policy.docket import docket
from watchkeeper.policy.lint import Grade, Whole, lint
from watchkeeper.policy.model import CheckedPolicy, Exemption, Rule, Window
from watchkeeper.policy.read_bounds import budgets_in, limits_in, prices_in
from watchkeeper.policy.read_capacity import (
    allowances_in,
    capacity_in,
    feeds_in,
    quotas_in,
    serving_in,
)
from watchkeeper.policy.read_floors import floors_in
from watchkeeper.policy.read_roles import roles_in
from watchkeeper.policy.read_rules import exemptions_in, rules_in
from watchkeeper.policy.reader import At, Reader, plain, zones
from watchkeeper.policy.schema import DAYS, PEOPLE, POLICY
from watchkeeper.policy.sections import CHANGING, Documents
from watchkeeper.policy.windows import is_calendar
from watchkeeper.policy.yaml_text import Mapping as YamlMapping
from watchkeeper.policy.yaml_text import Scalar, compose

__all__ = ["CHANGING", "CheckedPolicy", "load"]


def load(files: Mapping[str, str], at: datetime) -> CheckedPolicy:
    """Check a folder's files (name -> text) as one policy. `at` decides which dates are over.

    Raises PolicyError with every problem of every file, ordered by place.
    """
    problems: list[Problem] = []
    read = [_document(name, files[name], problems) for name in sorted(files)]
    documents = [document for document in read if document]
    people = _people(documents)
    windows = _windows(documents)
    prices = prices_in(documents)
    limits = limits_in(documents)
    budgets = budgets_in(documents, prices)
    allowances, capacity = allowances_in(documents), capacity_in(documents)
    feeds, quotas, serving = feeds_in(documents), quotas_in(documents), serving_in(documents)
    floors = floors_in(documents, capacity)
    conditions = Conditions(documents)
    rules = rules_in(documents, windows, people, conditions)
    exemptions = exemptions_in(documents, rules, conditions, at)
    roles = roles_in(documents, people, rules)
    if None not in read:
        problems.extend(_unresolved(documents, {*windows, *(rule.id for rule in rules)}))
    found: dict[Grade, list[Problem]] = {grade: [] for grade in Grade}
    if not problems:
        unused = tuple(conditions.unused())
        whole = Whole(rules, limits, budgets, exemptions, windows, people, unused)
        for grade, problem in lint(whole, at):
            found[grade].append(problem)
        problems.extend(found[Grade.ERROR])
    if not files:
        problems.append(Problem("policies", 1, 1, "there are no policy files"))
    if problems:
        raise PolicyError(tuple(sorted(set(problems), key=lambda p: (p.file, p.line, p.column))))
    # By the names of the files alone: a copy of a folder under another name means the same.
    means = {reader.file.rpartition("/")[2]: plain(top) for reader, top in documents}
    canonical = msgspec.json.encode(means, order="sorted")
    return CheckedPolicy(
        version=hashlib.sha256(canonical).hexdigest()[:12],
        people=people,
        windows=windows,
        rules=tuple(rules),
        limits=tuple(limits),
        sources=dict(files),
        warnings=tuple(found[Grade.WARNING]),
        over=tuple(found[Grade.OVER]),
        rules_for={k: tuple(r for r in rules if k in r.actions) for k in KINDS},
        limits_for={k: tuple(x for x in limits if k in x.actions) for k in KINDS},
        reads={k: _reads(k, rules, exemptions) for k in KINDS},
        budgets=tuple(budgets),
        exemptions=tuple(exemptions),
        prices=prices,
        budgets_for={k: tuple(b for b in budgets if k in b.actions) for k in KINDS},
        exempt={r.id: tuple(x for x in exemptions if x.rule == r.id) for r in rules},
        dockets={k: docket(k, rules) for k in KINDS},
        allowances=allowances,
        capacity=capacity,
        feeds=feeds,
        quotas=quotas,
        serving=serving,
        roles=roles,
        floors=floors,
    )


def _document(name: str, text: str, problems: list[Problem]) -> tuple[Reader, At] | None:
    tree, found = compose(name, text)
    problems.extend(found)
    reader = Reader(name, problems)
    if tree is None:
        return None
    kind = ""
    if isinstance(tree, YamlMapping):
        kinds = [v.text for k, v in tree.items if k.text == "kind" and isinstance(v, Scalar)]
        kind = kinds[0] if kinds else ""
    top = reader.read(tree, PEOPLE if kind == "People" else POLICY, "the file")
    return None if top is None else (reader, top)


_DEFINING = ("windows", "people", "variables", "lists")


def _unresolved(documents: Documents, defined: set[str]) -> Iterator[Problem]:
    """Names that nothing defines, but those whose definition is there and wrong: that is told.
    defined: the windows and rules that were read."""
    unread: set[str] = set()
    for _, top in documents:
        if top.wrong.intersection((*_DEFINING, "rules")):
            return  # a whole section: any name may stand in it
        for section in _DEFINING:
            found = top.get(section)
            unread |= found.wrong if found else set()
        unread |= top.of("windows", {}).keys() - defined
        unread |= {spec.of("id", "") for spec in top.each("rules")} - defined
    for reader, _ in documents:
        for problem in reader.unresolved:
            if problem.offending.rpartition(".")[2] not in unread:
                yield problem


def _people(documents: Documents) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for reader, top in documents:
        for group, members in top.of("people", {}).items():
            if group in groups:
                reader.problem(members.mark, f"the group {group!r} is defined twice", group)
                continue
            groups[group] = tuple(dict.fromkeys(m.value for m in members.value))
    return groups


def _windows(documents: Documents) -> dict[str, Window]:
    windows: dict[str, Window] = {}
    for reader, top in documents:
        for name, spec in top.of("windows", {}).items():
            if name in windows:
                said = f"the window {name!r} is defined twice; first at {windows[name].where}"
                reader.problem(spec.mark, said, name)
                continue
            window = _window(reader, name, spec)
            if window is not None:
                windows[name] = window
    return windows


def _window(reader: Reader, name: str, spec: At) -> Window | None:
    zone, begin, end = spec.get("tz"), spec.get("from"), spec.get("to")
    if zone is None or begin is None or end is None or spec.get("days") is None:
        return None
    if zone.value not in zones():
        said = f"{zone.value!r} is not an IANA time zone"
        reader.problem(zone.mark, said, zone.value, zones())
        return None
    if begin.value % 1440 == end.value % 1440 and end.value != 1440:
        said = f"the window {name!r} never opens: it closes at the minute it opens"
        reader.problem(begin.mark, f'{said}; a whole day is from "00:00" to "24:00"')
        return None
    if begin.value == 1440:
        reader.problem(begin.mark, 'a window opens at "00:00", not at "24:00"', "24:00")
        return None
    first, last = spec.get("first"), spec.get("last")
    if first and last and last.value < first.value:
        reader.problem(last.mark, f"the window {name!r} never opens: `last` is before `first`")
        return None
    calendar = spec.get("holidays")
    if calendar is not None and not is_calendar(calendar.value):
        said = f"there is no holiday calendar {calendar.value!r}"
        reader.problem(calendar.mark, said, calendar.value)
    return Window(
        name=name,
        days=frozenset(DAYS.index(day.value) for day in spec.each("days")),
        from_min=begin.value,
        to_min=end.value,
        zone=ZoneInfo(zone.value),
        holidays=calendar.value if calendar else "",
        where=f"{reader.file}:{spec.mark.line}",
        first=first.value if first else date.min,
        last=last.value if last else date.max,
    )


def _reads(kind: str, rules: list[Rule], exemptions: list[Exemption]) -> frozenset[str]:
    said: list[Rule | Exemption] = [*rules, *exemptions]
    return frozenset().union(*(x.when.names for x in said if x.when and kind in x.actions))
