"""Which gangs a twin runs, and where each begins. Asked once, when a twin is built."""

from __future__ import annotations

from watchkeeper.core.errors import UsageError
from watchkeeper.twin.gangs import Gang
from watchkeeper.twin.topology import Fleet
from watchkeeper.twin.words import TwinSpec

TENANTS = ("atlas", "borealis", "cygnus", "delta", "eridani", "fornax")
LARGE_PRIORITY, SMALL_PRIORITY = 100, 10


def draw_up(spec: TwinSpec, fleet: Fleet) -> list[Gang]:
    """The gangs of a spec: the large ones first, from the first node of the first pool on; then
    one small gang for each node left over. Spares stay free. Raises UsageError if they do not fit.
    """
    gangs: list[Gang] = []
    for p, pool in enumerate(fleet.pools):
        free = [int(i) for i in fleet.in_pool(pool) if not fleet.spare[i]]
        wide = sorted(spec.gang_nodes, reverse=True) if p == 0 else []
        if sum(wide) > len(free):
            raise UsageError(
                f"Gangs of {sum(wide)} nodes do not fit: {pool} has {len(free)} nodes that are no"
                " spares."
            )
        for n, width in enumerate([*wide, *[1] * (len(free) - sum(wide))]):
            large = n < len(wide)
            name = f"{pool}-gang-{n + 1:02d}" if large else f"{pool}-job-{n + 1 - len(wide):04d}"
            gangs.append(
                Gang(
                    name=name,
                    pool=pool,
                    width=width,
                    gpus=float(width * spec.gpus_per_node),
                    every_s=spec.checkpoint_every_s,
                    cost_s=spec.checkpoint_cost_s,
                    restart_s=spec.restart_s,
                    step_s=spec.step_s,
                    tenant=TENANTS[len(gangs) % len(TENANTS)],
                    priority=LARGE_PRIORITY if large else SMALL_PRIORITY,
                    nodes=[free.pop(0) for _ in range(width)],
                    phase_s=(len(gangs) * 0.6180339887 % 1.0) * spec.checkpoint_every_s,
                )
            )
    return gangs
