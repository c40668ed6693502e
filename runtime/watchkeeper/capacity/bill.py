"""What a time came to: usage records and a price book to a bill.

Columns over records: one row for each record, pool, use and tenant. A GPU-hour without a price has
an unknown cost, and so has every sum that holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.money import PriceBook
from watchkeeper.core.usage import HELD, Bill, CostLine, UsageRecord

Key = tuple[str, str, str]
"""(pool, use, tenant)."""


@dataclass(frozen=True, eq=False, slots=True)
class Usage:
    """Records as columns. keys: what a row is about; key: i8[R] into it. record: i8[R], which of
    the M records. gpu_hours: f8[R]. first, last, known_s: f8[M], epoch seconds and seconds
    watched. energy_kwh: by pool f8[M], NaN where unknown."""

    keys: tuple[Key, ...]
    key: NDArray[np.intp]
    record: NDArray[np.intp]
    gpu_hours: NDArray[np.float64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    known_s: NDArray[np.float64]
    energy_kwh: dict[str, NDArray[np.float64]]


def columns(records: Iterable[UsageRecord]) -> Usage:
    """Records, oldest first, as columns. What is held is told by tenant."""
    listed = list(records)
    codes: dict[Key, int] = {}
    rows: list[tuple[int, int, float]] = []
    pools: dict[str, None] = {}
    for at, record in enumerate(listed):
        for pool, uses in record.gpu_hours.items():
            pools[pool] = None
            for use, hours in uses.items():
                if use != HELD:
                    rows.append((at, codes.setdefault((pool, use, ""), len(codes)), hours))
        for pool, tenants in record.tenants.items():
            for tenant, hours in tenants.items():
                rows.append((at, codes.setdefault((pool, HELD, tenant), len(codes)), hours))
    energy = {
        pool: np.array([_or_nan(r.energy_kwh.get(pool)) for r in listed], np.float64)
        for pool in pools
    }
    return Usage(
        keys=tuple(codes),
        key=np.array([row[1] for row in rows], np.intp),
        record=np.array([row[0] for row in rows], np.intp),
        gpu_hours=np.array([row[2] for row in rows], np.float64),
        first=np.array([r.first.timestamp() for r in listed], np.float64),
        last=np.array([r.last.timestamp() for r in listed], np.float64),
        known_s=np.array([r.known_s for r in listed], np.float64),
        energy_kwh=energy,
    )


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def prices_of(usage: Usage, book: PriceBook | None) -> NDArray[np.float64]:
    """f8[R]: what one GPU-hour of each row costs; NaN where nobody wrote it."""
    if book is None or not len(usage.key):
        return np.full(len(usage.key), np.nan)
    per_key = np.array(
        [_or_nan(p.gpu_hour if (p := book.of(pool)) else None) for pool, _, _ in usage.keys]
    )
    days = [datetime.fromtimestamp(t, UTC).date() for t in usage.first.tolist()]
    holds = np.array([book.holds_on(day) for day in days], np.bool_)
    return np.where(holds[usage.record], per_key[usage.key], np.nan)


def bill(usage: Usage, book: PriceBook | None, first: datetime, last: datetime) -> Bill:
    """Everything that was metered from `first` to `last`, by pool, use and tenant.

    A record counts where it begins within that time. Hours that no record watched are unknown.
    """
    inside = (usage.first >= first.timestamp()) & (usage.first < last.timestamp())
    rows = inside[usage.record] if len(usage.key) else np.zeros(0, np.bool_)
    key, hours = usage.key[rows], usage.gpu_hours[rows]
    cost = hours * prices_of(usage, book)[rows]
    n = len(usage.keys)
    total, money = np.bincount(key, hours, n), np.bincount(key, cost, n)
    lines = sorted(
        (
            CostLine(
                pool=pool,
                use=use,
                tenant=tenant,
                gpu_hours=round(float(total[i]), 3),
                money=None if np.isnan(money[i]) else round(float(money[i]), 2),
            )
            for i, (pool, use, tenant) in enumerate(usage.keys)
            if total[i] > 0
        ),
        key=lambda line: (line.pool, line.use != HELD, -line.gpu_hours, line.use, line.tenant),
    )
    known_h = float(usage.known_s[inside].sum()) / 3600
    kwh = _energy(usage, inside)
    priced = book.kwh if book else None
    energy_money = None
    if book is not None and priced is not None and kwh is not None:
        energy_money = round(kwh * book.overhead * priced, 2)
    return Bill(
        first=first,
        last=last,
        known_h=round(known_h, 3),
        unknown_h=round(max(0.0, (last - first).total_seconds() / 3600 - known_h), 3),
        currency=book.currency if book else "",
        lines=tuple(lines),
        money=_sum([line.money for line in lines]),
        energy_kwh=None if kwh is None else round(kwh, 3),
        energy_money=energy_money,
        notes=_notes(lines, book, kwh),
    )


def _energy(usage: Usage, inside: NDArray[np.bool_]) -> float | None:
    """kWh of all pools; None where a part of it is unknown, or nothing was metered."""
    if not usage.energy_kwh or not inside.any():
        return None
    whole = np.array([column[inside].sum() for column in usage.energy_kwh.values()])
    return None if np.isnan(whole).any() else float(whole.sum())


def _sum(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return round(sum(known), 2) if parts and len(known) == len(parts) else None


def _notes(lines: Sequence[CostLine], book: PriceBook | None, kwh: float | None) -> tuple[str, ...]:
    """What the reader of the bill must know."""
    if not lines:
        return ("Nothing was metered in this time.",)
    found = []
    if book is None:
        found.append("There is no price book, so every cost is unknown. Name one with --prices.")
    else:
        bare = sorted({line.pool for line in lines if line.money is None})
        for pool in bare:
            price = book.of(pool)
            if price is None or price.gpu_hour is None:
                why = f"the price book {book.name} has no `gpu_hour` for it"
            else:
                why = f"the prices hold from {book.first} to {book.last} only"
            found.append(f"The cost of {pool} is unknown: {why}.")
    if kwh is None:
        found.append("The energy is unknown: GPUs were silent for part of the time.")
    return tuple(found)
