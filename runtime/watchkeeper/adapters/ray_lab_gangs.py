"""The lab's own work: three gangs of different owners, submitted when the lab is ready."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from watchkeeper.adapters.gang_progress import ProgressRoot
from watchkeeper.adapters.ray_jobs import ATTEMPT, JOB, POOL, JobApi
from watchkeeper.adapters.ray_lab_cluster import FIRST_POOL
from watchkeeper.core.errors import EffectFailed, EffectInDoubt

_FRESH_S = 10.0
_TRIES_S = 90.0


def entrypoint(job: str, root: Path, nodes: int, gpus: int, pool: str = FIRST_POOL) -> str:
    """The command a user would submit for such a gang."""
    words = [
        *(sys.executable, "-m", "watchkeeper.adapters.ray_gang"),
        *("--job", job, "--root", str(root)),
        *("--nodes", str(nodes), "--gpus", str(gpus), "--pool", pool),
    ]
    return shlex.join(words)


def submit_gangs(job_api: str, root: Path, workers: int) -> None:
    """Submit what fits the lab's size. Runs once, on a thread; trouble goes to the lab's log."""
    wanted = [("llm-pretrain", 2, 8, "research", "10"), ("vision-finetune", 1, 8, "vision", "5")]
    api = JobApi(job_api)
    for job, nodes, gpus, tenant, priority in wanted:
        if nodes > workers - 1:
            continue
        own = {JOB: job, ATTEMPT: "1", POOL: FIRST_POOL, "tenant": tenant, "priority": priority}
        body = {
            "entrypoint": entrypoint(job, root, nodes, gpus),
            "submission_id": job,
            "metadata": own,
        }
        _patiently(job, lambda body=body: api.submit(body))  # type: ignore[misc]
    _patiently("embed-batch", lambda: submit_as_a_user(job_api, "embed-batch", root, 1, 4))


def submit_as_a_user(job_api: str, job: str, root: Path, nodes: int, gpus: int) -> str:
    """Submit as somebody who has never heard of us: Ray's own client, none of our metadata."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(job_api)
    return str(
        client.submit_job(
            entrypoint=entrypoint(job, root, nodes, gpus),
            submission_id=job,
            metadata={"tenant": "search"},
        )
    )


def _patiently(job: str, submit: Callable[[], str]) -> None:
    """The job API answers some seconds later than the raylets do."""
    end = time.monotonic() + _TRIES_S
    while True:
        try:
            submit()
            return
        except (EffectFailed, EffectInDoubt, RuntimeError, ConnectionError) as err:
            if time.monotonic() > end:
                print(f"gang {job} could not be submitted: {err}", file=sys.stderr, flush=True)
                return
            time.sleep(1.0)


def busy_gpus(root: ProgressRoot) -> dict[str, set[int]]:
    """Node -> GPU indexes that a gang reported to be at work on, just now."""
    busy: dict[str, set[int]] = {}
    for folder in sorted(root.root.iterdir()) if root.root.is_dir() else []:
        report = root.read(folder.name)
        if report is None or report.done or time.time() - report.step_at > _FRESH_S:
            continue
        for node, gpus in report.nodes.items():
            busy.setdefault(node, set()).update(gpus)
    return busy
