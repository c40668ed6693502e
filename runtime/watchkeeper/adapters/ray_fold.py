"""What one reading of the GCS means: rows in, the words of the core out. Pure.

Asked by `ray_cluster`. Our own drivers, fences, holders and collectors are never counted as
somebody's work or demand.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from watchkeeper.adapters.gang_progress import Progress
from watchkeeper.adapters.ray_gcs import ActorRow, DriverRow, GroupRow, NodeRow, Usage, UseRow
from watchkeeper.adapters.ray_jobs import (
    DRIVER_BLOCKED,
    JOB,
    Submission,
    job_of,
    latest_attempts,
)
from watchkeeper.adapters.ray_names import (
    HIDDEN,
    LEAF,
    NAMESPACE,
    NVLINK,
    POOL,
    POWER_FEED,
    RACK,
    ROLE,
    ZONE,
    parse_fence,
    parse_seats,
    stable_name,
)
from watchkeeper.adapters.ray_queue import Asked, held_job, shaped, waits_again
from watchkeeper.core.cluster import (
    CheckResult,
    Fence,
    Job,
    JobState,
    Node,
    PoolDemand,
    RayState,
)
from watchkeeper.core.word import Word, utc

DEFAULT_POOL = "default"
CONTROL_POOL = "control"
_WAITING_GROUP = ("pending", "rescheduling")


class CheckMark(Word, frozen=True):
    """A check as noted in the cluster while it runs and when it ended. ends_by: epoch seconds
    after which a check without a result has failed. at: epoch seconds of its beginning."""

    node: str
    incarnation: str
    key: str
    passed: bool | None
    detail: str
    ends_by: float
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """One reading, raw. `processes` is None where no provider can tell; `kept` are the actor ids
    that hold a GPU on purpose; `died_with_node` are ended driver jobs that lost a node. `held`:
    gangs that wait for our admission, by name; `ended`: job -> its attempt that we ended at once.
    """

    now: datetime
    nodes: Sequence[NodeRow]
    draining: frozenset[str]
    usage: Usage
    actors: Sequence[ActorRow]
    groups: Sequence[GroupRow]
    drivers: Sequence[DriverRow]
    submissions: Sequence[Submission] = ()
    kept: frozenset[str] = frozenset()
    checks: Sequence[CheckMark] = ()
    processes: Mapping[str, bool] | None = None
    died_with_node: frozenset[str] = frozenset()
    progress: Callable[[str], Progress | None] = lambda _: None
    held: Mapping[str, Asked] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)


def name_of(row: NodeRow) -> str:
    """The stable name behind which this raylet runs."""
    return stable_name(row.labels, row.hostname, row.address, row.node_id)


def newest(rows: Sequence[NodeRow]) -> dict[str, NodeRow]:
    """Stable name -> its newest incarnation. A living one is newer than any dead one."""
    found: dict[str, NodeRow] = {}
    for row in rows:
        other = found.get(name_of(row))
        if other is None or (row.alive, row.started) > (other.alive, other.started):
            found[name_of(row)] = row
    return found


def fold_nodes(rows: Rows, since: Callable[[str, RayState], datetime]) -> dict[str, Node]:
    """Every name ever seen, with its newest raylet. `since` remembers when a drain was seen."""
    hidden: dict[str, set[int]] = defaultdict(set)
    for actor in rows.actors:
        if actor.actor_id in rows.kept:
            hidden[actor.node_id].update(actor.gpu_ids)
    fenced = Counter(
        bundle.node_id
        for group in rows.groups
        if group.namespace == NAMESPACE and parse_fence(group.name) and group.state == "created"
        for bundle in group.bundles
    )
    seated: dict[str, float] = defaultdict(float)
    for group in rows.groups:
        if group.namespace == NAMESPACE and group.state == "created" and parse_seats(group.name):
            for bundle in group.bundles:
                seated[bundle.node_id] += bundle.gpus
    nodes = {}
    for name, row in sorted(newest(rows.nodes).items()):
        labels = dict(row.labels)
        if not row.alive:
            state, at = RayState.DEAD, utc(row.ended)
        elif row.draining or row.node_id in rows.draining:
            state, at = RayState.DRAINING, since(row.node_id, RayState.DRAINING)
        else:
            state, at = RayState.ALIVE, utc(row.started)
        use = rows.usage.nodes.get(row.node_id)
        held = {int(i) for i in labels.get(HIDDEN, "").split(".") if i.isdecimal()}
        alive = None if rows.processes is None else rows.processes.get(name)
        control = row.head or labels.get(ROLE) == "head"
        nodes[name] = Node(
            name=name,
            incarnation=row.node_id,
            pool=labels.get(POOL) or (CONTROL_POOL if control else DEFAULT_POOL),
            ray_state=state,
            ray_state_since=at,
            gpus=int(row.total.get("GPU", 0)) + len(held),
            gpus_free=_free(row, use, fenced[row.node_id] + seated[row.node_id]),
            cpus=row.total.get("CPU", 0.0),
            process_gone=None if alive is None else not alive,
            control_path=control,
            rack=labels.get(RACK, ""),
            leaf=labels.get(LEAF, ""),
            power_feed=labels.get(POWER_FEED, ""),
            nvlink_domain=labels.get(NVLINK, ""),
            zone=labels.get(ZONE, ""),
            hidden_gpus=tuple(sorted(held | hidden[row.node_id])),
            labels=labels,
        )
    return nodes


def _free(row: NodeRow, use: UseRow | None, fenced: float) -> float:
    """GPUs free for work. Ray's view of what is available lags by a heartbeat; what our fences
    and the seats of gangs hold is known at once."""
    if use is None or not row.alive:
        return 0.0
    return max(0.0, min(use.available.get("GPU", 0.0), row.total.get("GPU", 0.0) - fenced))


def fold_fences(rows: Rows) -> dict[str, Fence]:
    """Node name -> its fence: how many of its one-GPU groups hold a GPU of a living raylet."""
    alive = {row.node_id for row in rows.nodes if row.alive}
    wanted: Counter[str] = Counter()
    held: Counter[str] = Counter()
    token: dict[str, int] = {}
    for group in rows.groups:
        mine = parse_fence(group.name) if group.namespace == NAMESPACE else None
        if mine is None:
            continue
        node = mine[0]
        token[node] = max(token.get(node, 0), mine[1])
        wanted[node] += 1
        held[node] += group.state == "created" and group.bundles[0].node_id in alive
    return {
        node: Fence(
            name=f"wk-fence-{node}-{token[node]}",
            node=node,
            token=token[node],
            held=held[node],
            wanted=wanted[node],
        )
        for node in sorted(wanted)
    }


def fold_checks(rows: Rows) -> dict[str, CheckResult]:
    """Node name -> its last check. One that never reported in time has failed."""
    found = {}
    for mark in rows.checks:
        late = mark.passed is None and rows.now.timestamp() > mark.ends_by
        found[mark.node] = CheckResult(
            node=mark.node,
            incarnation=mark.incarnation,
            key=mark.key,
            passed=False if late else mark.passed,
            detail="The check did not report in time." if late else mark.detail,
            at=None if mark.at is None else datetime.fromtimestamp(mark.at, UTC),
        )
    return found


def ours(namespace: str) -> bool:
    """Watchkeeper's own, or Ray's own."""
    return namespace == NAMESPACE or namespace.startswith("_ray_internal")


def driver_job_names(rows: Rows) -> dict[str, str]:
    """Ray's driver job id -> the name of the Job it belongs to."""
    by_submission = {sub.id: sub.name for sub in rows.submissions}
    return {
        driver.job_id: by_submission.get(driver.submission_id)
        or driver.metadata.get(JOB)
        or f"driver-{driver.job_id}"
        for driver in rows.drivers
        if not ours(driver.namespace)
    }


