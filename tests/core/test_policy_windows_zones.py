"""Windows where clocks change: eight zones, the sync-window bugs of others, a second reckoning.

Every row is one opening on one local day. Its moments were worked out by hand from the zone's rule.
"""

# ruff: noqa: E501  (tables read best one case a line)

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import accumulate
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.policy_case import NIGHT, Given, policy

from watchkeeper.core.verdict import Verdict
from watchkeeper.policy.model import CheckedPolicy, Window
from watchkeeper.policy.windows import closes_at, is_open, opening_at, opens_at, say, standing

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def on(day: str, tz: str, hours: str, holidays: str = "") -> Window:
    """A window that opens on the weekday of this day, from-to as in `22:00-06:00`."""
    begin, end = (int(t[:2]) * 60 + int(t[3:]) for t in hours.split("-"))
    weekday = date.fromisoformat(day).weekday()
    return Window("w", frozenset({weekday}), begin, end, ZoneInfo(tz), holidays)


OPENINGS = {
    # 29 March 02:00 -> 03:00 at 01:00Z, 25 October 03:00 -> 02:00 at 01:00Z
    "Europe/Berlin": [
        (
            "spring: all day is 23 hours",
            "2026-03-29",
            "00:00-24:00",
            "2026-03-28T23:00",
            "2026-03-29T22:00",
        ),
        (
            "spring: across midnight after it",
            "2026-03-29",
            "22:00-06:00",
            "2026-03-29T20:00",
            "2026-03-30T04:00",
        ),
        ("spring: exactly the hour that never comes", "2026-03-29", "02:00-03:00", "", ""),
        (
            "spring: until just where the hour is missing",
            "2026-03-29",
            "00:00-02:00",
            "2026-03-28T23:00",
            "2026-03-29T01:00",
        ),
        (
            "autumn: all day is 25 hours",
            "2026-10-25",
            "00:00-24:00",
            "2026-10-24T22:00",
            "2026-10-25T23:00",
        ),
        (
            "autumn: across midnight after it",
            "2026-10-25",
            "22:00-06:00",
            "2026-10-25T21:00",
            "2026-10-26T05:00",
        ),
        (
            "autumn: around the hour that comes twice",
            "2026-10-25",
            "02:00-03:00",
            "2026-10-25T00:00",
            "2026-10-25T02:00",
        ),
    ],
    # 8 March 02:00 -> 03:00 at 07:00Z, 1 November 02:00 -> 01:00 at 06:00Z
    "America/New_York": [
        (
            "spring: across the jump",
            "2026-03-07",
            "22:00-06:00",
            "2026-03-08T03:00",
            "2026-03-08T10:00",
        ),
        (
            "spring: from in the gap",
            "2026-03-08",
            "02:30-06:00",
            "2026-03-08T07:00",
            "2026-03-08T10:00",
        ),
        (
            "spring: to in the gap",
            "2026-03-07",
            "22:00-02:30",
            "2026-03-08T03:00",
            "2026-03-08T07:00",
        ),
        ("spring: both in the gap", "2026-03-08", "02:10-02:50", "", ""),
        (
            "spring: across midnight after it",
            "2026-03-08",
            "22:00-06:00",
            "2026-03-09T02:00",
            "2026-03-09T10:00",
        ),
        (
            "spring: all day is 23 hours",
            "2026-03-08",
            "00:00-24:00",
            "2026-03-08T05:00",
            "2026-03-09T04:00",
        ),
        (
            "autumn: across the repeat",
            "2026-10-31",
            "22:00-06:00",
            "2026-11-01T02:00",
            "2026-11-01T11:00",
        ),
        (
            "autumn: from in the doubled hour",
            "2026-11-01",
            "01:30-06:00",
            "2026-11-01T05:30",
            "2026-11-01T11:00",
        ),
        (
            "autumn: to in the doubled hour",
            "2026-10-31",
            "22:00-01:30",
            "2026-11-01T02:00",
            "2026-11-01T05:30",
        ),
        (
            "autumn: both in the doubled hour",
            "2026-11-01",
            "01:15-01:45",
            "2026-11-01T05:15",
            "2026-11-01T05:45",
        ),
        (
            "autumn: across midnight after it",
            "2026-11-01",
            "22:00-06:00",
            "2026-11-02T03:00",
            "2026-11-02T11:00",
        ),
        (
            "autumn: all day is 25 hours",
            "2026-11-01",
            "00:00-24:00",
            "2026-11-01T04:00",
            "2026-11-02T05:00",
        ),
    ],
    # half an hour: 4 October 02:00 -> 02:30 at 15:30Z, 5 April 02:00 -> 01:30 at 15:00Z
    "Australia/Lord_Howe": [
        (
            "spring: across the jump",
            "2026-10-03",
            "22:00-06:00",
            "2026-10-03T11:30",
            "2026-10-03T19:00",
        ),
        (
            "spring: from in the gap",
            "2026-10-04",
            "02:15-06:00",
            "2026-10-03T15:30",
            "2026-10-03T19:00",
        ),
        (
            "spring: to in the gap",
            "2026-10-03",
            "22:00-02:15",
            "2026-10-03T11:30",
            "2026-10-03T15:30",
        ),
        ("spring: both in the gap", "2026-10-04", "02:05-02:25", "", ""),
        (
            "spring: across midnight after it",
            "2026-10-04",
            "22:00-06:00",
            "2026-10-04T11:00",
            "2026-10-04T19:00",
        ),
        (
            "spring: all day is 23.5 hours",
            "2026-10-04",
            "00:00-24:00",
            "2026-10-03T13:30",
            "2026-10-04T13:00",
        ),
        (
            "autumn: across the repeat",
            "2026-04-04",
            "22:00-06:00",
            "2026-04-04T11:00",
            "2026-04-04T19:30",
        ),
        (
            "autumn: from in the doubled half hour",
            "2026-04-05",
            "01:45-06:00",
            "2026-04-04T14:45",
            "2026-04-04T19:30",
        ),
        (
            "autumn: to in the doubled half hour",
            "2026-04-04",
            "22:00-01:45",
            "2026-04-04T11:00",
            "2026-04-04T14:45",
        ),
        (
            "autumn: all day is 24.5 hours",
            "2026-04-05",
            "00:00-24:00",
            "2026-04-04T13:00",
            "2026-04-05T13:30",
        ),
    ],
    # at midnight: 4 November 2018 00:00 -> 01:00 at 03:00Z, 18 February 00:00 -> 23:00 at 02:00Z
    "America/Sao_Paulo": [
        (
            "spring: across the jump",
            "2018-11-03",
            "22:00-06:00",
            "2018-11-04T01:00",
            "2018-11-04T08:00",
        ),
        (
            "spring: from in the gap",
            "2018-11-04",
            "00:30-06:00",
            "2018-11-04T03:00",
            "2018-11-04T08:00",
        ),
        (
            "spring: to in the gap",
            "2018-11-03",
            "22:00-00:30",
            "2018-11-04T01:00",
            "2018-11-04T03:00",
        ),
        (
            "spring: 24:00 is a midnight that never comes",
            "2018-11-03",
            "00:00-24:00",
            "2018-11-03T03:00",
            "2018-11-04T03:00",
        ),
        (
            "spring: from a midnight that never comes",
            "2018-11-04",
            "00:00-24:00",
            "2018-11-04T03:00",
            "2018-11-05T02:00",
        ),
        (
            "autumn: across the repeat",
            "2018-02-17",
            "22:00-06:00",
            "2018-02-18T00:00",
            "2018-02-18T09:00",
        ),
        (
            "autumn: from in the doubled hour",
            "2018-02-17",
            "23:30-06:00",
            "2018-02-18T01:30",
            "2018-02-18T09:00",
        ),
        (
            "autumn: to in the doubled hour",
            "2018-02-17",
            "20:00-23:30",
            "2018-02-17T22:00",
            "2018-02-18T01:30",
        ),
        (
            "autumn: 24:00 comes after both",
            "2018-02-17",
            "00:00-24:00",
            "2018-02-17T02:00",
            "2018-02-18T03:00",
        ),
        (
            "no change since 2019",
            "2026-11-01",
            "22:00-06:00",
            "2026-11-02T01:00",
            "2026-11-02T09:00",
        ),
    ],
    # Ramadan: 15 February 03:00 -> 02:00 at 02:00Z, 22 March 02:00 -> 03:00 at 02:00Z
    "Africa/Casablanca": [
        (
            "before Ramadan: across the repeat",
            "2026-02-14",
            "22:00-06:00",
            "2026-02-14T21:00",
            "2026-02-15T06:00",
        ),
        (
            "before Ramadan: from in the doubled hour",
            "2026-02-15",
            "02:30-06:00",
            "2026-02-15T01:30",
            "2026-02-15T06:00",
        ),
        (
            "before Ramadan: to in the doubled hour",
            "2026-02-14",
            "22:00-02:30",
            "2026-02-14T21:00",
            "2026-02-15T01:30",
        ),
        (
            "before Ramadan: all day is 25 hours",
            "2026-02-15",
            "00:00-24:00",
            "2026-02-14T23:00",
            "2026-02-16T00:00",
        ),
        (
            "after Ramadan: across the jump",
            "2026-03-21",
            "22:00-06:00",
            "2026-03-21T22:00",
            "2026-03-22T05:00",
        ),
        (
            "after Ramadan: from in the gap",
            "2026-03-22",
            "02:30-06:00",
            "2026-03-22T02:00",
            "2026-03-22T05:00",
        ),
        (
            "after Ramadan: to in the gap",
            "2026-03-21",
            "22:00-02:30",
            "2026-03-21T22:00",
            "2026-03-22T02:00",
        ),
        (
            "after Ramadan: across midnight after it",
            "2026-03-22",
            "22:00-06:00",
            "2026-03-22T21:00",
            "2026-03-23T05:00",
        ),
    ],
    # across the date line: after 29 December 2011 came the 31st, at 10:00Z on the 30th
    "Pacific/Apia": [
        (
            "until a morning that never came",
            "2011-12-29",
            "22:00-06:00",
            "2011-12-30T08:00",
            "2011-12-30T10:00",
        ),
        (
            "until the end of the last day",
            "2011-12-29",
            "00:00-24:00",
            "2011-12-29T10:00",
            "2011-12-30T10:00",
        ),
        ("a day that never came", "2011-12-30", "00:00-24:00", "", ""),
        (
            "from an evening that never came",
            "2011-12-30",
            "22:00-06:00",
            "2011-12-30T10:00",
            "2011-12-30T16:00",
        ),
        ("the day after", "2011-12-31", "00:00-06:00", "2011-12-30T10:00", "2011-12-30T16:00"),
        (
            "autumn: across the repeat",
            "2012-03-31",
            "22:00-06:00",
            "2012-03-31T08:00",
            "2012-03-31T17:00",
        ),
        (
            "spring: from in the gap",
            "2012-09-30",
            "03:30-06:00",
            "2012-09-29T14:00",
            "2012-09-29T16:00",
        ),
    ],
    # no summer time; 1 January 1986 began at 00:15
    "Asia/Kathmandu": [
        ("across midnight", "2026-03-29", "22:00-06:00", "2026-03-29T16:15", "2026-03-30T00:15"),
        ("all day", "2026-10-25", "00:00-24:00", "2026-10-24T18:15", "2026-10-25T18:15"),
        (
            "1986: from in the missing quarter",
            "1986-01-01",
            "00:05-06:00",
            "1985-12-31T18:30",
            "1986-01-01T00:15",
        ),
        (
            "1986: 24:00 of the year before",
            "1985-12-31",
            "00:00-24:00",
            "1985-12-30T18:30",
            "1985-12-31T18:30",
        ),
    ],
    # no summer time
    "Asia/Kolkata": [
        ("across midnight", "2026-03-29", "22:00-06:00", "2026-03-29T16:30", "2026-03-30T00:30"),
        ("until 24:00", "2026-10-25", "22:00-24:00", "2026-10-25T16:30", "2026-10-25T18:30"),
    ],
}


