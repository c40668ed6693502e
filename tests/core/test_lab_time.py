"""`--lab-time`: windows see another hour, in the policy's own zone, over clock changes too."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.app.lab_time import DAYS, policy_offset
from watchkeeper.core.errors import UsageError

BERLIN = "Europe/Berlin"
MONDAY = datetime(2026, 11, 16, 9, 0, tzinfo=UTC)


def reads(text: str, zone: str, now: datetime) -> str:
    """What a wall clock in that zone shows then."""
    return (now + policy_offset(text, zone, now)).astimezone(ZoneInfo(zone)).strftime("%a %H:%M")


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("02:30", "Wed 02:30"),
        ("2:30", "Wed 02:30"),
        (" sat 14:00 ", "Sat 14:00"),
        ("SUN 00:00", "Sun 00:00"),
        ("mon 09:59", "Mon 09:59"),
    ],
)
def test_the_windows_see_the_hour_asked_for_on_wednesday_unless_said(text: str, shows: str) -> None:
    assert reads(text, BERLIN, MONDAY) == shows
    assert reads(text, "America/New_York", MONDAY) == shows


def test_it_is_never_in_the_past_and_at_most_a_week_ahead() -> None:
    assert policy_offset("mon 10:00", BERLIN, MONDAY) == timedelta(0)
    assert policy_offset("mon 09:59", BERLIN, MONDAY) == timedelta(days=7, minutes=-1)


def test_a_clock_change_in_between_does_not_shift_the_hour() -> None:
    saturday_before = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)
    assert reads("wed 02:30", BERLIN, saturday_before) == "Wed 02:30"
    in_march = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
    assert reads("wed 02:30", BERLIN, in_march) == "Wed 02:30"


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    now=st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),
    zone=st.sampled_from([BERLIN, "UTC", "America/New_York", "Asia/Kolkata", "Australia/Sydney"]),
    day=st.sampled_from(DAYS),
    hour=st.integers(4, 23),
    minute=st.integers(0, 59),
)
def test_whenever_and_wherever_it_is_asked_the_clock_shows_it(
    now: datetime, zone: str, day: str, hour: int, minute: int
) -> None:
    text = f"{day} {hour:02d}:{minute:02d}"
    assert reads(text, zone, now).lower() == text
    assert timedelta(0) <= policy_offset(text, zone, now) + timedelta(minutes=1)
    assert policy_offset(text, zone, now) <= timedelta(days=7, hours=1)


@pytest.mark.parametrize(
    "text", ["", "noon", "24:00", "12:60", "12", "1230", "xyz 12:00", "wed", "02:30 wed", "-1:00"]
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match='such as "02:30"'):
        policy_offset(text, BERLIN, MONDAY)
