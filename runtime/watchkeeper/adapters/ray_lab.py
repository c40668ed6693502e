"""The lab: a real local Ray cluster of several raylets, as a process of its own.

`python -m watchkeeper.adapters.ray_lab --dir HOME/lab`. This process is the guardian: it starts the
lab proper (`ray_lab_core`), adopts whatever that leaves behind, and ends all of it when asked, when
its parent ends, or when the lab fails. It never imports Ray.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import psutil

EXIT_CANNOT_START = 5
_POLL_S = 0.25
_GRACE_S = 12.0
_SUN_PATH = 107
_RAY_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store.10"


def parse(argv: list[str]) -> argparse.Namespace:
    """The lab's arguments; the guardian and the lab proper share them."""
    parser = argparse.ArgumentParser(prog="watchkeeper-lab", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="the lab's folder")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--redis", default="", help="URL for the collectors; none = no collectors")
    parser.add_argument("--no-gangs", action="store_true", help="start no workload")
    parser.add_argument("--parent", type=int, default=0, help="end when this process ends")
    parser.add_argument("--lab-id", default="", help=argparse.SUPPRESS)
    parser.add_argument("--tmp", type=Path, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not 1 <= args.workers <= 32:
        parser.error("--workers must be between 1 and 32")
    if not 1 <= args.gpus_per_node <= 64:
        parser.error("--gpus-per-node must be between 1 and 64")
    return args


def adopt_orphans() -> None:
    """Let the kernel hand us descendants whose own parent ended (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def short_folder(lab_id: str) -> Path:
    """A private folder whose path leaves room for Ray's unix socket names (107 characters).

    Raises OSError when none can be made.
    """
    for root in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - made 0700 by mkdtemp
        if len(str(root)) + len(f"/wk-{lab_id}-xxxxxxxx") + len(_RAY_SOCKET) <= _SUN_PATH:
            return Path(tempfile.mkdtemp(prefix=f"wk-{lab_id}-", dir=root))
    raise OSError(f"{tempfile.gettempdir()} is too long a path for Ray's sockets; set TMPDIR")


def end_all(within_s: float) -> None:
    """End every descendant of this process. Not kindly: the lab proper has ended by then, and
    what it left behind works for nobody."""
    end = time.monotonic() + within_s
    while children := psutil.Process().children(recursive=True):
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(children, timeout=0.2)
        _reap()
        if time.monotonic() > end:
            return


def _reap() -> None:
    """Collect orphans that ended while we were their parent."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def reap_orphans(own: int) -> None:
    """Collect adopted processes that ended, and leave our own child `own` to who waits for it. A
    gang that was told to stop is an orphan for its last moments: as long as nobody collects it,
    Ray takes it for one that does not stop."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == own:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(found.si_pid, os.WNOHANG)


class Guardian:
    """Keeps one lab alive exactly as long as somebody wants it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._parent = args.parent or os.getppid()
        self._asked = False

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True

    def _parent_gone(self) -> bool:
        if not self._args.parent:
            return os.getppid() != self._parent
        return not psutil.pid_exists(self._parent)

    def run(self) -> int:
        """Start the lab, stay with it, end all of it. Returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask)
        adopt_orphans()
        lab_id = secrets.token_hex(4)
        folder: Path = self._args.dir
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (folder / "lab.json").unlink(missing_ok=True)
            tmp = short_folder(lab_id)
            log = (folder / "lab.log").open("ab")
        except OSError as err:
            return _say(f"The lab cannot use its folder {folder}: {err}.")
        try:
            return self._watch(self._start(lab_id, tmp, log.fileno()), folder)
        finally:
            log.close()
            end_all(_GRACE_S)
            (folder / "lab.json").unlink(missing_ok=True)
            (folder / "lab.sock").unlink(missing_ok=True)
            shutil.rmtree(tmp, ignore_errors=True)

    def _start(self, lab_id: str, tmp: Path, log: int) -> subprocess.Popen[bytes]:
        args = self._args
        argv = [
            sys.executable,
            "-m",
            "watchkeeper.adapters.ray_lab_core",
            *("--dir", str(args.dir.resolve())),
            *("--workers", str(args.workers)),
            *("--gpus-per-node", str(args.gpus_per_node)),
            *("--redis", args.redis),
            *("--parent", str(os.getpid())),
            *("--lab-id", lab_id),
            *("--tmp", str(tmp)),
            *(["--no-gangs"] if args.no_gangs else []),
        ]
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("RAY_")
        }
        # The lab proper leads its own process group, so that Ctrl-C in the terminal reaches only
        # the guardian, which then ends everything in order.
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )

    def _watch(self, child: subprocess.Popen[bytes], folder: Path) -> int:
        while child.poll() is None:
            if self._asked or self._parent_gone():
                child.terminate()
                try:
                    child.wait(_GRACE_S)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
                return 0
            reap_orphans(child.pid)
            time.sleep(_POLL_S)
        why = folder / "lab.error"
        text = why.read_text().strip() if why.exists() else f"see {folder / 'lab.log'}"
        return _say(f"The lab ended by itself: {text}")


def _say(text: str) -> int:
    print(text, file=sys.stderr, flush=True)
    return EXIT_CANNOT_START


def main(argv: list[str]) -> int:
    """Run the guardian."""
    return Guardian(parse(argv)).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
