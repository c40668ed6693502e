"""What is wrong, or odd, about a whole policy although each line of it is well formed.

Fatal: what can never have been meant (a rule that nothing can reach, a question that nobody can
answer). Warnings: what is allowed and likely a slip. Only what is simple to prove is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from watchkeeper.core.action import TRAITS
from watchkeeper.core.errors import Problem
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.invariants import CEILING_PER_HOUR
from watchkeeper.policy.model import Limit, Rule, Window
from watchkeeper.policy.windows import is_open, opens_at

Finding = tuple[Problem, bool]
"""A problem, and whether it is fatal."""

TAKES_OUT = frozenset({"node.cordon", "node.drain", "node.restart", "node.reboot", "node.replace"})
"""Kinds after which a node is out that was not out before (core.impact)."""


def lint(
    rules: list[Rule],
    limits: list[Limit],
    windows: Mapping[str, Window],
    people: Mapping[str, tuple[str, ...]],
    at: datetime,
) -> list[Finding]:
    """Every finding over all files."""
    return [
        *_twins(rules),
        *_unreachable(rules),
        *_unanswerable(rules, people),
        *_over(rules, at),
        *_empty_windows(windows, rules, at),
        *_idle_limits(limits),
        *_nothing(rules),
    ]


def _at(where: str, message: str, offending: str = "") -> Problem:
    file, _, line = where.rpartition(":")
    return Problem(file, int(line), 1, message, offending)


def _twins(rules: list[Rule]) -> Iterator[Finding]:
    seen: dict[tuple[object, ...], Rule] = {}
    for rule in rules:
        key = (
            rule.effect,
            rule.actions,
            frozenset(rule.during),
            rule.when.text.strip() if rule.when else "",
            rule.require,
            rule.approvals,
            rule.verify_within_s,
            rule.shadow,
            rule.until,
        )
        first = seen.setdefault(key, rule)
        if first is not rule:
            said = f"the rule {rule.id!r} says the same as {first.id!r} at {first.where}"
            yield _at(rule.where, said, rule.id), True


def _unreachable(rules: list[Rule]) -> Iterator[Finding]:
    always = [r for r in rules if _unconditional(r) and r.effect is Decision.DENY]
    for rule in rules:
        if rule.effect is Decision.DENY or rule.shadow:
            continue
        walls = [deny for deny in always if rule.actions & deny.actions]
        if rule.actions <= frozenset().union(*(deny.actions for deny in walls)):
            said = f"the rule {rule.id!r} can never decide: {walls[0].id!r} always denies"
            yield _at(rule.where, f"{said} ({walls[0].where})", rule.id), True


def _unconditional(rule: Rule) -> bool:
    return not rule.during and rule.when is None and rule.until is None and not rule.shadow


def _unanswerable(rules: list[Rule], people: Mapping[str, tuple[str, ...]]) -> Iterator[Finding]:
    asks = [r for r in rules if r.effect is Decision.ASK]
    for rule in asks:
        groups = rule.approvals.groups or tuple(people)
        who = {person for group in groups for person in people.get(group, ())}
        if len(who) < rule.approvals.quorum:
            said = f"the rule {rule.id!r} asks {rule.approvals.quorum} of {len(who)} people"
            hint = "; name them under `people`" if not who else ""
            yield _at(rule.where, said + hint, rule.id), True
    for i, rule in enumerate(asks):
        for other in asks[i + 1 :]:
            mine, theirs = set(rule.approvals.groups), set(other.approvals.groups)
            if mine and theirs and not mine & theirs and rule.actions & other.actions:
                said = f"{rule.id!r} and {other.id!r} ask different groups: where both match"
                yield _at(other.where, f"{said}, nobody can answer, and it is denied"), False


def _over(rules: list[Rule], at: datetime) -> Iterator[Finding]:
    for rule in rules:
        if rule.until is not None and rule.until <= at:
            said = f"the rule {rule.id!r} is over since {rule.until:%Y-%m-%d} 00:00Z"
            yield _at(rule.where, said, rule.id), False


def _empty_windows(
    windows: Mapping[str, Window], rules: list[Rule], at: datetime
) -> Iterator[Finding]:
    used = {name for rule in rules for name in rule.during}
    for window in windows.values():
        if not is_open(window, at) and opens_at(window, at) is None:
            yield _at(window.where, f"the window {window.name!r} never opens"), True
        if window.name not in used:
            yield _at(window.where, f"no rule uses the window {window.name!r}"), False


def _idle_limits(limits: list[Limit]) -> Iterator[Finding]:
    for limit in limits:
        out = limit.max_count is not None or limit.max_percent is not None
        if out and not limit.actions & TAKES_OUT:
            said = f"`max_out` of {limit.id!r} can never bind: none of its actions takes a node out"
            yield _at(limit.where, said, limit.id), False
        if limit.max_percent is not None and limit.max_percent > 50 and limit.per != "fleet":
            said = f"`percent` of {limit.id!r} can never bind: half of a {limit.per} is built in"
            yield _at(limit.where, said, limit.id), False
        built_in = CEILING_PER_HOUR * limit.rate_per_s / 3600 if limit.rate_count else 0
        disruptive = all(TRAITS[kind].disruptive for kind in limit.actions)
        if limit.rate_count and disruptive and limit.rate_count >= built_in + CEILING_PER_HOUR:
            said = f"`rate` of {limit.id!r} can never bind: {CEILING_PER_HOUR} an hour is built in"
            yield _at(limit.where, said, limit.id), False


def _nothing(rules: list[Rule]) -> Iterator[Finding]:
    if not any(r.effect is not Decision.DENY and not r.shadow for r in rules):
        problem = Problem("policies", 1, 1, "no rule allows or asks anything: all is denied")
        yield problem, False
