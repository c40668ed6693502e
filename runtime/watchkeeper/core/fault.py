"""The closed set of fault classes: what health finds and remedy has a ladder for.

`Incident.fault` and the policy fact `incident.class` carry these names.
"""

from collections.abc import Iterable
from enum import IntEnum, StrEnum

from watchkeeper.core.cluster import CheckResult
from watchkeeper.core.incident import ATTACKER_WRITABLE, Incident, Signal


class Fault(StrEnum):
    """One class of fault. docs/faults.md has evidence and ladder of each."""

    NODE_LOST = "node_lost"
    NODE_SILENT = "node_silent"
    GPU_OFF_BUS = "gpu_off_bus"
    GPU_DRIVER = "gpu_driver"
    GPU_HARDWARE = "gpu_hardware"
    GPU_MEMORY = "gpu_memory"
    NVLINK = "nvlink"
    GPU_HANDS_ON = "gpu_hands_on"
    """Documented, and only a person can mend it: cordon and ticket."""
    GPU_UNKNOWN = "gpu_unknown"
    """In no catalogue of ours, or not decodable: a ticket and nothing else."""
    GPU_RMA = "gpu_rma"
    """Memory past what remapping can mend: the part is replaced, nothing else helps."""
    GPU_MEMORY_CONTAINED = "gpu_memory_contained"
    """Cost one job at most; the GPU wants a reset at its next drain."""
    GPU_NOTICE = "gpu_notice"
    """Worth a ticket, not an action."""
    GPU_THERMAL = "gpu_thermal"
    """Clocks cut because of heat: cooling, which no reboot mends."""
    GPU_POWER_BRAKE = "gpu_power_brake"
    """Clocks cut by the power brake: a supply or the rack's feed."""
    NETWORK_LINK = "network_link"
    PCIE = "pcie"
    NODE_FLAPPING = "node_flapping"
    """Its raylet dies again and again: each restart helps for a while, and mends nothing."""
    NODE_SUSPECT = "node_suspect"
    """No code at all: it differs from its peers in a gang that hangs or is slow."""
    GANG_HANG = "gang_hang"
    GANG_SLOW = "gang_slow"
    GANG_NAN = "gang_nan"
    STORAGE_STALL = "storage_stall"
    """Many gangs starve at once: storage or the data's way, and no GPU's fault."""
    DOMAIN_DOWN = "domain_down"
    """Many nodes of one rack, switch or feed together: one fault of the domain."""
    SENSOR = "sensor"
    """A reading that cannot be true, or stands still: a fault of the instrument."""
    APPLICATION = "application"
    JOB_STOPPED = "job_stopped"
    CAPACITY_SHORT = "capacity_short"
    SOURCE_LOST = "source_lost"


REPAIRED_ON_NODE = frozenset(
    {
        Fault.NODE_LOST,
        Fault.GPU_OFF_BUS,
        Fault.GPU_DRIVER,
        Fault.GPU_HARDWARE,
        Fault.GPU_MEMORY,
        Fault.NVLINK,
        Fault.GPU_RMA,
        Fault.NETWORK_LINK,
        Fault.PCIE,
        Fault.NODE_FLAPPING,
        Fault.NODE_SUSPECT,
    }
)
"""Faults whose ladder may take a node out of service."""

UNHEALTHY_NODE = REPAIRED_ON_NODE | {Fault.NODE_SILENT, Fault.GPU_HANDS_ON}
"""Faults that count as a node turned unhealthy (S9)."""

GANG_FAULTS = frozenset({Fault.GANG_HANG, Fault.GANG_SLOW, Fault.GANG_NAN})
"""Faults of a gang that runs on, with no word from an instrument of a node."""

