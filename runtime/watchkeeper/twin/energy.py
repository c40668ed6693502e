"""Energy and price: watts by what a GPU does, integrated over the hours that it did it.

The hours by activity are those of the tally, so nothing is sampled. Power caps are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from watchkeeper.twin.words import HOUR_S

WATTS: dict[str, float] = {
    "useful": 640.0,
    "redo": 640.0,
    "drain": 640.0,
    "taint": 640.0,
    "slow": 420.0,
    "checkpoint": 300.0,
    "hang": 190.0,
    "starved": 110.0,
    "restart": 120.0,
    "stopped": 75.0,
    "queue": 75.0,
}
"""Draw of one H100 in each state; assumed, from its 700 W limit and about 75 W idle."""
IDLE_WATTS = 75.0
HOST_WATTS = 1900.0
"""The rest of a node of eight GPUs: processors, fans, network. Assumed from 10.2 kW at full."""
NODE_HOUR = 20.0
"""Price of a node of eight GPUs for an hour, whatever it does. Assumed."""


class Paid:
    """Nodes, and since when each is there."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.added_s: list[float] = []

    def add(self, at_s: float) -> None:
        """One node more, from now on."""
        self.added_s.append(at_s)

    def node_hours(self, to_s: float) -> float:
        return (self.nodes * to_s + sum(max(0.0, to_s - at) for at in self.added_s)) / HOUR_S

    def money(self, to_s: float) -> float:
        """What all nodes have cost."""
        return self.node_hours(to_s) * NODE_HOUR

    def kwh(
        self,
        useful: float,
        lost: Mapping[str, float],
        allocated: float,
        gpus_per_node: int,
        to_s: float,
    ) -> float:
        """Energy of all nodes. useful, lost and allocated: GPU-hours."""
        hours = self.node_hours(to_s)
        idle = max(0.0, hours * gpus_per_node - allocated)
        gpus = useful * WATTS["useful"] + idle * IDLE_WATTS
        gpus += sum(h * WATTS[cause] for cause, h in lost.items())
        return (gpus + hours * HOST_WATTS) / 1000.0
