"""Readings as columns, and the immutable view of one turn.

Hot paths are columns: a fleet of 10,000 nodes is a handful of arrays, never 80,000 objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.cluster import ClusterState, Fence, Job, JobState, Node, RayState, World
from watchkeeper.core.incident import Signal
from watchkeeper.core.once import once_for

GPU_FIELDS: tuple[str, ...] = (
    "utilization_percent",
    "memory_used_mib",
    "memory_total_mib",
    "temperature_celsius",
    "power_watts",
    "power_limit_watts",
    "ecc_corrected_total",
    "ecc_uncorrected_total",
    "sm_clock_mhz",
    "throttle_reasons",
    "nvlink_links_up",
    "present",
)
"""Column order of `FleetFrame.gpu`. NaN is Unknown. `present` is 1.0 when the driver answers for
this GPU and 0.0 when it says that the GPU is lost."""

HOST_FIELDS: tuple[str, ...] = (
    "cpu_percent",
    "memory_used_percent",
    "disk_used_percent",
    "load_1m",
    "network_rx_bytes_per_s",
    "network_tx_bytes_per_s",
)
"""Column order of `FleetFrame.host`. NaN is Unknown."""


@dataclass(frozen=True, eq=False, slots=True)
class FleetFrame:
    """The latest reading of every node, as columns.

    nodes: N stable names, in row order. read_at: f8[N], seconds since the epoch, NaN where no
    reading ever came. gpu: f4[N, G, len(GPU_FIELDS)]. host: f4[N, len(HOST_FIELDS)].
    simulated: bool[N], true where the GPU values come from a simulated source. vendor: N names
    such as "nvidia" or "simulated".
    """

    nodes: tuple[str, ...]
    read_at: NDArray[np.float64]
    gpu: NDArray[np.float32]
    host: NDArray[np.float32]
    simulated: NDArray[np.bool_]
    vendor: tuple[str, ...]
    row: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def empty() -> FleetFrame:
        """A frame that knows nothing."""
        return FleetFrame(
            nodes=(),
            read_at=np.empty(0),
            gpu=np.empty((0, 0, len(GPU_FIELDS)), np.float32),
            host=np.empty((0, len(HOST_FIELDS)), np.float32),
            simulated=np.empty(0, np.bool_),
            vendor=(),
        )

    def last_read(self, node: str) -> float | None:
        """Epoch seconds of the node's last reading, or None if it never spoke."""
        row = self.row.get(node)
        if row is None or np.isnan(self.read_at[row]):
            return None
        return float(self.read_at[row])


@dataclass(frozen=True, slots=True)
class SourceState:
    """How fresh one source is. `age_s` is None when it never answered; `error` says why not."""

    name: str
    age_s: float | None
    error: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class TelemetryRead:
    """What the telemetry store gave this turn: the latest frame and the signals that are new."""

    frame: FleetFrame
    signals: tuple[Signal, ...]
    source: SourceState
    refused: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Snapshot:
    """The immutable view of one turn. Everything that thinks, thinks on this.

    A snapshot with a stale or failed source may raise incidents, never actions that need it.
    """

    at: datetime
    steady: float
    state: ClusterState
    frame: FleetFrame
    sources: Mapping[str, SourceState]

    @property
    def world(self) -> World:
        return self.state.world

    @property
    def nodes(self) -> dict[str, Node]:
        return self.state.nodes

    @property
    def jobs(self) -> dict[str, Job]:
        return self.state.jobs

    @property
    def fences(self) -> dict[str, Fence]:
        return self.state.fences

    @property
    def not_alive(self) -> tuple[Node, ...]:
        """Nodes that Ray does not call alive: of ten thousand mostly none."""
        return _not_alive(self.nodes)

    @property
    def running(self) -> tuple[Job, ...]:
        """Gangs that run. The very same object while no gang's word is another."""
        return _by_running(self.jobs)[0]

    @property
    def not_running(self) -> tuple[Job, ...]:
        """Gangs that are stopped or wait: of thousands mostly few."""
        return _by_running(self.jobs)[1]

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        """Jobs with a worker on this node, by name."""
        return tuple(self.jobs[name] for name in _jobs_by_node(self.jobs).get(node, ()))

    def power_w(self, pool: str) -> float | None:
        """Watts that the GPUs of a pool draw now; None while a living node of it is silent."""
        return _power_by_pool(self).get(pool)

    def silence_s(self, node: str) -> float | None:
        """Seconds since the node's last telemetry, or None if it never spoke."""
        last = self.frame.last_read(node)
        return None if last is None else max(0.0, self.at.timestamp() - last)


@once_for
def _not_alive(nodes: dict[str, Node]) -> tuple[Node, ...]:
    return tuple(node for node in nodes.values() if node.ray_state is not RayState.ALIVE)


@once_for
def _by_running(jobs: dict[str, Job]) -> tuple[tuple[Job, ...], tuple[Job, ...]]:
    running = JobState.RUNNING
    found = tuple([job for job in jobs.values() if job.state is running])
    if len(found) == len(jobs):
        return found, ()
    return found, tuple([job for job in jobs.values() if job.state is not running])


