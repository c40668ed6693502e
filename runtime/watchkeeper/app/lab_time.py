"""`--lab-time "[DAY ]HH:MM"`: the shift that makes policy windows see another hour, in the lab."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from watchkeeper.core.errors import UsageError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:(mon|tue|wed|thu|fri|sat|sun)\s+)?([01]?\d|2[0-3]):([0-5]\d)", re.I)


def policy_offset(text: str, zone: str, now: datetime) -> timedelta:
    """How far to shift `now` so that it reads as `text` in `zone`; the default day is Wednesday.

    The next such moment in the future is taken, so dated rules see a plausible date. Raises
    UsageError when `text` is not of the form.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f'--lab-time {text!r} is not a time. Write "HH:MM" or "DAY HH:MM", such as "02:30" '
            'or "sat 14:00".'
        )
    day = DAYS.index((match[1] or "wed").lower())
    local = now.astimezone(ZoneInfo(zone))
    target = local.replace(hour=int(match[2]), minute=int(match[3]), second=0, microsecond=0)
    target += timedelta(days=(day - local.weekday()) % 7)
    if target < local:
        target += timedelta(days=7)
    # In UTC: two times of one zone are subtracted by their clock faces, and the clocks may change.
    return target.astimezone(UTC) - now.astimezone(UTC)
