"""What another set's quotas would have meant: held against what each tenant was metered to hold.

Asked by `compare`. A quota refuses no action, so no replayed verdict tells of it; it holds gangs
back in the line, and lets what is borrowed be claimed back.
"""

from __future__ import annotations

import msgspec

from watchkeeper.core.money import QuotaOrder
from watchkeeper.core.usage import UsageRecord
from watchkeeper.policy.history.comparison import QuotaChange
from watchkeeper.policy.model import CheckedPolicy

_EPSILON = 1e-6


class Shares:
    """Counts, over metered stretches, when a tenant held more than each set lets it."""

    def __init__(self, old: CheckedPolicy, new: CheckedPolicy) -> None:
        before = {q.tenant: q for q in old.quotas}
        after = {q.tenant: q for q in new.quotas}
        self._changed = {
            tenant: (before.get(tenant), after.get(tenant))
            for tenant in sorted({*before, *after})
            if _meant(before.get(tenant)) != _meant(after.get(tenant))
        }
        self._stretches = 0
        self._beyond = {tenant: [0, 0] for tenant in self._changed}
        self._borrowed = {tenant: [0, 0] for tenant in self._changed}

    def add(self, told: UsageRecord) -> None:
        """One stretch of metering, by the mean of the GPUs held in the time that was watched."""
        if not self._changed or told.known_s <= 0:
            return
        self._stretches += 1
        for tenant, quotas in self._changed.items():
            hours = sum(tenants.get(tenant, 0.0) for tenants in told.tenants.values())
            held = hours * 3600.0 / told.known_s
            for side, quota in enumerate(quotas):
                own = 0.0 if quota is None else quota.gpus
                most = None if quota is None else quota.gpus_at_most
                self._borrowed[tenant][side] += held > own + _EPSILON
                self._beyond[tenant][side] += most is not None and held > most + _EPSILON

    def closed(self) -> tuple[QuotaChange, ...]:
        """Every tenant whose quota differs, by name."""
        return tuple(
            QuotaChange(
                tenant=tenant,
                old=_says(old),
                new=_says(new),
                stretches=self._stretches,
                beyond_old=self._beyond[tenant][0],
                beyond_new=self._beyond[tenant][1],
                borrowed_old=self._borrowed[tenant][0],
                borrowed_new=self._borrowed[tenant][1],
            )
            for tenant, (old, new) in self._changed.items()
        )


def _meant(quota: QuotaOrder | None) -> QuotaOrder | None:
    """Without the place where it is written."""
    return None if quota is None else msgspec.structs.replace(quota, where="")


def _says(quota: QuotaOrder | None) -> str:
    if quota is None:
        return "none"
    most = (
        "as many as are free" if quota.gpus_at_most is None else f"at most {quota.gpus_at_most:g}"
    )
    weight = "" if quota.weight == 1.0 else f", weight {quota.weight:g}"
    return f"{quota.gpus:g} its own, {most}{weight}"
