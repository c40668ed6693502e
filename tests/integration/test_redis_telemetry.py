"""Collectors hand in, a turn reads: through a real Redis that fails in every way it can."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
import redis

from watchkeeper.adapters.redis_connection import SHARDS, Keys, shown
from watchkeeper.adapters.redis_server import start
from watchkeeper.adapters.redis_sink import RedisSink
from watchkeeper.adapters.redis_telemetry import RedisTelemetry
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.core.cluster import World
from watchkeeper.core.errors import ClusterUnavailable, UsageError
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.sources import Finding, Sample, signal_of
from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS
from watchkeeper.core.word import canonical

pytestmark = pytest.mark.redis
C = "lab-test"


def sample(node: str = "n1", at: float | None = None, value: float = 50.0, world: World = World.LAB) -> Sample:  # fmt: skip  # noqa: E501
    return Sample(
        node=node,
        at=datetime.now(UTC).timestamp() if at is None else at,
        world=world,
        gpu=np.full((8, len(GPU_FIELDS)), value, np.float32),
        host=np.full(len(HOST_FIELDS), value, np.float32),
        vendor="simulated",
        simulated=True,
    )


def xid(node: str = "n1", code: int = 79, world: World = World.LAB, **more: object) -> Signal:
    finding = Finding(code=f"xid.{code}", source="kernel-log", trust=Trust.KERNEL, gpu=3, **more)  # type: ignore[arg-type]
    return signal_of(finding, node, world, datetime.now(UTC))


def reader(url: str, world: World = World.LAB, **more: object) -> RedisTelemetry:
    return RedisTelemetry(url, C, world, **more)  # type: ignore[arg-type]


def test_what_a_collector_hands_in_a_turn_reads_once(redis_url: str) -> None:
    telemetry, sink = reader(redis_url), RedisSink(redis_url, C)
    assert telemetry.read().source.age_s is None
    signal = xid()
    sink.send(sample(value=61.0), [signal])
    first = telemetry.read()
    assert first.frame.nodes == ("n1",)
    assert first.frame.gpu[0, 7, 0] == 61.0
    assert first.frame.simulated.all()
    assert first.signals == (signal,)
    assert first.source.age_s is not None
    assert first.source.age_s < 5
    second = telemetry.read()
    assert second.signals == ()
    assert second.frame.nodes == ("n1",)


def test_a_reader_that_starts_knows_what_was_known_before(redis_url: str, redis_client: redis.Redis) -> None:  # fmt: skip  # noqa: E501
    silent_since = datetime.now(UTC).timestamp() - 3000
    RedisSink(redis_url, C).send(sample("silent", silent_since))
    for shard in range(SHARDS):
        redis_client.delete(Keys(C).samples(shard))  # trimmed away long ago
    assert reader(redis_url).read().frame.last_read("silent") == silent_since


def test_signals_are_read_again_only_when_the_turn_that_read_them_died(redis_url: str) -> None:
    sink = RedisSink(redis_url, C)
    sink.send(sample(), [xid(code=79)])
    died = reader(redis_url)
    assert [s.code for s in died.read().signals] == ["xid.79"]
    after = reader(redis_url)
    assert [s.code for s in after.read().signals] == ["xid.79"]
    after.read()  # the turn came to its end, and the next one began
    sink.send(sample(), [xid(code=48)])
    assert [s.code for s in reader(redis_url).read().signals] == ["xid.48"]


def test_a_signal_handed_in_twice_is_one_signal(redis_url: str) -> None:
    sink, signal = RedisSink(redis_url, C), xid()
    sink.send(sample(), [signal])
    sink.send(sample(), [signal])
    assert reader(redis_url).read().signals == (signal,)


def test_s29_samples_and_signals_of_another_world_are_refused(redis_url: str) -> None:
    sink = RedisSink(redis_url, C)
    sink.send(sample(world=World.LAB), [xid(world=World.LAB)])
    read = reader(redis_url, World.REAL).read()
    assert read.signals == ()
    assert read.frame.nodes == ()
    assert read.refused >= 2


def test_what_comes_through_ray_is_trusted_no_more_than_ray(redis_url: str) -> None:
    RedisSink(redis_url, C, inside_ray=True).send(sample(), [xid()])
    (signal,) = reader(redis_url).read().signals
    assert signal.trust is Trust.RAY


def test_a_forged_id_cannot_stand_in_the_place_of_a_drivers_signal(redis_url: str) -> None:
    real = xid()
    RedisSink(redis_url, C, inside_ray=True).send(sample(), [real])
    RedisSink(redis_url, C).send(sample(), [real])
    assert {s.trust for s in reader(redis_url).read().signals} == {Trust.RAY, Trust.KERNEL}


def test_the_readers_own_cap_holds_for_the_trusted_stream(redis_url: str) -> None:
    RedisSink(redis_url, C).send(sample(), [xid()])
    (signal,) = reader(redis_url, max_trust=Trust.SCHEDULER).read().signals
    assert signal.trust is Trust.SCHEDULER


def test_malformed_messages_are_refused_and_counted_and_the_rest_is_read(
    redis_url: str, redis_client: redis.Redis
) -> None:
    keys = Keys(C)
    future = canonical(
        signal_of(
            Finding(code="xid.79", source="x", trust=Trust.DRIVER),
            "n1",
            World.LAB,
            datetime.now(UTC) + timedelta(hours=1),
        )
    )
    redis_client.hset(keys.latest, mapping={"n9": b"rubbish"})
    for shard in range(SHARDS):
        redis_client.xadd(keys.samples(shard), {"s": b"\x00" * 5000})
        redis_client.xadd(keys.samples(shard), {"other": "x"})
    for bad in (b"{", b"[]", b'{"id":"x"}', b"\xff\xfe", b'"' + b"x" * 100_000 + b'"', future):
        redis_client.xadd(keys.signals, {"j": bad})
    sly = msgspec.structs.replace(xid(), target="gpu:n1/3\n\x1b[2J", id="sly")
    redis_client.xadd(keys.signals, {"j": canonical(sly)})
    RedisSink(redis_url, C).send(sample("good"), [xid("good")])
    read = reader(redis_url).read()
    assert read.frame.nodes == ("good",)
    assert [s.target for s in read.signals] == ["gpu:good/3"]
    assert read.refused == 1 + 2 * SHARDS + 7


def test_a_reading_from_the_past_or_the_future_changes_nothing(redis_url: str) -> None:
    now = datetime.now(UTC).timestamp()
    sink, telemetry = RedisSink(redis_url, C), reader(redis_url)
    sink.send(sample(at=now, value=1.0))
    telemetry.read()
    late = telemetry.late
    sink.send(sample(at=now - 100, value=2.0))
    sink.send(sample(at=now + 3600, value=3.0))
    read = telemetry.read()
    assert read.frame.gpu[0, 0, 0] == 1.0
    assert (read.refused, telemetry.late - late) == (1, 1)


def test_flushall_loses_nothing_that_comes_after_it(redis_url: str, redis_client: redis.Redis) -> None:  # fmt: skip  # noqa: E501
    sink, telemetry = RedisSink(redis_url, C), reader(redis_url)
    sink.send(sample("before"), [xid("before")])
    telemetry.read()
    redis_client.flushall()
    assert telemetry.read().frame.nodes == ("before",)  # known facts stay, and age
    sink.send(sample("after"), [xid("after")])
    read = telemetry.read()
    assert set(read.frame.nodes) == {"before", "after"}
    assert [s.target for s in read.signals] == ["gpu:after/3"]


def test_another_server_with_older_ids_is_read_from_its_beginning(
    redis_url: str, redis_client: redis.Redis
) -> None:
    sink, telemetry = RedisSink(redis_url, C), reader(redis_url)
    sink.send(sample(), [xid(code=79)])
    telemetry.read()
    redis_client.flushall()
    redis_client.xadd(Keys(C).signals, {"j": canonical(xid(code=48))}, id="5-0")
    assert [s.code for s in telemetry.read().signals] == ["xid.48"]


def test_an_unreachable_redis_is_one_sentence_and_both_sides_recover(tmp_path: Path) -> None:
    first = start(tmp_path)
    sink, telemetry = RedisSink(first.url, C), reader(first.url)
    sink.send(sample("n1"), [xid()])
    telemetry.read()
    first.stop()
    with pytest.raises(
        ClusterUnavailable, match=r"^Redis at unix://.* did not serve us: .*--redis"
    ):
        telemetry.read()
    with pytest.raises(ClusterUnavailable):
        sink.send(sample("n1"))
    second = start(tmp_path)
    try:
        sink.send(sample("n2"), [xid("n2")])
        read = telemetry.read()
        assert set(read.frame.nodes) == {"n1", "n2"}
        assert [s.target for s in read.signals] == ["gpu:n2/3"]
    finally:
        second.stop()


def test_streams_stay_bounded(redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip  # noqa: E501
    monkeypatch.setattr("watchkeeper.adapters.redis_sink.KEEP_SAMPLES", 500)
    sink = RedisSink(redis_url, C)
    now = datetime.now(UTC).timestamp()
    sink.send_many(sample("n1", now + i / 1e6) for i in range(3000))
    assert redis_client.xlen(Keys(C).samples_of("n1")) <= 700
    assert redis_client.hlen(Keys(C).latest) == 1


def test_old_entries_go_by_age(redis_url: str, redis_client: redis.Redis) -> None:
    old = int((datetime.now(UTC) - timedelta(days=8)).timestamp() * 1000)
    for i in range(1000):
        redis_client.xadd(Keys(C).signals, {"j": b"{}"}, id=f"{old}-{i + 1}")
    reader(redis_url).read()
    assert redis_client.xlen(Keys(C).signals) < 200


def test_a_password_is_never_shown() -> None:
    assert shown("redis://me:secret@host:6379/0") == "redis://me:***@host:6379/0"
    with pytest.raises(ClusterUnavailable) as told:
        RedisSink("redis://me:secret@127.0.0.1:1/0", C).check()
    assert "secret" not in str(told.value)


def test_what_is_no_url_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no Redis URL"):
        RedisSink("localhost:6379", C)


def test_ten_thousand_nodes_arrive_whole(redis_url: str) -> None:
    sink, telemetry = RedisSink(redis_url, C, clock=SystemClock()), reader(redis_url)
    now = datetime.now(UTC).timestamp()
    sink.send_many(sample(f"node-{i}", now) for i in range(10_000))
    read = telemetry.read()
    assert len(read.frame.nodes) == 10_000
    assert read.frame.gpu.shape == (10_000, 8, len(GPU_FIELDS))
    assert not np.isnan(read.frame.read_at).any()
    assert read.refused == 0


def test_a_refusal_in_the_middle_of_a_batch_is_told_and_the_next_batch_goes_through(
    redis_url: str, redis_client: redis.Redis
) -> None:
    sink = RedisSink(redis_url, C)
    redis_client.set(Keys(C).samples_of("node-3"), "in the way")
    with pytest.raises(ClusterUnavailable, match="WRONGTYPE"):
        sink.send_many(sample(f"node-{i}") for i in range(10))
    redis_client.delete(Keys(C).samples_of("node-3"))
    sink.send_many(sample(f"node-{i}") for i in range(10))
    assert len(reader(redis_url).read().frame.nodes) == 10


def test_a_batch_survives_a_restart_of_redis(tmp_path: Path) -> None:
    first = start(tmp_path)
    sink = RedisSink(first.url, C)
    sink.send_many([sample("n1")])
    first.stop()
    with pytest.raises(ClusterUnavailable):
        sink.send_many([sample("n1")])
    second = start(tmp_path)
    try:
        sink.send_many([sample("n1")])
        assert reader(second.url).read().frame.nodes == ("n1",)
    finally:
        second.stop()
