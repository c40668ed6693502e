"""May this action make sense on this snapshot? Asked when it is proposed and right before its
effect. Policy and invariants are asked elsewhere; this is about whether it can work at all."""

from __future__ import annotations

from typing import assert_never

from watchkeeper.core.action import (
    Action,
    CheckRun,
    GpuPowerCap,
    GpuQuarantine,
    GpuReset,
    JobPlace,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeReboot,
    NodeReplace,
    NodeRestart,
    NodeUncordon,
    NotifyPage,
    PoolReserve,
    PoolScale,
    TicketOpen,
)
from watchkeeper.core.cluster import Job, JobState, Node, RayState, Reserved
from watchkeeper.core.telemetry import Snapshot

_NodeScoped = (
    NodeCordon
    | NodeUncordon
    | NodeDrain
    | NodeRestart
    | NodeReboot
    | NodeReplace
    | GpuReset
    | GpuQuarantine
    | GpuPowerCap
    | CheckRun
)


def unmet(action: Action, snapshot: Snapshot) -> str:
    """Why it cannot work now, as one sentence; "" when it can."""
    match action:
        case JobRequeue() | JobPreempt() | JobPlace():
            return _of_job(action, snapshot)
        case PoolScale() | PoolReserve():
            return _of_pool(action, snapshot)
        case TicketOpen() | NotifyPage():
            return ""
        case _:
            return _of_node(action, snapshot)


def _of_pool(action: PoolScale | PoolReserve, snapshot: Snapshot) -> str:
    if isinstance(action, PoolScale) and (owner := snapshot.state.scaler):
        return (
            f"{owner} scales this cluster, and a pool has one owner: two would undo each other's "
            "work. Turn it off there, or take pool.scale out of the policy here."
        )
    size = sum(n.pool == action.pool and not n.control_path for n in snapshot.nodes.values())
    if not size:
        return f"There is no pool named {action.pool}."
    return _of_reserve(action, size, snapshot) if isinstance(action, PoolReserve) else ""


def _of_reserve(action: PoolReserve, size: int, snapshot: Snapshot) -> str:
    """Kept nodes must be there: together with what is kept at the same time, all of them."""
    if action.begin is None or action.until is None:
        return "Say from when and until when: nothing is kept for ever."
    if action.until <= snapshot.at:
        return "That time is over."
    beside = [
        r
        for r in snapshot.state.reserved
        if r.pool == action.pool and r.begin < action.until and action.begin < r.until
    ]
    if any(_same(r, action) for r in beside):
        return ""  # it is kept already: right before the effect, and after it
    kept = sum(r.nodes for r in beside)
    if kept + action.nodes <= size:
        return ""
    others = f", and {kept} of them are reserved then" if kept else ""
    return f"{action.pool} has {size} nodes{others}."


def _same(kept: Reserved, action: PoolReserve) -> bool:
    return (kept.nodes, kept.begin, kept.until, kept.tenant) == (
        action.nodes, action.begin, action.until, action.tenant,
    )  # fmt: skip


def _of_node(action: _NodeScoped, snapshot: Snapshot) -> str:
    node = snapshot.nodes.get(action.node)
    if node is None:
        return f"Ray does not list {action.node}."
    if node.incarnation != action.incarnation:
        return (
            f"{node.name} is {node.incarnation[:8] or 'nobody'} now, "
            f"not {action.incarnation[:8] or 'nobody'}."
        )
    if node.control_path:
        return f"{node.name} carries our own control path."
    state, fence = node.ray_state, snapshot.fences.get(node.name)
    alive = state is RayState.ALIVE
    says = f"{node.name} is {state.value}"
    match action:
        case NodeCordon():
            if not alive:
                return f"{says}: only a node that is alive can be fenced."
            return f"{node.name} is fenced already." if fence else ""
        case NodeUncordon():
            return "" if fence else f"{node.name} has no fence of ours."
        case NodeDrain():
            return "" if alive else f"{says}: only a node that is alive can be drained."
        case NodeRestart():
            return _restartable(node)
        case NodeReboot() | NodeReplace() | GpuReset():
            return _emptied(action, node, snapshot)
        case CheckRun():
            if not alive:
                return f"{says}: a check needs a node that is alive."
            return "" if fence else _in_use(node, snapshot)
        case GpuQuarantine():
            if action.gpu in node.hidden_gpus:
                return f"GPU {action.gpu} of {node.name} is hidden already."
            return _gpu(action.gpu, node) if alive else f"{says}: nothing can be hidden on it."
        case GpuPowerCap():
            return _gpu(action.gpu, node) if alive else f"{says}: its power cannot be capped."
        case _:
            assert_never(action)


