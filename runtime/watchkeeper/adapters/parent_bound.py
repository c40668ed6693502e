"""A child that ends when its parent ends, however that ended. Asked by what starts processes.

On Linux the kernel keeps the promise (PR_SET_PDEATHSIG). It is tied to the *thread* that started
the child: start children from a thread that lives as long as they should. Elsewhere nothing is
promised; whoever starts next in the same directory finds the leftover and ends it.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

# Runs in a bare interpreter and then becomes the command: same pid, no fork handler, so that it
# is safe to use from a process with threads (which `preexec_fn` is not).
_BECOME = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None, use_errno=True).prctl(1, 15, 0, 0, 0)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(143)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


def bound(argv: list[str]) -> list[str]:
    """The command line that runs `argv` (first word an absolute path) as a child which gets
    SIGTERM when this process ends."""
    if not sys.platform.startswith("linux"):
        return argv
    return [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *argv]


def end_with_parent(expected: int | None = None) -> None:
    """Let SIGTERM reach this process when its parent ends. expected: the parent's pid, where it
    is known; if that parent has ended already, SIGTERM comes at once."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    parent = os.getppid() if expected is None else expected
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
