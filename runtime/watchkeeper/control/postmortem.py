"""One incident as one timeline: signal, hypothesis, decision, approval, effect, verification.

Pure: a fold of the journal's events that name the incident or its proposals. It says what the
record says; what people make of it is left to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from watchkeeper.control.report_words import closed, count, hours, went_badly, without
from watchkeeper.control.story import Narrator, rule_of, texts
from watchkeeper.core.action import kind_of, say
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.incident import Hypothesis, HypothesisStatus, Incident
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.report import Moment, Postmortem, Stage
from watchkeeper.core.since import span
from watchkeeper.core.verdict import Decision, Verdict
from watchkeeper.core.word import parse

MOST_RAW = 2000
"""Characters of a signal's original text that are kept."""

_STAGES = {
    Kind.NOTE: Stage.HYPOTHESIS,
    Kind.ASKED: Stage.APPROVAL,
    Kind.ANSWERED: Stage.APPROVAL,
    Kind.APPROVAL_VOID: Stage.APPROVAL,
    Kind.APPROVAL_EXPIRED: Stage.APPROVAL,
    Kind.WITHDRAWN: Stage.DECISION,
    Kind.BREAK_GLASS: Stage.APPROVAL,
    Kind.REVIEWED: Stage.APPROVAL,
    Kind.ESCALATED: Stage.APPROVAL,
    Kind.EFFECT_STARTED: Stage.EFFECT,
    Kind.EFFECT_ISSUED: Stage.EFFECT,
    Kind.EFFECT_FINISHED: Stage.VERIFICATION,
    Kind.GATE_CLOSED: Stage.VERIFICATION,
    Kind.INCIDENT_CLOSED: Stage.VERIFICATION,
    Kind.PAGED: Stage.APPROVAL,
    Kind.TICKETED: Stage.APPROVAL,
    Kind.SETTLED: Stage.APPROVAL,
    Kind.INJECTED: Stage.SIGNAL,
}
_HEADS = {
    Kind.PAGED: "Paged: ",
    Kind.TICKETED: "Ticket: ",
    Kind.SETTLED: "Ticket settled: ",
    Kind.APPROVAL_VOID: "Void: ",
    Kind.APPROVAL_EXPIRED: "Lapsed: ",
    Kind.WITHDRAWN: "Withdrawn: ",
}
"""What is put before a line whose own words do not say what it is."""