def _in_use(node: Node, snapshot: Snapshot) -> str:
    """A check on an open node takes free GPUs, of which Ray gives none to two. It needs them all
    free: a gang that was ended, to find which of its nodes is to blame, leaves them so."""
    running = [j.name for j in snapshot.jobs_on(node.name) if j.state is JobState.RUNNING]
    if running or node.gpus_free < node.gpus:
        return f"{node.name} is not fenced and not idle: a check would meet other work."
    return ""


def _restartable(node: Node) -> str:
    if node.ray_state not in (RayState.DEAD, RayState.DRAINING):
        return f"{node.name} is {node.ray_state.value}: drain it first."
    if node.ray_state is RayState.DEAD and node.process_gone is False:
        return f"The raylet process of {node.name} still runs."
    return ""


def _emptied(action: NodeReboot | NodeReplace | GpuReset, node: Node, snapshot: Snapshot) -> str:
    """What ends everything on a GPU or host needs it empty: the raylet gone, or our fence sealed
    and no gang left behind it."""
    if isinstance(action, GpuReset) and (wrong := _gpu(action.gpu, node)):
        return wrong
    if node.ray_state is RayState.DEAD:
        return ""
    if node.ray_state is not RayState.ALIVE:
        return f"{node.name} is {node.ray_state.value}: wait until it is gone."
    fence = snapshot.fences.get(node.name)
    running = [j.name for j in snapshot.jobs_on(node.name) if j.state is JobState.RUNNING]
    if running:
        return f"{', '.join(running)} still runs on {node.name}: drain it first."
    return "" if fence and fence.sealed else f"{node.name} is not emptied: drain it first."


def _gpu(index: int, node: Node) -> str:
    if 0 <= index < node.gpus + len(node.hidden_gpus):
        return ""
    return f"{node.name} has no GPU {index}."


def _of_job(action: JobRequeue | JobPreempt | JobPlace, snapshot: Snapshot) -> str:
    job = snapshot.jobs.get(action.job)
    if job is None:
        return f"Ray does not list {action.job}."
    if job.attempt_id != action.attempt_id:
        return f"{job.name} is at attempt {job.attempt_id} now, not {action.attempt_id}."
    wanted = {
        JobRequeue: JobState.STOPPED,
        JobPreempt: JobState.RUNNING,
        JobPlace: JobState.WAITING,
    }[type(action)]
    if job.state is not wanted:
        return f"{job.name} is {job.state.value}, not {wanted.value}."
    if isinstance(action, JobRequeue) and job.requeue_blocked:
        return f"{job.name} cannot be submitted again: {job.requeue_blocked}"
    if isinstance(action, JobPlace):
        return _no_room(action, job, snapshot)
    return ""


def _no_room(action: JobPlace, job: Job, snapshot: Snapshot) -> str:
    """A gang is placed whole: each node that is named takes work and has a worker's GPUs free."""
    if not job.held:
        return f"{job.name} waits in Ray's own queue: where it goes is Ray's choice."
    for name in action.nodes:
        node = snapshot.nodes.get(name)
        if node is None:
            return f"Ray does not list {name}."
        if node.ray_state is not RayState.ALIVE or name in snapshot.fences:
            return f"{name} takes no new work."
        if node.gpus_free + 1e-6 < job.pending_bundle_gpus:
            return (
                f"{name} has {node.gpus_free:g} GPUs free, and a worker of {job.name} needs "
                f"{job.pending_bundle_gpus:g}."
            )
    return ""