@pytest.mark.parametrize(
    ("tz", "day", "hours", "opens", "closes"),
    [
        pytest.param(tz, *row[1:], id=f"{tz} {row[0]}")
        for tz, rows in OPENINGS.items()
        for row in rows
    ],
)
def test_an_opening_is_one_piece_whatever_the_clock_does(
    tz: str, day: str, hours: str, opens: str, closes: str
) -> None:
    win = on(day, tz, hours)
    if not opens:
        noon = utc(f"{day}T12:00")
        around = [noon + timedelta(minutes=m) for m in range(-60 * 48, 60 * 49, 5)]
        assert not any(is_open(win, at) for at in around)
        return
    begin, end = utc(opens), utc(closes)
    assert not is_open(win, begin - SECOND)
    assert opens_at(win, begin - SECOND) == begin
    step = begin
    while step < end:
        assert opening_at(win, step) == (begin, end), step
        assert closes_at(win, step) == end
        step += timedelta(minutes=5)
    assert is_open(win, end - SECOND)
    assert not is_open(win, end)


@pytest.mark.parametrize(
    ("win", "at", "wanted"),
    [
        (on("2026-12-24", "Europe/Berlin", "22:00-06:00", "DE"), "2026-12-25T04:59:59", True),
        (on("2026-12-25", "Europe/Berlin", "22:00-06:00", "DE"), "2026-12-25T22:00", False),
        (on("2026-12-26", "Europe/Berlin", "22:00-06:00", "DE"), "2026-12-27T03:00", False),
        (on("2026-12-27", "Europe/Berlin", "22:00-06:00", "DE"), "2026-12-28T03:00", True),
        (on("2026-11-25", "America/New_York", "22:00-06:00", "US"), "2026-11-26T10:59", True),
        (on("2026-11-26", "America/New_York", "22:00-06:00", "US"), "2026-11-27T10:59", False),
        (on("2026-12-25", "Pacific/Apia", "00:00-24:00", "WS"), "2026-12-24T12:00", False),
        (on("2026-12-24", "Pacific/Apia", "00:00-24:00", "WS"), "2026-12-24T09:00", True),
        (
            on("2026-04-05", "Australia/Lord_Howe", "00:00-24:00", "AU-NSW"),
            "2026-04-04T15:30",
            False,
        ),
        (on("2026-04-05", "Australia/Lord_Howe", "00:00-24:00", "AU"), "2026-04-04T15:30", True),
        (on("2026-12-24", "Asia/Kolkata", "22:00-24:00", "IN"), "2026-12-24T17:00", True),
        (on("2026-12-25", "Asia/Kolkata", "00:00-02:00", "IN"), "2026-12-24T19:00", False),
    ],
    ids=[
        "it opened before the holiday and runs into it",
        "it would open on the holiday",
        "it would open on the second holiday and close on a working day",
        "it opened after the holidays",
        "the night before Thanksgiving",
        "the night of Thanksgiving",
        "the holiday has begun in the zone and not in UTC",
        "the holiday has not begun in the zone",
        "Easter Sunday of a state, on the day the clock changes",
        "the same day where only the country counts",
        "until midnight before the holiday",
        "from midnight of the holiday",
    ],
)
def test_the_day_on_which_it_opens_decides_about_holidays_and_never_the_day_it_closes(
    win: Window, at: str, wanted: bool
) -> None:
    assert is_open(win, utc(at)) is wanted


