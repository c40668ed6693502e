"""Jobs on a real lab: captured whoever submitted them, and run again from their checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from watchkeeper.adapters.gang_progress import ProgressRoot
from watchkeeper.adapters.ray_gcs import Gcs
from watchkeeper.adapters.ray_jobs import parse_submissions
from watchkeeper.core.action import JobRequeue
from watchkeeper.core.cluster import JobState
from watchkeeper.core.errors import EffectFailed

from .ray_fixture import LiveLab

pytestmark = pytest.mark.ray

PLAIN_DRIVER = """
import ray, sys, time
ray.init(log_to_driver=False, logging_level="ERROR")

@ray.remote(num_gpus=2, num_cpus=0)
class Worker:
    def node(self):
        return ray.get_runtime_context().get_node_id()

worker = Worker.remote()
print(ray.get(worker.node.remote()), flush=True)
while True:
    ray.get(worker.node.remote())
    time.sleep(0.2)
"""


def test_a_gang_of_a_stranger_runs_again_from_its_checkpoint_after_a_node_loss(
    lab: LiveLab,
) -> None:
    lab.submit("stranger", nodes=2, gpus=8)
    lab.until(
        lambda s: "stranger" in s.jobs and (s.jobs["stranger"].checkpoint_step or 0) >= 10,
        "first checkpoints",
    )
    job = lab.read().jobs["stranger"]
    assert job.attempt == 1
    assert job.requeue_blocked == ""
    assert job.gpus == 16
    assert len(job.nodes) == 2
    assert job.metadata == {}
    gcs = Gcs(lab.info.address)
    captured = {sub.id: sub for sub in parse_submissions(gcs.submissions())[0]}["stranger"]
    gcs.close()
    assert "watchkeeper.adapters.ray_gang --job stranger" in captured.entrypoint

    lost = job.nodes[0]
    lab.lose(lost)
    lab.until(lambda s: s.jobs["stranger"].state is JobState.STOPPED, "gang stopped")
    lab.bring_back(lost)
    stopped = lab.read().jobs["stranger"]
    assert stopped.checkpoint_step is not None
    requeue = JobRequeue(job="stranger", attempt_id=stopped.attempt_id)
    lab.actuator.execute(lab.order(requeue))
    again = lab.actuator.execute(lab.order(requeue))
    assert "already" in again.text
    lab.until(
        lambda s: (
            s.jobs["stranger"].attempt == 2
            and s.jobs["stranger"].state is JobState.RUNNING
            and (s.jobs["stranger"].step or 0) > (stopped.checkpoint_step or 0)
        ),
        "gang at work again",
        within_s=90,
    )
    report = ProgressRoot(Path(lab.info.progress_root)).read("stranger")
    assert report is not None
    assert report.resumed_from == stopped.checkpoint_step
    assert report.attempt == 2
    assert lab.read().jobs["stranger"].attempt_id == "stranger-a2"
    assert "stranger-a3" not in {job.attempt_id for job in lab.read().jobs.values()}
    lab.stop("stranger")


def test_a_job_that_a_person_stopped_is_not_submitted_again(lab: LiveLab) -> None:
    lab.submit("cancelled", gpus=1)
    lab.until(lambda s: "cancelled" in s.jobs and s.jobs["cancelled"].step, "at work")
    lab.stop("cancelled")
    job = lab.read().jobs["cancelled"]
    assert job.state is JobState.CANCELLED
    requeue = JobRequeue(job="cancelled", attempt_id=job.attempt_id)
    with pytest.raises(EffectFailed, match="did not stop by itself"):
        lab.actuator.execute(lab.order(requeue))


def test_a_gang_that_no_node_can_hold_waits_and_its_pool_says_so(lab: LiveLab) -> None:
    lab.submit("too-wide", nodes=5, gpus=8)
    lab.until(
        lambda s: "too-wide" in s.jobs and s.jobs["too-wide"].pending_gpus == 40, "gang waits"
    )
    state = lab.read()
    job = state.jobs["too-wide"]
    assert job.state is JobState.WAITING
    assert job.pending_bundle_gpus == 8
    assert job.pool == "train"
    demand = {row.pool: row for row in state.demand}["train"]
    assert demand.pending_gpus == 40
    assert demand.waiting_jobs == 1
    assert demand.fits_nowhere
    assert demand.blocked_job == "too-wide"
    lab.stop("too-wide")


def test_a_plain_driver_says_why_it_cannot_be_submitted_again(lab: LiveLab) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", PLAIN_DRIVER],
        env=lab.driver_env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert driver.stdout is not None
        incarnation = driver.stdout.readline().decode().strip()
        plain = {n: j for n, j in lab.read().jobs.items() if n.startswith("driver-")}
        name, job = next((n, j) for n, j in plain.items() if j.state is JobState.RUNNING)
        nodes = {n.incarnation: n.name for n in lab.read().nodes.values()}
        assert job.nodes == (nodes[incarnation],)
        assert job.gpus == 2
        assert "plain driver" in job.requeue_blocked
        lost = nodes[incarnation]
        lab.lose(lost)
        driver.wait(30)
        lab.until(lambda s: s.jobs[name].state is JobState.STOPPED, "driver's end noticed")
        assert "plain driver" in lab.read().jobs[name].requeue_blocked
        with pytest.raises(EffectFailed, match="plain driver"):
            lab.actuator.execute(lab.order(JobRequeue(job=name, attempt_id=job.attempt_id)))
        lab.bring_back(lost)
    finally:
        driver.kill()
        driver.wait()


def test_the_driver_child_is_not_a_job_and_its_end_is_not_ours(lab: LiveLab) -> None:
    lab.actuator._door.call("release", 30, names=[])
    pid = lab.actuator._door.pid
    assert pid is not None
    drivers = [n for n, j in lab.read().jobs.items() if j.state is JobState.RUNNING]
    assert drivers == []
    os.kill(pid, signal.SIGKILL)
    while lab.actuator._door.pid is not None:
        pass
    lab.actuator._door.call("release", 30, names=[])
    assert lab.actuator._door.pid not in (None, pid)
