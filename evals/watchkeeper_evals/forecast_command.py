"""What `watchkeeper eval forecast` runs, for one series or for every series of known traces."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.core.errors import UsageError
from watchkeeper.core.fanout import Fanout
from watchkeeper.core.since import seconds
from watchkeeper_evals.forecast_eval import FEWEST_ORIGINS, Rules, figures, play
from watchkeeper_evals.forecast_read import Columns, read_series, where_of
from watchkeeper_evals.remediation.sources import commit


class Asked(NamedTuple):
    """The options, as given."""

    series: Path | None = None
    time: str = "time"
    value: str = ""
    where: tuple[str, ...] = ()
    cumulate: bool = False
    horizon: str = "24h"
    step: str = "1h"
    test_share: float = 0.4
    seed: int = 0
    traces: Path | None = None
    jobs: int = 1
    parallel: bool = False
    report: Path | None = None


def run(asked: Asked, *, as_json: bool) -> str:
    """What to print on standard output. Raises UsageError and Malformed."""
    rules = Rules(seconds(asked.horizon), seconds(asked.step), asked.test_share, asked.seed)
    if asked.traces is not None:
        return _traces(asked, rules, as_json=as_json)
    if asked.series is None or not asked.value:
        raise UsageError("Give --series FILE.csv --value COLUMN, or --traces DIR.")
    columns = Columns(asked.time, asked.value, where_of(asked.where), asked.cumulate)
    series = read_series(asked.series, columns, rules.step_s)
    begun, used = time.monotonic(), time.process_time()
    _tell(f"{len(series.values)} steps; every member at past moments:")
    played = play(series, rules, _tell)
    found = figures(played, series, rules)
    found["wall_s"] = round(time.monotonic() - begun, 1)
    found["cpu_s"] = round(time.process_time() - used, 1)
    found["commit"] = commit()
    if asked.report is not None and played is not None:
        from watchkeeper_evals.forecast_report import page

        name = asked.series.name.removesuffix(".gz").removesuffix(".csv")
        asked.report.write_text(page(played, found, f"{name}: {asked.value}"), encoding="utf-8")
        _tell(f"Written: {asked.report}")
    return json.dumps(found, indent=2) if as_json else table(found)


def _traces(asked: Asked, rules: Rules, *, as_json: bool) -> str:
    from watchkeeper_evals.forecast_suite import Item, suite
    from watchkeeper_evals.forecast_traces import series_in

    if asked.traces is None or not asked.traces.is_dir():
        raise UsageError(f"{asked.traces} is not a directory.")
    items = [
        Item(name, unseen, series, _fitting(rules, series.step_s))
        for name, unseen, series in series_in(asked.traces, rules.step_s)
    ]
    with _fanout(asked) as fanout:
        found = suite(items, fanout, _tell)
    found |= {"test_share": rules.test_share, "seed": rules.seed, "commit": commit()}
    return json.dumps(found, indent=2) if as_json else suite_table(found)


def _fitting(rules: Rules, step_s: float) -> Rules:
    """A trace finer than --step is asked for ten of its own steps ahead."""
    if step_s == rules.step_s:
        return rules
    return replace(rules, step_s=step_s, horizon_s=10 * step_s)


@contextmanager
def _fanout(asked: Asked) -> Iterator[Fanout | None]:
    if asked.parallel:
        from watchkeeper.adapters.ray_fanout import RayFanout

        ray = RayFanout()
        try:
            _tell(f"Spread over {ray.says}.")
            yield ray
        finally:
            ray.close()
    elif asked.jobs > 1:
        from watchkeeper.adapters.local_fanout import LocalFanout

        yield LocalFanout(asked.jobs)
    else:
        yield None


def table(found: dict[str, Any]) -> str:
    """For people."""
    if found["wql"] is None:
        return f"No forecast is judged here: {found['chosen']['why']}"
    rows = [("watchkeeper", found), *found["baselines"].items()]
    lines = [f"{'':<20}{'WQL %':>8}{'MASE':>8}{'in 80 %':>9}{'short %':>9}{'over %':>8}"]
    lines += [_row(name, told) for name, told in rows if told["wql"] is not None]
    against = found["against_persistence"]
    lines += [
        "",
        f"Loss against persistence: {against['ratio']:.3f} (95 %: {against['low95']:.3f} to "
        f"{against['high95']:.3f}), over {found['origins']} origins.",
        "Who spoke: " + ", ".join(f"{n} {s:.0%}" for n, s in found["chosen"]["shares"].items()),
        "Frontier, calibration: WQL %, in 80 %: "
        + "; ".join(f"{f['calibration']:g}: {f['wql']:.2f}, {f['coverage80']:.0f}"
                    for f in found["frontier"]),
    ]  # fmt: skip
    if not found["judged"]:
        lines.append(f"Fewer than {FEWEST_ORIGINS} origins: reported, not judged.")
    return "\n".join(lines)


def _row(name: str, told: dict[str, Any]) -> str:
    mase = "" if told["mase"] is None else f"{told['mase']:.3f}"
    return (
        f"{name:<20}{told['wql']:>8.3f}{mase:>8}{told['coverage80']:>9.1f}"
        f"{told['short_pct']:>9.1f}{told['over_pct']:>8.1f}"
    )


def suite_table(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{'series':<34}{'origins':>8}{'ratio':>8}{'95 %':>16}{'in 80 %':>9}  best baseline"]
    for row in found["series"]:
        against = row["against_best_baseline"]
        if not against or against["ratio"] is None:
            lines.append(f"{row['name']:<34}{row['origins']:>8}  nothing to compare")
            continue
        bound = f"{against['low95']:.3f} to {against['high95']:.3f}"
        lines.append(
            f"{row['name']:<34}{row['origins']:>8}{against['ratio']:>8.3f}{bound:>16}"
            f"{row['coverage80']:>9.1f}  {row['best_baseline']}"
        )
    for kind in ("judged", "judged_unseen", "reported"):
        told = found[kind]
        if told["series"]:
            lines.append(
                f"{kind}: {told['series']} series, median {told['median']:.3f} "
                f"({told['median_low95']:.3f} to {told['median_high95']:.3f}), worst "
                f"{told['worst']:.3f} ({told['worst_series']})"
            )
    return "\n".join(lines)


def _tell(said: str) -> None:
    print(said, file=sys.stderr, flush=True)
