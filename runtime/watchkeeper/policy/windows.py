"""When is a window open? Asked by the judge for each verdict and by the page that prints it.

A window is a row of openings: each begins at `from` on one of its days and ends at the next
`to`, as moments on the time line, so no opening is doubled or torn when clocks change:
- an hour that comes twice (autumn): `from` and `to` both mean its first coming;
- an hour that never comes (spring): `from` and `to` both mean the moment of the change.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from watchkeeper.policy.model import CheckedPolicy, Window

_DAY = timedelta(days=1)
_DAY_MIN = 1440
_AHEAD_DAYS = 370
"""How far ahead an opening is looked for: past a year, every weekday and holiday has come."""


class Opening(NamedTuple):
    """One time that a window is open: from `opens` on, until just before `closes`, aware UTC."""

    opens: datetime
    closes: datetime


def is_open(window: Window, at: datetime) -> bool:
    """Is the window open at this moment (aware)?"""
    return opening_at(window, at) is not None


def opening_at(window: Window, at: datetime) -> Opening | None:
    """The opening that covers this moment, or None."""
    for opening in _openings_near(window, _utc(at).date()):
        if opening.opens <= at < opening.closes:
            return opening
    return None


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo is UTC else at.astimezone(UTC)  # nearly always UTC already


@functools.lru_cache(maxsize=4096)
def _openings_near(window: Window, day: date) -> tuple[Opening, ...]:
    """The openings that cover any of this UTC day. They begin on a local day at most two away:
    one for the zone, one for a night that goes on into the next day."""
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    found = [_opening_on(window, day + away * _DAY) for away in (0, -1, 1, -2, 2)]
    return tuple(o for o in found if o and o.opens < begins + _DAY and begins < o.closes)


def closes_at(window: Window, at: datetime) -> datetime | None:
    """When the present opening ends, taking one that joins on as the same; None when shut."""
    opening = opening_at(window, at)
    if opening is None:
        return None
    return _end_of_row(window, opening.closes)


@functools.lru_cache(maxsize=1024)
def _end_of_row(window: Window, closes: datetime) -> datetime:
    """When the last of the openings ends that join on to one another."""
    for _ in range(_AHEAD_DAYS):
        following = opening_at(window, closes)
        if following is None:
            return closes
        closes = following.closes
    return closes


def opens_at(window: Window, at: datetime) -> datetime | None:
    """The next time that it opens, after this moment; None when it never does (again)."""
    today = max(at.astimezone(window.zone).date(), window.first)
    for ahead in range(_AHEAD_DAYS):
        opening = _opening_on(window, today + ahead * _DAY)
        if opening is not None and opening.opens > at:
            return opening.opens
    return None


def say(window: Window, at: datetime) -> str:
    """`night: open until 06:00 Europe/Berlin (05:00Z)`, or when it opens next."""
    at = _utc(at).replace(second=0, microsecond=0)  # windows move by the minute
    closes = closes_at(window, at)
    if closes is not None:
        if closes - at > _AHEAD_DAYS * _DAY / 2:
            return f"{window.name}: always open"
        return f"{window.name}: open until {_clock(window, closes, at)}"
    opens = opens_at(window, at)
    if opens is None:
        return f"{window.name}: shut, and does not open again"
    return f"{window.name}: shut until {_clock(window, opens, at)}"


class Stand(NamedTuple):
    """How all windows of a policy stand at one moment. shut: the names of those that are not
    open. says: what `say` says of each, by name."""

    shut: frozenset[str]
    says: Mapping[str, str]


def stand_at(policy: CheckedPolicy, at: datetime) -> Stand:
    """How the windows stand now; what `is_open` and `say` tell of each, for a hot path.

    A day falls into few stretches in which nothing of this changes, so a verdict looks it up.
    """
    at = _utc(at)
    begins, stands = _stands(policy, at.toordinal())
    return stands[bisect_right(begins, at.hour * 60 + at.minute) - 1]


@functools.lru_cache(maxsize=64)
def _stands(policy: CheckedPolicy, ordinal: int) -> tuple[tuple[int, ...], tuple[Stand, ...]]:
    """The stretches of one UTC day: the minute at which each begins, and how all stand in it."""
    windows, day = policy.windows.values(), date.fromordinal(ordinal)
    begins = sorted({0}.union(*(_turns(window, day) for window in windows)))
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    moments = [midnight + timedelta(minutes=minute) for minute in begins]
    stands = tuple(
        Stand(
            shut=frozenset([w.name for w in windows if not is_open(w, at)]),
            says={w.name: say(w, at) for w in windows},
        )
        for at in moments
    )
    return tuple(begins), stands


def _turns(window: Window, day: date) -> set[int]:
    """The minutes of a UTC day at which a window may open, shut, or be said otherwise.

    What is said names a moment, and changes at it, whole days before it (or just after), and at
    local midnight.
    """
    begins = datetime(day.year, day.month, day.day, tzinfo=UTC)
    moments = {m for o in _openings_near(window, day) for m in o}
    moments |= {_end_of_row(window, closes) for closes in moments}
    today = _day(window, begins)
    moments |= {_moment(window, today + away * _DAY, 0) for away in (0, 1, 2)}
    if (following := opens_at(window, begins + _DAY)) is not None:
        moments.add(following)
    at = {-int(-m.timestamp() // 60) for m in moments}  # rounded up
    return {minute % _DAY_MIN for first in at for minute in (first, first + 1)}


def standing(policy: CheckedPolicy, at: datetime) -> str:
    """All windows in one line, the open ones first; for the page and `status`."""
    ordered = sorted(policy.windows.values(), key=lambda w: (not is_open(w, at), w.name))
    return "; ".join(say(window, at) for window in ordered) or "no windows"


def is_calendar(code: str) -> bool:
    """Is there a holiday calendar of this name, such as `DE` or `DE-BE`?"""
    country, _, region = code.partition("-")
    known = _holidays().list_supported_countries(include_aliases=True)
    return country in known and (not region or region in known[country])


def _clock(window: Window, moment: datetime, at: datetime) -> str:
    """A moment on the window's clock. Only one that is a day away, or more, needs its date."""
    far = moment - at >= _DAY and _day(window, moment) != _day(window, at)
    return _written(window, moment, far=far)


