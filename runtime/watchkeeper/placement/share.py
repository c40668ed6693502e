"""Whose turn it is: quotas with borrowing, and fair share that forgets with time.

A tenant's quota is its own at any time; what others leave idle may be borrowed, and is reclaimed
by preemption. Use counts less as it ages, so that nobody is punished for last month.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from watchkeeper.core.money import QuotaOrder, UsedUp
from watchkeeper.placement.words import WHOLE, Gang, Placement

HALF_LIFE_S = 24 * 3600.0
"""After so long, GPU-hours used count half."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What a tenant is promised. gpus: its own. most: with what it borrows; None: no limit.
    weight: its share of what is left over."""

    tenant: str
    gpus: float
    most: float | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.gpus < 0 or self.weight <= 0 or (self.most is not None and self.most < self.gpus):
            raise ValueError(f"{self.tenant}: gpus >= 0, weight > 0 and most >= gpus must hold")


def shares_of(
    orders: Iterable[QuotaOrder],
    used: Mapping[str, float],
    now: float,
    used_up: Iterable[UsedUp] = (),
) -> Shares:
    """Shares under these orders. used: GPU-seconds of late by tenant, faded up to now already.
    used_up: allowances that hold gangs back."""
    quotas = (Quota(o.tenant, o.gpus, o.gpus_at_most, o.weight) for o in orders)
    shares = Shares(quotas, used_up=used_up)
    for tenant, gpu_s in used.items():
        shares.remember(tenant, gpu_s, now)
    return shares


def used_up_for(orders: Iterable[UsedUp], tenant: str, pool: str) -> str:
    """Which allowance that covers a tenant in a pool is used up, in words; empty where none is."""
    for each in orders:
        if each.tenant in ("", tenant) and each.pool in ("", pool):
            return each.says
    return ""


def room_under(most: float, held: float, each: float) -> int:
    """How many workers of `each` GPUs more fit under what a tenant may hold; the dust of sums of
    floats is forgiven. Below 0 where it holds too much."""
    return int((most - held) / each + 1e-6)


def faded(value: float, passed_s: float, half_life_s: float = HALF_LIFE_S) -> float:
    """What is left of use after so long."""
    return float(value * 0.5 ** (max(0.0, passed_s) / half_life_s))


class Shares:
    """What each tenant holds and has used. Tenants without a quota own nothing and may borrow.

    Times are seconds that never run backwards.
    """

    def __init__(
        self,
        quotas: Iterable[Quota] = (),
        half_life_s: float = HALF_LIFE_S,
        used_up: Iterable[UsedUp] = (),
    ) -> None:
        self._used_up = tuple(used_up)
        self._quotas = {quota.tenant: quota for quota in quotas}
        self._half_life_s = half_life_s
        self._held: dict[str, float] = {}
        self._used: dict[str, tuple[float, float]] = {}

    def took(self, placement: Placement, now: float) -> None:
        """A gang began, or grew."""
        self._hold(placement.gang.tenant, placement.gpus, now)

    def gave(self, placement: Placement, now: float) -> None:
        """A gang ended, or shrank."""
        self._hold(placement.gang.tenant, -placement.gpus, now)

    def remember(self, tenant: str, gpu_s: float, now: float) -> None:
        """GPU-seconds that it used before anything was told here, faded up to now."""
        self._used[tenant] = (gpu_s, now)

    def held(self, tenant: str) -> float:
        """GPUs it holds now."""
        return self._held.get(tenant, 0.0)

    def borrowed(self, tenant: str) -> float:
        """GPUs it holds beyond its quota."""
        return max(0.0, self.held(tenant) - self.quota(tenant).gpus)

    def quota(self, tenant: str) -> Quota:
        return self._quotas.get(tenant) or Quota(tenant, 0.0)

    def workers(self, gang: Gang) -> int:
        """How many workers of this gang its tenant may add to what it holds, borrowing included."""
        most, each = self.quota(gang.tenant).most, gang.piece.gpu_milli
        if each and self._used_up and self._over(gang):
            return 0
        if most is None or not each:
            return gang.count
        return min(gang.count, room_under(most, self.held(gang.tenant), each / WHOLE))

    def refuses(self, gang: Gang) -> str:
        """Why its tenant may not start it now, for people; empty when it may."""
        if self.workers(gang) >= gang.floor:
            return ""
        if over := self._over(gang):
            return over
        tenant, most = gang.tenant, self.quota(gang.tenant).most
        return f"tenant {tenant} holds {self.held(tenant):g} GPUs and may hold {most:g}"

    def _over(self, gang: Gang) -> str:
        return used_up_for(self._used_up, gang.tenant, gang.pool)

    def within_quota(self, gang: Gang) -> bool:
        """It would run on what is its tenant's own."""
        wanted = gang.floor * gang.piece.gpu_milli / WHOLE
        return self.held(gang.tenant) + wanted <= self.quota(gang.tenant).gpus + 1e-9

    def used(self, tenant: str, now: float) -> float:
        """GPU-seconds used for each unit of weight, older ones counting less."""
        value, at = self._used.get(tenant, (0.0, now))
        fresh = self.held(tenant) * max(0.0, now - at)
        return (self._faded(value, now - at) + fresh) / self.quota(tenant).weight

    def load(self, tenant: str, now: float) -> float:
        """GPUs it holds, and held on average of late, for each unit of weight."""
        average = self.used(tenant, now) * math.log(2) / self._half_life_s
        return average + self.held(tenant) / self.quota(tenant).weight

    def _hold(self, tenant: str, gpus: float, now: float) -> None:
        self._used[tenant] = (self.used(tenant, now) * self.quota(tenant).weight, now)
        self._held[tenant] = max(0.0, self.held(tenant) + gpus)

    def _faded(self, value: float, passed: float) -> float:
        return faded(value, passed, self._half_life_s)
