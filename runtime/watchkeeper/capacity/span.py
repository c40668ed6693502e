"""`--from 22:00 --until 06:00`: a span of clock times as hours from now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)


def hours_of(begin: str, end: str, zone: str, now: datetime) -> tuple[int, int | None]:
    """(hours ahead at which the span begins, whole hours that it lasts, None for as long as is
    forecast). Without clock times: from now on. A span that is open now begins now.

    Raises ValueError, with what to write, for what is no span.
    """
    if not begin and not end:
        return 0, None
    try:
        local = now.astimezone(ZoneInfo(zone or "UTC"))
        opens = _at(local, begin) if begin else local
        closes = _at(local, end) if end else None
    except (ValueError, KeyError, OSError) as err:
        said = f"{begin or '(now)'} to {end or '(the end)'} {zone} is no span of time"
        raise ValueError(f"{said}. Write times such as 22:00, and a zone such as UTC.") from err
    if closes is not None and begin:
        if closes <= opens:
            closes += DAY
        if closes - DAY > local:  # it is open since yesterday
            opens, closes = local, closes - DAY
        elif opens < local < closes:
            opens = local
    elif closes is not None and closes <= local:
        closes += DAY
    if opens < local:
        opens, closes = opens + DAY, closes + DAY if closes is not None else None
    hour = timedelta(hours=1)
    first = int((opens.astimezone(UTC) - now) / hour)
    if closes is None:
        return first, None
    lasts = (closes.astimezone(UTC) - opens.astimezone(UTC)) / hour
    return first, max(1, -int(-lasts // 1))


def _at(day: datetime, clock: str) -> datetime:
    hours, _, minutes = clock.partition(":")
    return day.replace(hour=int(hours), minute=int(minutes), second=0, microsecond=0)
