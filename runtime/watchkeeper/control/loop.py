"""The loop: one turn after another, woken early by answers, and never ended by a fault of ours."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from watchkeeper.control.turn import turn
from watchkeeper.control.watch import Watch
from watchkeeper.core.errors import JournalBroken

log = logging.getLogger("watchkeeper.loop")


class Loop:
    """Runs turns on a thread of its own until stopped."""

    def __init__(
        self, watch: Watch, interval_s: float, one_turn: Callable[[Watch], None] = turn
    ) -> None:
        self._watch = watch
        self._interval_s = interval_s
        self._turn = one_turn
        self._wake = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch-turns", daemon=True)
        self.turns = 0
        self.faults = 0

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Have the next turn now: a person answered, or an urgent signal came."""
        self._wake.set()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End after the turn under way."""
        self._end.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._end.is_set():
            self._one()
            self._wake.wait(self._interval_s)
            self._wake.clear()

    def _one(self) -> None:
        """One turn. No journal, no effect: page and try again. A bug of ours wakes a person too;
        the loop goes on, since a watch that died silently would be worse."""
        try:
            self._turn(self._watch)
        except JournalBroken as err:
            self.faults += 1
            log.error("%s", err)
            self._page("journal", "The journal cannot be written", str(err))
        except Exception as err:  # the boundary: nothing above it could handle this better
            self.faults += 1
            log.exception("a turn failed")
            self._page(f"turn:{type(err).__name__}", "A turn of the watch failed", f"{err!r}")
        self.turns += 1

    def _page(self, key: str, title: str, body: str) -> None:
        """Once an hour for each key: what is still broken by then deserves another page."""
        self._watch.teller.page(f"{key}:{self._watch.clock.now():%Y%m%dT%H}", title, body)
