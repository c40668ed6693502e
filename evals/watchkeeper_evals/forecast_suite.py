"""`eval forecast --traces DIR`: every series at hand, and whether the ladder ever costs something.

Judged: series with at least 20 origins. The series that development never met are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from watchkeeper.core.fanout import Fanout
from watchkeeper.demand.series import Floats, Series
from watchkeeper_evals.forecast_bounds import SEED, draws, losses
from watchkeeper_evals.forecast_eval import LEVELS, Played, Rules, Tell, figures, play

DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Item:
    """One series to be played. Picklable."""

    name: str
    unseen: bool
    series: Series
    rules: Rules


@dataclass(frozen=True, eq=False)
class Result:
    """Its figures, and the losses of each origin: ours and the best plain baseline's."""

    name: str
    unseen: bool
    told: dict[str, Any]
    ours: Floats
    best: Floats


def play_item(item: Item) -> Result:
    """One series, wherever that may be."""
    played = play(item.series, item.rules, lambda _: None)
    told = figures(played, item.series, item.rules)
    nothing = np.empty(0)
    if played is None or told["best_baseline"] is None:
        return Result(item.name, item.unseen, told, nothing, nothing)
    ours, best = _losses(played, told["best_baseline"])
    return Result(item.name, item.unseen, told, ours, best)


def _losses(played: Played, best: str) -> tuple[Floats, Floats]:
    levels = np.array(LEVELS)
    return (
        losses(played.came, played.engine, levels),
        losses(played.came, played.baselines[best], levels),
    )


def suite(items: Sequence[Item], fanout: Fanout | None, tell: Tell) -> dict[str, Any]:
    """Every item played, here or over a Fanout, and the figures over all of them."""
    results: list[Result] = []
    for result in _played(items, fanout):
        results.append(result)
        ratio = (result.told.get("against_best_baseline") or {}).get("ratio")
        says = "abstains" if ratio is None else f"{ratio:.3f} of {result.told['best_baseline']}"
        tell(f"{len(results)}/{len(items)} {result.name}: {says}")
    results.sort(key=lambda r: r.name)
    return {
        "judged": _over(r for r in results if r.told["judged"]),
        "judged_unseen": _over(r for r in results if r.told["judged"] and r.unseen),
        "reported": _over(r for r in results if not r.told["judged"] and len(r.ours)),
        "abstained": [r.name for r in results if not len(r.ours)],
        "series": [{"name": r.name, "unseen": r.unseen, **_short(r.told)} for r in results],
    }


def _played(items: Sequence[Item], fanout: Fanout | None) -> Iterator[Result]:
    if fanout is None:
        yield from map(play_item, items)
        return
    for _, result in fanout.map(play_item, items):
        yield result


def _over(found: Iterable[Result]) -> dict[str, Any]:
    """Ratio to the best plain baseline over several series: median and worst, with the interval of
    the median when weeks of origins are drawn anew in each series."""
    results = [r for r in found if r.best.sum() > 0]
    if not results:
        return {"series": 0, "median": None, "worst": None}
    ratios = {r.name: float(r.ours.sum() / r.best.sum()) for r in results}
    chance = np.random.default_rng(SEED)
    drawn = np.full((len(results), DRAWS), np.nan)
    for i, result in enumerate(results):
        rows = draws(len(result.ours), chance, DRAWS)
        below = result.best[rows].sum(axis=1)
        np.divide(result.ours[rows].sum(axis=1), below, out=drawn[i], where=below > 0)
    low, high = np.nanquantile(np.nanmedian(drawn, axis=0), [0.025, 0.975])
    worst = max(ratios, key=lambda name: ratios[name])
    return {
        "series": len(results),
        "median": round(float(np.median(list(ratios.values()))), 4),
        "median_low95": round(float(low), 4),
        "median_high95": round(float(high), 4),
        "worst": round(ratios[worst], 4),
        "worst_series": worst,
        "coverage80_median": float(np.median([r.told["coverage80"] for r in results])),
    }


def _short(told: dict[str, Any]) -> dict[str, Any]:
    keys = ("wql", "coverage80", "short_pct", "over_pct", "origins", "judged", "best_baseline")
    row = {key: told.get(key) for key in keys}
    row["against_best_baseline"] = told.get("against_best_baseline")
    row["against_persistence"] = told.get("against_persistence")
    row["chosen"] = told["chosen"]
    ets = told["baselines"].get("auto_ets")
    return {**row, "auto_ets": ets} if ets else row
