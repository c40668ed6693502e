"""Look once: read cluster and telemetry into the Snapshot of this turn.

A source that fails is named in the snapshot with its last good age; what it said before stays
visible and counts as stale. Looking never acts.
"""

from __future__ import annotations

from watchkeeper.core.clock import Clock
from watchkeeper.core.cluster import ClusterState
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.incident import Signal
from watchkeeper.core.ports import ClusterReader, TelemetrySource
from watchkeeper.core.telemetry import FleetFrame, Snapshot, SourceState
from watchkeeper.health.clocks import Hearing, by_our_clock, listen, put_right

FRESH_S = 15.0
"""A source older than this may raise incidents and never carries an action (S5)."""

MAX_PENDING = 10_000
"""Signals kept between a look and the thinking that takes them; a flood beyond it is dropped and
counted, oldest first, since a fault that lasts is seen again in the snapshot."""


class Looker:
    """Reads both ports; remembers the last good reading and the signals not yet thought about."""

    def __init__(self, reader: ClusterReader, telemetry: TelemetrySource, clock: Clock) -> None:
        self._reader = reader
        self._telemetry = telemetry
        self._clock = clock
        self._state: ClusterState | None = None
        self._state_at = 0.0
        self._frame = FleetFrame.empty()
        self._frame_at: float | None = None
        self._hearing: Hearing | None = None
        self._pending: list[Signal] = []
        self._ray_error = "not read yet"
        self.dropped = 0
        self.refused = 0

    def look(self) -> Snapshot | None:
        """The world as it is now; None until the cluster was read once."""
        ray = self._read_cluster()
        telemetry = self._read_telemetry()
        if self._state is None:
            return None
        return Snapshot(
            at=self._clock.now(),
            steady=self._clock.steady(),
            state=self._state,
            frame=self._frame,
            sources={"ray": ray, "telemetry": telemetry},
        )

    def take_signals(self) -> tuple[Signal, ...]:
        """Signals that came in since the last call, whichever look brought them."""
        taken, self._pending = tuple(self._pending), []
        return taken

    @property
    def ray_error(self) -> str:
        """Why the cluster cannot be read, or an empty string."""
        return self._ray_error

    def _read_cluster(self) -> SourceState:
        try:
            self._state = self._reader.read()
            self._state_at = self._clock.steady()
            self._ray_error = ""
        except ClusterUnavailable as err:
            self._ray_error = str(err)
        age = None if self._state is None else self._clock.steady() - self._state_at
        return SourceState("ray", age, self._ray_error)

    def _read_telemetry(self) -> SourceState:
        try:
            read = self._telemetry.read()
        except ClusterUnavailable as err:
            age = None if self._frame_at is None else self._clock.steady() - self._frame_at
            return SourceState("telemetry", age, str(err))
        hearing = listen(read.frame, self._hearing, self._clock.now().timestamp())
        self._hearing, self._frame = hearing, by_our_clock(read.frame, hearing)
        self._frame_at = self._clock.steady()
        self.refused += read.refused
        self._pending.extend(put_right(read.signals, hearing))
        overflow = len(self._pending) - MAX_PENDING
        if overflow > 0:
            del self._pending[:overflow]
            self.dropped += overflow
        return read.source


def stale(snapshot: Snapshot) -> str:
    """Why this snapshot may not carry an action, or an empty string."""
    for source in snapshot.sources.values():
        if source.error:
            return f"{source.name} does not answer: {source.error}"
        if source.age_s is None or source.age_s > FRESH_S:
            return f"{source.name} was last read too long ago"
    return ""
