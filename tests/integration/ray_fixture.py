"""A real lab for integration tests: a head and three workers of eight GPUs, no gangs, one a
session. Tests that change a node put it back; tests that end a lab start their own."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from watchkeeper.adapters.ray_actuator import RayActuator
from watchkeeper.adapters.ray_cluster import RayCluster
from watchkeeper.adapters.ray_door import LOOPBACK_ENVIRONMENT
from watchkeeper.adapters.ray_jobs import JobApi
from watchkeeper.adapters.ray_lab_client import LabClient, LabInfo, LabProvider, read_lab
from watchkeeper.adapters.ray_lab_gangs import entrypoint
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.core.action import Action, CheckRun, NodeRestart, NodeUncordon
from watchkeeper.core.cluster import ClusterState, RayState, World
from watchkeeper.core.ports import EffectOrder

START_S = 90.0


def start_lab(
    folder: Path, *extra: str, env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a lab's guardian; it ends when this process does."""
    return subprocess.Popen(
        [sys.executable, "-m", "watchkeeper.adapters.ray_lab", "--dir", str(folder), *extra],
        stderr=subprocess.PIPE,
    )


def wait_for_lab(folder: Path, process: subprocess.Popen[bytes] | None = None) -> LabInfo:
    """Wait until the lab in this folder is ready."""
    end = time.monotonic() + START_S
    while (info := read_lab(folder)) is None:
        assert process is None or process.poll() is None, (folder / "lab.log").read_text()[-2000:]
        assert time.monotonic() < end, (folder / "lab.log").read_text()[-2000:]
        time.sleep(0.1)
    return info


def descendants_gone(pids: list[int], marks: list[str], within_s: float = 15.0) -> list[str]:
    """Command lines that still run after a while, of these pids or with one of these marks."""
    end = time.monotonic() + within_s
    while True:
        left = []
        for process in psutil.process_iter(["pid", "cmdline", "status"]):
            line = " ".join(process.info["cmdline"] or [])
            if process.info["status"] == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            if process.pid in pids or any(mark in line for mark in marks):
                left.append(f"{process.pid} {line[:120]}")
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)


@dataclass
class LiveLab:
    """The lab as tests use it: read it, act on it, break it, and wait for what follows."""

    info: LabInfo
    client: LabClient
    reader: RayCluster
    actuator: RayActuator
    provider: LabProvider
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def order(self, action: Action, **changes: object) -> EffectOrder:
        """A fresh order for this lab and session."""
        number = next(self._count)
        fields: dict[str, object] = {
            "action": action,
            "key": f"key-{number}",
            "token": number,
            "session": self.info.session,
            "cluster": self.info.cluster,
        }
        return EffectOrder(**{**fields, **changes})  # type: ignore[arg-type]

    def read(self) -> ClusterState:
        return self.reader.read()

    def until(
        self, fact: Callable[[ClusterState], object], what: str, within_s: float = 90.0
    ) -> float:
        """Wait for a fact about the cluster; returns how many seconds it took."""
        begun = time.monotonic()
        while True:
            state = self.read()
            if fact(state):
                return time.monotonic() - begun
            assert time.monotonic() - begun < within_s, f"{what} did not happen: {state}"
            time.sleep(0.03)

    def incarnation(self, node: str) -> str:
        return self.read().nodes[node].incarnation

    def lose(self, node: str) -> float:
        """Kill a raylet; returns how long until Ray said so."""
        self.client.inject("node-loss", node)
        return self.until(lambda s: s.nodes[node].ray_state is RayState.DEAD, f"{node} dead")

    def bring_back(self, node: str) -> None:
        """Restart, check and open a dead node again, as the watch would."""
        action = NodeRestart(node=node, incarnation=self.incarnation(node))
        self.provider.execute(self.order(action))
        self.until(lambda s: s.nodes[node].ray_state is RayState.ALIVE, f"{node} alive")
        self.until(lambda s: s.fences[node].sealed, f"{node} sealed")
        now = self.incarnation(node)
        self.actuator.execute(self.order(CheckRun(node=node, incarnation=now)))
        self.until(lambda s: s.checks[node].passed is not None, f"{node} checked")
        self.actuator.execute(self.order(NodeUncordon(node=node, incarnation=now)))
        self.until(lambda s: node not in s.fences and s.nodes[node].gpus_free == 8, f"{node} open")

    def submit(self, job: str, *, nodes: int = 1, gpus: int = 8, pool: str = "train") -> None:
        """Submit a gang as a user would, without any metadata of ours."""
        command = entrypoint(job, Path(self.info.progress_root), nodes, gpus, pool)
        command += " --step-seconds 0.1 --checkpoint-every 5"
        JobApi(self.info.job_api).submit({"entrypoint": command, "submission_id": job})

    def stop(self, job: str) -> None:
        """Cancel a gang's current attempt and wait until its GPUs are free."""
        ident = self.read().jobs[job].attempt_id
        JobApi(self.info.job_api).stop(ident)
        self.until(lambda s: s.jobs[job].state.value not in ("running", "waiting"), f"{job} ended")
        self.until(lambda s: s.demand[0].running_gpus == 0, "GPUs free again")

    def driver(self, script: str, within_s: float = 150.0) -> str:
        """Run a plain driver script on this lab; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=self.driver_env(),
            capture_output=True,
            timeout=within_s,
            check=True,
        )
        return done.stdout.decode()

    def driver_env(self) -> dict[str, str]:
        return {**os.environ, **LOOPBACK_ENVIRONMENT, "RAY_ADDRESS": self.info.address}


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    """The session's lab."""
    folder = tmp_path_factory.mktemp("lab")
    process = start_lab(folder, "--workers", "3", "--no-gangs")
    info = wait_for_lab(folder, process)
    client = LabClient(info)
    reader = RayCluster(
        info.address,
        world=World.LAB,
        cluster=info.cluster,
        job_api=info.job_api,
        progress_root=Path(info.progress_root),
        processes=client.processes,
        clock=SystemClock(),
    )
    actuator = RayActuator(
        info.address,
        cluster=info.cluster,
        job_api=info.job_api,
        terminate=lambda order: provider.terminate(order),
        check_gpus=1,
    )
    provider = LabProvider(
        client,
        fence=actuator.fences,
        hidden=lambda node: reader.read().nodes[node].hidden_gpus,
    )
    yield LiveLab(info, client, reader, actuator, provider)
    actuator.close()
    reader.close()
    process.terminate()
    process.wait(30)
