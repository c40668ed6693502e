"""A checked policy: what remains of the files when nothing in them is wrong.

Only `load` makes these. Whoever holds a CheckedPolicy need not check anything again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from watchkeeper.core.errors import Problem
from watchkeeper.core.floors import Floors
from watchkeeper.core.money import Allowance, CapacityOrder, FeedOrder, QuotaOrder
from watchkeeper.core.serving import ServeOrder
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.expr import Batch, Condition
from watchkeeper.policy.index import Index


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """A span of local time. days: 0 is Monday, the day on which it opens. from_min and to_min:
    minutes after midnight; to_min <= from_min closes on the next day. holidays: a calendar such
    as `DE` or `DE-BE` whose public holidays keep it shut, or "". first and last: the local days
    between which it may open at all, both included."""

    name: str
    days: frozenset[int]
    from_min: int
    to_min: int
    zone: ZoneInfo
    holidays: str = ""
    where: str = ""
    first: date = date.min
    last: date = date.max

    @property
    def tz(self) -> str:
        return self.zone.key


@dataclass(frozen=True, slots=True)
class Require:
    """What must hold beside the condition; None where the rule does not say."""

    checkpoint_age_s: float | None = None
    confidence: float | None = None
    independent_sources: int | None = None


@dataclass(frozen=True, slots=True)
class Approvals:
    """What an ask demands. groups: who may answer; empty means every group. escalate_to: who may
    answer as well, and is called, once escalate_after_s have passed."""

    quorum: int = 1
    groups: tuple[str, ...] = ()
    expires_s: float = 900.0
    on_timeout: str = "escalate"
    escalate_after_s: float | None = None
    escalate_to: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Rule:
    """One rule. actions: kinds, written out. until: the moment it lapses, or None. enforcement:
    `advisory`, `soft` or `hard`; an allow is always hard."""

    id: str
    effect: Decision
    actions: frozenset[str]
    where: str
    during: tuple[str, ...] = ()
    when: Condition | None = None
    require: Require = field(default_factory=Require)
    approvals: Approvals = field(default_factory=Approvals)
    verify_within_s: float | None = None
    shadow: bool = False
    until: datetime | None = None
    reason: str = ""
    enforcement: str = "hard"

    @property
    def soft(self) -> bool:
        return self.enforcement == "soft"

    @property
    def binds(self) -> bool:
        """May it decide, or only be heard?"""
        return not self.shadow and self.enforcement != "advisory"


@dataclass(frozen=True, eq=False, slots=True)
class Exemption:
    """A written exception: lifts `rule` for these actions, where `when` holds, before `until`.

    Called so because Python has a word for exceptions already.
    """

    id: str
    rule: str
    actions: frozenset[str]
    where: str
    owner: str
    ticket: str
    until: datetime
    reason: str
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound: nodes out by count and percent (the smaller wins), a rate, actions under way at
    once, or several of these."""

    id: str
    actions: frozenset[str]
    per: str
    where: str
    max_count: int | None = None
    max_percent: float | None = None
    rate_count: int | None = None
    rate_per_s: float = 0.0
    concurrency: int | None = None
    reason: str = ""
    enforcement: str = "hard"
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent over the last `every_s` seconds; exactly one of the three is set."""

    id: str
    actions: frozenset[str]
    per: str
    every_s: float
    where: str
    disruptions: int | None = None
    gpu_hours: float | None = None
    money: float | None = None
    currency: str = ""
    reason: str = ""
    enforcement: str = "hard"
    shadow: bool = False


FIRST_DAY_H = 24.0
"""Nodes that are added are paid for at least this long: they count so in `impact.money`."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What a GPU-hour costs, by pool; `default` for the rest. No currency: no prices."""

    currency: str = ""
    gpu_hour: Mapping[str, float] = field(default_factory=dict)

    def of(self, pool: str) -> float | None:
        """The price of a GPU-hour in a pool; None where none is written."""
        return self.gpu_hour.get(pool, self.gpu_hour.get("default"))

    def cost(self, pool: str, gpu_hours: float, gpus_added: float = 0.0) -> float | None:
        """What an action costs: the GPU-hours lost, and the first day of GPUs that it adds, in
        the currency; None where the pool has no price."""
        price = self.of(pool)
        return None if price is None else round(price * (gpu_hours + gpus_added * FIRST_DAY_H), 2)


class Listed(NamedTuple):
    """A rule, and its place among the rules of its kind in the order of the files."""

    place: int
    rule: Rule


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """The rules of one kind that wait for the same windows; `during` names those, () for none.
    plain: rules without a condition. indexed: rules in the order of `index`. asked: those whose
    conditions only CEL can tell, in the order of `batch`."""

    during: tuple[str, ...]
    plain: tuple[Listed, ...]
    indexed: tuple[Listed, ...]
    index: Index
    asked: tuple[Listed, ...]
    batch: Batch


@dataclass(frozen=True, eq=False, slots=True)
class Docket:
    """The rules of one kind as the judge goes through them. waits: every window that one of them
    waits for, by name."""

    parts: tuple[Part, ...]
    waits: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class CheckedPolicy:
    """Every file of a folder, checked as one.

    version: 12 hex digits of the SHA-256 of what the files mean; comments do not count.
    rules_for, limits_for and budgets_for: by kind of action, so that a verdict looks at few.
    exempt: by rule id, what lifts it. reads: by kind, the facts that its conditions read.
    dockets: by kind, its rules as the judge goes through them. over: exceptions,
    rules and windows whose last day has passed: they do nothing, and `check` refuses them.
    allowances, capacity (by pool) and feeds (by power feed) are what costs are measured and pools
    are planned by, serving is what deployments promise, and quotas order the line; they decide
    nothing. floors: what S11 keeps. sources: the files as they
    were, for the journal.
    """

    version: str
    people: Mapping[str, tuple[str, ...]]
    windows: Mapping[str, Window]
    rules: tuple[Rule, ...]
    limits: tuple[Limit, ...]
    sources: Mapping[str, str]
    warnings: tuple[Problem, ...]
    rules_for: Mapping[str, tuple[Rule, ...]]
    limits_for: Mapping[str, tuple[Limit, ...]]
    reads: Mapping[str, frozenset[str]]
    over: tuple[Problem, ...] = ()
    budgets: tuple[Budget, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    prices: Prices = field(default_factory=Prices)
    budgets_for: Mapping[str, tuple[Budget, ...]] = field(default_factory=dict)
    exempt: Mapping[str, tuple[Exemption, ...]] = field(default_factory=dict)
    dockets: Mapping[str, Docket] = field(default_factory=dict)
    allowances: tuple[Allowance, ...] = ()
    capacity: Mapping[str, CapacityOrder] = field(default_factory=dict)
    feeds: Mapping[str, FeedOrder] = field(default_factory=dict)
    quotas: tuple[QuotaOrder, ...] = ()
    serving: Mapping[str, ServeOrder] = field(default_factory=dict)
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    floors: Floors = field(default_factory=Floors)
