"""What was derived from an object is kept as long as that very object comes again.

For readings that are handed on unchanged from turn to turn. Told apart by identity, never by value;
so the argument must be something that nobody changes once it was handed out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

A = TypeVar("A")
R = TypeVar("R")


def once_for(derive: Callable[[A], R]) -> Callable[[A], R]:
    """The same function, which remembers its last argument and what it made of it. Holding the
    argument keeps it alive, so that no other object can take its identity."""
    last: tuple[A, R] | None = None

    @wraps(derive)
    def remembered(of: A) -> R:
        nonlocal last
        held = last  # one read: doors ask from threads of their own
        if held is None or held[0] is not of:
            held = last = (of, derive(of))
        return held[1]

    return remembered
