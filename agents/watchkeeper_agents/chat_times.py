"""Times and numbers as people type them: `until 07:00`, `for 2 hours`, `two`. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from watchkeeper.core.desk import Board

DEFAULT = timedelta(hours=12)
"""How long a hold lasts for which nobody said until when."""
MORNING = 7
_NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "twelve": 12, "half": 0,
}  # fmt: skip
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = r"(?:(?P<hour>[01]?\d|2[0-3])(?::(?P<minute>[0-5]\d))?(?: ?(?P<half>am|pm))?)"
_DAY = r"(?P<day>today|tomorrow|mon\w*|tue\w*|wed\w*|thu\w*|fri\w*|sat\w*|sun\w*)"
_UNTIL = re.compile(
    rf"\b(?:until|till|before|to) (?:(?:{_DAY}|the)(?: morning)?(?: at)?(?: {_CLOCK})?|morning"
    r"|(?P<hour2>[01]?\d|2[0-3])(?::(?P<minute2>[0-5]\d))?(?: ?(?P<half2>am|pm))?"
    r"(?: (?P<day2>tomorrow))?)(?: o'clock)?(?: (?P<zone>utc))?(?=$|[ ,])"
)
_FOR = re.compile(
    r"\bfor (?:the next )?(?P<n>\w+) ?(?P<unit>m|mins?|minutes?|h|hours?|hrs?|d|days?)\b"
)
_NIGHT = re.compile(r"\b(?:tonight|over ?night|for the night|this night)\b")
_EVER = re.compile(r"\b(?:for ever|forever|until further notice|for good)\b")


def numbers(word: str) -> int | None:
    """`2` or `two`; None for anything else."""
    if word.isdigit() and len(word) <= 4:
        return int(word)
    return _NUMBERS.get(word) or None


def until_of(said: str, board: Board) -> tuple[datetime | None, str]:
    """(until when in UTC, the rest of the words). Twelve hours where nothing is said; None where
    something is said that is not understood."""
    at = board.at
    local = at.astimezone(ZoneInfo(board.zone))
    if found := _FOR.search(said):
        count = numbers(found["n"])
        if not count:
            return None, said
        unit = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
        return at + count * unit[found["unit"][0]], _without(said, found)
    if found := _NIGHT.search(said):
        return _next(local, MORNING, 0), _without(said, found)
    if found := _EVER.search(said):
        return None, said
    if found := _UNTIL.search(said):
        return _until(found, local), _without(said, found)
    if re.search(r"\b(?:until|till)\b", said):
        return None, said
    return at + DEFAULT, said


def _until(found: re.Match[str], local: datetime) -> datetime | None:
    if found["zone"]:
        local = local.astimezone(UTC)
    text = found["hour"] or found["hour2"]
    hour = int(text) if text else MORNING
    minute = int(found["minute"] or found["minute2"] or 0)
    half = found["half"] or found["half2"]
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    day = found["day"] or found["day2"] or ""
    if not day or day == "today":
        return _next(local, hour, minute)
    then = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if day == "tomorrow":
        return (then + timedelta(days=1)).astimezone(UTC)
    ahead = (_DAYS.index(day[:3]) - local.weekday()) % 7
    then += timedelta(days=ahead)
    return (then if then > local else then + timedelta(days=7)).astimezone(UTC)


def _next(local: datetime, hour: int, minute: int) -> datetime:
    """The next such time of day, in UTC."""
    then = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (then if then > local else then + timedelta(days=1)).astimezone(UTC)


def _without(said: str, found: re.Match[str]) -> str:
    return " ".join(f"{said[: found.start()]} {said[found.end() :]}".split())
