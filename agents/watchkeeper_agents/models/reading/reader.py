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
from watchkeeper.core.model import ModelClient
from watchkeeper.core.redact import redact
from watchkeeper.core.word import Word
from watchkeeper_agents.models.clerk import Clerk, Run
from watchkeeper_agents.models.plain import in_plain_words
from watchkeeper_agents.models.settings import Seat, UseOfModels
from watchkeeper_agents.models.word import OneWord

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
        self._client, self._run = client, run
        self._ask = OneWord(AGENT, client, seat, clerk)
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
        told = {"kinds": [*(f.value for f in Fault), "none"], "text": text}
        reading = self._ask(AGENT, told, schema(), incident, now, read)
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
