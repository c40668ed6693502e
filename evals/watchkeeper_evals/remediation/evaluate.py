"""Plays every controller on every seed, here or spread, and gives the figures.

`watchkeeper eval remediation` calls `evaluate`. One job is one controller on one seed; what is kept
in a folder already is not played again.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from watchkeeper.core.fanout import Fanout
from watchkeeper_evals.remediation.figures import Figures, figures
from watchkeeper_evals.remediation.kept import Kept
from watchkeeper_evals.remediation.runs import CONTROLLERS, SeedRun, Told
from watchkeeper_evals.remediation.setup import Setup
from watchkeeper_evals.remediation.sources import code_digest, commit
from watchkeeper_evals.remediation.spread import Job, in_turn, over_fanout, over_processes


class Listener(Protocol):
    """Whoever is told how far it is."""

    def told(self, job: Job, told: Told) -> None: ...

    def over(self, run: SeedRun) -> None: ...


class Nobody:
    """Meets Listener."""

    def told(self, job: Job, told: Told) -> None:
        pass

    def over(self, run: SeedRun) -> None:
        pass


class Evaluated(NamedTuple):
    """The figures, and the runs behind them for whoever draws."""

    figures: Figures
    runs: tuple[SeedRun, ...]


def jobs_of(setup: Setup, controllers: Sequence[str] = CONTROLLERS) -> list[Job]:
    """Every run that an evaluation needs, the controllers of one seed together."""
    return [Job(setup, seed, name) for seed in setup.every_seed for name in controllers]


def to_play(jobs: Sequence[Job], kept: Kept | None) -> list[Job]:
    """Those that are not kept already. Raises Malformed for a damaged file."""
    if kept is None:
        return list(jobs)
    return [job for job in jobs if kept.take(job.seed, job.controller) is None]


def evaluate(
    setup: Setup,
    *,
    fanout: Fanout | None = None,
    processes: int = 1,
    controllers: Sequence[str] = CONTROLLERS,
    kept: Kept | None = None,
    heard: Listener | None = None,
) -> Evaluated:
    """Play what is not kept, keep it, and count all. fanout: where to spread it; else so many
    processes of this machine; one plays here.

    Raises PolicyError for orders that do not load, UsageError for a fleet that cannot be built.
    """
    began = time.perf_counter()
    jobs = jobs_of(setup, controllers)
    played = {
        (run.seed, run.controller): run
        for run in _play(to_play(jobs, kept), fanout, processes, heard or Nobody(), kept)
    }
    spread = "one after the other"
    if fanout is not None:
        spread = fanout.says
    elif processes > 1:
        spread = f"{processes} processes of this machine"
    runs = tuple(run for job in jobs if (run := _run_of(job, played, kept)) is not None)
    wall_s = time.perf_counter() - began
    return Evaluated(figures(setup, runs, wall_s, _about(spread, runs)), runs)


def collect(setup: Setup, kept: Kept, controllers: Sequence[str] = CONTROLLERS) -> Evaluated:
    """The figures of what is kept, of whatever seeds; nothing is played."""
    seeds = [seed for seed, name in kept.every() if name in controllers]
    if not seeds:
        return Evaluated(figures(setup, (), 0.0, _about("nothing was played", ())), ())
    runs = tuple(
        run
        for seed in sorted(set(seeds))
        for name in controllers
        if (run := kept.take(seed, name)) is not None
    )
    about = _about("kept runs", runs) | {"code": kept.about.code}
    return Evaluated(figures(setup, runs, sum(r.wall_s for r in runs), about), runs)


def _play(
    jobs: Sequence[Job],
    fanout: Fanout | None,
    processes: int,
    heard: Listener,
    kept: Kept | None,
) -> Iterator[SeedRun]:
    by = commit()
    for found in _found(jobs, fanout, processes, heard):
        run = replace(found, commit=by)
        heard.over(run)
        if kept is not None and kept.still():
            kept.keep(run)
        elif kept is not None:
            print(
                f"seed {run.seed}, {run.controller} is not kept: the code has changed meanwhile.",
                file=sys.stderr,
            )
        yield run


def _found(
    jobs: Sequence[Job], fanout: Fanout | None, processes: int, heard: Listener
) -> Iterable[SeedRun]:
    if fanout is not None:
        return over_fanout(jobs, fanout)
    if processes > 1:
        return over_processes(jobs, processes, heard.told)
    return in_turn(jobs, heard.told)


def _run_of(job: Job, played: dict[tuple[int, str], SeedRun], kept: Kept | None) -> SeedRun | None:
    run = played.get((job.seed, job.controller))
    if run is None and kept is not None:
        return kept.take(job.seed, job.controller)
    return run


def _about(spread: str, runs: Sequence[SeedRun]) -> Figures:
    commits = sorted({run.commit for run in runs if run.commit})
    return {
        "spread": spread,
        "commit": ", ".join(commits) or commit(),
        "code": code_digest(),
        "version": _version(),
        "python": platform.python_version(),
    }


def _version() -> str:
    try:
        return version("watchkeeper")
    except PackageNotFoundError:
        return ""
