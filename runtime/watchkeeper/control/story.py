"""Events into sentences: the chat stream, and the timeline of an incident.

Pure: the same journal always tells the same story. Text from the cluster is only ever quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from watchkeeper.control.papers import stopper
from watchkeeper.control.report_words import closed
from watchkeeper.core.action import say
from watchkeeper.core.desk import LogLine, Story, StoryStep
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.hold import Hold, named
from watchkeeper.core.incident import Incident
from watchkeeper.core.ports import JournalStore
from watchkeeper.core.proposal import Proposal
from watchkeeper.core.regret import Regret
from watchkeeper.core.serving import ServePlan
from watchkeeper.core.verdict import Approval, Decision, Verdict


class Narrator:
    """Turns events into log lines; remembers proposals and incidents it has read about."""

    def __init__(self) -> None:
        self._proposals: dict[str, Proposal] = {}
        self._incidents: dict[str, Incident] = {}
        self._where: dict[str, str] = {}
        self._soft: set[str] = set()

    def line(self, event: Event) -> LogLine | None:
        """One log line, or None for events that would only be noise in a chat."""
        self._learn(event)
        telling = _TELL.get(event.kind)
        parts = telling(self, event) if telling else None
        if parts is None:
            return None
        kind, tone, text, extra = parts
        incident = next((s for s in event.subject if s.startswith("INC-")), "")
        proposal = next((s for s in event.subject if s.startswith("P-")), "")
        return LogLine(
            seq=event.seq,
            at=event.at,
            kind=kind,
            tone=tone,
            text=text,
            incident=incident,
            proposal=proposal,
            **extra,
        )

    def _learn(self, event: Event) -> None:
        if event.kind is Kind.PROPOSED:
            proposal = msgspec.convert(event.data["proposal"], Proposal)
            self._proposals[proposal.id] = proposal
        elif event.kind is Kind.VERDICT:
            verdict = msgspec.convert(event.data["verdict"], Verdict)
            ident = event.data["proposal"]
            self._where[ident] = rule_of(verdict)
            (self._soft.add if verdict.liftable else self._soft.discard)(ident)

    def _said(self, event: Event) -> str:
        proposal = self._proposals.get(event.data.get("proposal", ""))
        return say(proposal.action) if proposal else "An action"

    # One short function for each kind that is told.

    def _incident_opened(self, event: Event) -> Any:
        incident = msgspec.convert(event.data["incident"], Incident)
        self._incidents[incident.id] = incident
        sources = tuple(dict.fromkeys(f"{s.source} ({s.trust.value})" for s in incident.signals))
        jobs = f" Gangs touched: {', '.join(incident.jobs)}." if incident.jobs else ""
        return "Saw", "", f"{closed(incident.title)}{jobs}", {"sources": sources}

    def _incident_changed(self, event: Event) -> Any:
        incident = msgspec.convert(event.data["incident"], Incident)
        old = self._incidents.get(incident.id)
        self._incidents[incident.id] = incident
        if old is None or (old.title, old.jobs) == (incident.title, incident.jobs):
            return None
        jobs = f" Gangs touched: {', '.join(incident.jobs)}." if incident.jobs else ""
        return "Saw", "", f"{closed(incident.title)}{jobs}", {}

    def _incident_closed(self, event: Event) -> Any:
        incident = msgspec.convert(event.data["incident"], Incident)
        resolved = incident.state.value == "resolved"
        word = "Resolved" if resolved else "Needs a person"
        return (
            word,
            "good" if resolved else "bad",
            f"{incident.id}, {incident.title}: {incident.closed_because}",
            {},
        )

    def _note(self, event: Event) -> Any:
        by = event.data.get("by", "")
        model = event.data.get("model", "")
        source = f"{by}, {'rules, no model' if model == 'rules' else model}" if model else by
        return "Thinks", "", event.data["text"], {"sources": (source,) if source else ()}

    def _verdict(self, event: Event) -> Any:
        verdict = msgspec.convert(event.data["verdict"], Verdict)
        where = {"where": rule_of(verdict)}
        if event.data.get("at_effect") or verdict.decision is Decision.ASK:
            return None  # the effect, or the question, is told by its own event
        if verdict.decision is Decision.ALLOW:
            return "Allows", "", f"{self._said(event)}: {texts(verdict)}", where
        text = f"{self._said(event)}: {texts(verdict)}{self._lifted_by(event)}"
        return "Refused", "bad", text, where

    def _lifted_by(self, event: Event) -> str:
        """How a person lifts what refuses or asks, where it is soft."""
        ident = event.data["proposal"]
        if ident not in self._soft:
            return ""
        return f" It is soft: `watchkeeper break-glass {ident}` lifts it."

    def _asked(self, event: Event) -> Any:
        question = event.data["question"]
        groups = ", ".join(question["groups"]) or "people"
        until = question["expires_at"][11:16]
        return (
            "Asks",
            "act",
            f"{self._said(event)}? {question['needs']} of {groups} must approve by {until} UTC."
            f"{self._lifted_by(event)}",
            {"where": self._where.get(event.data["proposal"], "")},
        )

    def _answered(self, event: Event) -> Any:
        approval = msgspec.convert(event.data["approval"], Approval)
        verb = {"approve": "approved", "deny": "denied", "not_now": "said not now to"}
        proposal = self._proposals.get(approval.proposal)
        what = say(proposal.action) if proposal else approval.proposal
        reason = f" Reason: {approval.reason}" if approval.reason else ""
        return "Approval", "you", f"{approval.person} {verb[approval.answer]} {what}.{reason}", {}

    def _break_glass(self, event: Event) -> Any:
        lift = event.data["lift"]
        rules = ", ".join(lift["rules"])
        text = f"{lift['person']} lifted {rules} for: {self._said(event)}. Reason: {lift['reason']}"
        return "Break-glass", "act", f"{closed(text)} A review is owed.", {}

    def _reviewed(self, event: Event) -> Any:
        note = f": {event.data['note']}" if event.data.get("note") else "."
        text = f"{event.data['by']} reviewed the break-glass on {event.data['proposal']}{note}"
        return "Reviewed", "you", text, {}

    def _escalated(self, event: Event) -> Any:
        groups = ", ".join(event.data["groups"])
        return "Asks", "act", f"{self._said(event)}? {groups} are called, and may answer too.", {}

    def _ended(self, event: Event) -> Any:
        return "Void", "", f"{self._said(event)}: {closed(event.data['why'])}", {}

    def _expired(self, event: Event) -> Any:
        return "Expired", "bad", f"{self._said(event)}: nobody answered in time.", {}

    def _started(self, event: Event) -> Any:
        where = {"where": self._where.get(event.data["proposal"], "")}
        return "Does", "", f"{self._said(event)}.", where

    def _issued(self, event: Event) -> Any:
        if not event.data.get("enforced"):
            return None
        return "Does", "", f"{self._said(event)}: {closed(event.data['text'])}", {}

    def _finished(self, event: Event) -> Any:
        result, why = event.data["result"], event.data.get("why", "")
        said = self._said(event)
        if predicted := event.data.get("predicted", ""):
            why = f"{why.rstrip('.')}. {predicted}"
        match result:
            case "recovered":
                return "Did", "good", f"{said}. Verified: {why}", {}
            case "refused":
                return "Refused", "bad", f"{said}: {closed(why)} Nothing was done.", {}
            case "in_doubt":
                return "In doubt", "bad", f"{said}: {why}", {}
            case _:
                return "Failed", "bad", f"{said}: {why}", {}

    def _orders(self, event: Event) -> Any:
        data = event.data
        match event.kind:
            case Kind.STOPPED:
                reason = f" {data['reason']}" if data.get("reason") else ""
                return "Stopped", "bad", f"{stopper(event)} stopped the watch.{reason}", {}
            case Kind.RESUMED:
                return "Resumed", "good", f"{data['by']} resumed the watch.", {}
            case Kind.HALTED:
                return "Halted", "bad", data["why"], {}
            case Kind.HEARD_AGAIN:
                return "Goes on", "good", data["why"], {}
            case Kind.HELD:
                hold = msgspec.convert(data["hold"], Hold)
                text = f"{hold.says}. Nothing that takes work or capacity away begins there."
                return "Held", "you", text, {}
            case Kind.RELEASED:
                by, what = data["by"], named(data["what"])
                said = f"{by} released {what}." if by else f"The hold on {what} ran out."
                return "Released", "you", f"{data['id']}: {said}", {}
            case Kind.AUTONOMY:
                return "Watch", "you", f"{data['by']} set the dial to {data['level']}.", {}
            case _:
                return "Watch", "bad", f"The gate for {data['action']} is closed: {data['why']}", {}

    def _told(self, event: Event) -> Any:
        paged = event.kind is Kind.PAGED
        if not paged and event.data["key"].startswith("ask:"):
            return None  # the question itself is in the log
        return "Pages" if paged else "Ticket", "bad" if paged else "", event.data["title"], {}

    def _settled(self, event: Event) -> Any:
        return "Ticket", "", event.data["title"], {}

    def _policy(self, event: Event) -> Any:
        if event.kind is Kind.POLICY_REFUSED:
            first = event.data["problems"].splitlines()[0]
            return (
                "Watch",
                "bad",
                f"The changed policy does not load; the last good one holds. {first}",
                {},
            )
        files = len(event.data["files"])
        return "Watch", "", f"Policy {event.data['version']} is in force, from {files} files.", {}

    def _watch(self, event: Event) -> Any:
        match event.kind:
            case Kind.WATCH_STARTED:
                return "Watch", "", event.data.get("text", "The watch begins."), {}
            case Kind.SESSION_CHANGED:
                return (
                    ("Watch", "bad", "Ray was started anew. Approvals and leases are void.", {})
                    if event.data.get("before")
                    else None
                )
            case Kind.INJECTED:
                return "Lab", "act", event.data["text"], {}
            case Kind.REDIS_REBUILT:
                return "Watch", "", event.data["text"], {}
            case _:
                return None

    def _regret(self, event: Event) -> Any:
        regret = msgspec.convert(event.data["regret"], Regret)
        return "Looks back", "", f"{regret.pool}: {regret.says()}", {}

    def _serving(self, event: Event) -> Any:
        made = msgspec.convert(event.data["plan"], ServePlan)
        return "Plans", "", f"{made.name}: {made.why}", {}

    def _chat(self, event: Event) -> Any:
        return (
            "You asked",
            "you",
            event.data["answer"],
            {"question": event.data["question"], "sources": (answered_by(event.data),)},
        )


def rule_of(verdict: Verdict) -> str:
    """The first rule, as file:line, that spoke for the decision."""
    return next(
        (r.where for r in verdict.reasons if r.says is verdict.decision and r.where and r.binds),
        "",
    )


def texts(verdict: Verdict) -> str:
    """What carried the decision, without the places (they are shown beside it)."""
    carried = [r for r in verdict.reasons if r.says is verdict.decision and r.binds]
    return "; ".join(f"{r.id}, {r.text}" if r.text else r.id for r in carried) or "no rule matches"


_TELL: dict[Kind, Any] = {
    Kind.INCIDENT_OPENED: Narrator._incident_opened,
    Kind.INCIDENT_CHANGED: Narrator._incident_changed,
    Kind.INCIDENT_CLOSED: Narrator._incident_closed,
    Kind.NOTE: Narrator._note,
    Kind.VERDICT: Narrator._verdict,
    Kind.ASKED: Narrator._asked,
    Kind.ANSWERED: Narrator._answered,
    Kind.APPROVAL_VOID: Narrator._ended,
    Kind.WITHDRAWN: Narrator._ended,
    Kind.APPROVAL_EXPIRED: Narrator._expired,
    Kind.EFFECT_STARTED: Narrator._started,
    Kind.EFFECT_ISSUED: Narrator._issued,
    Kind.EFFECT_FINISHED: Narrator._finished,
    Kind.BREAK_GLASS: Narrator._break_glass,
    Kind.REVIEWED: Narrator._reviewed,
    Kind.ESCALATED: Narrator._escalated,
    Kind.STOPPED: Narrator._orders,
    Kind.RESUMED: Narrator._orders,
    Kind.HALTED: Narrator._orders,
    Kind.HEARD_AGAIN: Narrator._orders,
    Kind.AUTONOMY: Narrator._orders,
    Kind.HELD: Narrator._orders,
    Kind.RELEASED: Narrator._orders,
    Kind.GATE_CLOSED: Narrator._orders,
    Kind.PAGED: Narrator._told,
    Kind.TICKETED: Narrator._told,
    Kind.SETTLED: Narrator._settled,
    Kind.POLICY_LOADED: Narrator._policy,
    Kind.POLICY_REFUSED: Narrator._policy,
    Kind.WATCH_STARTED: Narrator._watch,
    Kind.SESSION_CHANGED: Narrator._watch,
    Kind.INJECTED: Narrator._watch,
    Kind.REDIS_REBUILT: Narrator._watch,
    Kind.CHAT: Narrator._chat,
    Kind.REGRET: Narrator._regret,
    Kind.SERVING: Narrator._serving,
}


def answered_by(data: dict[str, Any]) -> str:
    """Who worded an answer of the chat."""
    model = data.get("model", "")
    return f"Worded by {model}" if model else "Answered by rules, no model"


def events_of(journal: JournalStore, incident: str) -> Iterator[Event]:
    """All that tells of an incident: events that name it, a part of it, or one of its proposals."""
    named = {s for e in journal.about({incident}) for s in e.subject if s.startswith("P-")}
    return journal.about({incident, *named})


def story_of(incident: Incident, events: Iterable[Event], policy_version: str) -> Story:
    """One incident as a timeline, from every event that names it or its proposals."""
    narrator = Narrator()
    steps: list[StoryStep] = []
    people: list[str] = []
    first = last = 0
    mine: set[str] = {incident.id}
    for event in events:
        line = narrator.line(event)
        if not mine & set(event.subject):
            continue
        mine.update(s for s in event.subject if s.startswith("P-"))
        first, last = first or event.seq, event.seq
        if event.kind is Kind.ANSWERED:
            people.append(event.data["approval"]["person"])
        if line is not None:
            steps.append(_step(line, event))
    effects = [s for s in steps if s.title.startswith("Does")]
    failed = [s for s in steps if s.title.startswith(("Failed", "In doubt"))]
    ended = None if incident.is_open else incident.updated_at
    return Story(
        incident=incident,
        steps=tuple(steps),
        out_for_s=None if ended is None else (ended - incident.opened_at).total_seconds(),
        actions=len(effects),
        failed=len(failed),
        people=tuple(dict.fromkeys(people)),
        first_seq=first,
        last_seq=last,
        policy_version=policy_version,
    )


def _step(line: LogLine, event: Event) -> StoryStep:
    head, dot, rest = line.text.partition(". ")
    raw = ""
    if event.kind is Kind.INCIDENT_OPENED:
        raw = "\n".join(s["raw"] for s in event.data["incident"]["signals"] if s.get("raw"))
    return StoryStep(
        at=line.at,
        seq=line.seq,
        title=f"{line.kind}: {head.rstrip('.')}",
        text=rest if dot else "",
        tone=line.tone,
        where=line.where,
        raw=raw[:2000],
        proposal=line.proposal,
    )