class _Reader:
    """Reads the events once and keeps what belongs to the incident."""

    def __init__(self, incident: str) -> None:
        self.mine: set[str] = {incident}
        self.ident = incident
        self.incident: Incident | None = None
        self.narrator = Narrator()
        self.moments: list[Moment] = []
        self.signals: set[str] = set()
        self.thoughts: set[str] = set()
        self.hypotheses: dict[str, Hypothesis] = {}
        self.proposals: dict[str, Proposal] = {}
        self.impacts: dict[str, Impact] = {}
        self.started: dict[str, datetime] = {}
        self.badly = self.asked = 0
        self.people: list[str] = []
        self.rules: dict[tuple[str, str], None] = {}
        self.versions: dict[str, None] = {}
        self.first = self.last = 0
        self.head = self.cluster = self.world = ""

    def read(self, event: Event) -> None:
        line = self.narrator.line(event)
        if event.kind is Kind.WATCH_STARTED:
            self.cluster = str(event.data.get("cluster", self.cluster))
            self.world = str(event.data.get("world", self.world))
        if not self._is_mine(event):
            return
        self.mine.update(s for s in event.subject if s.startswith("P-"))
        self.first, self.last, self.head = self.first or event.seq, event.seq, event.hash
        self.moments += self._incident(event)
        match event.kind:
            case Kind.PROPOSED:
                proposal = parse(event.data["proposal"], Proposal, "the proposal")
                self.proposals[proposal.id] = proposal
                self.impacts[proposal.id] = parse(event.data["impact"], Impact, "the impact")
            case Kind.VERDICT if not event.data.get("at_effect"):
                self.moments.append(self._decision(event))
            case Kind.ANSWERED:
                self.people.append(event.data["approval"]["person"])
            case Kind.ASKED:
                self.asked += 1
            case Kind.EFFECT_STARTED:
                self.started[event.data["proposal"]] = event.at
            case Kind.EFFECT_FINISHED:
                self.badly += self._went_badly(event)
                if event.data["result"] == "refused":  # by the last look: nothing was done
                    self.started.pop(event.data["proposal"], None)
            case _:
                pass
        stage = _STAGES.get(event.kind)
        if stage is None or line is None or event.kind is Kind.INCIDENT_CLOSED:
            return
        text = self._thought(line.text) if event.kind is Kind.NOTE else line.text
        text = _HEADS.get(event.kind, "") + text
        if text:
            self.moments.append(
                Moment(
                    at=event.at,
                    stage=stage,
                    text=text,
                    tone=line.tone,
                    where=line.where,
                    source=", ".join(line.sources),
                    proposal=line.proposal,
                    seq=event.seq,
                )
            )

    def _is_mine(self, event: Event) -> bool:
        if self.mine & set(event.subject):
            return True
        # A thread of the crew may have a part of the incident: `INC-3/gangs`.
        return any(s.startswith(f"{self.ident}/") for s in event.subject)

    def _incident(self, event: Event) -> Iterator[Moment]:
        """What an incident's own events add: signals at their own times, causes as they turn, its
        end."""
        kinds = (Kind.INCIDENT_OPENED, Kind.INCIDENT_CHANGED, Kind.INCIDENT_CLOSED)
        if event.kind not in kinds or event.data["incident"]["id"] != self.ident:
            return
        incident = parse(event.data["incident"], Incident, "the incident")
        self.incident = incident
        self.world = self.world or incident.world.value
        for signal in incident.signals:
            if signal.id not in self.signals:
                self.signals.add(signal.id)
                value = f" = {signal.value:g}" if signal.value is not None else ""
                yield Moment(
                    at=signal.at,
                    stage=Stage.SIGNAL,
                    text=f"{signal.code} on {signal.target}{value}",
                    source=f"{signal.source}, trust {signal.trust.value}",
                    raw=signal.raw[:MOST_RAW],
                    simulated=signal.simulated,
                    seq=event.seq,
                )
        for cause in incident.hypotheses:
            old = self.hypotheses.get(cause.claim)
            if old is None or old.status is not cause.status:
                self.hypotheses[cause.claim] = cause
                yield _turned(cause, event)
        if event.kind is Kind.INCIDENT_CLOSED:
            resolved = incident.state.value == "resolved"
            yield Moment(
                at=event.at,
                stage=Stage.VERIFICATION,
                text="Resolved" if resolved else "Handed to a person",
                more=incident.closed_because,
                tone="good" if resolved else "you",
                seq=event.seq,
            )

    def _went_badly(self, event: Event) -> bool:
        proposal = self.proposals.get(event.data["proposal"])
        return went_badly(kind_of(proposal.action) if proposal else "", event.data["result"])

    def _reason(self, proposal: Proposal | None) -> str:
        """Why it was asked for; without the incident's title, which heads the page."""
        title = self.incident.title if self.incident else ""
        return closed(without(proposal.reason, title)) if proposal else ""

    def _thought(self, text: str) -> str:
        """What a thought adds to those before it."""
        title = self.incident.title if self.incident else ""
        parts = [p.rstrip(".") for p in text.split(". ") if p.rstrip(".") != title]
        claims = tuple(claim.lower() for claim in self.hypotheses)  # these are told on their own
        # "Next: ..." is told by the decision that follows.
        parts = [p for p in parts if not p.lower().startswith((*claims, "next: "))]
        fresh = [p for p in parts if p and p not in self.thoughts]
        self.thoughts.update(parts)
        return closed(". ".join(fresh))

    def _decision(self, event: Event) -> Moment:
        verdict = parse(event.data["verdict"], Verdict, "the verdict")
        ident = event.data["proposal"]
        proposal = self.proposals.get(ident)
        self.versions[verdict.policy_version] = None
        for reason in verdict.reasons:
            if reason.binds and reason.says is verdict.decision and reason.where:
                self.rules[reason.where, reason.id] = None
        word = {
            Decision.ALLOW: "Allowed",
            Decision.ASK: "To be asked",
            Decision.DENY: "Refused",
        }[verdict.decision]
        return Moment(
            at=event.at,
            stage=Stage.DECISION,
            text=f"{word}: {say(proposal.action) if proposal else ident}",
            more=" ".join((self._reason(proposal), closed(texts(verdict)))).strip(),
            tone={Decision.DENY: "bad", Decision.ASK: "act"}.get(verdict.decision, ""),
            where=rule_of(verdict),
            source=proposal.by if proposal else "",
            proposal=ident,
            seq=event.seq,
        )


