"""What the chat does with a sentence: answer it, draw a card, narrow, or say where it is done.

A narrowing in plain words of the grammar takes effect at once; one that a model read out of other
words waits for a button, like every Proposal. Nothing is ever widened or granted from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec

from watchkeeper.control import handed, holding
from watchkeeper.control.story import Narrator
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import say
from watchkeeper.core.capacity import WhatIf
from watchkeeper.core.chat import (
    Card,
    Dialled,
    Drafted,
    Elsewhere,
    Halted,
    HandedIn,
    Held,
    Order,
    Ordered,
    PolicyDraft,
    Said,
)
from watchkeeper.core.desk import Board, LogLine, Person
from watchkeeper.core.errors import Refused, WatchkeeperError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.hold import Hold, named
from watchkeeper.core.since import span
from watchkeeper.core.verdict import Autonomy
from watchkeeper.core.word import plain

MOST_ASKED = 500
UNCHANGED = "Nothing was changed."
_LEVELS = (Autonomy.OBSERVE, Autonomy.ASK, Autonomy.AUTO)
"""From the narrowest."""
Reader = Callable[[str, Board], Order | None]
Answerer = Callable[[str, Board, tuple[LogLine, ...]], str]
Drafter = Callable[[str], PolicyDraft]


class Thinker(Protocol):
    """A model in the chat's seat: reads free language, and words an answer."""

    def __call__(
        self, question: str, board: Board, log: tuple[LogLine, ...], now: float
    ) -> Said | None:
        """None where the grammar shall answer: no model, late, too dear, or unusable."""
        ...


class Does(Protocol):
    """What the chat may ask of the desk: reads, and narrowings."""

    def board(self) -> Board: ...
    def log(self, after: int = 0, limit: int = 60) -> tuple[LogLine, ...]: ...
    def stop(self, person: Person, reason: str = "") -> None: ...
    def set_autonomy(self, person: Person, level: Autonomy) -> None: ...
    def hold(
        self, person: Person, what: Sequence[str], until: datetime, reason: str = ""
    ) -> Hold: ...
    def what_if(
        self, pool: str, add: int, begin: str = "", end: str = "", zone: str = "UTC"
    ) -> WhatIf: ...


