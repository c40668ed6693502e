"""The ladder: which models there are, and which of their averages may speak for a pool.

Plain rungs need little history and are trusted first; a richer one is used as far as its own
forecasts at past moments were better.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from watchkeeper.demand.analogue import Analogue
from watchkeeper.demand.boosting import GradientBoosting
from watchkeeper.demand.forest import Forest
from watchkeeper.demand.linear import Ridge
from watchkeeper.demand.member import Member
from watchkeeper.demand.naive import Persistence, SeasonalNaive
from watchkeeper.demand.series import Series
from watchkeeper.demand.smoothing import Smoothing

DAY = 86400.0

FINEST_S = 600.0

PLAIN_KINDS = (Persistence, SeasonalNaive, Analogue)

PLAIN = "persistence"
SAFE = "analogue"


@dataclass(frozen=True)
class Rung:
    """A plain average of members. trust: how much it is believed before there is evidence;
    judged_d: days of its own forecasts without which it is not used at all."""

    name: str
    members: tuple[str, ...]
    trust: float = 1.0
    judged_d: float = 6.0


RUNGS: tuple[Rung, ...] = (
    Rung(SAFE, (SAFE, "analogue_near"), trust=10.0, judged_d=0.0),
    Rung(PLAIN, (PLAIN,), trust=0.1, judged_d=12.0),
    Rung("seasonal_naive_24h", ("seasonal_naive_24h",), judged_d=4.0),
    Rung("seasonal_naive_168h", ("seasonal_naive_168h",), trust=0.1, judged_d=12.0),
    Rung("exponential_smoothing", ("exponential_smoothing",), trust=0.1, judged_d=12.0),
    Rung("ridge", ("ridge",)),
    Rung("learned_and_analogue", ("analogue_near", "ridge", "forest")),
    Rung("learned", ("ridge", "forest", "gradient_boosting")),
)
"""Averages of unlike models: they were better than any one of their members, and hold their band.
Trust and averages were chosen on the development series named in docs/forecast.md."""


def members(seed: int) -> tuple[Member, ...]:
    """Every member, plainest first. seed: makes forest and boosting repeatable."""
    near = Analogue(
        "analogue_near",
        level=0.5,
        floor_hour=0.1,
        floor_level=0.08,
        floor_slope=0.1,
        forget_s=28 * DAY,
    )
    return (
        Persistence(),
        SeasonalNaive(DAY),
        SeasonalNaive(7 * DAY, needs_s=10 * DAY),
        Analogue(SAFE),
        near,
        Smoothing(),
        Ridge(),
        Forest(seed),
        GradientBoosting(seed),
    )


def able(series: Series, seed: int) -> list[Member]:
    """The members that this much history feeds. A grid finer than ten minutes has plain ones only:
    the others' lags and seasons are of hours."""
    fine = series.step_s < FINEST_S
    return [
        member
        for member in members(seed)
        if member.needs_s < series.history_s and (not fine or isinstance(member, PLAIN_KINDS))
    ]


def shares_of(weights: dict[str, float], least: float = 0.02) -> dict[str, float]:
    """Rung weights as member weights; a member of hardly any weight is left out."""
    shares: dict[str, float] = {}
    for rung in RUNGS:
        for name in rung.members:
            share = weights.get(rung.name, 0.0) / len(rung.members)
            shares[name] = shares.get(name, 0.0) + share
    kept = {name: share for name, share in shares.items() if share >= least}
    total = sum(kept.values())
    return {name: share / total for name, share in kept.items()}


def needed(shares: Iterable[str], seed: int) -> list[Member]:
    """The members that have a share."""
    wanted = set(shares)
    return [member for member in members(seed) if member.name in wanted]
