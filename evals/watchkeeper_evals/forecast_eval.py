"""`watchkeeper eval forecast` for one series: rolling origins, the engine beside plain baselines.

One origin a day at 00:00; the history grows; nothing after an origin is seen by any model, gate or
calibration. The engine measured is the one that the watch runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.errors import Malformed
from watchkeeper.demand.calibrate import STRENGTH, WINDOW_D, calibrated
from watchkeeper.demand.choose import DEFAULT
from watchkeeper.demand.gate import Gate
from watchkeeper.demand.ladder import able, shares_of
from watchkeeper.demand.member import Member, tidy
from watchkeeper.demand.naive import Persistence, SeasonalNaive
from watchkeeper.demand.panel import Panel, roll
from watchkeeper.demand.past import Past
from watchkeeper.demand.score import Score, score
from watchkeeper.demand.series import Floats, Series, begun
from watchkeeper_evals.forecast_bounds import ratio_bound

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)
DAY_S = 86400.0
FRONTIER = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Strengths of calibration between which the frontier of loss and coverage is told."""

FEWEST_ORIGINS = 20
"""With fewer, a series is reported and not judged."""

MOST_STEPS = 96
"""Steps ahead; more than that asks for a coarser --step."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Rules:
    """How a series is played. origin_s: the gate and the calibration also learn from forecasts
    made at these times of the day; only those of 00:00 are scored."""

    horizon_s: float = DAY_S
    step_s: float = 3600.0
    test_share: float = 0.4
    seed: int = 0
    origin_s: float = 6 * 3600.0
    auto_ets: bool = True


@dataclass(frozen=True, eq=False)
class Played:
    """What was said at the test origins, f8[origins, steps, levels], and what came."""

    series: Series
    panel: Panel
    rows: NDArray[np.int64]
    came: Floats
    engine: Floats
    frontier: Mapping[float, Floats]
    baselines: Mapping[str, Floats]
    shares: Mapping[str, float]
    season_error: float


def play(series: Series, rules: Rules, tell: Tell) -> Played | None:
    """Every model at every test origin; None where there is no origin to test."""
    steps = range(1, _steps(rules) + 1)
    days, series = int(series.history_s // DAY_S), begun(series)
    past, levels = Past(series), np.array(LEVELS)
    origins, test = _origins(series, rules, len(steps), days)
    if not len(test):
        return None
    # The gate and the calibration look back no further.
    origins = origins[origins >= test[0] - WINDOW_D * past.day]
    panel = roll(
        past, able(series, rules.seed), origins, steps, levels, lambda name: tell(f"  {name}")
    )
    gate = Gate(panel, past.day)
    mixed = gate.combined(np.arange(len(origins)))
    rows = np.flatnonzero(np.isin(origins, test))
    frontier = {
        s: calibrated(panel, mixed, rows, past.day, s) for s in sorted({*FRONTIER, STRENGTH})
    }
    return Played(
        series=series,
        panel=panel,
        rows=rows,
        came=panel.came[rows],
        engine=frontier[STRENGTH],
        frontier=frontier,
        baselines=_baselines(past, test, steps, levels, rules, tell),
        shares=_shares(gate, test),
        season_error=_season_error(series.values[: int(test[0]) + 1], past.day),
    )


def figures(played: Played | None, series: Series, rules: Rules) -> dict[str, Any]:
    """The object that is printed: percent for wql, coverage80, short_pct and over_pct."""
    if played is None:
        return {
            "wql": None, "mase": None, "coverage80": None, "short_pct": None, "over_pct": None,
            "chosen": {
                "method": "abstains",
                "why": f"{series.history_s / DAY_S:.2g} days hold no origin at 00:00 with a "
                "whole horizon before and after it.",
            },
            "baselines": {}, "origins": 0, "judged": False,
        }  # fmt: skip
    engine = _told(played, played.engine)
    baselines = {name: _told(played, said) for name, said in played.baselines.items()}
    plain = {n: b for n, b in baselines.items() if n != "auto_ets" and b["wql"] is not None}
    best = min(plain, key=lambda n: plain[n]["wql"]) if plain else None
    return {
        **engine,
        "chosen": {
            "method": max(played.shares, key=lambda n: played.shares[n]),
            "shares": {n: round(s, 3) for n, s in played.shares.items()},
            "calibration": STRENGTH,
        },
        "baselines": baselines,
        "origins": len(played.rows),
        "judged": len(played.rows) >= FEWEST_ORIGINS,
        "against_persistence": ratio_bound(
            played.came, played.engine, played.baselines["persistence"], np.array(LEVELS)
        ),
        "best_baseline": best,
        "against_best_baseline": ratio_bound(
            played.came, played.engine, played.baselines[best], np.array(LEVELS)
        )
        if best
        else None,
        "frontier": [
            {"calibration": s, **{k: _told(played, said)[k] for k in ("wql", "coverage80")}}
            for s, said in played.frontier.items()
        ],
        "history_days": round(series.history_s / DAY_S, 2),
        "mean": round(float(np.nanmean(series.values)), 3),
        "horizon_s": rules.horizon_s,
        "step_s": rules.step_s,
        "seed": rules.seed,
    }


def _told(played: Played, said: Floats) -> dict[str, Any]:
    found: Score = score(played.came, said, np.array(LEVELS))
    if not found.hours:
        return dict.fromkeys(("wql", "mase", "coverage80", "short_pct", "over_pct"))
    error = played.season_error
    return {
        "wql": round(100 * found.wql, 4),
        "mase": round(found.mae / error, 4) if error > 0 else None,
        "coverage80": round(100 * found.coverage80, 2),
        "short_pct": round(100 * found.short, 2),
        "over_pct": round(100 * found.over, 2),
    }


def _steps(rules: Rules) -> int:
    steps = round(rules.horizon_s / rules.step_s)
    if not 1 <= steps <= MOST_STEPS or abs(steps * rules.step_s - rules.horizon_s) > 1e-6:
        raise Malformed(
            f"--horizon must be a whole number of --step, at most {MOST_STEPS} of them; "
            f"{rules.horizon_s:g} s and {rules.step_s:g} s are not."
        )
    if DAY_S % rules.step_s:
        raise Malformed(f"--step must go into a day; {rules.step_s:g} s does not.")
    return steps


def _origins(
    series: Series, rules: Rules, steps: int, days: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to forecast from, and those of them that are scored: the last `test_share` of the days,
    at 00:00, with a whole horizon after them and as much history before. Where demand was first
    seen less than four days before, the engine abstains, and nobody is scored."""
    rows = np.arange(steps, len(series.values) - 1)
    # A step as coarse as a day has no other hours to learn from.
    every = max(rules.origin_s, rules.step_s)
    origins = rows[np.abs(series.times[rows] % every) < 1e-6]
    midnight = origins[np.abs(series.times[origins] % DAY_S) < 1e-6]
    count = int(np.ceil(rules.test_share * days - 1e-9))
    whole = midnight[midnight + steps < len(series.values)]
    test = whole[len(whole) - min(count, len(whole)) :]
    late = series.times[0] - series.step_s + DEFAULT.compare_from_s if len(series.times) else 0.0
    return origins, test[series.times[test] >= late - 1e-6]


