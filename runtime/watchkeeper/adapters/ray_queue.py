"""Gangs that wait before Ray: submitted to us, or preempted by us, and not running.

Ray has no queue that can be ordered and none that holds a gang whole: a driver that started waits
inside its own placement group, and who comes first is chance. So a gang is kept in the GCS
key-value store until its seats are taken, and only then handed to Ray's job API. What is kept ends
with the session, as all of Ray's own jobs do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from watchkeeper.adapters.gang_progress import Progress
from watchkeeper.adapters.ray_gcs import MARKS, Gcs, GroupRow
from watchkeeper.adapters.ray_jobs import ATTEMPT, JOB, POOL, Submission, job_of
from watchkeeper.adapters.ray_names import POOL as POOL_LABEL
from watchkeeper.core.action import check_name
from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.errors import Malformed
from watchkeeper.core.word import utc

QUEUE = b"queue/"
ENDED = b"ended/"
"""Before a job's name: the attempt that we ended at once, which its owner did not."""

SEATS_ENV = "WATCHKEEPER_SEATS"
"""In the driver's environment: the id of the placement group that is its seats, as hex."""
NODES_ENV, WORKERS_ENV = "WATCHKEEPER_NODES", "WATCHKEEPER_WORKERS"
STOP_WAIT_ENV = "RAY_JOB_STOP_WAIT_TIME_S"
"""Ray's own: how long a job has, between SIGTERM and SIGKILL, to save what it did."""

SAVE_S = 30


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One gang as it was asked for. Times are epoch seconds.

    workers of `gpus` GPUs each, of which it runs with `least` (0: all). attempt: the newest that
    ran, 0 before the first; attempt_id: its submission id. seats: its program takes the seats we
    hand it; else Ray seats it once more. preempted: we stopped it, and it waits to go on.
    """

    name: str
    entrypoint: str
    workers: int
    gpus: float
    at: float
    pool: str = ""
    least: int = 0
    within: str = ""
    near: str = ""
    tenant: str = ""
    priority: int = 0
    runtime_s: float | None = None
    preemptible: bool = True
    attempt: int = 0
    attempt_id: str = ""
    seats: bool = True
    preempted: bool = False
    runtime_env: dict[str, Any] = {}
    metadata: dict[str, str] = {}

    def job(self) -> Job:
        """The gang as it waits."""
        return Job(
            name=self.name,
            attempt_id=self.attempt_id or f"{self.name}-a0",
            state=JobState.WAITING,
            state_since=utc(self.at),
            attempt=self.attempt,
            tenant=self.tenant,
            priority=self.priority,
            pool=self.pool,
            gpus=self.gpus * self.workers,
            pending_gpus=self.gpus * self.workers,
            pending_bundle_gpus=self.gpus,
            metadata=dict(self.metadata),
            held=True,
            workers=self.workers,
            least=self.least,
            within=self.within,
            near=self.near,
            runtime_s=self.runtime_s,
            preemptible=self.preemptible,
        )

    def request(self, seats: str, nodes: Iterable[str], workers: int) -> dict[str, Any]:
        """The body for Ray's job API. seats: id of its placement group, "" where it takes none."""
        told = {NODES_ENV: ",".join(nodes), WORKERS_ENV: str(workers)}
        if seats:
            told[SEATS_ENV] = seats
        variables = {STOP_WAIT_ENV: str(SAVE_S), **self.runtime_env.get("env_vars", {}), **told}
        number = self.attempt + 1
        return {
            "entrypoint": self.entrypoint,
            "submission_id": f"{self.name}-a{number}",
            "runtime_env": {**self.runtime_env, "env_vars": variables},
            "metadata": {
                **self.metadata,
                **shape_of(self),
                JOB: self.name,
                ATTEMPT: str(number),
                POOL: self.pool,
                "tenant": self.tenant,
                "priority": str(self.priority),
            },
        }


SHAPE = "watchkeeper.shape"
"""In a submission's metadata: the gang's shape as JSON, so that it can be asked for again."""

_KEPT = ("workers", "gpus", "least", "within", "near", "runtime_s", "preemptible", "seats")


def shape_of(asked: Asked) -> dict[str, str]:
    """The shape as one metadata entry."""
    values = {name: getattr(asked, name) for name in _KEPT}
    return {SHAPE: msgspec.json.encode(values).decode()}


