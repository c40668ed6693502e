"""Plays runs one after the other, in processes of this machine, or wherever a Fanout leads.

What comes of a run is handed on as soon as it is there; how far those under way are is told about
once a second. One process of this machine plays one seed, whole, and ends: its memory goes with it.
"""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from watchkeeper.core.errors import WatchkeeperError
from watchkeeper.core.fanout import Fanout
from watchkeeper_evals.remediation.runs import SeedRun, Told, run_one
from watchkeeper_evals.remediation.setup import Setup


class Job(NamedTuple):
    """One run to be played."""

    setup: Setup
    seed: int
    controller: str


Running = dict[Connection, tuple[BaseProcess, list[Job]]]
Heard = Callable[[Job, Told], None]
"""Told how far a run is."""


def play_job(job: Job) -> SeedRun:
    """One job, where it may be anywhere."""
    return run_one(*job)


def in_turn(jobs: Sequence[Job], heard: Heard) -> Iterator[SeedRun]:
    """Here, one after the other."""
    for job in jobs:
        heard(job, Told(0.0))
        yield run_one(*job, lambda told, job=job: heard(job, told))  # type: ignore[misc]


def over_fanout(jobs: Sequence[Job], fanout: Fanout) -> Iterator[SeedRun]:
    """Over tasks that may be on other machines; nobody tells how far they are."""
    for _, run in fanout.map(play_job, jobs):
        yield run


class Lost(WatchkeeperError):
    """A process that played ended without its result."""


def over_processes(jobs: Sequence[Job], processes: int, heard: Heard) -> Iterator[SeedRun]:
    """At most so many processes, each with all jobs of one seed. What fails in one is raised here,
    when all that were under way have been ended. Raises Lost where a process was killed."""
    waiting = [list(each) for each in _by_seed(jobs)][::-1]
    spawn = multiprocessing.get_context("spawn")
    running: Running = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                mine, theirs = spawn.Pipe(duplex=False)
                batch = waiting.pop()
                process: BaseProcess = spawn.Process(
                    target=_work, args=(batch, theirs), daemon=True
                )
                process.start()
                theirs.close()
                running[mine] = (process, batch)
            for pipe in wait(list(running), timeout=5.0):
                assert isinstance(pipe, Connection)
                yield from _hear(pipe, running, heard)
    finally:
        for worker, _ in running.values():
            worker.terminate()
        for worker, _ in running.values():
            worker.join()


def _hear(pipe: Connection, running: Running, heard: Heard) -> Iterator[SeedRun]:
    process, batch = running[pipe]
    try:
        said: tuple[str, Any] = pipe.recv()
    except EOFError:
        process.join()
        raise Lost(
            f"The process that played seed {batch[0].seed} ended with code {process.exitcode}"
            f" before its results were there. With --out, the same command goes on."
        ) from None
    match said:
        case ("told", (n, told)):
            heard(batch[n], told)
        case ("run", run):
            yield run
        case ("failed", err):
            raise err
        case _:
            process.join()
            del running[pipe]
            pipe.close()


def _work(batch: list[Job], pipe: Connection) -> None:
    """In the other process."""
    try:
        for n, job in enumerate(batch):
            pipe.send(("told", (n, Told(0.0))))
            run = run_one(*job, lambda told, n=n: pipe.send(("told", (n, told))))  # type: ignore[misc]
            pipe.send(("run", run))
        pipe.send(("over", None))
    except WatchkeeperError as err:
        pipe.send(("failed", err))


def _by_seed(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    seeds: dict[int, list[Job]] = defaultdict(list)
    for job in jobs:
        seeds[job.seed].append(job)
    yield from seeds.values()