def fold_jobs(rows: Rows, nodes: Mapping[str, Node]) -> dict[str, Job]:
    """Every job by name: the newest attempt of each submission, and plain drivers."""
    latest = latest_attempts(rows.submissions)
    jobs = {name: _ended_by_us(shaped(sub, job_of(sub)), rows) for name, sub in latest.items()}
    attempt_of = {d.job_id: d.submission_id for d in rows.drivers}
    names = driver_job_names(rows)
    for driver in rows.drivers:
        name = names.get(driver.job_id)
        if name is not None and not driver.submission_id and name not in jobs:
            jobs[name] = _plain_driver(driver, name, driver.job_id in rows.died_with_node)
    current = {
        job_id
        for job_id, name in names.items()
        if name in jobs and attempt_of[job_id] in ("", jobs[name].attempt_id)
    }
    by_incarnation = {node.incarnation: name for name, node in nodes.items()}
    held: dict[str, float] = defaultdict(float)
    pending: dict[str, float] = defaultdict(float)
    largest: dict[str, float] = {}
    on: dict[str, set[str]] = defaultdict(set)
    pools: dict[str, str] = {}
    seats: dict[str, set[str]] = defaultdict(set)
    for group, name in _whose(rows.groups, {job_id: names[job_id] for job_id in current}, jobs):
        waits = group.state in _WAITING_GROUP
        for bundle in group.bundles:
            held[name] += bundle.gpus
            if waits:
                pending[name] += bundle.gpus
                largest[name] = max(largest.get(name, 0.0), bundle.gpus)
            pools.setdefault(name, bundle.labels.get(POOL, ""))
            if not waits and group.namespace == NAMESPACE and bundle.node_id in by_incarnation:
                seats[name].add(by_incarnation[bundle.node_id])
    for actor in rows.actors:
        if actor.job_id not in current or actor.node_id not in by_incarnation:
            continue
        name = names[actor.job_id]
        if not actor.group_id:
            held[name] += actor.required.get("GPU", 0.0)
        if actor.gpu_ids or actor.group_id or actor.required.get("GPU"):
            on[name].add(by_incarnation[actor.node_id])
    found = {
        name: _filled(
            job,
            rows,
            nodes,
            gpus=float(held[name]),
            pending=float(pending[name]),
            largest=largest.get(name, 0.0),
            # Its workers come seconds after its seats: until then it is where these are, or its
            # tenant would seem to hold nothing, and the next gang of theirs pass any quota.
            on=tuple(sorted(on[name] or seats[name])),
            pool=pools.get(name, ""),
        )
        for name, job in sorted(jobs.items())
    }
    for name, asked in rows.held.items():
        last = found.get(name)
        if last is None or waits_again(last, asked):
            found[name] = held_job(asked, rows.progress(name), last)
    return found


