"""The port for work that may be spread: the same function over many items, each result as it
comes. Met by a Ray cluster, by processes of this machine, or by a plain loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Fanout(Protocol):
    """Spreads pure work. function and items must be picklable; it must be the same everywhere."""

    @property
    def says(self) -> str:
        """Where it runs, for people."""
        ...

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[int, Result]]:
        """(index of the item, its result), as they come; any error of the function is raised."""
        ...
