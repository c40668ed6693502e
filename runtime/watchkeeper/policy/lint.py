"""What is wrong, or odd, about a whole policy although each line of it is well formed.

Errors: what can never have been meant (a rule that nothing can reach, a question that nobody can
answer). Over: what its own date has ended. Warnings: what is allowed and likely a slip. Only what
is simple to prove is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from watchkeeper.core.action import TRAITS
from watchkeeper.core.errors import Problem
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.invariants import CEILING_PER_HOUR
from watchkeeper.policy.model import Budget, Exemption, Limit, Rule, Window
from watchkeeper.policy.schema import BREAK_GLASS
from watchkeeper.policy.syntax import Meaning, conjuncts, meaning_of
from watchkeeper.policy.windows import is_open, opens_at


class Grade(Enum):
    """How much a finding weighs."""

    ERROR = "error"
    OVER = "over"
    WARNING = "warning"


Finding = tuple[Grade, Problem]


class Whole(NamedTuple):
    """The orders of all files together. unused: (kind, name, where) of variables and lists."""

    rules: list[Rule]
    limits: list[Limit]
    budgets: list[Budget]
    exemptions: list[Exemption]
    windows: Mapping[str, Window]
    people: Mapping[str, tuple[str, ...]]
    unused: tuple[tuple[str, str, str], ...]


TAKES_OUT = frozenset({"node.cordon", "node.drain", "node.restart", "node.reboot", "node.replace"})
"""Kinds after which a node is out that was not out before (core.impact)."""


def lint(whole: Whole, at: datetime) -> list[Finding]:
    """Every finding over all files."""
    return [
        *_twins(whole.rules),
        *_namesakes(whole),
        *_unreachable(whole),
        *_unanswerable(whole.rules, whole.people),
        *_over(whole, at),
        *_windows(whole.windows, whole.rules, at),
        *_idle_limits(whole.limits),
        *_idle_budgets(whole.budgets),
        *_unliftable(whole),
        *_unused(whole.unused),
        *_nothing(whole.rules),
    ]


def _at(grade: Grade, where: str, message: str, offending: str = "") -> Finding:
    file, _, line = where.rpartition(":")
    return grade, Problem(file, int(line), 1, message, offending)


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
            rule.enforcement,
        )
        first = seen.setdefault(key, rule)
        if first is not rule:
            said = f"the rule {rule.id!r} says the same as {first.id!r} at {first.where}"
            yield _at(Grade.ERROR, rule.where, said, rule.id)


def _namesakes(whole: Whole) -> Iterator[Finding]:
    """Two orders of one name, where lifting the one by break-glass would lift the other too."""
    orders: list[Rule | Limit | Budget] = [*whole.rules, *whole.limits, *whole.budgets]
    seen: dict[str, Rule | Limit | Budget] = {}
    for order in orders:
        first = seen.setdefault(order.id, order)
        if first is not order and "soft" in (first.enforcement, order.enforcement):
            said = f"{order.id!r} is soft here or at {first.where}, which has the same name"
            said += ": break-glass could not tell them apart"
            yield _at(Grade.ERROR, order.where, said, order.id)


def _unreachable(whole: Whole) -> Iterator[Finding]:
    """Rules that a stricter one always overtakes: it holds whenever they do. Behind a deny a rule
    is dead; an allow behind an ask is only overtaken, and still says how soon to verify."""
    exempt = {exemption.rule for exemption in whole.exemptions}
    lasting = [
        r
        for r in whole.rules
        if r.effect is not Decision.ALLOW and r.enforcement == "hard" and not r.shadow
        if r.until is None and r.id not in exempt
    ]
    parts = {rule: _parts(rule) for rule in whole.rules}
    filed = _by_a_part(lasting, parts)
    for rule in whole.rules:
        if not rule.binds:
            continue
        have = parts[rule]
        before = [
            wall
            for part in (None, *(have - {None}))
            for wall in filed.get(part, ())
            if wall.wants <= have and wall.stands_before(rule)
        ]
        walls = [wall.rule for wall in sorted(before, key=lambda wall: wall.place)]
        if rule.actions <= frozenset().union(*(wall.actions for wall in walls)):
            denied = all(w.effect is Decision.DENY for w in walls)
            verb, grade = ("denies", Grade.ERROR) if denied else ("asks", Grade.WARNING)
            wall = next(w for w in walls if denied or w.effect is Decision.ASK)
            said = f"the rule {rule.id!r} can never decide: {wall.id!r} always {verb}"
            yield _at(grade, rule.where, f"{said} ({wall.where})", rule.id)


class _Wall(NamedTuple):
    """A rule that others may never get past. wants: what must be true for it to hold."""

    place: int
    rule: Rule
    wants: set[Meaning | None]

    def stands_before(self, other: Rule) -> bool:
        """Is it stricter, for an action of the other's, and open whenever the other is?"""
        mine, theirs = self.rule.during, other.during
        if mine and not (theirs and set(theirs) <= set(mine)):
            return False
        stricter = self.rule.effect.strictness > other.effect.strictness
        return stricter and bool(self.rule.actions & other.actions)


