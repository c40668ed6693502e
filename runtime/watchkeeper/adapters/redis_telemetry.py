"""Telemetry in Redis: `RedisSink` is how collectors hand in, `RedisTelemetry` is how a turn reads.

Streams carry the news; the hash `latest` tells a reader that starts what was known before. What
comes back is never trusted: it is decoded strictly, refused and counted where it does not fit,
and a signal is believed no more than the stream it came through (`signals-ray`: no more than Ray).
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, TypeAlias

import msgspec
import redis

from watchkeeper.adapters.redis_connection import SHARDS, Keys, connect, reaching
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.core.clock import Clock
from watchkeeper.core.cluster import World
from watchkeeper.core.errors import Malformed
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.sample_bytes import FUTURE_S, MAX_NODES, FleetColumns, encode
from watchkeeper.core.sources import RAW_LIMIT, Sample, capped
from watchkeeper.core.telemetry import SourceState, TelemetryRead
from watchkeeper.core.word import canonical, digest, parse

KEEP_SAMPLES = 20_000
"""Samples kept in each shard, about: 80 s of a fleet of 10,000 nodes at 10 s."""
KEEP_SIGNALS = 20_000
KEEP_SAMPLES_S = 3600.0
KEEP_SIGNALS_S = 7 * 86400.0
LATEST_EVERY_S = 30.0
LOOKBACK_S = 600.0
"""How far back a reader without a cursor looks."""
MAX_SIGNAL_BYTES = 8192
FORGET_NODE_S = 7 * 86400.0
_TRIM_EVERY_S = 60.0
_PER_CALL = 5000
_CALLS = 8
_REMEMBER = 50_000

_Entries: TypeAlias = list[tuple[bytes, list[bytes] | None]]
"""(id, [field, value, ...]); a deleted entry has no fields."""


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


class RedisTelemetry:
    """Meets core.ports.TelemetrySource. One reader, one thread.

    Signals are given at least once: the cursor of a read is stored by the next one, so that a
    turn that died reads its signals again, under the same ids.
    """

    def __init__(
        self,
        url: str,
        cluster: str,
        world: World,
        *,
        max_trust: Trust = Trust.DRIVER,
        clock: Clock | None = None,
    ) -> None:
        """max_trust caps every signal of the stream `signals`; `signals-ray` is capped to `ray`
        besides."""
        self._url = url
        self._keys = Keys(cluster)
        self._client = connect(url)
        self._client.set_response_callback("XREAD", _raw)
        self._world = world
        self._clock = clock or SystemClock()
        self._columns = FleetColumns(world)
        self._trust = {
            self._keys.signals.encode(): max_trust,
            self._keys.signals_ray.encode(): capped(max_trust, Trust.RAY),
        }
        self._samples = [self._keys.samples(i).encode() for i in range(SHARDS)]
        self._read_to: dict[bytes, bytes] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._pending: list[Signal] = []
        self._refused = 0
        self._trimmed_at = -_TRIM_EVERY_S
        self.late = 0
        """Samples that came after a newer one of their node: harmless."""

    def close(self) -> None:
        self._client.close()

    def read(self) -> TelemetryRead:
        now = self._clock.now().timestamp()
        with reaching(self._url):
            if not self._read_to:
                self._refused += self._prime(now)
            for call in range(_CALLS):
                entries = self._fetch(commit=call == 0)
                samples: list[Any] = []
                for stream, news in entries:
                    self._read_to[stream] = news[-1][0]
                    if stream in self._trust:
                        self._take_signals(news, self._trust[stream], stream)
                    else:
                        samples += [_value(fields, b"s") for _, fields in news]
                self._refused += self._store(samples, now)
                if all(len(news) < _PER_CALL for _, news in entries):
                    break
        frame = self._columns.frame()
        age = None
        if len(frame.nodes):
            age = max(0.0, now - float(frame.read_at.max()))
        # Taken only now: a connection lost half-way must not lose what was read before it.
        signals, refused = tuple(self._pending), self._refused
        self._pending.clear()
        self._refused = 0
        return TelemetryRead(frame, signals, SourceState("telemetry", age), refused)

    def _store(self, samples: list[Any], now: float) -> int:
        if not samples:
            return 0
        done = self._columns.store(samples, now)
        self.late += done.late
        return done.refused

    def _prime(self, now: float) -> int:
        """What was known before: the hash `latest`, and where reading goes on."""
        if int(self._client.hlen(self._keys.latest)) > MAX_NODES:
            known: dict[bytes, bytes] = {}
        else:
            known = self._client.hgetall(self._keys.latest)  # type: ignore[assignment]
        refused = self._store(list(known.values()), now)
        frame = self._columns.frame()
        gone = [
            n for n, at in zip(frame.nodes, frame.read_at, strict=True) if at < now - FORGET_NODE_S
        ]
        if gone:
            self._client.hdel(self._keys.latest, *gone)
            self._columns = FleetColumns(self._world)
            old = {name.encode() for name in gone}
            self._store([data for name, data in known.items() if name not in old], now)
        cursor: dict[bytes, bytes] = self._client.hgetall(self._keys.cursor)  # type: ignore[assignment]
        seconds = int(self._client.time()[0])
        back = f"{int((seconds - LOOKBACK_S) * 1000)}-0".encode()
        read_to = dict.fromkeys(self._samples, back)
        for stream in self._trust:
            kept = cursor.get(stream, back)
            read_to[stream] = kept if _id(kept) != (0, 0) else back
        self._read_to = read_to
        return refused

    def _fetch(self, *, commit: bool) -> list[tuple[bytes, _Entries]]:
        """News of every stream. commit: the turn is done with the signals read so far.

        A flushed or another server shows in its ids: where the newest entry is older than what
        we have read, reading starts anew.
        """
        pipe = self._client.pipeline(transaction=False)
        done: dict[Any, Any] = {s: self._read_to[s] for s in self._trust}
        pipe.hset(self._keys.cursor, mapping=done) if commit else pipe.ping()
        streams = [*self._samples, *self._trust]
        for stream in streams:
            pipe.xrevrange(stream, count=1)
        self._trim(pipe)
        read_to: dict[Any, Any] = dict(self._read_to)
        pipe.xread(read_to, count=_PER_CALL)
        answers = pipe.execute()
        restarted = {}
        for stream, newest in zip(streams, answers[1:], strict=False):
            if newest and _id(newest[0][0]) < _id(self._read_to[stream]):
                restarted[stream] = b"0-0"
        news = answers[-1]
        if restarted:
            self._read_to.update(restarted)
            read_to.update(restarted)
            again: Any = self._client.xread(read_to, count=_PER_CALL)
            news = again
        return [(stream, found) for stream, found in news if found]

    def _trim(self, pipe: Any) -> None:
        """Bound the streams by age. By the newest wall time of this reader only: a collector with
        a wrong clock must not be able to empty them."""
        steady = self._clock.steady()
        if steady - self._trimmed_at < _TRIM_EVERY_S:
            return
        self._trimmed_at = steady
        now = self._clock.now()
        for stream in (*self._samples, *self._trust):
            keep = KEEP_SIGNALS_S if stream in self._trust else KEEP_SAMPLES_S
            oldest = int((now - timedelta(seconds=keep)).timestamp() * 1000)
            pipe.xtrim(stream, minid=oldest)

    def _take_signals(self, news: _Entries, limit: Trust, stream: bytes) -> None:
        latest = self._clock.now() + timedelta(seconds=FUTURE_S)
        for _, fields in news:
            data = _value(fields, b"j")
            try:
                if len(data) > MAX_SIGNAL_BYTES:
                    raise Malformed("a signal is too large")
                signal = parse(data, Signal, "signal")
                if signal.world is not self._world:  # S29: worlds never mix
                    raise Malformed("a signal is of another world")
                if signal.at.tzinfo is None or signal.at > latest:
                    raise Malformed("a signal has no zone, or lies in the future")
            except Malformed:
                self._refused += 1
                continue
            through_ray = stream == self._keys.signals_ray.encode()
            signal = _limited(signal, limit, stream if through_ray else b"")
            if signal.id not in self._seen:
                self._pending.append(signal)
                self._seen[signal.id] = None
                if len(self._seen) > _REMEMBER:
                    self._seen.popitem(last=False)


def _bulk(word: str) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode())


def _raw(answer: Any, **_: Any) -> Any:
    """XREAD as hiredis gives it: nested lists. Making dicts of it would cost more than decoding."""
    return answer or []


def _limited(signal: Signal, limit: Trust, stream: bytes) -> Signal:
    """The signal as this door vouches for it. Through Ray's door it also gets an id of its own,
    so that a forged one cannot stand in the place of a driver's."""
    return msgspec.structs.replace(
        signal,
        id=f"SIG-{digest((stream.decode(), signal.id))[:16]}" if stream else signal.id,
        trust=capped(signal.trust, limit),
        raw=signal.raw[:RAW_LIMIT],
    )


def _value(fields: list[bytes] | None, name: bytes) -> bytes:
    """The value of the one field that an entry of ours has; empty when it is not of ours."""
    return fields[1] if fields is not None and len(fields) == 2 and fields[0] == name else b""


def _id(stream_id: bytes) -> tuple[int, int]:
    """A stream id as numbers; (0, 0) for what is none."""
    ms, _, seq = stream_id.partition(b"-")
    try:
        return int(ms), int(seq or 0)
    except ValueError:
        return 0, 0
