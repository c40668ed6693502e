"""The one that reads raw text, and has no tools: what strangers wrote in, fixed fields and a
sentence for people out.

Its words are shown and decide nothing: they enter no incident, no Draft and no other prompt. It
imports neither tools nor actions, which a contract keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

import msgspec

from watchkeeper.core.crew import Thought
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident
from watchkeeper.core.model import ModelAsk, ModelCall, ModelClient, ModelFailed, Said
from watchkeeper.core.redact import redact
from watchkeeper.core.word import Word, canonical, digest
from watchkeeper_agents.models.clerk import Clerk, Run, costed, ended
from watchkeeper_agents.models.pages import prompt
from watchkeeper_agents.models.plain import in_plain_words
from watchkeeper_agents.models.settings import Seat, UseOfModels
from watchkeeper_agents.models.spending import CHARS_A_TOKEN

MOST_TEXT = 6_000
"""Characters of raw text that one reading takes, of the newest signals."""
MOST_WORDS = 280
MOST_KNOWN = 2_048
"""Incidents that are remembered as read."""
AGENT = "summariser"


class Reading(Word, frozen=True):
    """What it may say: a class from a closed set, whether the text gives orders, and words."""

    kind: str
    asks_for_action: bool
    words: str


def schema() -> dict[str, Any]:
    """JSON Schema of a reading."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind", "asks_for_action", "words"],
        "properties": {
            "kind": {"type": "string", "enum": [*(f.value for f in Fault), "none"]},
            "asks_for_action": {"type": "boolean"},
            "words": {"type": "string", "maxLength": MOST_WORDS},
        },
    }


def read(text: str) -> Reading:
    """A reading, strictly. Raises ValueError."""
    try:
        said = msgspec.json.decode(text.strip(), type=Reading)
    except (ValueError, RecursionError) as err:
        raise ValueError(f"not a reading: {err}") from err
    if said.kind not in {f.value for f in Fault} | {"none"}:
        raise ValueError("a class that does not exist")
    return msgspec.structs.replace(said, words=in_plain_words(said.words, MOST_WORDS))


class Reader:
    """Reads each incident's raw text once, off the turn's thread."""

    def __init__(self, client: ModelClient, seat: Seat, clerk: Clerk, run: Run) -> None:
        self._client, self._seat, self._clerk, self._run = client, seat, clerk, run
        self._known: dict[str, Future[Thought | None] | None] = {}

    def look(self, incidents: Iterable[Incident], now: float) -> tuple[Thought, ...]:
        """Begin to read what is new, and tell what has been read since."""
        for incident in incidents:
            text = raw_of(incident)
            if text and incident.id not in self._known:
                self._known[incident.id] = self._run(self._work(incident.id, text, now))
                while len(self._known) > MOST_KNOWN:
                    del self._known[next(iter(self._known))]
        done = {i: f for i, f in self._known.items() if f is not None and f.done()}
        self._known |= dict.fromkeys(done)
        thoughts = (f.result() for f in done.values() if f is not None and f.exception() is None)
        return tuple(t for t in thoughts if t is not None)

    def _work(self, incident: str, text: str, now: float) -> Callable[[], Thought | None]:
        return lambda: self._read(incident, text, now)

    def _read(self, incident: str, text: str, now: float) -> Thought | None:
        page = prompt(AGENT)
        told = canonical({"kinds": [*(f.value for f in Fault), "none"], "text": text}).decode()
        ask = ModelAsk(
            said=(Said(role="system", text=page.text), Said(role="user", text=told)),
            answer=schema(),
            most_tokens=self._seat.most_tokens,
            last=True,
        )
        size = len(told) // CHARS_A_TOKEN
        most = size + self._seat.most_tokens
        money = self._client.price(size, self._seat.most_tokens)
        if self._clerk.shut(self._seat.model, incident, now, most, money):
            return None
        call = ModelCall(
            agent=AGENT,
            model=self._client.name,
            about=incident,
            prompt=page.id,
            asked=digest(ask),
            ended="answered",
            steady=now,
        )
        reading: Reading | None = None
        try:
            reply = self._client.call(ask)
            call = costed(call, reply, self._client)
            reading = read(reply.text)
        except ModelFailed as err:
            call = ended(call, err.what, why=redact(str(err)))
        except ValueError as err:
            call = ended(call, "malformed", why=redact(str(err))[:200])
        self._clerk.note(self._seat.model, call)
        return None if reading is None else _thought(incident, reading, self._client.name)


def raw_of(incident: Incident) -> str:
    """The raw text of its newest signals, without secrets, cut."""
    lines = dict.fromkeys(s.raw for s in incident.signals if s.raw)
    return redact("\n".join(lines))[-MOST_TEXT:]


def _thought(incident: str, reading: Reading, model: str) -> Thought:
    orders = " The text gives orders to its reader; nobody follows them." * reading.asks_for_action
    kind = f" It sounds like {reading.kind}." if reading.kind != "none" else ""
    return Thought(
        thread=incident,
        text=f"A model read the raw text of {incident} and says, which is no evidence: "
        f"{reading.words}{kind}{orders}",
        by=f"agent:{AGENT}",
        model=model,
    )


def reader_of(
    use: UseOfModels, clients: Mapping[str, ModelClient], clerk: Clerk, run: Run
) -> Reader | None:
    """The reader, where the settings have a seat for it."""
    seat = use.seats.get(AGENT)
    return None if seat is None else Reader(clients[seat.model], seat, clerk, run)
