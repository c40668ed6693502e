"""Plans and what-ifs: from a forecast, a policy and a price book; where one is missing, no plan."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.core.capacity_case import T0, book, offer

from watchkeeper.capacity.ahead import Ahead, ahead, from_quantiles, scenarios
from watchkeeper.capacity.plan import plan
from watchkeeper.capacity.what_if import what_if
from watchkeeper.core.capacity import CapacityPlan
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.money import CapacityOrder, PoolPrice, PriceBook

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)


def steady(*gpus: float, hours: int = 24) -> Ahead:
    return from_quantiles(
        "train", LEVELS, np.tile(np.array(gpus, float), (hours, 1)), "persistence"
    )


FLAT = steady(16, 16, 16, 16, 16)
WIDE = steady(4, 8, 16, 32, 40)
ORDER = CapacityOrder(pool="train", service_level=0.95, spot_share=0.5)


def offers(**kinds: Any) -> PriceBook:
    return book(pools={"train": PoolPrice(gpus_per_node=8, gpu_hour=1.0, offers=kinds)})


def planned(demand: Ahead, prices: PriceBook, have: int = 0, **more: Any) -> CapacityPlan:
    found = plan(demand, more.pop("order", ORDER), prices, have, **more)
    assert isinstance(found, CapacityPlan), found
    return found


# What is forecast.


def test_a_forecast_is_read_hour_by_hour_and_no_further() -> None:
    made = Forecast(
        pool="train",
        made_at=T0,
        method="m",
        why="",
        horizons_s=(3600.0, 10800.0),
        quantiles=(0.5, 0.9),
        values=((8.0, 16.0), (24.0, 16.0)),
        history_s=0.0,
    )
    found = ahead(made)
    assert found is not None
    # At hour 3 the higher level is below the lower one: it is raised to it.
    assert found.gpus.tolist() == [[8.0, 16.0], [16.0, 16.0], [24.0, 24.0]]
    assert ahead(msgspec.structs.replace(made, horizons_s=(900.0, 1800.0))) is None


def test_a_level_between_two_is_straight_between_them_and_beyond_the_last_unknown() -> None:
    assert WIDE.at(0.7).tolist()[0] == pytest.approx(24.0)  # type: ignore[union-attr]
    assert WIDE.at(0.97) is None
    assert WIDE.at(0.01).tolist()[0] == 4.0  # type: ignore[union-attr]


def test_scenarios_carry_the_chance_up_to_the_service_level() -> None:
    found = scenarios(WIDE, 0.9)
    assert found is not None
    assert found.weight.tolist() == pytest.approx([0.075, 0.225, 0.4, 0.2])
    assert found.gpus[0].tolist() == [4, 8, 16, 32]


# Which capacity.


def test_what_is_wanted_all_the_time_is_reserved_when_that_is_cheapest() -> None:
    prices = offers(reserved=offer(1.0, 9, term_h=24), on_demand=offer(2.0, 9), burst=offer(3.0, 9))
    found = planned(FLAT, prices)
    assert (found.reserved, max(found.on_demand), max(found.burst)) == (2, 0, 0)
    assert found.cost == 24 * 16 * 1.0
    assert found.proved


def test_what_is_wanted_seldom_is_left_to_burst() -> None:
    prices = offers(reserved=offer(1.0, 9, term_h=24), burst=offer(3.0, 9))
    found = planned(WIDE, prices)
    # A node pays when it is wanted more than a third of the time: two are, at the median.
    assert (found.reserved, max(found.burst), found.short) == (2, 3, 0)


def test_a_reservation_longer_than_the_forecast_is_not_decided_and_says_so() -> None:
    prices = offers(reserved=offer(0.1, 9, term_h=168), on_demand=offer(2.0, 9))
    found = planned(FLAT, prices)
    assert found.reserved == 0
    assert "A reservation lasts 168 h and the forecast 24 h" in found.notes[0]


def test_spot_is_bounded_by_policy_and_counts_only_while_it_holds() -> None:
    prices = offers(on_demand=offer(3.0, 9), spot=offer(0.5, 9, holds=0.5))
    half = planned(FLAT, prices)
    assert all(s <= 0.5 * (s + d) for s, d in zip(half.spot, half.on_demand, strict=True))
    assert all(8 * (d + 0.5 * s) >= 16 for s, d in zip(half.spot, half.on_demand, strict=True))
    none = planned(FLAT, prices, order=CapacityOrder(pool="train", service_level=0.95))
    assert max(none.spot) == 0
    assert "Policy lets no planned node be spot (`spot_at_most`)." in none.notes


def test_nodes_that_are_there_are_used_first() -> None:
    prices = offers(burst=offer(3.0, 9))
    assert planned(FLAT, prices, have=2).cost == 0
    assert planned(FLAT, prices, have=1).cost == pytest.approx(24 * 8 * 3.0 * 0.95)


def test_what_cannot_be_had_is_told_as_short() -> None:
    found = planned(FLAT, offers(burst=offer(3.0, 1)))
    assert found.short == pytest.approx(24 * 8 * 0.95)
    assert "182.4 GPU-hours would still fit nowhere" in found.says


def test_with_less_money_the_plan_is_short_and_never_over() -> None:
    prices = offers(on_demand=offer(2.0, 9))
    found = planned(FLAT, prices, money=300.0)
    assert found.cost <= 300.0
    assert found.short > 0
    assert planned(FLAT, prices).cost == 24 * 16 * 2.0


def test_the_same_question_has_the_same_answer() -> None:
    prices = offers(on_demand=offer(2.0, 9, at_least_h=4), spot=offer(1.0, 4, holds=0.8))
    assert planned(WIDE, prices) == planned(WIDE, prices)


def test_without_or_tools_the_greedy_plan_stands_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    found = planned(FLAT, offers(on_demand=offer(2.0, 9)))
    assert (found.method, found.proved, found.cost) == ("greedy", False, 768.0)
    assert "OR-tools is not installed" in found.notes[0]
    assert found.says.endswith("A cheaper plan may exist.")


@pytest.mark.parametrize(
    ("order", "prices", "said"),
    [
        (None, offers(burst=offer(1, 1)), "Policy sets no service level for train"),
        (ORDER, None, "There is no price book"),
        (ORDER, book(), "The price book b offers no capacity for train."),
        (
            CapacityOrder(pool="train", service_level=0.99),
            offers(burst=offer(1, 1)),
            "Policy asks for a service level of 99.0% and the forecast knows nothing above 95.0%",
        ),
    ],
)
def test_where_something_is_missing_there_is_no_plan_and_it_says_what(
    order: CapacityOrder | None, prices: PriceBook | None, said: str
) -> None:
    found = plan(FLAT, order, prices, 0)
    assert isinstance(found, str)
    assert said in found


# What if.


def test_two_more_nodes_take_what_fits_nowhere_and_leave_the_rest_idle() -> None:
    found = what_if(WIDE, 2, 2, 8, None, hours=8, service_level=0.95)
    # 16 GPUs are there; 32 then. The levels stand for .075 .225 .4 .225 .075 of the time.
    assert found.short_before == pytest.approx(8 * (16 * 0.225 + 24 * 0.075))
    assert found.short_after == pytest.approx(8 * 8 * 0.075)
    assert (found.full_before, found.full_after) == (8, 8)
    assert found.unused == pytest.approx(8 * 16 - (found.short_before - found.short_after))
    assert "There is no price book, so the cost is unknown. Name one with --prices." in found.notes


def test_fewer_nodes_are_a_question_too() -> None:
    found = what_if(FLAT, -1, 2, 8, None, hours=4)
    assert (found.short_before, found.short_after) == (0.0, 4 * 8.0)
    assert found.says.startswith("1 node fewer in train for 4 h: 0.0 GPU-hours")


def test_each_kind_of_capacity_tells_its_price_or_why_it_has_none() -> None:
    prices = offers(
        reserved=offer(1.0, 9, term_h=168),
        on_demand=offer(2.0, 9, at_least_h=12),
        spot=offer(1.0, 1, holds=0.9),
    )
    found = what_if(FLAT, 2, 2, 8, prices, hours=8)
    told = {p.kind: (p.money, p.why) for p in found.prices}
    assert told == {
        "on_demand": (384.0, "paid for at least 12 h"),
        "reserved": (2688.0, "paid for its term of 168 h"),
        "spot": (None, "at most 1 can be had"),
        "burst": (None, "the price book has no such offer for this pool"),
    }
    assert found.prices[0].kind == "on_demand"
    assert "The cheapest is on-demand, 384.00 USD." in found.says


def test_hours_beyond_the_forecast_are_told_and_not_counted() -> None:
    found = what_if(steady(8, 8, 8, 8, 8, hours=4), 1, 0, 8, None, first=2, hours=8)
    assert (found.hours, found.not_forecast) == (2, 6)
    assert found.short_before == 16.0
    assert "6 h of this lie beyond the forecast: what they need is unknown." in found.notes
