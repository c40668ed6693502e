"""How much of a fleet stays unused when more work arrives than it holds? `eval placement` asks.

The protocol is FGD's (USENIX ATC 2023): a real node list, a job list shuffled by seed and cloned
until requested GPUs reach LOAD x capacity, placed online in order, no departures. No rule sees a
job before it arrives, a figure of the whole list, or a workload's name.
"""

from __future__ import annotations

import csv
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from watchkeeper.core.errors import Malformed, UsageError
from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Fleet
from watchkeeper.placement.words import Gang, Piece
from watchkeeper_evals.placement_read import read_machines, read_pieces
from watchkeeper_evals.placement_rules import Seats, at_random, best_fit, first_fit

Figures = dict[str, Any]
Progress = Callable[[str], None]

BASELINES = ("best_fit", "first_fit", "random")

LEVEL_POINTS = 0.3
"""A margin to the published figure below so many points is called level: two simulators of one
cluster differ by as much (BestFit, ours and theirs)."""


def placement_eval(
    nodes: Path,
    jobs: Path,
    seeds: int = 10,
    load: float = 1.3,
    first_seed: int = 42,
    against: Path | None = None,
    progress: Progress = lambda _: None,
) -> Figures:
    """Every figure of one job list. against: a CSV with `workload` and `06-FGD`, as FGD
    publishes its results; the workload is then found by the name of the job file.

    Raises UsageError and Malformed.
    """
    machines, pieces = read_machines(nodes), read_pieces(jobs)
    published = _published(against, jobs) if against else None
    fleet = Fleet(machines)
    unused: dict[str, list[float]] = {name: [] for name in ("engine", *BASELINES)}
    took: list[float] = []
    cpu_s, decisions, load_1m = 0.0, 0, os.getloadavg()[0]
    for seed in range(first_seed, first_seed + seeds):
        asks = arrivals(pieces, seed, load, fleet.capacity_milli)
        began = time.process_time()
        left, times = _engine_run(fleet.copy(), pieces, asks)
        cpu_s += time.process_time() - began
        decisions += len(asks)
        took += times
        unused["engine"].append(left)
        for name in BASELINES:
            unused[name].append(_baseline_run(fleet.copy(), pieces, asks, name, seed))
        progress(f"seed {seed}: {_line(unused)}")
    found = _figures(unused, took, len(pieces), seeds)
    found |= {
        "decision_cpu_ms": 1000 * cpu_s / max(decisions, 1),
        "per_seed": {name: dict(enumerate(v, first_seed)) for name, v in unused.items()},
        "nodes": len(machines),
        "gpus": fleet.capacity_milli / 1000,
        "load": load,
        "first_seed": first_seed,
        "machine": {"cores": os.cpu_count(), "load_1m": round(load_1m, 2)},
    }
    if published is not None:
        found["against"] = compared(found["unallocated_pct"]["mean"], published)
    return found


def arrivals(pieces: Sequence[Piece], seed: int, load: float, capacity_milli: int) -> list[int]:
    """Indexes of the jobs in order of arrival: the list shuffled, then clones drawn uniformly,
    until the GPUs asked for reach load x capacity."""
    rng = np.random.default_rng(seed)
    wanted, asked = load * capacity_milli, 0
    order: list[int] = []
    drawn = rng.permutation(len(pieces)).tolist()
    while True:
        for at in drawn:
            order.append(at)
            asked += pieces[at].gpu_milli
            if asked >= wanted:
                return order
        drawn = rng.integers(0, len(pieces), len(pieces)).tolist()


def compared(ours: float, published: float) -> Figures:
    """Ours beside a published figure, in a word: better, level or loss."""
    margin = published - ours
    verdict = "level" if abs(margin) < LEVEL_POINTS else "better" if margin > 0 else "loss"
    found = {"fgd_published_pct": published, "margin_points": margin, "verdict": verdict}
    found["change_pct"] = 100 * (ours / published - 1) if published else 0.0
    if verdict == "loss":
        found["reason"] = (
            "More GPUs stay unused than FGD published for this list. Look at what is left: slices "
            "too small for what comes, or GPUs beside spent CPU or memory."
        )
    return found


