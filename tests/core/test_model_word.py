"""One call for one word: bounded before, written down after, whatever became of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from watchkeeper.core.model import ModelAsk, ModelFailed, ModelReply
from watchkeeper_agents.models.clerk import Clerk
from watchkeeper_agents.models.settings import BreakerSettings, Seat, UseOfModels
from watchkeeper_agents.models.word import OneWord


class Played:
    name = "played"

    def __init__(self, does: str | Exception) -> None:
        self.does = does

    def price(self, tokens_in: int, tokens_out: int) -> float:
        return 0.0001 * (tokens_in + tokens_out)

    def call(self, _ask: ModelAsk) -> ModelReply:
        if isinstance(self.does, Exception):
            raise self.does
        return ModelReply(text=self.does, tokens_in=10, tokens_out=5, took_s=0.5)


def number(text: str) -> int:
    return int(json.loads(text))


ENDS: dict[str, tuple[str | Exception, str, bool]] = {
    "an answer": ("7", "answered", True),
    "another form": ('"seven"', "malformed", True),
    "absurd nesting": ("[" * 100_000, "malformed", True),
    "a time out is paid for": (ModelFailed("timeout", "late", spent_s=2.0), "timeout", True),
    "what never got there is not": (ModelFailed("unreachable", "no"), "unreachable", False),
    "a client's own bug": (TypeError("ours"), "refused", False),
}


@pytest.mark.parametrize(("does", "how", "paid"), ENDS.values(), ids=ENDS)
def test_every_call_is_written_down_and_counts(does: str | Exception, how: str, paid: bool) -> None:
    client: Any = Played(does)
    use = UseOfModels(seats={"chat": Seat(model="m")}, breaker=BreakerSettings(failures=1))
    clerk = Clerk(use, {"m": client})
    ask = OneWord("chat", client, use.seats["chat"], clerk)
    assert ask("chat", {"sentence": "how many"}, {}, "chat:1", 5.0, number) == (
        7 if how == "answered" else None
    )
    (call,) = clerk.take()
    assert (call.ended, call.about, call.steady) == (how, "chat:1", 5.0)
    assert (call.tokens_in > 0) is (call.cost > 0) is paid
    again = ask("chat", {"sentence": "how many"}, {}, "chat:1", 6.0, number)
    rests = not clerk.take()
    assert rests is (how != "answered"), "one failure opens this breaker"
    assert again == (None if rests else 7)