class Chatting:
    """The chat of one watch. reader: the grammar of orders. thinker, drafter: None where there is
    none."""

    def __init__(
        self,
        watch: Watch,
        wake: Callable[[], None],
        desk: Does,
        answerer: Answerer,
        reader: Reader = lambda _text, _board: None,
        thinker: Thinker | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        self._watch, self._wake, self._desk = watch, wake, desk
        self._answerer, self._reader = answerer, reader
        self._thinker, self._drafter = thinker, drafter

    def say(self, person: Person, question: str, log_kept: int) -> LogLine:
        """Answer, and write the answer down. Raises JournalBroken."""
        asked = question.strip()[:MOST_ASKED]
        board, log = self._desk.board(), self._desk.log(limit=log_kept)
        order = self._reader(asked, board)
        said: Said | None = None
        if order is None and self._thinker is not None:
            said = self._thinker(asked, board, log, self._watch.clock.steady())
            order = said.order if said is not None else None
        worded = said.model if said is not None else ""
        more: dict[str, Any] = {"model": worded} if worded else {}
        match order:
            case None if said is not None:
                answer = said.text
            case None:
                answer = self._answerer(asked, board, log)
            case Elsewhere():
                answer = order.says
            case Drafted():
                answer, draft = self._draft(order.sentence)
                more |= {} if draft is None else {"draft": plain(draft)}
            case Ordered():
                card = handed.card_of(self._watch, person, order, self._notes(order), worded)
                answer, more["card"] = _told(card), plain(card)
            case _ if said is not None:
                card = self._narrowing(person, order, worded)
                answer, more["card"] = _told(card), plain(card)
            case _:
                try:
                    answer = self._narrow(person, order, board)
                except Refused as err:
                    answer = f"{err} {UNCHANGED}"
        event = self._watch.record.write(
            Kind.CHAT, by=person.name, question=asked, answer=answer, **more
        )
        line = Narrator().line(event)
        assert line is not None
        return line

    # Narrowings.

    def _narrow(self, person: Person, order: Order, board: Board) -> str:
        """Take it up now and tell it. What would widen is told where it is done. Raises Refused."""
        match order:
            case Halted():
                self._desk.stop(person, "typed into the chat")
                return (
                    "The watch is stopped: nothing acts until a person resumes it, on the "
                    "first page or by `watchkeeper resume`."
                )
            case Dialled(level=level):
                return self._dial(person, level, board.orders.autonomy)
            case Held():
                return self._hold(person, order, board)
        return "I do not do that."

    def _dial(self, person: Person, level: Autonomy, now: Autonomy) -> str:
        if level is now:
            return f"The dial is at {level.value} already."
        if _LEVELS.index(level) > _LEVELS.index(now):
            return (
                f"The chat does not turn the dial up. An operator does, on the first page or by "
                f"`watchkeeper autonomy {level.value}`. It is at {now.value}."
            )
        self._desk.set_autonomy(person, level)
        means = {
            Autonomy.OBSERVE: "Nothing is done from now on; it goes on watching.",
            Autonomy.ASK: "What policy allows is asked from now on.",
        }
        return (
            f"The dial is at {level.value}, it was at {now.value}. {means.get(level, '')}".strip()
        )

    def _hold(self, person: Person, order: Held, board: Board) -> str:
        made = self._desk.hold(person, order.what, order.until, order.said)
        zone = ZoneInfo(board.zone)
        until = made.until.astimezone(zone)
        left = span((made.until - made.at).total_seconds())
        told = [
            f"{made.id}: {named(made.what)} is left alone until {until:%a %d %b %H:%M} "
            f"{until.tzname()}, for {left}. Nothing that takes work or capacity away begins there, "
            "whatever policy allows, and what waits for people there is taken back."
        ]
        snapshot = self._watch.latest
        under_way = holding.under_way(self._watch, made, snapshot) if snapshot is not None else ()
        told += [_begun(say(f.action), f.proposal.id) for f in under_way[:6]]
        told.append("An operator ends it sooner, on /policy or by `watchkeeper release`.")
        return " ".join(told)

    def _narrowing(self, person: Person, order: Order, worded: str) -> Card:
        """A narrowing as a card: a model's reading of a sentence stops nothing by itself."""
        kind, title = "hold", ""
        match order:
            case Held():
                title = f"Leave {named(order.what)} alone until {order.until:%Y-%m-%d %H:%M} UTC"
            case Dialled():
                kind, title = "dial", f"Set the dial to {order.level.value}"
            case _:
                kind, title = "stop", "Stop the watch"
        return Card(
            kind=kind,
            title=title,
            by=person.name,
            at=self._watch.clock.now(),
            order=order,
            worded=worded,
        )

    # Proposals.

    def _notes(self, order: Ordered) -> tuple[str, ...]:
        """What else a person should know before they send it: for more nodes, what they change."""
        if order.kind != "pool.scale":
            return ()
        begin, end = ("22:00", "06:00") if order.tonight else ("", "")
        try:
            zone = self._desk.board().zone
            found = self._desk.what_if(order.targets[0], order.add, begin, end, zone)
        except WatchkeeperError as err:
            return (f"What it would change cannot be reckoned: {err}",)
        return (found.says,) if found.says else ()

    def card(self, seq: int) -> Card | None:
        """The card under one line of the journal."""
        return handed.card_at(self._event(seq))

    def handed_in(self, seq: int) -> tuple[HandedIn, ...]:
        """What became of its steps since they were sent."""
        card = self.card(seq)
        if card is None:
            return ()
        with self._watch.record.lock:
            if card.kind != "propose":
                return self._taken_up(card)
            found = handed.handed(self._watch, seq, card)
            return tuple(
                HandedIn(
                    proposal=f.proposal.id,
                    says=say(f.action),
                    state=f.state.value,
                    why=f.why,
                    now=handed.stands(f),
                )
                for f in found
            )

    def _taken_up(self, card: Card) -> tuple[HandedIn, ...]:
        """A narrowing that stands, whoever's button did it; () while there is something to do."""
        orders, now = self._watch.record.books.orders, ""
        match card.order:
            case Halted() if orders.stopped:
                now = "The watch is stopped."
            case Dialled(level=level) if _LEVELS.index(orders.autonomy) <= _LEVELS.index(level):
                now = f"The dial is at {orders.autonomy.value}."
            case Held():
                holds = holding.in_force(self._watch.record.books, self._watch.clock)
                same = (card.order.what, card.order.until, card.by)
                found = next((h for h in holds if (h.what, h.until, h.by) == same), None)
                now = f"{found.id} stands." if found is not None else ""
        return (HandedIn(proposal="", says=card.title, state="done", now=now),) if now else ()

    def send(self, person: Person, seq: int) -> tuple[HandedIn, ...]:
        """Press a card's button: each step becomes a Proposal, or the narrowing is taken up. Raises
        Refused; then nothing was asked or changed."""
        card = self.card(seq)
        if card is None:
            raise Refused(f"Line {seq} carries no card.")
        if card.kind == "propose":
            handed.hand_in(self._watch, self._wake, person, seq, card)
            return self.handed_in(seq)
        handed.may_be_sent_by(self._watch, person, card)
        try:
            told = self._narrow(person, card.order, self._desk.board())
        except Refused as err:
            raise Refused(f"{err} {UNCHANGED}") from err
        return (HandedIn(proposal="", says=card.title, state="done", why=told),)

    # Policy.

    def _draft(self, sentence: str) -> tuple[str, PolicyDraft | None]:
        if self._drafter is None:
            return "No policy can be drafted here: this watch has no folder of orders.", None
        try:
            made = self._drafter(sentence)
        except WatchkeeperError as err:
            return f"{err} Nothing was drafted.", None
        sound = "It is sound" if made.sound else "It is not sound yet"
        return (
            f"Drafted {made.file} by {made.by}, and not taken up. {sound}: "
            f"{_first(made.check)} {_first(made.tested)} {_first(made.diff)} Put it into "
            "the folder of orders yourself, and run `watchkeeper policy check`."
        ), made

    def draft(self, seq: int) -> PolicyDraft | None:
        """The policy that was drafted under one line of the journal."""
        event = self._event(seq)
        found = event.data.get("draft") if event is not None and event.kind is Kind.CHAT else None
        return msgspec.convert(found, PolicyDraft) if found else None

    def _event(self, seq: int) -> Event | None:
        journal = self._watch.record.journal
        event = next(islice(journal.events(seq - 1), 1), None) if seq > 0 else None
        return event if event is not None and event.seq == seq else None


def _first(text: str) -> str:
    return text.split("\n", 1)[0]


def _begun(action: str, proposal: str) -> str:
    if action.startswith("Drain"):
        return (
            f"{action} ({proposal}) is under way, and Ray takes no drain back: it is not ended by "
            "force, work there runs to its own end."
        )
    return f"{action} ({proposal}) has begun, and cannot be made undone; nothing follows on it."


def _told(card: Card) -> str:
    """The card in a sentence, for the log."""
    if card.kind != "propose":
        return f"{card.title}? Nothing was changed yet: press the button under this answer."
    told = []
    for step in card.steps:
        verdict = {
            "allow": "policy allows it, and another person must approve it",
            "ask": "policy asks another person",
            "deny": "policy refuses it",
        }.get(step.verdict.value if step.verdict is not None else "", "it cannot be asked")
        why = f" ({step.because.rstrip('.')})" if step.because else ""
        told.append(f"{step.says}: {verdict}{why}.")
    end = "Nothing was asked yet: the button under this answer sends it."
    return " ".join([*told, *card.notes, end if card.may_be_sent else "Nothing was asked."])
