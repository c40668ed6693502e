"""The moment that a policy command is asked as of: with a zone, without one, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from watchkeeper.app.policy_cli import moment
from watchkeeper.core.errors import UsageError


@pytest.mark.parametrize(
    ("at", "hour"),
    [
        ("2026-12-24T12:00 Europe/Berlin", 11),
        ("2026-12-24 12:00 Europe/Berlin", 11),
        ("2026-12-24T12:00", 12),
        ("2026-12-24 12:00", 12),
        ("2026-12-24T12:00Z", 12),
        ("2026-12-24T12:00+05:00", 7),
        ("2026-12-24T12:00 UTC", 12),
        ("2026-12-24", 0),
    ],
)
def test_a_moment_is_taken_with_its_zone_and_without_one_as_utc(at: str, hour: int) -> None:
    assert moment(at) == datetime(2026, 12, 24, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    "at",
    ["noon", "2026-13-01", "2026-12-24T12:00 Berlin", "2026-12-24T12:00Z UTC", "2026-12-24 ../x"],
)
def test_what_is_no_moment_says_how_to_write_one_and_what_utc_is(at: str) -> None:
    with pytest.raises(UsageError, match=r"2026-12-24T02:30, which is UTC.*Europe/Berlin"):
        moment(at)


def test_a_moment_that_the_clocks_jump_over_is_refused() -> None:
    with pytest.raises(UsageError, match="never comes"):
        moment("2026-03-29T02:30 Europe/Berlin")
