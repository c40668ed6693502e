"""What an Xid or SXid code means, and which class of fault it is.

Asked by the correlator and by `diagnose`. The tables in data/ are derived facts, not vendor
guidance. A code that is in no table never leads to an act.
"""

import csv
from functools import cache
from importlib.resources import files

from watchkeeper.core.fault import Fault
from watchkeeper.core.word import Word


class Code(Word, frozen=True):
    """One row of a table. klass, severity and action are the words of its source."""

    code: int
    name: str
    klass: str
    severity: str
    action: str
    notes: str
    source: str
    known: bool = True


XID_SOURCE = "NVIDIA Xid catalogue, derived"
SXID_SOURCE = "NVSentinel NVSwitch mapping, derived"

_BY_CODE: dict[int, Fault | None] = {
    # Companions and summaries: never a fault by themselves.
    43: None,  # a user's program failed; the GPU is healthy
    45: None,  # a channel torn down by something else
    154: None,  # a summary of another code: its decoded value speaks, in `evidence.fault_of`
    # A GPU that answers no more cannot be reset; only the host's reboot brings it back.
    79: Fault.GPU_OFF_BUS,
    # The source names no cure. "Treat as 79: cordon and escalate."
    167: Fault.GPU_HANDS_ON,
    169: Fault.GPU_HANDS_ON,
    # The error took one process at most. The reset that it wants can wait for the next drain.
    63: Fault.GPU_MEMORY_CONTAINED,
    94: Fault.GPU_MEMORY_CONTAINED,
    160: Fault.GPU_MEMORY_CONTAINED,
    # Detail records of 48.
    171: Fault.GPU_MEMORY,
    172: Fault.GPU_MEMORY,
    151: Fault.GPU_DRIVER,
}
"""Where the row's own words do not decide, or would decide wrongly."""

_BY_ACTION: dict[str, Fault | None] = {
    "IGNORE": None,
    "RESTART_APP": Fault.APPLICATION,
    "CONTACT_SUPPORT": Fault.GPU_HANDS_ON,
    "CHECK_MECHANICALS": Fault.GPU_HANDS_ON,
    "UPDATE_SWFW": Fault.GPU_HANDS_ON,
    "RESTART_BM": Fault.GPU_HARDWARE,
    "RESTART_VM": Fault.GPU_DRIVER,
    "WORKFLOW_XID_48": Fault.GPU_MEMORY,
    "WORKFLOW_NVLINK_ERR": Fault.NVLINK,
    # Decoded by status bits (`decode`); where that fails we do not know what it asks.
    "WORKFLOW_NVLINK5_ERR": Fault.GPU_UNKNOWN,
    "CHECK_UVM": Fault.GPU_NOTICE,
}

_RESET_BY_CLASS: dict[str, Fault] = {
    "hardware_memory": Fault.GPU_MEMORY,
    "driver_firmware": Fault.GPU_DRIVER,
    "nvlink": Fault.NVLINK,
}

_SXID_BY_ACTION: dict[str, Fault | None] = {
    "IGNORE": None,
    "WORKFLOW_NVLINK_POTENTIALLY_FATAL": Fault.NVLINK,
}
"""Everything else that an NVSwitch asks for touches every GPU behind it: a person's work."""


@cache
def _table(name: str, label: str, source: str) -> dict[int, Code]:
    text = files("watchkeeper.health").joinpath("data", f"{name}.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {
        int(row["code"]): Code(
            code=int(row["code"]),
            name=row[label],
            klass=row["class"],
            severity=row["severity"],
            action=row["action"],
            notes=row["notes"],
            source=source,
        )
        for row in rows
    }


def xid(code: int) -> Code:
    """The catalogue's row for an Xid; for a code it does not hold, a row that never acts."""
    return _table("xid", "name", XID_SOURCE).get(code) or _stranger("Xid", code)


def sxid(code: int) -> Code:
    """The same for an SXid, which an NVSwitch reports."""
    return _table("sxid", "family", SXID_SOURCE).get(code) or _stranger("SXid", code)


