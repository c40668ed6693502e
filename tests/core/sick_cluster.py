"""A small cluster to fall ill in: four nodes of eight GPUs, two gangs, one moment."""

from datetime import UTC, datetime, timedelta

import numpy as np
from msgspec.structs import replace

from watchkeeper.core.cluster import (
    CheckResult,
    ClusterState,
    Fence,
    Job,
    JobState,
    Node,
    PoolDemand,
    RayState,
    World,
)
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS, FleetFrame, Snapshot, SourceState

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=6)
PRESENT = GPU_FIELDS.index("present")
TEMPERATURE = GPU_FIELDS.index("temperature_celsius")


class Counter:
    """Ids in order, for tests."""

    def __init__(self) -> None:
        self.n = 0

    def new(self, prefix: str) -> str:
        self.n += 1
        return f"{prefix}-{self.n}"

    def secret(self) -> str:
        return "s" * 22


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def node(name: str, **fields) -> Node:
    known = {
        "name": name,
        "incarnation": f"{name}-life1",
        "pool": "train",
        "ray_state": RayState.ALIVE,
        "ray_state_since": LONG_AGO,
        "gpus": 8,
        "gpus_free": 8.0,
        "rack": "r1",
    }
    return Node(**{**known, **fields})


def job(name: str, nodes=("w1", "w2"), **fields) -> Job:
    known = {
        "name": name,
        "attempt_id": f"{name}-a1",
        "state": JobState.RUNNING,
        "state_since": LONG_AGO,
        "pool": "train",
        "gpus": 16.0,
        "nodes": tuple(nodes),
        "step": 1250,
        "checkpoint_step": 1200,
        "checkpoint_at": ago(60),
    }
    return Job(**{**known, **fields})


def fence(name: str, held: int = 8, wanted: int = 8) -> Fence:
    return Fence(name=f"wk-fence-{name}-1", node=name, token=1, held=held, wanted=wanted)


def dead(name: str, since_s: float = 10, **fields) -> Node:
    fields.setdefault("process_gone", True)
    return node(
        name, ray_state=RayState.DEAD, ray_state_since=ago(since_s), gpus_free=0.0, **fields
    )


def reborn(name: str, since_s: float = 5, **fields) -> Node:
    fields.setdefault("incarnation", f"{name}-life2")
    return node(name, ray_state_since=ago(since_s), **fields)


def snapshot(
    *changed: Node,
    jobs=(),
    fences=(),
    checks=(),
    demand: tuple[PoolDemand, ...] = (),
    silent: dict[str, float] | None = None,
    lost=(),
    celsius: float = 55.0,
    sources: dict[str, SourceState] | None = None,
    world: World = World.LAB,
    at: datetime = NOW,
) -> Snapshot:
    """silent: node -> seconds since it spoke (NaN: never). lost: (node, gpu) pairs."""
    nodes = {f"w{n}": node(f"w{n}") for n in range(1, 5)}
    nodes |= {n.name: n for n in changed}
    names = tuple(nodes)
    read_at = np.full(len(names), at.timestamp() - 1.0)
    gpu = np.full((len(names), 8, len(GPU_FIELDS)), np.nan, np.float32)
    gpu[:, :, PRESENT] = 1.0
    gpu[:, :, TEMPERATURE] = celsius
    for name, seconds in (silent or {}).items():
        read_at[names.index(name)] = at.timestamp() - seconds
    for name, index in lost:
        gpu[names.index(name), index, PRESENT] = 0.0
    frame = FleetFrame(
        nodes=names,
        read_at=read_at,
        gpu=gpu,
        host=np.full((len(names), len(HOST_FIELDS)), np.nan, np.float32),
        simulated=np.ones(len(names), np.bool_),
        vendor=("simulated",) * len(names),
        row={name: i for i, name in enumerate(names)},
    )
    state = ClusterState(
        session="session-1",
        cluster="lab-1",
        world=world,
        read_at=at,
        nodes=nodes,
        jobs={j.name: j for j in jobs},
        fences={f.node: f for f in fences},
        checks={c.node: c for c in checks},
        demand=demand,
    )
    fresh = {name: SourceState(name, 1.0) for name in ("ray", "telemetry", "redis")}
    return Snapshot(
        at=at, steady=1000.0, state=state, frame=frame, sources={**fresh, **(sources or {})}
    )


def check(name: str, life: str, passed: bool | None = True) -> CheckResult:
    return CheckResult(node=name, incarnation=life, key="K-1", passed=passed)


def xid(code: int, where: str = "w1/3", seconds_ago: float = 5, **fields) -> Signal:
    known = {
        "id": f"S-{code}-{where}-{seconds_ago}-{fields.get('source', '')}",
        "code": f"xid.{code}",
        "target": f"gpu:{where}",
        "at": ago(seconds_ago),
        "source": "kernel-log",
        "trust": Trust.KERNEL,
        "world": World.LAB,
    }
    return Signal(**{**known, **fields})


def renamed(word, **fields):
    return replace(word, **fields)
