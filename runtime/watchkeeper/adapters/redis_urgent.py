"""Wakes the watch when a signal lands, instead of at its next turn. Asked by wiring.

Only says that something came: what it says is read, checked and believed by the turn, which reads
the streams itself. A flood wakes no more often than `GAP_S`; a Redis that is away is tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from watchkeeper.adapters.redis_connection import ANSWER_TIMEOUT_S, Keys, connect, reaching
from watchkeeper.core.errors import ClusterUnavailable

log = logging.getLogger("watchkeeper.urgent")
GAP_S = 0.1
"""Least time between two wakes: tenants can write to the stream that comes through Ray."""
BLOCK_MS = int(ANSWER_TIMEOUT_S * 500)
RETRY_S = 1.0


class UrgentSignals:
    """A thread that waits on the signal streams of one cluster."""

    def __init__(self, url: str, cluster: str, wake: Callable[[], None]) -> None:
        keys = Keys(cluster)
        self._url = url
        self._client = connect(url)
        self._names = (keys.signals, keys.signals_ray)
        self._wake = wake
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="urgent-signals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End it, within one wait of Redis."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(2 * ANSWER_TIMEOUT_S)
        self._client.close()

    def _run(self) -> None:
        read_to: dict[Any, Any] | None = None
        away = False
        while not self._end.is_set():
            try:
                with reaching(self._url):
                    if read_to is None:
                        read_to = {name: self._newest(name) for name in self._names}
                    came: Any = self._client.xread(read_to, count=1000, block=BLOCK_MS)
                away = False
            except ClusterUnavailable as err:
                if not away:
                    log.warning("signals do not wake the watch for now: %s", err)
                away = True
                read_to = None  # another server may answer next; the turns read what it holds
                self._end.wait(RETRY_S)
                continue
            for stream, entries in came or ():
                read_to[stream.decode()] = entries[-1][0]
            if came:
                self._wake()
                self._end.wait(GAP_S)

    def _newest(self, stream: str) -> Any:
        """Where waiting begins: at what is there already, which the next turn reads anyway."""
        last: Any = self._client.xrevrange(stream, count=1)
        return last[0][0] if last else "0-0"
