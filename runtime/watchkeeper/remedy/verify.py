"""What must telemetry show after an action, and does it? Asked by the executor's verifier.

Evidence is the snapshot alone: neither the provider's receipt nor an agent's word counts (S21).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta

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
    PoolReserve,
    PoolScale,
    kind_of,
    node_of,
    traits_of,
)
from watchkeeper.core.cluster import JobState, Node, RayState
from watchkeeper.core.proposal import Effect, Impact
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot
from watchkeeper.core.verdict import Outcome, OutcomeKind
from watchkeeper.remedy.plan import RemedyView

GRACE_S = 30.0
"""After a drain's deadline we end the raylet ourselves; Ray then needs a while to see it."""
RESET_S = 60.0
"""A reset takes 1 to 3 minutes; a reading from before this may be of the GPU as it was."""
CAP_SLACK = 1.01
"""Drivers round a limit; one beyond this is another limit."""
HARM_S = 180.0
"""What falls later than this after an action fell by itself (ours): a repair that takes half an
hour would else be blamed for whatever a large fleet loses meanwhile."""
_NEAR = ("rack", "nvlink_domain")
_SPARES_THE_LIVING = frozenset(
    {
        "node.restart",
        "node.uncordon",
        "check.run",
        "job.requeue",
        "job.place",
        "pool.scale",
        "pool.reserve",
    }
)
"""These touch nothing that runs: one node more that is out is a coincidence, two are not."""


def expected_effect(action: Action, view: RemedyView) -> Effect:
    """What later telemetry must show for this action to count as done, and by when."""
    traits = traits_of(action)
    within, detail = traits.verify_s, ""
    match action:
        case NodeDrain():
            within = max(within, action.deadline_s + 2 * GRACE_S)
        case JobRequeue():
            job = view.snapshot.jobs.get(action.job)
            # From an older checkpoint it begins earlier: at which step, we do not know.
            step = job.checkpoint_step if job and action.before is None else None
            detail = f"step>={step}" if step is not None else ""
        case PoolScale():
            detail = f"nodes>={_serving(view.snapshot, action.pool) + action.add}"
    return Effect(predicate=traits.shows, within_s=within, detail=detail)


def observe(
    effect: Effect,
    action: Action,
    before_incarnation: str,
    snapshot: Snapshot,
    *,
    waited_s: float = 0.0,
    since: datetime | None = None,
    impact: Impact | None = None,
    ill_before: Callable[[str], bool] = lambda _node: False,
) -> Outcome:
    """Hold the effect against one snapshot: recovered, not yet, worse or failed.

    before_incarnation: the node's at the time of the effect. waited_s: seconds since it began, on
    the steady clock; past `effect.within_s` what is not there has failed. since and impact: when
    it began and what it was expected to touch; without them `worse` cannot be seen. ill_before:
    whether a node was ill already when it began; what such a one does next is not our harm.
    """
    if harm := _worse(action, snapshot, since, impact, ill_before):
        return Outcome(kind=OutcomeKind.WORSE, seen=harm)
    ok, seen = _holds(effect, action, before_incarnation, snapshot, since)
    if ok:
        return Outcome(kind=OutcomeKind.RECOVERED, seen=seen)
    if ok is False:
        return Outcome(kind=OutcomeKind.FAILED, seen=seen)
    if waited_s > effect.within_s:
        late = f"{seen} That took longer than {effect.within_s:.0f} s."
        return Outcome(kind=OutcomeKind.FAILED, seen=late)
    return Outcome(kind=OutcomeKind.NOT_YET, seen=seen)


