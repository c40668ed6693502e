"""What exists: worlds, nodes, GPUs, pools, domains and jobs, as one source reported them."""

from datetime import datetime
from enum import StrEnum

from watchkeeper.core.serving import Serving
from watchkeeper.core.word import Word


class World(StrEnum):
    """Which cluster this is about. Worlds never mix (S29)."""

    REAL = "real"
    LAB = "lab"
    TWIN = "twin"


class RayState(StrEnum):
    """A node's life as Ray tells it. Unknown is neither healthy nor dead."""

    ALIVE = "alive"
    DRAINING = "draining"
    DEAD = "dead"
    UNKNOWN = "unknown"


DOMAIN_KINDS = ("pool", "rack", "leaf", "power_feed", "nvlink_domain", "zone")
"""Where nodes fail or talk together: fields of a Node, and the first half of a domain key."""


class Node(Word, frozen=True):
    """One raylet under its stable name. Never a host: two nodes may share one.

    `incarnation` is the Ray NodeID of the raylet now (or last) behind the name; it is the empty
    string when the name is expected by inventory and no raylet was ever seen. `process_gone` is
    the provider's own word that the raylet's process no longer exists: None where no provider can
    tell. Domain names are empty where the cluster does not say.
    """

    name: str
    incarnation: str
    pool: str
    ray_state: RayState
    ray_state_since: datetime
    gpus: int
    gpus_free: float = 0.0
    cpus: float = 0.0
    process_gone: bool | None = None
    control_path: bool = False
    rack: str = ""
    leaf: str = ""
    power_feed: str = ""
    nvlink_domain: str = ""
    zone: str = ""
    hidden_gpus: tuple[int, ...] = ()
    labels: dict[str, str] = {}

    def domains(self) -> dict[str, str]:
        """The named domains this node is part of, by kind; kinds without a name are left out."""
        named = ((kind, getattr(self, kind)) for kind in DOMAIN_KINDS)
        return {kind: name for kind, name in named if name}


class JobState(StrEnum):
    """A gang's life. `stopped` means: it wants to run, and does not."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"


class Job(Word, frozen=True):
    """A gang of workers that runs, waits or restarts together.

    `name` stays the same over attempts; `attempt_id` is Ray's submission id (or driver job id) of
    the current attempt. `nodes` are where its workers are, or, once stopped, last were.
    `requeue_blocked` says why the job cannot be submitted again ("" = it
    can). `pending_gpus` is what it asks for and does not have, in its `pool`.

    What its submitter says of its shape, where anybody does. `held`: it waits for our admission,
    and nothing of it runs yet; else it waits where Ray alone decides. `workers`: nodes it wants;
    `least`: with how many it can run (0: all of them). `within`: the level of domain that must
    hold all of it; `near`: that should. `runtime_s`: expected. `preemptible`: it may be stopped to
    make room.
    """

    name: str
    attempt_id: str
    state: JobState
    state_since: datetime
    attempt: int = 1
    tenant: str = ""
    priority: int = 0
    pool: str = ""
    gpus: float = 0.0
    pending_gpus: float = 0.0
    pending_bundle_gpus: float = 0.0
    nodes: tuple[str, ...] = ()
    step: int | None = None
    step_at: datetime | None = None
    checkpoint_step: int | None = None
    checkpoint_at: datetime | None = None
    requeue_blocked: str = ""
    metadata: dict[str, str] = {}
    held: bool = False
    workers: int = 0
    least: int = 0
    within: str = ""
    near: str = ""
    runtime_s: float | None = None
    preemptible: bool = True


class Fence(Word, frozen=True):
    """Our cordon on a node: how many of its GPUs it holds already. Sealed when held == wanted."""

    name: str
    node: str
    token: int
    held: int
    wanted: int

    @property
    def sealed(self) -> bool:
        """Nothing new can land on the node's GPUs."""
        return self.held >= self.wanted


class CheckResult(Word, frozen=True):
    """How a `check.run` ended on one incarnation. `passed` is None while it runs. `at`: when it
    began; None where the provider does not tell, and then it speaks about nothing said before."""

    node: str
    incarnation: str
    key: str
    passed: bool | None
    detail: str = ""
    at: datetime | None = None


class PoolDemand(Word, frozen=True):
    """Queue and use of one pool at one moment, in GPUs. `largest_waiting` is the biggest single
    bundle that waits; `fits_nowhere` is true when no node of the pool could ever hold it now."""

    pool: str
    total_gpus: float
    running_gpus: float
    pending_gpus: float
    waiting_jobs: int
    fits_nowhere: bool = False
    blocked_job: str = ""


class Reserved(Word, frozen=True):
    """Nodes of a pool that are kept for a time to come, until it is over. ident: such as `R3`.
    tenant: whose work may use them; "" where nobody's may, as for maintenance."""

    ident: str
    pool: str
    nodes: int
    begin: datetime
    until: datetime
    tenant: str = ""

    @property
    def whom(self) -> str:
        """For whom, in words."""
        return self.tenant or "nobody's work"


class ClusterState(Word, frozen=True):
    """One reading of the cluster by the adapter that alone knows Ray. `session` changes when the
    GCS starts anew; approvals and leases of another session are void. `scaler`: who else adds and
    removes nodes here, such as Ray's autoscaler; "" where nobody does. `reserved`: what is kept now
    or from a time to come, soonest first."""

    session: str
    cluster: str
    world: World
    read_at: datetime
    nodes: dict[str, Node]
    jobs: dict[str, Job] = {}
    fences: dict[str, Fence] = {}
    checks: dict[str, CheckResult] = {}
    demand: tuple[PoolDemand, ...] = ()
    gaps: tuple[str, ...] = ()
    scaler: str = ""
    reserved: tuple[Reserved, ...] = ()
    serving: tuple[Serving, ...] = ()
