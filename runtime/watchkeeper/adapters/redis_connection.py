"""One way to reach Redis, and the names of our keys in it. Asked by every `redis_*` adapter.

Time-outs are short: a Redis that does not answer is Unknown, and no turn waits for it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from watchkeeper.core.errors import ClusterUnavailable, UsageError

CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 2.0
SHARDS = 4


@dataclass(frozen=True, slots=True)
class Keys:
    """Every key of one cluster starts with `wk:<cluster>:`."""

    cluster: str

    def _key(self, rest: str) -> str:
        return f"wk:{self.cluster}:{rest}"

    def samples(self, shard: int) -> str:
        """Stream of samples, field `s`: core.sample_bytes."""
        return self._key(f"samples:{shard}")

    def samples_of(self, node: str) -> str:
        return self.samples(self.shard_of(node))

    def shard_of(self, node: str) -> int:
        return zlib.crc32(node.encode()) % SHARDS

    @property
    def latest(self) -> str:
        """Hash node -> bytes of a recent sample, for a reader that starts."""
        return self._key("latest")

    @property
    def signals(self) -> str:
        """Stream of signals, field `j`: canonical JSON of core Signal."""
        return self._key("signals")

    @property
    def signals_ray(self) -> str:
        """The same, from collectors that run inside Ray: trusted no more than Ray is."""
        return self._key("signals-ray")

    @property
    def cursor(self) -> str:
        """Hash stream -> id of the last signal that a turn has finished with."""
        return self._key("cursor")

    def demand(self, pool: str) -> str:
        return self._key(f"demand:{pool}")

    def demand_long(self, pool: str) -> str:
        return self._key(f"demand-long:{pool}")

    def served(self, name: str) -> str:
        return self._key(f"served:{name}")

    def copy(self, name: str) -> str:
        return self._key(f"copy:{name}")

    @property
    def journal(self) -> str:
        return self._key("journal")

    @property
    def epoch(self) -> str:
        return self._key("epoch")


def connect(url: str) -> redis.Redis:
    """A client for this URL; connects on first use, and again by itself after a loss.

    Raises UsageError when the URL is none.
    """
    try:
        return redis.Redis.from_url(
            url,
            protocol=2,  # answers keep one shape over client versions
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            # Once more at once, since a pooled connection may have died with an old server.
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[redis.exceptions.ConnectionError],
            health_check_interval=0,
        )
    except (ValueError, TypeError) as err:
        raise UsageError(
            f"{shown(url)!r} is no Redis URL: {err}. Write redis://HOST:PORT/0, rediss://... or "
            "unix:///PATH/redis.sock."
        ) from err


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turns whatever Redis or the network raises into ClusterUnavailable, in one sentence."""
    try:
        yield
    except (redis.exceptions.RedisError, OSError) as err:
        words = " ".join(str(err).split()) or type(err).__name__
        raise ClusterUnavailable(
            f"Redis at {shown(url)} did not serve us: {words[:200]}. "
            "See that it runs, and that the --redis URL is right."
        ) from err


def shown(url: str) -> str:
    """The URL without its password."""
    try:
        parts = urlsplit(url)
        if parts.password is None:
            return url
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))
    except ValueError:
        return "(unreadable URL)"


def text(value: Any) -> str:
    """An answer of Redis as text, whatever bytes it holds."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
