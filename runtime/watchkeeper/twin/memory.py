"""A small cluster in memory, behind the same ports as the real one.

Deterministic, on a clock that only moves when told. Stories run the real turn, gate, executor and
crew over it; the contract suite holds it against the real adapters. Everything it says is
simulated and labelled so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np

from watchkeeper.core.action import (
    CheckRun,
    GpuQuarantine,
    JobPlace,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeRestart,
    NodeUncordon,
    PoolScale,
    kind_of,
    node_of,
)
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
from watchkeeper.core.errors import ClusterUnavailable, EffectFailed, LeaseLost
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.ports import EffectOrder, Receipt
from watchkeeper.core.telemetry import (
    GPU_FIELDS,
    HOST_FIELDS,
    FleetFrame,
    SourceState,
    TelemetryRead,
)

START = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)


class ManualClock:
    """A clock that moves when told. `policy_shift` is what --lab-time adds."""

    def __init__(self, at: datetime = START, policy_shift: timedelta = timedelta(0)) -> None:
        self._now = at
        self._steady = 0.0
        self.policy_shift = policy_shift

    def now(self) -> datetime:
        return self._now

    def policy_now(self) -> datetime:
        return self._now + self.policy_shift

    def steady(self) -> float:
        return self._steady

    def pass_s(self, seconds: float) -> None:
        """Real time passes: both clocks move."""
        self._now += timedelta(seconds=seconds)
        self._steady += seconds

    def step_wall(self, seconds: float) -> None:
        """Somebody steps the wall clock; no time passes."""
        self._now += timedelta(seconds=seconds)


class CountingIds:
    """Ids and secrets that are the same in every run."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def new(self, prefix: str) -> str:
        self._next[prefix] = self._next.get(prefix, 0) + 1
        return f"{prefix}-{self._next[prefix]}"

    def secret(self) -> str:
        return self.new("secret") + "-of-a-simulated-world"

    def resume(self, prefix: str, n: int) -> None:
        self._next[prefix] = max(self._next.get(prefix, 0), n)


