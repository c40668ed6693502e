"""The desk: status, explain, approve, deny, not now, stop. The one service behind every door.

Reads come from the last snapshot and the books; answers are made durable before they are shown.
"""

from __future__ import annotations

import contextlib
import hmac
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Protocol

import msgspec

from watchkeeper.control import amend as amending
from watchkeeper.control import holding
from watchkeeper.control.asking import ask_of
from watchkeeper.control.break_glass import break_glass, owed_says, review
from watchkeeper.control.brief import repaired_of
from watchkeeper.control.chatting import Chatting, Drafter, Reader, Thinker
from watchkeeper.control.explain import told_event, told_story
from watchkeeper.control.fair import used_now
from watchkeeper.control.fleet import job_views, node_views, pool_views
from watchkeeper.control.glass_seen import glass_of
from watchkeeper.control.holding import in_force
from watchkeeper.control.look import FRESH_S, stale
from watchkeeper.control.looking import Looking, Verify
from watchkeeper.control.past import ledger_view
from watchkeeper.control.report import zone_of
from watchkeeper.control.reporting import Reporter
from watchkeeper.control.reserving import Wish, outcome_of, wish
from watchkeeper.control.serving import serving_views
from watchkeeper.control.spending import Spending
from watchkeeper.control.story import Narrator, events_of, story_of
from watchkeeper.control.suggesting import suggest
from watchkeeper.control.trying import Trying
from watchkeeper.control.waits import reasons
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import Action, PoolReserve
from watchkeeper.core.amend import Amendment
from watchkeeper.core.capacity import CapacityPlan, WhatIf
from watchkeeper.core.cells import FleetCells, FleetLayout, Grouping, Shade, Trace
from watchkeeper.core.chat import Card, HandedIn, PolicyDraft
from watchkeeper.core.cluster import World
from watchkeeper.core.desk import (
    Ask,
    Board,
    Health,
    LimitView,
    LogLine,
    Person,
    Story,
)
from watchkeeper.core.errors import ClusterUnavailable, JournalBroken, Refused, UsageError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.hold import Hold
from watchkeeper.core.incident import Incident
from watchkeeper.core.money import PriceBook
from watchkeeper.core.ports import CaseStore
from watchkeeper.core.report import Judgement, Postmortem, Report
from watchkeeper.core.roles import roles_of
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.usage import Costs
from watchkeeper.core.verdict import Answer, Approval, Autonomy
from watchkeeper.core.views import (
    AgentView,
    FanView,
    GlassView,
    JournalCheck,
    PolicyView,
    TriedOrders,
)
from watchkeeper.core.word import plain
from watchkeeper.placement.running import Terms
from watchkeeper.policy.usage import usage
from watchkeeper.policy.windows import standing

LOG_KEPT = 2000
LOG_READ = 20_000
"""Lines of the journal that the first look at the log reads: a long record is not read whole."""


class Waiter(Protocol):
    """Blocks until the journal has news."""

    def wait(self, after: int, timeout_s: float) -> int: ...


