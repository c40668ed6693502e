"""A cabinet of the books: everything by its id, oldest first, and an index of what is not over yet.

A long run leaves thousands of ended proposals and incidents behind; a turn asks for the few others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

V = TypeVar("V")


class Filed(dict[str, V]):
    """A dict whose values are put in one by one. `changes` counts these, so that what was derived
    from the values may be kept until then."""

    def __init__(self, lives: Callable[[V], bool]) -> None:
        super().__init__()
        self._lives = lives
        self._living: dict[str, None] = {}
        self.changes = 0

    def __setitem__(self, ident: str, value: V) -> None:
        again = ident in self and ident not in self._living
        super().__setitem__(ident, value)
        self.changes += 1
        if not self._lives(value):
            self._living.pop(ident, None)
        elif again:  # it was over and is not: back to its own place
            self._living = {i: None for i, v in self.items() if self._lives(v)}
        else:
            self._living[ident] = None

    def __delitem__(self, ident: str) -> None:
        super().__delitem__(ident)
        self.changes += 1
        self._living.pop(ident, None)

    def living(self) -> list[V]:
        """Those that are not over, oldest first."""
        return [self[ident] for ident in self._living]