def _whose(
    groups: Sequence[GroupRow], drivers: Mapping[str, str], jobs: Mapping[str, Job]
) -> Iterator[tuple[GroupRow, str]]:
    """Each placement group of a job, with the job's name: its driver's own, or seats of ours."""
    attempts = {job.attempt_id: name for name, job in jobs.items()}
    for group in groups:
        seats = parse_seats(group.name) if group.namespace == NAMESPACE else None
        if seats is not None and seats[1] in attempts:
            yield group, attempts[seats[1]]
        elif group.job_id in drivers:
            yield group, drivers[group.job_id]


def _ended_by_us(job: Job, rows: Rows) -> Job:
    """Ray says stopped by its owner; it was us, so it wants to run, and does not."""
    if job.state is JobState.CANCELLED and rows.ended.get(job.name) == job.attempt_id:
        return msgspec.structs.replace(job, state=JobState.STOPPED)
    return job


def _plain_driver(driver: DriverRow, name: str, lost_node: bool) -> Job:
    """A job without a submission. Ray does not keep how a driver ended; one that lost an actor
    with its node wants to run and does not, any other has simply ended."""
    state = JobState.RUNNING
    if driver.dead:
        state = JobState.STOPPED if lost_node else JobState.SUCCEEDED
    return Job(
        name=name,
        attempt_id=driver.job_id,
        state=state,
        state_since=utc(driver.ended if driver.dead else driver.started),
        tenant=driver.metadata.get("tenant", ""),
        requeue_blocked=DRIVER_BLOCKED,
        metadata=dict(driver.metadata),
    )


def _filled(
    job: Job,
    rows: Rows,
    nodes: Mapping[str, Node],
    *,
    gpus: float,
    pending: float,
    largest: float,
    on: tuple[str, ...],
    pool: str,
) -> Job:
    """The job with what it holds, what it waits for and how far it has come."""
    report = rows.progress(job.name)
    state = job.state
    if state is JobState.RUNNING and pending:
        state = JobState.WAITING
    live = state in (JobState.RUNNING, JobState.WAITING)
    total = gpus or job.gpus
    if not total and report is not None:
        total = float(sum(len(ids) for ids in report.nodes.values()))
    pool = job.pool or pool
    if not pool and on:
        pool = nodes[on[0]].pool
    return msgspec.structs.replace(
        job,
        state=state,
        pool=pool,
        gpus=total,
        pending_gpus=pending,
        pending_bundle_gpus=largest,
        nodes=on if live else (),
        step=report.step if report else None,
        step_at=utc(report.step_at) if report else None,
        checkpoint_step=report.checkpoint_step if report else None,
        checkpoint_at=utc(report.checkpoint_at) if report and report.checkpoint_at else None,
    )


