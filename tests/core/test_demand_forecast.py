"""What the forecast says, which model may say it, and that none looks ahead."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.core.errors import Malformed
from watchkeeper.core.facts import quantile_at
from watchkeeper.demand.backtest import backtest, origins_of, pinball
from watchkeeper.demand.choose import DemandSettings, KeptChoices, choose, forecast
from watchkeeper.demand.models import GradientBoosting, Persistence, SeasonalNaive
from watchkeeper.demand.series import carried, grid

AT = datetime(2026, 3, 22, 9, 0, tzinfo=UTC)
NOW = AT.timestamp()
HOUR, DAY = 3600.0, 86400.0
QUICK = DemandSettings(most_origins=8)


def readings(
    length_s: float, every_s: float, gpus: object, pending: float = 0.0
) -> list[tuple[float, float, float]]:
    """One reading per `every_s` up to now; `gpus` is a number or a function of epoch seconds."""
    times = np.arange(NOW - length_s, NOW + 1, every_s)
    at = gpus if callable(gpus) else lambda _t: gpus
    return [(float(t), float(at(t)), pending) for t in times]  # type: ignore[operator]


def office_hours(t: float) -> float:
    """200 GPUs wanted by day, 60 at night, with a little of everything else on top."""
    wobble = 8 * math.sin(t / 5000.0) + 5 * math.sin(t / 23000.0)
    return 60 + 140 * (1 + math.cos((t / 3600 % 24 - 14) / 24 * 2 * math.pi)) / 2 + wobble


def test_ten_minutes_of_history_give_persistence_and_say_why() -> None:
    said = forecast("train", readings(600, 10, 24.0), AT)

    assert said.method == "persistence"
    assert said.why.startswith("A history of 10 min is too short for a daily pattern (4 days")
    assert quantile_at(said, 3600.0, 0.5) == pytest.approx(24.0)
    assert {0.05, 0.1, 0.5, 0.9, 0.95} <= set(said.quantiles)
    assert 3600.0 in said.horizons_s
    assert said.score is None


def test_no_history_gives_no_numbers_at_all() -> None:
    said = forecast("train", [], AT)
    assert (said.horizons_s, said.values, said.why) == ((), (), "No demand was recorded yet.")


def test_three_weeks_of_days_and_nights_choose_a_model_that_knows_the_hour() -> None:
    samples = readings(21 * DAY, HOUR / 2, office_hours)
    said = forecast("train", samples, AT, QUICK)

    assert said.method in ("gradient_boosting", "seasonal_naive_24h", "seasonal_naive_168h")
    assert said.score is not None
    assert said.score < 0.7, said.why
    assert "against" in said.why
    assert "for persistence" in said.why
    half_a_day = said.horizons_s.index(12 * HOUR)
    assert said.values[half_a_day][2] == pytest.approx(office_hours(NOW + 12 * HOUR), rel=0.25)


def test_the_same_readings_give_the_same_forecast() -> None:
    samples = readings(15 * DAY, HOUR, office_hours)
    few = DemandSettings(most_origins=2)
    assert forecast("train", samples, AT, few) == forecast("train", samples, AT, few)


def test_a_kept_choice_is_used_without_a_new_backtest() -> None:
    samples = readings(5 * DAY, HOUR, office_hours)
    choice = choose(samples, AT, QUICK)
    assert choice.method == "seasonal_naive_24h"
    again = forecast("train", samples, AT, QUICK, choice=choice)
    assert (again.method, again.score) == (choice.method, choice.ratio)


def test_the_backtest_runs_once_in_hours_but_a_short_history_is_looked_at_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []

    def counted(model: Any, *args: Any, **named: Any) -> Any:
        tried.append(model.name)
        return backtest(model, *args, **named)

    monkeypatch.setattr("watchkeeper.demand.choose.backtest", counted)
    kept = KeptChoices(QUICK)
    samples = readings(5 * DAY, HOUR, office_hours)
    first = kept.forecast("train", samples, AT)
    assert kept.forecast("train", samples, AT + timedelta(hours=1)).method == first.method
    assert tried == ["persistence", "seasonal_naive_24h"]
    kept.forecast("train", samples, AT + timedelta(hours=7))
    assert len(tried) == 4
    short = readings(600, 10, 8.0)
    assert "10 min" in kept.forecast("infer", short, AT).why
    assert "30 min" in kept.forecast("infer", short, AT + timedelta(minutes=20)).why


def test_a_record_full_of_holes_is_not_compared() -> None:
    old = [(NOW - 8 * DAY + i * HOUR, 10.0, 0.0) for i in range(12)]
    said = forecast("train", [*old, (NOW - 2 * HOUR, 30.0, 0.0)], AT)
    assert said.method == "persistence"
    assert "was recorded" in said.why
    assert said.why.endswith("The last reading is 2 h old.")


def test_a_pattern_of_noise_stays_with_persistence() -> None:
    rng = np.random.default_rng(7)
    walk = 500 + np.cumsum(rng.normal(0, 3, 24 * 8))
    samples = [(NOW - (len(walk) - i) * HOUR, float(v), 0.0) for i, v in enumerate(walk)]
    said = forecast("train", samples, AT)
    assert said.method == "persistence"
    assert said.why.startswith("No richer model beat persistence")
    assert said.score == 1.0


def test_gaps_are_unknown_not_zero() -> None:
    series = grid([(NOW - 600, 8, 0), (NOW, 16, 0)], NOW, 60.0)
    assert len(series.values) == 11
    assert np.isnan(series.values[1:-1]).all()
    assert list(carried(series.values)) == [8.0] * 10 + [16.0]
    assert series.known == pytest.approx(2 / 11)


def test_a_step_is_the_mean_of_its_readings_and_the_newest_ends_now() -> None:
    series = grid([(NOW - 90, 2, 2), (NOW - 30, 4, 4), (NOW - 1, 6, 6)], NOW, 60.0)
    assert list(series.values) == [4.0, 10.0]
    assert series.times[-1] == NOW


@pytest.mark.parametrize(
    "broken",
    [(NOW, float("nan"), 0.0), (NOW, -1.0, 0.0), (NOW, 1.0, float("inf"))],
    ids=["not a number", "below zero", "infinite"],
)
def test_a_broken_reading_is_refused(broken: tuple[float, float, float]) -> None:
    with pytest.raises(Malformed):
        grid([broken], NOW, 60.0)


def test_quantiles_stay_within_what_is_justified() -> None:
    rising = readings(2 * HOUR, 60, lambda t: 32 - (NOW - t) / 300)
    free = forecast("train", rising, AT)
    held = forecast("train", rising, AT, capacity=32.0)
    waiting = forecast("train", [*rising, (NOW, 32.0, 40.0)], AT, capacity=32.0)

    assert max(map(max, free.values)) > 32.0
    assert max(map(max, held.values)) == 32.0
    assert max(map(max, waiting.values)) > 32.0, "demand that waited went above capacity before"
    falling = forecast("train", readings(2 * HOUR, 60, lambda t: (NOW - t) / 300), AT)
    assert min(map(min, falling.values)) == 0.0


def test_the_band_of_persistence_holds_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    walk = np.abs(800 + np.cumsum(rng.normal(0, 4, 24 * 40)))
    series = grid(
        [(NOW - (len(walk) - 1 - i) * HOUR, float(v), 0.0) for i, v in enumerate(walk)], NOW, HOUR
    )
    score = backtest(
        Persistence(), series, [1, 6, 24], [0.1, 0.5, 0.9],
        origins=origins_of(series, [24], 5, 60), refit_every=999,
    )  # fmt: skip
    assert score.origins > 40
    assert 0.65 <= score.coverage80 <= 0.95


@pytest.mark.parametrize(
    "model",
    [Persistence(), SeasonalNaive(DAY), GradientBoosting(seed=3, trees=8)],
    ids=lambda m: m.name,
)
def test_changing_the_future_does_not_change_a_past_forecast(model: object) -> None:
    past = readings(6 * DAY, HOUR, office_hours)
    future = [(NOW + h * HOUR, 9999.0, 9999.0) for h in range(1, 30)]
    steps, levels = [1, 6, 24], [0.1, 0.5, 0.9]

    def said(samples: list[tuple[float, float, float]]) -> list[list[float]]:
        series = grid(samples, NOW, HOUR)
        fitted = model.fit(series, steps, levels)  # type: ignore[attr-defined]
        return fitted.predict(series, steps, levels).tolist()  # type: ignore[no-any-return]

    assert said(past) == said(past + future)


@settings(max_examples=25, deadline=None)
@given(
    jump=st.floats(0, 1e4, allow_nan=False),
    after=st.integers(1, 10_000),
    length=st.integers(1, 400),
)
def test_no_reading_after_now_is_ever_seen(jump: float, after: int, length: int) -> None:
    past = readings(length * 60, 60, office_hours)
    future = [(NOW + after, jump, jump)]
    assert forecast("train", past, AT) == forecast("train", past + future, AT)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 6 * HOUR), st.floats(0, 500), st.floats(0, 500)),
        min_size=1,
        max_size=60,
    )
)
def test_any_readings_give_ordered_quantiles_of_at_least_zero(
    ago: list[tuple[float, float, float]],
) -> None:
    said = forecast("train", [(NOW - a, r, p) for a, r, p in ago], AT)
    for row in said.values:
        assert list(row) == sorted(row)
        assert all(math.isfinite(v) and v >= 0 for v in row)


def test_quantile_loss_is_zero_only_when_every_quantile_is_right() -> None:
    came = np.array([10.0])
    assert pinball(came, np.array([[10.0, 10.0]]), [0.1, 0.9]).sum() == 0
    loss = pinball(came, np.array([[8.0, 12.0]]), [0.1, 0.9])
    assert loss.tolist() == [[pytest.approx(0.2), pytest.approx(0.2)]]
