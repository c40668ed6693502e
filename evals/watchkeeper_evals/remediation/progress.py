"""How far a long evaluation is, on standard error: a line for each run under way, and one for all.

Where standard error is no terminal, one plain line for each run that is done. Answers go elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from watchkeeper_evals.remediation.runs import WATCH, SeedRun, Told
from watchkeeper_evals.remediation.spread import Job

OTHERS = 0.02
"""A run of a simple controller, as a part of one of the watch: about so long. Measured."""
LEAST = 0.002
"""Of the whole, before anything is said of the time that is left."""


class Pace:
    """How much is done of all, and how long the rest will take at the pace so far."""

    def __init__(self, jobs: Sequence[Job], clock: Callable[[], float] = time.perf_counter) -> None:
        self._weight = {_key(job.seed, job.controller): _weight(job.controller) for job in jobs}
        self._share: dict[tuple[int, str], float] = {}
        self._clock = clock
        self._began = clock()
        self.most = len(jobs)
        self.done = 0

    def told(self, job: Job, share: float) -> None:
        self._share[_key(job.seed, job.controller)] = share

    def over(self, run: SeedRun) -> None:
        self._share[_key(run.seed, run.controller)] = 1.0
        self.done += 1

    @property
    def share(self) -> float:
        """Of all that is to be played, 0 to 1."""
        whole = sum(self._weight.values())
        done = sum(self._weight.get(key, 0.0) * share for key, share in self._share.items())
        return done / whole if whole else 1.0

    @property
    def left(self) -> str:
        """Hours, minutes and seconds; "" while nobody can know."""
        if self.share < LEAST:
            return ""
        elapsed = self._clock() - self._began
        return str(timedelta(seconds=round(elapsed * (1 - self.share) / self.share)))


def _key(seed: int, controller: str) -> tuple[int, str]:
    return seed, controller


def _weight(controller: str) -> float:
    return 1.0 if controller == WATCH else OTHERS


class Plain:
    """Lines for a log."""

    def __init__(self, pace: Pace, say: Callable[[str], None]) -> None:
        self._pace, self._say = pace, say

    def told(self, job: Job, told: Told) -> None:
        self._pace.told(job, told.share)

    def over(self, run: SeedRun) -> None:
        self._pace.over(run)
        pace = self._pace
        left = f", about {pace.left} left" if pace.left and pace.done < pace.most else ""
        self._say(f"{_of_run(run)}; {pace.done} of {pace.most} runs{left}")


def _of_run(run: SeedRun) -> str:
    false = sum(not deed.law for deed in run.deeds)
    parts = [
        f"seed {run.seed}, {run.controller}: ETTR {run.tally.ettr:.4f}",
        f"{false} false of {len(run.deeds)} actions",
    ]
    if run.controller == WATCH:
        parts.append(f"{len(run.violations)} promises broken at {run.effects_checked} effects")
    return ", ".join([*parts, f"{run.wall_s:.0f} s"])


class Live:
    """Lines that move, for a terminal."""

    def __init__(self, pace: Pace, bars: Any) -> None:
        self._pace, self._bars = pace, bars
        self._tasks: dict[tuple[int, str], Any] = {}
        self._all = bars.add_task("simulated nights", total=1.0, said="")

    def told(self, job: Job, told: Told) -> None:
        self._pace.told(job, told.share)
        key = _key(job.seed, job.controller)
        if key not in self._tasks:
            what = f"  seed {job.seed} {job.controller}"
            self._tasks[key] = self._bars.add_task(what, total=1.0, said="")
        said = f"day {told.share * job.setup.days:.1f} of {job.setup.days:g}"
        if told.ettr is not None:
            said += f", ETTR {told.ettr:.4f}, {told.false} false"
        self._bars.update(self._tasks[key], completed=told.share, said=said)
        self._whole()

    def over(self, run: SeedRun) -> None:
        self._pace.over(run)
        task = self._tasks.pop(_key(run.seed, run.controller), None)
        if task is not None:
            self._bars.remove_task(task)
        if run.controller == WATCH:
            self._bars.console.print(f"  {_of_run(run)}", highlight=False)
        self._whole()

    def _whole(self) -> None:
        pace = self._pace
        left = f", {pace.left} left" if pace.left else ""
        said = f"{pace.done} of {pace.most} runs{left}"
        self._bars.update(self._all, completed=pace.share, said=said)


@contextmanager
def shown(jobs: Sequence[Job]) -> Iterator[Plain | Live]:
    """Somebody to tell, for as long as these jobs are played."""
    pace = Pace(jobs)
    if not sys.stderr.isatty():
        yield Plain(pace, lambda said: print(said, file=sys.stderr, flush=True))
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>5.1f} %"),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield Live(pace, bars)
