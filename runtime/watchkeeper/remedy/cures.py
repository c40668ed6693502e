"""Which action may cure which class of fault, best first? Read by the ladder and by docs.

Derived from the published meaning of the codes (docs/faults.md names sources); not vendor
guidance.
"""

from watchkeeper.core.cluster import World
from watchkeeper.core.fault import Fault, Recovery

CURES: dict[Fault, tuple[str, ...]] = {
    # A GPU that left the bus does not answer a reset: only the host's reboot can bring it back.
    Fault.GPU_OFF_BUS: ("node.reboot", "node.replace"),
    # Firmware that fell silent often wants more than a reset (A100 class), so reboot comes first.
    Fault.GPU_DRIVER: ("node.reboot", "gpu.reset", "node.replace"),
    Fault.GPU_HARDWARE: ("gpu.reset", "node.reboot", "node.replace"),
    Fault.GPU_MEMORY: ("gpu.reset", "node.reboot", "node.replace"),
    Fault.NVLINK: ("gpu.reset", "node.reboot", "node.replace"),
    # Nothing mends worn memory; a reset only hides it until the next row.
    Fault.GPU_RMA: ("node.replace",),
    # No reboot cools a GPU, nor mends what asks for hands: another node takes its place.
    Fault.GPU_THERMAL: ("node.replace",),
    Fault.GPU_POWER_BRAKE: ("node.replace",),
    Fault.GPU_HANDS_ON: ("node.replace",),
    # An adapter that the host lost, and a PCIe link, are trained anew by its reboot, by nothing
    # less. Counters of the wire alone (see `wire`) speak of a cable, which no reboot reseats.
    Fault.NETWORK_LINK: ("node.reboot", "node.replace"),
    Fault.PCIE: ("node.reboot", "node.replace"),
    # Another start of the raylet is what did not help before.
    Fault.NODE_FLAPPING: ("node.reboot", "node.replace"),
    Fault.NODE_SUSPECT: ("node.reboot", "node.replace"),
}

ONE_TRY = frozenset({Fault.NVLINK, Fault.NETWORK_LINK, Fault.PCIE})
"""Reset or reboot once; if the link fails again, it is the vendor's: only a replacement is left."""

LAST_RESORT = frozenset({"node.replace"})
"""Where the policy does not grant it, a person decides at once; nobody waits for a window."""

_SAID: dict[Recovery, tuple[str, ...]] = {
    Recovery.GPU_RESET: ("gpu.reset", "node.reboot", "node.replace"),
    Recovery.DRAIN_AND_RESET: ("gpu.reset", "node.reboot", "node.replace"),
    Recovery.NODE_REBOOT: ("node.reboot", "node.replace"),
}
"""What the driver's own word (Xid 154) asks for, whatever the companion's row says."""

_DEAF = frozenset({Fault.GPU_OFF_BUS, Fault.GPU_RMA})
"""Whatever the driver said: a GPU off the bus takes no reset, and worn memory takes no cure."""


def cures_for(
    fault: Fault,
    world: World,
    serves: frozenset[str],
    said: Recovery | None = None,
    *,
    switch: bool = False,
    again: bool = False,
    wire: bool = False,
    disk: bool = False,
    board: bool = False,
    spare: bool = False,
) -> tuple[str, ...]:
    """Kinds of action to try for a fault, in order; only those that a provider serves.

    said: what the driver asks for itself. switch: an NVSwitch speaks too, so that resetting one
    GPU would mend only one end. again: this node was repaired for two other incidents within 7
    days, so a further repair gives way to a replacement, where one is served. wire: only the
    link's own counters speak, so that it is the cable's fault. disk: the node's own storage does
    not answer, which no reboot mends. board: the host's PCIe and its adapter fail together. spare:
    another node stands ready, so that nobody waits for this one.

    A GPU off the bus may be a dead board, and no instrument of ours tells the two apart; a reboot
    tries it out, a new node mends both. So with a spare the node is given back at once, and where
    work waits for it a reboot, which is quicker and mostly enough, comes first. The same holds for
    a host of which two devices fail on what carries both.

    In the lab a GPU fault is simulated and a new raylet clears it: there `node.restart` stands
    for the cure. On real hardware starting a raylet anew mends no GPU and is never offered as one.
    """
    wanted = CURES.get(fault, ())
    if said in _SAID and fault not in _DEAF:
        wanted = _SAID[said]
    if switch and fault is Fault.NVLINK:
        wanted = tuple(k for k in wanted if k != "gpu.reset")
    if wire and fault is Fault.NETWORK_LINK:
        wanted = tuple(k for k in wanted if k != "node.reboot")
    if disk and fault in (Fault.NODE_SUSPECT, Fault.NODE_FLAPPING):
        wanted = tuple(k for k in wanted if k != "node.reboot")
    if spare and (fault is Fault.GPU_OFF_BUS or board):
        wanted = tuple(sorted(wanted, key=lambda k: k != "node.replace"))
    if again and "node.replace" in serves and "node.replace" in wanted:
        wanted = ("node.replace",)
    if world is World.LAB and wanted and fault is not Fault.NODE_FLAPPING:
        soft = tuple(k for k in wanted if k == "gpu.reset" and fault is not Fault.GPU_DRIVER)
        wanted = (*soft, "node.restart", *(k for k in wanted if k not in soft))
    return tuple(k for k in wanted if k in serves)
