"""A model in the chat's seat: it says which of the grammar's questions or orders a sentence means,
and then words what the record answered.

Two calls that never meet. The one that chooses sees the sentence and the names in it, and no text
of the cluster. The one that words sees what the record says, raw text too, has no tools, and is
only shown: a sentence with a figure, a name or a link that no tool gave is struck out.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import TimeoutError as Late
from typing import Any, TypeVar

import msgspec

from watchkeeper.core.chat import MOST_STEPS, Dialled, Drafted, Elsewhere, Halted, Order, Said
from watchkeeper.core.desk import Board, LogLine
from watchkeeper.core.model import ModelClient
from watchkeeper.core.redact import redact
from watchkeeper.core.verdict import Autonomy
from watchkeeper.core.word import Word, digest
from watchkeeper_agents.models.clerk import Clerk, Run
from watchkeeper_agents.models.grounded import grounded
from watchkeeper_agents.models.plain import in_plain_words
from watchkeeper_agents.models.settings import Seat
from watchkeeper_agents.models.word import OneWord

AGENT = "chat"
MOST_ASKS = 3
MOST_FACTS = 6_000
"""Characters of the record's answers that are shown to be worded."""
MOST_WORDS = 900

QUESTIONS = {
    "wrong": "What is wrong?",
    "waits_for_people": "What waits for me?",
    "last_night": "What happened last night?",
    "happened": "What happened {when}?",
    "why": "Why {subject}?",
    "status_of": "What is {subject}?",
    "queue": "Who waits in line?",
    "demand": "What will demand for {subject} be {when}?",
    "budgets": "What is left of the budgets?",
    "shadow": "What would the rules in shadow change?",
    "who_decided": "Who approved {subject}?",
    "planned": "What was planned, and what was needed?",
    "cost": "What does it cost?",
}
"""Ids that the choosing call may name, and the grammar's own question for each."""

ORDERS = {
    "cordon": "cordon {targets}",
    "put_back": "put {targets} back",
    "drain": "drain {targets}",
    "restart": "restart {targets}",
    "reboot": "reboot {targets}",
    "replace": "replace {targets}",
    "check": "check {targets}",
    "reset_gpu": "reset gpu {gpu} on {targets}",
    "quarantine_gpu": "quarantine gpu {gpu} on {targets}",
    "requeue": "requeue {targets}",
    "preempt": "preempt {targets}",
    "more_nodes": "{amount} more nodes for {targets} {when}",
    "leave_alone": "leave {targets} alone {when}",
    "dial_down_to_ask": "dial down to ask",
    "dial_down_to_observe": "dial down to observe",
    "stop": "stop",
    "draft_policy": "",
}
"""The same for orders; each is read again by the grammar, and drawn as the same card."""

Answerer = Callable[[str, Board, tuple[LogLine, ...]], str]
Reader = Callable[[str, Board], Order | None]
Named = Callable[[str, Board], tuple[str, ...]]
W = TypeVar("W", bound=Word)


class Chosen(Word, frozen=True):
    """What the choosing call may say: ids of closed lists, and words of the sentence itself."""

    asks: tuple[str, ...]
    subject: str
    when: str
    order: str
    targets: tuple[str, ...]
    amount: int
    gpu: int


class Worded(Word, frozen=True):
    words: str


