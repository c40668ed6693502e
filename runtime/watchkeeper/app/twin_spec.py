"""The twin that the command line plays: which gangs a fleet of a size runs."""

from __future__ import annotations

from datetime import datetime

from watchkeeper.twin.topology import build
from watchkeeper.twin.words import TwinSpec

SHARES = (2, 8, 16, 32, 64)
"""Gangs take half, an eighth, ... of the training nodes that are no spares: Llama 3's one large
run beside smaller ones (assumed). What is left runs gangs of one node."""


def spec_of(
    nodes: int,
    seed: int,
    days: float,
    *,
    gpus: int = 8,
    start: datetime | None = None,
    acceleration: float = 1.0,
) -> TwinSpec:
    """A twin of so many nodes with the usual gangs. Raises UsageError for a size that cannot be
    built."""
    spec = TwinSpec(seed=seed, nodes=nodes, gpus_per_node=gpus, days=days)
    fleet = build(spec)
    pool = fleet.in_pool(fleet.pools[0])
    free = int(len(pool) - fleet.spare[pool].sum())
    gangs = tuple(free // share for share in SHARES if free // share > 1)
    return TwinSpec(
        seed=seed,
        nodes=nodes,
        gpus_per_node=gpus,
        days=days,
        gang_nodes=gangs,
        start=start or spec.start,
        acceleration=acceleration,
    )
