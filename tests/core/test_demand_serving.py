"""From request rates to GPUs, which series there are, and forecasts off the turn's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from watchkeeper.control.foresee import BackgroundForecaster
from watchkeeper.core.cluster import ClusterState, Job, JobState, PoolDemand, World
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.forecast import Forecast
from watchkeeper.demand.occupancy import MOST_TENANTS, occupancies
from watchkeeper.demand.serving import Carried, Goal, Minute, ServingPlan, carried, plan

AT = datetime(2026, 3, 22, 9, 0, tzinfo=UTC)
GOAL = Goal(latency_s=2.0, gpus=2.0, start_s=300.0)


def minutes(of: Callable[[float], float], most: float, count: int = 200) -> list[Minute]:
    """Two replicas under rates up to `most` a second each; `of` gives the latency at a rate."""
    rates = np.random.default_rng(3).uniform(0.1, most, count)
    return [Minute(2 * float(r), 2, of(float(r))) for r in rates]


def rates(at_10_min: float, soon: float = 1.0) -> Forecast:
    return Forecast(
        pool="serve:llm",
        made_at=AT,
        method="persistence",
        why="",
        horizons_s=(300.0, 600.0, 3600.0),
        quantiles=(0.5, 0.95),
        values=((soon / 2, soon), (at_10_min / 2, at_10_min), (1.0, 2.0)),
        history_s=7200.0,
    )


def test_what_a_replica_carries_is_the_highest_rate_at_which_the_goal_was_kept() -> None:
    found = carried(minutes(lambda rate: 1.0 if rate < 5 else 9.0, most=8.0), GOAL)
    assert found is not None
    assert 4.0 <= found.rate <= 5.0
    assert found.reached


def test_a_goal_never_missed_gives_only_the_highest_rate_seen_and_says_so() -> None:
    found = carried(minutes(lambda _: 0.5, most=3.0), GOAL)
    assert found is not None
    assert 2.8 <= found.rate <= 3.0
    assert not found.reached
    said = plan(rates(at_10_min=30.0), 1, found, GOAL)
    assert isinstance(said, ServingPlan)
    assert "the most that was seen" in said.why


def test_minutes_in_which_what_had_piled_up_was_answered_say_nothing_of_their_own_rate() -> None:
    steady = [Minute(rate, 1, 0.3) for rate in (1.0, 1.5, 2.0, 2.5, 3.0) for _ in range(6)]
    flood = [Minute(4.0, 1, 9.0), Minute(4.5, 1, 50.0), Minute(1.0, 1, 90.0), Minute(0.5, 1, 40.0)]
    found = carried([*steady, *flood, *steady], GOAL)
    assert found is not None
    assert (found.rate, found.reached, found.measured) == (3.0, True, 62)


@pytest.mark.parametrize(
    "measured",
    [minutes(lambda _: 0.5, 3.0, count=10), minutes(lambda _: 9.0, 3.0), []],
    ids=["too few", "the goal was never kept", "nothing"],
)
def test_without_a_measurement_nothing_is_planned(measured: list[Minute]) -> None:
    assert carried(measured, GOAL) is None
    said = plan(rates(30.0), 1, carried(measured, GOAL), GOAL)
    assert said == "How much one replica carries within the goal was not measured yet."


def test_replicas_are_asked_for_before_the_goal_would_be_missed() -> None:
    can = Carried(rate=4.0, measured=200, reached=True)
    said = plan(rates(at_10_min=30.0, soon=3.0), 1, can, GOAL)
    assert isinstance(said, ServingPlan)
    assert (said.replicas, said.gpus, said.act_now) == (8, 16.0, True)
    assert said.by_hour == ((300.0, 1), (600.0, 8), (3600.0, 1))
    assert said.why == (
        "8 replicas are wanted, 1 are there, and a new one answers after 300 s: up to 30 "
        "requests/s are expected at 95%; one carries 4/s within 2 s."
    )


def test_what_comes_only_after_a_start_up_time_can_wait() -> None:
    can = Carried(rate=1.0, measured=200, reached=True)
    slow = Goal(latency_s=2.0, gpus=2.0, start_s=200.0)
    said = plan(rates(at_10_min=30.0, soon=2.0), 2, can, slow)
    assert isinstance(said, ServingPlan)
    assert not said.act_now
    assert said.why.startswith("2 replicas are enough for the next 200 s")


def test_a_forecast_without_the_level_of_the_goal_plans_nothing() -> None:
    goal = Goal(latency_s=2.0, gpus=2.0, start_s=300.0, level=0.99)
    said = plan(rates(30.0), 1, Carried(4.0, 200, True), goal)
    assert said == "There is no forecast of the request rate at 99%."


def job(name: str, tenant: str, state: JobState, gpus: float, pending: float = 0.0) -> Job:
    return Job(
        name=name, attempt_id="a", state=state, state_since=AT, tenant=tenant, gpus=gpus,
        pending_gpus=pending,
    )  # fmt: skip


def state(*jobs: Job) -> ClusterState:
    pool = PoolDemand(pool="train", total_gpus=64, running_gpus=20, pending_gpus=4, waiting_jobs=1)
    return ClusterState(
        session="s", cluster="c", world=World.TWIN, read_at=AT, nodes={}, demand=(pool,),
        jobs={j.name: j for j in jobs},
    )  # fmt: skip


def test_pools_and_tenants_have_a_series_each() -> None:
    found = occupancies(
        state(
            job("a", "blue", JobState.RUNNING, 8),
            job("b", "blue", JobState.WAITING, 16, pending=16),
            job("c", "", JobState.RUNNING, 4),
            job("d", "red", JobState.SUCCEEDED, 8),
        )
    )
    assert [tuple(each) for each in found] == [
        ("train", 20.0, 4.0),
        ("tenant:blue", 8.0, 16.0),
        ("tenant:red", 0.0, 0.0),
    ]


def test_no_more_tenants_than_are_bounded_have_a_series_and_the_largest_stay() -> None:
    many = [job(f"j{i}", f"t{i:03}", JobState.RUNNING, i) for i in range(MOST_TENANTS + 9)]
    names = [each.name for each in occupancies(state(*many))]
    assert len(names) == MOST_TENANTS + 1
    assert "tenant:t040" in names
    assert "tenant:t000" not in names


class Room:
    """What the forecaster calls, and what was asked of it."""

    def __init__(self, hours: bool = False, learns: bool = True) -> None:
        self.hours, self.learns = hours, learns
        self.forecast_of: list[str] = []
        self.learned: list[tuple[str, ...]] = []
        self.quiet = threading.Event()

    def series(self, name: str) -> Sequence[tuple[float, float, float]]:
        return [(AT.timestamp(), 1.0, 0.0)]

    def learn(self, given: Mapping[str, Any], at: datetime) -> None:
        self.learned.append(tuple(given))
        if not self.learns:
            raise ClusterUnavailable("no Ray")

    def forecast(self, name: str, series: Any, at: datetime) -> Forecast:
        self.forecast_of.append(name)
        near = (3600.0,) if self.hours else (300.0,)
        return Forecast(
            pool=name, made_at=at, method="m", why="", horizons_s=near, quantiles=(0.5,),
            values=((1.0,),), history_s=0.0,
        )  # fmt: skip


def rounds(room: Room, count: int, every_s: float) -> list[str]:
    """Names of the forecasts that came back over so many rounds; each round is waited for."""
    of = BackgroundForecaster(room.series, room.forecast, learn=room.learn)
    came: list[str] = []
    try:
        for n in range(count):
            at = AT + timedelta(seconds=n * every_s)
            came += [f.pool for f in of.collect(state(job("a", "x", JobState.RUNNING, 1)), at)]
            of._pool.submit(room.quiet.set).result(timeout=10)
        return came
    finally:
        of.close()


def test_a_pool_is_forecast_each_minute_a_tenant_less_often_and_all_are_learned_together() -> None:
    room = Room()
    came = rounds(room, count=61, every_s=60.0)
    assert (came.count("train"), came.count("tenant:x")) == (60, 6)
    assert room.learned == [("train", "tenant:x")] * 2


def test_a_forecast_of_hours_is_made_every_ten_minutes() -> None:
    room = Room(hours=True)
    rounds(room, count=61, every_s=60.0)
    assert 6 <= room.forecast_of.count("train") <= 9


def test_without_room_elsewhere_the_series_are_forecast_all_the_same() -> None:
    room = Room(learns=False)
    assert rounds(room, count=3, every_s=60.0).count("train") == 2
