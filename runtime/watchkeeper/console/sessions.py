"""Who is signed in: random ids in cookies, people behind them, in memory and bounded.

Sessions end by idleness, by age, by signing out, and when the watch ends. Never written to disk.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import OrderedDict
from dataclasses import dataclass

from watchkeeper.core.clock import Clock, Ids
from watchkeeper.core.desk import Person

IDLE_S = 30 * 60.0
ABSOLUTE_S = 12 * 3600.0
STEP_UP_S = 15 * 60.0
"""To approve what stops work, a person must have signed in within this time."""

MAX_SESSIONS = 256


@dataclass(frozen=True, slots=True)
class Spans:
    """How long a session lasts, in seconds: unused, in all, and as proof of who is there."""

    idle_s: float = IDLE_S
    absolute_s: float = ABSOLUTE_S
    step_up_s: float = STEP_UP_S


@dataclass(slots=True)
class Session:
    """One signed-in browser or script. Times are seconds on the steady clock.

    proven: when its person last proved who they are; never, for an API token. door: `link`,
    `sign-on` or `token`. claimed: roles that the sign-on's claims, or the token's scope, give.
    """

    key: str
    person: Person
    csrf: str
    began: float
    used: float
    proven: float | None = None
    door: str = "link"
    claimed: tuple[str, ...] = ()

    def csrf_matches(self, given: str) -> bool:
        return hmac.compare_digest(self.csrf.encode(), given.encode())


class Sessions:
    """Begins, finds and ends sessions. Only a hash of each id is kept."""

    def __init__(self, clock: Clock, ids: Ids, spans: Spans | None = None) -> None:
        self._clock = clock
        self._ids = ids
        self.spans = spans or Spans()
        self._lock = threading.Lock()
        self._live: OrderedDict[str, Session] = OrderedDict()

    def begin(
        self,
        person: Person,
        replaces: str = "",
        *,
        door: str = "link",
        claimed: tuple[str, ...] = (),
        proven_ago_s: float = 0.0,
    ) -> tuple[str, Session]:
        """A fresh id and its session; the one it replaces ends (rotation at login and at step-up).
        The longest unused session gives way when there are MAX_SESSIONS. proven_ago_s: how long
        ago the provider saw this person, where it says so."""
        secret = self._ids.secret()
        now = self._clock.steady()
        session = Session(
            _key(secret),
            person,
            self._ids.secret(),
            now,
            now,
            proven=now - max(0.0, proven_ago_s),
            door=door,
            claimed=claimed,
        )
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

    def end_all(self, name: str) -> int:
        """End every session of this person; says how many."""
        with self._lock:
            theirs = [key for key, s in self._live.items() if s.person.name == name]
            for key in theirs:
                del self._live[key]
            return len(theirs)

    def of(self, name: str) -> tuple[Session, ...]:
        """This person's live sessions, the longest unused first."""
        with self._lock:
            keys = list(self._live)
            live = [s for key in keys if (s := self._current(key)) is not None]
            return tuple(s for s in live if s.person.name == name)

    def fresh(self, session: Session) -> bool:
        """Has a person proved within the step-up time that it is they who sit there?"""
        if session.proven is None:
            return False
        return self._clock.steady() - session.proven <= self.spans.step_up_s

    def now(self) -> float:
        """The time that sessions count by."""
        return self._clock.steady()

    def unguessed(self) -> str:
        """A secret that nobody is told."""
        return self._ids.secret()

    def __len__(self) -> int:
        return len(self._live)

    def _current(self, key: str) -> Session | None:
        session = self._live.get(key)
        if session is None:
            return None
        now = self._clock.steady()
        spans = self.spans
        if now - session.used > spans.idle_s or now - session.began > spans.absolute_s:
            del self._live[key]
            return None
        return session


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
