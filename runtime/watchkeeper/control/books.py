"""What is true about control, as a fold of the journal: proposals, questions, effects, incidents,
orders, fences. Redis only ever holds copies of it.

`Books.apply` is the only thing that changes it, and it is called with each event, in order, both
when the watch starts and as it goes; so a restart at any point gives the same books.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec

from watchkeeper.control.fair import Month, Used, add_use
from watchkeeper.control.filed import Filed
from watchkeeper.control.life import BADLY, BUSY, IN_HAND, State, Step, advance
from watchkeeper.core.action import Action, kind_of, node_of
from watchkeeper.core.desk import Shown
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.hold import Hold
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.core.ledger import PastEffect
from watchkeeper.core.model import ModelCall
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.regret import Regret
from watchkeeper.core.serving import ServePlan
from watchkeeper.core.verdict import Answer, Approval, Autonomy, Decision, Orders, Outcome, Verdict

LEDGER_S = 31 * 86400.0
OUTAGE_S = 600.0
"""A watch that wrote nothing for so long before it began again was away."""
"""How long an effect counts for rates and budgets."""

ENFORCE_AGAIN_S = 30.0
"""A drain that was ended by force and still goes on after this long is ended again: a provider does
it once for a key, however often it is asked."""

ENFORCE_LATER_S = 120.0
"""The same once the drain itself counts as failed, or in doubt."""

KEPT_KEYS = 10_000
"""Keys of pages and tickets that are remembered, as many as the pager itself remembers."""

CALLS_S = 3600.0
"""How long a call on people counts for `hush`."""

REGRETS = 24
"""Plans of one pool that are kept, each of an hour."""

KEPT_CLOSED = 2_000
"""Ended proposals and closed incidents kept in memory; older ones are in the journal. More than
one turn can end, so that each thread still hears what became of its own."""


@dataclass(frozen=True, slots=True)
class Question:
    """An ask as it was put to people: what was shown, under which digest, until when."""

    shown: Shown
    digest: str
    nonce: str
    asked_at: datetime
    expires_at: datetime
    expires_steady: float
    needs: int
    groups: tuple[str, ...]
    on_timeout: str
    if_approved: str
    typed_name: str = ""
    escalate_steady: float | None = None
    escalate_to: tuple[str, ...] = ()
    starts: float = 0.0
    """GPUs of the gangs that it would start."""


STRANGER = " (not of the policy's people)"


def stopper(event: Event) -> str:
    """Who stopped the watch, as it is told: whether the policy knew them then is said too."""
    return f"{event.data['by']}{STRANGER if event.data.get('stranger') else ''}"


@dataclass(frozen=True, slots=True)
class Lift:
    """One break-glass: who lifted which soft rules for which proposal, and why. It owes a review
    by another person until review_by.

    bound: what the proposal and the steps shown with it would touch; the lift carries no further.
    before: who had lifted other rules for the same proposal; their rules are among `rules`.
    """

    proposal: str
    incident: str
    rules: tuple[str, ...]
    person: str
    reason: str
    at: datetime
    steady: float
    review_by: datetime
    bound: Impact
    before: tuple[str, ...] = ()
    reviewed_by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect from *started* on."""

    key: str
    token: int
    started_steady: float
    started_at: datetime
    verify_by: float
    before: str
    domains: tuple[str, ...]
    session: str
    enforce_at: float | None = None
    enforced: bool = False
    issued: bool = False
    provider: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """All that is known about one Proposal."""

    proposal: Proposal
    impact: Impact
    thread: str
    state: State
    changed_at: datetime
    changed_steady: float
    verdict: Verdict | None = None
    question: Question | None = None
    approvals: tuple[Approval, ...] = ()
    effect: Effect | None = None
    outcome: Outcome | None = None
    ended_by: str = ""
    why: str = ""

    @property
    def action(self) -> Action:
        return self.proposal.action

    @property
    def busy(self) -> bool:
        return self.state in BUSY

    @property
    def in_hand(self) -> bool:
        return self.state in IN_HAND


def _parse(value: Any, kind: Any) -> Any:
    return msgspec.convert(value, kind)


