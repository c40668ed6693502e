"""`up`: a small supervisor with three children: Redis, the lab, and the watch with its console.

kill -9 of the watch leaves the others running, and the watch is started again. Ctrl-C, or the
supervisor's own death, ends all three.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from watchkeeper.adapters.parent_bound import bound
from watchkeeper.adapters.redis_server import RedisServer, find_server, start
from watchkeeper.app.settings import Home, Settings
from watchkeeper.core.errors import AlreadyRunning, ClusterUnavailable, WatchkeeperError

LAB_START_S = 90.0
WATCH_START_S = 60.0
MOST_RESTARTS = 5
RESTART_WINDOW_S = 600.0
STOP_S = 20.0

Say = Callable[[str], None]


@dataclass
class Child:
    """One child process and the log that its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def alive(self) -> bool:
        return self.process.poll() is None

    def end(self, timeout_s: float = STOP_S) -> None:
        if not self.alive():
            return
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """The last line it wrote, for an error message."""
        try:
            lines = [x for x in self.log.read_text(errors="replace").splitlines() if x.strip()]
        except OSError:
            return ""
        return lines[-1][-400:] if lines else ""


@dataclass(frozen=True)
class Plan:
    """What `up` was asked to bring up."""

    home: Home
    settings: Settings
    lab: bool
    nodes: int
    gpus_per_node: int
    redis_url: str


class Supervisor:
    """Starts the children in order, says what it does, waits, and ends them all."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self._plan = plan
        self._say = say
        self._end = threading.Event()
        self._redis: RedisServer | None = None
        self._lab: Child | None = None
        self._watch: Child | None = None
        self._lock: IO[str] | None = None
        self._restarts: deque[float] = deque()

    def run(self) -> int:
        """Bring all up, stay until told to end. Raises WatchkeeperError when it cannot start."""
        self._take_home()
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, lambda *_: self._end.set())
        try:
            _port_is_free(self._plan.settings.port)
            self._start_all()
            while not self._end.wait(0.5):
                self._tend()
            return 0
        finally:
            self._end_all()

    def _take_home(self) -> None:
        self._lock = (self._plan.home.run / "supervisor.lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise AlreadyRunning(
                f"A watch is already up in {self._plan.home.path}. See `watchkeeper status`, or "
                "set WATCHKEEPER_HOME to start another."
            ) from err

    def _start_all(self) -> None:
        settings = self._plan.settings
        url, says = self._start_redis()
        if self._plan.lab:
            self._start_lab(url)
        settings = Settings(
            **{
                **{f: getattr(settings, f) for f in settings.__struct_fields__},
                "redis": url,
                "redis_says": says,
                "lab_dir": str(self._plan.home.lab) if self._plan.lab else "",
            }
        )
        settings.save(self._plan.home.run / "watch.json")
        self._start_watch()
        pids = {
            "supervisor": os.getpid(),
            "redis": self._redis.pid if self._redis else None,
            "lab": self._lab.process.pid if self._lab else None,
            "watch": self._watch.process.pid if self._watch else None,
        }
        (self._plan.home.run / "pids.json").write_text(json.dumps(pids))

    def _start_redis(self) -> tuple[str, str]:
        if self._plan.redis_url:
            self._say(f"Redis: {_without_password(self._plan.redis_url)}, as given")
            return self._plan.redis_url, "given with --redis"
        found = find_server()
        self._say(f"Redis: starting {found.version} ({found.why})")
        self._redis = start(self._plan.home.redis, found)
        return self._redis.url, f"{found.version}, {found.why}"

    def _start_lab(self, redis_url: str) -> None:
        began = time.monotonic()
        ready = self._plan.home.lab / "lab.json"
        ready.unlink(missing_ok=True)
        self._say(
            f"Lab: starting a real Ray cluster, {self._plan.nodes} nodes x "
            f"{self._plan.gpus_per_node} simulated GPUs"
        )
        argv = [
            sys.executable,
            *("-m", "watchkeeper.adapters.ray_lab"),
            *("--dir", str(self._plan.home.lab)),
            *("--workers", str(self._plan.nodes)),
            *("--gpus-per-node", str(self._plan.gpus_per_node)),
            *("--redis", redis_url),
        ]
        self._lab = self._spawn("lab", argv)
        self._wait_for(self._lab, ready.exists, LAB_START_S, "The lab")
        self._say(f"Lab: up after {time.monotonic() - began:.0f} s")

    def _start_watch(self) -> None:
        settings = str(self._plan.home.run / "watch.json")
        argv = [sys.executable, "-m", "watchkeeper.app.watch_process", settings]
        self._watch = self._spawn("watch", argv)
        ready = self._plan.home.run / "watch.ready"
        ready.unlink(missing_ok=True)
        self._wait_for(self._watch, ready.exists, WATCH_START_S, "The watch")
        self._say(ready.read_text().rstrip())

    def _spawn(self, name: str, argv: list[str]) -> Child:
        log = self._plan.home.logs / f"{name}.log"
        env = {**os.environ, "WATCHKEEPER_HOME": str(self._plan.home.path)}
        env.pop("RAY_ADDRESS", None)
        with log.open("ab") as out:
            process = subprocess.Popen(
                bound(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends them in order
            )
        return Child(name, process, log)

    def _wait_for(
        self, child: Child, ready: Callable[[], bool], timeout_s: float, name: str
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self._end.is_set():
                raise ClusterUnavailable("Ended before it was up.")
            if not child.alive():
                raise _ended(child, name)
            if time.monotonic() > deadline:
                raise ClusterUnavailable(
                    f"{name} was not up after {timeout_s:.0f} s. Its log is {child.log}."
                )
            time.sleep(0.1)

    def _tend(self) -> None:
        """The watch is started again if it dies; without Redis or lab there is nothing to tend."""
        if self._watch is not None and not self._watch.alive():
            code = self._watch.process.returncode
            self._say(f"The watch ended ({_how(code)}). Starting it again.")
            now = time.monotonic()
            self._restarts.append(now)
            while self._restarts and now - self._restarts[0] > RESTART_WINDOW_S:
                self._restarts.popleft()
            if len(self._restarts) > MOST_RESTARTS:
                raise ClusterUnavailable(
                    f"The watch ended {MOST_RESTARTS} times in {RESTART_WINDOW_S / 60:.0f} min. "
                    f"Its log is {self._watch.log}; its last line: {self._watch.last_words()}"
                )
            self._start_watch()
        if self._lab is not None and not self._lab.alive():
            words = self._lab.last_words()
            self._lab = None
            self._say(f"The lab ended: {words} The watch goes on and sees no cluster.")

    def _end_all(self) -> None:
        if self._watch or self._lab or self._redis:
            self._say("Ending the watch, the lab and Redis.")
        for child in (self._watch, self._lab):
            if child is not None:
                child.end()
        if self._redis is not None:
            self._redis.stop()
        with contextlib.suppress(OSError):
            (self._plan.home.run / "pids.json").unlink(missing_ok=True)
            (self._plan.home.run / "watch.ready").unlink(missing_ok=True)


def _ended(child: Child, name: str) -> WatchkeeperError:
    error = ClusterUnavailable(f"{name} could not start: {child.last_words()} (log: {child.log})")
    code = child.process.returncode
    if code in (2, 3, 4, 7):  # what the child itself calls usage, policy, journal, already running
        error.exit_code = code
    return error


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _port_is_free(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as err:
            raise AlreadyRunning(
                f"Port {port} on 127.0.0.1 is taken ({err.strerror}). Choose another with --port."
            ) from err


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
