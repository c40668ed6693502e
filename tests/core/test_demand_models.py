"""Each rung of the ladder, the gate and the calibration: none sees what comes after its origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from watchkeeper.demand.analogue import Analogue, weighted
from watchkeeper.demand.boosting import GradientBoosting
from watchkeeper.demand.calibrate import PRUDENCE, calibrated, offsets, prudent
from watchkeeper.demand.drift import drifted
from watchkeeper.demand.forest import Forest
from watchkeeper.demand.gate import Gate
from watchkeeper.demand.ladder import RUNGS, members, shares_of
from watchkeeper.demand.linear import Ridge
from watchkeeper.demand.member import Member, quantiles, tidy
from watchkeeper.demand.naive import Persistence, SeasonalNaive, persisted
from watchkeeper.demand.panel import Panel, roll
from watchkeeper.demand.past import Past
from watchkeeper.demand.score import pinball, score
from watchkeeper.demand.series import Floats, Series
from watchkeeper.demand.smoothing import Smoothing

HOUR, DAY = 3600.0, 86400.0
LEVELS = np.array([0.05, 0.1, 0.5, 0.9, 0.95])
STEPS = (1, 6, 24)

EACH: tuple[Member, ...] = (
    Persistence(),
    SeasonalNaive(DAY),
    Analogue(),
    Smoothing(),
    Ridge(),
    Forest(3, trees=8),
    GradientBoosting(3, trees=4),
)


def series(values: Floats) -> Series:
    """An hourly series that begins on 2020-04-01 00:00 UTC."""
    times = 1585699200 + HOUR * np.arange(1, len(values) + 1)
    return Series(times, values, HOUR, HOUR * len(values), 0.0, np.full(len(values), np.nan))


def office(days: int, seed: int = 1) -> Floats:
    """Synthetic: people come by day, with noise that lasts for hours."""
    hour = np.arange(24 * days)
    noise = np.convolve(np.random.default_rng(seed).normal(0, 6, len(hour) + 5), np.ones(6) / 2)
    day = 60 + 70 * (1 + np.cos((hour % 24 - 14) / 24 * 2 * np.pi))
    return np.maximum(day + noise[5 : len(hour) + 5], 0)


def changed(values: Floats, after: int) -> Floats:
    return np.concatenate([values[: after + 1], 9999.0 + np.arange(len(values) - after - 1)])


@pytest.mark.parametrize("member", EACH, ids=lambda m: m.name)
def test_changing_the_future_does_not_change_a_past_forecast(member: Member) -> None:
    values, now = office(13), 24 * 10 + 7
    said = []
    for seen in (values, changed(values, now)):
        past = Past(series(seen))
        said.append(member.fit(past, now + 1, STEPS, LEVELS).at(past, np.array([now])))
    assert said[0].tolist() == said[1].tolist()


def test_neither_gate_nor_calibration_sees_hours_that_have_not_come() -> None:
    values, now = office(16), 24 * 12
    few: list[Member] = [Persistence(), Analogue(), Analogue("analogue_near"), Ridge()]
    told = []
    for seen in (values, changed(values, now)):
        past = Past(series(seen))
        origins = np.arange(24 * 8, now + 1, 12)
        panel = roll(past, few, origins, STEPS, LEVELS)
        mixed = Gate(panel, 24).combined(np.arange(len(origins)))
        told.append(calibrated(panel, mixed, np.array([len(origins) - 1]), 24))
    assert np.allclose(told[0], told[1], rtol=0, atol=0)


@pytest.mark.parametrize("member", EACH, ids=lambda m: m.name)
def test_gaps_in_the_record_break_no_model(member: Member) -> None:
    values = office(12)
    values[30:55] = np.nan
    values[-3:] = np.nan
    past = Past(series(values))
    said = tidy(member.fit(past, len(values), STEPS, LEVELS).at(past, np.array([len(values) - 1])))
    assert np.isfinite(said).all()
    assert (np.diff(said, axis=-1) >= 0).all()


@pytest.mark.parametrize(
    "member", [Ridge(shrink=30.0), Forest(0, trees=30), SeasonalNaive(DAY)], ids=lambda m: m.name
)
def test_a_daily_pattern_is_seen_half_a_day_ahead(member: Member) -> None:
    values = office(20)
    past, now = Past(series(values)), 24 * 19 + 1
    said = member.fit(past, now + 1, (12,), LEVELS).at(past, np.array([now]))[0, 0]
    assert said[2] == pytest.approx(values[now + 12], rel=0.2)
    assert abs(values[now] - values[now + 12]) > 60, "persistence would be far off"


def test_the_analogue_learns_how_much_changes_at_this_hour_and_at_this_level() -> None:
    hour = np.arange(24 * 15)
    flat_at_night = np.where(hour % 24 < 8, 50.0, 50.0 + 40.0 * (hour % 2))
    past, now = Past(series(flat_at_night)), 24 * 14 + 1
    plain = Persistence().fit(past, now, (3,), LEVELS).at(past, np.array([now]))[0, 0]
    alike = Analogue(floor_hour=0.0, hour_h=1.0).fit(past, now, (3,), LEVELS)
    said = alike.at(past, np.array([now]))[0, 0]
    assert plain[4] - plain[0] > 30
    assert said[4] - said[0] < 5


def panel_of(loss: dict[str, float], days: int = 20) -> Panel:
    """What came is 100, always; each rung's whole distribution misses it by so much."""
    origins = np.arange(24, 24 * days, 6)
    shape = (len(origins), 2, len(LEVELS))
    said = {name: np.full(shape, 100.0 + miss) for name, miss in loss.items()}
    return Panel(origins, np.array([1, 24]), LEVELS, np.full(shape[:2], 100.0), said)