@dataclass
class MemoryCluster:
    """Nodes, gangs, fences and telemetry; meets ClusterReader, TelemetrySource and Actuator.

    Effects are instant unless `delay_s` says otherwise for their kind. `admits`: gangs wait for our
    admission, and may be preempted. `effects` lists what was
    really done, for tests to count.
    """

    clock: ManualClock
    world: World = World.TWIN
    nodes: dict[str, Node] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    fences: dict[str, Fence] = field(default_factory=dict)
    checks: dict[str, CheckResult] = field(default_factory=dict)
    lost_gpus: set[tuple[str, int]] = field(default_factory=set)
    silent: dict[str, datetime] = field(default_factory=dict)
    signals: list[Signal] = field(default_factory=list)
    effects: list[EffectOrder] = field(default_factory=list)
    delay_s: dict[str, float] = field(default_factory=dict)
    session: str = "session-1"
    ray_down: str = ""
    telemetry_down: str = ""
    before_effect: Callable[[EffectOrder], None] | None = None
    name: str = "memory"
    admits: bool = False
    _pending: list[tuple[float, EffectOrder]] = field(default_factory=list)
    _keys: set[str] = field(default_factory=set)
    _tokens: dict[str, int] = field(default_factory=dict)
    _born: int = 0

    @staticmethod
    def of(
        clock: ManualClock, pools: dict[str, int], gpus: int = 8, world: World = World.TWIN
    ) -> MemoryCluster:
        """Pools of nodes named `train-01`, ...; two nodes a rack; a head without GPUs."""
        cluster = MemoryCluster(clock=clock, world=world)
        cluster._add("head", "head", "", gpus=0, control_path=True)
        for pool, count in pools.items():
            for i in range(1, count + 1):
                cluster._add(f"{pool}-{i:02d}", pool, f"{pool}-r{(i + 1) // 2}", gpus=gpus)
        return cluster

    def _add(
        self, name: str, pool: str, rack: str, *, gpus: int, control_path: bool = False
    ) -> None:
        self._born += 1
        self.nodes[name] = Node(
            name=name,
            incarnation=f"inc{self._born:04d}",
            pool=pool,
            rack=rack,
            nvlink_domain=f"nvl-{name}" if gpus else "",
            ray_state=RayState.ALIVE,
            ray_state_since=self.clock.now(),
            gpus=gpus,
            gpus_free=float(gpus),
            process_gone=False,
            control_path=control_path,
        )

    def run(self, name: str, nodes: tuple[str, ...], *, gpus: float = 8.0, tenant: str = "") -> Job:
        """A gang runs on these nodes, checkpointed a minute ago."""
        now = self.clock.now()
        job = Job(
            name=name,
            attempt_id=f"{name}-a1",
            state=JobState.RUNNING,
            state_since=now,
            tenant=tenant,
            pool=self.nodes[nodes[0]].pool,
            gpus=gpus * len(nodes),
            nodes=nodes,
            step=120,
            step_at=now,
            checkpoint_step=100,
            checkpoint_at=now - timedelta(seconds=60),
        )
        self.jobs[name] = job
        return job

    def ask(self, name: str, nodes: int, *, pool: str = "train", **more: object) -> Job:
        """A gang of whole nodes waits for our admission."""
        each = float(max(n.gpus for n in self.nodes.values() if n.pool == pool))
        job = Job(
            name=name,
            attempt_id=f"{name}-a0",
            state=JobState.WAITING,
            state_since=self.clock.now(),
            attempt=0,
            pool=pool,
            gpus=each * nodes,
            pending_gpus=each * nodes,
            pending_bundle_gpus=each,
            held=True,
            workers=nodes,
        )
        self.jobs[name] = msgspec.structs.replace(job, **more)
        return self.jobs[name]

    # Faults.

    def lose(self, node: str) -> None:
        """The raylet's process dies; its gangs stop."""
        self._change(node, ray_state=RayState.DEAD, process_gone=True)
        self.fences.pop(node, None)
        self._stop_gangs(node)

    def partition(self, node: str) -> None:
        """Ray calls it dead; nobody confirms it."""
        self._change(node, ray_state=RayState.DEAD, process_gone=None)
        self.silence(node)

    def silence(self, node: str) -> None:
        """Its collector stops."""
        self.silent.setdefault(node, self.clock.now())

    def xid(self, node: str, gpu: int, code: int) -> None:
        """The kernel reports an XID; 79 also takes the GPU off the bus."""
        if code == 79:
            self.lost_gpus.add((node, gpu))
        self.signals.append(
            Signal(
                id=f"S-kernel-{len(self.signals)}-{node}-{gpu}-{code}",
                code=f"xid.{code}",
                target=f"gpu:{node}/{gpu}",
                at=self.clock.now(),
                source="kernel-log",
                trust=Trust.KERNEL,
                world=self.world,
                incarnation=self.nodes[node].incarnation,
                simulated=True,
                raw=f"NVRM: Xid (PCI:0000:{0x10 + gpu:02x}:00): {code}",
            )
        )

    def _change(self, node: str, **changes: object) -> None:
        if "ray_state" in changes:
            changes["ray_state_since"] = self.clock.now()
        self.nodes[node] = msgspec.structs.replace(self.nodes[node], **changes)

    def _stop_gangs(self, node: str) -> None:
        for name, job in self.jobs.items():
            if node in job.nodes and job.state is JobState.RUNNING:
                self.jobs[name] = msgspec.structs.replace(
                    job, state=JobState.STOPPED, state_since=self.clock.now()
                )

    # Reading.

    def read(self) -> ClusterState:
        """Meets ClusterReader."""
        if self.ray_down:
            raise ClusterUnavailable(self.ray_down)
        self._settle()
        return ClusterState(
            session=self.session,
            cluster=self.cluster_id,
            world=self.world,
            read_at=self.clock.now(),
            nodes={n: self._with_free(node) for n, node in self.nodes.items()},
            jobs=dict(self.jobs),
            fences=dict(self.fences),
            checks=dict(self.checks),
            demand=self._demand(),
        )

    def _with_free(self, node: Node) -> Node:
        used = sum(
            job.gpus / len(job.nodes)
            for job in self.jobs.values()
            if node.name in job.nodes and job.state is JobState.RUNNING
        )
        held = self.fences[node.name].held if node.name in self.fences else 0
        return msgspec.structs.replace(node, gpus_free=max(0.0, node.gpus - used - held))

    def _demand(self) -> tuple[PoolDemand, ...]:
        pools = sorted({n.pool for n in self.nodes.values() if n.gpus})
        waiting = [j for j in self.jobs.values() if j.state is JobState.WAITING]
        return tuple(
            PoolDemand(
                pool=pool,
                total_gpus=float(sum(n.gpus for n in self.nodes.values() if n.pool == pool)),
                running_gpus=sum(
                    j.gpus
                    for j in self.jobs.values()
                    if j.pool == pool and j.state is JobState.RUNNING
                ),
                pending_gpus=sum(j.pending_gpus for j in waiting if j.pool == pool),
                waiting_jobs=sum(j.pool == pool for j in waiting),
                fits_nowhere=any(j.pool == pool for j in waiting),
                blocked_job=next((j.name for j in waiting if j.pool == pool), ""),
            )
            for pool in pools
        )

    def telemetry(self) -> MemoryTelemetry:
        """Meets TelemetrySource."""
        return MemoryTelemetry(self)

    def frame(self) -> FleetFrame:
        names = tuple(n for n, node in self.nodes.items() if node.ray_state is not RayState.DEAD)
        most = max((self.nodes[n].gpus for n in names), default=0)
        gpu = np.full((len(names), most, len(GPU_FIELDS)), np.nan, np.float32)
        present = GPU_FIELDS.index("present")
        celsius = GPU_FIELDS.index("temperature_celsius")
        for row, name in enumerate(names):
            gpu[row, : self.nodes[name].gpus, present] = 1.0
            gpu[row, : self.nodes[name].gpus, celsius] = 60.0
        for node, index in self.lost_gpus:
            if node in names:
                gpu[names.index(node), index, :] = np.nan
                gpu[names.index(node), index, present] = 0.0
        now = self.clock.now()
        read_at = np.array([self.silent.get(n, now).timestamp() for n in names], np.float64)
        return FleetFrame(
            nodes=names,
            read_at=read_at,
            gpu=gpu,
            host=np.full((len(names), len(HOST_FIELDS)), 10.0, np.float32),
            simulated=np.ones(len(names), np.bool_),
            vendor=("simulated",) * len(names),
            row={n: i for i, n in enumerate(names)},
        )

    # Acting.

    @property
    def cluster_id(self) -> str:
        return f"{self.world.value}-memory"

    @property
    def serves(self) -> frozenset[str]:
        return frozenset(
            {
                "node.cordon",
                "node.uncordon",
                "node.drain",
                "node.restart",
                "gpu.quarantine",
                "job.requeue",
                "pool.scale",
                "check.run",
                *(("job.place", "job.preempt") if self.admits else ()),
            }
        )

    def execute(self, order: EffectOrder) -> Receipt:
        """Meets Actuator: at most once per key; refuses a stale fencing token and session."""
        if self.before_effect is not None:
            self.before_effect(order)
        if order.key in self._keys:
            return Receipt(provider=self.name, text="done before")
        self._check(order)
        self._keys.add(order.key)
        self.effects.append(order)
        delay = self.delay_s.get(kind_of(order.action), 0.0)
        self._pending.append((self.clock.steady() + delay, order))
        if isinstance(order.action, NodeDrain):
            self._change(order.action.node, ray_state=RayState.DRAINING)
        self._settle()
        return Receipt(provider=self.name)

    def enforce(self, order: EffectOrder) -> Receipt:
        """A drain's deadline has passed: the raylet ends."""
        self._check(order)
        self.lose(node_of(order.action))
        return Receipt(provider=self.name, text="ended")

    def _check(self, order: EffectOrder) -> None:
        name = node_of(order.action)
        target = name or str(getattr(order.action, "job", ""))
        if order.cluster != self.cluster_id:
            raise EffectFailed(f"this order is for {order.cluster}, not for {self.cluster_id}")
        if name and name not in self.nodes:
            raise EffectFailed(f"there is no node called {name}")
        if order.session != self.session:
            raise EffectFailed("another session of Ray")
        if order.token < self._tokens.get(target, 0):
            raise LeaseLost(f"fencing token {order.token} is stale")
        self._tokens[target] = order.token
        node = self.nodes.get(node_of(order.action))
        wanted = str(getattr(order.action, "incarnation", ""))
        if node is not None and node.incarnation != wanted:
            raise EffectFailed(f"{node.name} is another incarnation now")

    def _settle(self) -> None:
        due = [p for p in self._pending if p[0] <= self.clock.steady()]
        self._pending = [p for p in self._pending if p[0] > self.clock.steady()]
        for _, order in due:
            self._do(order)

    def _do(self, order: EffectOrder) -> None:
        match order.action:
            case NodeCordon(node=name):
                self._fence(name, order.token)
            case NodeUncordon(node=name):
                self.fences.pop(name, None)
            case NodeDrain(node=name):
                if not any(
                    name in j.nodes and j.state is JobState.RUNNING for j in self.jobs.values()
                ):
                    self.lose(name)
            case NodeRestart(node=name):
                self._restart(name, order.token)
            case CheckRun(node=name, incarnation=incarnation):
                self.checks[name] = CheckResult(
                    node=name, incarnation=incarnation, key=order.key, passed=True
                )
            case JobRequeue(job=name):
                self._requeue(name)
            case JobPlace() as action:
                self._place(action)
            case JobPreempt() as action:
                self._preempt(action)
            case PoolScale(pool=pool, add=add):
                for _ in range(add):
                    count = sum(n.pool == pool for n in self.nodes.values())
                    self._add(f"{pool}-{count + 1:02d}", pool, f"{pool}-r9", gpus=8)
            case GpuQuarantine(node=name, gpu=gpu):
                hidden = self.nodes[name].hidden_gpus
                self._change(name, hidden_gpus=(*hidden, gpu))
            case _:
                raise EffectFailed(f"{kind_of(order.action)} is not served here")

    def _fence(self, name: str, token: int) -> None:
        gpus = self.nodes[name].gpus
        free = int(self._with_free(self.nodes[name]).gpus_free)
        self.fences[name] = Fence(
            name=f"wk-fence-{name}-{token}", node=name, token=token, held=free, wanted=gpus
        )

    def _restart(self, name: str, token: int) -> None:
        self._born += 1
        self._change(
            name,
            incarnation=f"inc{self._born:04d}",
            ray_state=RayState.ALIVE,
            process_gone=False,
            hidden_gpus=(),
        )
        self.silent.pop(name, None)
        self.lost_gpus = {g for g in self.lost_gpus if g[0] != name}
        gpus = self.nodes[name].gpus
        self.fences[name] = Fence(
            name=f"wk-fence-{name}-{token}", node=name, token=token, held=gpus, wanted=gpus
        )

    def _place(self, action: JobPlace) -> None:
        job, now = self.jobs[action.job], self.clock.now()
        free = [self._with_free(self.nodes[name]).gpus_free for name in action.nodes]
        if min(free) < job.pending_bundle_gpus:
            raise EffectFailed(f"{job.name} does not fit there whole; none of it was started")
        self.jobs[job.name] = msgspec.structs.replace(
            job,
            state=JobState.RUNNING,
            state_since=now,
            attempt=job.attempt + 1,
            attempt_id=f"{job.name}-a{job.attempt + 1}",
            gpus=job.pending_bundle_gpus * len(action.nodes),
            pending_gpus=0.0,
            nodes=action.nodes,
            held=False,
            step=job.checkpoint_step or 0,
            step_at=now,
        )

    def _preempt(self, action: JobPreempt) -> None:
        """It saves, and waits in the line; at once: it stands stopped, and saves nothing."""
        job, now = self.jobs[action.job], self.clock.now()
        if job.state is not JobState.RUNNING or job.attempt_id != action.attempt_id:
            raise EffectFailed(f"{job.name} does not run as {action.attempt_id}")
        each = job.gpus / max(1, len(job.nodes))
        wanted = job.workers or len(job.nodes)
        saved = {} if action.at_once else {"checkpoint_step": job.step, "checkpoint_at": now}
        self.jobs[job.name] = msgspec.structs.replace(
            job,
            state=JobState.STOPPED if action.at_once else JobState.WAITING,
            state_since=now,
            held=not action.at_once,
            gpus=each * wanted,
            pending_gpus=0.0 if action.at_once else each * wanted,
            pending_bundle_gpus=each,
            workers=wanted,
            nodes=(),
            **saved,
        )

    def _requeue(self, name: str) -> None:
        job = self.jobs[name]
        now = self.clock.now()
        self.jobs[name] = msgspec.structs.replace(
            job,
            state=JobState.RUNNING,
            state_since=now,
            attempt=job.attempt + 1,
            attempt_id=f"{name}-a{job.attempt + 1}",
            step=(job.checkpoint_step or 0) + 1,
            step_at=now,
        )


class MemoryTelemetry:
    """The telemetry side of a MemoryCluster."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    def read(self) -> TelemetryRead:
        if self._cluster.telemetry_down:
            raise ClusterUnavailable(self._cluster.telemetry_down)
        signals, self._cluster.signals = tuple(self._cluster.signals), []
        return TelemetryRead(
            frame=self._cluster.frame(), signals=signals, source=SourceState("telemetry", 0.0)
        )
