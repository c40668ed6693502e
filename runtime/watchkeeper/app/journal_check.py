"""Does the journal of this watch hold? For the page that says so; it reads the file, as the command
line does, and holds it against the head that Redis has seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from watchkeeper.adapters.journal_file import verify
from watchkeeper.app.redis_head import mirrored_head
from watchkeeper.app.settings import Home
from watchkeeper.core.clock import Clock
from watchkeeper.core.views import JournalCheck


def checker(path: Path, home: Home, clock: Clock) -> Callable[[], JournalCheck]:
    """What the desk calls. A running watch writes on meanwhile: what is half written at the end is
    no problem."""

    def check() -> JournalCheck:
        began = time.monotonic()
        seen = mirrored_head(home)
        found = verify(path, seen)
        return JournalCheck(
            at=clock.now(),
            events=found.events,
            seq=found.head_seq,
            head=found.head_hash,
            problem=found.problem,
            took_s=time.monotonic() - began,
            against=f"the head at {seen[0]} that Redis keeps" if seen else "",
        )

    return check