def _holds(
    effect: Effect, action: Action, before: str, snapshot: Snapshot, since: datetime | None
) -> tuple[bool | None, str]:
    """(True: it holds; None: not yet; False: it never will, the sentence that says so)."""
    if effect.predicate == "none":
        changes = traits_of(action).changes
        return not changes, (
            "What changes the cluster must be seen to; nothing was named that would show it."
            if changes
            else "There is nothing to see for this action."
        )
    source = snapshot.sources.get("ray")
    if source is not None and source.error:
        return None, "Ray does not answer, so nothing can be seen."
    if isinstance(action, JobPreempt):
        return _job_ended(action, snapshot)
    if isinstance(action, JobPlace):
        return _job_placed(action, snapshot)
    if isinstance(action, JobRequeue):
        return _job_running(effect, action, snapshot)
    if isinstance(action, PoolScale):
        have, wanted = _serving(snapshot, action.pool), _number(effect.detail)
        return have >= (wanted or 0) or None, f"{action.pool} has {have} nodes alive."
    if isinstance(action, PoolReserve):
        return _reserved(action, snapshot)
    node = snapshot.nodes.get(node_of(action))
    if node is None:
        gone = effect.predicate == "node.gone"
        return gone or None, f"Ray does not list {node_of(action)}."
    match effect.predicate:
        case "node.fenced":
            return _fenced(node, snapshot)
        case "node.open":
            fenced = node.name in snapshot.fences
            alive = node.ray_state is RayState.ALIVE
            says = (
                f"{node.name} is {node.ray_state.value} and {'still ' if fenced else 'un'}fenced."
            )
            return (alive and not fenced) or None, says
        case "node.gone":
            return _gone(node, before)
        case "node.alive":
            return _alive(node, before, snapshot)
        case "check.passed":
            return _check(node, action, snapshot)
        case "gpu.answers" if isinstance(action, GpuReset):
            return _answers(node, action.gpu, snapshot, since)
        case "gpu.capped" if isinstance(action, GpuPowerCap):
            return _capped(node, action, snapshot, since)
        case "gpu.hidden":
            index = action.gpu if isinstance(action, GpuQuarantine) else -1
            hidden = index in node.hidden_gpus
            return (
                hidden or None,
                f"GPU {index} of {node.name} is {'' if hidden else 'not '}hidden.",
            )
        case other:
            return False, f"Nothing here can verify {other!r}."


def _reserved(action: PoolReserve, snapshot: Snapshot) -> tuple[bool | None, str]:
    if action.until is not None and action.until <= snapshot.at:
        return True, "The time it was for is over."
    for kept in snapshot.state.reserved:
        if (kept.pool, kept.nodes, kept.begin, kept.until, kept.tenant) == (
            action.pool, action.nodes, action.begin, action.until, action.tenant,
        ):  # fmt: skip
            return True, f"{kept.ident}: {kept.nodes} nodes of {kept.pool} for {kept.whom}."
    return None, f"Nothing shows that nodes of {action.pool} are reserved."


def _fenced(node: Node, snapshot: Snapshot) -> tuple[bool | None, str]:
    fence = snapshot.fences.get(node.name)
    if fence is None:
        return None, f"{node.name} has no fence yet."
    says = f"The fence of {node.name} holds {fence.held} of {fence.wanted} GPUs."
    # A busy node counts once every GPU that is free now is ours: the rest come as work ends.
    return fence.sealed or node.gpus_free <= 0 or None, says


def _gone(node: Node, before: str) -> tuple[bool | None, str]:
    if before and node.incarnation != before:
        return True, f"{before[:8]} is gone; {node.name} is {node.incarnation[:8]} now."
    if node.ray_state is RayState.DEAD and node.process_gone is not False:
        return True, f"Ray declared {node.name} dead."
    if node.ray_state is RayState.DEAD:
        return None, f"Ray declared {node.name} dead; its process still runs."
    return None, f"{node.name} is still {node.ray_state.value}."


def _alive(node: Node, before: str, snapshot: Snapshot) -> tuple[bool | None, str]:
    if node.ray_state is not RayState.ALIVE:
        return None, f"{node.name} is {node.ray_state.value}."
    if node.incarnation == before:
        return None, f"{node.name} is still the raylet that it was."
    last = snapshot.frame.last_read(node.name)
    if last is None or last < node.ray_state_since.timestamp():
        return None, f"{node.name} is alive as {node.incarnation[:8]}; its telemetry is silent."
    return True, f"{node.name} is alive as {node.incarnation[:8]}, and its telemetry speaks."


