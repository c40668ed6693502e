"""What capacity costs, and what may be spent on it: the price book's words and the policy's.

A price that is not written is Unknown (None), never a guess and never zero.
"""

from collections.abc import Mapping
from datetime import date

from watchkeeper.core.word import Word

KINDS_OF_CAPACITY = ("reserved", "on_demand", "spot", "burst")
"""Ways to get more nodes, in the order in which they are told. reserved: paid for its whole term,
used or not. on_demand: taken ahead for some hours. spot: the same, and it may be taken away.
burst: taken only in the hour in which it is needed."""


class Offer(Word, frozen=True):
    """One way to get nodes of a pool. gpu_hour: per GPU and hour, in the book's currency.

    nodes_at_most: how many can be had. at_least_h: once taken, paid for at least so many hours.
    term_h: hours that a reservation is paid for. holds: the share of its time that a node is
    really there, such as 0.9 for spot nodes of which one hour in ten is taken away.
    """

    gpu_hour: float
    nodes_at_most: int
    at_least_h: int = 1
    term_h: float = 0.0
    holds: float = 1.0


class PoolPrice(Word, frozen=True):
    """What one pool costs. gpu_hour: a GPU-hour of the nodes that are there, used or not; None
    where the book does not say. offers: by kind of capacity."""

    gpus_per_node: int = 0
    gpu_hour: float | None = None
    offers: dict[str, Offer] = {}


class PriceBook(Word, frozen=True):
    """Prices as somebody wrote them down, for the days from `first` to `last`, both included.

    kwh: what a kilowatt-hour costs where energy is paid for beside the GPU-hours; None where it
    is part of them or nobody wrote it. overhead: kWh bought for each kWh that a GPU draws.
    """

    name: str
    currency: str
    pools: dict[str, PoolPrice]
    first: date
    last: date
    description: str = ""
    kwh: float | None = None
    overhead: float = 1.0
    version: str = ""

    def of(self, pool: str) -> PoolPrice | None:
        """The prices of a pool; None where the book does not name it."""
        return self.pools.get(pool)

    def holds_on(self, day: date) -> bool:
        """Do these prices hold on this day?"""
        return self.first <= day <= self.last


MEASURES = ("gpu_hours", "money", "energy_kwh")
"""What an allowance may count."""


class Allowance(Word, frozen=True):
    """What may be used in one calendar month, by a tenant, in a pool, or by all.

    measure: one of `MEASURES`; amount in GPU-hours held, in `currency`, or in kWh drawn by GPUs.
    tz: the zone in which the month begins. warn_share: of the amount, at which people are told.
    holds: once it is used up, gangs that it covers wait until the month is over.
    """

    id: str
    measure: str
    amount: float
    currency: str = ""
    tenant: str = ""
    pool: str = ""
    tz: str = "UTC"
    warn_share: float = 0.8
    where: str = ""
    holds: bool = False

    @property
    def unit(self) -> str:
        """What it counts, in words."""
        return {"gpu_hours": "GPU-hours", "energy_kwh": "kWh"}.get(self.measure, self.currency)


class CapacityOrder(Word, frozen=True):
    """What policy says of one pool's size. service_level: the share of the time in which the
    forecast demand must fit. spot_share: of what is planned at most so much may be spot."""

    pool: str
    service_level: float
    spot_share: float = 0.0
    nodes_at_most: int | None = None
    where: str = ""


def order_for(orders: Mapping[str, CapacityOrder], pool: str) -> CapacityOrder | None:
    """What is said of this pool, or of every pool that is not named."""
    return orders.get(pool, orders.get("default"))


class UsedUp(Word, frozen=True):
    """An allowance that holds gangs back now: those of this tenant and in this pool, where "" is
    all. says: why, for people."""

    tenant: str
    pool: str
    says: str


class QuotaOrder(Word, frozen=True):
    """What policy promises a tenant over the whole fleet. gpus: its own at any time.
    gpus_at_most: with what it borrows; None: as much as is free. weight: its share of what is left
    over."""

    tenant: str
    gpus: float
    gpus_at_most: float | None = None
    weight: float = 1.0
    where: str = ""


class FeedOrder(Word, frozen=True):
    """What a power feed may carry. limit_w: of GPU power; act_share: of it, where caps begin;
    least_w: no GPU is capped below this. full_w: what a GPU may draw uncapped; None where policy
    does not say, and then a person takes caps back."""

    feed: str
    limit_w: float
    act_share: float = 0.95
    least_w: float = 200.0
    full_w: float | None = None
    where: str = ""
