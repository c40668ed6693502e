"""What an incident is called, in one line for people. Asked by the correlator."""

from watchkeeper.core.fault import Fault


def title(fault: Fault, node: str, target: str) -> str:
    """What it is, in one line for people."""
    kind, _, name = target.partition(":")
    gpu = name.rpartition("/")[2]
    where = f"GPU {gpu} of {node}" if kind == "gpu" else name or target
    return f"{where}: {_SAYS[fault]}"


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
    Fault.JOB_STOPPED: "stopped",
    Fault.CAPACITY_SHORT: "too small for what waits",
    Fault.SOURCE_LOST: "does not answer",
}
