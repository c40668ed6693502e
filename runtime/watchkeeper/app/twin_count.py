"""What became of each true fault: how long it lasted, by class. Asked after a run, of the truth."""

from __future__ import annotations

import numpy as np

from watchkeeper.core.word import Word
from watchkeeper.twin.cluster import TwinCluster


class Mended(Word, frozen=True):
    """One class of true fault. Times are seconds from onset until it held nothing any more.

    open: those that still lasted at the end; they are in no figure of time. by_itself: those that
    ended without anybody.
    """

    count: int
    open: int
    by_itself: int
    mean_s: float
    p50_s: float
    p99_s: float
    worst_s: float


def mended(cluster: TwinCluster) -> dict[str, Mended]:
    """Every class that happened and hurts, by name."""
    over: dict[str, list[float]] = {}
    alone: dict[str, int] = {}
    still: dict[str, int] = {}
    for ailment in cluster.harm.over:
        if ailment.hurts and ailment.over_s is not None:
            name = ailment.law.name
            over.setdefault(name, []).append(ailment.over_s - ailment.fault.at_s)
            alone[name] = alone.get(name, 0) + (ailment.over_s == ailment.fault.ends_s)
    for ailment in cluster.ailments.now.values():
        if ailment.hurts:
            still[ailment.law.name] = still.get(ailment.law.name, 0) + 1
    return {
        name: _of(over.get(name, []), still.get(name, 0), alone.get(name, 0))
        for name in sorted({*over, *still})
    }


def _of(lasted: list[float], still: int, alone: int) -> Mended:
    times = np.asarray(lasted or [0.0])
    return Mended(
        count=len(lasted) + still,
        open=still,
        by_itself=alone,
        mean_s=round(float(times.mean()), 1),
        p50_s=round(float(np.percentile(times, 50)), 1),
        p99_s=round(float(np.percentile(times, 99)), 1),
        worst_s=round(float(times.max()), 1),
    )
