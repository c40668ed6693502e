"""Plays every controller on every seed, here or spread, and gives the figures.

`watchkeeper eval remediation` calls `evaluate`. One job is one controller on one seed.
"""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.core.fanout import Fanout
from watchkeeper_evals.remediation.figures import Figures, figures
from watchkeeper_evals.remediation.runs import CONTROLLERS, SeedRun, run_one
from watchkeeper_evals.remediation.setup import Setup


class Job(NamedTuple):
    """One run to be played."""

    setup: Setup
    seed: int
    controller: str


Heard = Callable[[str, float], None]
"""Told how far it is: what is played, and the share of all that is done (0 to 1)."""


class Evaluated(NamedTuple):
    """The figures, and the runs behind them for whoever draws."""

    figures: Figures
    runs: tuple[SeedRun, ...]


def evaluate(
    setup: Setup,
    *,
    fanout: Fanout | None = None,
    controllers: Sequence[str] = CONTROLLERS,
    heard: Heard = lambda _what, _share: None,
) -> Evaluated:
    """Play it all. fanout: where to spread it; None plays one after the other.

    Raises PolicyError for orders that do not load, UsageError for a fleet that cannot be built.
    """
    began = time.perf_counter()
    jobs = [Job(setup, seed, name) for seed in setup.every_seed for name in controllers]
    runs: list[SeedRun | None] = [None] * len(jobs)
    found = _in_turn(jobs, heard) if fanout is None else _spread(jobs, fanout, heard)
    for i, run in found:
        runs[i] = run
    played = tuple(run for run in runs if run is not None)
    about = {
        "spread": "one after the other" if fanout is None else fanout.says,
        "commit": commit(),
        "version": _version(),
        "python": platform.python_version(),
    }
    return Evaluated(figures(setup, played, time.perf_counter() - began, about), played)


def play_job(job: Job) -> SeedRun:
    """One job, where it may be anywhere."""
    return run_one(*job)


def _in_turn(jobs: Sequence[Job], heard: Heard) -> Iterator[tuple[int, SeedRun]]:
    for i, job in enumerate(jobs):
        what = f"seed {job.seed}, {job.controller}"
        heard(what, i / len(jobs))
        told = lambda share, i=i, what=what: heard(what, (i + share) / len(jobs))  # noqa: E731
        yield i, run_one(*job, told)
    heard("done", 1.0)


def _spread(jobs: Sequence[Job], fanout: Fanout, heard: Heard) -> Iterator[tuple[int, SeedRun]]:
    heard(f"on {fanout.says}", 0.0)
    for n, (i, run) in enumerate(fanout.map(play_job, jobs), 1):
        heard(f"seed {run.seed}, {run.controller}", n / len(jobs))
        yield i, run


def commit() -> str:
    """The commit that ran, with `+` where files differed from it; "" outside a checkout."""
    here = Path(__file__).parent
    try:
        told = [
            subprocess.run(
                ["git", "-C", str(here), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"])
        ]
    except (OSError, subprocess.SubprocessError):
        return ""
    return told[0] + ("+" if told[1] else "")


def _version() -> str:
    try:
        return version("watchkeeper")
    except PackageNotFoundError:
        return ""


def table(found: Figures) -> str:
    """The figures for people: one line for each controller, then the targets."""
    rows: list[tuple[str, dict[str, Any] | None]] = [
        *found["baselines"].items(),
        ("watchkeeper", found["watchkeeper"]),
        ("oracle", found["oracle"]),
    ]
    head = ("SIMULATED", "ettr", "lost GPU-h", "to faults", "false/actions", "MTTR p50", "p99")
    lines = [f"{head[0]:<16}" + "".join(f"{h:>14}" for h in head[1:])]
    for name, told in rows:
        if told is None:
            continue
        times = told["mttr_s"]
        cells = (
            f"{told['ettr']:.5f}",
            f"{told['lost_gpu_hours']:,.0f}",
            f"{told['lost_to_faults_gpu_hours']:,.0f}",
            f"{told['false_actions']}/{told['actions']}",
            *(f"{times[p]:,.0f} s" if times[p] is not None else "-" for p in ("p50", "p99")),
        )
        lines.append(f"{name:<16}" + "".join(f"{cell:>14}" for cell in cells))
    lines.append("")
    lines += [_target(row) for row in found["targets"]]
    seeds = found["seeds"]
    lines += [
        "",
        f"{found['nodes']} nodes x {found['gpus_per_node']} GPUs, {found['days']:g} days, seeds "
        f"{seeds[0]} to {seeds[-1]}; commit {found['commit'] or 'unknown'}; {found['wall_s']:g} s, "
        f"{found['spread']}. All of it is simulated.",
    ]
    return "\n".join(lines)


def _target(row: Figures) -> str:
    asked = f">= {row['at_least']:g}" if "at_least" in row else f"<= {row['at_most']:.3g}"
    figure = "-" if row["figure"] is None else f"{row['figure']:.4g}"
    oracle = f"; the oracle: {row['oracle']:.4g}" if row.get("oracle") is not None else ""
    said = {True: "met", False: "NOT MET", None: "-"}[row["met"]]
    return f"{row['what']:<40} {figure:>9}  {asked:<9} {said}{oracle}"
