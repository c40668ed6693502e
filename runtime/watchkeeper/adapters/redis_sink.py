"""Telemetry into Redis: how a collector hands in. Adds only; never reads.

A sample goes to its node's shard as one bytes field (core.sample_bytes); signals go to the stream
of their door: `signals`, or `signals-ray` for a collector that runs inside Ray.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import redis

from watchkeeper.adapters.redis_connection import SHARDS, Keys, connect, reaching
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.core.clock import Clock
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.sample_bytes import encode
from watchkeeper.core.sources import Sample, capped
from watchkeeper.core.word import canonical

KEEP_SAMPLES = 20_000
"""Samples kept in each shard, about: 80 s of a fleet of 10,000 nodes at 10 s."""
KEEP_SIGNALS = 20_000
LATEST_EVERY_S = 30.0


class RedisSink:
    """Meets core.sources.SampleSink. Adds only; bounded by count here and by age at the reader."""

    def __init__(
        self, url: str, cluster: str, *, inside_ray: bool = False, clock: Clock | None = None
    ) -> None:
        self._url = url
        self._keys = Keys(cluster)
        self._client = connect(url)
        self._inside_ray = inside_ray
        self._clock = clock or SystemClock()
        self._latest_at: dict[str, float] = {}
        words = ("MAXLEN", "~", str(KEEP_SAMPLES), "*", "s")
        self._heads = [
            b"*8\r\n" + b"".join(_bulk(w) for w in ("XADD", self._keys.samples(i), *words))
            for i in range(SHARDS)
        ]

    def check(self) -> None:
        """Raises ClusterUnavailable when Redis does not answer."""
        with reaching(self._url):
            self._client.ping()

    def send(self, sample: Sample, signals: Sequence[Signal] = ()) -> None:
        with reaching(self._url):
            pipe = self._client.pipeline(transaction=False)
            for signal in signals:
                self._add_signal(pipe, signal)
            self._add_sample(pipe, sample)
            self._execute(pipe)

    def send_many(self, samples: Iterable[Sample], batch: int = 500) -> None:
        """Hand in the readings of many nodes, as a relay or a benchmark does."""
        rest = iter(samples)
        with reaching(self._url):
            while some := list(islice(rest, batch)):
                encoded = [(sample.node, encode(self._vouched(sample))) for sample in some]
                self._add_packed(encoded)
                if due := {node: data for node, data in encoded if self._latest_due(node)}:
                    self._client.hset(self._keys.latest, mapping=due)  # type: ignore[arg-type]

    def _add_packed(self, encoded: list[tuple[str, bytes]]) -> None:
        """XADD each sample, with the protocol written by hand: packing in redis-py costs more
        than everything else together (2.6 times as many samples a second without it)."""
        heads = self._heads
        words = [
            b"%b$%d\r\n%b\r\n" % (heads[self._keys.shard_of(node)], len(data), data)
            for node, data in encoded
        ]
        pool = self._client.connection_pool
        connection: Any = pool.get_connection()
        try:
            connection.send_packed_command(words)
            answers = [connection.read_response() for _ in words]
        except BaseException:
            # Answers may still be under way: this connection must not be used again.
            connection.disconnect()
            self._latest_at.clear()
            raise
        finally:
            pool.release(connection)
        refusal = next((a for a in answers if isinstance(a, Exception)), None)
        if refusal is not None:
            raise refusal

    def close(self) -> None:
        self._client.close()

    def _execute(self, pipe: Any) -> None:
        try:
            pipe.execute()
        except (redis.exceptions.RedisError, OSError):
            self._latest_at.clear()  # another server may answer next, and know nothing
            raise

    def _add_sample(self, pipe: Any, sample: Sample) -> None:
        data = encode(self._vouched(sample))
        pipe.xadd(self._keys.samples_of(sample.node), {"s": data}, maxlen=KEEP_SAMPLES)
        if self._latest_due(sample.node):
            pipe.hset(self._keys.latest, sample.node, data)

    def _vouched(self, sample: Sample) -> Sample:
        if not self._inside_ray:
            return sample
        return dataclasses.replace(sample, trust=capped(sample.trust, Trust.RAY))

    def _latest_due(self, node: str) -> bool:
        """The hash serves only readers that start; writing it each time would halve the ingest."""
        now = self._clock.steady()
        if now - self._latest_at.get(node, -LATEST_EVERY_S) < LATEST_EVERY_S:
            return False
        self._latest_at[node] = now
        return True

    def _add_signal(self, pipe: Any, signal: Signal) -> None:
        stream = self._keys.signals_ray if self._inside_ray else self._keys.signals
        pipe.xadd(stream, {"j": canonical(signal)}, maxlen=KEEP_SIGNALS)


def _bulk(word: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode())