@dataclass
class Books:
    """The fold. Read its fields; change it only through `apply`."""

    orders: Orders = field(default_factory=lambda: Orders(autonomy=Autonomy.OBSERVE))
    halted: str = ""
    halted_by_silence: bool = False
    files: Filed[File] = field(default_factory=lambda: Filed(lambda file: file.busy))
    incidents: Filed[Incident] = field(default_factory=lambda: Filed(lambda i: i.is_open))
    closed_kinds: dict[str, str] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    """What people asked to be left alone, by id, the oldest first."""
    checked: dict[str, str] = field(default_factory=dict)
    lifts: dict[str, Lift] = field(default_factory=dict)
    escalated: set[str] = field(default_factory=set)
    acted: dict[str, None] = field(default_factory=dict)
    drains: dict[str, str] = field(default_factory=dict)
    """Node -> the newest drain of it that ended as failed, worse or in doubt."""
    spent_nonces: set[str] = field(default_factory=set)
    paged: dict[str, float] = field(default_factory=dict)
    calls: list[tuple[float, str, str, str]] = field(default_factory=list)
    """Pages and tickets of the last hour that others than the watch caused: (steady, source, kind
    of event, about); `hush` bounds them."""
    forecasts: dict[str, Forecast] = field(default_factory=dict)
    serving: dict[str, ServePlan] = field(default_factory=dict)
    model_calls: deque[ModelCall] = field(default_factory=lambda: deque(maxlen=KEPT_CLOSED))
    """What models answered of late, oldest first: `trusting` holds it against what came of it."""
    month: Month = field(default_factory=Month, compare=False)
    used: dict[str, Used] = field(default_factory=dict)
    """Tenant -> GPU-seconds held by metering, older ones counting less; see `control.fair`."""
    regrets: dict[str, tuple[Regret, ...]] = field(default_factory=dict)
    """Pool -> its last day's plans against what was needed, oldest first."""
    session: str = ""
    reconciled: bool = False
    back_steady: float | None = None
    """When the watch, or Ray under it, was last back after an outage."""
    heard_steady: float | None = field(default=None, compare=False)
    """Of the newest event."""
    fence_token: int = 0
    policy_version: str = ""
    policy_loaded_at: datetime | None = None
    policy_error: str = ""
    policy_files: dict[str, str] = field(default_factory=dict)
    ids: Counter[str] = field(default_factory=Counter)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    last_answer: str = ""
    resumed_at: datetime | None = None
    incidents_changed: int = 0
    """Counts up with each change of an incident, so that what is derived may be kept till then."""
    ill_counted: tuple[object, int, dict[str, int]] | None = field(default=None, compare=False)
    """The gate's own: (snapshot, incidents_changed, nodes of each pool that fell ill)."""
    newest_opened: tuple[int, datetime | None] = field(default=(-1, None), compare=False)
    """The gate's own: (incidents_changed, when the newest incident opened)."""
    past_words: dict[str, tuple[File, PastEffect]] = field(default_factory=dict, compare=False)
    """The gate's own: the word of each effect of the past, but for its age."""
    _of_incident: dict[str, list[str]] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Fold one event in. Kinds that change nothing here are passed over."""
        fold = _FOLDS.get(event.kind)
        if fold is not None:
            fold(self, event)
        self.heard_steady = event.steady
        for ident in event.subject:
            prefix, number = _split_id(ident)
            if number > self.ids[prefix]:
                self.ids[prefix] = number

    # What others ask of the books.

    def waiting(self) -> list[File]:
        """Proposals that wait for people, oldest first."""
        return [f for f in self.files.living() if f.state is State.ASKING]

    def cleared(self) -> list[File]:
        """Proposals that may be carried out, oldest first."""
        return [f for f in self.files.living() if f.state is State.CLEARED]

    def in_hand(self) -> list[File]:
        """Effects started and not yet finished."""
        return [f for f in self.files.living() if f.in_hand]

    def cut_short(self) -> list[File]:
        """What a crash left between two lines: made and not judged, or to be asked and not asked.

        Within a turn a Proposal is judged and asked at once, so at its start these are leftovers.
        """
        return [
            f
            for f in self.files.living()
            if (f.state is State.MADE and f.proposal.id not in self.lifts)
            or (f.state is State.ASKING and f.question is None)
        ]

    def lifted(self) -> list[File]:
        """Proposals for which a person broke the glass, to be judged again."""
        return [
            self.files[ident]
            for ident in self.lifts
            if ident in self.files and self.files[ident].state is State.MADE
        ]

    def to_review(self) -> list[Lift]:
        """Uses of break-glass that nobody has reviewed, oldest first."""
        return [lift for lift in self.lifts.values() if not lift.reviewed_by]

    def past(self) -> list[File]:
        """Proposals with an effect that was started, newest first: what the ledger counts."""
        return [self.files[ident] for ident in reversed(self.acted) if ident in self.files]

    def last_of_thread(self, thread: str) -> File | None:
        """The newest Proposal of one crew thread."""
        return next((f for f in reversed(self.files.values()) if f.thread == thread), None)

    def of_incident(self, incident: str) -> list[File]:
        """Proposals of one incident, oldest first."""
        idents = self._of_incident.get(incident, ())
        return [self.files[ident] for ident in idents if ident in self.files]

    def open_incidents(self) -> tuple[Incident, ...]:
        return tuple(self.incidents.living())

    # Changes, each called for one kind of event.

    def _move(self, event: Event, step: Step, **changes: Any) -> None:
        ident = event.data["proposal"]
        file = self.files.get(ident)
        if file is None:
            return
        self.files[ident] = replace(
            file,
            state=advance(file.state, step),
            changed_at=event.at,
            changed_steady=event.steady,
            **changes,
        )

    def _proposed(self, event: Event) -> None:
        proposal = _parse(event.data["proposal"], Proposal)
        if proposal.id not in self.files:
            self._of_incident.setdefault(proposal.incident, []).append(proposal.id)
        self.files[proposal.id] = File(
            proposal=proposal,
            impact=_parse(event.data["impact"], Impact),
            thread=event.data["thread"],
            state=State.MADE,
            changed_at=event.at,
            changed_steady=event.steady,
        )
        self._forget_old()

    def _verdict(self, event: Event) -> None:
        verdict = _parse(event.data["verdict"], Verdict)
        self.counts["decision", verdict.decision.value] += 1
        if verdict.would_be is not None:
            self.counts["shadow", f"{verdict.decision.value}_to_{verdict.would_be.value}"] += 1
        file = self.files.get(event.data["proposal"])
        if file is None or file.state is not State.MADE:
            return  # judged again at the effect: what follows from that has its own event
        step = {
            Decision.ALLOW: Step.ALLOWED,
            Decision.ASK: Step.ASKED,
            Decision.DENY: Step.DENIED,
        }[verdict.decision]
        self._move(event, step, verdict=verdict, why=verdict.because)

    def _asked(self, event: Event) -> None:
        file = self.files.get(event.data["proposal"])
        if file is not None:
            question = _parse(event.data["question"], Question)
            self.files[file.proposal.id] = replace(file, question=question)

    def _answered(self, event: Event) -> None:
        approval = _parse(event.data["approval"], Approval)
        file = self.files.get(approval.proposal)
        self.counts["answer", approval.answer.value] += 1
        if file is None or file.question is None:
            return
        self.last_answer = f"{approval.person}: {approval.answer.value} {approval.proposal}"
        approvals = (*file.approvals, approval)
        data = {"approvals": approvals, "ended_by": approval.person, "why": approval.reason}
        if approval.answer is Answer.DENY:
            self._end_question(event, approval, Step.TURNED_DOWN, data)
        elif approval.answer is Answer.NOT_NOW:
            self._end_question(event, approval, Step.PUT_OFF, data)
        elif len({a.person for a in approvals}) >= file.question.needs:
            self._end_question(event, approval, Step.QUORUM, data)
        else:
            self.files[approval.proposal] = replace(file, approvals=approvals)

    def _break_glass(self, event: Event) -> None:
        lift = _parse(event.data["lift"], Lift)
        over = [i for i, old in self.lifts.items() if old.reviewed_by and i not in self.files]
        for ident in over:
            del self.lifts[ident]
        self.lifts[lift.proposal] = lift
        self.counts["answer", "break_glass"] += 1
        lifted = msgspec.structs.replace(event, data={"proposal": lift.proposal})
        self._move(
            lifted,
            Step.LIFTED,
            question=None,
            approvals=(),  # given to the question that was; another question begins at none
            why=lift.reason,
            ended_by=lift.person,
        )
        incident = self.incidents.get(lift.incident)
        if incident is not None and not incident.is_open:
            self.incidents_changed += 1
            self.incidents[incident.id] = msgspec.structs.replace(
                incident, state=IncidentState.OPEN, updated_at=event.at, closed_because=""
            )

    def _reviewed(self, event: Event) -> None:
        lift = self.lifts.get(event.data["proposal"])
        if lift is not None:
            by, note = event.data["by"], event.data.get("note", "")
            self.lifts[lift.proposal] = replace(lift, reviewed_by=by, note=note)

    def _end_question(
        self, event: Event, approval: Approval, step: Step, data: dict[str, Any]
    ) -> None:
        self.spent_nonces.add(approval.nonce)
        ended = msgspec.structs.replace(event, data={"proposal": approval.proposal})
        self._move(ended, step, **data)

    def _started(self, event: Event) -> None:
        effect = _parse(event.data["effect"], Effect)
        self.fence_token = max(self.fence_token, effect.token)
        self.acted[event.data["proposal"]] = None
        self._move(event, Step.STARTED, effect=effect)
        self.counts["effect", event.data["action"]] += 1

    def _issued(self, event: Event) -> None:
        file = self.files.get(event.data["proposal"])
        if file is None or file.effect is None:
            return
        if event.data.get("enforced"):
            # A crash may have come between this line and the call: should the drain go on, it is
            # called again, under the same key.
            again_s = ENFORCE_AGAIN_S if file.in_hand else ENFORCE_LATER_S
            effect = replace(file.effect, enforced=True, enforce_at=event.steady + again_s)
            self.files[file.proposal.id] = replace(file, effect=effect)
            return
        effect = replace(file.effect, issued=True, provider=event.data.get("provider", ""))
        self._move(event, Step.ISSUED, effect=effect)

    def _finished(self, event: Event) -> None:
        outcome = event.data.get("outcome")
        self._move(
            event,
            Step(event.data["result"]),
            why=event.data.get("why", ""),
            outcome=_parse(outcome, Outcome) if outcome else None,
        )
        file = self.files.get(event.data["proposal"])
        if file is None:
            return
        self.counts["outcome", file.state.value] += 1
        node, kind = node_of(file.action), kind_of(file.action)
        if file.state is State.RECOVERED and kind == "check.run":
            self.checked[node] = str(getattr(file.action, "incarnation", ""))
        if kind == "node.drain" and file.state in BADLY:
            self.drains[node] = file.proposal.id

    def _incident(self, event: Event) -> None:
        incident = _parse(event.data["incident"], Incident)
        self.incidents[incident.id] = incident
        self.incidents_changed += 1
        if event.kind is Kind.INCIDENT_OPENED:
            self.counts["incident", incident.fault] += 1
            self._forget_old_incidents()

    def _forget_old_incidents(self) -> None:
        """Resolved ones alone: an escalated one still says that a person has the node in hand."""
        if len(self.incidents) <= KEPT_CLOSED:
            return  # a burst opens hundreds in one turn
        resolved = [i.id for i in self.incidents.values() if i.state is IncidentState.RESOLVED]
        for ident in resolved[:-KEPT_CLOSED]:
            del self.incidents[ident]

    def _began(self, event: Event) -> None:
        """The first start of all follows no outage."""
        if self.heard_steady is not None and event.steady - self.heard_steady >= OUTAGE_S:
            self.back_steady = event.steady

    def _session(self, event: Event) -> None:
        if event.data.get("before"):
            self.back_steady = event.steady
        self.session = event.data["session"]
        self.reconciled = event.kind is Kind.SESSION_RECONCILED

    def _policy(self, event: Event) -> None:
        self.policy_version = event.data["version"]
        self.policy_files = event.data["files"]
        self.policy_loaded_at = event.at
        self.policy_error = ""

    def _policy_refused(self, event: Event) -> None:
        self.policy_error = event.data["problems"]

    def _stopped(self, event: Event) -> None:
        self.orders = msgspec.structs.replace(
            self.orders,
            stopped=True,
            stopped_by=stopper(event),
            stopped_at=event.at,
            stop_reason=event.data.get("reason", ""),
        )

    def _resumed(self, event: Event) -> None:
        self.resumed_at = event.at
        self.incidents_changed += 1
        self.orders = Orders(autonomy=self.orders.autonomy)
        self.halted, self.halted_by_silence = "", False
        self.closed_kinds.clear()

    def _autonomy(self, event: Event) -> None:
        level = Autonomy(event.data["level"])
        self.orders = msgspec.structs.replace(self.orders, autonomy=level)

    def _held(self, event: Event) -> None:
        hold = _parse(event.data["hold"], Hold)
        self.holds[hold.id] = hold

    def _released(self, event: Event) -> None:
        self.holds.pop(event.data["id"], None)

    def _halted(self, event: Event) -> None:
        self.halted = event.data["why"]
        self.halted_by_silence = event.data.get("silence", False)

    def _heard_again(self, event: Event) -> None:
        self.resumed_at = event.at
        self.incidents_changed += 1
        self.halted, self.halted_by_silence = "", False

    def _gate_closed(self, event: Event) -> None:
        self.closed_kinds[event.data["action"]] = event.data["why"]

    def _gate_opened(self, event: Event) -> None:
        self.closed_kinds.pop(event.data["action"], None)

    def _told(self, event: Event) -> None:
        self.paged[event.data["key"]] = event.steady
        if len(self.paged) > KEPT_KEYS:
            del self.paged[next(iter(self.paged))]
        self.counts["notify", event.kind.value] += 1
        self.counts["notify", "held_back"] += event.data.get("held", 0)
        if source := event.data.get("source", ""):
            self.calls = [c for c in self.calls if event.steady - c[0] < CALLS_S]
            self.calls.append((event.steady, source, event.kind.value, event.data["about"]))

    def _forecast(self, event: Event) -> None:
        forecast = _parse(event.data["forecast"], Forecast)
        self.forecasts[forecast.pool] = forecast

    def _serving(self, event: Event) -> None:
        plan = _parse(event.data["plan"], ServePlan)
        self.serving[plan.name] = plan

    def _metered(self, event: Event) -> None:
        add_use(self.used, event)
        self.month.add(event)

    def _regret(self, event: Event) -> None:
        regret = msgspec.convert(event.data["regret"], Regret)
        self.regrets[regret.pool] = (*self.regrets.get(regret.pool, ()), regret)[-REGRETS:]

    def _forget_old(self) -> None:
        """Keep memory bounded: drop the oldest ended proposals that no budget needs."""
        if len(self.files) <= KEPT_CLOSED:
            return
        ended = [f for f in self.files.values() if not f.busy]
        if len(ended) <= KEPT_CLOSED:
            return
        newest = self.files[next(reversed(self.files))].changed_steady
        for file in ended[: len(ended) - KEPT_CLOSED]:
            if file.effect is None or newest - file.changed_steady > LEDGER_S:
                del self.files[file.proposal.id]
                self._let_go(file.proposal)

    def _let_go(self, proposal: Proposal) -> None:
        """Forget all that was kept about a Proposal; a break-glass is kept until its review."""
        ident = proposal.id
        self.acted.pop(ident, None)
        self.escalated.discard(ident)
        if ident in self.lifts and self.lifts[ident].reviewed_by:
            del self.lifts[ident]
        if self.drains.get(node_of(proposal.action)) == ident:
            del self.drains[node_of(proposal.action)]
        idents = self._of_incident[proposal.incident]
        idents.remove(ident)
        if not idents:
            del self._of_incident[proposal.incident]


_FOLDS: dict[Kind, Callable[[Books, Event], None]] = {
    Kind.PROPOSED: Books._proposed,
    Kind.VERDICT: Books._verdict,
    Kind.ASKED: Books._asked,
    Kind.ANSWERED: Books._answered,
    Kind.BREAK_GLASS: Books._break_glass,
    Kind.REVIEWED: Books._reviewed,
    Kind.ESCALATED: lambda b, e: b.escalated.add(e.data["proposal"]),
    Kind.APPROVAL_VOID: lambda b, e: b._move(e, Step.VOIDED, why=e.data["why"]),
    Kind.WITHDRAWN: lambda b, e: b._move(e, Step.VOIDED, why=e.data["why"]),
    Kind.APPROVAL_EXPIRED: lambda b, e: b._move(e, Step.EXPIRED, why="nobody answered in time"),
    Kind.EFFECT_STARTED: Books._started,
    Kind.EFFECT_ISSUED: Books._issued,
    Kind.EFFECT_FINISHED: Books._finished,
    Kind.INCIDENT_OPENED: Books._incident,
    Kind.INCIDENT_CHANGED: Books._incident,
    Kind.INCIDENT_CLOSED: Books._incident,
    Kind.WATCH_STARTED: Books._began,
    Kind.SESSION_CHANGED: Books._session,
    Kind.SESSION_RECONCILED: Books._session,
    Kind.POLICY_LOADED: Books._policy,
    Kind.POLICY_REFUSED: Books._policy_refused,
    Kind.STOPPED: Books._stopped,
    Kind.RESUMED: Books._resumed,
    Kind.AUTONOMY: Books._autonomy,
    Kind.HELD: Books._held,
    Kind.RELEASED: Books._released,
    Kind.HALTED: Books._halted,
    Kind.HEARD_AGAIN: Books._heard_again,
    Kind.GATE_CLOSED: Books._gate_closed,
    Kind.GATE_OPENED: Books._gate_opened,
    Kind.PAGED: Books._told,
    Kind.TICKETED: Books._told,
    Kind.FORECAST: Books._forecast,
    Kind.REGRET: Books._regret,
    Kind.SERVING: Books._serving,
    Kind.METERED: Books._metered,
    Kind.MODEL_CALLED: lambda b, e: b.model_calls.append(_parse(e.data["call"], ModelCall)),
}

_ID = re.compile(r"([A-Z]+)-(\d+)")


def _split_id(ident: str) -> tuple[str, int]:
    match = _ID.fullmatch(ident)
    return (match[1], int(match[2])) if match else ("", 0)
