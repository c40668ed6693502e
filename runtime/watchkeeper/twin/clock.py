"""The twin's time. It moves when the cluster plays its events and at no other moment."""

from __future__ import annotations

from datetime import datetime, timedelta

from watchkeeper.core.errors import Bug


class TwinClock:
    """Meets core.clock.Clock. All three times are one: seconds since the twin's beginning."""

    def __init__(self, start: datetime) -> None:
        self.start = start
        self._s = 0.0

    @property
    def s(self) -> float:
        """Seconds since the beginning."""
        return self._s

    def now(self) -> datetime:
        return self.at(self._s)

    def policy_now(self) -> datetime:
        return self.at(self._s)

    def steady(self) -> float:
        return self._s

    def at(self, seconds: float) -> datetime:
        """The wall time of a moment of the twin, to the microsecond."""
        return self.start + timedelta(seconds=seconds)

    def move(self, to_s: float) -> None:
        """Time passes. Raises Bug for a step back: the twin has no such thing."""
        if to_s < self._s:
            raise Bug(f"the twin's clock cannot go back from {self._s:g} s to {to_s:g} s")
        self._s = to_s
