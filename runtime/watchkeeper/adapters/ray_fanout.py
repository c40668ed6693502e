"""Spreads work over Ray tasks: one task for each item, on the cluster of RAY_ADDRESS or, where
none is named, on a Ray of this machine's own that ends with us. Meets core.fanout.Fanout.

The tasks run in Ray's workers; their machines need the same version of this package.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.fanout import Item, Result


class RayFanout:
    """Raises ClusterUnavailable when Ray is not installed or does not start or answer."""

    def __init__(self, address: str | None = None, most_at_once: int = 0) -> None:
        try:
            import ray
        except ImportError as err:
            raise ClusterUnavailable(f"Ray is not installed: {err}.") from err
        self._ray: Any = ray
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._mine = not ray.is_initialized()
        if self._mine:
            self._begin()
        self._most = most_at_once or 4 * max(1, int(ray.cluster_resources().get("CPU", 1)))

    def _begin(self) -> None:
        try:
            self._ray.init(
                address=self._address,
                include_dashboard=False if self._address == "local" else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as err:  # Ray raises many kinds; all mean that there is no cluster
            raise ClusterUnavailable(f"Ray at {self._address} does not answer: {err}") from err

    @property
    def says(self) -> str:
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        where = "a Ray of this machine" if self._address == "local" else self._address
        return f"Ray tasks on {cores} cores ({where})"

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Meets Fanout. At most a few tasks a core are in flight; what still runs is cancelled
        when a result raises or nobody asks on."""
        ray = self._ray
        task = ray.remote(num_cpus=1, max_retries=2)(function)
        waiting = list(enumerate(items))[::-1]
        running: dict[Any, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._most:
                    i, item = waiting.pop()
                    running[task.remote(item)] = i
                done, _ = ray.wait(list(running), num_returns=1)
                i = running.pop(done[0])
                try:
                    yield i, ray.get(done[0])
                except ray.exceptions.RayTaskError as err:
                    raise err.cause from None
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """End our part in Ray, if it was ours to begin."""
        if self._mine:
            self._ray.shutdown()
