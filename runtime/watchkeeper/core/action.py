"""The closed set of things that can be asked for, and what each of them is.

An Action names its targets explicitly, never by pattern (S1). Nothing here acts; `TRAITS` says
what each kind may disturb, how long it may take and what undoes it, and every room reads it.
"""

import re
from datetime import UTC, datetime
from typing import TypeAlias, get_args

import msgspec

from watchkeeper.core.errors import Malformed
from watchkeeper.core.word import Word

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


def is_name(value: str) -> bool:
    """Is this one plain name, such as a target must have?"""
    return _NAME.fullmatch(value) is not None


def check_name(value: str, what: str) -> None:
    """Refuse what is not one plain name: empty, a wildcard, a path, a list. Raises ValueError."""
    if not is_name(value):
        raise ValueError(f"{what} must be one explicit name, not {value!r}")


MOST_GPUS = 256
"""More GPUs than any node has: an index beyond it is a slip, not a GPU."""


MOST_DAYS_RESERVED = 31
"""Longer than this is no reservation but another size of the pool."""


def check_range(value: float, low: float, high: float, what: str) -> None:
    """Refuse a number outside low..high, and what is no number (NaN). Raises ValueError."""
    if not low <= value <= high:
        raise ValueError(f"{what} must be between {low:g} and {high:g}, not {value:g}")


class _NodeAction(Word, frozen=True, tag_field="kind"):
    """An action on one incarnation of one node."""

    node: str
    incarnation: str

    def __post_init__(self) -> None:
        check_name(self.node, "node")


class NodeCordon(_NodeAction, frozen=True, tag="node.cordon"):
    """Fence the node: take its free GPUs as they come, so that nothing new lands. Reversible."""


class NodeUncordon(_NodeAction, frozen=True, tag="node.uncordon"):
    """Release our fence and give the GPUs back."""


class NodeDrain(_NodeAction, frozen=True, tag="node.drain"):
    """Let running work finish until the deadline, then end the raylet. One-way in Ray."""

    deadline_s: float = 60.0

    def __post_init__(self) -> None:
        check_name(self.node, "node")
        check_range(self.deadline_s, 0, 86400, "deadline_s")


class NodeRestart(_NodeAction, frozen=True, tag="node.restart"):
    """Start a new raylet in the place of one that is gone (or, drained, about to go)."""


class NodeReboot(_NodeAction, frozen=True, tag="node.reboot"):
    """Reboot the host below the node."""


class NodeReplace(_NodeAction, frozen=True, tag="node.replace"):
    """Give the node back and take another."""


class _GpuAction(_NodeAction, frozen=True, tag_field="kind"):
    """An action on one GPU of one incarnation of one node."""

    gpu: int

    def __post_init__(self) -> None:
        check_name(self.node, "node")
        check_range(self.gpu, 0, MOST_GPUS - 1, "gpu")


class GpuReset(_GpuAction, frozen=True, tag="gpu.reset"):
    """Reset one GPU through its driver. Cannot cure a GPU that left the bus."""


class GpuQuarantine(_GpuAction, frozen=True, tag="gpu.quarantine"):
    """Hide one GPU from Ray and keep the rest of the node in service."""


class GpuPowerCap(_GpuAction, frozen=True, tag="gpu.power_cap"):
    """Cap one GPU's power, in watts."""

    watts: float

    def __post_init__(self) -> None:
        check_name(self.node, "node")
        check_range(self.gpu, 0, MOST_GPUS - 1, "gpu")
        check_range(self.watts, 1, 10_000, "watts")


class JobRequeue(Word, frozen=True, tag_field="kind", tag="job.requeue"):
    """Submit a stopped gang again, from its last checkpoint. `attempt_id` is the ended attempt.

    before: only a checkpoint written before this time may be used, since later ones may hold what
    a memory error left in them. Asked only of a provider that serves REQUEUE_BEFORE.
    """

    job: str
    attempt_id: str
    before: datetime | None = None

    def __post_init__(self) -> None:
        check_name(self.job, "job")


class JobPreempt(Word, frozen=True, tag_field="kind", tag="job.preempt"):
    """Stop a running gang after a checkpoint, to make room; it waits to go on.

    at_once: end it now and leave it stopped until it is requeued, because what it holds is not
    worth saving: it hangs, or its state is corrupt. for_job: the waiting gang that room is made
    for; "" where it is moved for its own sake.
    """

    job: str
    attempt_id: str
    at_once: bool = False
    for_job: str = ""

    def __post_init__(self) -> None:
        check_name(self.job, "job")
        if self.for_job:
            check_name(self.for_job, "for_job")
            if self.for_job == self.job:
                raise ValueError(f"{self.job} cannot make room for itself")


