"""What GPUs cost and what more of them would change, for page and command line alike.

Reads the record, the orders in force and a price book. It proposes nothing and buys nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from watchkeeper.capacity.ahead import Ahead, ahead, from_quantiles
from watchkeeper.capacity.bill import bill, columns
from watchkeeper.capacity.burn import burn
from watchkeeper.capacity.plan import plan
from watchkeeper.capacity.span import hours_of
from watchkeeper.capacity.what_if import what_if
from watchkeeper.control.watch import Watch
from watchkeeper.core.capacity import CapacityPlan, WhatIf
from watchkeeper.core.cluster import Node
from watchkeeper.core.errors import Refused
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.facts import SERVICE_LEVEL
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.impact import is_out
from watchkeeper.core.money import CapacityOrder, PriceBook, order_for
from watchkeeper.core.usage import Costs, UsageRecord
from watchkeeper.policy.model import CheckedPolicy

MOST_DAYS = 366.0
"""How far back a bill may go."""
HOUR = timedelta(hours=1)


class Spending:
    """Answers about money over one running Watch. book: None where no prices are known."""

    def __init__(self, watch: Watch, book: PriceBook | None) -> None:
        self._watch = watch
        self._book = book
        self._usage: list[UsageRecord] = []
        self._read_to = 0
        self._lock = threading.Lock()
        self._plans: dict[str, tuple[tuple[object, ...], CapacityPlan | str]] = {}

    def costs(self, days: float) -> Costs:
        """The bill of so many days until now, and this month's allowances."""
        watch = self._watch
        with self._lock:  # its own: the record's is the turn's, and this may read a file
            for event in watch.record.journal.events(self._read_to):
                self._read_to = event.seq
                if (found := metered(event)) is not None:
                    self._usage.append(found)
            usage = tuple(self._usage)
        policy = watch.policies.current()
        back = timedelta(days=min(max(days, 0.0), MOST_DAYS))
        return costs_of(usage, policy, self._book, watch.clock.now(), back, watch.world.value)

    def what_if(self, pool: str, add: int, begin: str, end: str, zone: str) -> WhatIf:
        """What `add` nodes would change. Raises Refused with what is missing or wrong."""
        if not -1000 <= add <= 1000 or add == 0:
            raise Refused("Say how many nodes more, or below 0, fewer: from -1000 to 1000.")
        demand, nodes, policy = self._ahead(pool)
        gpus = max((n.gpus for n in nodes), default=0)
        try:
            first, hours = hours_of(begin, end, zone, self._watch.clock.now())
        except ValueError as err:
            raise Refused(str(err)) from err
        order = order_of(policy, pool)
        level = order.service_level if order else SERVICE_LEVEL
        return what_if(
            demand, add, len(nodes), gpus, self._book, first=first, hours=hours, service_level=level
        )

    def capacity(self, pool: str) -> CapacityPlan:
        """The cheapest plan for a pool; found once for each forecast. Raises Refused."""
        demand, nodes, policy = self._ahead(pool)
        version = policy.version if policy else ""
        key = (demand.hours, demand.gpus.tobytes(), len(nodes), version)
        known = self._plans.get(pool)
        if known is None or known[0] != key:
            known = (key, plan(demand, order_of(policy, pool), self._book, len(nodes)))
            self._plans[pool] = known
        if isinstance(known[1], str):
            raise Refused(known[1])
        return known[1]

    def _ahead(self, pool: str) -> tuple[Ahead, list[Node], CheckedPolicy | None]:
        """Demand from now on, the pool's nodes in service, and the orders in force."""
        watch = self._watch
        snapshot, made = watch.latest, watch.record.books.forecasts.get(pool)
        if snapshot is None or made is None:
            raise Refused(f"There is no forecast for {pool[:80]} yet.")
        found = ahead_now(made, watch.clock.now())
        if isinstance(found, str):
            raise Refused(found)
        nodes = [
            n
            for n in snapshot.nodes.values()
            if n.pool == pool and not n.control_path and not is_out(snapshot, n)
        ]
        return found, nodes, watch.policies.current()


def metered(event: Event) -> UsageRecord | None:
    """The usage record that a line of the journal holds, if any."""
    if event.kind is not Kind.METERED:
        return None
    return msgspec.convert(event.data["usage"], UsageRecord)


def costs_of(
    usage: Sequence[UsageRecord],
    policy: CheckedPolicy | None,
    book: PriceBook | None,
    now: datetime,
    back: timedelta,
    world: str,
) -> Costs:
    """Bill and burn-downs from what was metered."""
    table = columns(usage)
    found = bill(table, book, now - back, now)
    return Costs(
        at=now,
        world=world,
        simulated=any(record.simulated for record in usage),
        prices=f"{book.name} {book.version}: {book.description}" if book else "",
        bill=msgspec.structs.replace(found, notes=(*found.notes, *_two_prices(policy, book))),
        burns=tuple(burn(table, a, book, now) for a in (policy.allowances if policy else ())),
    )


def _two_prices(policy: CheckedPolicy | None, book: PriceBook | None) -> tuple[str, ...]:
    """Where the orders put another value on a GPU-hour than the book."""
    if policy is None or book is None:
        return ()
    found = []
    for pool, price in sorted(book.pools.items()):
        told = policy.prices.of(pool)
        if told is not None and (told, policy.prices.currency) != (price.gpu_hour, book.currency):
            written = (
                "no price" if price.gpu_hour is None else f"{price.gpu_hour:g} {book.currency}"
            )
            found.append(
                f"The orders value a GPU-hour of {pool} at {told:g} {policy.prices.currency}; the "
                f"price book says {written}."
            )
    return tuple(found)


def order_of(policy: CheckedPolicy | None, pool: str) -> CapacityOrder | None:
    """What policy says of the pool, or of every pool that it does not name."""
    found = order_for(policy.capacity, pool) if policy else None
    return None if found is None else msgspec.structs.replace(found, pool=pool)


def ahead_now(made: Forecast, now: datetime) -> Ahead | str:
    """What is left of a forecast from now on; a sentence where that is no whole hour."""
    found = ahead(made)
    gone = max(0, int((now - made.made_at) / HOUR))
    if found is None or gone >= found.hours:
        reach = max(made.horizons_s, default=0.0) / 3600
        return (
            f"The newest forecast for {made.pool} was made at {made.made_at:%Y-%m-%d %H:%M} UTC, "
            f"by {made.method}, and reaches {reach:.1f} h: it says nothing about a whole hour "
            "from now on."
        )
    return from_quantiles(made.pool, found.levels, found.gpus[gone:], made.method)
