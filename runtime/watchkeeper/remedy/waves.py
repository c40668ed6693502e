"""Which of these may go now? First a canary, then two, four, eight: pure, asked by the planner.

A wave goes when every step of the one before it was verified. A step that failed holds the next
wave back until a person, or a success of the same kind, speaks for it; one that made things worse
ends the kind for this class of fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """How a step that went ended. Under way: not known yet."""

    UNDER_WAY = "under_way"
    VERIFIED = "verified"
    FAILED = "failed"
    WORSE = "worse"


@dataclass(frozen=True, slots=True)
class Item:
    """One step that wants to go. kind: of action. fault: class of fault. domain: what it must not
    share with another step under way (its rack, or its pool); "" where that is nothing. order: the
    smaller goes first."""

    id: str
    kind: str
    fault: str
    domain: str = ""
    order: tuple[float, str] = (0.0, "")


@dataclass(frozen=True, slots=True)
class Gone:
    """A step that went, and how it ended."""

    kind: str
    fault: str
    result: Result
    domain: str = ""


MOST = 8
"""No wave is larger, however well the ones before it went."""


def may_go(waiting: Iterable[Item], gone: Iterable[Gone], most: int = MOST) -> Mapping[str, str]:
    """Item id -> why it must wait; "" for those that may go now. Counts for each kind of action
    and class of fault apart: what cured link errors proves nothing about memory."""
    by_kind: dict[tuple[str, str], list[Gone]] = {}
    busy: set[str] = set()
    for step in gone:
        by_kind.setdefault((step.kind, step.fault), []).append(step)
        if step.result is Result.UNDER_WAY and step.domain:
            busy.add(step.domain)
    said: dict[str, str] = {}
    left: dict[tuple[str, str], int] = {}
    for item in sorted(waiting, key=lambda i: (i.order, i.id)):
        key = (item.kind, item.fault)
        past = by_kind.get(key, [])
        if key not in left:
            left[key] = room(past, most)
        if any(s.result is Result.WORSE for s in past):
            said[item.id] = f"{item.kind} made a {item.fault} worse; a person must look first."
        elif item.domain and item.domain in busy:
            said[item.id] = f"Another step is under way in {item.domain}."
        elif left[key] <= 0:
            said[item.id] = _why(item, past)
        else:
            said[item.id] = ""
            left[key] -= 1
            if item.domain:
                busy.add(item.domain)
    return said


def room(past: Iterable[Gone], most: int = MOST) -> int:
    """How many more steps may begin now. The wave doubles with what was verified since the last
    failure: none yet, one; then 2, 4, 8."""
    since, under_way, failed = 0, 0, False
    for step in past:
        match step.result:
            case Result.VERIFIED:
                since, failed = since + 1, False
            case Result.FAILED:
                since, failed = 0, True
            case Result.WORSE:
                return 0
            case Result.UNDER_WAY:
                under_way += 1
    if failed:
        return max(0, 1 - under_way)  # a canary again
    wave = 1
    while wave <= since and wave < most:
        wave *= 2
    return max(0, min(wave, most) - under_way)


def _why(item: Item, past: list[Gone]) -> str:
    if any(s.result is Result.UNDER_WAY for s in past):
        return f"The {item.kind} before it is not verified yet."
    return f"One {item.kind} at a time, since the last failed."
