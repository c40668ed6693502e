"""Since when, as people type it: `12h`, or a moment. Pure."""

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
