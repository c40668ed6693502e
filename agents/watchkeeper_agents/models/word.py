"""One bounded call of a model that ends in one word of a fixed form. Asked by the reader of raw
text and by the chat, which have no tools.

Every call is bounded before it is made, and written down whatever became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from watchkeeper.core.model import ModelAsk, ModelCall, ModelClient, Said
from watchkeeper.core.redact import redact
from watchkeeper.core.word import canonical, digest
from watchkeeper_agents.models.clerk import Clerk, costed, ended, failed
from watchkeeper_agents.models.pages import prompt
from watchkeeper_agents.models.settings import Seat
from watchkeeper_agents.models.spending import CHARS_A_TOKEN

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class OneWord:
    """A model in one seat, asked for one word at a time. agent: whose seat it is."""

    agent: str
    client: ModelClient
    seat: Seat
    clerk: Clerk

    def __call__(
        self,
        page: str,
        told: Any,
        schema: dict[str, Any],
        about: str,
        now: float,
        read: Callable[[str], W],
    ) -> W | None:
        """The word; None where the caps or the breaker are shut, the call failed, or `read` refused
        the answer (ValueError). page: the prompt. told: plain values. now: steady seconds."""
        prompted, text = prompt(page), canonical(told).decode()
        ask = ModelAsk(
            said=(Said(role="system", text=prompted.text), Said(role="user", text=text)),
            answer=schema,
            most_tokens=self.seat.most_tokens,
            last=True,
        )
        size = (len(text) + len(prompted.text)) // CHARS_A_TOKEN
        money = self.client.price(size, self.seat.most_tokens)
        if self.clerk.shut(self.seat.model, about, now, size + self.seat.most_tokens, money):
            return None
        call = ModelCall(
            agent=self.agent,
            model=self.client.name,
            about=about,
            prompt=prompted.id,
            asked=digest(ask),
            ended="answered",
            steady=now,
        )
        try:
            reply = self.client.call(ask)
        except Exception as err:  # a client's own bug is a failure of the model, not of the watch
            self.clerk.note(self.seat.model, failed(call, err, self.client, size))
            return None
        call, said = costed(call, reply, self.client), None
        try:
            said = read(reply.text)
        except (ValueError, RecursionError) as err:  # msgspec's own, bad UTF-8, absurd nesting
            call = ended(call, "malformed", why=redact(str(err))[:200])
        self.clerk.note(self.seat.model, call)
        return said
