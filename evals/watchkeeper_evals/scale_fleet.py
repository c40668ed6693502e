"""A large simulated fleet for `eval scale`: its state as Ray would tell it, its telemetry through a
real Redis. Nothing in it reacts: it is read, and told which nodes fall ill.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np

from watchkeeper.adapters.redis_sink import RedisSink
from watchkeeper.core.cluster import ClusterState, Job, JobState, Node, PoolDemand, RayState, World
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.sources import Sample
from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS

GPUS = 8
POOL = 500
"""Nodes of a pool, but for the first where a burst shall fill half of it."""
RACK, LEAF = 4, 16
GANG = 16
"""Nodes of one gang; four of five nodes work in one."""
WELL = {
    "utilization_percent": 96.0,
    "memory_used_mib": 71_000.0,
    "memory_total_mib": 81_559.0,
    "temperature_celsius": 63.0,
    "power_watts": 640.0,
    "power_limit_watts": 700.0,
    "ecc_corrected_total": 0.0,
    "ecc_uncorrected_total": 0.0,
    "sm_clock_mhz": 1755.0,
    "throttle_reasons": 0.0,
    "nvlink_links_up": 18.0,
    "present": 1.0,
}
"""A GPU at work: what every reading of the fleet says."""


class Fleet:
    """N nodes of 8 GPUs; meets `ClusterReader`."""

    def __init__(self, nodes: int, cluster: str, first_pool: int = POOL) -> None:
        self.cluster = cluster
        began = datetime.now(UTC) - timedelta(hours=2)
        pools = [0 if i < first_pool else 1 + (i - first_pool) // POOL for i in range(nodes)]
        self.names = tuple(f"n{i:05d}" for i in range(nodes))
        found = {
            name: Node(
                name=name,
                incarnation=f"inc{i:05d}",
                pool=f"pool-{pools[i]}",
                ray_state=RayState.ALIVE,
                ray_state_since=began,
                gpus=GPUS,
                gpus_free=0.0 if i % 5 else float(GPUS),
                cpus=96.0,
                process_gone=False,
                rack=f"rack-{i // RACK}",
                leaf=f"leaf-{i // LEAF}",
                nvlink_domain=f"nvl-{i}",
            )
            for i, name in enumerate(self.names)
        }
        self._state = ClusterState(
            session="scale",
            cluster=cluster,
            world=World.TWIN,
            read_at=began,
            nodes=found,
            jobs={job.name: job for job in _gangs(self.names, found, began)},
            demand=_demand(found),
        )
        self._gpu = np.tile(np.array([WELL[name] for name in GPU_FIELDS], np.float32), (GPUS, 1))
        self._host = np.full(len(HOST_FIELDS), 10.0, np.float32)

    def read(self) -> ClusterState:
        """As the adapter's background reading hands it over: whole, and of now."""
        return msgspec.structs.replace(self._state, read_at=datetime.now(UTC))

    def samples(self, which: Iterable[int], at: float) -> list[Sample]:
        """One reading of each of these nodes."""
        return [
            Sample(
                node=self.names[i],
                at=at,
                world=World.TWIN,
                gpu=self._gpu,
                host=self._host,
                vendor="simulated",
                simulated=True,
            )
            for i in which
        ]

    def fault(self, node: int, number: int) -> list[Signal]:
        """Two instruments of this node say that a GPU is off the bus: enough to act on, so that
        what is timed is the watch and not its patience."""
        said = (("xid.79", "kernel-log", Trust.KERNEL), ("gpu.lost", "gpu-driver", Trust.DRIVER))
        return [
            Signal(
                id=f"S-scale-{number}-{node}-{code}",
                code=code,
                target=f"gpu:{self.names[node]}/0",
                at=datetime.now(UTC),
                source=source,
                trust=trust,
                world=World.TWIN,
                incarnation=f"inc{node:05d}",
                simulated=True,
                raw="NVRM: Xid (PCI:0000:10:00): 79, GPU has fallen off the bus.",
            )
            for code, source, trust in said
        ]

    def speak(self, sink: RedisSink, every: int = 1, phase: int = 0) -> None:
        """Each `every`-th node hands in a reading."""
        now = datetime.now(UTC).timestamp()
        sink.send_many(self.samples(range(phase % every, len(self.names), every), now))


def _gangs(names: tuple[str, ...], nodes: dict[str, Node], began: datetime) -> Iterable[Job]:
    busy = [name for i, name in enumerate(names) if i % 5]
    for number in range(len(busy) // GANG):
        on = tuple(busy[number * GANG : (number + 1) * GANG])
        yield Job(
            name=f"gang-{number:04d}",
            attempt_id=f"gang-{number:04d}-a1",
            state=JobState.RUNNING,
            state_since=began,
            tenant=f"team-{number % 7}",
            pool=nodes[on[0]].pool,
            gpus=float(GANG * GPUS),
            nodes=on,
            step=100,
            step_at=began,
            checkpoint_step=90,
            checkpoint_at=began + timedelta(minutes=100),
        )


def _demand(nodes: dict[str, Node]) -> tuple[PoolDemand, ...]:
    sizes: dict[str, int] = {}
    for node in nodes.values():
        sizes[node.pool] = sizes.get(node.pool, 0) + 1
    return tuple(
        PoolDemand(
            pool=pool,
            total_gpus=float(size * GPUS),
            running_gpus=float(size * GPUS) * 0.8,
            pending_gpus=0.0,
            waiting_jobs=0,
        )
        for pool, size in sorted(sizes.items())
    )