def table(found: Figures) -> str:
    """The figures as a page for people."""
    rows = [("engine", found["unallocated_pct"])]
    rows += [(name, found["baselines"][name]["unallocated_pct"]) for name in BASELINES]
    took = found["decision_ms"]
    said = [
        f"{found['jobs']} jobs on {found['nodes']} nodes, {found['gpus']:g} GPUs, "
        f"load {found['load']:g}, seeds {found['first_seed']}.."
        f"{found['first_seed'] + found['seeds'] - 1}",
        "",
        f"{'unallocated GPUs, %':22}{'mean':>8}{'sd':>8}",
        *(f"{name:22}{figure['mean']:8.2f}{figure['sd']:8.2f}" for name, figure in rows),
        "",
        f"one decision: p50 {took['p50']:.3f} ms, p99 {took['p99']:.3f} ms "
        f"(mean CPU {found['decision_cpu_ms']:.3f} ms; machine load {found['machine']['load_1m']})",
    ]
    if other := found.get("against"):
        said += [
            f"FGD published {other['fgd_published_pct']:.2f}: {other['verdict']}, "
            f"{other['margin_points']:+.2f} points. {other.get('reason', '')}".rstrip()
        ]
    return "\n".join(said)


def _engine_run(
    fleet: Fleet, pieces: Sequence[Piece], asks: Sequence[int]
) -> tuple[float, list[float]]:
    """(share of GPUs left in percent, milliseconds of each decision)."""
    engine, took = Engine(fleet), []
    for nth, at in enumerate(asks):
        gang = Gang(name=str(nth), piece=pieces[at])
        began = time.perf_counter_ns()
        engine.hear(gang)
        engine.place(gang)
        took.append((time.perf_counter_ns() - began) / 1e6)
    return _left(fleet), took


def _baseline_run(
    fleet: Fleet, pieces: Sequence[Piece], asks: Sequence[int], name: str, seed: int
) -> float:
    rng = np.random.default_rng([seed, 1])  # not the stream that shuffles the jobs
    rules = {"best_fit": best_fit, "first_fit": first_fit, "random": at_random(rng)}
    seats = Seats(fleet, rules[name], rng if name == "random" else None)
    gangs = [Gang(name="job", piece=piece) for piece in pieces]
    for at in asks:
        seats.place(gangs[at])
    return _left(fleet)


def _left(fleet: Fleet) -> float:
    return 100 * fleet.free_milli / fleet.capacity_milli


def _figures(unused: dict[str, list[float]], took: list[float], jobs: int, seeds: int) -> Figures:
    return {
        "unallocated_pct": _mean_sd(unused["engine"]),
        "decision_ms": {
            "p50": float(np.percentile(took, 50)),
            "p99": float(np.percentile(took, 99)),
        },
        "baselines": {n: {"unallocated_pct": _mean_sd(unused[n])} for n in BASELINES},
        "seeds": seeds,
        "jobs": jobs,
    }


def _mean_sd(values: list[float]) -> dict[str, float]:
    """sd of the sample; 0 for one seed."""
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "sd": sd}


def _line(unused: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {values[-1]:.2f} %" for name, values in unused.items())


def _published(path: Path, jobs: Path) -> float:
    """FGD's figure for the workload that the job file is named after."""
    workload = jobs.name.removesuffix(".gz").removesuffix(".csv")
    if not path.is_file():
        raise UsageError(f"{path} is not a file. Give FGD's published figures as CSV.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row.get("workload", ""): row for row in csv.DictReader(file)}
    try:
        return float(rows[workload]["06-FGD"])
    except (KeyError, ValueError):
        raise Malformed(f"{path} has no figure `06-FGD` for the workload {workload!r}.") from None
