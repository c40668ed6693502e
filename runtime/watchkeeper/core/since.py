"""Times as people type them (`12h`, `90m`, a moment) and as they are told (`2 h 48 min`). Pure."""

import re
from datetime import UTC, datetime, timedelta

from watchkeeper.core.errors import UsageError

_SPAN = re.compile(r"([0-9]{1,6})\s*(m|min|h|d|w)")
_UNIT = {
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def since(text: str) -> datetime | timedelta:
    """How long ago (`90m`, `12h`, `2d`), or the moment that `2026-11-20T18:00` names (UTC where it
    has no zone). Raises UsageError."""
    told = text.strip()
    found = _SPAN.fullmatch(told)
    try:
        if found:
            return int(found[1]) * _UNIT[found[2]]
        at = datetime.fromisoformat(told)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as err:
        raise UsageError(
            f"{told[:60]!r} is no span and no time. Write 12h, 90m or 2d, or a moment such as "
            "2026-11-20T18:00+01:00."
        ) from err


def seconds(text: str) -> float:
    """`24h`, `1h`, `10m`, `30s`, `2d` in seconds. Raises UsageError."""
    sizes = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    try:
        found = float(text[:-1]) * sizes[text[-1]]
    except (KeyError, ValueError, IndexError):
        raise UsageError(f"{text!r} is not a length of time. Write 24h, 10m or 30s.") from None
    if not 0 < found < 1e9:
        raise UsageError(f"{text!r} must be longer than nothing and shorter than 30 years.")
    return found


def span(seconds: float) -> str:
    """A duration as people say it: `40 s`, `9 min`, `2 h 48 min`, `3 d 4 h`."""
    s = max(0, round(seconds))
    if s < 120:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min"
    whole, part, unit, small = (
        (s // 3600, s % 3600 // 60, "h", "min")
        if s < 86400
        else (s // 86400, s % 86400 // 3600, "d", "h")
    )
    return f"{whole} {unit} {part} {small}" if part else f"{whole} {unit}"
