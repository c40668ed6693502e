"""How long it takes to choose who makes room, on the fleet of `eval placement --topology` while it
is full: urgent gangs of every kind with topology are asked for, and nobody is stopped."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from watchkeeper.placement.preempt import preempt
from watchkeeper.placement.queue import Queue
from watchkeeper.placement.words import Gang, Piece

URGENT = 1_000_000
"""A priority above that of every gang of the stream."""

EVERY = 50
"""Arrivals between two questions."""

ASKED = (
    (1, "", "nvlink_domain"), (2, "nvlink_domain", ""), (8, "nvlink_domain", ""),
    (4, "", "rack"), (8, "rack", ""), (16, "rack", "nvlink_domain"), (16, "", "rack"),
)  # fmt: skip
"""(nodes of 8 GPUs, a domain that must hold them, one that should), one after the other."""


class Victims:
    """Asks one question at a time, and keeps how long each took: on the clock, and of CPU."""

    def __init__(self) -> None:
        self._wall: list[float] = []
        self._cpu: list[float] = []
        self._running: list[int] = []
        self._nth = 0

    def ask(self, queue: Queue, now: float) -> None:
        """What would have to go for the next urgent gang. A gang that fits is not counted."""
        count, within, near = ASKED[self._nth % len(ASKED)]
        self._nth += 1
        gang = Gang("urgent", Piece(gpus=8), count, within=within, near=near, priority=URGENT)
        if queue.engine.fits(gang):
            return
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        preempt(queue.engine, gang, queue.running.values(), now)
        self._cpu.append((time.thread_time_ns() - cpu) / 1e6)
        self._wall.append((time.perf_counter_ns() - wall) / 1e6)
        self._running.append(len(queue.running))

    def figures(self) -> dict[str, Any]:
        """Milliseconds for each question; empty where none was asked."""
        if not self._wall:
            return {}
        return {
            "victims": {
                "asked": len(self._wall),
                "running": float(np.mean(self._running)),
                "ms": _quantiles(self._wall),
                "cpu_ms": _quantiles(self._cpu),
            }
        }


def _quantiles(values: list[float]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(values, p)) for p in (50, 99)}
