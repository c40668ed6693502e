"""Times as people type them for a reservation: `18:00`, `mon 09:00`, `2026-12-01 09:00`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from watchkeeper.app.door import ask_watch
from watchkeeper.app.lab_time import DAYS
from watchkeeper.core.errors import UsageError

_FORM = re.compile(
    r"(?:(?P<day>mon|tue|wed|thu|fri|sat|sun)\s+|(?P<date>\d{4}-\d{2}-\d{2})\s+)?"
    r"(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)",
    re.I,
)


def span_of(begin: str, until: str, zone: str, now: datetime) -> tuple[datetime, datetime]:
    """(from, until) in UTC: each the next such moment, `until` counted from the beginning on; from
    `now` where no beginning is said. Raises UsageError."""
    try:
        local = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise UsageError(f"{zone[:60]!r} is no time zone, such as Europe/Berlin.") from None
    minute = now.astimezone(UTC).replace(second=0, microsecond=0)
    first = moment(begin, local, now) if begin else minute
    last = moment(until, local, first)
    if last <= first:
        raise UsageError("It must end after it begins.")
    if last <= now:
        raise UsageError("That time is over.")
    return first, last


def watch_now() -> datetime:
    """The time of the running watch, which times that people type are counted from: the twin's own
    where it watches a twin. Raises NotRunning."""
    return datetime.fromisoformat(ask_watch("now"))


def moment(text: str, zone: ZoneInfo, after: datetime) -> datetime:
    """The next such moment after then, in UTC; a date is itself. Raises UsageError."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f'{text[:60]!r} is not a time. Write "HH:MM", "DAY HH:MM" or "YYYY-MM-DD HH:MM".'
        )
    hour, minute = int(match["hour"]), int(match["minute"])
    if match["date"]:
        try:
            day = datetime.fromisoformat(match["date"])
        except ValueError:
            raise UsageError(f"{match['date']} is no day.") from None
        return day.replace(hour=hour, minute=minute, tzinfo=zone).astimezone(UTC)
    found = after.astimezone(zone).replace(hour=hour, minute=minute, second=0, microsecond=0)
    if match["day"]:
        found += timedelta(days=(DAYS.index(match["day"].lower()) - found.weekday()) % 7)
    step = timedelta(days=7 if match["day"] else 1)
    return (found if found > after else found + step).astimezone(UTC)
