"""GPUs that do not exist, for the lab on a machine without any. Always labelled `simulated`.

Two files in the lab's directory steer it: `faults.json` {"lost": [i]} and `load.json`
{"busy": [i]}. Values are smooth and depend only on time and index.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.clock import Clock
from watchkeeper.core.incident import Trust
from watchkeeper.core.sources import Finding
from watchkeeper.core.telemetry import GPU_FIELDS

SOURCE = "nvml-simulated"
MEMORY_MIB = 81_920.0
POWER_LIMIT_WATTS = 700.0
LINKS = 18.0
FIRST_BUS = 0x10


def pci_of(index: int) -> str:
    """PCI address of simulated GPU `index`, as Xid lines about it name it."""
    return f"0000:{FIRST_BUS + index:02x}:00"


class SimulatedGpus:
    """Meets GpuSource and SignalSource."""

    vendor = "simulated"
    simulated = True

    def __init__(self, sim_dir: Path, gpus: int, clock: Clock) -> None:
        self._dir = sim_dir
        self._gpus = gpus
        self._clock = clock
        self._lost: frozenset[int] = frozenset()
        self._busy: frozenset[int] = frozenset()
        self._told: set[int] = set()
        self._found: deque[Finding] = deque(maxlen=1000)

    def read(self) -> NDArray[np.float32]:
        self._lost = self._indices("faults.json", "lost", self._lost)
        self._busy = self._indices("load.json", "busy", self._busy)
        index = np.arange(self._gpus, dtype=np.float64)
        busy = np.isin(index, list(self._busy))
        # A slow wave and a fast one, each GPU at its own phase: nothing jumps, nothing is random.
        at = self._clock.now().timestamp()
        wave = np.sin(at / 37.0 + index * 1.7) * 0.7 + np.sin(at / 7.0 + index * 0.9) * 0.3
        use = np.where(busy, 92.0 + 5.0 * wave, 0.0)
        columns: dict[str, NDArray[np.float64] | float] = {
            "utilization_percent": use,
            "memory_used_mib": np.where(busy, MEMORY_MIB * (0.78 + 0.01 * wave), 512.0),
            "memory_total_mib": MEMORY_MIB,
            "temperature_celsius": np.where(busy, 63.0, 34.0) + 2.0 * wave + index * 0.4,
            "power_watts": np.where(busy, 560.0 + 40.0 * wave, 72.0 + 3.0 * wave),
            "power_limit_watts": POWER_LIMIT_WATTS,
            "ecc_corrected_total": 0.0,
            "ecc_uncorrected_total": 0.0,
            "sm_clock_mhz": np.where(busy, 1755.0 + 15.0 * wave, 345.0),
            "throttle_reasons": np.where(busy, 0.0, 1.0),  # bit 0: idle
            "nvlink_links_up": LINKS,
            "present": 1.0,
        }
        gpu = np.empty((self._gpus, len(GPU_FIELDS)), np.float32)
        for column, name in enumerate(GPU_FIELDS):
            gpu[:, column] = columns[name]
        lost = np.isin(index, list(self._lost))
        gpu[lost] = np.nan
        gpu[lost, GPU_FIELDS.index("present")] = 0.0
        self._tell_lost()
        return gpu

    def index_of(self, pci: str) -> int | None:
        for index in range(self._gpus):
            if pci_of(index) == pci:
                return index
        return None

    def drain(self) -> tuple[Finding, ...]:
        found = []
        with contextlib.suppress(IndexError):  # a reading may be adding
            while True:
                found.append(self._found.popleft())
        return tuple(found)

    def close(self) -> None:
        """Nothing to close."""

    def _tell_lost(self) -> None:
        for index in sorted(self._lost - self._told):
            self._found.append(
                Finding(
                    code="gpu.lost",
                    source=SOURCE,
                    trust=Trust.DRIVER,
                    gpu=index,
                    at=self._clock.now(),
                    simulated=True,
                    raw="simulated: GPU is lost",
                )
            )
        self._told = set(self._lost)

    def _indices(self, file: str, key: str, before: frozenset[int]) -> frozenset[int]:
        """Indices named in a file; none without the file, and as before while it is half
        written."""
        try:
            said: Any = json.loads((self._dir / file).read_text())
            return frozenset(i for i in said[key] if type(i) is int and 0 <= i < self._gpus)
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, KeyError, TypeError):
            return before


class NoGpus:
    """A host without GPUs. Meets GpuSource."""

    vendor = "none"
    simulated = False

    def read(self) -> NDArray[np.float32]:
        return np.empty((0, len(GPU_FIELDS)), np.float32)

    def index_of(self, pci: str) -> int | None:  # noqa: ARG002
        return None

    def close(self) -> None:
        """Nothing to close."""