def _turned(cause: Hypothesis, event: Event) -> Moment:
    refuted = cause.status is HypothesisStatus.REFUTED
    sure = "" if refuted else f", {cause.confidence:.2f}"
    return Moment(
        at=event.at,
        stage=Stage.HYPOTHESIS,
        text=f"{cause.status.value.capitalize()}{sure}: {cause.claim}",
        more=cause.why,
        seq=event.seq,
    )


def postmortem(
    ident: str,
    events: Iterable[Event],
    *,
    now: datetime,
    zone: ZoneInfo,
    cluster: str = "",
    world: str = "",
) -> Postmortem | None:
    """The incident of this id, or None where the journal has none. events: the whole journal, or
    all of it that tells of the incident, in order. now: the moment of writing, which ends one that
    is still open. cluster and world: where the journal does not say."""
    reader = _Reader(ident)
    for event in events:
        reader.read(event)
    incident = reader.incident
    if incident is None:
        return None
    until = now if incident.is_open else incident.updated_at
    timeline = _as_one(reader.moments)
    world = reader.world or world
    return Postmortem(
        incident=incident,
        cluster=reader.cluster or cluster,
        world=world,
        simulated=world != "real" or any(s.simulated for s in incident.signals),
        zone=zone.key,
        until=until,
        figures=_figures(reader, incident, until, zone),
        timeline=timeline,
        rules=tuple(reader.rules),
        people=tuple(dict.fromkeys(reader.people)),
        asked=reader.asked,
        policy_versions=tuple(v for v in reader.versions if v),
        first_seq=reader.first,
        last_seq=reader.last,
        head=reader.head,
    )


def _as_one(moments: list[Moment]) -> tuple[Moment, ...]:
    """In order of time; within one moment as one thing leads to the next; what only repeats what
    stood right before it is counted, not told again."""
    # A turn writes its lines within one moment of the clock: there the journal's own order holds,
    # and signals, which come with their own times, go first.
    ordered = sorted(moments, key=lambda m: (m.at, m.stage is not Stage.SIGNAL, m.seq))
    told: list[Moment] = []
    for moment in ordered:
        if told and _same(told[-1], moment):
            told[-1] = msgspec.structs.replace(told[-1], times=told[-1].times + 1)
        else:
            told.append(moment)
    return tuple(told)


def _same(one: Moment, other: Moment) -> bool:
    return (one.stage, one.text, one.more, one.source, one.raw) == (
        other.stage,
        other.text,
        other.more,
        other.source,
        other.raw,
    )


def _figures(
    reader: _Reader, incident: Incident, until: datetime, zone: ZoneInfo
) -> tuple[tuple[str, str], ...]:
    first = min((s.at for s in incident.signals), default=incident.opened_at)
    acted = min(reader.started.values(), default=None)
    cost = sum(reader.impacts[p].gpu_hours for p in reader.started if p in reader.impacts)
    return (
        (
            "First signal",
            f"{first.astimezone(zone):%Y-%m-%d %H:%M:%S}" if incident.signals else "not known",
        ),
        ("Noticed after", span((incident.opened_at - first).total_seconds())),
        (
            "First action after",
            span((acted - first).total_seconds()) if acted else "no action was taken",
        ),
        (
            "Open for" if incident.is_open else "Lasted",
            span((until - first).total_seconds()),
        ),
        ("Actions", f"{len(reader.started)}, {count(reader.badly, 'failure')}"),
        ("Questions", f"{reader.asked:,}"),
        ("Gangs touched", ", ".join(incident.jobs) or "none"),
        ("Expected cost of the actions", hours(cost)),
    )
