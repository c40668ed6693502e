"""A checked policy: what remains of the files when nothing in them is wrong.

Only `load` makes these. Whoever holds a CheckedPolicy need not check anything again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from watchkeeper.core.errors import Problem
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.expr import Condition


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """A span of local time. days: 0 is Monday, the day on which it opens. from_min and to_min:
    minutes after midnight; to_min <= from_min closes on the next day. holidays: a calendar such
    as `DE` or `DE-BE` whose public holidays keep it shut, or ""."""

    name: str
    days: frozenset[int]
    from_min: int
    to_min: int
    zone: ZoneInfo
    holidays: str = ""
    where: str = ""

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
    """What an ask demands. groups: who may answer; empty means every group."""

    quorum: int = 1
    groups: tuple[str, ...] = ()
    expires_s: float = 900.0
    on_timeout: str = "escalate"


@dataclass(frozen=True, eq=False, slots=True)
class Rule:
    """One rule. actions: kinds, written out. until: the moment it lapses, or None."""

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


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound. max_out by count and percent (the smaller wins), or a rate, or both."""

    id: str
    actions: frozenset[str]
    per: str
    where: str
    max_count: int | None = None
    max_percent: float | None = None
    rate_count: int | None = None
    rate_per_s: float = 0.0
    reason: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class CheckedPolicy:
    """Every file of a folder, checked as one.

    version: 12 hex digits of the SHA-256 of what the files mean; comments do not count.
    rules_for and limits_for: by kind of action, so that a verdict looks at few. reads: by kind,
    the facts that its rules read. sources: the files as they were, for the journal.
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
