"""How far an allowance is used up, and where its month will end: usage to a burn-down.

The projection is the pace of the hours that were watched, over the whole month. Its band comes from
how much whole days differ, and from how much a day is like the one before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from watchkeeper.capacity.bill import Usage, prices_of
from watchkeeper.core.money import Allowance, PriceBook
from watchkeeper.core.usage import HELD, UNNAMED, Burn

LEAST_H = 24.0
"""Fewer hours watched in the month project nothing."""
WHOLE_DAY_H = 23.0
"""A day of which so much was watched counts as whole."""
LEAST_DAYS = 5
"""Fewer whole days tell nothing of how days differ: then the projection has no band."""
P90 = 1.2816
"""The normal quantile of a band from P10 to P90."""


def burn(usage: Usage, allowance: Allowance, book: PriceBook | None, now: datetime) -> Burn:
    """One allowance in the month of `now`, in the allowance's own zone."""
    zone = ZoneInfo(allowance.tz)
    first, after = _month(now.astimezone(zone))
    begin, end = first.timestamp(), after.timestamp()
    inside = (usage.first >= begin) & (usage.first < now.timestamp())
    known_h = float(usage.known_s[inside].sum()) / 3600
    elapsed_h = (now.timestamp() - begin) / 3600
    spent = _spent(usage, allowance, book)
    missing = bool(np.isnan(spent[inside]).any())
    days = _days(usage, np.nan_to_num(spent), inside, zone, (first.date(), now.astimezone(zone)))
    used = None if missing or not inside.any() else float(spent[inside].sum())
    found = Burn(
        id=allowance.id,
        unit=allowance.unit,
        amount=allowance.amount,
        first=first.date(),
        last=after.date() - timedelta(days=1),
        used=None if used is None else round(used, 2),
        known_h=round(known_h, 2),
        unknown_h=round(max(0.0, elapsed_h - known_h), 2),
        days=days,
        where=allowance.where,
        tenant=allowance.tenant,
        pool=allowance.pool,
    )
    return _projected(found, allowance, now, (begin, end), _why_unknown(allowance, book, inside))


