"""When windows are open: midnight, changing clocks, holidays, and how it is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.policy_case import policy

from watchkeeper.policy.model import Window
from watchkeeper.policy.windows import (
    closes_at,
    is_open,
    opening_at,
    opens_at,
    say,
    stand_at,
    standing,
)

WEEK = frozenset(range(7))


def window(
    begin: str,
    end: str,
    tz: str = "Europe/Berlin",
    days: frozenset[int] = WEEK,
    holidays: str = "",
) -> Window:
    def minutes(text: str) -> int:
        return int(text[:2]) * 60 + int(text[3:])

    return Window("w", days, minutes(begin), minutes(end), ZoneInfo(tz), holidays)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NIGHT = window("22:00", "06:00")
MONDAYS = window("22:00", "06:00", days=frozenset({0}))


@pytest.mark.parametrize(
    ("win", "at", "wanted"),
    [
        (NIGHT, "2026-01-15T20:59:59", False),
        (NIGHT, "2026-01-15T21:00:00", True),
        (NIGHT, "2026-01-15T23:30:00", True),
        (NIGHT, "2026-01-16T04:59:59", True),
        (NIGHT, "2026-01-16T05:00:00", False),
        (NIGHT, "2026-07-15T20:00:00", True),
        (MONDAYS, "2026-01-12T22:00:00", True),
        (MONDAYS, "2026-01-13T04:00:00", True),
        (MONDAYS, "2026-01-12T04:00:00", False),
        (MONDAYS, "2026-01-13T22:00:00", False),
        (window("00:00", "24:00", days=frozenset({5, 6})), "2026-01-16T23:30:00", True),
        (window("00:00", "24:00", days=frozenset({5, 6})), "2026-01-18T23:30:00", False),
        (window("09:00", "17:00", tz="America/New_York"), "2026-03-09T13:00:00", True),
        (window("09:00", "17:00", tz="America/New_York"), "2026-03-06T13:30:00", False),
        (window("22:00", "06:00", tz="Asia/Kolkata"), "2026-01-15T16:30:00", True),
        (window("22:00", "06:00", tz="Australia/Lord_Howe"), "2026-01-15T10:59:00", False),
        (window("22:00", "06:00", tz="Australia/Lord_Howe"), "2026-01-15T11:00:00", True),
    ],
)
def test_a_window_is_open_from_its_first_minute_until_just_before_its_last(
    win: Window, at: str, wanted: bool
) -> None:
    assert is_open(win, utc(at)) is wanted


# Europe/Berlin 2026: 29 March 02:00 -> 03:00 (01:00Z); 25 October 03:00 -> 02:00 (01:00Z).
@pytest.mark.parametrize(
    ("win", "opens", "closes"),
    [
        (window("22:00", "06:00"), "2026-03-28T21:00", "2026-03-29T04:00"),
        (window("22:00", "02:30"), "2026-03-28T21:00", "2026-03-29T01:00"),
        (window("02:30", "06:00"), "2026-03-29T01:00", "2026-03-29T04:00"),
        (window("22:00", "06:00"), "2026-10-24T20:00", "2026-10-25T05:00"),
        (window("22:00", "02:30"), "2026-10-24T20:00", "2026-10-25T00:30"),
        (window("02:30", "06:00"), "2026-10-25T00:30", "2026-10-25T05:00"),
    ],
    ids=[
        "spring: an hour shorter",
        "spring: ends in the hour that never comes",
        "spring: begins in the hour that never comes",
        "autumn: an hour longer",
        "autumn: ends at the first 02:30",
        "autumn: begins at the first 02:30",
    ],
)
def test_clocks_change_and_an_opening_stays_one_piece(win: Window, opens: str, closes: str) -> None:
    begin, end = utc(opens), utc(closes)
    assert not is_open(win, begin - timedelta(seconds=1))
    step = begin
    while step < end:
        assert is_open(win, step), step
        step += timedelta(minutes=5)
    assert not is_open(win, end)
    assert closes_at(win, begin) == end


def test_a_window_within_the_hour_that_never_comes_does_not_open_that_day() -> None:
    win = window("02:15", "02:45")
    assert opens_at(win, utc("2026-03-28T12:00")) == utc("2026-03-30T00:15")


def test_a_window_within_the_hour_that_comes_twice_opens_once() -> None:
    win = window("02:15", "02:45")
    assert is_open(win, utc("2026-10-25T00:20"))
    assert not is_open(win, utc("2026-10-25T01:20"))


def test_public_holidays_keep_a_window_shut() -> None:
    win = window("09:00", "17:00", holidays="DE")
    assert not is_open(win, utc("2026-12-25T10:00"))
    assert is_open(win, utc("2026-12-28T10:00"))
    berlin_only = window("09:00", "17:00", holidays="DE-BE")
    assert not is_open(berlin_only, utc("2026-03-08T10:00"))
    assert is_open(window("09:00", "17:00", holidays="DE"), utc("2026-03-08T10:00"))


def test_a_night_that_begins_on_a_holiday_stays_shut_until_morning() -> None:
    win = window("22:00", "06:00", holidays="DE")
    assert not is_open(win, utc("2026-12-26T02:00"))  # the night of the 25th
    assert is_open(win, utc("2026-12-25T02:00"))  # the night of the 24th


@pytest.mark.parametrize(
    ("win", "at", "said"),
    [
        (NIGHT, "2026-01-15T23:00", "w: open until 06:00 Europe/Berlin (05:00Z)"),
        (NIGHT, "2026-01-15T12:00", "w: shut until 22:00 Europe/Berlin (21:00Z)"),
        (MONDAYS, "2026-01-13T12:00", "w: shut until Mon 19 Jan 22:00 Europe/Berlin (21:00Z)"),
        (window("00:00", "24:00"), "2026-01-13T12:00", "w: always open"),
        (
            window("00:00", "24:00", days=frozenset({5, 6})),
            "2026-01-17T12:00",
            "w: open until Mon 19 Jan 00:00 Europe/Berlin (23:00Z)",
        ),
    ],
)
def test_windows_are_said_in_local_time_with_utc_beside_it(win: Window, at: str, said: str) -> None:
    assert say(win, utc(at)) == said


def test_all_windows_are_said_in_one_line_the_open_ones_first() -> None:
    checked = policy(
        "  - {id: a, effect: allow, actions: [node.drain], during: [a, b]}\n",
        rest=(
            "windows:\n"
            "  a: {days: [wed], from: 06:00, to: 22:00, tz: UTC}\n"
            "  b: {days: [wed], from: 00:00, to: 06:00, tz: UTC}\n"
        ),
    )
    assert standing(checked, utc("2026-03-18T02:00")) == (
        "b: open until 06:00 UTC (06:00Z); a: shut until 06:00 UTC (06:00Z)"
    )


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]


@given(
    begin=st.integers(0, 1439),
    end=st.integers(1, 1440),
    tz=st.sampled_from(ZONES),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    minute=st.integers(0, 60 * 24 * 365),
)
def test_away_from_clock_changes_a_window_is_what_the_clock_on_the_wall_says(
    begin: int, end: int, tz: str, days: frozenset[int], minute: int
) -> None:
    zone = ZoneInfo(tz)
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    around = {(at + timedelta(hours=h)).astimezone(zone).utcoffset() for h in range(-49, 50, 7)}
    if len(around) > 1 or begin == end % 1440:
        return
    local = at.astimezone(zone)
    now, today = local.hour * 60 + local.minute, local.weekday()
    if end > begin:
        wanted = today in days and begin <= now < end
    else:
        wanted = (today in days and now >= begin) or ((today - 1) % 7 in days and now < end)
    assert is_open(Window("w", days, begin, end, zone), at) is wanted


@given(
    begin=st.integers(0, 1439),
    end=st.integers(1, 1440),
    tz=st.sampled_from(ZONES),
    minute=st.integers(0, 60 * 24 * 365),
)
def test_what_closes_was_open_and_what_opens_was_shut(
    begin: int, end: int, tz: str, minute: int
) -> None:
    win = Window("w", frozenset({0, 2, 5}), begin, end, ZoneInfo(tz))
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    second = timedelta(seconds=1)
    closes, opening = closes_at(win, at), opening_at(win, at)
    assert (closes is not None) == (opening is not None) == is_open(win, at)
    if closes is not None:
        assert is_open(win, closes - second)
        assert not is_open(win, closes)
    opens = opens_at(win, at)
    assert opens is not None
    assert opens > at
    assert is_open(win, opens)


FOUR = """windows:
  night: {days: [mon, tue, wed, thu, fri, sat, sun], from: "22:00", to: "06:00", tz: Europe/Berlin}
  work:
    days: [mon, tue, wed, thu, fri]
    from: "09:00"
    to: "17:00"
    tz: America/New_York
    holidays: US
  always: {days: [mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00", tz: Asia/Kolkata}
  gap:
    days: [sun]
    from: "02:15"
    to: "02:45"
    tz: Australia/Lord_Howe
    first: 2026-02-01
    last: 2026-11-30
"""


@given(
    at=st.datetimes(datetime(2025, 12, 1), datetime(2027, 2, 1)),
    near=st.sampled_from((None, "2026-03-29T01:00", "2026-10-25T01:00", "2026-04-04T15:00")),
)
def test_the_quick_look_at_all_windows_tells_what_each_tells(
    at: datetime, near: str | None
) -> None:
    moment = at.replace(tzinfo=UTC)
    if near is not None:  # within hours of a change of clocks
        moment = utc(near) + timedelta(seconds=moment.timestamp() % 43_200 - 21_600)
    stand = stand_at(POLICY, moment)
    assert stand.says == {name: say(w, moment) for name, w in POLICY.windows.items()}
    assert stand.shut == {n for n, w in POLICY.windows.items() if not is_open(w, moment)}


POLICY = policy("", rest=FOUR)
