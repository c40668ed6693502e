"""The lab's collectors: one `watchkeeper collect` process per node, mended unless silenced."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from watchkeeper.adapters.parent_bound import bound

HEAD = "head"
_FIRST_WAIT_S = 2.0
_LONGEST_WAIT_S = 30.0


class Collectors:
    """Starts, mends and silences collectors. Without a Redis URL there are none."""

    def __init__(self, redis: str, cluster: str, sim_root: Path, log_dir: Path, gpus: int) -> None:
        self._redis = redis
        self._cluster = cluster
        self._sim = sim_root
        self._gpus = gpus
        self._log = log_dir / "collectors.log"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._silenced: set[str] = set()
        self._again: dict[str, tuple[float, float]] = {}

    def start(self, node: str) -> None:
        """(Re)start a node's collector; a silenced one speaks again."""
        self._silenced.discard(node)
        if self._redis:
            self._end(node)
            self._again.pop(node, None)
            self._spawn(node)

    def _spawn(self, node: str) -> None:
        folder = self._sim / node
        argv = [
            *(sys.executable, "-m", "watchkeeper.app.collect"),
            *("--redis", self._redis, "--cluster", self._cluster, "--node", node),
            *("--world", "lab", "--gpus", "simulated", "--sim-dir", str(folder)),
            *("--kernel-log", str(folder / "kmsg"), "--interval", "2"),
            *("--sim-gpus", str(0 if node == HEAD else self._gpus)),
        ]
        with self._log.open("ab") as log:
            self._running[node] = subprocess.Popen(
                bound(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def mend(self) -> None:
        """Start collectors that ended by themselves, ever more slowly if they keep ending."""
        now = time.monotonic()
        for node, process in list(self._running.items()):
            if process.poll() is None or node in self._silenced:
                continue
            due, wait = self._again.get(node, (0.0, _FIRST_WAIT_S))
            if not due:
                self._again[node] = (now + wait, min(_LONGEST_WAIT_S, wait * 2))
            elif now >= due:
                self._again[node] = (0.0, wait)
                self._spawn(node)

    def silence(self, node: str) -> None:
        """Stop a node's collector for good, as a host whose agent died."""
        self._silenced.add(node)
        self._end(node)

    def _end(self, node: str) -> None:
        process = self._running.pop(node, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Stop all of them."""
        for process in self._running.values():
            process.terminate()
        for node in list(self._running):
            self._end(node)
