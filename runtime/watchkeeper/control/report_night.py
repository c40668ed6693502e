"""The events of one span, sorted by what they are about: what the report is made of.

Pure. Reads each event once; of those before the span it keeps only what reaches into it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from watchkeeper.control.books import Books
from watchkeeper.control.story import Narrator
from watchkeeper.core.desk import LogLine
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.incident import Incident
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.regret import Regret
from watchkeeper.core.verdict import Answer, Approval, Verdict
from watchkeeper.core.word import parse

FORECASTS_BEFORE = timedelta(hours=2)
"""A forecast made so long before the span may speak of an hour within it."""

_ORDERS = frozenset(
    {
        Kind.STOPPED,
        Kind.RESUMED,
        Kind.HALTED,
        Kind.HEARD_AGAIN,
        Kind.AUTONOMY,
        Kind.GATE_CLOSED,
        Kind.POLICY_LOADED,
        Kind.POLICY_REFUSED,
        Kind.SESSION_CHANGED,
        Kind.REDIS_REBUILT,
        Kind.BREAK_GLASS,
        Kind.REVIEWED,
        Kind.INJECTED,
    }
)
_ENDED = {
    Kind.APPROVAL_VOID: "void",
    Kind.WITHDRAWN: "withdrawn",
    Kind.APPROVAL_EXPIRED: "expired",
}


class Judged(NamedTuple):
    """One verdict, as it was first given."""

    seq: int
    at: datetime
    proposal: str
    verdict: Verdict


class Done(NamedTuple):
    """How one effect ended, or a question: result, and why."""

    seq: int
    at: datetime
    result: str
    why: str


class Gap(NamedTuple):
    """A time without a watch. certain: it said that it ended; else it ended some time after
    `first`. last: when one began again; None when none has."""

    first: datetime
    last: datetime | None
    certain: bool


class Told(NamedTuple):
    """One page or ticket that went out."""

    seq: int
    at: datetime
    page: bool
    key: str
    title: str


@dataclass
class Night:
    """The span, and what the journal says of it. Fields hold what happened within the span."""

    since: datetime
    until: datetime
    zone: ZoneInfo
    world: str = ""
    cluster: str = ""
    first_seq: int = 0
    last_seq: int = 0
    head: str = ""
    last_at: datetime | None = None
    last_steady: float = 0.0
    incidents: dict[str, Incident] = field(default_factory=dict)
    opened: dict[str, int] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    impacts: dict[str, Impact] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    asked_about: Counter[str] = field(default_factory=Counter)
    answers: list[tuple[int, Approval]] = field(default_factory=list)
    approved: dict[str, list[str]] = field(default_factory=dict)
    started: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    finished: dict[str, Done] = field(default_factory=dict)
    ended: dict[str, Done] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    orders: list[tuple[Kind, LogLine]] = field(default_factory=list)
    thoughts: dict[str, tuple[int, str]] = field(default_factory=dict)
    refused_telemetry: int = 0
    gaps: list[Gap] = field(default_factory=list)
    forecasts: dict[str, list[Forecast]] = field(default_factory=dict)
    regrets: list[tuple[int, Regret]] = field(default_factory=list)

    def clock(self, at: datetime) -> str:
        """`03:22` in the report's zone; with the day where that is not the report's own."""
        local, day = at.astimezone(self.zone), self.until.astimezone(self.zone).date()
        return f"{local:%H:%M}" if local.date() == day else f"{local.day} {local:%b %H:%M}"

    def judge(self, judged: Judged) -> None:
        """Keep one verdict; the newest of a Proposal is the one it goes by."""
        self.judged.append(judged)
        self.verdicts[judged.proposal] = judged.verdict

    def proposal(self, ident: str, books: Books) -> Proposal | None:
        """A Proposal of the span, or an older one that the books still hold."""
        file = books.files.get(ident)
        return self.proposals.get(ident) or (file.proposal if file else None)

    def impact(self, ident: str, books: Books) -> Impact:
        return self.known_impact(ident, books) or Impact()

    def known_impact(self, ident: str, books: Books) -> Impact | None:
        """What a Proposal was expected to touch, also one of long before the span."""
        file = books.files.get(ident)
        return self.impacts.get(ident) or (file.impact if file else None)

    def incident(self, ident: str, books: Books) -> Incident | None:
        """The incident as it was last written."""
        return books.incidents.get(ident) or self.incidents.get(ident)

    def verdict(self, ident: str, books: Books) -> Verdict | None:
        """The verdict that first let it pass, or refused it."""
        file = books.files.get(ident)
        return self.verdicts.get(ident) or (file.verdict if file else None)


def night_of(events: Iterable[Event], since: datetime, until: datetime, zone: ZoneInfo) -> Night:
    """Sort the events of since..until. Events may begin any time before; later ones are left."""
    night = Night(since, until, zone)
    narrator = Narrator()
    last: Event | None = None
    for event in events:
        if event.at > until:
            break
        if event.kind is Kind.WATCH_STARTED:
            _note_gap(night, last, event)
            night.world = str(event.data.get("world", night.world))
            night.cluster = str(event.data.get("cluster", night.cluster))
        if event.kind is Kind.FORECAST and event.at >= since - FORECASTS_BEFORE:
            made = parse(event.data["forecast"], Forecast, "the forecast")
            night.forecasts.setdefault(made.pool, []).append(made)
        if event.at >= since:
            night.first_seq = night.first_seq or event.seq
            _take(night, event, narrator)
        elif event.kind in (Kind.PROPOSED, Kind.VERDICT) and event.at >= since - timedelta(days=1):
            narrator.line(event)  # so that what is answered in the span can be named
        last = event
    if last is not None:
        night.last_seq, night.head = last.seq, last.hash
        night.last_at, night.last_steady = last.at, last.steady
        night.first_seq = night.first_seq or last.seq
        if last.kind is Kind.WATCH_STOPPED:
            night.gaps.append(Gap(last.at, None, certain=True))
    return night


def _note_gap(night: Night, last: Event | None, started: Event) -> None:
    if last is not None and started.at >= night.since:
        night.gaps.append(Gap(last.at, started.at, last.kind is Kind.WATCH_STOPPED))


def _take(night: Night, event: Event, narrator: Narrator) -> None:
    line = narrator.line(event)
    if event.kind in _ORDERS and line is not None:
        night.orders.append((event.kind, line))
    match event.kind:
        case Kind.INCIDENT_OPENED | Kind.INCIDENT_CHANGED | Kind.INCIDENT_CLOSED:
            incident = parse(event.data["incident"], Incident, "the incident")
            night.incidents[incident.id] = incident
            night.world = night.world or incident.world.value
            if event.kind is Kind.INCIDENT_OPENED:
                night.opened[incident.id] = event.seq
        case Kind.PROPOSED:
            proposal = parse(event.data["proposal"], Proposal, "the proposal")
            night.proposals[proposal.id] = proposal
            night.impacts[proposal.id] = parse(event.data["impact"], Impact, "the impact")
            night.world = night.world or proposal.world.value
        case Kind.VERDICT if not event.data.get("at_effect"):
            verdict = parse(event.data["verdict"], Verdict, "the verdict")
            night.judge(Judged(event.seq, event.at, event.data["proposal"], verdict))
        case Kind.ASKED:
            night.asked[event.data["proposal"]] = event.seq
            night.asked_about.update(s for s in event.subject if s.startswith("INC-"))
        case Kind.ANSWERED:
            answer = parse(event.data["approval"], Approval, "the approval")
            night.answers.append((event.seq, answer))
            if answer.answer is Answer.APPROVE:
                night.approved.setdefault(answer.proposal, []).append(answer.person)
        case Kind.APPROVAL_VOID | Kind.WITHDRAWN | Kind.APPROVAL_EXPIRED:
            why = event.data.get("why", "nobody answered in time")
            night.ended[event.data["proposal"]] = Done(event.seq, event.at, _ENDED[event.kind], why)
        case Kind.EFFECT_STARTED:
            night.started[event.data["proposal"]] = (event.seq, event.at)
        case Kind.EFFECT_FINISHED:
            result, why = event.data["result"], event.data.get("why", "")
            night.finished[event.data["proposal"]] = Done(event.seq, event.at, result, why)
        case Kind.PAGED | Kind.TICKETED:
            page = event.kind is Kind.PAGED
            key, title = event.data["key"], event.data["title"]
            night.told.append(Told(event.seq, event.at, page, key, title))
        case Kind.NOTE if event.subject:
            night.thoughts[event.subject[0]] = (event.seq, str(event.data["text"]))
        case Kind.REGRET:
            night.regrets.append((event.seq, parse(event.data["regret"], Regret, "the regret")))
        case Kind.TELEMETRY_REFUSED:
            night.refused_telemetry += 1
        case _:
            pass