# What others had reported against the sync windows of Argo CD. The numbers are those of its issues.

WINDOWS = (
    "windows:\n"
    '  night: {days: [mon, tue, wed, thu, fri, sat, sun], from: "22:00", to: "02:30", tz: Europe/Berlin}\n'
    '  lunch: {days: [mon, tue, wed, thu, fri], from: "12:00", to: "13:00", tz: America/New_York}\n'
)
ALLOW = "  - {id: yes, effect: allow, actions: [node.drain]}\n"
WEEK = [utc("2026-10-19T00:00") + timedelta(minutes=30 * n) for n in range(48 * 8)]
"""Eight days of half hours, the night in which Berlin's clock goes back among them."""


def orders(rules: str, windows: str = WINDOWS) -> CheckedPolicy:
    return policy(rules, rest=windows)


def judged(checked: CheckedPolicy, at: datetime) -> Verdict:
    return Given().judged(checked, at)


def rule(name: str, effect: str, during: str) -> str:
    return f"  - {{id: {name}, effect: {effect}, actions: [node.drain], during: {during}}}\n"


def test_argo_5590_a_deny_window_that_is_not_active_blocks_nothing() -> None:
    checked = orders(ALLOW + rule("freeze", "deny", "night"))
    said = [judged(checked, at).decision.value for at in WEEK]
    assert said == ["deny" if is_open(checked.windows["night"], at) else "allow" for at in WEEK]
    assert set(said) == {"allow", "deny"}


