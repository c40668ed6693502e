"""What a door leaves for the turn, and waits for: only the turn makes Proposals.

Two queues of the watch are so: changes of questions (`amend`), and people's wishes (`reserving`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from watchkeeper.core.errors import Refused

WAIT_S = 8.0
"""How long a door waits for the turn. A turn begins at once when it is woken, and may be busy."""


@dataclass(eq=False, kw_only=True)
class Left:
    """One thing that was left. refused: why nothing came of it. done: set once the turn is by."""

    refused: str = ""
    done: threading.Event = field(default_factory=threading.Event)


L = TypeVar("L", bound=Left)


def await_turn(
    lock: threading.RLock, queue: list[L], left: L, nothing: str, timeout_s: float = WAIT_S
) -> None:
    """Wait until the turn has dealt with it. nothing: `Nothing was changed`. Raises Refused where
    the turn did not come to it; then it never will."""
    if left.done.wait(timeout_s):
        return
    with lock:
        if left in queue:  # it was not begun, and shall not be now
            queue.remove(left)
            raise Refused(f"The watch is busy. {nothing}; try again.")
    left.done.wait(timeout_s)


def take_up(lock: threading.RLock, queue: list[L], each: Callable[[L], None]) -> None:
    """A step of the turn: deal with all that was left, oldest first, and let their doors go on."""
    with lock:
        found = list(queue)
        queue.clear()
    for left in found:
        try:
            each(left)
        except Refused as err:
            left.refused = str(err)
        finally:
            left.done.set()
