"""Which action may cure which class of fault, best first? Read by the ladder and by docs.

Derived from the published meaning of the codes (docs/faults.md names sources); not vendor
guidance.
"""

from watchkeeper.core.cluster import World
from watchkeeper.core.fault import Fault

CURES: dict[Fault, tuple[str, ...]] = {
    # A GPU that left the bus does not answer a reset: only the host's reboot can bring it back.
    Fault.GPU_OFF_BUS: ("node.reboot",),
    # Firmware that fell silent often wants more than a reset (A100 class), so reboot comes first.
    Fault.GPU_DRIVER: ("node.reboot", "gpu.reset"),
    Fault.GPU_HARDWARE: ("gpu.reset", "node.reboot"),
    Fault.GPU_MEMORY: ("gpu.reset", "node.reboot"),
    Fault.NVLINK: ("gpu.reset", "node.reboot"),
}

ONE_TRY = frozenset({Fault.NVLINK})
"""Reset or reboot once; if the link fails again, it is the vendor's."""


def cures_for(fault: Fault, world: World, serves: frozenset[str]) -> tuple[str, ...]:
    """Kinds of action to try for a GPU fault, in order; only those that a provider serves.

    In the lab a GPU fault is simulated and a new raylet clears it: there `node.restart` stands
    for the cure. On real hardware starting a raylet anew mends no GPU and is never offered as one.
    """
    wanted = CURES.get(fault, ())
    if world is World.LAB and wanted:
        soft = tuple(k for k in wanted if k == "gpu.reset" and fault is not Fault.GPU_DRIVER)
        wanted = (*soft, "node.restart", *(k for k in wanted if k not in soft))
    return tuple(k for k in wanted if k in serves)
