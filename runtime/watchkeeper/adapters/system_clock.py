"""The clock and the names of the real world. Built once by wiring; meets core.clock."""

from __future__ import annotations

import secrets
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path


class SystemClock:
    """Meets core.clock.Clock.

    steady() counts CLOCK_BOOTTIME: it goes on while the host sleeps, and no one can step it. It
    starts at 0 in each process; `rebase` lets the ledger's clock go on from where the journal
    ended, so that a restart ages nothing and refreshes nothing (S28).
    """

    def __init__(self, policy_offset: timedelta = timedelta(0)) -> None:
        """policy_offset: what `up --lab-time` adds to the time that policy windows see."""
        self._offset = policy_offset
        self._base = 0.0
        self._origin = _boot_seconds()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def policy_now(self) -> datetime:
        return self.now() + self._offset

    def steady(self) -> float:
        return self._base + (_boot_seconds() - self._origin)

    def rebase(self, base: float) -> None:
        """From now on steady() counts from `base`. Never backwards."""
        if base > self.steady():
            self._base, self._origin = base, _boot_seconds()


class SystemIds:
    """Meets core.clock.Ids: counters that go on where the journal ended, and real secrets."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._lock = threading.Lock()

    def resume(self, prefix: str, n: int) -> None:
        """`n` was given out already: the next id of this prefix is at least n + 1."""
        with self._lock:
            self._next[prefix] = max(self._next.get(prefix, 0), n)

    def new(self, prefix: str) -> str:
        with self._lock:
            self._next[prefix] = self._next.get(prefix, 0) + 1
            return f"{prefix}-{self._next[prefix]}"

    def secret(self) -> str:
        return secrets.token_urlsafe(24)


def boot_id() -> str:
    """Which boot of this host this is; an empty string where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def booted_at() -> datetime:
    """When the kernel's own clock, which stamps its log, stood at zero."""
    return datetime.now(UTC) - timedelta(seconds=time.monotonic())


def _boot_seconds() -> float:
    # macOS has no CLOCK_BOOTTIME; its monotonic clock stops while the host sleeps.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
