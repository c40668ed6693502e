"""Policy text to a CheckedPolicy, or every mistake of every file at once.

Asked at start, on reload and by `policy check`. Reads no files and never repairs what it reads.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from watchkeeper.core.action import KINDS, TRAITS
from watchkeeper.core.errors import PolicyError, Problem
from watchkeeper.core.facts import FACTS, declared_for
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.expr import Condition, Fault, compile_condition
from watchkeeper.policy.guards import flaws_of
from watchkeeper.policy.lint import lint
from watchkeeper.policy.model import Approvals, CheckedPolicy, Limit, Require, Rule, Window
from watchkeeper.policy.reader import At, Reader, plain
from watchkeeper.policy.schema import DAYS, PEOPLE, POLICY
from watchkeeper.policy.windows import is_calendar
from watchkeeper.policy.yaml_text import Mapping as YamlMapping
from watchkeeper.policy.yaml_text import Mark, Scalar, compose

__all__ = ["CHANGING", "CheckedPolicy", "load"]

CHANGING = tuple(kind for kind in KINDS if TRAITS[kind].changes)
"""What `"*"` stands for: every kind of action that changes the cluster."""


def load(files: Mapping[str, str], at: datetime) -> CheckedPolicy:
    """Check a folder's files (name -> text) as one policy. `at` decides which dates are over.

    Raises PolicyError with every problem of every file, ordered by place.
    """
    problems: list[Problem] = []
    documents = [d for name in sorted(files) if (d := _document(name, files[name], problems))]
    people = _people(documents)
    windows = _windows(documents)
    limits = _limits(documents)
    rules = _rules(documents, windows, people)
    warnings: list[Problem] = []
    if not problems:
        for problem, fatal in lint(rules, limits, windows, people, at):
            (problems if fatal else warnings).append(problem)
    if not files:
        problems.append(Problem("policies", 1, 1, "there are no policy files"))
    if problems:
        raise PolicyError(tuple(sorted(set(problems), key=lambda p: (p.file, p.line, p.column))))
    means = {reader.file: plain(top) for reader, top in documents}
    canonical = msgspec.json.encode(means, order="sorted")
    return CheckedPolicy(
        version=hashlib.sha256(canonical).hexdigest()[:12],
        people=people,
        windows=windows,
        rules=tuple(rules),
        limits=tuple(limits),
        sources=dict(files),
        warnings=tuple(warnings),
        rules_for={k: tuple(r for r in rules if k in r.actions) for k in KINDS},
        limits_for={k: tuple(x for x in limits if k in x.actions) for k in KINDS},
        reads={k: _reads(k, rules) for k in KINDS},
    )


_Documents = list[tuple[Reader, At]]


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


def _people(documents: _Documents) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for reader, top in documents:
        for group, members in top.of("people", {}).items():
            if group in groups:
                reader.problem(members.mark, f"the group {group!r} is defined twice", group)
                continue
            groups[group] = tuple(dict.fromkeys(m.value for m in members.value))
    return groups


def _windows(documents: _Documents) -> dict[str, Window]:
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
    if zone.value not in _zones():
        said = f"{zone.value!r} is not an IANA time zone"
        reader.problem(zone.mark, said, zone.value, _zones())
        return None
    if begin.value % 1440 == end.value % 1440 and end.value != 1440:
        said = f"the window {name!r} never opens: it closes at the minute it opens"
        reader.problem(begin.mark, f'{said}; a whole day is from "00:00" to "24:00"')
        return None
    if begin.value == 1440:
        reader.problem(begin.mark, 'a window opens at "00:00", not at "24:00"', "24:00")
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
    )


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _limits(documents: _Documents) -> list[Limit]:
    limits: dict[str, Limit] = {}
    for reader, top in documents:
        for spec in top.each("limits"):
            ident = spec.of("id", f"{reader.file}:{spec.mark.line}")
            if ident in limits:
                said = f"the limit {ident!r} is defined twice; first at {limits[ident].where}"
                reader.problem(spec.mark, said, ident)
                continue
            rate, out = spec.get("rate"), spec.get("max_out")
            if rate is None and out is None and not {"rate", "max_out"} & set(spec.value):
                reader.problem(spec.mark, "a limit needs `max_out` or `rate`", ident)
            if out is not None and not out.value:
                reader.problem(out.mark, "`max_out` needs `count` or `percent`")
            if out and spec.of("per") in ("tenant", "job") and out.get("percent"):
                said = "a percentage needs a size, and a tenant or job has none; use `count`"
                reader.problem(out.mark, said, "percent")
            if rate and rate.of("per", 0.0) > 7 * 86400:
                reader.problem(rate.mark, "the ledger looks back 7 days; `per` is at most 7d")
            limits[ident] = Limit(
                id=ident,
                actions=_actions(spec),
                per=spec.of("per", ""),
                where=f"{reader.file}:{spec.mark.line}",
                max_count=out.of("count") if out else None,
                max_percent=out.of("percent") if out else None,
                rate_count=rate.of("count") if rate else None,
                rate_per_s=rate.of("per", 0.0) if rate else 0.0,
                reason=spec.of("reason", ""),
            )
    return list(limits.values())


def _rules(
    documents: _Documents, windows: dict[str, Window], people: dict[str, tuple[str, ...]]
) -> list[Rule]:
    rules: dict[str, Rule] = {}
    for reader, top in documents:
        for spec in top.each("rules"):
            ident = spec.of("id", f"{reader.file}:{spec.mark.line}")
            if ident in rules:
                said = f"the rule {ident!r} is defined twice; first at {rules[ident].where}"
                reader.problem(spec.mark, said, ident)
                continue
            if spec.get("effect") and spec.get("actions"):
                rules[ident] = _rule(reader, spec, windows, people)
    return list(rules.values())


def _rule(
    reader: Reader, spec: At, windows: dict[str, Window], people: dict[str, tuple[str, ...]]
) -> Rule:
    effect = Decision(spec.of("effect"))
    for name in spec.each("during"):
        if name.value not in windows:
            reader.problem(name.mark, f"no window is called {name.value!r}", name.value, windows)
    require, asks = spec.get("require"), spec.get("approvals")
    if require is not None and effect is Decision.DENY:
        said = "a deny rule takes no `require`: unmet, it would let more happen"
        reader.problem(require.mark, said, "require")
    if asks is not None and effect is not Decision.ASK:
        reader.problem(asks.mark, "`approvals` belongs to `effect: ask`", "approvals")
    until = spec.of("until")
    need = require or At({}, spec.mark)
    actions = _actions(spec)
    return Rule(
        id=spec.of("id", ""),
        effect=effect,
        actions=actions,
        where=f"{reader.file}:{spec.mark.line}",
        during=tuple(dict.fromkeys(name.value for name in spec.each("during"))),
        when=_condition(reader, spec.get("when"), actions),
        require=Require(
            checkpoint_age_s=need.of("checkpoint_age"),
            confidence=need.of("confidence"),
            independent_sources=need.of("independent_sources"),
        ),
        approvals=_approvals(reader, asks, people) if asks else Approvals(),
        verify_within_s=need.of("verify_within"),
        shadow=spec.of("mode") == "shadow",
        until=datetime.combine(until + timedelta(days=1), time(), UTC) if until else None,
        reason=spec.of("reason", ""),
    )


def _approvals(reader: Reader, asks: At, people: dict[str, tuple[str, ...]]) -> Approvals:
    groups = []
    for group in asks.each("from"):
        name = group.value.removeprefix("group:")
        if name not in people:
            reader.problem(group.mark, f"no group is called {name!r}", name, people)
        groups.append(name)
    return Approvals(
        quorum=asks.of("quorum", 1),
        groups=tuple(sorted(set(groups))),
        expires_s=asks.of("expires", 900.0),
        on_timeout=asks.of("on_timeout", "escalate"),
    )


def _actions(spec: At) -> frozenset[str]:
    """The kinds that a list of actions stands for."""
    kinds: set[str] = set()
    for item in spec.each("actions"):
        if item.value == "*":
            kinds.update(CHANGING)
        elif item.value.endswith(".*"):
            kinds.update(k for k in CHANGING if k.startswith(item.value[:-1]))
        else:
            kinds.add(item.value)
    return frozenset(kinds)


def _condition(reader: Reader, at: At | None, actions: frozenset[str]) -> Condition | None:
    if at is None or at.scalar is None:
        return None
    compiled = compile_condition(at.value)
    scopes = tuple(sorted({TRAITS[kind].scope for kind in actions}))
    declared = declared_for(scopes)
    if not isinstance(compiled, Condition):
        for fault in compiled:
            _report(reader, at.scalar, fault, declared)
        return None
    for name in sorted(compiled.names - set(declared)):
        without = sorted(k for k in actions if TRAITS[k].scope not in FACTS[name].scopes)
        said = f"{name} is not a fact of {', '.join(without)}, which this rule names as well"
        _report(reader, at.scalar, _fault_at(at.value, at.value.find(name), said, name))
    for flaw in flaws_of(compiled):
        _report(reader, at.scalar, _fault_at(at.value, flaw.at, flaw.message, flaw.offending))
    return compiled


def _fault_at(text: str, offset: int, message: str, offending: str) -> Fault:
    before = text[: max(offset, 0)]
    return Fault(before.count("\n") + 1, len(before) - before.rfind("\n"), message, offending)


def _report(
    reader: Reader, scalar: Scalar, fault: Fault, declared: Mapping[str, object] | None = None
) -> None:
    """A fault inside a condition, placed in its file.

    A text on one line, and a `|` block, are found exactly; a text that YAML folded is reported
    where it begins.
    """
    mark = scalar.mark
    quote = 1 if scalar.style in ('"', "'") else 0
    if scalar.style == "|":
        mark = Mark(mark.line + fault.line, scalar.indent + fault.column)
    elif scalar.style != ">" and scalar.last_line == mark.line:
        mark = Mark(mark.line, mark.column + quote + fault.column - 1)
    among = [*declared, "now"] if declared else ()
    reader.problem(mark, fault.message, fault.offending, among)


def _reads(kind: str, rules: list[Rule]) -> frozenset[str]:
    return frozenset().union(*(r.when.names for r in rules if r.when and kind in r.actions))