@pytest.mark.parametrize(
    "rules",
    [
        rule("both", "allow", "[night, lunch]"),
        rule("both", "allow", "[lunch, night]"),
        rule("one", "allow", "night") + rule("two", "allow", "lunch"),
        rule("two", "allow", "lunch") + rule("one", "allow", "night"),
    ],
    ids=["one rule", "the other way round", "two rules", "two rules the other way round"],
)
def test_argo_10425_and_12706_several_allow_windows_are_a_union(rules: str) -> None:
    checked = orders(rules)
    for at in WEEK:
        any_open = any(is_open(win, at) for win in checked.windows.values())
        assert judged(checked, at).decision.value == ("allow" if any_open else "deny"), at


@pytest.mark.parametrize("hours", [0, 9, -11])
def test_argo_3831_and_4372_command_page_and_verdict_say_the_same_of_a_window(hours: int) -> None:
    """Whatever zone the asker's clock is in."""
    checked = orders(rule("w", "allow", "[night, lunch]"))
    for at in WEEK:
        theirs = at.astimezone(timezone(timedelta(hours=hours)))
        lines = {name: say(win, at) for name, win in checked.windows.items()}
        assert {name: say(win, theirs) for name, win in checked.windows.items()} == lines
        assert sorted(standing(checked, theirs).split("; ")) == sorted(lines.values())
        for line in judged(checked, theirs).window.split("; "):
            assert line in lines.values()


