"""`watchkeeper up` as a user runs it: a process of its own, in a home of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil

from watchkeeper.adapters.journal_file import read_events
from watchkeeper.app.door import ask
from watchkeeper.app.settings import Home

ROOT = Path(__file__).parents[2]
CLI = [sys.executable, "-m", "watchkeeper.app.cli"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Up:
    """One running product. `stop` is Ctrl-C."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self._out = home.parent / f"{home.name}.out"
        argv = [*CLI, "up", "--policies", str(ROOT / "policies"), "--port", str(self.port)]
        began = time.monotonic()
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [*argv, *options], stdout=out, stderr=subprocess.STDOUT, env=self.env, cwd=ROOT
            )
        self.until(lambda: "Console:" in self.said(), 120, "it never came up")
        self.took_s = time.monotonic() - began

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "WATCHKEEPER_HOME": str(self.home)}

    def said(self) -> str:
        return self._out.read_text(errors="replace")

    def run(self, *words: str, ok: bool = True) -> str:
        """One command of the product, as a user types it."""
        done = subprocess.run(
            [*CLI, *words], capture_output=True, text=True, env=self.env, timeout=60, check=False
        )
        if ok:
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def ask(self, call: str, **args: Any) -> Any:
        """One question at the command line's door. What is asked again and again until it holds
        starts no process each time: on two cores that would slow down what it waits for."""
        return ask(Home(self.home).socket, call, **args)

    def board(self) -> dict[str, Any]:
        """What `status -o json` prints."""
        board: dict[str, Any] = self.ask("board")
        return board

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """The journal from its file, oldest first."""
        events = [
            msgspec.to_builtins(e) for e in read_events(Home(self.home).journal / "journal.jsonl")
        ]
        return [e for e in events if e["kind"] == kind] if kind else events

    def effects(self) -> list[str]:
        """Kinds of the effects that were started, in order."""
        return [e["data"]["action"] for e in self.events("effect.started")]

    def results(self) -> list[str]:
        """How the effects ended, in order."""
        return [e["data"]["result"] for e in self.events("effect.finished")]

    def job(self, name: str) -> dict[str, Any]:
        return next(j for j in self.board()["jobs"] if j["name"] == name)

    def node(self, name: str) -> dict[str, Any]:
        return next(n for n in self.board()["nodes"] if n["name"] == name)

    def gangs_run(self) -> bool:
        """All three gangs run and have saved once."""
        jobs = self.board()["jobs"]
        return len(jobs) >= 3 and all(
            j["state"] == "running" and j["checkpoint_step"] for j in jobs
        )

    def log(self) -> str:
        return self.run("watch", "--no-follow", "--limit", "300")

    def until(self, holds: Callable[[], object], within_s: float, otherwise: str) -> None:
        end = time.monotonic() + within_s
        while not holds():
            if self.process.poll() is not None:
                raise AssertionError(f"it ended ({self.process.returncode}): {self.said()}")
            if time.monotonic() > end:
                raise AssertionError(f"{otherwise}\n{self.said()}\n{self._last_log()}")
            time.sleep(0.3)

    def _last_log(self) -> str:
        try:
            return self.log()
        except (AssertionError, subprocess.TimeoutExpired):
            return ""

    def login_link(self, person: str) -> str:
        links = dict(line.split() for line in self.run("login").splitlines())
        return links[person]

    def watch_pid(self) -> int:
        """The watch process, as the system knows it."""
        return next(
            p.pid
            for p in psutil.Process(self.process.pid).children(recursive=True)
            if "watchkeeper.app.watch_process" in " ".join(p.cmdline())
        )

    def stop(self) -> list[str]:
        """Ctrl-C; returns the command lines of whatever outlived it."""
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            _, alive = psutil.wait_procs(family, timeout=3)
            return [" ".join(p.cmdline())[:160] for p in alive if p.is_running()]
        return []
