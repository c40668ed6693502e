"""What do counters of memory, links, network and PCIe say? Asked by the correlator, and by
collectors that hold a raw counter against its threshold.

A `Signal` of these codes carries its reading in `value`, in the unit given here. A code without a
value is believed as it stands: whoever sent it compared it already. Thresholds are NVSentinel's
NIC defaults and NVIDIA's memory-error guide, as published; those marked *ours* are assumptions.
"""

from __future__ import annotations

from dataclasses import dataclass

from watchkeeper.core.fault import Fault

SYMBOL_ERRORS_PER_HOUR = 120.0
"""`ib.symbol_errors`, errors per hour on one port: above it the bit error rate is out of spec."""
CARRIER_CHANGES = 2.0
"""`nic.down`, carrier changes between two polls: above it the port flaps."""
PCIE_REPLAYS_PER_MINUTE = 8.0
"""`pcie.aer`, replays or corrected errors per minute (a threshold recalled from DCGM)."""
PCIE_FULL_WIDTH = 1.0
"""`pcie.width`, share of the link's best width and speed, 0 to 1."""
NVLINK_ERRORS_PER_S = 100.0
"""`nvlink.errors`, CRC errors per second on one link (a threshold recalled from DCGM)."""

_ABOVE: dict[str, tuple[float, Fault]] = {
    "ecc.dbe": (0.0, Fault.GPU_MEMORY),
    "ecc.remap_pending": (0.0, Fault.GPU_MEMORY_CONTAINED),
    "ecc.remap_failure": (0.0, Fault.GPU_RMA),
    "nvlink.errors": (NVLINK_ERRORS_PER_S, Fault.NVLINK),
    "ib.link_down": (0.0, Fault.NETWORK_LINK),
    "ib.symbol_errors": (SYMBOL_ERRORS_PER_HOUR, Fault.NETWORK_LINK),
    "nic.down": (0.0, Fault.NETWORK_LINK),
    "pcie.aer": (PCIE_REPLAYS_PER_MINUTE, Fault.PCIE),
    "gpu.thermal": (0.0, Fault.GPU_THERMAL),
    "gpu.power_brake": (0.0, Fault.GPU_POWER_BRAKE),
}
"""Code -> (a value above this is a fault, of this class)."""

LINK_CODES = frozenset({"ib.link_down", "ib.symbol_errors", "nic.down", "pcie.width", "pcie.aer"})
"""Links that train and go down together while a host boots."""


def rise(before: int | None, now: int | None) -> int:
    """By how much a counter rose between two looks. One that went back was cleared, and of one that
    was not read nothing is known: 0."""
    return max(0, now - before) if before is not None and now is not None else 0


def fault_of_counter(code: str, value: float | None) -> Fault | None:
    """The class of fault that this reading speaks for; None below its threshold, for a value that
    is no number (Unknown), and for a code that is none of these."""
    if code == "pcie.width":
        narrow = value is None or 0.0 <= value < PCIE_FULL_WIDTH
        return Fault.PCIE if narrow else None
    if code not in _ABOVE:
        return None
    limit, fault = _ABOVE[code]
    return fault if value is None or value > limit else None


BANK_REMAPS = 8
TOTAL_REMAPS = 512
SRAM_PARITY = 4
SRAM_SECDED = 2


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """What a driver tells of one GPU's memory since it was made. None is Unknown.

    worst_bank_remaps: uncorrectable remaps in the bank that has most. asked_more: a further remap
    was asked for in a bank that already holds 8. row_failed_again: a remapped row failed once more.
    total_remaps: uncorrectable ones. sram_parity, sram_secded: most unique uncorrectable errors of
    one SRAM bank, by its protection. flagged: the driver's own failure or threshold flag.
    """

    worst_bank_remaps: int | None = None
    asked_more: bool = False
    row_failed_again: bool = False
    total_remaps: int | None = None
    sram_parity: int | None = None
    sram_secded: int | None = None
    flagged: bool = False
    pending: bool = False
    uncorrected: int | None = None


def rma(record: MemoryRecord) -> str:
    """Why this GPU should be replaced, in one sentence; "" when nothing asks for it.

    NVIDIA's memory-error guide: a remap asked for in a bank that already has 8, a remapped row
    that fails again, 512 remaps in all, or more than 4 (parity) or 2 (SECDED) unique uncorrectable
    errors in one SRAM bank. Blackwell tries to repair an HBM channel first; its driver's flag
    decides there.
    """
    if record.flagged:
        return "The driver has set its failure flag."
    if (record.worst_bank_remaps or 0) >= BANK_REMAPS and record.asked_more:
        return f"A bank with {record.worst_bank_remaps} remaps asks for one more."
    if (record.worst_bank_remaps or 0) > BANK_REMAPS:
        return f"One bank has {record.worst_bank_remaps} uncorrectable remaps."
    if record.row_failed_again:
        return "A row that was remapped failed again."
    if (record.total_remaps or 0) >= TOTAL_REMAPS:
        return f"{record.total_remaps} rows are remapped: there are no more."
    if (record.sram_parity or 0) > SRAM_PARITY:
        return f"One SRAM bank has {record.sram_parity} uncorrectable parity errors."
    if (record.sram_secded or 0) > SRAM_SECDED:
        return f"One SRAM bank has {record.sram_secded} uncorrectable SECDED errors."
    return ""


def memory_codes(record: MemoryRecord) -> tuple[tuple[str, float], ...]:
    """The signals' codes and values that this record gives, gravest first."""
    said: list[tuple[str, float]] = []
    if rma(record):
        said.append(("ecc.remap_failure", 1.0))
    if record.uncorrected:
        said.append(("ecc.dbe", float(record.uncorrected)))
    if record.pending:
        said.append(("ecc.remap_pending", 1.0))
    return tuple(said)
