"""A small pool to meter and to price: nodes, gangs, and the moments at which somebody looks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from watchkeeper.core.cluster import (
    ClusterState,
    Fence,
    Job,
    JobState,
    Node,
    RayState,
    World,
)
from watchkeeper.core.money import Offer, PoolPrice, PriceBook
from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS, FleetFrame, Snapshot, SourceState
from watchkeeper.core.usage import UsageRecord

T0 = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday, 00:00."""


def node(name: str, *, free: float = 8.0, gpus: int = 8, pool: str = "train", **more: Any) -> Node:
    return Node(
        name=name,
        incarnation=f"inc-{name}",
        pool=pool,
        ray_state=more.pop("state", RayState.ALIVE),
        ray_state_since=T0,
        gpus=gpus,
        gpus_free=free,
        **more,
    )


def gang(name: str, tenant: str, gpus: float, *nodes: str, **more: Any) -> Job:
    return Job(
        name=name,
        attempt_id=f"{name}-1",
        state=more.pop("state", JobState.RUNNING),
        state_since=T0,
        tenant=tenant,
        pool=more.pop("pool", "train"),
        gpus=gpus,
        nodes=nodes,
        **more,
    )


def fence(name: str, held: int) -> Fence:
    return Fence(name=f"wk-fence-{name}-1", node=name, token=1, held=held, wanted=8)


def seen(
    after_s: float,
    *things: Node | Job | Fence,
    watts: float | None = None,
    ray_age_s: float = 0.0,
    world: World = World.REAL,
) -> Snapshot:
    """The cluster `after_s` seconds after T0. watts: of each GPU, None where all are silent."""
    nodes = {t.name: t for t in things if isinstance(t, Node)}
    at = T0 + timedelta(seconds=after_s)
    state = ClusterState(
        session="s",
        cluster="real-1",
        world=world,
        read_at=at,
        nodes=nodes,
        jobs={t.name: t for t in things if isinstance(t, Job)},
        fences={t.node: t for t in things if isinstance(t, Fence)},
    )
    names = tuple(nodes)
    most = max((n.gpus for n in nodes.values()), default=0)
    gpu = np.full((len(names), most, len(GPU_FIELDS)), np.nan, np.float32)
    if watts is not None:
        gpu[:, :, GPU_FIELDS.index("power_watts")] = watts
    frame = FleetFrame(
        nodes=names,
        read_at=np.full(len(names), at.timestamp()),
        gpu=gpu,
        host=np.full((len(names), len(HOST_FIELDS)), np.nan, np.float32),
        simulated=np.zeros(len(names), np.bool_),
        vendor=("nvidia",) * len(names),
        row={name: i for i, name in enumerate(names)},
    )
    return Snapshot(
        at=at,
        steady=after_s,
        state=state,
        frame=frame,
        sources={"ray": SourceState("ray", ray_age_s)},
    )


def record(
    hour: float,
    *,
    hours: float = 1.0,
    known: float = 1.0,
    uses: dict[str, float] | None = None,
    tenants: dict[str, float] | None = None,
    kwh: float | None = 0.0,
    pool: str = "train",
) -> UsageRecord:
    """`hours` of metering from `hour` after T0 on. known: share of it that was watched."""
    return UsageRecord(
        first=T0 + timedelta(hours=hour),
        last=T0 + timedelta(hours=hour + hours),
        known_s=hours * 3600 * known,
        gpu_hours={pool: {"held": sum((tenants or {}).values()), **(uses or {})}},
        tenants={pool: tenants or {}},
        energy_kwh={pool: kwh},
    )


def book(**more: Any) -> PriceBook:
    """2 USD for a GPU-hour of `train`, 1 USD for one of `serve`; made up."""
    return PriceBook(
        **{
            "name": "b",
            "currency": "USD",
            "pools": {
                "train": PoolPrice(gpus_per_node=8, gpu_hour=2.0),
                "serve": PoolPrice(gpus_per_node=8, gpu_hour=1.0),
            },
            "first": date(2026, 1, 1),
            "last": date(2026, 12, 31),
            **more,
        }
    )


def offer(gpu_hour: float, nodes: int, **more: Any) -> Offer:
    return Offer(gpu_hour=gpu_hour, nodes_at_most=nodes, **more)
