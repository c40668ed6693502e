"""NVIDIA GPUs through NVML: readings, lost GPUs, counters, and Xid events as the driver tells them.

Uses `nvidia-ml-py`, NVIDIA's own binding, imported as `pynvml`; the package `pynvml` on PyPI is a
shim over it today. Every metric is optional: a driver that does not know one leaves NaN, which is
Unknown. A call may hang in a broken driver; the collector gives it a deadline, not we.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchkeeper.adapters.nvml_counters import NvmlCounters
from watchkeeper.core.clock import Clock
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.incident import Trust
from watchkeeper.core.sources import Finding
from watchkeeper.core.telemetry import GPU_FIELDS
from watchkeeper.health.decode import nvlink5
from watchkeeper.health.kernel_lines import normal_pci

SOURCE = "nvml"
EVENT_WAIT_MS = 500
MAX_HELD = 1000
_COLUMN = {name: i for i, name in enumerate(GPU_FIELDS)}
_MIB = 1024.0 * 1024.0


class NvmlSource:
    """Meets GpuSource and SignalSource. `drain` gives lost GPUs, counters that are over their
    thresholds, and Xid events."""

    vendor = "nvidia"
    simulated = False

    def __init__(self, clock: Clock) -> None:
        """Raises ClusterUnavailable where there is no NVIDIA driver (the message says what is
        missing)."""
        import pynvml

        self._nvml: Any = pynvml
        self._clock = clock
        self._found: deque[Finding] = deque(maxlen=MAX_HELD)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            pynvml.nvmlInit()
            count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as err:
            raise ClusterUnavailable(
                f"NVML does not answer: {err}. Is the NVIDIA driver loaded, and libnvidia-ml.so.1 "
                "to be found? Use --gpus none on a host without NVIDIA GPUs."
            ) from err
        self._handles: list[Any] = [None] * count
        self._pci: dict[str, int] = {}
        self._lost: set[int] = set()
        for index in range(count):
            self._resolve(index)
        self._metrics = _metrics(pynvml)
        self._counters = NvmlCounters(pynvml, clock)
        self._watch_events()

    @property
    def count(self) -> int:
        return len(self._handles)

    def index_of(self, pci: str) -> int | None:
        return self._pci.get(normal_pci(pci))

    def read(self) -> NDArray[np.float32]:
        gpu = np.full((self.count, len(GPU_FIELDS)), np.nan, np.float32)
        for index in range(self.count):
            self._read_one(index, gpu[index])
        self._found.extend(self._counters.told(self._handles))
        return gpu

    def drain(self) -> tuple[Finding, ...]:
        found = []
        with contextlib.suppress(IndexError):  # the event thread may be adding
            while True:
                found.append(self._found.popleft())
        return tuple(found)

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * EVENT_WAIT_MS / 1000)
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _resolve(self, index: int) -> None:
        """A handle for the GPU, if the driver gives one; its PCI address, while it answers."""
        with contextlib.suppress(self._nvml.NVMLError):
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            self._handles[index] = handle
            bus = self._nvml.nvmlDeviceGetPciInfo(handle).busId
            self._pci[normal_pci(bus.decode() if isinstance(bus, bytes) else bus)] = index

    def _read_one(self, index: int, row: NDArray[np.float32]) -> None:
        if self._handles[index] is None:
            self._resolve(index)
        handle, answered, lost = self._handles[index], False, False
        for fill in self._metrics if handle is not None else ():
            try:
                fill(handle, row)
                answered = True
            except self._nvml.NVMLError as err:
                if err.value == self._nvml.NVML_ERROR_GPU_IS_LOST:
                    lost = True
                    break
        if lost:
            row[:] = np.nan
            row[_COLUMN["present"]] = 0.0
            self._handles[index] = None  # after a reset the old handle would stay lost
            if index not in self._lost:
                self._lost.add(index)
                self._note("gpu.lost", index, None, "NVML: GPU is lost")
        elif answered:
            row[_COLUMN["present"]] = 1.0
            self._lost.discard(index)
        elif index in self._lost:
            row[_COLUMN["present"]] = 0.0  # it gives no handle since: still lost

    def _note(self, code: str, index: int | None, value: float | None, raw: str) -> None:
        self._found.append(
            Finding(
                code=code,
                source=SOURCE,
                trust=Trust.DRIVER,
                gpu=index,
                at=self._clock.now(),
                value=value,
                raw=raw,
            )
        )

    def _watch_events(self) -> None:
        """Register for Xid events where the driver offers them, and wait in a thread."""
        nvml = self._nvml
        try:
            events = nvml.nvmlEventSetCreate()
        except nvml.NVMLError:
            return
        watched = 0
        for handle in self._handles:
            if handle is not None:
                with contextlib.suppress(nvml.NVMLError):
                    nvml.nvmlDeviceRegisterEvents(
                        handle, nvml.nvmlEventTypeXidCriticalError, events
                    )
                    watched += 1
        if watched:
            self._thread = threading.Thread(
                target=self._wait_events, args=(events,), name="nvml-events", daemon=True
            )
            self._thread.start()

    def _wait_events(self, events: Any) -> None:
        nvml = self._nvml
        while not self._stop.is_set():
            try:
                event = nvml.nvmlEventSetWait(events, EVENT_WAIT_MS)
            except nvml.NVMLError as err:
                if err.value != nvml.NVML_ERROR_TIMEOUT:
                    # Driver in trouble: ask again later, without a busy loop.
                    self._stop.wait(5.0)
                continue
            code = int(event.eventData)
            if event.eventType == nvml.nvmlEventTypeXidCriticalError and 0 < code < 1000:
                index = self._index_of_handle(event.device)
                self._note(f"xid.{code}", index, xid_value(code), f"NVML event: Xid {code}")
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlEventSetFree(events)

    def _index_of_handle(self, device: Any) -> int | None:
        wanted = ctypes.cast(device, ctypes.c_void_p).value
        for index, handle in enumerate(self._handles):
            if handle is not None and ctypes.cast(handle, ctypes.c_void_p).value == wanted:
                return index
        with contextlib.suppress(self._nvml.NVMLError):
            bus = self._nvml.nvmlDeviceGetPciInfo(device).busId
            return self.index_of(bus.decode() if isinstance(bus, bytes) else bus)
        return None


def xid_value(code: int) -> float | None:
    """`Signal.value` of an Xid that NVML tells as a bare number. Of NVLink's own (144 to 150) the
    status word decides, which only the kernel's line has: here it is what holds of any status."""
    return nvlink5(code, "") if 144 <= code <= 150 else float(code)