def _check(node: Node, action: Action, snapshot: Snapshot) -> tuple[bool | None, str]:
    result = snapshot.state.checks.get(node.name)
    wanted = action.incarnation if isinstance(action, CheckRun) else node.incarnation
    if node.incarnation != wanted:
        return False, f"{node.name} is another raylet than the one to be checked."
    if result is None or result.incarnation != wanted or result.passed is None:
        return None, f"The check of {node.name} still runs."
    if result.passed:
        return True, f"The check of {node.name} passed."
    return False, f"The check of {node.name} failed: {result.detail or 'no reason given'}."


def _answers(
    node: Node, gpu: int, snapshot: Snapshot, since: datetime | None
) -> tuple[bool | None, str]:
    """Does the driver report the GPU after its reset? On a node that is out of Ray and whose
    collector went with it nobody can say: `answered_since` is asked before it serves again."""
    after = None if since is None else since + timedelta(seconds=RESET_S)
    present = _reading(node.name, gpu, "present", snapshot, after)
    if present is not None:
        answers = present == 1.0
        return answers or None, f"GPU {gpu} of {node.name} {'answers' if answers else 'is lost'}."
    if node.ray_state is RayState.DEAD and node.process_gone is not False:
        return True, (
            f"{node.name} is out and silent; it does not serve again before GPU {gpu} answers."
        )
    return None, f"{node.name} has not told of GPU {gpu} since."


def _capped(
    node: Node, action: GpuPowerCap, snapshot: Snapshot, since: datetime | None
) -> tuple[bool | None, str]:
    limit = _reading(node.name, action.gpu, "power_limit_watts", snapshot, since)
    if limit is None:
        return None, f"{node.name} has not told the limit of GPU {action.gpu} since."
    says = f"The limit of GPU {action.gpu} of {node.name} is {limit:g} W."
    return limit <= action.watts * CAP_SLACK or None, says


def answered_since(node: str, gpu: int, snapshot: Snapshot, since: datetime) -> bool:
    """Has the driver reported this GPU in a reading taken after then? What a reset must lead to
    before its node is given back; silence is no answer."""
    return _reading(node, gpu, "present", snapshot, since) == 1.0


def _reading(
    node: str, gpu: int, column: str, snapshot: Snapshot, after: datetime | None
) -> float | None:
    """One value of the node's last reading; None where it is older, or Unknown."""
    frame = snapshot.frame
    row, last = frame.row.get(node), frame.last_read(node)
    if row is None or last is None or not 0 <= gpu < frame.gpu.shape[1]:
        return None
    if after is not None and last <= after.timestamp():
        return None
    value = float(frame.gpu[row, gpu, GPU_FIELDS.index(column)])
    return None if math.isnan(value) else value


def _job_ended(action: JobPreempt, snapshot: Snapshot) -> tuple[bool | None, str]:
    job = snapshot.jobs.get(action.job)
    if job is None:
        return None, f"Ray does not list {action.job}."
    if job.attempt_id == action.attempt_id and job.state is JobState.RUNNING:
        return None, f"{job.name} still runs."
    return True, f"{job.name} is {job.state.value}."


def _job_placed(action: JobPlace, snapshot: Snapshot) -> tuple[bool | None, str]:
    """It runs, on the nodes that were named and on no other: whole, or not at all."""
    job = snapshot.jobs.get(action.job)
    if job is None:
        return None, f"Ray does not list {action.job}."
    if job.state in (JobState.SUCCEEDED, JobState.CANCELLED):
        return True, f"{job.name} {job.state.value}."
    if job.state is JobState.STOPPED and job.attempt_id != action.attempt_id:
        return False, f"{job.name} stopped right after its start."
    if job.state is not JobState.RUNNING or not job.nodes:
        return None, f"{job.name} is {job.state.value}."
    missing = sorted(set(action.nodes) - set(job.nodes))
    if missing:
        return None, f"{job.name} has no worker yet on {', '.join(missing)}."
    if stray := sorted(set(job.nodes) - set(action.nodes)):
        return False, f"{job.name} runs on {', '.join(stray)}, where it was not placed."
    return True, f"{job.name} runs on {', '.join(job.nodes)}."