NAN_PROOF_S = 1800.0
"""How long a gang whose loss was no number must run from a clean checkpoint before it counts as
well: the restart, and some hundred steps (ours)."""
CHECK_TELLS = frozenset(
    {
        Fault.GPU_HARDWARE,
        Fault.GPU_DRIVER,
        Fault.NVLINK,
        Fault.NETWORK_LINK,
        Fault.PCIE,
        Fault.NODE_SUSPECT,
        Fault.GPU_THERMAL,
        Fault.GPU_POWER_BRAKE,
    }
)
"""Faults that a short real workload on the node meets, or shows to be over. It says nothing of
memory (the next row may be hit tomorrow), and what left the bus needs no check to be known."""


def cleared(incident: Incident, check: CheckResult | None, incarnation: str) -> bool:
    """Did a check of this incarnation pass that began after the last word against its node?"""
    if check is None or check.at is None or incident.fault not in CHECK_TELLS:
        return False
    if check.passed is not True or check.incarnation != incarnation:
        return False
    node, its_gpus = f"node:{incident.node}", f"gpu:{incident.node}/"
    return all(
        s.at <= check.at
        for s in incident.signals
        if s.trust not in ATTACKER_WRITABLE
        if s.target == node or s.target.startswith(its_gpus)
    )


_RANK: tuple[Fault, ...] = (
    Fault.CAPACITY_SHORT,
    Fault.SOURCE_LOST,
    Fault.JOB_STOPPED,
    Fault.GANG_SLOW,
    Fault.GANG_NAN,
    Fault.GANG_HANG,
    Fault.APPLICATION,
    Fault.SENSOR,
    Fault.GPU_NOTICE,
    Fault.GPU_MEMORY_CONTAINED,
    Fault.NODE_SILENT,
    Fault.NODE_LOST,
    Fault.NODE_SUSPECT,
    Fault.GPU_POWER_BRAKE,
    Fault.GPU_THERMAL,
    Fault.GPU_UNKNOWN,
    Fault.NODE_FLAPPING,
    Fault.NETWORK_LINK,
    Fault.PCIE,
    Fault.NVLINK,
    Fault.GPU_MEMORY,
    Fault.GPU_HARDWARE,
    Fault.GPU_DRIVER,
    Fault.GPU_RMA,
    Fault.GPU_HANDS_ON,
    Fault.GPU_OFF_BUS,
    Fault.STORAGE_STALL,
    Fault.DOMAIN_DOWN,
)


def rank(fault: str) -> int:
    """Which class names an incident that several fit: the highest. Whatever a node suffers of
    outranks that it is lost, because starting it anew does not mend that, and because our own drain
    makes it lost."""
    return _RANK.index(Fault(fault))


class Recovery(IntEnum):
    """What the driver says that a GPU needs (Xid 154), by the driver's own numbers. It outranks
    what a code's row in the catalogue says."""

    NONE = 0
    GPU_RESET = 1
    NODE_REBOOT = 2
    DRAIN_P2P = 3
    DRAIN_AND_RESET = 4


def recovery_said(signals: Iterable[Signal]) -> Recovery | None:
    """The driver's last word (Xid 154) on what these signals' GPUs need: the gravest of the GPUs'
    own last words. None: it did not say, or we could not read it."""
    last: dict[str, Signal] = {}
    for signal in signals:
        if signal.code != "xid.154" or signal.trust in ATTACKER_WRITABLE:
            continue
        held = last.get(signal.target)
        if held is None or held.at <= signal.at:
            last[signal.target] = signal
    said = [r for s in last.values() if (r := recovery_of(s.value)) is not None]
    return max(said, key=_GRAVITY.index, default=None)


def recovery_of(value: float | None) -> Recovery | None:
    """The number of a `xid.154` signal as a word; None where it is none of the five."""
    return Recovery(int(value)) if value in tuple(Recovery) else None


_GRAVITY = (
    Recovery.NONE,
    Recovery.DRAIN_P2P,
    Recovery.DRAIN_AND_RESET,
    Recovery.GPU_RESET,
    Recovery.NODE_REBOOT,
)
