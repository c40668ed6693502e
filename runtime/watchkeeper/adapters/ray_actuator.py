"""Effects that Ray itself can carry out: fence, drain, check, requeue, hide a GPU.

Asked only by the executor. Each effect runs at most once per key, refuses a stale fencing token,
another cluster and another GCS session, and names the incarnation it means.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from watchkeeper.adapters.ray_admission import Admission
from watchkeeper.adapters.ray_cluster import CHECK, KEPT
from watchkeeper.adapters.ray_door import RayDoor
from watchkeeper.adapters.ray_fence import Fences
from watchkeeper.adapters.ray_fold import CheckMark, newest
from watchkeeper.adapters.ray_gcs import MARKS, Gcs, NodeRow
from watchkeeper.adapters.ray_jobs import (
    DRIVER_BLOCKED,
    JobApi,
    Submission,
    latest_attempts,
    parse_submissions,
)
from watchkeeper.adapters.ray_marks import once
from watchkeeper.adapters.ray_names import hold_name, selector_for
from watchkeeper.adapters.ray_queue import ENDED
from watchkeeper.core.action import (
    CheckRun,
    GpuQuarantine,
    JobPlace,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeUncordon,
    kind_of,
    say,
)
from watchkeeper.core.cluster import JobState
from watchkeeper.core.errors import (
    ClusterUnavailable,
    EffectFailed,
    EffectInDoubt,
    WatchkeeperError,
)
from watchkeeper.core.ports import EffectOrder, Receipt

_CHECK_S = 60.0
_HOLD_S = 40.0


class RayActuator:
    """An `Actuator` for one Ray cluster.

    address: GCS `host:port`. cluster: our id for it; orders for another are refused. job_api: URL
    of the job REST API, or None: then no action on jobs is served. terminate: ends a raylet by
    force when a drain's deadline has passed (a provider's), or None. check_gpus: on at most how
    many of the node's GPUs a check runs; None: on every one that is behind the fence or free.
    """

    name = "ray"

    def __init__(
        self,
        address: str,
        *,
        cluster: str,
        job_api: str | None,
        door: RayDoor | None = None,
        terminate: Callable[[EffectOrder], Receipt] | None = None,
        check_gpus: int | None = None,
    ) -> None:
        self._gcs = Gcs(address)
        self._cluster = cluster
        self._jobs = JobApi(job_api) if job_api else None
        self._door = door or RayDoor(address)
        self._terminate = terminate
        self._check_gpus = check_gpus
        self.fences = Fences(self._gcs, self._door)
        self.admission = (
            Admission(self._gcs, self._door, self._jobs) if self._jobs is not None else None
        )

    @property
    def serves(self) -> frozenset[str]:
        """What this cluster lets us do through Ray."""
        kinds = {"node.cordon", "node.uncordon", "node.drain", "check.run", "gpu.quarantine"}
        of_jobs = {"job.requeue", "job.place", "job.preempt"}
        return frozenset(kinds | (of_jobs if self._jobs else set()))

    def execute(self, order: EffectOrder) -> Receipt:
        """Begin one effect. Errors as in `core.ports.Actuator`."""
        return once(order, self._gcs, self._cluster, self.name, lambda: self._act(order))

    def enforce(self, order: EffectOrder) -> Receipt:
        """End the raylet of a drain whose deadline has passed."""
        action = order.action
        if not isinstance(action, NodeDrain):
            raise EffectFailed(f"There is nothing to enforce about {kind_of(action)}.")
        if self._terminate is None:
            raise EffectFailed(
                f"No provider here can end the raylet of {action.node}; Ray does not enforce its "
                "own drain deadline."
            )
        terminate = self._terminate
        return once(
            order,
            self._gcs,
            self._cluster,
            self.name,
            lambda: terminate(order).text,
            step="enforce",
        )

    def close(self) -> None:
        """End the driver child and give the connection back. Fences stay."""
        self._door.close()
        self._gcs.close()

    def _act(self, order: EffectOrder) -> str:
        match order.action:
            case NodeCordon() as action:
                self._living(action.node, action.incarnation)
                self.fences.raise_on(action.node, order.token)
                held, wanted = self._sealed(action.node)
                return f"The fence on {action.node} holds {held} of {wanted} GPUs so far."
            case NodeUncordon() as action:
                lifted = self.fences.lift(action.node)
                return f"Lifted the fence on {action.node}: {lifted} GPUs given back."
            case NodeDrain() as action:
                return self._drain(action, order)
            case CheckRun() as action:
                return self._check(action, order)
            case GpuQuarantine() as action:
                return self._hide(action, order)
            case JobRequeue() as action:
                return self._requeue(action)
            case JobPlace() as action if self.admission is not None:
                return self.admission.place(action)
            case JobPreempt() as action if self.admission is not None:
                return self.admission.preempt(action)
            case other:
                raise EffectFailed(f"Ray cannot do this: {say(other)}.")

    def _living(self, node: str, incarnation: str) -> NodeRow:
        row = newest(self._gcs.nodes()).get(node)
        if row is None:
            raise EffectFailed(f"Ray never saw a node called {node}.")
        if row.node_id != incarnation:
            raise EffectFailed(
                f"{node} is another raylet now ({row.node_id[:8]}, not {incarnation[:8]})."
            )
        if not row.alive:
            raise EffectFailed(f"{node} is dead, so this cannot be done to it.")
        return row

    def _sealed(self, node: str, wait_s: float = 1.0) -> tuple[int, int]:
        """(held, wanted) once the free GPUs had time to be claimed."""
        end = time.monotonic() + wait_s
        while True:
            wanted, held = len(self.fences.groups(node)), len(self.fences.held(node))
            if held >= wanted or time.monotonic() > end:
                return held, wanted
            time.sleep(0.05)

    def _drain(self, action: NodeDrain, order: EffectOrder) -> str:
        row = self._living(action.node, action.incarnation)
        if row.head:
            raise EffectFailed(f"{action.node} is the head node; Ray ends with it.")
        deadline = time.time() + action.deadline_s
        refused = self._gcs.drain(row.node_id, f"watchkeeper {order.key}", deadline)
        if refused:
            raise EffectFailed(f"Ray refused to drain {action.node}: {refused}")
        self.fences.reseat(action.node, order.token)
        return f"{action.node} takes no new work; it has {action.deadline_s:g} s to finish."

    # --- check ---------------------------------------------------------------------------------

    def _check(self, action: CheckRun, order: EffectOrder) -> str:
        row = self._living(action.node, action.incarnation)
        groups = [group.name for group in self.fences.held(action.node)][: self._check_gpus]
        use = self._gcs.usage().nodes.get(row.node_id) if not groups else None
        idle = use is not None and use.available.get("GPU", 0.0) >= row.total.get("GPU", 0) > 0
        free = int(row.total.get("GPU", 0))
        gpus = len(groups) or (free if self._check_gpus is None else min(free, self._check_gpus))
        if not groups and not idle:
            raise EffectFailed(
                f"{action.node} is neither fenced nor idle, so a check there could meet other "
                "work. Cordon it first."
            )
        now = time.time()
        mark = CheckMark(
            node=action.node,
            incarnation=action.incarnation,
            key=order.key,
            passed=None,
            detail="The check is running.",
            ends_by=now + _CHECK_S + 15,
            at=now,
        )
        self._mark(mark)
        threading.Thread(target=self._run_check, args=(mark, groups, gpus), daemon=True).start()
        return f"The check of {action.node} runs on {gpus} of its GPUs."

    def _run_check(self, mark: CheckMark, groups: list[str], gpus: int) -> None:
        try:
            found = self._door.call(
                "run_check",
                _CHECK_S + 10,
                groups=groups,
                timeout_s=_CHECK_S,
                node_id=mark.incarnation,
                gpus=gpus,
            )
            elsewhere = found.get("node_id", mark.incarnation) != mark.incarnation
            passed = bool(found["passed"]) and not elsewhere
            detail = "It ran on another raylet than asked." if elsewhere else str(found["detail"])
        except WatchkeeperError as err:
            passed, detail = False, f"The check could not be run: {err}"
        try:
            self._mark(msgspec.structs.replace(mark, passed=passed, detail=detail))
        except ClusterUnavailable:
            # Ray is gone, and the mark with it: nobody will read this result.
            return

    def _mark(self, mark: CheckMark) -> None:
        self._gcs.kv_put(MARKS, CHECK + mark.node.encode(), msgspec.json.encode(mark))

    # --- one GPU -------------------------------------------------------------------------------

    def _hide(self, action: GpuQuarantine, order: EffectOrder) -> str:
        row = self._living(action.node, action.incarnation)
        total = int(row.total.get("GPU", 0))
        if not 0 <= action.gpu < total:
            raise EffectFailed(f"{action.node} has no GPU {action.gpu}; it has {total}.")
        use = self._gcs.usage().nodes.get(row.node_id)
        free = int(use.available.get("GPU", 0.0)) if use else 0
        names = [hold_name(action.node, order.key, i) for i in range(free)]
        found = {}
        if free:
            found = self._door.call(
                "hold_gpu",
                _HOLD_S + 15,
                gpu=action.gpu,
                free=free,
                names=names,
                selector=selector_for(row.labels, action.node, row.node_id),
                timeout_s=_HOLD_S,
            )
        if not found.get("actor_id"):
            raise EffectFailed(
                f"GPU {action.gpu} on {action.node} is in use, and Ray cannot move what runs on "
                "it. Drain the node first."
            )
        self._gcs.kv_put(MARKS, KEPT + str(found["actor_id"]).encode(), action.node.encode())
        return f"GPU {action.gpu} on {action.node} is held by us; Ray gives it to nobody else."

    # --- jobs ----------------------------------------------------------------------------------

    def _requeue(self, action: JobRequeue) -> str:
        assert self._jobs is not None
        if action.before is not None:
            # The gang's own program picks its checkpoint: we would start it on what is not trusted.
            raise EffectFailed(
                f"Ray cannot start {action.job} from a checkpoint of before {action.before}; its "
                "owner must choose one. Nothing was submitted."
            )
        subs, _ = parse_submissions(self._gcs.submissions())
        latest = latest_attempts(subs).get(action.job)
        if latest is None:
            raise EffectFailed(DRIVER_BLOCKED)
        ended = next((sub for sub in subs if sub.id == action.attempt_id), None)
        if ended is None:
            raise EffectFailed(f"Ray knows no attempt {action.attempt_id} of {action.job}.")
        if latest.id != ended.id:
            if latest.attempt == ended.attempt + 1:
                return f"{action.job} was submitted again already, as {latest.id}."
            raise EffectFailed(f"{action.attempt_id} is history; {latest.id} came after it.")
        self._refuse_unfit(ended)
        ident = self._jobs.submit(ended.request(ended.attempt + 1))
        return f"Submitted {action.job} again as {ident}."

    def _refuse_unfit(self, sub: Submission) -> None:
        ours = self._gcs.kv_get(MARKS, ENDED + sub.name.encode()) == sub.id.encode()
        if sub.state is not JobState.STOPPED and not (ours and sub.state is JobState.CANCELLED):
            raise EffectFailed(f"{sub.name} did not stop by itself: it is {sub.status.lower()}.")
        if sub.blocked():
            raise EffectFailed(sub.blocked())
        env = msgspec.json.decode(sub.runtime_env_json or "{}")
        for uri in [env.get("working_dir"), *(env.get("py_modules") or [])]:
            if str(uri).startswith("gcs://") and self._gcs.kv_get(b"", str(uri).encode()) is None:
                raise EffectFailed(f"Its uploaded files ({uri}) are no longer in the cluster.")


__all__ = ["EffectInDoubt", "RayActuator"]
