"""What will happen when: a queue of times, each with what is then done.

Equal times come in the order in which they were entered, so that a run is the same to the byte.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import inf

Deed = Callable[[], None]


class Entry:
    """One thing to come; `cancel` takes it off the agenda."""

    __slots__ = ("at_s", "deed")

    def __init__(self, at_s: float, deed: Deed) -> None:
        self.at_s = at_s
        self.deed: Deed | None = deed

    def cancel(self) -> None:
        self.deed = None


class Agenda:
    """Events in order of time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._count = 0

    def enter(self, at_s: float, deed: Deed) -> Entry:
        """Do this then. Something that lies at infinity is never done."""
        entry = Entry(at_s, deed)
        if at_s < inf:
            self._count += 1
            heapq.heappush(self._heap, (at_s, self._count, entry))
        return entry

    def next_s(self) -> float:
        """When the next thing happens; inf when nothing more does."""
        heap = self._heap
        while heap and heap[0][2].deed is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else inf

    def take(self) -> Deed:
        """The next thing itself, taken off. Ask `next_s` first."""
        entry = heapq.heappop(self._heap)[2]
        deed, entry.deed = entry.deed, None
        assert deed is not None
        return deed
