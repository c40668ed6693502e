"""Who is put out when it is not known who is to blame? Asked by the ladders of gangs.

A quick eviction of a whole suspect group is often cheaper than a long diagnosis (ByteRobust: the
most frequent cure of 9,600-GPU jobs). It pays where spares stand ready. More than one node is
always a person's order; so this room names the group and what it would cost, and acts on none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from watchkeeper.core.cluster import RayState
from watchkeeper.core.telemetry import Snapshot

MOST = 16
"""More nodes than this are no group but the gang itself."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What it costs, in GPU-seconds. evict: put the group out and go on with spares. diagnose:
    keep the gang waiting until the one is found."""

    evict: float
    diagnose: float

    @property
    def evict_is_cheaper(self) -> bool:
        return self.evict < self.diagnose


def choice(
    *,
    gang_gpus: float,
    group_gpus: float,
    spare_gpus: float,
    diagnose_s: float,
    restart_s: float = 600.0,
    check_s: float = 1800.0,
) -> Choice:
    """diagnose_s: expected time until the culprit is known, the gang idle. check_s: how long the
    evicted stay out while each is checked. restart_s: the gang's restart, paid either way.

    Where spares do not cover the group, the gang waits for the checks too, and evicting gains
    nothing.
    """
    covered = spare_gpus >= group_gpus
    out = group_gpus * check_s
    evict = gang_gpus * restart_s + out + (0.0 if covered else gang_gpus * check_s)
    return Choice(evict=evict, diagnose=gang_gpus * (diagnose_s + restart_s))


def group_of(nodes: Sequence[str], snapshot: Snapshot) -> str:
    """The likeliest group, as one sentence for a person: the gang's nodes in the rack or leaf that
    holds most of them, if that is a group; else the gang itself."""
    here = [snapshot.nodes[n] for n in nodes if n in snapshot.nodes]
    if not here:
        return "Its nodes are not known."
    by = Counter(
        f"{kind} {name}"
        for node in here
        for kind, name in node.domains().items()
        if kind in ("rack", "leaf")
    )
    if by:
        name, count = max(by.items(), key=lambda item: (item[1], item[0]))
        if 1 < count < len(here) and count <= MOST:
            spare = spare_gpus(snapshot, here[0].pool)
            return (
                f"{count} of its {len(here)} nodes are in {name}. To put them all out is a "
                f"person's order; {spare:g} GPUs of {here[0].pool} are free."
            )
    shown = ", ".join(sorted(n.name for n in here)[:4])
    more = f" and {len(here) - 4} more" if len(here) > 4 else ""
    return f"It ran on {shown}{more}."


def spare_gpus(snapshot: Snapshot, pool: str, without: str = "") -> float:
    """GPUs of a pool that work can begin on now: free, on living nodes without our fence."""
    return sum(
        node.gpus_free
        for node in snapshot.nodes.values()
        if node.pool == pool
        and node.name != without
        and node.ray_state is RayState.ALIVE
        and node.name not in snapshot.fences
        and not node.control_path
    )
