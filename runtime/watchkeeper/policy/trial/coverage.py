"""Which rules a set of tests has decided both ways, and which limits and budgets refused.

A rule is covered when it was decided true at least once and false at least once, over all tests of
an action that it names. True: it matched. False: its condition was false, its windows were shut, a
requirement was not met, it was over, or an exception or a person lifted it. A rule that holds
always (no window, no condition, no requirement) needs only true. An error is neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from watchkeeper.core.facts import Facts
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.verdict import Verdict
from watchkeeper.policy.model import CheckedPolicy, Require, Rule
from watchkeeper.policy.trace import trace

_FALSE = frozenset({"false", "shut", "lapsed", "excepted", "lifted", "unmet"})


class Decided(NamedTuple):
    """How often a rule was decided true and false."""

    rule: Rule
    trues: int
    falses: int

    @property
    def lacks(self) -> tuple[str, ...]:
        """`true`, `false`, both, or nothing: what no test has shown yet."""
        needs_false = not always_holds(self.rule)
        lacking = (("true", not self.trues), ("false", needs_false and not self.falses))
        return tuple(word for word, missing in lacking if missing)


class Bound(NamedTuple):
    """A limit or budget, and in how many tests it refused (or would have: in shadow, advisory,
    or lifted)."""

    kind: str
    id: str
    where: str
    times: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """rules: every rule of the policy, in its order. bounds: every limit, then every budget."""

    rules: tuple[Decided, ...] = ()
    bounds: tuple[Bound, ...] = ()

    @property
    def covered(self) -> int:
        return sum(not rule.lacks for rule in self.rules)

    @property
    def percent(self) -> float:
        """Of the rules; 100 where there are none."""
        return 100.0 * self.covered / len(self.rules) if self.rules else 100.0


class Seen(NamedTuple):
    """What one test showed: the state of each candidate rule, and (id, place) of each reason."""

    states: tuple[tuple[str, str], ...]
    reasons: frozenset[tuple[str, str]]


def always_holds(rule: Rule) -> bool:
    """No window, no condition, no requirement: it cannot be false until it is over."""
    return not rule.during and rule.when is None and rule.require == Require()


def seen_in(
    policy: CheckedPolicy,
    kind: str,
    facts: Facts,
    ledger: LedgerView,
    now: datetime,
    verdict: Verdict,
) -> Seen:
    """What a test of this kind of action has shown."""
    return Seen(
        tuple((t.rule.id, t.state) for t in trace(policy, kind, facts, ledger, now)),
        frozenset((r.id, r.where) for r in verdict.reasons),
    )


def measure(policy: CheckedPolicy, tests: Iterable[Seen]) -> Coverage:
    """The coverage of all tests together."""
    trues = dict.fromkeys((rule.id for rule in policy.rules), 0)
    falses = dict(trues)
    times: dict[tuple[str, str], int] = {}
    for seen in tests:
        for ident, state in seen.states:
            trues[ident] += state == "matched"
            falses[ident] += state in _FALSE
        for key in seen.reasons:
            times[key] = times.get(key, 0) + 1
    bounds = [("limit", x.id, x.where) for x in policy.limits]
    bounds += [("budget", x.id, x.where) for x in policy.budgets]
    return Coverage(
        tuple(Decided(rule, trues[rule.id], falses[rule.id]) for rule in policy.rules),
        tuple(Bound(k, ident, where, times.get((ident, where), 0)) for k, ident, where in bounds),
    )
