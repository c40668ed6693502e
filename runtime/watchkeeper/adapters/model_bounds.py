"""How long and how large an answer of a model may be, on the wire: client libraries bound each read
only. Asked by `model_langchain`; knows no model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from watchkeeper.core.errors import UsageError

MOST_BYTES = 1_000_000
"""Longest answer that is read off the wire; one token is at most some hundred bytes of JSON."""


class TooLong(Exception):
    """The server sends more than an answer has."""


class Late(Exception):
    """The server sends, but not in time."""


def _http_library(name: str) -> Any:
    """The HTTP library that a provider's client is built on: httpx, or what came after it."""
    with contextlib.suppress(ImportError, AttributeError):
        return import_module(name).httpx
    for library in ("httpx2", "httpx"):
        with contextlib.suppress(ImportError):
            return import_module(library)
    raise UsageError("The model's client has no HTTP library that is known here.")


def bounded_client(timeout_s: float, proxy: str, library: str) -> Any:
    """An HTTP client whose answers end after timeout_s in all and MOST_BYTES: the client library's
    own limit is on each read, and a server that drips one byte a second would never reach it."""
    httpx = _http_library(library)

    class Bounded(httpx.SyncByteStream):  # type: ignore[misc,name-defined]
        def __init__(self, inner: Any, until: float) -> None:
            self._inner, self._until = inner, until

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for part in self._inner:
                size += len(part)
                if size > MOST_BYTES:
                    raise TooLong(f"more than {MOST_BYTES} bytes")
                if time.monotonic() > self._until:
                    raise Late(f"no whole answer within {timeout_s:g} s")
                yield part

        def close(self) -> None:
            self._inner.close()

    class Transport(httpx.HTTPTransport):  # type: ignore[misc,name-defined]
        def handle_request(self, request: Any) -> Any:
            until = time.monotonic() + timeout_s
            answer = super().handle_request(request)
            answer.stream = Bounded(answer.stream, until)
            return answer

    return httpx.Client(
        transport=Transport(proxy=proxy or None),
        timeout=timeout_s,
        follow_redirects=False,
        trust_env=False,
    )
