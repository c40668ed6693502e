"""Keeps the books of all calls, for every thread that makes some: what may still be spent, which
model rests, what is not in the record yet. And how work is run beside the turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Protocol, TypeVar

import msgspec

from watchkeeper.core.model import ModelCall, ModelClient, ModelFailed, ModelReply
from watchkeeper.core.redact import redact
from watchkeeper.core.word import digest
from watchkeeper_agents.models.settings import UseOfModels
from watchkeeper_agents.models.spending import Breaker, Purse

T = TypeVar("T")
KEPT = 2_000
"""Characters of an answer that the record keeps."""


class Run(Protocol):
    """Starts work and gives its future: at once done where it ran in line."""

    def __call__(self, work: Callable[[], T]) -> Future[T]: ...


def in_line(work: Callable[[], T]) -> Future[T]:
    """Runs it now. For a twin, where no real time passes, and for tests."""
    future: Future[T] = Future()
    try:
        future.set_result(work())
    except Exception as err:  # as a pool would keep it
        future.set_exception(err)
    return future


class Clerk:
    """One purse, one breaker for each model, one list of calls, under one lock."""

    def __init__(
        self, use: UseOfModels, models: Mapping[str, ModelClient], past: Iterable[ModelCall] = ()
    ) -> None:
        names = {client.name: alias for alias, client in models.items()}
        self._purse = Purse(use.caps)
        self._breakers = {name: Breaker(use.breaker) for name in models}
        self._lock = threading.Lock()
        self._calls: list[ModelCall] = []
        for call in past:
            self._purse.spend(call)
            if call.model in names:  # a model that failed rests on after a restart too
                self._breakers[names[call.model]].hear(call)

    def shut(self, model: str, about: str, now: float, tokens: int, money: float) -> str:
        """Why the next call may not be made; "" when it may."""
        with self._lock:
            return self._purse.shut(about, now, tokens, money) or self._breakers[model].shut(now)

    def note(self, model: str, call: ModelCall) -> None:
        """One call ended."""
        with self._lock:
            self._purse.spend(call)
            self._breakers[model].hear(call)
            self._calls.append(call)

    def take(self) -> tuple[ModelCall, ...]:
        """The calls since the last time, for the record."""
        with self._lock:
            taken, self._calls = tuple(self._calls), []
        return taken


def costed(call: ModelCall, reply: ModelReply, client: ModelClient) -> ModelCall:
    """The call with what came back for it, cut and without secrets, and what it cost."""
    return msgspec.structs.replace(
        call,
        answer=redact(reply.text)[:KEPT],
        answer_hash=digest([reply.text, reply.calls]),
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        took_s=round(reply.took_s, 3),
        cost=round(client.price(reply.tokens_in, reply.tokens_out), 6),
    )


def ended(call: ModelCall, how: str, **more: object) -> ModelCall:
    """The call, over."""
    return msgspec.structs.replace(call, ended=how, **more)


def failed(call: ModelCall, err: Exception, client: ModelClient, size: int) -> ModelCall:
    """The call that brought no answer. size: tokens that were sent: they are paid for all the same,
    but for what never got there or was refused. An exception of the client's own is a refusal."""
    if not isinstance(err, ModelFailed):
        return ended(call, "refused", why=type(err).__name__)
    paid = 0 if err.what in ("unreachable", "refused") else size
    return ended(
        call,
        err.what,
        why=redact(str(err)),
        took_s=err.spent_s,
        tokens_in=paid,
        cost=round(client.price(paid, 0), 6),
    )
