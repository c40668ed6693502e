"""A Desk in memory with one simulated morning in it: for tests of the console, and for pictures.

Meets `core.desk.Desk`. Everything is simulated and says so. A test changes the world through the
methods under "The world changes".
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from tests.browser import lab_glass, lab_looks, lab_money, morning_report
from tests.browser import lab_morning as morning
from tests.browser.lab_card import asking_card

from watchkeeper.control.amend import means
from watchkeeper.core.action import say
from watchkeeper.core.amend import Amendment, amended, narrows, steps_of
from watchkeeper.core.capacity import CapacityPlan, WhatIf
from watchkeeper.core.cells import FleetCells, FleetLayout, Grouping, Shade, Trace
from watchkeeper.core.chat import Card, Elsewhere, HandedIn, Held, Ordered, PolicyDraft
from watchkeeper.core.clock import Clock, Ids
from watchkeeper.core.desk import Ask, AskStatus, Board, Health, LogLine, Person, Story
from watchkeeper.core.errors import Malformed, Refused, UsageError
from watchkeeper.core.event import GENESIS, Event, Kind
from watchkeeper.core.hold import Hold
from watchkeeper.core.incident import Incident
from watchkeeper.core.report import Judgement, Postmortem, Report
from watchkeeper.core.roles import roles_of
from watchkeeper.core.usage import Costs
from watchkeeper.core.verdict import Answer, Approval, Autonomy, Orders
from watchkeeper.core.views import (
    AgentView,
    FanView,
    GlassView,
    JournalCheck,
    Liftable,
    LiftView,
    PolicyView,
    TriedOrders,
)
from watchkeeper.core.word import digest, plain
from watchkeeper.core.word import digest as word_digest
from watchkeeper_agents.chat import answer_from
from watchkeeper_agents.chat_orders import offered, order_of
from watchkeeper_agents.chat_past import suggestions

replace = msgspec.structs.replace
ANN = Person(name="ann", groups=("oncall",))
BOB = Person(name="bob", groups=("oncall", "platform"))
EVE = Person(name="eve", groups=("readers",))
_ENDS = {Answer.APPROVE: "approved", Answer.DENY: "denied", Answer.NOT_NOW: "not_now"}
_VERBS = {
    Answer.APPROVE: "approved",
    Answer.DENY: "denied",
    Answer.NOT_NOW: "said not now to",
}

WAITS = "It waits for another person."


class FakeDesk:
    """One desk over a lab of four nodes, with two questions waiting."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._clock = clock
        self._ids = ids
        self._news = threading.Condition(threading.RLock())
        self._tokens: dict[str, Person] = {}
        self._people: tuple[Person, ...] = (ANN, BOB, EVE)
        self._events: list[Event] = []
        self._lines: list[LogLine] = []
        self._report: Report | None = None
        self.judgements: list[Judgement] = []
        self.effects: list[str] = []
        """Proposals approved by enough people: each may stand here once."""
        self._cards: dict[int, Card] = {}
        self._handed: dict[int, tuple[HandedIn, ...]] = {}
        self.drafts: dict[int, PolicyDraft] = {}
        start = clock.now()
        self._soft: Liftable | None = lab_glass.liftable(start)
        self._lifts: dict[str, LiftView] = {}
        self._asks = {a.id: a for a in morning.asks(start)}
        self._stories = {s.incident.id: s for s in morning.stories(start)}
        self._board = morning.board(start)
        self.costs_are = lab_money.costs(start)
        for line in morning.log(start):
            self._tell(line)

    # Reading.

    def health(self) -> Health:
        with self._news:
            return self.board().health

    def board(self) -> Board:
        with self._news:
            head = self._events[-1]
            health = replace(
                self._board.health,
                journal_seq=head.seq,
                journal_head=head.hash,
                stopped=self._board.orders.stopped,
            )
            return replace(self._board, at=self._clock.now(), health=health, waiting=self.asks())

    def log(self, after: int = 0, limit: int = 60) -> tuple[LogLine, ...]:
        with self._news:
            lines = [line for line in self._lines if line.seq > after]
        return tuple(lines[:limit] if after else lines[-limit:])

    def wait(self, after: int, timeout_s: float) -> int:
        with self._news:
            self._news.wait_for(lambda: self._events[-1].seq > after, timeout_s)
            return self._events[-1].seq

    def incidents(self) -> tuple[Incident, ...]:
        with self._news:
            return tuple(s.incident for s in reversed(self._stories.values()))

    def story(self, incident: str) -> Story | None:
        return self._stories.get(incident)

    def asks(self) -> tuple[Ask, ...]:
        with self._news:
            return tuple(a for a in self._asks.values() if a.status.state == "waiting")

    def ask(self, proposal: str) -> Ask | None:
        return self._asks.get(proposal)

    def events(self, after: int = 0, limit: int = 200) -> tuple[Event, ...]:
        with self._news:
            found = [e for e in self._events if e.seq > after]
        return tuple(found[:limit] if after else found[-limit:])

    def layout(self, by: Grouping) -> FleetLayout:
        return lab_looks.layout(self._board, by)

    def cells(self, shade: Shade, by: Grouping) -> FleetCells:
        return lab_looks.cells(self.board(), shade, by)

    def trace(self, node: str) -> Trace | None:
        found = next((n for n in self._board.nodes if n.name == node), None)
        return found and lab_looks.trace(found, self._clock.now())

    def policy(self) -> PolicyView:
        return lab_looks.policy(self.board())

    def orders_files(self) -> dict[str, str]:
        return dict(lab_glass.ORDERS)

    def try_orders(self, file: str, text: str) -> TriedOrders:
        if not text.strip():
            raise Malformed("A file of orders has between 1 and 49152 characters.")
        return lab_glass.tried(file, text)

    def agents(self) -> tuple[AgentView, ...]:
        return lab_looks.agents(self.log())

    def fans(self) -> tuple[FanView, ...]:
        return lab_looks.fans(self._clock.now())

    def verify(self) -> JournalCheck:
        health = self.health()
        return lab_looks.check(self._clock.now(), health.journal_seq, health.journal_head)

    def costs(self, days: float = 30.0) -> Costs:
        return self.costs_are

    def what_if(
        self, pool: str, add: int, begin: str = "", end: str = "", zone: str = "UTC"
    ) -> WhatIf:
        if pool != "train":
            raise Refused(f"There is no forecast for {pool} yet.")
        return lab_money.a_what_if(add)

    def capacity(self, pool: str) -> CapacityPlan:
        if pool != "train":
            raise Refused(f"There is no forecast for {pool} yet.")
        return lab_money.a_plan()

    def explain(self, ident: str) -> str:
        known = ident in self._asks or ident in self._stories or ident.isdigit()
        if not known:
            raise UsageError(f"Nothing in the journal is called {ident}.")
        return f"{ident}: simulated explanation, from the journal."

    def people(self) -> tuple[Person, ...]:
        """A person without roles holds those of their groups, as in a policy that says nothing."""
        return tuple(
            p if p.roles else replace(p, roles=roles_of(p.groups) or ("viewer",))
            for p in self._people
        )

    def metrics(self) -> dict[str, Any]:
        with self._news:
            return {
                "decisions_total": {"allow": 3, "ask": 2, "deny": 1},
                "effects_total": {"node.restart": 1},
                "answers_total": {"approve": len(self.effects)},
                "approvals_pending": len(self.asks()),
                "incidents_open": sum(i.is_open for i in self.incidents()),
                "stopped": int(self._board.orders.stopped),
                "journal_events": self._events[-1].seq,
            }

    # Answering.

    def answer(
        self,
        proposal: str,
        answer: Answer,
        person: Person,
        *,
        digest: str,
        nonce: str,
        reason: str = "",
        door: str = "web",
    ) -> Ask:
        with self._news:
            ask = self._asks.get(proposal)
            if ask is None:
                raise Refused(f"There is no question {proposal}.")
            if any(a.person == person.name and a.answer is answer for a in ask.approvals):
                return ask
            if ask.status.state != "waiting":
                raise Refused(ask.status.decided)
            if (digest, nonce) != (ask.digest, ask.nonce):
                raise Refused("What you saw is not what is asked now. Read it again.")
            if self._clock.now() >= ask.expires_at:
                raise Refused("The question has expired.")
            if not set(person.groups) & set(ask.from_groups):
                raise Refused(f"{person.name} is not in {', '.join(ask.from_groups)}.")
            approval = Approval(
                id=self._ids.new("A"),
                proposal=proposal,
                answer=answer,
                person=person.name,
                digest=digest,
                nonce=nonce,
                at=self._clock.now(),
                reason=reason,
                door=door,
            )
            self._record(ask, approval)
            return self._asks[proposal]

    def _record(self, ask: Ask, approval: Approval) -> None:
        approvals = ask.approvals
        if approval.answer is Answer.APPROVE:
            approvals = (*approvals, approval)
        decided = approval.answer is not Answer.APPROVE or len(approvals) >= ask.needs
        status = ask.status
        if decided:
            text = f"{_ENDS[approval.answer].replace('_', ' ').capitalize()}. {approval.reason}"
            status = AskStatus(
                state=_ENDS[approval.answer],
                by=approval.person,
                at=approval.at,
                text=text.strip(),
            )
        self._asks[ask.id] = replace(ask, approvals=approvals, status=status)
        if status.state == "approved":
            self.effects.append(ask.id)
        text = f"{approval.person} {_VERBS[approval.answer]} {ask.id}. {approval.reason}".strip()
        self.say_line("Approval", text, proposal=ask.id, kind_of=Kind.ANSWERED)

    def preview(self, proposal: str, given: Mapping[str, str], person: Person) -> Amendment:
        with self._news:
            ask = self._asks.get(proposal)
            if ask is None or ask.status.state != "waiting":
                raise Refused(ask.status.decided if ask else f"There is no question {proposal}.")
            steps = amended(ask.shown.proposal, given)
            kept = narrows(steps_of(ask.shown.proposal), steps)
            return Amendment(
                proposal=proposal,
                steps=tuple(say(s) for s in steps),
                narrows=kept,
                by=ask.shown.proposal.by if kept else f"person:{person.name}",
                impact=ask.shown.impact,
                blast=ask.blast,
                if_approved=ask.if_approved,
                verdict=ask.verdict,
                digest=word_digest([ask.digest, [plain(s) for s in steps]]),
                says=means(ask.verdict, kept=kept),
            )

    def amend(self, proposal: str, given: Mapping[str, str], person: Person, *, shown: str) -> str:
        with self._news:
            seen = self.preview(proposal, given, person)
            if seen.digest != shown:
                raise Refused("What you saw is not what is asked now. Read it again.")
            ask = self._asks[proposal]
            steps = amended(ask.shown.proposal, given)
            ident = f"P-{9 + sum(i.startswith('P-') for i in self._asks)}"
            changed = replace(
                ask.shown.proposal, id=ident, action=steps[0], plan=steps[1:], by=seen.by
            )
            other = replace(ask.shown, proposal=changed)
            self._asks[ident] = replace(
                ask, id=ident, steps=seen.steps, shown=other, digest=word_digest(other),
                nonce=self._ids.secret(), title=f"{seen.steps[0]}?",
            )  # fmt: skip
            self._end(proposal, "void", f"{person.name} changed it: {ident} is asked instead.")
            return ident

    def break_glass(self, proposal: str, person: Person, reason: str) -> str:
        with self._news:
            soft = self._soft
            if soft is None or proposal != soft.proposal:
                raise Refused(f"Nothing soft stands in the way of {proposal}.")
            if "break-glass" not in person.groups:
                raise Refused(f"{person.name} is not in the group break-glass; only they may.")
            if not reason.strip():
                raise Refused("Say why, with --reason: it is read at the review.")
            self._soft, now = None, self._clock.now()
            self._lifts[proposal] = lab_glass.lifted(soft, person, reason.strip(), now)
        self.say_line("Break-glass", f"{person.name} lifted it. {reason}", proposal=proposal)
        return f"{proposal}: lifted."

    def glass(self) -> GlassView:
        with self._news:
            liftable = (self._soft,) if self._soft else ()
            return GlassView(
                at=self._clock.now(), liftable=liftable, lifts=tuple(self._lifts.values())
            )

    def review(self, proposal: str, person: Person, note: str = "") -> str:
        with self._news:
            lift = self._lifts.get(proposal)
            if lift is None:
                raise Refused(f"Nobody broke the glass on {proposal}.")
            if lift.reviewed_by:
                raise Refused(f"Reviewed already by {lift.reviewed_by}.")
            if person.name == lift.person:
                raise Refused("Another person reviews it.")
            self._lifts[proposal] = replace(lift, reviewed_by=person.name, note=note.strip())
        self.say_line("Reviewed", f"{person.name} reviewed it.", proposal=proposal)
        return f"{proposal}: reviewed."

    def stop(self, person: Person, reason: str = "") -> None:
        self._order(
            stopped=True,
            stopped_by=person.name,
            stopped_at=self._clock.now(),
            stop_reason=reason,
        )
        self.say_line("Stopped", f"{person.name} stopped the watch. {reason}", kind_of=Kind.STOPPED)

    def resume(self, person: Person, reason: str = "") -> None:
        self._order(stopped=False, stopped_by="", stopped_at=None, stop_reason="")
        with self._news:
            self._board = replace(self._board, halted="")
        self.say_line("Watch", f"{person.name} resumed. {reason}", kind_of=Kind.RESUMED)

    def set_autonomy(self, person: Person, level: Autonomy) -> None:
        self._order(autonomy=level)
        self.say_line("Watch", f"{person.name} set the dial to {level}.", kind_of=Kind.AUTONOMY)

    def hold(self, person: Person, what: Sequence[str], until: datetime, reason: str = "") -> Hold:
        made = Hold(
            id="H-1", what=tuple(what), by=person.name, at=self._clock.now(), until=until,
            until_steady=0.0, reason=reason,
        )  # fmt: skip
        self._order(holds=(made,))
        self.say_line("Held", f"{made.says}.", tone="you", kind_of=Kind.HELD)
        return made

    def release(self, person: Person, ident: str) -> Hold:
        found = next((h for h in self.board().orders.holds if h.id == ident), None)
        if found is None:
            raise Refused(f"There is no hold {ident}.")
        self._order(holds=())
        return found

    def say(self, person: Person, question: str) -> LogLine:
        order = order_of(question, self.board())
        text = answer_from(question, self.board(), self.log(limit=2000))
        if isinstance(order, Ordered):
            text = "Nothing was asked yet: the button under this answer sends it."
        elif isinstance(order, Elsewhere):
            text = order.says
        elif isinstance(order, Held):
            text = f"{self.hold(person, order.what, order.until).says}."
        line = self.say_line(
            "You asked",
            text,
            tone="you",
            question=question,
            sources=("Answered by rules, no model",),
            kind_of=Kind.CHAT,
        )
        if isinstance(order, Ordered):
            self._cards[line.seq] = asking_card(order, person, self._clock.now())
        return line

    def card(self, seq: int) -> Card | None:
        return self._cards.get(seq)

    def handed_in(self, seq: int) -> tuple[HandedIn, ...]:
        return self._handed.get(seq, ())

    def send(self, person: Person, seq: int) -> tuple[HandedIn, ...]:
        card = self._cards.get(seq)
        if card is None or card.by != person.name:
            raise Refused("This card is another person's.")
        sent = tuple(
            HandedIn(proposal="P-7", says=s.says, state="asking", now=WAITS) for s in card.steps
        )
        self._handed[seq] = sent
        return sent

    def drafted(self, seq: int) -> PolicyDraft | None:
        return self.drafts.get(seq)

    def suggest(self) -> tuple[str, ...]:
        return (*suggestions(self.board()), *offered(self.board()))

    def report(self, since: datetime | timedelta | None = None) -> Report:
        now = self._clock.now()
        if isinstance(since, timedelta):
            since = now - since
        since = since or now - timedelta(hours=13)
        if since >= now:
            raise UsageError("The report must begin before now.")
        if now - since > timedelta(days=31):
            raise UsageError("The report reaches back 31 days at most.")
        return self._report or morning_report.report(since, now)

    def postmortem(self, incident: str) -> Postmortem | None:
        story = self._stories.get(incident)
        return story and morning_report.postmortem(story.incident, self._clock.now())

    def judge(
        self,
        key: str,
        digest: str,
        person: Person,
        *,
        useful: bool,
        since: datetime,
        until: datetime,
        note: str = "",
    ) -> Judgement:
        told = self._report or morning_report.report(since, until)
        item = told.item(key)
        if item is None or word_digest(item) != digest:
            raise Refused("The report has changed since you opened it. Read it again.")
        judgement = Judgement(
            key=key,
            digest=digest,
            useful=useful,
            person=person.name,
            at=self._clock.now(),
            note=note,
        )
        self.judgements.append(judgement)
        return judgement

    def judged(self, person: Person) -> tuple[Judgement, ...]:
        return tuple(j for j in self.judgements if j.person == person.name)

    def login_links(self) -> Sequence[tuple[str, str]]:
        with self._news:
            self._tokens = {self._ids.secret(): p for p in self._people}
            return [(p.name, f"/login?token={t}") for t, p in self._tokens.items()]

    def redeem(self, token: str) -> Person | None:
        with self._news:
            return self._tokens.pop(token, None)

    # The world changes.

    def put_report(self, report: Report | None) -> None:
        """Another report, whatever span is asked for; None: the morning's own again."""
        self._report = report

    def say_line(self, kind: str, text: str, *, kind_of: Kind = Kind.NOTE, **more: Any) -> LogLine:
        """The journal gets one more line."""
        line = LogLine(
            seq=0, at=self._clock.now(), kind=kind, tone=more.pop("tone", ""), text=text, **more
        )
        return self._tell(line, kind_of)

    def expire(self, proposal: str) -> None:
        """Nobody answered in time."""
        self._end(proposal, "expired", "Nobody answered in time.")

    def void(self, proposal: str, why: str = "One more job landed on train-02.") -> None:
        """What was shown is no longer so."""
        self._end(proposal, "void", f"Void. {why}")

    def redraw(self, proposal: str) -> Ask:
        """The question changes under who reads it: another digest, another nonce."""
        with self._news:
            ask = self._asks[proposal]
            shown = replace(ask.shown, policy_version="sim-policy-2")
            ask = replace(ask, shown=shown, digest=digest(shown), nonce=self._ids.secret())
            self._asks[proposal] = ask
            return ask

    def put(self, ask: Ask) -> None:
        """One more question, or another text for one."""
        with self._news:
            self._asks[ask.id] = ask

    def make_stale(self, age_s: float = 48.0) -> None:
        """The last reading was that long ago."""
        self.change(last_reading_s=age_s)

    def not_ready(self, why: str) -> None:
        self.change(health=replace(self._board.health, ready=False, why_not_ready=why))

    def halt(self, why: str = "Half of the nodes of train fell silent at once (S9).") -> None:
        """The watch halts itself."""
        self.change(halted=why)
        self.say_line("Stopped", why, tone="bad", kind_of=Kind.HALTED)

    def change(self, **fields: Any) -> None:
        """Any field of the board."""
        with self._news:
            self._board = replace(self._board, **fields)

    def put_story(self, story: Story) -> None:
        with self._news:
            self._stories[story.incident.id] = story

    def people_are(self, *people: Person) -> None:
        """Another policy names other people."""
        self._people = people

    def _end(self, proposal: str, state: str, text: str) -> None:
        with self._news:
            ask = self._asks[proposal]
            status = AskStatus(state=state, by="the watch", at=self._clock.now(), text=text)
            self._asks[proposal] = replace(ask, status=status)
        self.say_line("Watch", f"{proposal}: {text}", proposal=proposal)

    def _order(self, **fields: Any) -> None:
        with self._news:
            orders: Orders = replace(self._board.orders, **fields)
            self._board = replace(self._board, orders=orders)

    def _tell(self, line: LogLine, kind: Kind = Kind.NOTE) -> LogLine:
        with self._news:
            prev = self._events[-1].hash if self._events else GENESIS
            line = replace(line, seq=len(self._events) + 1)
            event = Event(
                seq=line.seq,
                at=line.at,
                policy_at=line.at,
                steady=self._clock.steady(),
                kind=kind,
                subject=tuple(s for s in (line.incident, line.proposal) if s),
                data={"question": line.question, "answer": line.text}
                if line.question
                else {"text": line.text},
                prev=prev,
            )
            event = replace(event, hash=digest(plain(event)))
            self._events.append(event)
            self._lines.append(line)
            self._news.notify_all()
            return line