class Talker:
    """Meets `control.chatting.Thinker`. answerer and reader: the grammar. named: the names of the
    record that a sentence holds. Never raises for what a model does."""

    def __init__(
        self,
        client: ModelClient,
        seat: Seat,
        clerk: Clerk,
        run: Run,
        answerer: Answerer,
        reader: Reader,
        named: Named,
    ) -> None:
        self._client, self._seat, self._run = client, seat, run
        self._ask = OneWord(AGENT, client, seat, clerk)
        self._answerer, self._reader, self._named = answerer, reader, named

    @property
    def name(self) -> str:
        """The model's, as the record shows it."""
        return self._client.name

    def __call__(
        self, question: str, board: Board, log: tuple[LogLine, ...], now: float
    ) -> Said | None:
        """An order or an answer; None where the grammar shall go on alone."""
        about = f"chat:{digest([question, now])[:12]}"
        names = self._named(question, board)
        told = {
            "sentence": redact(question)[:500],
            "names": names,
            "questions": list(QUESTIONS),
            "orders": ["none", *ORDERS],
        }
        chosen = self.in_time(lambda: self.call("chat", told, _schema(names), about, now, Chosen))
        if chosen is None:
            return None
        order = self._order(chosen, question, board, names)
        if order is not None:
            return Said(model=self._client.name, order=order)
        facts = self._facts(chosen, question, board, log, names)
        if not facts:
            return None
        found = {
            "question": redact(question)[:500],
            "facts": [{"asked": a, "record": redact(t)[:MOST_FACTS]} for a, t in facts],
        }
        worded = self.in_time(lambda: self.call("chat_words", found, _WORDS, about, now, Worded))
        record = " ".join(text for _, text in facts)
        if worded is None:
            return Said(model="", text=record)
        words = grounded(in_plain_words(worded.words, MOST_WORDS), record, question)
        said = f"{words} The record says: {record}" if words else record
        return Said(model=self._client.name if words else "", text=said)

    def call(
        self, page: str, told: Any, schema: dict[str, Any], about: str, now: float, kind: type[W]
    ) -> W | None:
        """One bounded call that ends in one word of this kind; None for anything else. Every call
        is written down, whatever became of it."""
        return self._ask(
            page,
            told,
            schema,
            about,
            now,
            lambda text: msgspec.json.decode(text.strip(), type=kind),
        )

    def in_time(self, work: Callable[[], W | None]) -> W | None:
        """Its answer, if it comes while a person would still wait for it."""
        try:
            return self._run(work).result(timeout=self._seat.patience_s)
        except (Late, RuntimeError):  # late; or the pool is shut down, since the watch ends
            return None

    def _order(
        self, chosen: Chosen, question: str, board: Board, names: tuple[str, ...]
    ) -> Order | None:
        """The order as the grammar reads it; None for a question, and for what it does not read."""
        template = ORDERS.get(chosen.order)
        if template is None:
            return None
        if chosen.order == "draft_policy":
            return Drafted(sentence=question)
        targets = [t for t in dict.fromkeys(chosen.targets) if t in names][:MOST_STEPS]
        when = _said(chosen.when, question)
        if not targets and "{targets}" in template:
            return None
        text = template.format(
            targets=", ".join(targets),
            when=when,
            amount=chosen.amount if _has_number(chosen.amount, question) else 1,
            gpu=chosen.gpu if _has_number(chosen.gpu, question) else -1,
        )
        order = self._reader(" ".join(text.split()), board)
        if isinstance(order, Elsewhere):
            return None
        if isinstance(order, Dialled) and order.level is Autonomy.AUTO:
            return None
        if isinstance(order, Halted) and chosen.order != "stop":
            return None
        return order

    def _facts(
        self,
        chosen: Chosen,
        question: str,
        board: Board,
        log: tuple[LogLine, ...],
        names: tuple[str, ...],
    ) -> list[tuple[str, str]]:
        """(question of the grammar, the record's answer) of each that was chosen."""
        subject = chosen.subject if chosen.subject in names else ""
        when = _said(chosen.when, question)
        found = []
        for ident in chosen.asks[:MOST_ASKS]:
            template = QUESTIONS.get(ident, "")
            if not template or ("{subject}" in template and not subject and ident != "demand"):
                continue
            asked = " ".join(template.format(subject=subject, when=when).split())
            asked = asked.replace(" for be", " be").replace(" ?", "?")
            found.append((asked, self._answerer(asked, board, log)))
        return found


def _said(words: str, question: str) -> str:
    """Words that stand in the sentence, letter for letter; "" for any others."""
    kept = " ".join(words.lower().split())[:60]
    return kept if kept and kept in " ".join(question.lower().split()) else ""


def _has_number(value: int, question: str) -> bool:
    from watchkeeper_agents.chat_times import numbers

    return value >= 0 and value in {numbers(w.strip(".,!?")) for w in question.lower().split()}


def _schema(names: tuple[str, ...]) -> dict[str, Any]:
    """JSON Schema of a choice: every name in it is one that the sentence has."""
    named = {"type": "string", "enum": ["", *names]}
    each = {"type": "string", "enum": list(names) or [""]}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["asks", "subject", "when", "order", "targets", "amount", "gpu"],
        "properties": {
            "asks": {
                "type": "array",
                "maxItems": MOST_ASKS,
                "items": {"type": "string", "enum": list(QUESTIONS)},
            },
            "subject": named,
            "when": {"type": "string", "maxLength": 60},
            "order": {"type": "string", "enum": ["none", *ORDERS]},
            "targets": {"type": "array", "maxItems": MOST_STEPS, "items": each},
            "amount": {"type": "integer", "minimum": 0, "maximum": 100},
            "gpu": {"type": "integer", "minimum": -1, "maximum": 255},
        },
    }


_WORDS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["words"],
    "properties": {"words": {"type": "string", "maxLength": MOST_WORDS}},
}