class JobPlace(Word, frozen=True, tag_field="kind", tag="job.place"):
    """Admit a waiting gang onto named nodes. workers: how many it gets there; 0: one a node."""

    job: str
    attempt_id: str
    nodes: tuple[str, ...]
    workers: int = 0

    def __post_init__(self) -> None:
        check_name(self.job, "job")
        if not self.nodes:
            raise ValueError("nodes must not be empty")
        if len(set(self.nodes)) < len(self.nodes):
            raise ValueError("nodes must name each node once")
        if self.workers and self.workers < len(self.nodes):
            raise ValueError("workers must be no fewer than the nodes, or 0")
        for node in self.nodes:
            check_name(node, "node")


class PoolScale(Word, frozen=True, tag_field="kind", tag="pool.scale"):
    """Add nodes to a pool."""

    pool: str
    add: int

    def __post_init__(self) -> None:
        check_name(self.pool, "pool")
        check_range(self.add, 1, 1000, "add")


class PoolReserve(Word, frozen=True, tag_field="kind", tag="pool.reserve"):
    """Keep nodes of a pool from begin until then: for one tenant's work, or for nobody's.

    Without a time nothing can be kept: a provider refuses that.
    """

    pool: str
    nodes: int
    begin: datetime | None = None
    until: datetime | None = None
    tenant: str = ""

    def __post_init__(self) -> None:
        check_name(self.pool, "pool")
        check_range(self.nodes, 1, 1000, "nodes")
        if self.tenant:
            check_name(self.tenant, "tenant")
        if (self.begin is None) is not (self.until is None):
            raise ValueError("begin and until go together: both, or neither")
        if self.begin is not None and self.until is not None:
            if self.begin.tzinfo is None or self.until.tzinfo is None:
                raise ValueError("begin and until need a time zone")
            length_d = (self.until - self.begin).total_seconds() / 86400
            if not 0 < length_d <= MOST_DAYS_RESERVED:
                raise ValueError(
                    f"until must be after begin, and within {MOST_DAYS_RESERVED} days of it"
                )


class CheckRun(_NodeAction, frozen=True, tag="check.run"):
    """Run a short real workload on a fenced node before it returns to service."""


class TicketOpen(Word, frozen=True, tag_field="kind", tag="ticket.open"):
    """Leave work for a person."""

    subject: str
    title: str
    body: str = ""


class NotifyPage(Word, frozen=True, tag_field="kind", tag="notify.page"):
    """Wake a person."""

    subject: str
    title: str
    body: str = ""


Action: TypeAlias = (
    NodeCordon
    | NodeUncordon
    | NodeDrain
    | NodeRestart
    | NodeReboot
    | NodeReplace
    | GpuReset
    | GpuQuarantine
    | GpuPowerCap
    | JobRequeue
    | JobPreempt
    | JobPlace
    | PoolScale
    | PoolReserve
    | CheckRun
    | TicketOpen
    | NotifyPage
)


REPAIRS = frozenset({"node.drain", "node.restart", "node.reboot", "node.replace", "gpu.reset"})
"""Kinds that count as a repair of their node (S20)."""


class Traits(Word, frozen=True):
    """What kind of thing an action is.

    scope: `node`, `gpu`, `job`, `pool` or `watch`. changes: it alters the cluster ("*" in a
    policy means these). disruptive: it can take work or capacity away. recovers: it gives
    capacity or work back; a breaker never blocks it when a person asks. undo: the kind that
    takes it back, if any. timeout_s: how long one effect call may take. verify_s: how long
    until telemetry must show the expected effect. shows: the predicate on later, independent
    telemetry that must hold then (`remedy.verify` knows each); `none` only where nothing of the
    cluster changes (S21).
    """

    scope: str
    changes: bool = True
    disruptive: bool = False
    recovers: bool = False
    reversible: bool = False
    irreversible: bool = False
    undo: str = ""
    shows: str = "none"
    timeout_s: float = 20.0
    verify_s: float = 120.0


TRAITS: dict[str, Traits] = {
    "node.cordon": Traits(
        scope="node", disruptive=True, reversible=True, undo="node.uncordon", shows="node.fenced"
    ),
    "node.uncordon": Traits(
        scope="node", recovers=True, reversible=True, undo="node.cordon", shows="node.open"
    ),
    "node.drain": Traits(scope="node", disruptive=True, shows="node.gone", verify_s=180.0),
    "node.restart": Traits(
        scope="node", disruptive=True, recovers=True, shows="node.alive", timeout_s=60.0
    ),
    "node.reboot": Traits(
        scope="node", disruptive=True, shows="node.alive", timeout_s=60.0, verify_s=1800.0
    ),
    "node.replace": Traits(
        scope="node", disruptive=True, irreversible=True, shows="node.alive", verify_s=1800.0
    ),
    "gpu.reset": Traits(
        scope="gpu", disruptive=True, shows="gpu.answers", timeout_s=60.0, verify_s=300.0
    ),
    "gpu.quarantine": Traits(scope="gpu", disruptive=True, shows="gpu.hidden", timeout_s=60.0),
    "gpu.power_cap": Traits(scope="gpu", reversible=True, undo="gpu.power_cap", shows="gpu.capped"),
    "job.requeue": Traits(
        scope="job", recovers=True, shows="job.running", timeout_s=30.0, verify_s=180.0
    ),
    "job.preempt": Traits(scope="job", disruptive=True, shows="job.ended", timeout_s=60.0),
    "job.place": Traits(scope="job", shows="job.running"),
    "pool.scale": Traits(scope="pool", shows="pool.grown", timeout_s=60.0, verify_s=300.0),
    "pool.reserve": Traits(scope="pool", shows="pool.reserved"),
    "check.run": Traits(scope="node", shows="check.passed", timeout_s=30.0, verify_s=120.0),
    "ticket.open": Traits(scope="watch", changes=False),
    "notify.page": Traits(scope="watch", changes=False),
}

