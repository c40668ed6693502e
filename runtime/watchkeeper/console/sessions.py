"""Who is signed in: random ids in cookies, people behind them, in memory and bounded.

Sessions end by idleness, by age, by signing out, and when the watch ends. Never written to disk.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass

from watchkeeper.core.clock import Clock, Ids
from watchkeeper.core.desk import Person

IDLE_S = 30 * 60.0
ABSOLUTE_S = 12 * 3600.0
MAX_SESSIONS = 256
LOGIN_TRIES = 10
LOGIN_WINDOW_S = 60.0
MAX_CLIENTS = 1024


@dataclass(slots=True)
class Session:
    """One signed-in browser or script. Times are seconds on the steady clock."""

    key: str
    person: Person
    csrf: str
    began: float
    used: float

    def csrf_matches(self, given: str) -> bool:
        return hmac.compare_digest(self.csrf.encode(), given.encode())


class Sessions:
    """Begins, finds and ends sessions. Only a hash of each id is kept."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._clock = clock
        self._ids = ids
        self._lock = threading.Lock()
        self._live: OrderedDict[str, Session] = OrderedDict()

    def begin(self, person: Person, replaces: str = "") -> tuple[str, Session]:
        """A fresh id and its session; the one it replaces ends (rotation on login). The longest
        unused session gives way when there are MAX_SESSIONS."""
        secret = self._ids.secret()
        now = self._clock.steady()
        session = Session(_key(secret), person, self._ids.secret(), now, now)
        with self._lock:
            if replaces:
                self._live.pop(_key(replaces), None)
            while len(self._live) >= MAX_SESSIONS:
                self._live.popitem(last=False)
            self._live[session.key] = session
        return secret, session

    def find(self, secret: str, *, used: bool = True) -> Session | None:
        """The live session of this id; with `used`, count it as used now."""
        with self._lock:
            session = self._current(_key(secret))
            if session is not None and used:
                session.used = self._clock.steady()
                self._live.move_to_end(session.key)
            return session

    def alive(self, session: Session) -> bool:
        """Still signed in? Looking does not count as use: an open page alone keeps nobody in."""
        with self._lock:
            return self._current(session.key) is session

    def end(self, session: Session) -> None:
        with self._lock:
            self._live.pop(session.key, None)

    def __len__(self) -> int:
        return len(self._live)

    def _current(self, key: str) -> Session | None:
        session = self._live.get(key)
        if session is None:
            return None
        now = self._clock.steady()
        if now - session.used > IDLE_S or now - session.began > ABSOLUTE_S:
            del self._live[key]
            return None
        return session


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


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
