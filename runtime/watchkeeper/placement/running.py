"""What runs: since when, saved when, and when it should end. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watchkeeper.placement.words import Placement

Floats = NDArray[np.float64]

OVERRUN = 0.1
"""Work that outlives its estimate is expected to take this share of it more, from now on."""


@dataclass(frozen=True, slots=True)
class Running:
    """A placed gang. checkpoint: when its work was last saved; None when nobody knows."""

    placement: Placement
    since: float
    checkpoint: float | None = None

    @property
    def name(self) -> str:
        return self.placement.gang.name

    def ends(self, now: float) -> float | None:
        """When it should be over; None without an estimate."""
        expected = self.placement.gang.runtime_s
        if expected is None:
            return None
        return max(self.since + expected, now + OVERRUN * expected)

    def unsaved_s(self, now: float) -> float:
        """Seconds of work that stopping it now would lose."""
        return max(0.0, now - max(self.since, self.checkpoint or self.since))


@dataclass(frozen=True, slots=True)
class Terms:
    """What stopping work costs, and when it may not be stopped.

    least_runtime_s: nothing is stopped sooner after its start. restart_s: how long a gang takes to
    run again. Both are the site's to set.
    """

    least_runtime_s: float = 900.0
    restart_s: float = 300.0

    def stop(self, run: Running, now: float) -> float:
        """GPU-seconds lost when the gang is stopped (or moved) now."""
        return run.placement.gpus * (run.unsaved_s(now) + self.restart_s)

    def stop_each(self, runs: Sequence[Running], now: float) -> Floats:
        """`stop` of many at once, digit for digit: f8[len(runs)]."""
        since = np.array([run.since for run in runs])
        saved = np.array([run.checkpoint or run.since for run in runs])
        unsaved = np.maximum(0.0, now - np.maximum(since, saved))
        lost: Floats = np.array([run.placement.gpus for run in runs]) * (unsaved + self.restart_s)
        return lost

    def shrink(self, run: Running) -> float:
        """GPU-seconds lost when an elastic gang goes on with fewer workers: all of it pauses."""
        return run.placement.gpus * self.restart_s

    def settled(self, run: Running, now: float) -> bool:
        """It has run for long enough to be stopped."""
        return now - run.since >= self.least_runtime_s