def _metrics(nvml: Any) -> tuple[Callable[[Any, NDArray[np.float32]], None], ...]:
    """One function a metric, each of which may raise NVMLError without touching the others."""

    def one(field: str, get: Callable[[Any], float]) -> Callable[[Any, NDArray[np.float32]], None]:
        def fill(handle: Any, row: NDArray[np.float32]) -> None:
            row[_COLUMN[field]] = get(handle)

        return fill

    def memory(handle: Any, row: NDArray[np.float32]) -> None:
        info = nvml.nvmlDeviceGetMemoryInfo(handle)
        row[_COLUMN["memory_used_mib"]] = info.used / _MIB
        row[_COLUMN["memory_total_mib"]] = info.total / _MIB

    def temperature(handle: Any) -> float:
        try:
            return float(nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU))
        except nvml.NVMLError as err:  # older drivers know only the older call
            if err.value == nvml.NVML_ERROR_GPU_IS_LOST:
                raise
            return float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))

    def ecc(kind: int) -> Callable[[Any], float]:
        return lambda h: nvml.nvmlDeviceGetTotalEccErrors(h, kind, nvml.NVML_AGGREGATE_ECC)

    return (
        one("utilization_percent", lambda h: nvml.nvmlDeviceGetUtilizationRates(h).gpu),
        memory,
        one("temperature_celsius", temperature),
        one("power_watts", lambda h: nvml.nvmlDeviceGetPowerUsage(h) / 1000.0),
        one("power_limit_watts", lambda h: nvml.nvmlDeviceGetEnforcedPowerLimit(h) / 1000.0),
        one("ecc_corrected_total", ecc(nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED)),
        one("ecc_uncorrected_total", ecc(nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)),
        one("sm_clock_mhz", lambda h: nvml.nvmlDeviceGetClockInfo(h, nvml.NVML_CLOCK_SM)),
        one("throttle_reasons", nvml.nvmlDeviceGetCurrentClocksThrottleReasons),
        one("nvlink_links_up", lambda h: _links_up(nvml, h)),
    )


def _links_up(nvml: Any, handle: Any) -> float:
    """Links that are up. Raises NVMLError when the first is not known: then there are none."""
    up = float(nvml.nvmlDeviceGetNvLinkState(handle, 0) == nvml.NVML_FEATURE_ENABLED)
    for link in range(1, nvml.NVML_NVLINK_MAX_LINKS):
        try:
            up += nvml.nvmlDeviceGetNvLinkState(handle, link) == nvml.NVML_FEATURE_ENABLED
        except nvml.NVMLError as err:
            if err.value == nvml.NVML_ERROR_GPU_IS_LOST:
                raise
            break
    return up