def test_a_better_rung_takes_over_with_the_evidence_and_not_before() -> None:
    panel = panel_of({"persistence": 9, "analogue": 9, "analogue_near": 9, "ridge": 6})
    gate = Gate(panel, 24)
    early, late = gate.weights(24 * 5), gate.weights(24 * 20)
    assert early.get("ridge", 0.0) == 0.0
    assert late["ridge"] > 0.99


def test_a_worse_rung_is_not_heard() -> None:
    panel = panel_of({"persistence": 9, "analogue": 9, "analogue_near": 9, "ridge": 11})
    assert Gate(panel, 24).weights(24 * 20)["ridge"] < 1e-3


def test_between_equals_the_safe_rung_speaks() -> None:
    panel = panel_of({"persistence": 9, "analogue": 9, "analogue_near": 9, "ridge": 9})
    assert Gate(panel, 24).weights(24 * 20)["analogue"] > 0.85


def test_before_anything_was_heard_persistence_speaks() -> None:
    panel = panel_of({"persistence": 9, "analogue": 9, "analogue_near": 9})
    assert Gate(panel, 24).weights(0) == {"persistence": 1.0}


def minutes(values: Floats) -> Series:
    times = np.arange(len(values)) * 60.0
    return Series(times, values, 60.0, history_s=float(times[-1]), last_s=0.0, tail=values)


def test_a_rise_of_minutes_is_no_trend_of_hours() -> None:
    """Twelve minutes: a gang of sixteen came, then one of twelve went."""
    values = np.array([16.0] * 4 + [32.0] * 4 + [20.0] * 4)
    levels = np.array([0.1, 0.5, 0.9])
    young = minutes(values)
    said = persisted(young, [5, 30, 360], levels)
    assert said[:, 1].tolist() == [20.0, 20.0, 20.0], "what is wanted now, until more is known"
    assert (said[:, 0] < 20.0).all()
    assert (said[:, 2] > 20.0).all()
    long = minutes(np.arange(600) * 2.0)
    assert persisted(long, [5], levels)[0, 1] == 1198.0 + 10.0, "a trend that was seen is one"


def test_shares_add_up_and_the_least_are_left_out() -> None:
    shares = shares_of({"analogue": 0.5, "ridge": 0.49, "persistence": 0.01})
    assert shares == {"analogue": 0.25 / 0.99, "analogue_near": 0.25 / 0.99, "ridge": 0.49 / 0.99}


def test_every_rung_is_made_of_members_that_exist() -> None:
    named = {member.name for member in members(0)}
    assert {name for rung in RUNGS for name in rung.members} == named


def test_calibration_widens_a_band_that_is_too_narrow_and_less_while_young() -> None:
    chance = np.random.default_rng(5)
    panel = panel_of({"persistence": 0.0}, days=50)
    came = chance.normal(100, 10, panel.came.shape)
    panel = replace(panel, came=came)
    said = 100 + np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) + np.zeros((*came.shape, 5))
    full = offsets(panel, said, 24 * 50, 24, strength=1.0)
    half = offsets(panel, said, 24 * 50, 24, strength=0.5)
    assert (full[0, 0] < -3) & (full[0, 4] > 3)
    assert np.allclose(half, full / 2)
    assert not offsets(panel, said, 24 * 50, 24, strength=0.0).any()
    assert np.abs(offsets(panel, said, 24 * 8, 24, 1.0)).max() < np.abs(full).max()


def test_the_highest_quantile_is_prudent_and_nothing_crosses_or_is_below_zero() -> None:
    said = prudent(np.array([[3.0, -1.0, 5.0, 9.0, 7.0]]), LEVELS)[0]
    assert said.tolist() == [0.0, 3.0, 5.0, 7.0, pytest.approx(5 + PRUDENCE * 4)]


@pytest.mark.parametrize(
    ("losses", "alarm"),
    [
        ([1.0] * 40, False),
        ([1.0] * 10 + [50.0] + [1.0] * 3, False),
        ([1.0] * 10 + [4.0] * 5, True),
        ([1.0] * 10 + [4.0] * 5 + [1.0] * 20, False),
        ([float("nan")] * 9, False),
    ],
    ids=["as usual", "one bad night", "bad ever since", "over again", "unknown"],
)
def test_drift_is_several_bad_forecasts_in_a_row(losses: list[float], alarm: bool) -> None:
    assert drifted(np.array(losses), 1.0) is alarm


def test_quantile_loss_is_zero_only_when_every_quantile_is_right() -> None:
    levels = np.array([0.1, 0.9])
    assert pinball(np.array([10.0]), np.array([[10.0, 10.0]]), levels).sum() == 0
    loss = pinball(np.array([10.0]), np.array([[8.0, 12.0]]), levels)
    assert loss.tolist() == [[pytest.approx(0.2), pytest.approx(0.2)]]


def test_a_score_counts_what_planning_by_the_highest_quantile_would_cost() -> None:
    said = np.array([[0.0, 5.0, 10.0, 15.0, 20.0]] * 3)
    found = score(np.array([10.0, 25.0, np.nan]), said, LEVELS)
    assert (found.hours, found.coverage80, found.short, found.mae) == (2, 0.5, 0.5, 7.5)
    assert found.over == pytest.approx(10 / 35)
    assert score(np.array([np.nan]), said[:1], LEVELS).hours == 0


@pytest.mark.parametrize("of", [quantiles, lambda v, q: weighted(v, np.ones(len(v)), q)])
def test_quantiles_of_many_values_are_those_of_numpy(of: Callable[..., Floats]) -> None:
    values = np.random.default_rng(2).normal(size=4001)
    assert np.allclose(of(values, LEVELS), np.quantile(values, LEVELS), atol=0.01)