@pytest.mark.parametrize(
    ("hours", "at", "said"),
    [
        ("22:00-02:30", "2026-10-25T00:10", "open until 02:30 Europe/Berlin (00:30Z)"),
        ("22:00-02:30", "2026-10-25T01:10", "shut until Sun 25 Oct 22:00 Europe/Berlin (21:00Z)"),
        ("22:00-06:00", "2026-10-25T00:30", "open until 06:00 Europe/Berlin (05:00Z)"),
        ("22:00-06:00", "2026-10-25T01:30", "open until 06:00 Europe/Berlin (05:00Z)"),
        ("22:00-02:30", "2026-03-29T00:30", "open until 03:00 Europe/Berlin (01:00Z)"),
        ("02:30-06:00", "2026-03-29T00:30", "shut until 03:00 Europe/Berlin (01:00Z)"),
        ("22:00-06:00", "2026-03-29T00:30", "open until 06:00 Europe/Berlin (04:00Z)"),
    ],
    ids=[
        "autumn: it ends at the first 02:30",
        "autumn: at the second 02:10 it is shut",
        "autumn: in the first 02:30",
        "autumn: in the second 02:30",
        "spring: it ends when the clock jumps",
        "spring: it begins when the clock jumps",
        "spring: a night that is an hour shorter",
    ],
)
def test_argo_17750_the_line_is_plain_when_clocks_change(hours: str, at: str, said: str) -> None:
    begin, end = hours.split("-")
    every = "[mon, tue, wed, thu, fri, sat, sun]"
    text = f'windows:\n  w: {{days: {every}, from: "{begin}", to: "{end}", tz: Europe/Berlin}}\n'
    checked = orders(rule("r", "allow", "w"), text)
    line = say(checked.windows["w"], utc(at))
    assert line.replace("Sun 25 Oct ", "") == f"w: {said.replace('Sun 25 Oct ', '')}"


def test_argo_20712_two_windows_of_the_same_schedule_are_two_windows() -> None:
    same = '{days: [wed], from: "00:00", to: "06:00", tz: Europe/Berlin}'
    text = f"windows:\n  drains: {same}\n  restarts: {same}\n"
    checked = orders(rule("both", "allow", "[drains, restarts]"), text)
    assert set(checked.windows) == {"drains", "restarts"}
    verdict = judged(checked, NIGHT)
    assert verdict.decision.value == "allow"
    assert verdict.window == (
        "drains: open until 06:00 Europe/Berlin (05:00Z); "
        "restarts: open until 06:00 Europe/Berlin (05:00Z)"
    )


@pytest.mark.parametrize(
    ("rules", "decision", "state"),
    [
        (rule("w", "allow", "night"), "allow", "open until 02:30 Europe/Berlin (01:30Z)"),
        (rule("w", "ask", "night"), "ask", "open until 02:30 Europe/Berlin (01:30Z)"),
        (ALLOW + rule("w", "deny", "night"), "deny", "open until 02:30 Europe/Berlin (01:30Z)"),
        (rule("w", "allow", "lunch"), "deny", "shut until 12:00 America/New_York (16:00Z)"),
        (rule("w", "ask", "lunch"), "deny", "shut until 12:00 America/New_York (16:00Z)"),
    ],
    ids=["allow, open", "ask, open", "deny, open", "allow, shut", "ask, shut"],
)
def test_argo_17082_the_state_of_a_window_is_seen_in_the_verdict(
    rules: str, decision: str, state: str
) -> None:
    checked, at = orders(rules), utc("2026-03-18T01:00")
    verdict = judged(checked, at)
    assert verdict.decision.value == decision
    assert verdict.window.partition(": ")[2] == state
    assert verdict.window in standing(checked, at)


# The same question answered by walking along the minutes of a zone.

