"""Copies of control's truth in Redis, for readers, and the series of demand. Asked by control.

Nothing here is read back as truth. Raises nothing but ClusterUnavailable; everything is bounded.
"""

from __future__ import annotations

import math
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from watchkeeper.adapters.redis_connection import Keys, connect, reaching, text
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.core.clock import Clock
from watchkeeper.core.cluster import ClusterState
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.event import Event
from watchkeeper.core.word import canonical
from watchkeeper.demand.occupancy import occupancies

KEEP_EVENTS = 20_000
MAX_COPY_BYTES = 8 * 1024 * 1024
KEEP_FINE_S = 4 * 86400.0
"""So long every point of a demand series is kept: what is drawn, and what a short history has."""
LONG_STEP_S = 600.0
KEEP_LONG = 13 * 7 * 24 * 6
"""A quarter of ten-minute means of each series: what the forecasts learn from."""
STEP_S = 60.0
MAX_SERIES = 1000
_POINT = struct.Struct("<ddd")
_SERVED = struct.Struct("<dddddd")
SERVED_EVERY_S = 60.0
KEEP_SERVED = 3 * 24 * 60
"""Three days of minutes of each deployment: what one replica carries is told from them."""


class RedisMirror:
    """Meets core.ports.Mirror. One writer, one thread."""

    def __init__(
        self, url: str, cluster: str, *, clock: Clock | None = None, step_s: float = STEP_S
    ) -> None:
        """step_s: seconds between two points of a demand series (a lab may want fewer)."""
        self._url = url
        self._keys = Keys(cluster)
        self._client = connect(url)
        self._clock = clock or SystemClock()
        self._step_s = step_s
        self._server: tuple[str, str] | None = None
        self._points: dict[str, tuple[float, int, float, float]] = {}
        self._long: dict[str, tuple[float, int, float, float]] = {}
        self._minutes: dict[str, float] = {}
        # Weeks of minutes are read from Redis once, and from then on only what is new.
        self._series: dict[str, tuple[str, list[tuple[float, float, float]]]] = {}
        self.not_copied = 0
        """Copies and events that were too large to be kept."""

    def close(self) -> None:
        self._client.close()

    def lost(self) -> bool:
        """True once at the start, and once whenever Redis is another server than before or was
        flushed, or a copy could not be written: then every copy must be published anew."""
        with self._reaching():
            info: Any = self._client.info("server")
            run_id = str(info.get("run_id", ""))
            fresh = secrets.token_hex(16)
            # An epoch that is there is kept: only a flush removes it.
            self._client.set(self._keys.epoch, fresh, nx=True)
            epoch = text(self._client.get(self._keys.epoch))
        same = self._server == (run_id, epoch)
        if not same:
            self._series.clear()
        self._server = (run_id, epoch)
        return not same

    def publish(self, name: str, value: bytes) -> None:
        with self._reaching():
            if len(value) > MAX_COPY_BYTES:
                # A missing copy says "not known"; an old one would say what is no longer so.
                self.not_copied += 1
                self._client.delete(self._keys.copy(name))
            else:
                self._client.set(self._keys.copy(name), value)

    def publish_event(self, event: Event) -> None:
        line = canonical(event)
        if len(line) > MAX_COPY_BYTES:
            self.not_copied += 1
            return
        with self._reaching():
            self._client.xadd(self._keys.journal, {"j": line, "seq": event.seq}, maxlen=KEEP_EVENTS)

    def copy_of(self, name: str) -> bytes | None:
        """One copy as it is in Redis, for readers such as `doctor`; None when there is none."""
        with self._reaching():
            value: Any = self._client.get(self._keys.copy(name))
        return value if isinstance(value, bytes) else None

    def record_demand(self, state: ClusterState) -> None:
        """One point for each pool, tenant and step: the mean of what was seen since the last."""
        at, steady = state.read_at.timestamp(), self._clock.steady()
        due: list[tuple[str, int, bytes]] = []
        for name, running, pending in occupancies(state)[:MAX_SERIES]:
            if not (math.isfinite(running) and math.isfinite(pending)):
                continue
            fine = self._mean(self._points, name, (running, pending), self._step_s, steady)
            if fine is not None:
                keep = round(KEEP_FINE_S / self._step_s)
                due.append((self._keys.demand(name), keep, _POINT.pack(at, *fine)))
            long = self._mean(self._long, name, (running, pending), LONG_STEP_S, steady)
            if long is not None:
                due.append((self._keys.demand_long(name), KEEP_LONG, _POINT.pack(at, *long)))
        due += self._served_now(state, steady)
        if not due:
            return
        with self._reaching():
            pipe = self._client.pipeline(transaction=False)
            for key, keep, point in due:
                pipe.xadd(key, {"p": point}, maxlen=keep)
            pipe.execute()

    def _served_now(self, state: ClusterState, steady: float) -> list[tuple[str, int, bytes]]:
        """One minute of each deployment that answered requests and was measured in it."""
        due = []
        for each in state.serving[:MAX_SERIES]:
            since = self._minutes.get(each.name, -math.inf)
            if each.rate is None or len(each.latency_s) != 3 or steady - since < SERVED_EVERY_S:
                continue
            self._minutes[each.name] = steady
            at, ready = each.read_at.timestamp(), float(each.replicas)
            point = _SERVED.pack(at, each.rate, ready, *each.latency_s)
            due.append((self._keys.served(each.name), KEEP_SERVED, point))
        return due

    def served(self, name: str) -> list[tuple[float, ...]]:
        """Minutes of a deployment, oldest first."""
        with self._reaching():
            entries: Any = self._client.xrange(self._keys.served(name))
        points = [(fields or {}).get(b"p", b"") for _, fields in entries]
        read = [_SERVED.unpack(point) for point in points if len(point) == _SERVED.size]
        return sorted(minute for minute in read if all(map(math.isfinite, minute)))

    @staticmethod
    def _mean(
        held: dict[str, tuple[float, int, float, float]],
        name: str,
        seen: tuple[float, float],
        step_s: float,
        steady: float,
    ) -> tuple[float, float] | None:
        """What was seen is added up; the mean when a step is over. The first is told at once."""
        since, n, running, pending = held.get(name, (-math.inf, 0, 0.0, 0.0))
        n, running, pending = n + 1, running + seen[0], pending + seen[1]
        if steady - since < step_s:
            held[name] = (since, n, running, pending)
            return None
        held[name] = (steady, 0, 0.0, 0.0)
        return running / n, pending / n

    def demand_series(self, pool: str) -> list[tuple[float, float, float]]:
        """Ten-minute means as far back as they are kept, then every point."""
        fine = self._read(self._keys.demand(pool), round(KEEP_FINE_S / self._step_s))
        long = self._read(self._keys.demand_long(pool), KEEP_LONG)
        before = fine[0][0] if fine else math.inf
        return [point for point in long if point[0] < before] + fine

    def _read(self, key: str, keep: int) -> list[tuple[float, float, float]]:
        read_to, series = self._series.get(key, ("-", []))
        with self._reaching():
            entries: Any = self._client.xrange(key, min=read_to)
        for name, fields in entries:
            read_to = f"({text(name)}"
            point = (fields or {}).get(b"p", b"")
            if len(point) == _POINT.size:
                at, running, pending = _POINT.unpack(point)
                if all(map(math.isfinite, (at, running, pending))):
                    series.append((at, running, pending))
        series.sort()
        del series[:-keep]
        self._series[key] = (read_to, series)
        return list(series)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """`reaching`, which also remembers that copies may be missing after a failure."""
        try:
            with reaching(self._url):
                yield
        except ClusterUnavailable:
            self._server = None
            raise
