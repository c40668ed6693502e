"""Telemetry out of Redis: how a turn reads what collectors handed in (`redis_sink`).

Streams carry the news; the hash `latest` tells a reader that starts what was known before. What
comes back is never trusted: it is decoded strictly, refused and counted where it does not fit,
and a signal is believed no more than the stream it came through (`signals-ray`: no more than Ray).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from datetime import timedelta
from typing import Any, TypeAlias

import msgspec

from watchkeeper.adapters.redis_connection import SHARDS, Keys, connect, reaching
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.core.clock import Clock
from watchkeeper.core.cluster import World
from watchkeeper.core.errors import Malformed
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.sample_bytes import FUTURE_S, MAX_NODES, FleetColumns
from watchkeeper.core.sources import RAW_LIMIT, capped
from watchkeeper.core.telemetry import SourceState, TelemetryRead
from watchkeeper.core.word import digest, parse

KEEP_SAMPLES_S = 3600.0
KEEP_SIGNALS_S = 7 * 86400.0
LOOKBACK_S = 600.0
"""How far back a reader without a cursor looks."""
MAX_SIGNAL_BYTES = 8192
FORGET_NODE_S = 7 * 86400.0
_TRIM_EVERY_S = 60.0
_PER_CALL = 5000
_CALLS = 8
_REMEMBER = 50_000
_NAMES = re.compile(
    r"[a-z0-9_.-]{1,64} (?:cluster|(?:node|gpu|job|pool):[^\s\x00-\x1f\x7f]{1,256})"
)
"""Code and target of a signal: what people and rules read must not hold control characters."""

_Entries: TypeAlias = list[tuple[bytes, list[bytes] | None]]
"""(id, [field, value, ...]); a deleted entry has no fields."""


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
                if not _NAMES.fullmatch(f"{signal.code} {signal.target}"):
                    raise Malformed("a signal has no usable code or target")
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