def _by_a_part(
    rules: list[Rule], parts: Mapping[Rule, set[Meaning | None]]
) -> dict[Meaning | None, list[_Wall]]:
    """Walls, each under one part of its condition, or None where it has no condition.

    A rule that lacks that part lacks something that the wall wants. So each rule is held against
    few walls, and the check of a large policy stays near linear.
    """
    filed: dict[Meaning | None, list[_Wall]] = {}
    for place, rule in enumerate(rules):
        wants = parts[rule]
        if None not in wants:  # else it says what no other rule can be seen to say
            filed.setdefault(next(iter(wants), None), []).append(_Wall(place, rule, wants))
    return filed


def _parts(rule: Rule) -> set[Meaning | None]:
    """What must all be true for the condition to be; empty without one."""
    return {meaning_of(part) for part in conjuncts(rule.when.tree)} if rule.when else set()


def _unanswerable(rules: list[Rule], people: Mapping[str, tuple[str, ...]]) -> Iterator[Finding]:
    asks = [r for r in rules if r.effect is Decision.ASK]
    for rule in asks:
        groups = rule.approvals.groups or tuple(people)
        who = {person for group in groups for person in people.get(group, ())}
        if len(who) < rule.approvals.quorum:
            said = f"the rule {rule.id!r} asks {rule.approvals.quorum} of {len(who)} people"
            hint = "; name them under `people`" if not who else ""
            yield _at(Grade.ERROR, rule.where, said + hint, rule.id)
    for i, rule in enumerate(asks):
        for other in asks[i + 1 :]:
            mine, theirs = set(rule.approvals.groups), set(other.approvals.groups)
            if mine and theirs and not mine & theirs and rule.actions & other.actions:
                said = f"{rule.id!r} and {other.id!r} ask different groups: where both match"
                said += ", nobody can answer, and it is denied"
                yield _at(Grade.WARNING, other.where, said)


def _over(whole: Whole, at: datetime) -> Iterator[Finding]:
    for rule in whole.rules:
        if rule.until is not None and rule.until <= at:
            said = f"the rule {rule.id!r} is over since {rule.until:%Y-%m-%d} 00:00Z"
            yield _at(Grade.OVER, rule.where, said, rule.id)
    for exemption in whole.exemptions:
        if exemption.until <= at:
            said = (
                f"the exception {exemption.id!r} is over since {exemption.until:%Y-%m-%d} 00:00Z; "
                f"take it out, or agree a new end with {exemption.owner}"
            )
            yield _at(Grade.OVER, exemption.where, said, exemption.id)


def _windows(windows: Mapping[str, Window], rules: list[Rule], at: datetime) -> Iterator[Finding]:
    used = {name for rule in rules for name in rule.during}
    for window in windows.values():
        if not is_open(window, at) and opens_at(window, at) is None:
            past = window.last < at.astimezone(window.zone).date()
            said = f"the window {window.name!r} " + (
                f"is over since {window.last}" if past else "never opens"
            )
            yield _at(Grade.OVER if past else Grade.ERROR, window.where, said, window.name)
        if window.name not in used:
            said = f"no rule uses the window {window.name!r}"
            yield _at(Grade.WARNING, window.where, said, window.name)


def _idle_limits(limits: list[Limit]) -> Iterator[Finding]:
    for limit in limits:
        out = limit.max_count is not None or limit.max_percent is not None
        if out and not limit.actions & TAKES_OUT:
            said = f"`max_out` of {limit.id!r} can never bind: none of its actions takes a node out"
            yield _at(Grade.WARNING, limit.where, said, limit.id)
        if limit.max_percent is not None and limit.max_percent > 50 and limit.per != "fleet":
            said = f"`percent` of {limit.id!r} can never bind: half of a {limit.per} is built in"
            yield _at(Grade.WARNING, limit.where, said, limit.id)
        built_in = CEILING_PER_HOUR * limit.rate_per_s / 3600 if limit.rate_count else 0
        disruptive = all(TRAITS[kind].disruptive for kind in limit.actions)
        if limit.rate_count and disruptive and limit.rate_count >= built_in + CEILING_PER_HOUR:
            said = f"`rate` of {limit.id!r} can never bind: {CEILING_PER_HOUR} an hour is built in"
            yield _at(Grade.WARNING, limit.where, said, limit.id)


def _idle_budgets(budgets: list[Budget]) -> Iterator[Finding]:
    for budget in budgets:
        disruptive = any(TRAITS[kind].disruptive for kind in budget.actions)
        if budget.disruptions is not None and not disruptive:
            said = f"the budget {budget.id!r} can never bind: none of its actions is disruptive"
            yield _at(Grade.WARNING, budget.where, said, budget.id)


def _unliftable(whole: Whole) -> Iterator[Finding]:
    if whole.people.get(BREAK_GLASS):
        return
    orders: list[Rule | Limit | Budget] = [*whole.rules, *whole.limits, *whole.budgets]
    for order in orders:
        if order.enforcement == "soft":
            said = f"{order.id!r} is soft, and nobody may lift it: no group {BREAK_GLASS!r}"
            yield _at(Grade.WARNING, order.where, said, order.id)


def _unused(unused: tuple[tuple[str, str, str], ...]) -> Iterator[Finding]:
    for kind, name, where in unused:
        yield _at(Grade.WARNING, where, f"nothing uses the {kind} {name!r}", name)


def _nothing(rules: list[Rule]) -> Iterator[Finding]:
    if not any(r.effect is not Decision.DENY and r.binds for r in rules):
        said = "no rule allows or asks anything: all is denied"
        yield Grade.WARNING, Problem("policies", 1, 1, said)