def _baselines(
    past: Past,
    test: NDArray[np.int64],
    steps: range,
    levels: Floats,
    rules: Rules,
    tell: Tell,
) -> dict[str, Floats]:
    """Persistence and seasonal naive with residual quantiles for each horizon over the trailing 8
    weeks; AutoETS where statsforecast is installed."""
    plain: dict[str, Member] = {
        "persistence": Persistence(),
        "seasonal_naive_24": SeasonalNaive(DAY_S),
        "seasonal_naive_168": SeasonalNaive(7 * DAY_S),
    }
    found = {
        name: tidy(model.fit(past, int(test[0]) + 1, steps, levels).at(past, test))
        for name, model in plain.items()
    }
    if rules.auto_ets:
        from watchkeeper_evals.forecast_ets import auto_ets

        said = auto_ets(past, test, len(steps), tell)
        if said is not None:
            found["auto_ets"] = said
    return found


def _shares(gate: Gate, test: NDArray[np.int64]) -> dict[str, float]:
    """Mean share of each member over the test origins, largest first."""
    total: dict[str, float] = {}
    for row in test:
        for name, share in shares_of(gate.weights(int(row))).items():
            total[name] = total.get(name, 0.0) + share / len(test)
    return dict(sorted(total.items(), key=lambda pair: -pair[1]))


def _season_error(values: Floats, day: int) -> float:
    """What the seasonal naive missed by before the test: the unit of MASE."""
    miss = np.abs(values[day:] - values[:-day])
    return float(np.nanmean(miss)) if len(miss) and not np.isnan(miss).all() else 0.0