def _day(window: Window, moment: datetime) -> date:
    return moment.astimezone(window.zone).date()


@functools.lru_cache(maxsize=1024)
def _written(window: Window, moment: datetime, *, far: bool) -> str:
    local = moment.astimezone(window.zone)
    day = f"{local:%a %d %b} " if far else ""
    return f"{day}{local:%H:%M} {window.tz} ({moment.astimezone(UTC):%H:%M}Z)"


@functools.lru_cache(maxsize=4096)
def _opening_on(window: Window, day: date) -> Opening | None:
    """The opening that begins on this local day, or None. The same for ever, so remembered."""
    if day.weekday() not in window.days or not window.first <= day <= window.last:
        return None
    if _is_holiday(window.holidays, day):
        return None
    last = day + _DAY if window.to_min <= window.from_min else day
    opens = _moment(window, day, window.from_min)
    closes = _moment(window, last, window.to_min)
    return Opening(opens, closes) if opens < closes else None


def _moment(window: Window, day: date, minute: int) -> datetime:
    """Local midnight plus so many minutes on the clock on the wall, as a moment in UTC."""
    naive = datetime(day.year, day.month, day.day) + timedelta(minutes=minute)  # noqa: DTZ001
    first = naive.replace(tzinfo=window.zone, fold=0).astimezone(UTC)
    if first.astimezone(window.zone).replace(tzinfo=None) == naive:
        return first
    # The clock jumped over this time. fold=1 and fold=0 lie on either side of the jump.
    before = naive.replace(tzinfo=window.zone, fold=1).astimezone(UTC)
    return _jump_between(window, before, first)


def _jump_between(window: Window, before: datetime, after: datetime) -> datetime:
    """The second at which the zone's offset changes between two moments."""
    old = before.astimezone(window.zone).utcoffset()
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        moment = before + timedelta(seconds=middle)
        if moment.astimezone(window.zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return before + timedelta(seconds=high)


def _is_holiday(code: str, day: date) -> bool:
    return bool(code) and day in _calendar(code, day.year)


@functools.lru_cache(maxsize=64)
def _calendar(code: str, year: int) -> frozenset[date]:
    country, _, region = code.partition("-")
    found = _holidays().country_holidays(country, subdiv=region or None, years=year)
    return frozenset(found.keys())


def _holidays() -> Any:
    """The calendar library; imported late, since few policies name a calendar."""
    import holidays

    return holidays
