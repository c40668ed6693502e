"""What the forecast says, which model may say it, and that none looks ahead."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.adapters.shadow_file import ShadowFiles
from watchkeeper.core.errors import Malformed
from watchkeeper.core.facts import quantile_at
from watchkeeper.demand.choose import DemandSettings, KeptChoices, choose, forecast
from watchkeeper.demand.learn import Effort
from watchkeeper.demand.record import Kept, Record, Result
from watchkeeper.demand.reserve import Reservation, held, without
from watchkeeper.demand.series import carried, grid

AT = datetime(2026, 3, 22, 9, 0, tzinfo=UTC)
NOW = AT.timestamp()
HOUR, DAY = 3600.0, 86400.0
QUICK = DemandSettings(
    far_s=(HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR),
    effort=Effort(origin_s=11 * HOUR, judged_s=7 * DAY),
)
"""Fewer horizons and past moments than the watch uses, so that a test takes no seconds."""


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


def test_days_and_nights_are_learned_and_the_score_says_how_well() -> None:
    said = forecast("train", readings(9 * DAY, HOUR / 2, office_hours), AT, QUICK)

    assert said.score is not None
    assert said.score < 0.7, said.why
    assert said.origins >= 5
    assert sum(share for _, share in said.shares) == pytest.approx(1.0)
    assert "against" in said.why
    assert "for persistence" in said.why
    half_a_day = said.horizons_s.index(12 * HOUR)
    assert said.values[half_a_day][2] == pytest.approx(office_hours(NOW + 12 * HOUR), rel=0.25)


def test_the_same_readings_give_the_same_forecast() -> None:
    samples = readings(11 * DAY, HOUR, office_hours)
    few = DemandSettings(far_s=QUICK.far_s, effort=Effort(origin_s=DAY, judged_s=2 * DAY))
    assert forecast("train", samples, AT, few) == forecast("train", samples, AT, few)


def test_a_kept_choice_is_used_without_a_new_backtest() -> None:
    samples = readings(5 * DAY, HOUR, office_hours)
    choice = choose(samples, AT, QUICK)
    again = forecast("train", samples, AT, QUICK, choice=choice)
    assert choice.learned is not None
    assert (again.method, again.score) == (choice.method, choice.learned.ratio)


def test_the_backtest_runs_once_a_day_but_a_short_history_is_looked_at_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from watchkeeper.demand import choose as room

    tried: list[int] = []

    def counted(series: Any, *args: Any) -> Any:
        tried.append(len(series.values))
        return learn(series, *args)

    learn = room.learn
    monkeypatch.setattr(room, "learn", counted)
    kept = KeptChoices(QUICK)
    samples = readings(5 * DAY, HOUR, office_hours)
    first = kept.forecast("train", samples, AT)
    assert kept.forecast("train", samples, AT + timedelta(hours=1)).method == first.method
    assert len(tried) == 1
    kept.forecast("train", samples, AT + timedelta(hours=25))
    assert len(tried) == 2
    short = readings(600, 10, 8.0)
    assert "10 min" in kept.forecast("infer", short, AT).why
    assert "30 min" in kept.forecast("infer", short, AT + timedelta(minutes=20)).why


def test_a_backtest_that_showed_nothing_is_not_run_again_every_ten_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from watchkeeper.demand import choose as room

    tried: list[int] = []

    samples = readings(5 * DAY, HOUR, office_hours)
    showed_nothing = SimpleNamespace(ratio=None)
    monkeypatch.setattr(room, "learn", lambda *_: tried.append(1) or showed_nothing)
    kept = KeptChoices(QUICK)
    for minutes in (0, 10, 20):
        said = kept.forecast("idle", samples, AT + timedelta(minutes=minutes))
        assert said.why.startswith("Nothing was wanted in the hours compared.")
        assert said.score is None
    assert len(tried) == 1


def test_the_shadow_record_outlives_the_watch(tmp_path: Path) -> None:
    files = ShadowFiles(tmp_path, "lab-1")
    few = DemandSettings(far_s=(HOUR, 2 * HOUR), effort=QUICK.effort)
    samples = readings(5 * DAY, HOUR, office_hours)
    for hour in range(4):  # each asked by a watch that was just started
        at = AT + timedelta(hours=hour)
        told = [*samples, *((NOW + h * HOUR, office_hours(NOW + h * HOUR), 0.0) for h in range(5))]
        said = KeptChoices(few, files).forecast("train", told, at)
    assert said.made_over == 2, "two of four have seen all of their hours come"
    assert said.made_score is not None
    assert KeptChoices(few).forecast("train", told, at).made_over == 0
    other = KeptChoices(few, ShadowFiles(tmp_path, "lab-2")).forecast("train", told, at)
    assert other.made_over == 0, "another cluster's record is none of ours"


@pytest.mark.parametrize("found", [b"", b"{", b'{"pool": "other"}', b'{"pool": "train", "x": 1}'])
def test_a_shadow_record_that_cannot_be_read_begins_anew(tmp_path: Path, found: bytes) -> None:
    files = ShadowFiles(tmp_path, "lab-1")
    files.save(Kept(pool="train", results=(Result(1.0, 2.0, 0.5),)))
    assert files.load("train") is not None
    (path,) = tmp_path.iterdir()
    path.write_bytes(found)
    assert files.load("train") is None
    files.save(Kept(pool="train"))
    assert files.load("train") == Kept(pool="train")


def test_many_series_are_learned_wherever_the_fanout_leads_and_spoken_for_here() -> None:
    class Plain:
        says = "here"

        def map(self, function: Any, items: Any) -> Any:
            import pickle

            return ((i, function(pickle.loads(pickle.dumps(item)))) for i, item in enumerate(items))

    samples: dict[str, Any] = {
        "train": readings(5 * DAY, HOUR, office_hours),
        "tenant:blue": readings(5 * DAY, HOUR, lambda t: office_hours(t) / 4),
    }
    kept = KeptChoices(QUICK)
    samples["new"] = readings(600, 10, 8.0)
    assert kept.learn_many(samples, AT, Plain()) == (), "two are learned here sooner"
    assert kept.learn_many(samples, AT, Plain(), least=2) == ("train", "tenant:blue")
    assert kept.learn_many(samples, AT + timedelta(hours=1), Plain(), least=1) == ()
    alone = forecast("train", samples["train"], AT, QUICK)
    assert kept.forecast("train", samples["train"], AT).values == alone.values


def test_a_record_full_of_holes_is_not_compared() -> None:
    old = [(NOW - 8 * DAY + i * HOUR, 10.0, 0.0) for i in range(12)]
    said = forecast("train", [*old, (NOW - 2 * HOUR, 30.0, 0.0)], AT)
    assert said.method == "persistence"
    assert "was recorded" in said.why
    assert said.why.endswith("The last reading is 2 h old.")
    assert (said.score, said.origins) == (None, 0)


def test_a_walk_without_a_pattern_is_forecast_hardly_worse_than_by_persistence() -> None:
    rng = np.random.default_rng(7)
    walk = 500 + np.cumsum(rng.normal(0, 3, 24 * 12))
    samples = [(NOW - (len(walk) - i) * HOUR, float(v), 0.0) for i, v in enumerate(walk)]
    said = forecast("train", samples, AT, QUICK)
    assert said.score == pytest.approx(1.0, abs=0.2)
    assert dict(said.shares).keys() >= {"analogue"}


def test_a_constant_demand_has_nothing_to_learn() -> None:
    said = forecast("train", readings(6 * DAY, HOUR, 64.0), AT, QUICK)
    assert said.why == "Demand did not change; there is nothing to learn."
    assert set(said.values) == {(64.0,) * 5}


def test_what_is_reserved_is_no_habit_of_the_past_and_is_added_ahead() -> None:
    samples = readings(2 * DAY, HOUR / 6, lambda t: 40.0 if t > NOW - 9 * HOUR else 8.0)
    was = Reservation(NOW - 9 * HOUR, NOW, 32.0)
    coming = Reservation(NOW + 1800, NOW + HOUR, 100.0)
    plain = without(grid(samples, NOW, 600.0), (was,))
    assert np.nanmax(plain.values) == pytest.approx(8.0)
    assert list(held((coming,), NOW, (600.0, 2400.0, 7200.0), 600.0)) == [0.0, 100.0, 0.0]
    said = forecast("train", samples, AT, reservations=(was, coming))
    assert quantile_at(said, 900.0, 0.5) == pytest.approx(8.0)
    assert quantile_at(said, HOUR, 0.5) == pytest.approx(108.0)


def shadow(factor: float) -> Any:
    """A day of hourly forecasts, then the day they were made for, `factor` times the usual."""
    record, kept = Record(usual_loss=1.0), None
    past = readings(6 * DAY, HOUR, office_hours)
    made = forecast("train", past, AT, QUICK)
    later = [(t, v * factor if t > NOW else v, 0.0) for t, v, _ in readings(0, HOUR, 1.0)]
    for hour in range(0, 60, 2):
        at = AT + timedelta(hours=hour)
        span = np.arange(NOW + HOUR, at.timestamp() + 1, HOUR)
        later = [(float(t), office_hours(t) * factor, 0.0) for t in span]
        series = grid([*past, *later], at.timestamp(), HOUR)
        kept = record.told(msgspec.structs.replace(made, made_at=at), series)
    return kept


def test_a_forecast_carries_how_those_made_before_it_came_true() -> None:
    said = shadow(factor=1.0)
    assert said.made_over >= 10
    assert 0 <= said.made_coverage80 <= 1
    assert said.made_score > 0


def test_what_was_promised_before_a_new_backtest_stays_on_record() -> None:
    kept = KeptChoices(QUICK)
    for hour in range(0, 60, 6):
        at = AT + timedelta(hours=hour)
        samples = [(t + 3600 * hour, v, p) for t, v, p in readings(5 * DAY, HOUR, office_hours)]
        said = kept.forecast("train", samples, at)
    assert said.made_over >= 5
    assert said.made_score is not None


def test_when_demand_is_no_longer_what_it_was_the_forecast_says_that_it_drifted() -> None:
    assert shadow(factor=9.0).drifted


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
