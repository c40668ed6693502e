"""What `cost`, `capacity` and `what-if` answer: files in, words out. `money_cli` prints them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

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
from watchkeeper.capacity.plan import plan
from watchkeeper.capacity.span import hours_of
from watchkeeper.capacity.what_if import what_if
from watchkeeper.control.spending import costs_of, order_of
from watchkeeper.core.capacity import CapacityPlan, WhatIf
from watchkeeper.core.errors import UsageError
from watchkeeper.core.facts import SERVICE_LEVEL
from watchkeeper.core.money import PriceBook
from watchkeeper.core.usage import Costs


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
    policy = orders(policies, read, now)
    return costs_of(read.usage, policy, book, now, back, read.world)


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
    found = plan(demand, order_of(policy, pool), book, _have(read, have, pool, book, 0), money)
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
    order = order_of(policy, pool)
    try:
        first, hours = hours_of(*span, now)
    except ValueError as err:
        raise UsageError(str(err)) from err
    level = order.service_level if order else SERVICE_LEVEL
    return what_if(demand, add, there, gpus, book, first=first, hours=hours, service_level=level)


def _demand(read: Read | None, forecast: Path | None, pool: str, now: datetime) -> Ahead:
    if forecast is not None:
        return ahead_in(forecast, pool)
    assert read is not None
    return ahead_of(read, pool, now)


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