class WatchDesk:
    """Meets `core.desk.Desk` over one running Watch."""

    def __init__(
        self,
        watch: Watch,
        *,
        waiter: Waiter,
        wake: Callable[[], None],
        answerer: Callable[[str, Board, tuple[LogLine, ...]], str],
        redis_name: str,
        lab_time: str = "",
        book: PriceBook | None = None,
        cases: CaseStore | None = None,
        terms: Terms | None = None,
        verify: Verify | None = None,
        suggester: Callable[[Board], tuple[str, ...]] = lambda _board: (),
        reader: Reader = lambda _text, _board: None,
        thinker: Thinker | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        self._watch = watch
        self._terms = terms
        self._reporter = Reporter(watch, cases)
        self._spending = Spending(watch, book)
        self._looking = Looking(watch, verify)
        self._trying = Trying(watch)
        self._waiter = waiter
        self._wake = wake
        self._chat = Chatting(watch, wake, self, answerer, reader, thinker, drafter)
        self._suggester = suggester
        self._redis_name = redis_name
        self._lab_time = lab_time
        self._narrator = Narrator()
        self._lines: deque[LogLine] = deque(maxlen=LOG_KEPT)
        self._told = max(0, watch.record.journal.head[0] - LOG_READ)
        self._tokens: dict[str, Person] = {}

    # Reading.

    def health(self) -> Health:
        """Ready means: the cluster was read and the last readings are fresh."""
        watch, snapshot = self._watch, self._watch.latest
        seq, head = watch.record.journal.head
        why = self._why_not_ready(snapshot)
        nodes = list(snapshot.nodes.values()) if snapshot else []
        return Health(
            ready=snapshot is not None and not why,
            cluster=snapshot.state.cluster if snapshot else "",
            world=watch.world.value,
            nodes=len(nodes),
            gpus=sum(n.gpus for n in nodes),
            redis=self._redis_name,
            policy_version=watch.record.books.policy_version,
            journal_seq=seq,
            journal_head=head,
            simulated=watch.world is not World.REAL
            or bool(snapshot is not None and snapshot.frame.simulated.any()),
            stopped=watch.record.books.orders.stopped,
            why_not_ready=why,
        )

    def _sources(self) -> dict[str, str]:
        snapshot = self._watch.latest
        if snapshot is None:
            return {"ray": self._watch.looker.ray_error}
        since = self._since_s(snapshot)
        told = {}
        for source in snapshot.sources.values():
            age = "never read" if source.age_s is None else f"read {source.age_s + since:.0f} s ago"
            told[source.name] = source.error or age
        return told

    def _since_s(self, snapshot: Snapshot) -> float:
        """How old the snapshot itself is: ages go on growing if the turns hang."""
        return max(0.0, self._watch.clock.steady() - snapshot.steady)

    def _why_not_ready(self, snapshot: Snapshot | None) -> str:
        if snapshot is None:
            return self._watch.looker.ray_error or "the cluster was not read yet"
        since = self._since_s(snapshot)
        if since > FRESH_S:
            return f"the last turn was {since:.0f} s ago"
        return stale(snapshot)

    def board(self) -> Board:
        """Everything on the first page, from the last snapshot."""
        watch, snapshot = self._watch, self._watch.latest
        history = self._history()  # asks Redis: not under the lock that the turn needs
        whys = self._whys(snapshot)
        with watch.record.lock:
            books = watch.record.books
            incidents = tuple(books.incidents.values())
            policy = watch.policies.current()
            ledger = ledger_view(books, snapshot) if snapshot else None
            nodes = node_views(snapshot, incidents) if snapshot else ()
            limits = usage(policy, ledger) if policy and ledger else ()
            waiting = tuple(a for f in books.waiting() if (a := ask_of(f, books)))
            reporting = sum(
                len(n.gpus) for n in nodes if n.silent_s is not None and n.silent_s <= 15
            )
            since = self._since_s(snapshot) if snapshot else 0.0
            last = [n.silent_s + since for n in nodes if n.silent_s is not None]
            return Board(
                at=watch.clock.now(),
                health=self.health(),
                orders=msgspec.structs.replace(books.orders, holds=in_force(books, watch.clock)),
                last_reading_s=min(last) if last else None,
                gpus_reporting=reporting,
                gpus_total=sum(len(n.gpus) for n in nodes),
                window=standing(policy, watch.clock.policy_now()) if policy else "No policy",
                policy_loaded_at=books.policy_loaded_at,
                policy_error=books.policy_error,
                waiting=waiting,
                last_decision=books.last_answer,
                nodes=nodes,
                jobs=job_views(snapshot, whys) if snapshot else (),
                pools=pool_views(snapshot, books.forecasts, history, books.regrets)
                if snapshot
                else (),
                limits=tuple(
                    LimitView(id=u.id, text=u.text, used=u.used, limit=u.limit, where=u.where)
                    for u in limits
                ),
                sources=self._sources(),
                halted=books.halted,
                lab_time=self._lab_time,
                unserved=tuple(sorted(_KINDS_SHOWN - watch.serves)),
                reviews=tuple(owed_says(lift) for lift in books.to_review()),
                shadow={c: n for (f, c), n in sorted(books.counts.items()) if f == "shadow"},
                reserved=snapshot.state.reserved if snapshot else (),
                zone=zone_of(policy).key,
                serving=serving_views(books, snapshot) if snapshot else (),
            )

    def reserve(self, action: PoolReserve, person: Person, reason: str = "") -> Wish:
        """Ask for nodes to be kept, and wait for what policy says. Raises Refused."""
        left = wish(self._watch, action, person, reason)
        self._wake()
        return outcome_of(self._watch, left)

    def suggested(self, name: str, action: Action, reason: str, incident: str = "") -> Wish:
        """See `control.suggesting`: an assistant from outside; a person decides. Raises Refused."""
        return suggest(self._watch, self._wake, name, action, reason, incident)

    def _whys(self, snapshot: Snapshot | None) -> dict[str, str]:
        """Why gangs wait: not under the lock either, since it may take milliseconds."""
        if snapshot is None:
            return {}
        watch, policy = self._watch, self._watch.policies.current()
        with watch.record.lock:
            books = watch.record.books
            open_now, used = books.open_incidents(), used_now(books.used, snapshot.at)
            repaired = repaired_of(watch, snapshot)
            used_up = books.month.used_up(policy, snapshot.at)
        quotas = policy.quotas if policy is not None else ()
        return reasons(snapshot, open_now, repaired, quotas, used, used_up, self._terms)

    def _history(self) -> dict[str, list[tuple[float, float, float]]]:
        snapshot = self._watch.latest
        series: dict[str, list[tuple[float, float, float]]] = {}
        with contextlib.suppress(ClusterUnavailable):
            for demand in snapshot.state.demand if snapshot else ():
                series[demand.pool] = self._watch.mirror.demand_series(demand.pool)
        return series

    def log(self, after: int = 0, limit: int = 60) -> tuple[LogLine, ...]:
        """The chat stream, newest last."""
        with self._watch.record.lock:
            for event in self._watch.record.journal.events(self._told):
                self._told = event.seq
                line = self._narrator.line(event)
                if line is not None:
                    self._lines.append(line)
            lines = [line for line in self._lines if line.seq > after]
        return tuple(lines[:limit] if after else lines[-limit:])

    def wait(self, after: int, timeout_s: float) -> int:
        return self._waiter.wait(after, timeout_s)

    def incidents(self) -> tuple[Incident, ...]:
        """Newest first."""
        with self._watch.record.lock:
            return tuple(reversed(self._watch.record.books.incidents.values()))

    def story(self, incident: str) -> Story | None:
        books = self._watch.record.books
        found = books.incidents.get(incident)
        if found is None:
            return None
        return story_of(
            found, events_of(self._watch.record.journal, incident), books.policy_version
        )

    def asks(self) -> tuple[Ask, ...]:
        with self._watch.record.lock:
            books = self._watch.record.books
            return tuple(a for f in books.waiting() if (a := ask_of(f, books)))

    def ask(self, proposal: str) -> Ask | None:
        with self._watch.record.lock:
            books = self._watch.record.books
            file = books.files.get(proposal)
            return ask_of(file, books) if file else None

    def events(self, after: int = 0, limit: int = 200) -> tuple[Event, ...]:
        journal = self._watch.record.journal
        if after:
            return tuple(islice(journal.events(after), limit))
        newest = max(0, journal.head[0] - limit)  # a long record is not read to show its end
        return tuple(deque(journal.events(newest), maxlen=limit))

    def costs(self, days: float = 30.0) -> Costs:
        return self._spending.costs(days)

    def what_if(
        self, pool: str, add: int, begin: str = "", end: str = "", zone: str = "UTC"
    ) -> WhatIf:
        return self._spending.what_if(pool, add, begin, end, zone)

    def capacity(self, pool: str) -> CapacityPlan:
        return self._spending.capacity(pool)

    def layout(self, by: Grouping) -> FleetLayout:
        return self._looking.layout(by)

    def cells(self, shade: Shade, by: Grouping) -> FleetCells:
        return self._looking.cells(shade, by)

    def trace(self, node: str) -> Trace | None:
        return self._looking.trace(node)

    def policy(self) -> PolicyView:
        return self._looking.policy()

    def orders_files(self) -> dict[str, str]:
        return self._trying.files()

    def try_orders(self, file: str, text: str) -> TriedOrders:
        """See `control.trying`."""
        return self._trying.orders(file, text)

    def agents(self) -> tuple[AgentView, ...]:
        return self._looking.agents(self.log(limit=LOG_KEPT))

    def fans(self) -> tuple[FanView, ...]:
        return self._looking.fans()

    def verify(self) -> JournalCheck:
        return self._looking.verify()

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
        """See `core.desk.Desk.answer`. The lock makes fifty clicks one answer."""
        record = self._watch.record
        with record.lock:
            file = record.books.files.get(proposal)
            ask = ask_of(file, record.books) if file else None
            if file is None or ask is None:
                raise Refused(f"There is no question {proposal}.")
            earlier = next((a for a in file.approvals if a.person == person.name), None)
            if earlier is not None and earlier.answer is answer:
                return ask  # the same answer again: the first result
            if ask.status.state != "waiting":
                raise Refused(ask.status.decided)
            if earlier is not None and answer is Answer.APPROVE:
                raise Refused("You have answered this question already.")
            if not hmac.compare_digest(digest, ask.digest) or not hmac.compare_digest(
                nonce, ask.nonce
            ):
                raise Refused("What you saw is not what is asked now. Read it again.")
            if file.question and self._watch.clock.steady() >= file.question.expires_steady:
                raise Refused("The question has expired.")
            self._may_answer(ask, person, file.proposal.by)
            approval = Approval(
                id=self._watch.ids.new("A"),
                proposal=proposal,
                answer=answer,
                person=person.name,
                digest=digest,
                nonce=nonce,
                at=self._watch.clock.now(),
                reason=reason[:500],
                door=door,
            )
            record.write(
                Kind.ANSWERED,
                (proposal, file.proposal.incident),
                approval=plain(approval),
                durable=True,
            )
            self._wake()
            answered = ask_of(record.books.files[proposal], record.books)
            assert answered is not None
            return answered

    def _may_answer(self, ask: Ask, person: Person, requester: str) -> None:
        if person.name.startswith("agent:") or requester == f"person:{person.name}":
            raise Refused("Who asks may not answer (S15).")
        if ask.from_groups and not set(ask.from_groups) & set(person.groups):
            raise Refused(
                f"{person.name} is not in {', '.join(ask.from_groups)}; only they may answer."
            )

    def preview(self, proposal: str, given: Mapping[str, str], person: Person) -> Amendment:
        """See `control.amend`."""
        return amending.preview(self._watch, proposal, given, person)

    def amend(self, proposal: str, given: Mapping[str, str], person: Person, *, shown: str) -> str:
        """See `control.amend`. The turn asks; this waits for it."""
        request = amending.amend(self._watch, proposal, given, person, shown)
        self._wake()
        return amending.answer_of(self._watch, request)

    def break_glass(self, proposal: str, person: Person, reason: str) -> str:
        """See `control.break_glass`."""
        lift = break_glass(self._watch, proposal, person, reason)
        self._wake()
        return (
            f"{proposal}: lifted {', '.join(lift.rules)}. It is judged again now; another person "
            f"reviews this until {lift.review_by:%Y-%m-%d %H:%M} UTC."
        )

    def glass(self) -> GlassView:
        return glass_of(self._watch)

    def review(self, proposal: str, person: Person, note: str = "") -> str:
        """See `control.break_glass`."""
        lift = review(self._watch, proposal, person, note)
        return f"{proposal}: the break-glass of {lift.person} is reviewed by {lift.reviewed_by}."

    def stop(self, person: Person, reason: str = "") -> None:
        """Set the latch first: the file holds even if the journal cannot be written."""
        self._watch.stop.set(person.name, reason)
        self._wake()

    def resume(self, person: Person, reason: str = "") -> None:
        """Clear latch, halt and closed gates; only a person does. The latch first: a stop that is
        pressed meanwhile sets it again, and holds. Raises JournalBroken: then it is stopped."""
        watch = self._watch
        with watch.record.lock:  # a turn that looked in between would put the latch back
            watch.stop.clear()
            try:
                watch.record.write(Kind.RESUMED, by=person.name, reason=reason, durable=True)
            except JournalBroken:
                watch.stop.set(person.name, "the resume could not be written")
                raise
        self._wake()

    def set_autonomy(self, person: Person, level: Autonomy) -> None:
        self._watch.record.write(Kind.AUTONOMY, by=person.name, level=level.value, durable=True)
        self._wake()

    def hold(self, person: Person, what: Sequence[str], until: datetime, reason: str = "") -> Hold:
        """See `control.holding`. Raises Refused."""
        made = holding.hold(self._watch, person, what, until, reason)
        self._wake()
        return made

    def release(self, person: Person, ident: str) -> Hold:
        """End a hold before its time. Raises Refused."""
        ended = holding.release(self._watch, person, ident)
        self._wake()
        return ended

    # Telling.

    def explain(self, ident: str) -> str:
        """Why, from the record. Raises UsageError when the id is unknown."""
        if ident.startswith("INC-"):
            story = self.story(ident)
            if story is not None:
                return told_story(story)
        journal = self._watch.record.journal
        related = [e for e in journal.about({ident}) if ident in e.subject]
        if ident.isdigit() and len(ident) < 16:
            related = [e for e in islice(journal.events(int(ident) - 1), 1) if e.seq == int(ident)]
        if not related:
            raise UsageError(f"Nothing in the journal is called {ident}.")
        return "\n\n".join(told_event(e) for e in related)

    def say(self, person: Person, question: str) -> LogLine:
        """See `control.chatting`: answers, draws a card, or narrows; never grants."""
        return self._chat.say(person, question, LOG_KEPT)

    def card(self, seq: int) -> Card | None:
        return self._chat.card(seq)

    def handed_in(self, seq: int) -> tuple[HandedIn, ...]:
        return self._chat.handed_in(seq)

    def send(self, person: Person, seq: int) -> tuple[HandedIn, ...]:
        """See `control.chatting`. Raises Refused."""
        return self._chat.send(person, seq)

    def drafted(self, seq: int) -> PolicyDraft | None:
        return self._chat.draft(seq)

    def suggest(self) -> tuple[str, ...]:
        """See `core.desk.Desk.suggest`."""
        return self._suggester(self.board())

    # Reporting.

    def report(self, since: datetime | timedelta | None = None) -> Report:
        """See `core.desk.Desk.report`."""
        return self._reporter.report(since)

    def postmortem(self, incident: str) -> Postmortem | None:
        return self._reporter.postmortem(incident)

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
        """See `core.desk.Desk.judge`."""
        return self._reporter.judge(
            key, digest, person, useful=useful, since=since, until=until, note=note
        )

    def judged(self, person: Person) -> tuple[Judgement, ...]:
        return self._reporter.judged(person)

    # People.

    def people(self) -> tuple[Person, ...]:
        """The policy's people with their groups, and the roles that these give."""
        policy = self._watch.policies.current()
        groups: dict[str, list[str]] = {}
        for group, names in (policy.people if policy else {}).items():
            for name in names:
                groups.setdefault(name, []).append(group)
        bound = policy.roles if policy else {}
        return tuple(
            Person(name=n, groups=tuple(g), roles=roles_of(g, bound))
            for n, g in sorted(groups.items())
        )

    def login_links(self) -> Sequence[tuple[str, str]]:
        """Fresh one-time links; those made before lapse."""
        self._tokens = {self._watch.ids.secret(): p for p in self.people()}
        return [(p.name, f"/login?token={t}") for t, p in self._tokens.items()]

    def redeem(self, token: str) -> Person | None:
        return self._tokens.pop(token, None)

    def metrics(self) -> dict[str, Any]:
        """Counters since the journal began, and gauges of now."""
        with self._watch.record.lock:
            books = self._watch.record.books
            by: dict[str, dict[str, int]] = {}
            for (family, label), count in books.counts.items():
                by.setdefault(family, {})[label] = count
            head = self._watch.record.journal.head[0]
            return {
                "decisions_total": by.get("decision", {}),
                "effects_total": by.get("effect", {}),
                "outcomes_total": by.get("outcome", {}),
                "answers_total": by.get("answer", {}),
                "incidents_total": by.get("incident", {}),
                "notifications_total": by.get("notify", {}),
                "approvals_pending": len(books.waiting()),
                "incidents_open": len(books.open_incidents()),
                "stopped": int(books.orders.stopped),
                "halted": int(bool(books.halted)),
                "policy_load_ok": int(not books.policy_error),
                "policy_last_good_timestamp_seconds": books.policy_loaded_at.timestamp()
                if books.policy_loaded_at
                else 0.0,
                "shadow_divergence_total": by.get("shadow", {}),
                "reviews_pending": len(books.to_review()),
                "journal_events": head,
                "telemetry_refused_total": self._watch.looker.refused,
            }


_KINDS_SHOWN = frozenset(
    {
        "node.cordon",
        "node.uncordon",
        "node.drain",
        "node.restart",
        "node.reboot",
        "gpu.quarantine",
        "gpu.reset",
        "job.requeue",
        "pool.scale",
        "check.run",
    }
)
