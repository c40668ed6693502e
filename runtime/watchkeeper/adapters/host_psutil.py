"""The host itself, through psutil. Asked by the collector. Never blocks: rates are taken between
two readings, and are Unknown at the first."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import psutil
from numpy.typing import NDArray

from watchkeeper.core.clock import Clock
from watchkeeper.core.sources import unknown_host
from watchkeeper.core.telemetry import HOST_FIELDS

_COLUMN = {name: i for i, name in enumerate(HOST_FIELDS)}


class PsutilHost:
    """Meets HostSource. Every metric is optional."""

    def __init__(self, clock: Clock, disk: str = "/") -> None:
        self._clock = clock
        self._disk = disk
        self._last_network: tuple[float, int, int] | None = None
        self._first = True

    def read(self) -> NDArray[np.float32]:
        row = unknown_host()
        self._fill(row, "cpu_percent", self._cpu)
        self._fill(row, "memory_used_percent", lambda: psutil.virtual_memory().percent)
        self._fill(row, "disk_used_percent", lambda: psutil.disk_usage(self._disk).percent)
        self._fill(row, "load_1m", lambda: os.getloadavg()[0])
        try:
            counters = psutil.net_io_counters()
        except (OSError, RuntimeError, psutil.Error):
            return row
        if counters is not None:
            self._network(row, counters.bytes_recv, counters.bytes_sent)
        return row

    def _cpu(self) -> float:
        used = psutil.cpu_percent(interval=None)
        if self._first:  # psutil's first answer compares with nothing
            self._first = False
            return float("nan")
        return used

    def _network(self, row: NDArray[np.float32], received: int, sent: int) -> None:
        now, last = self._clock.steady(), self._last_network
        self._last_network = (now, received, sent)
        # A counter that went back was reset: no rate this time.
        if last is not None and now > last[0] and received >= last[1] and sent >= last[2]:
            row[_COLUMN["network_rx_bytes_per_s"]] = (received - last[1]) / (now - last[0])
            row[_COLUMN["network_tx_bytes_per_s"]] = (sent - last[2]) / (now - last[0])

    def _fill(self, row: NDArray[np.float32], field: str, get: Callable[[], float]) -> None:
        try:
            row[_COLUMN[field]] = get()
        except (OSError, RuntimeError, psutil.Error):
            return