KINDS: tuple[str, ...] = tuple(TRAITS)

REQUEUE_BEFORE = "job.requeue+before"
"""In an actuator's `serves`: it can requeue from a checkpoint older than the newest."""


def kind_of(action: Action) -> str:
    """The action's name as policies and the journal write it, such as `node.drain`."""
    return _KIND[type(action)]


_KIND: dict[type, str] = {each: str(each.__struct_config__.tag) for each in get_args(Action)}


def traits_of(action: Action) -> Traits:
    """What kind of thing this action is."""
    return TRAITS[kind_of(action)]


def targets_of(action: Action) -> tuple[str, ...]:
    """Its explicit targets as `node:a`, `gpu:a/3`, `job:g`, `pool:p`; never empty (S1)."""
    match action:
        case GpuReset() | GpuQuarantine() | GpuPowerCap():
            return (f"gpu:{action.node}/{action.gpu}",)
        case JobRequeue() | JobPreempt() | JobPlace():
            return (f"job:{action.job}",)
        case PoolScale() | PoolReserve():
            return (f"pool:{action.pool}",)
        case TicketOpen() | NotifyPage():
            return (action.subject or "cluster",)
        case _:
            return (f"node:{action.node}",)


def node_of(action: Action) -> str:
    """The node an action lies on, or an empty string."""
    return str(getattr(action, "node", ""))


def parse_action(data: bytes | str | dict[str, object]) -> Action:
    """Untrusted text to an Action. Raises Malformed: unknown kind, unknown field, bad target."""
    try:
        if isinstance(data, dict):
            return msgspec.convert(data, Action)  # type: ignore[no-any-return]
        return msgspec.json.decode(data, type=Action)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as err:  # msgspec's own, bad UTF-8, absurd nesting
        kinds = ", ".join(KINDS)
        raise Malformed(f"not an action: {err}. The kinds are: {kinds}.") from err


def say(action: Action) -> str:
    """One short imperative, the same in chat, logs and pages."""
    match action:
        case NodeCordon():
            return f"Cordon {action.node}"
        case NodeUncordon():
            return f"Uncordon {action.node}"
        case NodeDrain():
            return f"Drain {action.node} within {action.deadline_s:g} s"
        case NodeRestart():
            return f"Restart {action.node}"
        case NodeReboot():
            return f"Reboot {action.node}"
        case NodeReplace():
            return f"Replace {action.node}"
        case GpuReset():
            return f"Reset GPU {action.gpu} on {action.node}"
        case GpuQuarantine():
            return f"Quarantine GPU {action.gpu} on {action.node}"
        case GpuPowerCap():
            return f"Cap GPU {action.gpu} on {action.node} at {action.watts:g} W"
        case JobRequeue():
            if action.before is None:
                return f"Requeue {action.job}"
            when = action.before.astimezone(UTC)
            return f"Requeue {action.job} from a checkpoint before {when:%Y-%m-%d %H:%M:%S} UTC"
        case JobPreempt():
            room = f" to make room for {action.for_job}" if action.for_job else ""
            return f"End {action.job} now" if action.at_once else f"Preempt {action.job}{room}"
        case JobPlace():
            return f"Place {action.job} on {', '.join(action.nodes)}"
        case PoolScale():
            return f"Add {action.add} node{'s' if action.add != 1 else ''} to {action.pool}"
        case PoolReserve():
            noun = "node" if action.nodes == 1 else "nodes"
            whom = f" for {action.tenant}" if action.tenant else ""
            span = ""
            if action.begin is not None and action.until is not None:
                first, last = action.begin.astimezone(UTC), action.until.astimezone(UTC)
                span = f" from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
            return f"Reserve {action.nodes} {noun} of {action.pool}{whom}{span}"
        case CheckRun():
            return f"Check {action.node}"
        case TicketOpen():
            return f"Open a ticket: {action.title}"
        case NotifyPage():
            return f"Page: {action.title}"
