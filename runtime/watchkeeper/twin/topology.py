"""What the twin is made of: names, pools and the domains in which its nodes fail together.

Asked once, when a twin is built. Nodes are numbered; everything about them is a column. The head
is not among them. Never holds state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.errors import UsageError
from watchkeeper.twin.words import Scope, TwinSpec

SERVE_SHARE = 0.10
"""Share of nodes in the pool `serve`; the rest is `train`. Assumed."""
NODES_PER_STORAGE = 256
"""Nodes behind one storage mount. Assumed."""
MOST_NODES = 100_000

Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False, slots=True)
class Fleet:
    """Workers by index. Tuples hold names; i4[N] columns hold the number of each node's domain.

    names and nvlink_domain: N names. pool: i4[N] into pools. rack, leaf, feed, zone, storage:
    i4[N] into the name tuples beside them. spare: bool[N], nodes that run no gang at first.
    index: name to number.
    """

    names: tuple[str, ...]
    index: dict[str, int]
    pools: tuple[str, ...]
    pool: Ints
    racks: tuple[str, ...]
    rack: Ints
    leaves: tuple[str, ...]
    leaf: Ints
    feeds: tuple[str, ...]
    feed: Ints
    zones: tuple[str, ...]
    zone: Ints
    storages: tuple[str, ...]
    storage: Ints
    nvlink_domain: tuple[str, ...]
    spare: NDArray[np.bool_]
    gpus_per_node: int

    def __len__(self) -> int:
        return len(self.names)

    def pool_of(self, node: int) -> str:
        """The name of the pool of this node."""
        return self.pools[int(self.pool[node])]

    def in_pool(self, pool: str) -> Ints:
        """Indexes of the nodes of a pool, in order; none for a pool that does not exist."""
        if pool not in self.pools:
            return np.empty(0, np.int32)
        return np.flatnonzero(self.pool == self.pools.index(pool)).astype(np.int32)

    def group(self, scope: Scope) -> Ints:
        """i4[N]: the number of the domain of this scope that each node is part of.

        A GPU or a job is found under its node; the fleet is one domain.
        """
        match scope:
            case Scope.RACK:
                return self.rack
            case Scope.LEAF:
                return self.leaf
            case Scope.FEED:
                return self.feed
            case Scope.STORAGE:
                return self.storage
            case Scope.FLEET:
                return np.zeros(len(self), np.int32)
            case Scope.GPU | Scope.NODE | Scope.JOB:
                return np.arange(len(self), dtype=np.int32)

    def members(self, scope: Scope, number: int) -> tuple[int, ...]:
        """Indexes of the nodes of one domain."""
        return tuple(np.flatnonzero(self.group(scope) == number).tolist())

    def domains_of(self, node: int) -> dict[str, str]:
        """The domains of one node under the field names of `core.cluster.Node`."""
        return {
            "pool": self.pools[self.pool[node]],
            "rack": self.racks[self.rack[node]],
            "leaf": self.leaves[self.leaf[node]],
            "power_feed": self.feeds[self.feed[node]],
            "zone": self.zones[self.zone[node]],
            "nvlink_domain": self.nvlink_domain[node],
        }


def build(spec: TwinSpec) -> Fleet:
    """The fleet of a spec; no chance in it. Raises UsageError for a size that cannot be built.

    Racks, leaves, feeds, zones and mounts are filled in order; `serve` comes last, in whole racks
    where the fleet has that many.
    """
    _check(spec)
    n = spec.nodes
    serve = _serve_nodes(n, spec.nodes_per_rack)
    width = max(4, len(str(n)))
    names = (
        *(f"train-{i:0{width}d}" for i in range(1, n - serve + 1)),
        *(f"serve-{i:0{width}d}" for i in range(1, serve + 1)),
    )
    number = np.arange(n, dtype=np.int32)
    pool = (number >= n - serve).astype(np.int32)
    rack, racks = _domains(number, spec.nodes_per_rack, "rack")
    leaf, leaves = _domains(number, spec.nodes_per_leaf, "leaf")
    feed, feeds = _domains(number, spec.nodes_per_feed, "feed")
    zone, zones = _domains(number, spec.nodes_per_zone, "zone")
    storage, storages = _domains(number, NODES_PER_STORAGE, "mount")
    return Fleet(
        names=names,
        index={name: i for i, name in enumerate(names)},
        pools=("train", "serve") if serve else ("train",),
        pool=pool,
        racks=racks,
        rack=rack,
        leaves=leaves,
        leaf=leaf,
        feeds=feeds,
        feed=feed,
        zones=zones,
        zone=zone,
        storages=storages,
        storage=storage,
        nvlink_domain=tuple(f"nvl-{name}" for name in names),
        spare=_spares(n, serve, spec.spares),
        gpus_per_node=spec.gpus_per_node,
    )


def _check(spec: TwinSpec) -> None:
    sizes = {
        "nodes_per_rack": spec.nodes_per_rack,
        "nodes_per_leaf": spec.nodes_per_leaf,
        "nodes_per_feed": spec.nodes_per_feed,
        "nodes_per_zone": spec.nodes_per_zone,
        "gpus_per_node": spec.gpus_per_node,
    }
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"A twin's {name} must be at least 1, not {size}.")
    if not 1 <= spec.nodes <= MOST_NODES:
        raise UsageError(f"A twin has 1 to {MOST_NODES} nodes, not {spec.nodes}.")
    if not 0 <= spec.spares < 1:
        raise UsageError(f"A twin's spares are a share from 0 to below 1, not {spec.spares:g}.")


def _serve_nodes(nodes: int, per_rack: int) -> int:
    racks = round(SERVE_SHARE * nodes / per_rack)
    return racks * per_rack if 0 < racks * per_rack < nodes else round(SERVE_SHARE * nodes)


def _domains(number: Ints, size: int, kind: str) -> tuple[Ints, tuple[str, ...]]:
    column = (number // size).astype(np.int32)
    count = int(column[-1]) + 1
    width = max(2, len(str(count)))
    return column, tuple(f"{kind}-{i:0{width}d}" for i in range(1, count + 1))


def _spares(nodes: int, serve: int, share: float) -> NDArray[np.bool_]:
    """Spread over each pool, so that no one rack holds them all."""
    spare = np.zeros(nodes, np.bool_)
    for first, size in ((0, nodes - serve), (nodes - serve, serve)):
        count = round(share * size) or int(share > 0 and size >= 8)
        spare[first + np.arange(1, count + 1) * size // max(1, count) - 1] = True
    return spare