_placed: tuple[list[str], list[tuple[str, ...]], dict[str, list[str]]] = ([], [], {})
"""Names of the jobs that were counted last, the nodes of each, and node -> its jobs."""


@once_for
def _jobs_by_node(jobs: dict[str, Job]) -> dict[str, list[str]]:
    """Node -> its jobs, by name. A job reports its steps each minute and moves once a week: while
    every job names the same nodes as before, so does this."""
    global _placed
    names = sorted(jobs)
    places = [jobs[name].nodes for name in names]
    known = _placed
    if names == known[0] and places == known[1]:  # mostly the same tuples, which costs little
        _placed = (names, places, known[2])
        return known[2]
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, nodes in zip(names, places, strict=True):
        for node in set(nodes):  # which may hold two of its workers
            found[node].append(name)
    _placed = (names, places, found)
    return found


POWER_FRESH_S = 60.0
"""A power reading older than this says nothing about now."""


@dataclass(frozen=True, eq=False, slots=True)
class _Columns:
    """The nodes' words in their order, and of each: its pool's number, its row in the frame (-1
    where it has none) and its GPUs."""

    words: list[Node]
    row_of: Mapping[str, int]
    pools: dict[str, int]
    pool: NDArray[np.intp]
    rows: NDArray[np.intp]
    gpus: NDArray[np.int64]


_columns: _Columns | None = None


def _columns_of(nodes: dict[str, Node], row_of: Mapping[str, int]) -> _Columns:
    """Taken anew where a node came, went or moved; mostly a few words have changed, if any."""
    global _columns
    known, words = _columns, list(nodes.values())
    if known is not None and known.row_of is row_of and len(known.words) == len(words):
        changed = [
            (i, word)
            for i, (word, before) in enumerate(zip(words, known.words, strict=True))
            if word is not before
        ]
        if not changed:
            return known
        if all(
            (word.name, word.pool) == (known.words[i].name, known.words[i].pool)
            for i, word in changed
        ):
            gpus = known.gpus.copy()
            gpus[[i for i, _ in changed]] = [word.gpus for _, word in changed]
            _columns = replace(known, words=words, gpus=gpus)
            return _columns
    pools: dict[str, int] = {}
    _columns = _Columns(
        words=words,
        row_of=row_of,
        pools=pools,
        pool=np.array([pools.setdefault(n.pool, len(pools)) for n in words], np.intp),
        rows=np.array([row_of.get(n.name, -1) for n in words], np.intp),
        gpus=np.array([n.gpus for n in words], np.int64),
    )
    return _columns


@dataclass(frozen=True, eq=False, slots=True)
class NodePower:
    """What the GPUs of each node draw. words: the nodes, in the order of the columns. watts: f8[N].
    known: bool[N], each of its GPUs told it freshly. simulated: bool[N]."""

    words: list[Node]
    watts: NDArray[np.float64]
    known: NDArray[np.bool_]
    fresh: NDArray[np.bool_]
    simulated: NDArray[np.bool_]


@lru_cache(maxsize=2)
def node_power(snapshot: Snapshot) -> NodePower:
    """Watts by node, once for each snapshot: for pools and for power feeds alike."""
    frame = snapshot.frame
    nodes = _columns_of(snapshot.nodes, frame.row)
    column = frame.gpu[:, :, GPU_FIELDS.index("power_watts")]
    # A node without a row has the last one, which is never fresh.
    watts = np.append(np.nansum(column, axis=1).astype(np.float64), 0.0)[nodes.rows]
    heard = np.append((~np.isnan(column)).sum(axis=1), 0)[nodes.rows]
    fresh = np.append(snapshot.at.timestamp() - frame.read_at <= POWER_FRESH_S, False)[nodes.rows]
    simulated = np.append(frame.simulated, False)[nodes.rows]
    return NodePower(nodes.words, watts, fresh & (heard >= nodes.gpus), fresh, simulated)


@lru_cache(maxsize=2)
def _power_by_pool(snapshot: Snapshot) -> dict[str, float | None]:
    """Watts by pool, once for each snapshot. A dead node that nobody hears counts as off."""
    nodes, power = _columns_of(snapshot.nodes, snapshot.frame.row), node_power(snapshot)
    watts, known = power.watts, power.known
    dead = {n.name for n in snapshot.not_alive if n.ray_state is RayState.DEAD}
    counts = known.copy()
    for i in np.flatnonzero(~known).tolist():  # of a fleet that is heard, a few
        counts[i] = nodes.words[i].name not in dead
    pool, most = nodes.pool, len(nodes.pools)
    drawn = np.bincount(pool[known], watts[known], most).tolist()
    silent = np.bincount(pool[counts & ~known], minlength=most).tolist()
    any_of = np.bincount(pool[counts], minlength=most).tolist()
    return {name: None if silent[i] else drawn[i] for name, i in nodes.pools.items() if any_of[i]}
