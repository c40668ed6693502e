"""How often one person, and one address, may ask: token buckets on the steady clock, in memory and
bounded. Asked by the guard, the gate and the login; decides nothing else."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass

from watchkeeper.core.clock import Clock

LOGIN_TRIES = 10
LOGIN_WINDOW_S = 60.0
MAX_CLIENTS = 1024


@dataclass(frozen=True, slots=True)
class Rate:
    """burst: requests at once. per_s: how fast the room for them comes back."""

    burst: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Above what people and their open pages do, below what wears the watch down. Many people may
    share one address, behind a proxy."""

    address: Rate = Rate(burst=2400, per_s=200)
    reads: Rate = Rate(burst=600, per_s=20)
    changes: Rate = Rate(burst=120, per_s=2)
    departures: Rate = Rate(burst=60, per_s=0.5)
    """Logins that leave for a provider, of one address: whoever begins many pushes nobody out."""


class Buckets:
    """One bucket for each key, the longest unasked forgotten beyond MAX_CLIENTS: whoever is
    forgotten begins with a full one."""

    def __init__(self, clock: Clock, rate: Rate) -> None:
        self._clock = clock
        self._rate = rate
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, key: str) -> int:
        """Take one; 0, or the whole seconds until there is room again."""
        now, rate = self._clock.steady(), self._rate
        with self._lock:
            left, at = self._left.get(key, (rate.burst, now))
            left = min(rate.burst, left + (now - at) * rate.per_s)
            enough = left >= 1.0
            self._left[key] = (left - 1.0 if enough else left, now)
            self._left.move_to_end(key)
            while len(self._left) > MAX_CLIENTS:
                self._left.popitem(last=False)
        return 0 if enough else math.ceil((1.0 - left) / rate.per_s)

    def __len__(self) -> int:
        return len(self._left)


class LoginGate:
    """At most LOGIN_TRIES failed logins of one client in LOGIN_WINDOW_S."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Seconds until this client may try again; 0 = now."""
        now = self._clock.steady()
        with self._lock:
            tries = self._failed.get(client)
            while tries and now - tries[0] >= LOGIN_WINDOW_S:
                tries.popleft()
            if not tries or len(tries) < LOGIN_TRIES:
                return 0.0
            return LOGIN_WINDOW_S - (now - tries[0])

    def failed(self, client: str) -> None:
        with self._lock:
            tries = self._failed.setdefault(client, deque(maxlen=LOGIN_TRIES))
            tries.append(self._clock.steady())
            self._failed.move_to_end(client)
            while len(self._failed) > MAX_CLIENTS:
                self._failed.popitem(last=False)
