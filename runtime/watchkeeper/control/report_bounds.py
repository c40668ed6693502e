"""Budgets and rates used, what ends by its date, and how forecasts held: for the report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from watchkeeper.control.books import Books
from watchkeeper.control.past import past_effects
from watchkeeper.control.report_night import Night
from watchkeeper.control.report_words import count, names, sentence
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.regret import Regret
from watchkeeper.core.report import Ending, Item, Used
from watchkeeper.core.word import digest
from watchkeeper.policy.model import CheckedPolicy, Rule
from watchkeeper.policy.usage import usage

SOON = timedelta(hours=72)
"""An exception is told so long before it ends."""
AHEAD_S = 3600.0
"""Forecasts are held to what they said of the next hour."""
NEAR_S = 300.0
"""What came is the mean of the readings so near to the hour."""

Series = Mapping[str, Sequence[tuple[float, float, float]]]
"""Pool -> (epoch seconds, running GPUs, waiting GPUs), oldest first: the demand that came."""


def limits(policy: CheckedPolicy, books: Books, steady: float) -> tuple[Used, ...]:
    """Every budget and every rate, with how much of it is used at this moment. Bounds on what is
    out at once are left out: the journal alone does not say what is out now."""
    rates = tuple(
        replace(limit, max_count=None, max_percent=None, concurrency=None)
        for limit in policy.limits
        if limit.rate_count is not None
    )
    ledger = LedgerView(effects=past_effects(books, steady))
    found = usage(replace(policy, limits=rates), ledger)
    return tuple(
        Used(id=u.id, text=u.text, used=u.used, limit=u.limit, where=u.where) for u in found
    )


def endings(policy: CheckedPolicy, now: datetime) -> tuple[Ending, ...]:
    """Every exception, and each rule that ends soon or has ended; the nearest end first."""
    found = [
        Ending(
            id=e.id,
            kind="exception",
            text=f"{e.id} lifts {e.rule}; {e.owner}, {e.ticket}: {sentence(e.reason)}",
            until=e.until,
            soon=now < e.until <= now + SOON,
            over=e.until <= now,
            where=e.where,
        )
        for e in policy.exemptions
    ]
    found += [_of_rule(r, r.until, now) for r in policy.rules if r.until and r.until <= now + SOON]
    return tuple(sorted(found, key=lambda e: (e.until, e.id)))


def _of_rule(rule: Rule, until: datetime, now: datetime) -> Ending:
    return Ending(
        id=rule.id,
        kind="rule",
        text=f"The rule {rule.id} lapses; it says {rule.effect.value}.",
        until=until,
        soon=now < until,
        over=until <= now,
        where=rule.where,
    )


class Held(NamedTuple):
    """One hour of one pool: what was foreseen an hour before, and what came."""

    at: datetime
    low: float
    middle: float
    high: float
    came: float

    @property
    def inside(self) -> bool:
        return self.low <= self.came <= self.high


def missed(night: Night, demand: Series | None) -> list[Item]:
    """How the forecasts of the span held, a pool each; then what the plans made of them came to.
    demand None: what came is not known."""
    items, unknown = [], []
    for pool, made in sorted(night.forecasts.items()):
        held = list(_held(made, (demand or {}).get(pool, ()), night))
        if held:
            items.append(_told(pool, held, night))
        elif any(night.since <= f.made_at for f in made):
            unknown.append(pool)
    if unknown:
        why = (
            "The journal holds what was foreseen, not what came; a running watch knows both."
            if demand is None
            else "No hour of this time was foreseen an hour before and read when it came."
        )
        items.append(
            Item(
                key=f"missed:unknown:{digest(unknown)[:12]}",
                text=f"How the forecasts for {names(unknown)} held is not known.",
                more=why,
                count=len(unknown),
            )
        )
    return [*items, *_regretted(night)]


def _regretted(night: Night) -> Iterable[Item]:
    """The worst look back of each pool: what its plan called for, and what was needed."""
    worst: dict[str, tuple[int, Regret]] = {}
    for seq, regret in night.regrets:
        held = worst.get(regret.pool)
        if held is None or abs(regret.over) > abs(held[1].over):
            worst[regret.pool] = (seq, regret)
    for pool, (seq, regret) in sorted(worst.items()):
        count_of = sum(r.pool == pool for _, r in night.regrets)
        looks = f" The furthest off of {count_of} plans." if count_of > 1 else ""
        yield Item(
            key=f"missed:plan:{pool}",
            text=f"{pool}: {night.clock(regret.since)} to {night.clock(regret.until)}: "
            f"{regret.planned:.0f} GPUs were planned, {regret.needed:.0f} were needed at most.",
            more=f"{regret.idle:.1f} GPU-hours stood idle, {regret.short:.1f} were waited for. "
            f"Planned by {regret.method}.{looks}",
            tone="bad" if regret.short >= 1 else "",
            at=regret.since,
            count=count_of,
            seqs=(seq,),
        )


def _held(
    made: Sequence[Forecast], came: Sequence[tuple[float, float, float]], night: Night
) -> Iterable[Held]:
    """For each whole hour the newest forecast that was made an hour or more before it."""
    hour = night.since.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    while hour <= night.until:
        before = [
            f
            for f in made
            if 0 <= (hour - f.made_at).total_seconds() - AHEAD_S < AHEAD_S / 4
            and AHEAD_S in f.horizons_s
        ]
        near = [r + w for t, r, w in came if abs(t - hour.timestamp()) <= NEAR_S]
        band = _band(before[-1]) if before else None
        if band is not None and near:
            yield Held(hour, *band, sum(near) / len(near))
        hour += timedelta(hours=1)


def _band(forecast: Forecast) -> tuple[float, float, float] | None:
    """10, 50 and 90 % of the next hour; None where it does not say all three."""
    try:
        at = forecast.horizons_s.index(AHEAD_S)
        low, middle, high = (
            forecast.values[at][forecast.quantiles.index(q)] for q in (0.1, 0.5, 0.9)
        )
    except (ValueError, IndexError):
        return None
    return low, middle, high


def _told(pool: str, held: list[Held], night: Night) -> Item:
    inside = sum(h.inside for h in held)
    worst = max(held, key=lambda h: (not h.inside, abs(h.came - h.middle)))
    side = "Too high" if worst.middle > worst.came else "Too low"
    band = f"{worst.low:.0f} to {worst.high:.0f}"
    said = (
        f"at {night.clock(worst.at)} {worst.middle:.0f} GPUs were foreseen ({band}), and "
        f"{worst.came:.0f} came."
    )
    missed_now = len(held) - inside
    return Item(
        key=f"missed:{pool}",
        text=f"{pool}: {inside} of {count(len(held), 'hour')} fell into the 80 % band that was "
        "foreseen an hour before.",
        more=f"{side}: {said}" if missed_now else f"The furthest off: {said}",
        tone="bad" if missed_now > max(1, len(held) * 2 // 5) else "",
        at=worst.at,
        count=missed_now or 1,
    )
