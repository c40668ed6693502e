"""What each tenant used of late, as the line needs it: a fold of what was metered.

GPU-seconds count half after a day, so that nobody is punished for last month.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from watchkeeper.core.event import Event
from watchkeeper.core.usage import UsageRecord
from watchkeeper.placement.share import faded

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


def used_now(used: Mapping[str, Used], now: datetime) -> dict[str, float]:
    """GPU-seconds by tenant, faded up to now."""
    return {tenant: _until(each, now) for tenant, each in used.items()}


def _until(used: Used | None, now: datetime) -> float:
    return 0.0 if used is None else faded(used.gpu_s, (now - used.at).total_seconds())