def _month(now: datetime) -> tuple[datetime, datetime]:
    """Local midnight of the first of this month, and of the next."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(days=32)).replace(day=1)


def _spent(usage: Usage, allowance: Allowance, book: PriceBook | None) -> NDArray[np.float64]:
    """f8[M]: what each record used of the allowance, in its unit; NaN where unknown."""
    m = len(usage.first)
    if allowance.measure == "energy_kwh":
        pools = [p for p in usage.energy_kwh if allowance.pool in ("", p)]
        return np.sum([usage.energy_kwh[p] for p in pools], axis=0) if pools else np.zeros(m)
    uses = None if allowance.measure == "money" and not allowance.tenant else (HELD, UNNAMED)
    wanted = np.array(
        [
            allowance.pool in ("", pool)
            and (use == HELD and tenant == allowance.tenant if allowance.tenant else True)
            and (uses is None or use in uses)
            for pool, use, tenant in usage.keys
        ],
        np.bool_,
    )
    if not len(usage.key):
        return np.zeros(m)
    rows = wanted[usage.key]
    amount = usage.gpu_hours[rows]
    if allowance.measure == "money":
        same = book is not None and book.currency == allowance.currency
        amount = amount * (prices_of(usage, book)[rows] if same else np.nan)
    return np.bincount(usage.record[rows], amount, m).astype(np.float64)


def _days(
    usage: Usage,
    spent: NDArray[np.float64],
    inside: NDArray[np.bool_],
    zone: ZoneInfo,
    span: tuple[date, datetime],
) -> tuple[tuple[date, float, float], ...]:
    """(day, used, hours watched) of each local day of the month so far."""
    first, now = span
    count = (now.date() - first).days + 1
    at = np.array(
        [(datetime.fromtimestamp(t, zone).date() - first).days for t in usage.first[inside]],
        np.intp,
    )
    used = np.bincount(at, spent[inside], count)
    hours = np.bincount(at, usage.known_s[inside] / 3600, count)
    return tuple(
        (first + timedelta(days=i), round(float(used[i]), 3), round(float(hours[i]), 3))
        for i in range(count)
    )


def _why_unknown(allowance: Allowance, book: PriceBook | None, inside: NDArray[np.bool_]) -> str:
    if not inside.any():
        return "nothing was metered this month"
    if allowance.measure == "energy_kwh":
        return "GPUs were silent for part of the time"
    if allowance.measure == "money" and book is None:
        return "there is no price book"
    if allowance.measure == "money" and book is not None and book.currency != allowance.currency:
        return f"the price book is in {book.currency}"
    return "a pool has no price for part of the time"


def _projected(
    found: Burn, allowance: Allowance, now: datetime, month: tuple[float, float], why: str
) -> Burn:
    """The same with its projection, where enough is known, and with its sentence."""
    head = f"{found.id}: "
    if found.used is None:
        return msgspec.structs.replace(found, says=f"{head}what is used is unknown, since {why}.")
    share = found.used / allowance.amount if allowance.amount else math.inf
    said = f"{found.used:,.0f} of {found.amount:,.0f} {found.unit} used"
    if found.amount > 0:
        said += f" ({share:.0%})"
    warns = share >= allowance.warn_share
    if found.known_h < LEAST_H:
        said += f". Only {found.known_h:.1f} h of the month were watched, so nothing is projected."
        return msgspec.structs.replace(found, warns=warns, says=head + said)
    begin, end = month
    pace = found.used / found.known_h
    projected = pace * (end - begin) / 3600
    spread = _spread(found.days, (end - now.timestamp()) / 86400)
    low = None if spread is None else max(found.used, projected - spread)
    high = None if spread is None else projected + spread
    left_h = (allowance.amount - found.used - pace * found.unknown_h) / pace if pace else math.inf
    out = now + timedelta(hours=max(0.0, left_h)) if left_h < (end - begin) / 3600 else None
    runs_out = out if out is not None and out.timestamp() < end else None
    band = "" if low is None else f" ({low:,.0f} to {high:,.0f})"
    said += f". At this pace {projected:,.0f}{band} by {found.last:%d %B}"
    if found.used >= found.amount:
        said += ". It is used up"
    elif runs_out is not None:
        said += f"; used up on {runs_out.astimezone(ZoneInfo(allowance.tz)):%d %B}"
    if found.unknown_h >= 1:
        said += f". {found.unknown_h:.0f} h of the month were not watched; they count as the others"
    return msgspec.structs.replace(
        found,
        projected=round(projected, 2),
        low=None if low is None else round(low, 2),
        high=None if high is None else round(high, 2),
        runs_out=runs_out,
        warns=warns or projected > allowance.amount,
        says=f"{head}{said}.",
    )


def _spread(days: Sequence[tuple[date, float, float]], left: float) -> float | None:
    """Half of the band from P10 to P90 for the days left; None where too few whole days are known.

    What is projected is the mean of n days over the days left, so both err: the variance is that
    of a day times left x (1 + left / n). Days that follow each other are alike: with correlation r
    of one day to the next it grows by (1 + r) / (1 - r), the large-sample figure of an AR(1)
    series; r is put right for its bias in short series (Kendall 1954: -(1 + 3r) / n).
    """
    whole = np.array([used for _, used, hours in days if hours >= WHOLE_DAY_H])
    n = len(whole)
    if n < LEAST_DAYS:
        return None
    apart = whole - whole.mean()
    square = float((apart**2).sum())
    if square <= 0 or left <= 0:
        return 0.0
    alike = (float((apart[1:] * apart[:-1]).sum()) / square * n + 1) / max(n - 3, 1)
    alike = min(0.8, max(0.0, alike))
    variance = square / (n - 1) * left * (1 + left / n) * (1 + alike) / (1 - alike)
    few = 1 + (P90**2 + 1) / (4 * (n - 1))  # Student's t, to the first order
    return P90 * few * math.sqrt(variance)
