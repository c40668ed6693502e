"""The reservation book: kept once, kept durably, kept apart by cluster, and over when it is over;
and the times that people type for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from watchkeeper.adapters.reservation_book import ReservationBook
from watchkeeper.app.when import span_of
from watchkeeper.core.action import NodeCordon, PoolReserve
from watchkeeper.core.errors import EffectFailed, LeaseLost, UsageError
from watchkeeper.core.ports import EffectOrder
from watchkeeper.twin.memory import ManualClock

NOW = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)  # a Wednesday
HOUR = timedelta(hours=1)
ACTION = PoolReserve(pool="train", nodes=2, begin=NOW, until=NOW + 2 * HOUR, tenant="nlp")
ORDER = EffectOrder(action=ACTION, key="P-1:a", token=5, session="s", cluster="lab-1")


def book(home: Path, clock: ManualClock | None = None, cluster: str = "lab-1") -> ReservationBook:
    return ReservationBook(home / "book.jsonl", cluster, clock or ManualClock(NOW))


def test_one_order_keeps_once_and_a_book_opened_anew_knows_it(tmp_path: Path) -> None:
    first = book(tmp_path)
    assert first.execute(ORDER).text.startswith("R1: Reserve 2 nodes of train for nlp")
    assert "already done" in first.execute(ORDER).text
    again = book(tmp_path)
    assert "already done" in again.execute(ORDER).text
    assert [r.ident for r in again.known()] == ["R1"]
    assert book(tmp_path, cluster="lab-2").known() == ()


def test_s6_an_order_under_an_older_fencing_token_is_refused(tmp_path: Path) -> None:
    book(tmp_path).execute(ORDER)
    late = msgspec.structs.replace(ORDER, key="P-0:a", token=4)
    with pytest.raises(LeaseLost):
        book(tmp_path).execute(late)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"cluster": "lab-2"}, "lab-2", id="s29 another cluster"),
        pytest.param({"action": PoolReserve(pool="train", nodes=1)}, "Say from when", id="no time"),
        pytest.param(
            {"action": NodeCordon(node="n", incarnation="i")}, "cannot", id="not its kind"
        ),
        pytest.param(
            {"action": msgspec.structs.replace(ACTION, begin=NOW - HOUR, until=NOW)},
            "over",
            id="over",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_and_leaves_no_line(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    with pytest.raises(EffectFailed, match=says):
        book(tmp_path).execute(msgspec.structs.replace(ORDER, **change))
    assert not (tmp_path / "book.jsonl").exists()


def test_a_line_that_a_crash_cut_short_costs_only_itself(tmp_path: Path) -> None:
    book(tmp_path).execute(ORDER)
    with (tmp_path / "book.jsonl").open("ab") as file:
        file.write(b'{"cluster": "lab-1", "kept"')
    second = book(tmp_path)
    second.execute(msgspec.structs.replace(ORDER, key="P-2:a", token=6))
    assert [r.ident for r in book(tmp_path).known()] == ["R1", "R2"]


def test_what_is_given_up_ends_then_and_what_is_over_cannot_be(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    mine = book(tmp_path, clock)
    mine.execute(ORDER)
    clock.pass_s(600)
    mine.give_up("R1")
    assert [r.until for r in book(tmp_path, clock).known()] == [NOW + timedelta(minutes=10)]
    for ident in ("R1", "R9"):
        with pytest.raises(UsageError, match="there is none"):
            mine.give_up(ident)


@pytest.mark.parametrize(
    ("begin", "until", "zone", "first", "last"),
    [
        ("", "18:00", "UTC", "2026-11-25T10:00", "2026-11-25T18:00"),
        ("09:00", "18:00", "UTC", "2026-11-26T09:00", "2026-11-26T18:00"),
        ("mon 09:00", "18:00", "Europe/Berlin", "2026-11-30T08:00", "2026-11-30T17:00"),
        ("22:00", "06:00", "UTC", "2026-11-25T22:00", "2026-11-26T06:00"),
        ("2026-12-01 09:00", "fri 12:00", "UTC", "2026-12-01T09:00", "2026-12-04T12:00"),
        ("wed 10:00", "11:00", "UTC", "2026-12-02T10:00", "2026-12-02T11:00"),
        ("sat 23:00", "sun 05:00", "Europe/Berlin", "2026-11-28T22:00", "2026-11-29T04:00"),
    ],
)
def test_times_are_the_next_such_moments(
    begin: str, until: str, zone: str, first: str, last: str
) -> None:
    found = span_of(begin, until, zone, NOW)
    assert [f"{at:%Y-%m-%dT%H:%M}" for at in found] == [first, last]


@pytest.mark.parametrize(
    ("begin", "until", "zone", "says"),
    [
        ("soon", "18:00", "UTC", "is not a time"),
        ("", "2026-02-30 18:00", "UTC", "is no day"),
        ("2026-12-02 09:00", "2026-12-01 09:00", "UTC", "end after"),
        ("2026-11-01 09:00", "2026-11-02 09:00", "UTC", "over"),
        ("", "18:00", "Mars/Olympus", "no time zone"),
    ],
)
def test_times_that_cannot_be_are_refused(begin: str, until: str, zone: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        span_of(begin, until, zone, NOW)
