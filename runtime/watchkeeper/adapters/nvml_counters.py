"""What NVIDIA's driver counts of memory, NVLink and PCIe, held against its thresholds.

Asked by `NvmlSource`, once a minute. Links are told of for as long as they are over; what memory
has come to is one fact, told once. Whatever a driver does not know is Unknown, and tells nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from watchkeeper.core.clock import Clock
from watchkeeper.core.fault import READ_EVERY_S
from watchkeeper.core.incident import Trust
from watchkeeper.core.sources import Finding
from watchkeeper.health.counters import MemoryRecord, fault_of_counter, memory_codes, rise, rma

SOURCE = "nvml"


class NvmlCounters:
    """Remembers the counters of the last look."""

    def __init__(self, nvml: Any, clock: Clock) -> None:
        self._nvml = nvml
        self._clock = clock
        self._due_at = float("-inf")
        self._last: dict[tuple[int, str], tuple[float, int]] = {}
        self._said: set[str] = set()

    def told(self, handles: Sequence[Any]) -> tuple[Finding, ...]:
        """What is over its threshold now; nothing before a minute has passed. handles: by index,
        None where the driver gives none."""
        now = self._clock.steady()
        if now < self._due_at:
            return ()
        self._due_at = now + READ_EVERY_S
        found: list[Finding] = []
        for index, handle in enumerate(handles):
            if handle is not None:
                found += self._memory(index, handle, now)
                found += self._links(index, handle, now)
        return tuple(found)

    def _memory(self, index: int, handle: Any, now: float) -> Iterator[Finding]:
        nvml = self._nvml
        kind, since = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        errors = self._ask(nvml.nvmlDeviceGetTotalEccErrors, handle, kind, since)
        if (more := self._rise(index, "dbe", errors, now)[0]) > 0:
            yield _finding("ecc.dbe", index, float(more), f"{more} uncorrectable errors more")
        rows = self._ask(nvml.nvmlDeviceGetRemappedRows, handle)
        if rows is None:
            return
        corrected, uncorrected, pending, failed = rows
        worn = bool(failed) or self._sram_is_worn(handle)
        record = MemoryRecord(total_remaps=uncorrected, pending=bool(pending), flagged=worn)
        name = self._ask(nvml.nvmlDeviceGetUUID, handle) or str(index)
        for code, value in memory_codes(record):
            fact = f"{name} {code} {corrected} {uncorrected}"
            if fact not in self._said:
                self._said.add(fact)
                raw = f"rows remapped: {uncorrected} uncorrectable. {rma(record)}".strip()
                yield _finding(code, index, value, raw, key=fact)

    def _sram_is_worn(self, handle: Any) -> bool:
        kind = getattr(self._nvml, "c_nvmlEccSramErrorStatus_v1_t", None)
        if kind is None:
            return False
        status = kind()
        ask = self._nvml.nvmlDeviceGetSramEccErrorStatus
        asked = self._ask(ask, handle, ctypes.byref(status))
        return asked is not None and bool(status.bThresholdExceeded)

    def _links(self, index: int, handle: Any, now: float) -> Iterator[Finding]:
        nvml = self._nvml
        width = self._ask(nvml.nvmlDeviceGetCurrPcieLinkWidth, handle)
        most = self._ask(nvml.nvmlDeviceGetMaxPcieLinkWidth, handle)
        if width and most:
            share = min(1.0, width / most)
            if fault_of_counter("pcie.width", share) is not None:
                yield _finding("pcie.width", index, share, f"PCIe x{width} of x{most}")
        replays = self._ask(nvml.nvmlDeviceGetPcieReplayCounter, handle)
        more, over_s = self._rise(index, "replays", replays, now)
        if more and fault_of_counter("pcie.aer", rate := more * 60.0 / over_s) is not None:
            yield _finding("pcie.aer", index, rate, f"{rate:.0f} PCIe replays a minute")
        worst = 0.0
        for link in range(nvml.NVML_NVLINK_MAX_LINKS):
            kind = nvml.NVML_NVLINK_ERROR_DL_CRC_FLIT
            errors = self._ask(nvml.nvmlDeviceGetNvLinkErrorCounter, handle, link, kind)
            more, over_s = self._rise(index, f"link {link}", errors, now)
            worst = max(worst, more / over_s)
        if worst and fault_of_counter("nvlink.errors", worst) is not None:
            yield _finding("nvlink.errors", index, worst, f"{worst:.0f} CRC errors a second")

    def _rise(self, index: int, what: str, count: int | None, now: float) -> tuple[int, float]:
        """By how much it rose since the last look, and over how many seconds."""
        before = self._last.pop((index, what), None)
        if count is None:
            return 0, READ_EVERY_S
        self._last[index, what] = (now, count)
        if before is None or now <= before[0]:
            return 0, READ_EVERY_S
        return rise(before[1], count), now - before[0]

    def _ask(self, call: Callable[..., Any], *given: Any) -> Any:
        """None where this driver, or this GPU, does not tell."""
        try:
            return call(*given)
        except self._nvml.NVMLError:
            return None


def _finding(code: str, gpu: int, value: float, raw: str, key: str = "") -> Finding:
    return Finding(
        code=code, source=SOURCE, trust=Trust.DRIVER, gpu=gpu, value=value, raw=raw, key=key
    )
