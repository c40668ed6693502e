"""Bills and burn-downs: every GPU-hour once, a cost only where a price is, and an honest month."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.capacity_case import T0, book, record

from watchkeeper.capacity.bill import bill, columns
from watchkeeper.capacity.burn import burn
from watchkeeper.core.money import Allowance, PoolPrice, PriceBook
from watchkeeper.core.usage import Bill, Burn, UsageRecord

MONTH = datetime(2026, 3, 1, tzinfo=UTC)


def billed(*records: UsageRecord, prices: PriceBook | None = None, hours: float = 24) -> Bill:
    return bill(columns(records), prices, T0, T0 + timedelta(hours=hours))


DAY = record(
    0, hours=24, tenants={"red": 96.0, "blue": 48.0}, uses={"idle": 24.0, "out": 24.0}, kwh=10.0
)


def test_a_bill_says_who_held_what_and_what_was_idle_or_stranded() -> None:
    told = billed(DAY, prices=book())
    lines = {(x.use, x.tenant): (x.gpu_hours, x.money) for x in told.lines}
    assert lines == {
        ("held", "red"): (96.0, 192.0),
        ("held", "blue"): (48.0, 96.0),
        ("idle", ""): (24.0, 48.0),
        ("out", ""): (24.0, 48.0),
    }
    assert (told.money, told.currency, told.known_h, told.unknown_h) == (384.0, "USD", 24, 0)
    assert (told.energy_kwh, told.energy_money) == (10.0, None)


def test_energy_is_paid_for_apart_only_where_the_book_says_so() -> None:
    told = billed(DAY, prices=book(kwh=0.5, overhead=1.2))
    assert told.energy_money == 6.0  # 10 kWh drawn, 12 bought


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        pytest.param(
            None,
            "There is no price book, so every cost is unknown. Name one with --prices.",
            id="no book",
        ),
        pytest.param(
            book(pools={"serve": PoolPrice(gpu_hour=1.0)}),
            "The cost of train is unknown: the price book b has no `gpu_hour` for it.",
            id="no such pool",
        ),
        pytest.param(
            book(pools={"train": PoolPrice(gpus_per_node=8)}),
            "The cost of train is unknown: the price book b has no `gpu_hour` for it.",
            id="no price",
        ),
        pytest.param(
            book(last=date(2026, 2, 1)),
            "The cost of train is unknown: the prices hold from 2026-01-01 to 2026-02-01 only.",
            id="prices that are over",
        ),
    ],
)
def test_what_has_no_price_has_an_unknown_cost_and_says_why(
    prices: PriceBook | None, said: str
) -> None:
    told = billed(DAY, prices=prices)
    assert [line.money for line in told.lines] == [None] * 4
    assert told.money is None
    assert said in told.notes
    assert told.lines[0].gpu_hours == 96.0


def test_one_pool_without_a_price_makes_the_sum_unknown_and_no_other_line() -> None:
    other = record(0, pool="lab", tenants={"red": 5.0})
    told = billed(DAY, other, prices=book())
    assert told.money is None
    assert {line.pool: line.money is None for line in told.lines} == {"lab": True, "train": False}


def test_a_silent_gpu_makes_the_energy_unknown_and_not_smaller() -> None:
    told = billed(DAY, record(24, kwh=None, tenants={"red": 1.0}), prices=book(), hours=48)
    assert told.energy_kwh is None
    assert "The energy is unknown: GPUs were silent for part of the time." in told.notes


def test_hours_that_nobody_watched_are_told() -> None:
    told = billed(record(0, tenants={"red": 4.0}, known=0.5), hours=3)
    assert (told.known_h, told.unknown_h) == (0.5, 2.5)


def test_an_empty_record_says_so() -> None:
    assert billed().notes == ("Nothing was metered in this time.",)
    assert billed().money is None


rows = st.dictionaries(st.sampled_from(["red", "blue", ""]), st.floats(0.01, 99), max_size=3)


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.tuples(rows, st.floats(0, 50)), min_size=1, max_size=8))
def test_a_bill_holds_every_gpu_hour_once(parts: list[tuple[dict[str, float], float]]) -> None:
    records = [record(i, tenants=t, uses={"idle": idle}) for i, (t, idle) in enumerate(parts)]
    told = billed(*records, prices=book())
    whole = sum(sum(t.values()) + idle for t, idle in parts)
    assert sum(x.gpu_hours for x in told.lines) == pytest.approx(whole, abs=0.01)
    if told.lines:
        assert told.money == pytest.approx(2 * whole, abs=0.05)


# Burn-downs.


def burned(
    days: list[float],
    *,
    now: float,
    allowance: dict[str, Any] | None = None,
    prices: PriceBook | None = None,
    **more: Any,
) -> Burn:
    """A month that begins on Sunday 1 March: `days[i]` GPU-hours on its day i; now: days in."""
    start = (MONTH - T0).total_seconds() / 3600
    records = [
        record(start + 24 * i, hours=24, tenants={"red": hours}, uses={"idle": 24.0}, **more)
        for i, hours in enumerate(days)
    ]
    told = {"id": "a", "measure": "gpu_hours", "amount": 3100.0, **(allowance or {})}
    at = MONTH + timedelta(days=now)
    return burn(columns(records), Allowance(**told), prices, at)


def test_an_even_pace_ends_where_it_leads() -> None:
    told = burned([100.0] * 10, now=10)
    assert (told.used, told.projected, told.low, told.high) == (1000.0, 3100.0, 3100.0, 3100.0)
    assert (told.first, told.last) == (date(2026, 3, 1), date(2026, 3, 31))
    assert told.runs_out is None
    assert told.says == (
        "a: 1,000 of 3,100 GPU-hours used (32%). At this pace 3,100 (3,100 to 3,100) by 31 March."
    )


def test_too_fast_a_pace_says_when_it_is_used_up() -> None:
    told = burned([200.0] * 10, now=10)
    assert told.projected == 6200.0
    assert told.runs_out == MONTH + timedelta(days=15.5)
    assert told.warns
    assert "used up on 16 March" in told.says


def bounds(told: Burn) -> tuple[float, float]:
    assert told.low is not None
    assert told.high is not None
    return told.low, told.high


def width(told: Burn) -> float:
    low, high = bounds(told)
    return high - low


def test_days_that_differ_give_a_band_around_the_projection() -> None:
    calm, wild = burned([95.0, 105.0] * 5, now=10), burned([20.0, 180.0] * 5, now=10)
    assert width(wild) > 5 * width(calm)
    assert bounds(wild)[0] < 3100 < bounds(wild)[1]


def test_the_band_holds_four_months_in_five_of_days_that_hang_together() -> None:
    rng = np.random.default_rng(8)
    inside = 0
    for _ in range(200):
        noise = rng.normal(0, 20, 31)
        level = 100 + np.convolve(noise, 0.5 ** np.arange(6))[:31]  # each day half like the last
        told = burned(list(np.maximum(level[:15], 0)), now=15)
        low, high = bounds(told)
        inside += low <= level.sum() <= high
    assert 0.7 <= inside / 200 <= 0.9


def test_less_than_a_day_projects_nothing() -> None:
    told = burned([100.0], now=1, known=0.9)
    assert (told.used, told.projected, told.low) == (100.0, None, None)
    assert "Only 21.6 h of the month were watched, so nothing is projected." in told.says


def test_few_whole_days_project_without_a_band() -> None:
    told = burned([100.0] * 4, now=4)
    assert (told.projected, told.low, told.high) == (3100.0, None, None)


def test_hours_that_nobody_watched_count_as_the_others_and_are_told() -> None:
    told = burned([100.0] * 5, now=10)
    assert (told.used, told.unknown_h, told.projected) == (500.0, 120.0, 3100.0)
    assert "120 h of the month were not watched; they count as the others" in told.says


@pytest.mark.parametrize(
    ("allowance", "used"),
    [
        pytest.param({}, 200.0, id="all work"),
        pytest.param({"tenant": "red"}, 200.0, id="a tenant"),
        pytest.param({"tenant": "blue"}, 0.0, id="a tenant that held nothing"),
        pytest.param({"pool": "serve"}, 0.0, id="a pool that was not used"),
        pytest.param(
            {"measure": "money", "currency": "USD"}, 496.0, id="money: idle GPUs cost as well"
        ),
        pytest.param(
            {"measure": "money", "currency": "USD", "tenant": "red"},
            400.0,
            id="a tenant pays for what it held",
        ),
        pytest.param({"measure": "energy_kwh"}, 14.0, id="energy"),
    ],
)
def test_an_allowance_counts_its_own_measure(allowance: dict[str, Any], used: float) -> None:
    assert burned([100.0] * 2, now=2, allowance=allowance, prices=book(), kwh=7.0).used == used


@pytest.mark.parametrize(
    ("allowance", "prices", "kwh", "why"),
    [
        ({"measure": "money", "currency": "USD"}, None, 0.0, "there is no price book"),
        ({"measure": "money", "currency": "EUR"}, book(), 0.0, "the price book is in USD"),
        (
            {"measure": "money", "currency": "USD"},
            book(pools={}),
            0.0,
            "a pool has no price for part of the time",
        ),
        ({"measure": "energy_kwh"}, None, None, "GPUs were silent for part of the time"),
    ],
)
def test_what_is_unknown_is_said_and_never_counted_as_nothing(
    allowance: dict[str, Any], prices: PriceBook | None, kwh: float | None, why: str
) -> None:
    told = burned([100.0] * 3, now=3, allowance=allowance, prices=prices, kwh=kwh)
    assert (told.used, told.projected) == (None, None)
    assert told.says == f"a: what is used is unknown, since {why}."


def test_a_month_begins_at_midnight_of_the_allowances_own_zone() -> None:
    # 23:00 to 24:00 UTC on 28 February is March already in Berlin.
    early = record((MONTH - T0).total_seconds() / 3600 - 1, tenants={"red": 7.0})
    used = {}
    for zone in ("UTC", "Europe/Berlin"):
        allowance = Allowance(id="a", measure="gpu_hours", amount=10, tz=zone)
        used[zone] = burn(columns([early]), allowance, None, MONTH + timedelta(days=2)).used
    assert used == {"UTC": None, "Europe/Berlin": 7.0}
