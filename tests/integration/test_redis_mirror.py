"""Copies for readers: rebuilt whenever Redis is not the one it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from msgspec.structs import replace

from watchkeeper.adapters import redis_mirror
from watchkeeper.adapters.redis_connection import Keys
from watchkeeper.adapters.redis_mirror import RedisMirror
from watchkeeper.adapters.redis_server import start
from watchkeeper.core.cluster import ClusterState, Job, JobState, PoolDemand, World
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.event import Event, Kind

pytestmark = pytest.mark.redis
C = "lab-test"
T0 = datetime(2026, 11, 22, 3, tzinfo=UTC)


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.s)

    policy_now = now

    def steady(self) -> float:
        return self.s


def demand(at: datetime, running: float, pending: float = 0.0) -> ClusterState:
    return ClusterState(
        session="s",
        cluster=C,
        world=World.LAB,
        read_at=at,
        nodes={},
        demand=(
            PoolDemand(
                pool="p", total_gpus=8, running_gpus=running, pending_gpus=pending, waiting_jobs=0
            ),
        ),
    )


def event(seq: int) -> Event:
    return Event(seq=seq, at=T0, policy_at=T0, steady=0.0, kind=Kind.NOTE, subject=(), data={}, prev="0")  # fmt: skip  # noqa: E501


def test_copies_are_built_at_the_start_and_not_again_while_redis_stays(redis_url: str) -> None:
    mirror = RedisMirror(redis_url, C)
    assert [mirror.lost(), mirror.lost(), mirror.lost()] == [True, False, False]


def test_flushall_is_noticed_once(redis_url: str, redis_client: redis.Redis) -> None:
    mirror = RedisMirror(redis_url, C)
    mirror.lost()
    mirror.publish("orders", b"{}")
    redis_client.flushall()
    assert [mirror.lost(), mirror.lost()] == [True, False]


def test_another_server_is_noticed_and_a_dead_one_is_unavailable(tmp_path: Path) -> None:
    first = start(tmp_path)
    mirror = RedisMirror(first.url, C)
    mirror.lost()
    first.stop()
    with pytest.raises(ClusterUnavailable):
        mirror.lost()
    second = start(tmp_path)
    try:
        assert [mirror.lost(), mirror.lost()] == [True, False]
    finally:
        second.stop()


def test_a_copy_that_could_not_be_written_has_all_rebuilt(redis_url: str, redis_client: redis.Redis) -> None:  # fmt: skip  # noqa: E501
    mirror = RedisMirror(redis_url, C)
    mirror.lost()
    redis_client.set(Keys(C).journal, "in the way")
    with pytest.raises(ClusterUnavailable):
        mirror.publish_event(event(1))
    assert mirror.lost()


def test_copies_and_events_are_there_for_readers(redis_url: str, redis_client: redis.Redis) -> None:
    mirror = RedisMirror(redis_url, C)
    mirror.publish("incidents", b"[1]")
    mirror.publish_event(event(7))
    assert mirror.copy_of("incidents") == b"[1]"
    ((_, fields),) = redis_client.xrange(Keys(C).journal)
    assert fields[b"seq"] == b"7"


def test_a_copy_too_large_is_absent_rather_than_stale(redis_url: str) -> None:
    mirror = RedisMirror(redis_url, C)
    mirror.publish("incidents", b"old")
    mirror.publish("incidents", b"x" * (8 * 1024 * 1024 + 1))
    assert mirror.copy_of("incidents") is None
    assert mirror.not_copied == 1


def test_demand_is_recorded_from_the_first_moment_and_then_once_a_step(redis_url: str) -> None:
    clock = Hand()
    mirror = RedisMirror(redis_url, C, clock=clock)
    for second in range(0, 121, 10):
        clock.s = float(second)
        mirror.record_demand(demand(clock.now(), running=float(second), pending=2.0))
    series = mirror.demand_series("p")
    assert [at - T0.timestamp() for at, _, _ in series] == [0.0, 60.0, 120.0]
    assert [running for _, running, _ in series] == [0.0, 35.0, 95.0]  # means of each step
    assert {pending for _, _, pending in series} == {2.0}


def test_what_is_no_number_is_not_recorded_and_rubbish_is_not_read(
    redis_url: str, redis_client: redis.Redis
) -> None:
    mirror = RedisMirror(redis_url, C)
    mirror.record_demand(demand(T0, running=float("nan")))
    redis_client.xadd(Keys(C).demand("p"), {"p": b"short"})
    redis_client.xadd(Keys(C).demand("p"), {"q": b"x"})
    assert mirror.demand_series("p") == []
    assert mirror.demand_series("never seen") == []


def test_weeks_are_kept_as_ten_minute_means_and_days_as_every_point(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_mirror, "KEEP_FINE_S", 1200.0)
    clock = Hand()
    mirror = RedisMirror(redis_url, C, clock=clock, step_s=60.0)
    for minute in range(121):
        clock.s = 60.0 * minute
        mirror.record_demand(demand(clock.now(), running=float(minute)))
    minutes = [(at - T0.timestamp()) / 60 for at, _, _ in mirror.demand_series("p")]
    assert minutes == [*range(0, 101, 10), *range(101, 121)]
    assert mirror.demand_series("p")[3][1] == 25.5  # the mean of minutes 21 to 30


def test_a_tenant_has_a_series_of_its_own(redis_url: str) -> None:
    mirror = RedisMirror(redis_url, C)
    job = Job(
        name="bert", attempt_id="a", state=JobState.RUNNING, state_since=T0, tenant="blue", gpus=4
    )
    mirror.record_demand(replace(demand(T0, running=6.0), jobs={"bert": job}))
    assert mirror.demand_series("tenant:blue") == [(T0.timestamp(), 4.0, 0.0)]
    assert mirror.demand_series("p") == [(T0.timestamp(), 6.0, 0.0)]


def test_a_series_grows_by_what_is_new_and_starts_anew_after_a_flush(
    redis_url: str, redis_client: redis.Redis
) -> None:
    clock = Hand()
    mirror = RedisMirror(redis_url, C, clock=clock, step_s=1.0)
    mirror.lost()
    for second in range(5):
        clock.s = float(second)
        mirror.record_demand(demand(clock.now(), running=float(second)))
        assert [r for _, r, _ in mirror.demand_series("p")] == [float(n) for n in range(second + 1)]
    assert mirror.demand_series("p") == RedisMirror(redis_url, C).demand_series("p")
    redis_client.flushall()
    assert mirror.lost()
    assert mirror.demand_series("p") == []
