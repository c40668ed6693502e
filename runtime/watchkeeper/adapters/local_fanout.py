"""Spreads work over processes of this machine. Meets core.fanout.Fanout; needs no Ray."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from watchkeeper.core.fanout import Item, Result


class LocalFanout:
    """One process for each core, started afresh (never forked from a process with threads)."""

    def __init__(self, processes: int = 0) -> None:
        self.processes = processes or os.cpu_count() or 1

    @property
    def says(self) -> str:
        return f"{self.processes} processes of this machine"

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Meets Fanout. What still waits is dropped when a result raises or nobody asks on."""
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(self.processes, max(1, len(items))), mp_context=spawn)
        try:
            futures = {pool.submit(function, item): i for i, item in enumerate(items)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
