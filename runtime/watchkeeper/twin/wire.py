"""The way from the instruments to the watch: lines in flight, delivered once.

Copies and outages disturb it; what was said during an outage is delivered afterwards.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from watchkeeper.core.incident import Signal, target_node


class Wire:
    """Signals since the last read. copies: node name -> how often each of its lines comes.
    skew: node name -> seconds that its clock is off."""

    MOST_COPIES = 50
    """More copies than this of one line are cut: the store keeps no more."""

    def __init__(self) -> None:
        self._waiting: list[Signal] = []
        self.copies: dict[str, int] = {}
        self.skew: dict[str, float] = {}
        self.stamp = 0

    def say(self, signal: Signal) -> None:
        """An instrument speaks."""
        node = target_node(signal.target)
        times = self.copies.get(node, 1)
        if node in self.skew:
            signal = replace(signal, at=signal.at + timedelta(seconds=self.skew[node]))
        self._waiting.extend([signal] * max(1, min(times, self.MOST_COPIES)))
        self.stamp += 1

    @property
    def waiting(self) -> tuple[Signal, ...]:
        """What is new and was not read yet: only the driver of a run may look."""
        return tuple(self._waiting)

    def take(self) -> tuple[Signal, ...]:
        """What is new, oldest first."""
        taken, self._waiting = tuple(self._waiting), []
        return taken
