"""The lab's raylets: which nodes there are, how one is started, and how one is ended.

Asked only by `ray_lab_core`, from its main thread: the kernel ties a raylet's life to the thread
that started it.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from watchkeeper.adapters.ray_door import LOOPBACK_ENVIRONMENT
from watchkeeper.adapters.ray_gcs import Gcs
from watchkeeper.adapters.ray_names import (
    HIDDEN,
    LAB_ID,
    LEAF,
    NODE,
    NVLINK,
    POOL,
    RACK,
    ROLE,
    ZONE,
)
from watchkeeper.adapters.ray_token import NO_TOKEN

HEAD = "head"
FIRST_POOL = "train"
LOOPBACK = "127.0.0.1"
_STORE_BYTES = 80 * 2**20
_CPUS = 16

ENVIRONMENT = {
    # Health checks tuned so that a dead raylet is known in about two seconds. Only in the lab.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    # Idle workers started ahead would cost two small cores a minute.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    **LOOPBACK_ENVIRONMENT,
    **NO_TOKEN,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # An XID or a lost node must not be masked by Ray's own memory monitor on a small machine.
    "RAY_memory_monitor_refresh_ms": "0",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a lab node stands."""

    name: str
    pool: str
    rack: str = ""
    leaf: str = ""

    def labels(self, lab_id: str) -> dict[str, str]:
        """The labels its raylet carries."""
        named = {
            NODE: self.name,
            POOL: self.pool,
            RACK: self.rack,
            LEAF: self.leaf,
            NVLINK: f"nvl-{self.name}",
            ZONE: "lab",
            LAB_ID: lab_id,
        }
        return {key: value for key, value in named.items() if value}


def place(pool: str, number: int) -> Place:
    """The n-th node of a pool, counted from 1: two to a rack, one leaf switch."""
    return Place(f"{pool}-{number:02d}", pool, f"r{(number + 1) // 2}", "l1")


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LabCluster:
    """A head without GPUs and a changing set of workers, all of one session."""

    def __init__(self, lab_id: str, tmp: Path, gpus_per_node: int) -> None:
        self.lab_id = lab_id
        self._tmp = tmp
        self._gpus = gpus_per_node
        self._cluster: Any = None
        self._nodes: dict[str, Any] = {}
        self.places: dict[str, Place] = {}

    def start_head(self) -> None:
        """Start GCS, head raylet, dashboard and job API. Raises whatever Ray raises."""
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "node_ip_address": LOOPBACK,
                "num_cpus": _CPUS,
                "num_gpus": 0,
                "include_dashboard": True,
                "dashboard_host": "127.0.0.1",
                "dashboard_port": free_port(),
                "dashboard_agent_listen_port": free_port(),
                "object_store_memory": _STORE_BYTES,
                "temp_dir": str(self._tmp / "ray"),
                "labels": {NODE: HEAD, ROLE: "head", LAB_ID: self.lab_id},
            },
        )
        self._nodes[HEAD] = self._cluster.head_node

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    @property
    def job_api(self) -> str:
        return f"http://{self._cluster.head_node.webui_url}"

    @property
    def session(self) -> str:
        return str(self._cluster.head_node.session_name)

    def start_worker(self, where: Place, hidden: Iterable[int] = ()) -> None:
        """Start a raylet behind this name. GPUs in `hidden` are kept from it. Returns when its
        process runs; that Ray knows it shows in the GCS."""
        lost = sorted(set(hidden))
        seen = [i for i in range(self._gpus) if i not in lost]
        labels = where.labels(self.lab_id)
        extra: dict[str, Any] = {}
        if lost:
            labels[HIDDEN] = ".".join(str(i) for i in lost)
            extra["env_vars"] = {"CUDA_VISIBLE_DEVICES": ",".join(str(i) for i in seen)}
        old = self._nodes.get(where.name)
        if old is not None:
            self._cluster.worker_nodes.discard(old)
        self._nodes[where.name] = self._cluster.add_node(
            wait=False,
            node_ip_address=LOOPBACK,
            num_cpus=_CPUS,
            num_gpus=len(seen),
            labels=labels,
            object_store_memory=_STORE_BYTES,
            temp_dir=str(self._tmp / "ray"),
            **extra,
        )
        self.places[where.name] = where

    def wait_for(self, names: Iterable[str], timeout_s: float) -> None:
        """Wait until Ray knows all of these as alive. Raises TimeoutError."""
        gcs = Gcs(self.address)
        wanted, end = set(names), time.monotonic() + timeout_s
        try:
            while True:
                alive = {row.labels.get(NODE, "") for row in gcs.nodes() if row.alive}
                if wanted <= alive:
                    return
                if time.monotonic() > end:
                    late = ", ".join(sorted(wanted - alive))
                    raise TimeoutError(f"{late} did not join Ray in {timeout_s:g} s")
                time.sleep(0.1)
        finally:
            gcs.close()

    def next_place(self, pool: str) -> Place:
        """The place of one more node in a pool."""
        taken = {p.name for p in self.places.values()}
        number = 1
        while place(pool, number).name in taken:
            number += 1
        return place(pool, number)

    def processes(self) -> dict[str, bool]:
        """Node name -> its raylet's process is alive."""
        return {name: self._raylet(name) is not None for name in list(self._nodes)}

    def _raylet(self, name: str) -> Any:
        node = self._nodes.get(name)
        started = node.all_processes.get("raylet", []) if node is not None else []
        if not started or started[0].process.poll() is not None:
            return None
        return started[0].process

    def raylet_pid(self, name: str) -> int | None:
        """Process id of the living raylet behind a name."""
        process = self._raylet(name)
        return None if process is None else int(process.pid)

    def kill(self, name: str) -> None:
        """SIGKILL a raylet and all its workers, as a host that loses power."""
        process = self._raylet(name)
        if process is None:
            return
        with contextlib.suppress(psutil.Error):
            workers = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for worker in workers:
                with contextlib.suppress(psutil.Error):
                    worker.kill()
        process.wait()

    def shutdown(self) -> None:
        """End every process of the cluster, and whatever these had started: agents of a raylet
        that ended would take their time."""
        family = psutil.Process().children(recursive=True)
        for name in list(self._nodes):
            if name != HEAD:
                self.kill(name)
        if self._cluster is not None and self._cluster.head_node is not None:
            self._cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
