"""The last hour of every GPU, for plots. In memory only: it begins when the watch begins.

10,000 GPUs or fewer are kept every 10 s, more of them every minute: 22 MB and 29 MB (of 80,000
GPUs) at most. Nothing decides by it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.cells import Trace
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot

KEPT_S = 3600.0
FINE_S, COARSE_S = 10.0, 60.0
FINE_GPUS = 10_000
COLUMNS = [
    GPU_FIELDS.index(name) for name in ("utilization_percent", "temperature_celsius", "power_watts")
]


@dataclass(frozen=True, eq=False, slots=True)
class _Kept:
    """One moment. values: f2[nodes, GPUs, 3]."""

    steady: float
    row: Mapping[str, int]
    values: NDArray[np.float16]


class Traces:
    """Takes a moment now and then; gives the hour of one node."""

    def __init__(self) -> None:
        self._kept: deque[_Kept] = deque()
        self._lock = threading.Lock()
        self._since: datetime | None = None

    def take(self, snapshot: Snapshot) -> None:
        """Keep this moment, if the last one is old enough."""
        gpu = snapshot.frame.gpu
        every = FINE_S if gpu.shape[0] * gpu.shape[1] <= FINE_GPUS else COARSE_S
        if self._kept and snapshot.steady - self._kept[-1].steady < every:
            return
        with np.errstate(over="ignore"):  # what no float16 holds is no reading of a GPU
            values = gpu[:, :, COLUMNS].astype(np.float16)
        with self._lock:
            self._since = self._since or snapshot.at
            self._kept.append(_Kept(snapshot.steady, snapshot.frame.row, values))
            while self._kept and snapshot.steady - self._kept[0].steady > KEPT_S:
                self._kept.popleft()

    def of(self, node: str, gpus: int, steady: float) -> Trace:
        """The hour of one node, for so many of its GPUs."""
        with self._lock:
            kept = list(self._kept)
        table = np.full((len(kept), gpus, len(COLUMNS)), np.nan)
        for i, moment in enumerate(kept):
            row = moment.row.get(node)
            if row is not None:
                wide = min(gpus, moment.values.shape[1])
                table[i, :wide] = moment.values[row, :wide]
        utilization, temperature, power = (_plain(table[:, :, c]) for c in range(len(COLUMNS)))
        return Trace(
            node=node,
            ago_s=tuple(round(steady - m.steady, 1) for m in kept),
            utilization=utilization,
            temperature=temperature,
            power=power,
            since=self._since,
        )


def _plain(values: NDArray[np.float64]) -> tuple[tuple[float | None, ...], ...]:
    """By GPU; what is not a number is None."""
    columns = np.round(values.T, 1).tolist()
    return tuple(tuple(v if np.isfinite(v) else None for v in gpu) for gpu in columns)
