"""`doctor`: what this machine offers the watch, and what was chosen and why."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from watchkeeper import __version__
from watchkeeper.adapters.redis_server import find_server
from watchkeeper.app import door
from watchkeeper.app.settings import Home, Settings
from watchkeeper.core.action import KINDS
from watchkeeper.core.errors import WatchkeeperError

Finding = dict[str, str]


def examine(home: Home) -> list[Finding]:
    """Every finding as {what, is, why}; never raises for what it merely could not see."""
    return [
        _found("watchkeeper", __version__, f"Python {platform.python_version()}"),
        _home(home),
        _redis(home),
        _ray(),
        _gpus(),
        _kernel_log(),
        _actions(home),
    ]


def _found(what: str, value: str, why: str = "") -> Finding:
    return {"what": what, "is": value, "why": why}


def _home(home: Home) -> Finding:
    given = "WATCHKEEPER_HOME" if os.environ.get("WATCHKEEPER_HOME") else "the user's data home"
    return _found("home", str(home.path), f"from {given}")


def _redis(home: Home) -> Finding:
    try:
        settings = Settings.load(home.run / "watch.json")
        if settings.redis_says:
            return _found("redis", "in use", settings.redis_says)
    except (OSError, ValueError):
        pass
    try:
        server = find_server()
    except WatchkeeperError as err:
        return _found("redis", "none", str(err))
    return _found("redis", server.version, server.why)


def _ray() -> Finding:
    try:
        return _found("ray", importlib.metadata.version("ray"), "pinned: one adapter knows it")
    except importlib.metadata.PackageNotFoundError:
        return _found("ray", "not installed", "run make install")


def _gpus() -> Finding:
    bindings = importlib.metadata.version("nvidia-ml-py")
    try:
        import pynvml

        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        pynvml.nvmlShutdown()
        return _found("gpus", f"{count} through NVML", f"nvidia-ml-py {bindings}")
    except Exception as err:  # the binding raises its own classes, and OSError for a bad library
        return _found(
            "gpus",
            "no NVML here",
            f"nvidia-ml-py {bindings} (what `pynvml` on PyPI installs today) says: {err}. "
            "The lab uses a simulated source and labels it so.",
        )


def _kernel_log() -> Finding:
    path = "/dev/kmsg"
    if os.access(path, os.R_OK):
        return _found("kernel log", path, "readable: XID lines can be followed")
    return _found("kernel log", "not readable", f"run `collect` as a user that may read {path}")


def _actions(home: Home) -> Finding:
    try:
        board: dict[str, Any] = door.ask(home.socket, "board")
    except WatchkeeperError:
        return _found("actions", "no watch is running", f"{len(KINDS)} kinds exist")
    unserved = ", ".join(board["unserved"]) or "none"
    return _found("actions", "served by the running watch", f"without a provider here: {unserved}")


def table(findings: list[Finding]) -> str:
    """For the terminal."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    for name in ("what", "is", "why"):
        grid.add_column(name, overflow="fold")
    for finding in findings:
        grid.add_row(*(Text(finding[name]) for name in ("what", "is", "why")))
    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(grid)
    return capture.get().rstrip()
