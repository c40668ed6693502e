"""What each tenant used of late and of its month, as the line needs it: folds of what was metered.

GPU-seconds count half after a day, so that nobody is punished for last month.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec

from watchkeeper.capacity.bill import columns
from watchkeeper.capacity.burn import burn
from watchkeeper.core.event import Event
from watchkeeper.core.money import Allowance, UsedUp
from watchkeeper.core.usage import UsageRecord
from watchkeeper.placement.share import faded
from watchkeeper.policy.model import CheckedPolicy

MOST_RECORDS = 33 * 96
"""Records of metering kept: a quarter of an hour each, a little more than the longest month."""

MOST_TENANTS = 1000
"""Tenants name themselves; of so many the ones that used least are forgotten."""


class Used(NamedTuple):
    """GPU-seconds, faded up to `at`."""

    gpu_s: float
    at: datetime


def add_use(used: dict[str, Used], event: Event) -> None:
    """Add one line of metering. Work without a tenant counts as the tenant \"\"."""
    told = msgspec.convert(event.data["usage"], UsageRecord)
    for tenants in told.tenants.values():
        for tenant, hours in tenants.items():
            before = _until(used.get(tenant), told.last)
            used[tenant] = Used(before + hours * 3600.0, told.last)
    if len(used) > MOST_TENANTS:
        least = sorted(used, key=lambda t: _until(used[t], told.last))
        for tenant in least[: len(used) - MOST_TENANTS]:
            del used[tenant]


@dataclass
class Month:
    """The metering of a month, and which allowances hold gangs back by it; worked out anew when
    something was metered, and each quarter of an hour."""

    records: deque[UsageRecord] = field(default_factory=lambda: deque(maxlen=MOST_RECORDS))
    heard: int = 0
    _known: tuple[tuple[object, ...], tuple[UsedUp, ...]] = ((), ())

    def add(self, event: Event) -> None:
        """Add one line of metering."""
        self.records.append(msgspec.convert(event.data["usage"], UsageRecord))
        self.heard += 1

    def used_up(self, policy: CheckedPolicy | None, now: datetime) -> tuple[UsedUp, ...]:
        """Allowances that hold gangs back now. What nobody watched is not counted."""
        holding = [a for a in policy.allowances if a.holds] if policy is not None else []
        if policy is None or not holding:
            return ()
        key = (self.heard, policy.version, int(now.timestamp() // 900))
        if self._known[0] != key:
            table = columns(self.records)
            burns = [(a, burn(table, a, None, now)) for a in holding]
            over = [(a, b.used) for a, b in burns if b.used is not None and b.used >= a.amount]
            self._known = (key, tuple(_says(allowance, used) for allowance, used in over))
        return self._known[1]


def _says(allowance: Allowance, used: float) -> UsedUp:
    says = (
        f"the allowance {allowance.id} is used up: {used:,.0f} of {allowance.amount:,.0f} "
        f"{allowance.unit} this month"
    )
    return UsedUp(tenant=allowance.tenant, pool=allowance.pool, says=says)


def used_now(used: Mapping[str, Used], now: datetime) -> dict[str, float]:
    """GPU-seconds by tenant, faded up to now."""
    return {tenant: _until(each, now) for tenant, each in used.items()}


def _until(used: Used | None, now: datetime) -> float:
    return 0.0 if used is None else faded(used.gpu_s, (now - used.at).total_seconds())
