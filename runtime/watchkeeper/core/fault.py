"""The closed set of fault classes: what health finds and remedy has a ladder for.

`Incident.fault` and the policy fact `incident.class` carry these names.
"""

from enum import StrEnum


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
    GPU_MEMORY_CONTAINED = "gpu_memory_contained"
    """Cost one job at most; the GPU wants a reset at its next drain."""
    GPU_NOTICE = "gpu_notice"
    """Worth a ticket, not an action."""
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
    }
)
"""Faults whose ladder may take a node out of service."""

UNHEALTHY_NODE = REPAIRED_ON_NODE | {Fault.NODE_SILENT, Fault.GPU_HANDS_ON}
"""Faults that count as a node turned unhealthy (S9)."""

_RANK: tuple[Fault, ...] = (
    Fault.CAPACITY_SHORT,
    Fault.SOURCE_LOST,
    Fault.JOB_STOPPED,
    Fault.APPLICATION,
    Fault.GPU_NOTICE,
    Fault.GPU_MEMORY_CONTAINED,
    Fault.NODE_SILENT,
    Fault.GPU_UNKNOWN,
    Fault.NODE_LOST,
    Fault.NVLINK,
    Fault.GPU_MEMORY,
    Fault.GPU_HARDWARE,
    Fault.GPU_DRIVER,
    Fault.GPU_HANDS_ON,
    Fault.GPU_OFF_BUS,
)


def rank(fault: str) -> int:
    """Which class names an incident that several fit: the highest. A GPU fault outranks a lost
    node, because starting the node anew does not mend the GPU."""
    return _RANK.index(Fault(fault))
