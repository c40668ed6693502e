"""Which runbook belongs to a class of fault. A fixed table: nothing is searched for, so nothing
that a stranger wrote can bring one up. The pages are for people; no step of theirs is carried out.
"""

from __future__ import annotations

from watchkeeper.core.fault import Fault

RUNBOOKS: dict[str, tuple[Fault, ...]] = {
    "node-lost": (Fault.NODE_LOST, Fault.NODE_FLAPPING),
    "node-silent": (Fault.NODE_SILENT, Fault.SOURCE_LOST, Fault.SENSOR),
    "gpu-off-bus": (Fault.GPU_OFF_BUS, Fault.PCIE),
    "gpu-memory": (Fault.GPU_MEMORY, Fault.GPU_MEMORY_CONTAINED, Fault.GPU_RMA),
    "gpu-driver": (Fault.GPU_DRIVER, Fault.GPU_HARDWARE),
    "gpu-unknown": (Fault.GPU_UNKNOWN, Fault.GPU_NOTICE, Fault.GPU_HANDS_ON),
    "heat-and-power": (Fault.GPU_THERMAL, Fault.GPU_POWER_BRAKE),
    "links": (Fault.NVLINK, Fault.NETWORK_LINK),
    "gangs": (
        Fault.GANG_HANG,
        Fault.GANG_SLOW,
        Fault.GANG_NAN,
        Fault.NODE_SUSPECT,
        Fault.JOB_STOPPED,
        Fault.APPLICATION,
    ),
    "domain-down": (Fault.DOMAIN_DOWN, Fault.STORAGE_STALL),
    "capacity": (Fault.CAPACITY_SHORT,),
}
"""Name of the page -> the classes it is about; each class has exactly one."""

_OF = {fault: name for name, faults in RUNBOOKS.items() for fault in faults}


def runbook_of(fault: str) -> str:
    """The name of the page for a class of fault, such as `gpu-off-bus`; "" where there is none."""
    return _OF[Fault(fault)] if fault in _OF else ""


def cited(fault: str) -> str:
    """The page as people find it; "" where there is none."""
    name = runbook_of(fault)
    return f"docs/runbooks/{name}.md" if name else ""