def _job_running(effect: Effect, action: JobRequeue, snapshot: Snapshot) -> tuple[bool | None, str]:
    job = snapshot.jobs.get(action.job)
    if job is None:
        return None, f"Ray does not list {action.job}."
    if job.state in (JobState.SUCCEEDED, JobState.CANCELLED):
        return True, f"{job.name} {job.state.value}."
    if job.attempt_id == action.attempt_id or job.state is JobState.WAITING:
        return None, f"{job.name} waits for its new attempt."
    if job.state is JobState.STOPPED:
        return False, f"{job.name} stopped again."
    wanted = _number(effect.detail)
    if job.step is None:
        return None, f"{job.name} runs; it has not reported a step yet."
    if wanted is not None and job.step < wanted:
        return None, f"{job.name} runs at step {job.step}; its checkpoint was at {wanted}."
    origin = f", from its checkpoint at {wanted}" if wanted is not None else ""
    return True, f"{job.name} runs again at step {job.step}{origin}."


def _worse(
    action: Action,
    snapshot: Snapshot,
    since: datetime | None,
    impact: Impact | None,
    ill_before: Callable[[str], bool],
) -> str:
    """Harm that the action does not explain. A job that stopped with a node which is itself out
    is that node's loss; a job that stopped on healthy nodes is counted against us."""
    if impact is None or since is None:
        return ""
    lost = _neighbours_lost(action, snapshot, since, impact)
    fell = [name for name in lost if not ill_before(name)]
    if len(fell) >= (2 if kind_of(action) in _SPARES_THE_LIVING else 1):
        return f"{', '.join(fell)} went out right after it, near its node."
    if kind_of(action) in _SPARES_THE_LIVING or isinstance(action, NodeCordon):
        return ""  # a gang that ends now ended with what came before: Ray tells it seconds late
    touched = {node_of(action)} | set(impact.nodes)
    for job in snapshot.jobs.values():
        if job.state is not JobState.STOPPED or job.state_since <= since:
            continue
        if job.name in impact.jobs or job.name == getattr(action, "job", ""):
            continue
        if job.nodes and set(job.nodes) & touched:
            return f"{job.name} stopped, and was not meant to."
    return ""


def _neighbours_lost(
    action: Action, snapshot: Snapshot, since: datetime, impact: Impact
) -> list[str]:
    """Nodes that died soon after the action, share a rack or NVLink domain with its node (the
    pool, where neither is known), and are behind no fence of ours."""
    node = snapshot.nodes.get(node_of(action))
    if node is None or not impact.nodes or (snapshot.at - since).total_seconds() > 2 * HARM_S:
        return []
    near = {k: v for k, v in node.domains().items() if k in _NEAR} or {"pool": node.pool}
    return sorted(
        other.name
        for other in snapshot.not_alive
        if other.ray_state is RayState.DEAD
        and other.name not in impact.nodes
        and other.name not in snapshot.fences
        and 0.0 < (other.ray_state_since - since).total_seconds() <= HARM_S
        and any(getattr(other, kind) == name for kind, name in near.items())
    )


def _serving(snapshot: Snapshot, pool: str) -> int:
    return sum(
        n.pool == pool and n.ray_state is RayState.ALIVE and not n.control_path
        for n in snapshot.nodes.values()
    )


def _number(detail: str) -> int | None:
    digits = detail.rpartition(">=")[2]
    return int(digits) if digits.isdigit() else None
