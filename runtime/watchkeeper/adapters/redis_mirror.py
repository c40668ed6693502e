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

KEEP_EVENTS = 20_000
MAX_COPY_BYTES = 8 * 1024 * 1024
KEEP_POINTS = 8 * 7 * 24 * 60
"""Eight weeks of minutes for each pool: what the forecasts learn from."""
STEP_S = 60.0
MAX_POOLS = 1000
_POINT = struct.Struct("<ddd")


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
        """One point for each pool and step: the mean of what was seen since the last."""
        at, steady = state.read_at.timestamp(), self._clock.steady()
        due: list[tuple[str, bytes]] = []
        for demand in state.demand[:MAX_POOLS]:
            running, pending = demand.running_gpus, demand.pending_gpus
            if not (math.isfinite(running) and math.isfinite(pending)):
                continue
            held = self._points.get(demand.pool)
            if held is not None:
                since, n, sum_running, sum_pending = held
                n, running, pending = n + 1, sum_running + running, sum_pending + pending
                if steady - since < self._step_s:
                    self._points[demand.pool] = (since, n, running, pending)
                    continue
                running, pending = running / n, pending / n
            due.append((demand.pool, _POINT.pack(at, running, pending)))
        if not due:
            return
        with self._reaching():
            pipe = self._client.pipeline(transaction=False)
            for pool, point in due:
                pipe.xadd(self._keys.demand(pool), {"p": point}, maxlen=KEEP_POINTS)
            pipe.execute()
        for pool, _ in due:
            self._points[pool] = (steady, 0, 0.0, 0.0)

    def demand_series(self, pool: str) -> list[tuple[float, float, float]]:
        read_to, series = self._series.get(pool, ("-", []))
        with self._reaching():
            entries: Any = self._client.xrange(self._keys.demand(pool), min=read_to)
        for name, fields in entries:
            read_to = f"({text(name)}"
            point = (fields or {}).get(b"p", b"")
            if len(point) == _POINT.size:
                at, running, pending = _POINT.unpack(point)
                if all(map(math.isfinite, (at, running, pending))):
                    series.append((at, running, pending))
        series.sort()
        del series[:-KEEP_POINTS]
        self._series[pool] = (read_to, series)
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