def _stranger(what: str, code: int) -> Code:
    return Code(
        code=code,
        name=f"{what.upper()}_{code}",
        klass="unknown",
        severity="unknown",
        action="UNKNOWN",
        notes=f"{what} {code} is in no table of ours: a person must look; nothing acts on it.",
        source="",
        known=False,
    )


def fault_of_xid(code: int) -> Fault | None:
    """Our class of fault, or None for what is no fault (a test, a notice, a companion)."""
    row = xid(code)
    if not row.known:
        return Fault.GPU_UNKNOWN
    if code in _BY_CODE:
        return _BY_CODE[code]
    if row.klass == "test":
        return None
    if row.action == "RESET_GPU":
        return _RESET_BY_CLASS.get(row.klass, Fault.GPU_HARDWARE)
    if row.action == "NONE_STATED":
        return Fault.GPU_NOTICE if row.severity == "warning" else None
    return _BY_ACTION.get(row.action, Fault.GPU_UNKNOWN)


def fault_of_sxid(code: int) -> Fault | None:
    """The same for an SXid."""
    row = sxid(code)
    if not row.known:
        return Fault.GPU_UNKNOWN
    return _SXID_BY_ACTION.get(row.action, Fault.GPU_HANDS_ON)


FAULT_OF: dict[int, Fault | None] = {n: fault_of_xid(n) for n in range(1, 173)}
"""Xid code -> class of fault, for every code of the catalogue. None: no fault."""


def meaning(code: str) -> str:
    """One short phrase for a signal's code: `xid.79` -> `Xid 79, fallen off bus`."""
    kind, _, number = code.partition(".")
    if kind not in ("xid", "sxid") or not number.isdigit():
        return _PHRASES.get(code, code)
    row = xid(int(number)) if kind == "xid" else sxid(int(number))
    name = "Xid" if kind == "xid" else "SXid"
    if not row.known:
        return f"{name} {number}, in no catalogue of ours"
    return f"{name} {number}, {row.name.replace('_', ' ').lower()}"


_PHRASES = {
    "node.raylet_exit": "its raylet gave up",
    "host.mce": "the host's processor reports a hardware error",
    "fabric.down": "the fabric manager ended, so that new programs cannot begin",
    "fabric.nvlink": "the fabric manager misses a GPU of its team",
    "imex.down": "IMEX ended, so that no memory is shared between nodes",
    "kubelet.not_ready": "the kubelet calls its node not ready",
    "node.oom": "Ray ended workers because memory ran out",
    "node.flap": "its raylet died again and again",
    "ecc.dbe": "an uncorrectable memory error was counted",
    "ecc.remap_pending": "a memory row waits to be remapped",
    "ecc.remap_failure": "memory is past what remapping can mend",
    "nvlink.errors": "NVLink error counters rise",
    "ib.link_down": "an InfiniBand port went down",
    "ib.symbol_errors": "InfiniBand symbol errors",
    "nic.down": "a network port went down",
    "pcie.width": "a PCIe link runs below its width or speed",
    "pcie.aer": "PCIe errors",
    "gpu.thermal": "clocks cut because of heat",
    "gpu.power_brake": "clocks cut by the power brake",
    "gang.hang": "the gang makes no steps",
    "gang.slow": "the gang is slower than it was",
    "gang.paced": "the gang is as fast as it was",
    "gang.nan": "the gang reports a loss that is no number",
    "gang.suspect": "this node differs from its peers in the gang",
    "storage.stall": "storage does not answer, or many gangs starve at once",
    "sensor.frozen": "a sensor stands still",
    "sensor.implausible": "a reading that cannot be true",
    "node.dead": "Ray declared the node dead",
    "node.process_gone": "the provider sees no raylet process",
    "node.silent": "no telemetry",
    "node.unknown": "Ray does not know its state",
    "gpu.lost": "the driver says that the GPU is lost",
    "job.stopped": "the gang stopped",
    "source.lost": "a source does not answer",
    "capacity.short": "a gang waits for GPUs",
}