def fold_demand(
    rows: Rows, nodes: Mapping[str, Node], fences: Mapping[str, Fence], jobs: Mapping[str, Job]
) -> tuple[PoolDemand, ...]:
    """Queue and use per pool, in GPUs, without our own fences and holders."""
    pools = sorted({node.pool for node in nodes.values() if not node.control_path and node.gpus})
    workers = {pool: [n for n in nodes.values() if n.pool == pool] for pool in pools}
    home = pools[0] if len(pools) == 1 else DEFAULT_POOL
    names = driver_job_names(rows)
    running: dict[str, float] = defaultdict(float)
    waiting: dict[str, float] = defaultdict(float)
    blocked: dict[str, str] = {}
    nowhere: dict[str, bool] = defaultdict(bool)
    held = Counter({node: fence.held for node, fence in fences.items()})
    sitting = Counter(a.node_id for a in rows.actors if a.namespace == NAMESPACE and a.gpu_ids)
    for node in nodes.values():
        use = rows.usage.nodes.get(node.incarnation)
        if use is not None and node.ray_state is not RayState.DEAD:
            used = use.total.get("GPU", 0.0) - use.available.get("GPU", 0.0)
            extra = used - held[node.name] - sitting[node.incarnation]
            running[node.pool] += max(0.0, extra)
    for group in rows.groups:
        gpus = [b.gpus for b in group.bundles]
        if ours(group.namespace) or group.state not in _WAITING_GROUP or not sum(gpus):
            continue
        name = names.get(group.job_id, "")
        pool = group.bundles[0].labels.get(POOL) or (jobs[name].pool if name in jobs else "")
        pool = pool or home
        waiting[pool] += sum(gpus)
        if not _fits(group, workers.get(pool, [])):
            nowhere[pool] = True
            blocked[pool] = name
        else:
            blocked.setdefault(pool, name)
    for job in [job for job in jobs.values() if job.held]:
        pool = job.pool or home
        waiting[pool] += job.pending_gpus
        if not _holds(job, workers.get(pool, [])):
            nowhere[pool] = True
            blocked[pool] = job.name
        else:
            blocked.setdefault(pool, job.name)
    for wait in rows.usage.waiting:
        if not wait.gpus:
            continue
        pool = wait.labels.get(POOL) or home
        waiting[pool] += wait.gpus * wait.count
        if not any(len(_usable(n)) >= wait.gpus for n in workers.get(pool, [])):
            nowhere[pool] = True
    return tuple(
        PoolDemand(
            pool=pool,
            total_gpus=float(
                sum(len(_usable(n)) for n in workers.get(pool, []) if n.ray_state is RayState.ALIVE)
            ),
            running_gpus=float(running[pool]),
            pending_gpus=float(waiting[pool]),
            waiting_jobs=sum(
                j.pool in (pool, "") and j.state is JobState.WAITING for j in jobs.values()
            ),
            fits_nowhere=nowhere[pool],
            blocked_job=blocked.get(pool, ""),
        )
        for pool in sorted({*pools, *waiting})
    )


def _usable(node: Node) -> range:
    """The GPUs of a node that work could ever get, as a range of that length."""
    return range(max(0, node.gpus - len(node.hidden_gpus)))


def _holds(job: Job, workers: Sequence[Node]) -> bool:
    """The pool's nodes, all in service and empty, could hold this gang, if with its fewest."""
    room = sum(int(len(_usable(node)) / job.pending_bundle_gpus) for node in workers)
    return room >= (job.least or job.workers)


def _fits(group: GroupRow, workers: Sequence[Node]) -> bool:
    """The pool's nodes, all back in service and empty, could hold this group. A dead node counts:
    its loss is repaired, not scaled away."""
    room = sorted((len(_usable(node)) for node in workers), reverse=True)
    bundles = sorted((b.gpus for b in group.bundles), reverse=True)
    if group.strategy == "STRICT_PACK":
        return bool(room) and room[0] >= sum(bundles)
    if group.strategy == "STRICT_SPREAD":
        return len(room) >= len(bundles) and all(
            have >= want for have, want in zip(room, bundles, strict=False)
        )
    left = [float(have) for have in room]
    for want in bundles:
        for index, have in enumerate(left):
            if have >= want:
                left[index] = have - want
                break
        else:
            return False
    return True