CHANGES = [
    ("Europe/Berlin", "2026-03-29T01:00"),
    ("Europe/Berlin", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"),
    ("America/New_York", "2026-11-01T06:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("America/Sao_Paulo", "2018-02-18T02:00"),
    ("America/Sao_Paulo", "2018-11-04T03:00"),
    ("America/Scoresbysund", "2026-03-29T01:00"),
    ("Africa/Cairo", "2026-10-29T21:00"),
    ("Africa/Casablanca", "2026-02-15T02:00"),
    ("Antarctica/Troll", "2026-10-25T01:00"),
    ("Pacific/Apia", "2011-12-30T10:00"),
    ("Asia/Kathmandu", "1985-12-31T18:30"),
    ("Asia/Kolkata", "2026-07-01T00:00"),
    ("UTC", "2026-01-01T00:00"),
]
AROUND = 4 * 24 * 60


class Walk:
    """Four days either side of a moment, minute by minute: what the clock on the wall has shown.

    A time of day has come when the wall first shows it, or first shows a later one.
    """

    def __init__(self, tz: str, middle: datetime) -> None:
        self.begin = middle - AROUND * MINUTE
        zone = ZoneInfo(tz)
        walls = [
            (self.begin + n * MINUTE).astimezone(zone).replace(tzinfo=None)
            for n in range(2 * AROUND)
        ]
        self.reached = list(accumulate(walls, max))
        self.days = [walls[0].date() + n * DAY for n in range(1, 8)]

    def comes(self, day: date, minute: int) -> datetime:
        wanted = datetime.combine(day, datetime.min.time()) + minute * MINUTE
        return self.begin + bisect_left(self.reached, wanted) * MINUTE

    def openings(self, win: Window) -> list[tuple[datetime, datetime]]:
        days = [day for day in self.days if day.weekday() in win.days]
        later = 0 if win.to_min > win.from_min else 1440
        pairs = [(self.comes(d, win.from_min), self.comes(d, win.to_min + later)) for d in days]
        return [(opens, closes) for opens, closes in pairs if opens < closes]


WALKS = {change: Walk(change[0], utc(change[1])) for change in CHANGES}


@settings(max_examples=400, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    begin=st.integers(0, 1439),
    end=st.integers(1, 1440),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    offset_s=st.one_of(st.integers(-5400, 5400), st.integers(-36 * 3600, 36 * 3600)),
)
def test_a_walk_along_the_minutes_finds_the_same_openings(
    change: tuple[str, str], begin: int, end: int, days: frozenset[int], offset_s: int
) -> None:
    win = Window("w", days, begin, end, ZoneInfo(change[0]))
    at = utc(change[1]) + offset_s * SECOND
    openings = WALKS[change].openings(win)
    now_open = [(opens, closes) for opens, closes in openings if opens <= at < closes]
    assert is_open(win, at) is bool(now_open)
    assert opening_at(win, at) == (now_open[0] if now_open else None)
    following = min((opens for opens, _ in openings if opens > at), default=None)
    if following is not None and following < at + 2 * DAY:  # else it may lie beyond the walk
        assert opens_at(win, at) == following
    closes = closes_at(win, at)
    assert (closes is not None) is bool(now_open)
    if closes is not None:
        assert is_open(win, closes - SECOND)
        # An opening that joins on to the next for ever is followed for a year.
        assert not is_open(win, closes) or closes > at + 365 * DAY
        step = at
        while step < min(closes, at + DAY):
            assert is_open(win, step)
            step += 17 * MINUTE


@settings(max_examples=150, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    begin=st.integers(0, 1439),
    end=st.integers(1, 1440),
    offset_m=st.integers(-36 * 60, 36 * 60),
)
def test_the_edges_that_are_told_are_exact_to_the_second(
    change: tuple[str, str], begin: int, end: int, offset_m: int
) -> None:
    win = Window("w", frozenset({0, 2, 4, 6}), begin, end, ZoneInfo(change[0]))
    at = utc(change[1]) + offset_m * MINUTE
    opens = opens_at(win, at)
    assert opens is not None
    assert is_open(win, opens)
    covering = opening_at(win, opens)
    assert covering is not None
    assert covering.opens == opens
    if not is_open(win, at):
        assert not is_open(win, opens - SECOND)
        assert opens_at(win, opens - SECOND) == opens
        closes = closes_at(win, opens)
        assert closes is not None
        assert closes_at(win, closes - SECOND) == closes
        assert not is_open(win, closes)
