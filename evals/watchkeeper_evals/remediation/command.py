"""What `watchkeeper eval remediation` does: read what was named, play, tell how far it is, print.

Nothing but the answer goes to standard output; progress is on standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.core.errors import ClusterUnavailable, Malformed, UsageError
from watchkeeper.core.fanout import Fanout
from watchkeeper_evals.remediation.evaluate import Heard, evaluate, table
from watchkeeper_evals.remediation.report import page
from watchkeeper_evals.remediation.runs import CONTROLLERS, policy_of
from watchkeeper_evals.remediation.setup import FaultRow, Setup
from watchkeeper_evals.remediation.trace import read_trace


class Asked(NamedTuple):
    """The command's options, as typed."""

    nodes: int
    gpus_per_node: int
    days: float
    seeds: int
    first_seed: int
    noise_only: bool
    fault_trace: Path | None
    policies: Path
    parallel: bool
    only: str
    report: Path | None


def run(asked: Asked, *, as_json: bool) -> str:
    """Play it and give what is printed. Raises UsageError, PolicyError and Malformed."""
    controllers = _controllers(asked.only)
    if asked.report is not None and not asked.report.resolve().parent.is_dir():
        raise UsageError(f"There is no folder {asked.report.resolve().parent} for the report.")
    setup = _setup(asked)
    policy_of(setup.orders, setup)  # a mistake in the orders is told before an hour is played
    with _progress() as heard, _fanout(asked.parallel) as fanout:
        found = evaluate(setup, fanout=fanout, controllers=controllers, heard=heard)
    if asked.report is not None:
        asked.report.write_text(page(found.figures, found.runs, setup), "utf-8")
        print(f"The report is at {asked.report}.", file=sys.stderr)
    return json.dumps(found.figures, indent=1) if as_json else table(found.figures)


def _controllers(only: str) -> tuple[str, ...]:
    named = tuple(name.strip() for name in only.split(",") if name.strip())
    for name in named:
        if name not in CONTROLLERS:
            raise UsageError(
                f"There is no controller {name!r}. They are: {', '.join(CONTROLLERS)}."
            )
    return tuple(name for name in CONTROLLERS if name in named) if named else CONTROLLERS


def _setup(asked: Asked) -> Setup:
    if asked.noise_only and asked.fault_trace is not None:
        raise UsageError("--noise-only and --fault-trace exclude each other: the trace is faults.")
    plain = Setup(
        nodes=asked.nodes,
        gpus_per_node=asked.gpus_per_node,
        days=asked.days,
        seeds=asked.seeds,
        first_seed=asked.first_seed,
        noise_only=asked.noise_only,
        orders=tuple(read_policy_dir(asked.policies).items()),
        policies=str(asked.policies),
    )
    if asked.fault_trace is None:
        return plain
    return plain.with_trace(_trace(asked.fault_trace, plain))


def _trace(path: Path, setup: Setup) -> tuple[FaultRow, ...]:
    try:
        text = path.read_text("utf-8-sig")
    except OSError as err:
        raise UsageError(f"{path} cannot be read: {err.strerror}.") from err
    except UnicodeDecodeError as err:
        raise Malformed(f"{path}: it is not UTF-8 text (byte {err.start}).") from err
    return read_trace(text, path.name, setup.spec(setup.first_seed))


@contextmanager
def _fanout(parallel: bool) -> Iterator[Fanout | None]:
    """Ray where it is there; else the processes of this machine, and that is said."""
    if not parallel:
        yield None
        return
    from watchkeeper.adapters.local_fanout import LocalFanout
    from watchkeeper.adapters.ray_fanout import RayFanout

    try:
        ray = RayFanout()
    except ClusterUnavailable as err:
        local = LocalFanout()
        print(f"{err} Spreading over {local.says} instead.", file=sys.stderr)
        yield local
        return
    try:
        yield ray
    finally:
        ray.close()


@contextmanager
def _progress() -> Iterator[Heard]:
    """One line on standard error that tells how far it is."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as line:
        task = line.add_task("simulated nights", total=1.0)
        yield lambda what, share: line.update(task, description=what, completed=share)
