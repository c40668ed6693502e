"""A part of the cluster that a person has asked to be left alone for a time: a stop of that part.

Words and one question: does a hold bear on what would be touched? Pure.
"""

from collections.abc import Iterable
from datetime import datetime

from watchkeeper.core.word import Word

WHOLE = "fleet"
"""The key of everything."""

KINDS = ("node", "rack", "pool", "job", "nvlink_domain", "leaf", "power_feed", "zone")
"""Kinds of thing that can be held, as they stand before the colon of a key."""

MOST_DAYS = 31
"""A longer one is no hold but another policy."""

MOST_HELD = 64
"""Holds at one time: each is read by every verdict that it bears on."""


class Hold(Word, frozen=True):
    """Until then nothing that can take work or capacity away begins on `what`.

    what: keys such as `node:a`, `rack:r4`, `pool:train`, `job:llm`, or `fleet`. until and
    until_steady: the same moment on the wall's clock and on the watch's own; it ends when both
    have passed, so that no step of a clock ends it early (S28).
    """

    id: str
    what: tuple[str, ...]
    by: str
    at: datetime
    until: datetime
    until_steady: float
    reason: str = ""

    def over(self, now: datetime, steady: float) -> bool:
        """Has its time passed, by both clocks?"""
        return now >= self.until and steady >= self.until_steady

    def bears_on(self, keys: Iterable[str]) -> bool:
        """Is one of these keys, or everything, held?"""
        return WHOLE in self.what or any(key in self.what for key in keys)

    @property
    def says(self) -> str:
        """`ana holds rack r4 until 2026-11-18 07:00 UTC (hands in the rack)`."""
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.by} holds {named(self.what)} until {self.until:%Y-%m-%d %H:%M} UTC{why}"


def named(what: Iterable[str]) -> str:
    """Keys as people say them: `rack r4`, `everything`."""
    return ", ".join(
        "everything" if key == WHOLE else " ".join(key.replace("_", " ").split(":", 1))
        for key in what
    )
