"""A fleet with racks and a stream of gangs, made up by seed, for `eval placement --topology`.

The machines are those of the node list that is given; racks, NVLink domains and gangs are
synthetic, and every page that shows them says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from watchkeeper.placement.fleet import Machine
from watchkeeper.placement.words import WHOLE, Gang, Piece

NODES, RACK, DOMAIN, LEAF = 640, 64, 8, 2
"""Nodes in all, nodes of a rack, nodes of an NVLink domain, racks of a leaf switch: 10 racks of 64
as in Kueue's benchmark of topology."""

TENANTS = 30
"""Queues, as in Kueue's benchmark."""

OFFERED = 0.95
"""GPU-hours asked for, as a share of what the fleet has: high enough that gangs wait."""


class Kind(NamedTuple):
    """One class of work. share of all gangs; workers are drawn from `counts`; mean runtime in s."""

    name: str
    share: float
    gpus: int
    counts: tuple[int, ...]
    runtime_s: float
    within: str = ""
    near: str = ""


KINDS = (
    Kind("slice", 0.20, 0, (1,), 3600.0),
    Kind("small", 0.50, 1, (1,), 3600.0),
    Kind("medium-spread", 0.10, 8, (2, 3, 4), 5400.0),
    Kind("medium-near", 0.10, 8, (2, 3, 4), 5400.0, near="nvlink_domain"),
    Kind("large-near", 0.05, 8, (8, 12, 16), 7200.0, near="rack"),
    Kind("large-rack", 0.04, 8, (8, 16, 24), 7200.0, within="rack"),
    Kind("large-nvlink", 0.01, 8, (4, 8), 7200.0, within="nvlink_domain"),
)
"""Preferred, required and no topology, small to large."""


class Arrival(NamedTuple):
    """A gang, when it comes, and how long it will really run."""

    at: float
    kind: str
    gang: Gang
    runs_s: float


def racked(machines: Sequence[Machine], most: int = NODES) -> list[Machine]:
    """The largest `most` machines of the list, in synthetic racks, in the order of the list."""
    order = sorted(range(len(machines)), key=lambda at: (-machines[at].gpus, at))[:most]
    found = []
    for nth, at in enumerate(order):
        rack = nth // RACK
        found.append(
            replace(
                machines[at],
                rack=f"r{rack:02d}",
                leaf=f"l{rack // LEAF:02d}",
                nvlink_domain=f"r{rack:02d}-d{nth % RACK // DOMAIN}",
            )
        )
    return found


def arrivals(count: int, seed: int, gpus: float) -> list[Arrival]:
    """Gangs in order of arrival: Poisson in time, lognormal in length, with estimates that are
    off by a lognormal factor (median 1.2, sigma 0.5), as people's are."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(KINDS), count, p=[kind.share for kind in KINDS])
    mean = sum(k.share * max(k.gpus, 0.5) * float(np.mean(k.counts)) * k.runtime_s for k in KINDS)
    times = np.cumsum(rng.exponential(mean / (OFFERED * gpus), count))
    spread = rng.lognormal(-0.5, 1.0, count)  # mean 1
    guess = 1.2 * rng.lognormal(0.0, 0.5, count)
    found = []
    for nth, at in enumerate(drawn.tolist()):
        kind = KINDS[at]
        runs = float(np.clip(kind.runtime_s * spread[nth], 60.0, 20 * kind.runtime_s))
        gang = Gang(
            name=f"g{nth:06d}",
            piece=_piece(kind, rng),
            count=int(rng.choice(kind.counts)),
            within=kind.within,
            near=kind.near,
            tenant=f"t{int(rng.integers(TENANTS)):02d}",
            runtime_s=runs * float(guess[nth]),
        )
        found.append(Arrival(float(times[nth]), kind.name, gang, runs))
    return found


def _piece(kind: Kind, rng: np.random.Generator) -> Piece:
    if not kind.gpus:
        milli = int(rng.choice((250, 500, 750)))
        return Piece(gpus=1, milli=milli, cpu_milli=4 * milli, memory_mib=16 * milli)
    cpus = int(rng.integers(4, 12)) if kind.gpus == 1 else 8 * kind.gpus
    return Piece(
        gpus=kind.gpus, milli=WHOLE, cpu_milli=1000 * cpus, memory_mib=24 * 1024 * kind.gpus
    )
