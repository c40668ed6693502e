"""What an incident is called, in one line for people. Asked by the correlator."""

from watchkeeper.core.fault import Fault
from watchkeeper.health.evidence import STALL


def title(fault: Fault, node: str, target: str, codes: frozenset[str] = frozenset()) -> str:
    """What it is, in one line for people. codes: what its signals say, where that tells more."""
    kind, _, name = target.partition(":")
    gpu = name.rpartition("/")[2]
    where = f"GPU {gpu} of {node}" if kind == "gpu" else name or target
    if fault is Fault.DOMAIN_DOWN and kind in _DOMAIN:
        where = f"{_DOMAIN[kind]} {name}"
    if fault is Fault.NODE_SUSPECT and STALL in codes:
        return f"{where}: its own disk or mount does not answer"
    return f"{where}: {_SAYS[fault]}"


_DOMAIN = {
    "rack": "Rack",
    "leaf": "Leaf",
    "power_feed": "Power feed",
    "nvlink_domain": "NVLink domain",
    "zone": "Zone",
}
_SAYS: dict[Fault, str] = {
    Fault.NODE_LOST: "node lost",
    Fault.NODE_SILENT: "silent, its state is unknown",
    Fault.GPU_OFF_BUS: "fallen off the bus",
    Fault.GPU_DRIVER: "firmware or driver no longer answers",
    Fault.GPU_HARDWARE: "hardware fault",
    Fault.GPU_MEMORY: "uncorrectable memory error",
    Fault.GPU_MEMORY_CONTAINED: "contained memory error",
    Fault.NVLINK: "NVLink error",
    Fault.GPU_HANDS_ON: "a fault that needs a person",
    Fault.GPU_UNKNOWN: "an unknown fault code",
    Fault.GPU_NOTICE: "a condition to look at",
    Fault.APPLICATION: "a program failed",
    Fault.GPU_RMA: "memory past repair, the part must be replaced",
    Fault.GPU_THERMAL: "clocks cut because of heat",
    Fault.GPU_POWER_BRAKE: "clocks cut by the power brake",
    Fault.NETWORK_LINK: "a network link fails",
    Fault.PCIE: "a PCIe link fails",
    Fault.NODE_FLAPPING: "its raylet dies again and again",
    Fault.NODE_SUSPECT: "differs from its peers, and no instrument says why",
    Fault.GANG_HANG: "makes no steps",
    Fault.GANG_SLOW: "is slower than it was",
    Fault.GANG_NAN: "its loss is no number",
    Fault.STORAGE_STALL: "many gangs starve at once",
    Fault.DOMAIN_DOWN: "many of its nodes fell ill together",
    Fault.SENSOR: "a sensor cannot be believed",
    Fault.JOB_STOPPED: "stopped",
    Fault.CAPACITY_SHORT: "too small for what waits",
    Fault.SOURCE_LOST: "does not answer",
}
