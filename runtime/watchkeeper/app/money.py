"""What `cost`, `capacity` and `what-if` answer: files in, words out. `money_cli` prints them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from watchkeeper.app.money_source import (
    Read,
    ahead_in,
    ahead_of,
    nodes_there,
    orders,
    read_journal,
    read_prices,
)
from watchkeeper.capacity.ahead import Ahead
from watchkeeper.capacity.bill import bill, columns
from watchkeeper.capacity.burn import burn
from watchkeeper.capacity.plan import plan
from watchkeeper.capacity.what_if import what_if
from watchkeeper.core.capacity import CapacityPlan, WhatIf
from watchkeeper.core.errors import UsageError
from watchkeeper.core.money import CapacityOrder, PriceBook
from watchkeeper.core.usage import Costs
from watchkeeper.policy.model import CheckedPolicy


def costs_of(
    read: Read,
    policy: CheckedPolicy | None,
    book: PriceBook | None,
    now: datetime,
    back: timedelta,
) -> Costs:
    """Bill and burn-downs from what was metered."""
    usage = columns(read.usage)
    found = bill(usage, book, now - back, now)
    return Costs(
        at=now,
        world=read.world,
        simulated=any(record.simulated for record in read.usage),
        prices=f"{book.name} {book.version}: {book.description}" if book else "",
        bill=msgspec.structs.replace(found, notes=(*found.notes, *_two_prices(policy, book))),
        burns=tuple(burn(usage, a, book, now) for a in (policy.allowances if policy else ())),
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


def cost(
    journal: Path,
    prices: Path | None,
    policies: Path | None,
    at: datetime | None,
    back: timedelta,
) -> Costs:
    """The same from files, as of a moment; None is now."""
    read, book = read_journal(journal), read_prices(prices)
    now = at or read.now(datetime.now(UTC))
    return costs_of(read, orders(policies, read, now), book, now, back)


def capacity(
    pool: str,
    *,
    journal: Path,
    forecast: Path | None,
    prices: Path | None,
    policies: Path | None,
    have: int | None,
    money: float | None,
    now: datetime,
) -> CapacityPlan:
    """The plan for one pool. Raises UsageError with what is missing."""
    book = read_prices(prices)
    read = None if forecast is not None and have is not None else read_journal(journal)
    policy = orders(policies, read, now)
    demand = _demand(read, forecast, pool, now)
    found = plan(demand, _order(policy, pool), book, _have(read, have, pool, book, 0), money)
    if isinstance(found, str):
        raise UsageError(found)
    return found


def asked_what_if(
    pool: str,
    add: int,
    *,
    span: tuple[str, str, str],
    journal: Path,
    forecast: Path | None,
    prices: Path | None,
    policies: Path | None,
    have: int | None,
    gpus_per_node: int,
    now: datetime,
) -> WhatIf:
    """What `add` nodes would change. span: (from, until, zone), clock times or ""."""
    book = read_prices(prices)
    read = None if forecast is not None and have is not None else read_journal(journal)
    policy = orders(policies, read, now) if policies or read else None
    demand = _demand(read, forecast, pool, now)
    price = book.of(pool) if book else None
    gpus = gpus_per_node or (price.gpus_per_node if price else 0)
    if not gpus:
        raise UsageError(
            f"How many GPUs a node of {pool} has is not known: no price book tells of the pool. "
            "Say it with --gpus-per-node."
        )
    there = _have(read, have, pool, book, gpus)
    order = _order(policy, pool)
    first, hours = hours_of(*span, now)
    level = order.service_level if order else 0.95
    return what_if(demand, add, there, gpus, book, first=first, hours=hours, service_level=level)


def hours_of(begin: str, end: str, zone: str, now: datetime) -> tuple[int, int | None]:
    """(hours ahead at which the span begins, whole hours it lasts); all that is forecast where
    neither is given. A span that is open now begins now. Raises UsageError."""
    if not begin and not end:
        return 0, None
    try:
        local = now.astimezone(ZoneInfo(zone or "UTC"))
        opens = _at(local, begin) if begin else local
        closes = _at(local, end) if end else None
    except (ValueError, KeyError, OSError) as err:
        said = f"{begin or '(now)'} to {end or '(the end)'} {zone} is no span of time"
        raise UsageError(f"{said}. Write --from 22:00 --until 06:00 --tz Europe/Berlin.") from err
    if closes is not None and begin:
        if closes <= opens:
            closes += timedelta(days=1)
        if closes - timedelta(days=1) > local:  # it is open since yesterday
            opens, closes = local, closes - timedelta(days=1)
        elif opens < local < closes:
            opens = local
    elif closes is not None and closes <= local:
        closes += timedelta(days=1)
    if opens < local:
        opens += timedelta(days=1)
        closes = closes + timedelta(days=1) if closes is not None else None
    hour = timedelta(hours=1)
    first = int((opens.astimezone(UTC) - now) / hour)
    if closes is None:
        return first, None
    lasts = (closes.astimezone(UTC) - opens.astimezone(UTC)) / hour
    return first, max(1, -int(-lasts // 1))


def _at(day: datetime, clock: str) -> datetime:
    hours, _, minutes = clock.partition(":")
    return day.replace(hour=int(hours), minute=int(minutes), second=0, microsecond=0)


def _demand(read: Read | None, forecast: Path | None, pool: str, now: datetime) -> Ahead:
    if forecast is not None:
        return ahead_in(forecast, pool)
    assert read is not None
    return ahead_of(read, pool, now)


def _order(policy: CheckedPolicy | None, pool: str) -> CapacityOrder | None:
    """What policy says of the pool, or of every pool that it does not name."""
    if policy is None:
        return None
    found = policy.capacity.get(pool, policy.capacity.get("default"))
    return None if found is None else msgspec.structs.replace(found, pool=pool)


def _have(read: Read | None, have: int | None, pool: str, book: PriceBook | None, gpus: int) -> int:
    if have is not None:
        return have
    price = book.of(pool) if book else None
    per_node = gpus or (price.gpus_per_node if price else 0)
    found = nodes_there(read, pool, per_node) if read is not None and per_node else None
    if found is None:
        raise UsageError(
            f"How many nodes {pool} has is not known: nothing was metered in it yet. Say it with "
            "--have."
        )
    return found