def parse_asked(body: Mapping[str, Any]) -> Asked:
    """What somebody asks for, checked. Raises Malformed, with what is wrong."""
    try:
        asked = msgspec.convert(dict(body), Asked)
        check_name(asked.name, "name")
    except (msgspec.ValidationError, ValueError) as err:
        raise Malformed(f"not a gang: {err}") from err
    if not asked.entrypoint.strip():
        raise Malformed(f"{asked.name} has no entrypoint: say what is to run")
    if not (1 <= asked.workers <= 10_000 and 0 < asked.gpus <= 256):
        raise Malformed(f"{asked.name}: workers must be 1 to 10000, and gpus above 0, at most 256")
    if not 0 <= asked.least <= asked.workers:
        raise Malformed(f"{asked.name}: least must be between 0 and its {asked.workers} workers")
    return asked


def shaped(sub: Submission, job: Job) -> Job:
    """A running job with the shape that its metadata keeps; as it is where there is none."""
    raw = (sub.metadata or {}).get(SHAPE)
    if raw is None:
        return job
    try:
        shape = msgspec.json.decode(raw, type=dict[str, Any])
        known = msgspec.convert(
            {"name": sub.name, "entrypoint": "-", "at": 0.0, **shape}, Asked, strict=True
        )
    except (msgspec.MsgspecError, ValueError):
        return job
    return msgspec.structs.replace(
        job,
        workers=known.workers,
        least=known.least,
        within=known.within,
        near=known.near,
        runtime_s=known.runtime_s,
        preemptible=known.preemptible,
    )


def asked_again(sub: Submission, groups: Iterable[GroupRow], at: float) -> Asked | None:
    """A running submission as a gang that waits to go on; None where nobody can tell its shape:
    it has no placement group, and says nothing of itself. groups: its own."""
    metadata = dict(sub.metadata or {})
    metadata.pop("job_submission_id", None)
    raw = metadata.pop(SHAPE, None)
    job = job_of(sub)
    values: dict[str, Any] = {}
    if raw is not None:
        values = msgspec.json.decode(raw, type=dict[str, Any])
    else:
        bundles = [b.gpus for g in groups for b in g.bundles if b.gpus]
        if not bundles and not job.gpus:
            return None
        sizes = bundles or [job.gpus]
        values = {"workers": len(sizes), "gpus": max(sizes), "seats": False}
    return msgspec.convert(
        {
            **values,
            "name": sub.name,
            "entrypoint": sub.entrypoint,
            "at": at,
            "pool": job.pool or _pool(groups),
            "tenant": job.tenant,
            "priority": job.priority,
            "attempt": sub.attempt,
            "attempt_id": sub.id,
            "preempted": True,
            "runtime_env": msgspec.json.decode(sub.runtime_env_json or "{}"),
            "metadata": metadata,
        },
        Asked,
    )


def _pool(groups: Iterable[GroupRow]) -> str:
    labels = (b.labels.get(POOL_LABEL, "") for g in groups for b in g.bundles)
    return next((label for label in labels if label), "")


def waits_again(last: Job, asked: Asked) -> bool:
    """What is kept is about this attempt, and that has ended."""
    over = last.state not in (JobState.RUNNING, JobState.WAITING)
    return over and last.attempt_id == asked.attempt_id and last.state is not JobState.SUCCEEDED


def held_job(asked: Asked, report: Progress | None, last: Job | None) -> Job:
    """A gang before Ray, with how far it had come. last: its newest attempt, where one ran."""
    job = asked.job()
    if last is not None:
        since = max(job.state_since, last.state_since)  # until it has ended, it saves
        job = msgspec.structs.replace(
            job, pool=job.pool or last.pool, attempt=last.attempt, state_since=since
        )
    if report is None or not asked.attempt:
        return job
    return msgspec.structs.replace(
        job,
        step=report.step,
        step_at=utc(report.step_at),
        checkpoint_step=report.checkpoint_step,
        checkpoint_at=utc(report.checkpoint_at) if report.checkpoint_at else None,
    )


def read_queue(gcs: Gcs) -> tuple[dict[str, Asked], list[str]]:
    """Every gang that is kept, by name; keys that could not be read come second."""
    found: dict[str, Asked] = {}
    bad: list[str] = []
    for key, raw in gcs.kv_all(MARKS, QUEUE).items():
        try:
            asked = msgspec.json.decode(raw, type=Asked)
        except msgspec.MsgspecError:
            bad.append(key.decode(errors="replace"))
            continue
        found[asked.name] = asked
    return found, bad


def keep(gcs: Gcs, asked: Asked, *, overwrite: bool = True) -> bool:
    """Keep one gang; with overwrite=False only where its name is free. True when it is new."""
    raw = msgspec.json.encode(asked)
    return gcs.kv_put(MARKS, QUEUE + asked.name.encode(), raw, overwrite=overwrite)


def forget(gcs: Gcs, name: str) -> None:
    """It runs, or its owner took it back."""
    gcs.kv_del(MARKS, QUEUE + name.encode())
