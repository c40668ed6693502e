"""Another Fanout in a process of its own, so that what ends it does not end the watch: a Ray
driver dies with its GCS. Meets core.fanout.Fanout. The process ends with the last result.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from watchkeeper.adapters.parent_bound import end_with_parent
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.fanout import Fanout, Item, Result

Make = Callable[[], Fanout]
"""Makes the Fanout over there; picklable."""


class RayAt:
    """Makes a RayFanout on the cluster of this address. Picklable."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self) -> Fanout:
        from watchkeeper.adapters.ray_fanout import RayFanout

        return RayFanout(self._address)


class ApartFanout:
    """Spreads by what `make` makes in a child process. patience_s: without a result for so long,
    the child is ended."""

    def __init__(self, make: Make, says: str, patience_s: float = 1800.0) -> None:
        self._make = make
        self._patience_s = patience_s
        self.says = says

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """Meets Fanout. Raises ClusterUnavailable when the child ends early or is silent."""
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe(duplex=False)
        # Not `daemon`: such a process may have no children, and a Fanout has.
        child = spawn.Process(target=_spread, args=(self._make, function, list(items), theirs))
        child.start()
        theirs.close()
        try:
            for _ in items:
                yield self._next(ours)
        finally:
            ours.close()
            child.join(5)
            if child.is_alive():
                child.terminate()
                child.join()

    def _next(self, ours: Connection) -> Any:
        try:
            if not ours.poll(self._patience_s):
                raise ClusterUnavailable(f"{self.says} gave no result for {self._patience_s:g} s.")
            found = ours.recv()
        except EOFError:
            raise ClusterUnavailable(f"{self.says} ended before all was done.") from None
        if isinstance(found, BaseException):
            raise found
        return found


def _spread(
    make: Make, function: Callable[[Any], Any], items: list[Any], theirs: Connection
) -> None:
    end_with_parent()
    try:
        for found in make().map(function, items):
            theirs.send(found)
    except BrokenPipeError:
        return  # nobody waits any more
    except Exception as err:  # told to whoever asked, who knows what to do without it
        theirs.send(ClusterUnavailable(f"{type(err).__name__}: {err}"))
