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
from watchkeeper_evals.remediation.evaluate import (
    Evaluated,
    collect,
    evaluate,
    jobs_of,
    to_play,
)
from watchkeeper_evals.remediation.kept import Kept
from watchkeeper_evals.remediation.progress import shown
from watchkeeper_evals.remediation.report import page
from watchkeeper_evals.remediation.runs import CONTROLLERS, policy_of
from watchkeeper_evals.remediation.setup import FaultRow, Setup
from watchkeeper_evals.remediation.table import table
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
    jobs: int
    only: str
    out: Path | None
    collect: bool
    report: Path | None


def run(asked: Asked, *, as_json: bool) -> str:
    """Play it and give what is printed. Raises UsageError, PolicyError and Malformed."""
    controllers = _controllers(asked.only)
    _check(asked)
    setup = _setup(asked)
    policy_of(setup.orders, setup)  # a mistake in the orders is told before an hour is played
    found = _collected(asked, setup, controllers) or _played(asked, setup, controllers)
    if trained := found.figures["seeds_trained_on"]:
        said = ", ".join(str(seed) for seed in trained)
        _say(f"The thresholds were tuned on seeds {said}: there they look better than they are.")
    if asked.report is not None:
        asked.report.write_text(page(found.figures, found.runs, setup), "utf-8")
        _say(f"The report is at {asked.report}.")
    return json.dumps(found.figures, indent=1) if as_json else table(found.figures)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _check(asked: Asked) -> None:
    if asked.report is not None and not asked.report.resolve().parent.is_dir():
        raise UsageError(f"There is no folder {asked.report.resolve().parent} for the report.")
    if asked.collect and asked.out is None:
        raise UsageError("--collect needs --out: the folder whose runs it sums up.")
    if asked.parallel and asked.jobs > 1:
        raise UsageError(
            "--parallel and --jobs exclude each other: Ray spreads over its own cores."
        )


def _collected(asked: Asked, setup: Setup, controllers: tuple[str, ...]) -> Evaluated | None:
    if not asked.collect or asked.out is None:
        return None
    kept = Kept.found(asked.out, setup)
    _say(f"Nothing is played. What counts lies in {kept.folder}.")
    return collect(setup, kept, controllers)


def _played(asked: Asked, setup: Setup, controllers: tuple[str, ...]) -> Evaluated:
    kept = Kept.of(asked.out, setup) if asked.out is not None else None
    jobs = to_play(jobs_of(setup, controllers), kept)
    if kept is not None:
        done = setup.seeds * len(controllers) - len(jobs)
        _say(f"Runs are kept in {kept.folder}; {done} of {done + len(jobs)} are there already.")
    try:
        with shown(jobs) as heard, _fanout(asked.parallel) as fanout:
            return evaluate(
                setup,
                fanout=fanout,
                processes=asked.jobs,
                controllers=controllers,
                kept=kept,
                heard=heard,
            )
    except KeyboardInterrupt:
        if kept is not None:
            _say("Interrupted. What is done is kept: the same command goes on from there.")
        raise


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
        _say(f"{err} Spreading over {local.says} instead.")
        yield local
        return
    try:
        yield ray
    finally:
        ray.close()
