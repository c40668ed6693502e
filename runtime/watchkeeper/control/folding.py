"""How each kind of event changes the books, a few lines for each kind, so it is long. Called by
`Books.apply` for each event, in order, when the watch starts and as it goes; nothing else changes
the books.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from watchkeeper.control.fair import add_use
from watchkeeper.control.life import BADLY, State, Step, advance
from watchkeeper.control.papers import Bar, Effect, File, Lift, Question, stopper
from watchkeeper.core.action import kind_of, node_of
from watchkeeper.core.crew import orders_of
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.hold import Hold
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.core.model import ModelCall
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.regret import Regret
from watchkeeper.core.serving import ServePlan
from watchkeeper.core.verdict import Answer, Approval, Autonomy, Decision, Orders, Outcome, Verdict

if TYPE_CHECKING:
    from watchkeeper.control.books import Books

LEDGER_S = 31 * 86400.0
"""How long an effect counts for rates and budgets."""

OUTAGE_S = 600.0
"""A watch that wrote nothing for so long before it began again was away."""

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


def fold(books: Books, event: Event) -> None:
    """Change the books by one event. Kinds that change nothing here are passed over."""
    change = _FOLDS.get(event.kind)
    if change is not None:
        change(books, event)


def _parse(value: Any, kind: Any) -> Any:
    return msgspec.convert(value, kind)


def _move(books: Books, event: Event, step: Step, **changes: Any) -> None:
    ident = event.data["proposal"]
    file = books.files.get(ident)
    if file is None:
        return
    books.files[ident] = replace(
        file,
        state=advance(file.state, step),
        changed_at=event.at,
        changed_steady=event.steady,
        **changes,
    )


def _proposed(books: Books, event: Event) -> None:
    proposal = _parse(event.data["proposal"], Proposal)
    if proposal.id not in books.files:
        books.by_incident.setdefault(proposal.incident, []).append(proposal.id)
    books.files[proposal.id] = File(
        proposal=proposal,
        impact=_parse(event.data["impact"], Impact),
        thread=event.data["thread"],
        state=State.MADE,
        changed_at=event.at,
        changed_steady=event.steady,
    )
    _forget_old(books)


def _verdict(books: Books, event: Event) -> None:
    verdict = _parse(event.data["verdict"], Verdict)
    books.counts["decision", verdict.decision.value] += 1
    if verdict.would_be is not None:
        books.counts["shadow", f"{verdict.decision.value}_to_{verdict.would_be.value}"] += 1
    file = books.files.get(event.data["proposal"])
    if file is None or file.state is not State.MADE:
        return  # judged again at the effect: what follows from that has its own event
    step = {
        Decision.ALLOW: Step.ALLOWED,
        Decision.ASK: Step.ASKED,
        Decision.DENY: Step.DENIED,
    }[verdict.decision]
    under = _orders_in(event.data.get("input", {}))
    _move(books, event, step, verdict=verdict, why=verdict.because, under=under)


def _orders_in(judged: dict[str, Any]) -> tuple[str, ...]:
    """What people had ordered, as the judge was told it."""
    if not judged:
        return ()
    orders = judged["orders"]
    holds = (hold["id"] for hold in orders.get("holds", ()))
    return orders_of(judged["policy_version"], orders["autonomy"], holds)


def _asked(books: Books, event: Event) -> None:
    file = books.files.get(event.data["proposal"])
    if file is not None:
        question = _parse(event.data["question"], Question)
        books.files[file.proposal.id] = replace(file, question=question)


def _answered(books: Books, event: Event) -> None:
    approval = _parse(event.data["approval"], Approval)
    file = books.files.get(approval.proposal)
    books.counts["answer", approval.answer.value] += 1
    if file is None or file.question is None:
        return
    books.last_answer = f"{approval.person}: {approval.answer.value} {approval.proposal}"
    approvals = (*file.approvals, approval)
    data = {"approvals": approvals, "ended_by": approval.person, "why": approval.reason}
    if approval.answer is Answer.DENY:
        _end_question(books, event, approval, Step.TURNED_DOWN, data)
    elif approval.answer is Answer.NOT_NOW:
        _end_question(books, event, approval, Step.PUT_OFF, data)
    elif len({a.person for a in approvals}) >= file.question.needs:
        _end_question(books, event, approval, Step.QUORUM, data)
    else:
        books.files[approval.proposal] = replace(file, approvals=approvals)


def _break_glass(books: Books, event: Event) -> None:
    lift = _parse(event.data["lift"], Lift)
    over = [i for i, old in books.lifts.items() if old.reviewed_by and i not in books.files]
    for ident in over:
        del books.lifts[ident]
    books.lifts[lift.proposal] = lift
    books.counts["answer", "break_glass"] += 1
    lifted = msgspec.structs.replace(event, data={"proposal": lift.proposal})
    _move(
        books,
        lifted,
        Step.LIFTED,
        question=None,
        approvals=(),  # given to the question that was; another question begins at none
        why=lift.reason,
        ended_by=lift.person,
    )
    incident = books.incidents.get(lift.incident)
    if incident is not None and not incident.is_open:
        books.incidents_changed += 1
        books.incidents[incident.id] = msgspec.structs.replace(
            incident, state=IncidentState.OPEN, updated_at=event.at, closed_because=""
        )


def _reviewed(books: Books, event: Event) -> None:
    lift = books.lifts.get(event.data["proposal"])
    if lift is not None:
        by, note = event.data["by"], event.data.get("note", "")
        books.lifts[lift.proposal] = replace(lift, reviewed_by=by, note=note)


def _end_question(
    books: Books, event: Event, approval: Approval, step: Step, data: dict[str, Any]
) -> None:
    books.spent_nonces.add(approval.nonce)
    ended = msgspec.structs.replace(event, data={"proposal": approval.proposal})
    _move(books, ended, step, **data)


def _started(books: Books, event: Event) -> None:
    effect = _parse(event.data["effect"], Effect)
    books.fence_token = max(books.fence_token, effect.token)
    books.acted[event.data["proposal"]] = None
    _move(books, event, Step.STARTED, effect=effect)
    books.counts["effect", event.data["action"]] += 1


def _issued(books: Books, event: Event) -> None:
    file = books.files.get(event.data["proposal"])
    if file is None or file.effect is None:
        return
    if event.data.get("enforced"):
        # A crash may have come between this line and the call: should the drain go on, it is
        # called again, under the same key.
        again_s = ENFORCE_AGAIN_S if file.in_hand else ENFORCE_LATER_S
        effect = replace(file.effect, enforced=True, enforce_at=event.steady + again_s)
        books.files[file.proposal.id] = replace(file, effect=effect)
        return
    effect = replace(file.effect, issued=True, provider=event.data.get("provider", ""))
    _move(books, event, Step.ISSUED, effect=effect)


def _finished(books: Books, event: Event) -> None:
    outcome = event.data.get("outcome")
    _move(
        books,
        event,
        Step(event.data["result"]),
        why=event.data.get("why", ""),
        outcome=_parse(outcome, Outcome) if outcome else None,
    )
    file = books.files.get(event.data["proposal"])
    if file is None:
        return
    books.counts["outcome", file.state.value] += 1
    node, kind = node_of(file.action), kind_of(file.action)
    if file.state is State.RECOVERED and kind == "check.run":
        books.checked[node] = str(getattr(file.action, "incarnation", ""))
    if kind == "node.drain" and file.state in BADLY:
        books.drains[node] = file.proposal.id


def _incident(books: Books, event: Event) -> None:
    incident = _parse(event.data["incident"], Incident)
    books.incidents[incident.id] = incident
    books.incidents_changed += 1
    if event.kind is Kind.INCIDENT_OPENED:
        books.counts["incident", incident.fault] += 1
        _forget_old_incidents(books)


def _forget_old_incidents(books: Books) -> None:
    """Resolved ones alone: an escalated one still says that a person has the node in hand."""
    if len(books.incidents) <= KEPT_CLOSED:
        return  # a burst opens hundreds in one turn
    resolved = [i.id for i in books.incidents.values() if i.state is IncidentState.RESOLVED]
    for ident in resolved[:-KEPT_CLOSED]:
        del books.incidents[ident]


def _began(books: Books, event: Event) -> None:
    """The first start of all follows no outage."""
    if books.heard_steady is not None and event.steady - books.heard_steady >= OUTAGE_S:
        books.back_steady = event.steady


def _session(books: Books, event: Event) -> None:
    if event.data.get("before"):
        books.back_steady = event.steady
    books.session = event.data["session"]
    books.reconciled = event.kind is Kind.SESSION_RECONCILED


def _policy(books: Books, event: Event) -> None:
    books.policy_version = event.data["version"]
    books.policy_files = event.data["files"]
    books.policy_loaded_at = event.at
    books.policy_error = ""


def _policy_refused(books: Books, event: Event) -> None:
    books.policy_error = event.data["problems"]


def _stopped(books: Books, event: Event) -> None:
    books.orders = msgspec.structs.replace(
        books.orders,
        stopped=True,
        stopped_by=stopper(event),
        stopped_at=event.at,
        stop_reason=event.data.get("reason", ""),
    )


def _resumed(books: Books, event: Event) -> None:
    books.resumed_at = event.at
    books.incidents_changed += 1
    books.orders = Orders(autonomy=books.orders.autonomy)
    books.halted, books.halted_by_silence = "", False
    books.closed_kinds.clear()


def _autonomy(books: Books, event: Event) -> None:
    level = Autonomy(event.data["level"])
    books.orders = msgspec.structs.replace(books.orders, autonomy=level)


def _held(books: Books, event: Event) -> None:
    hold = _parse(event.data["hold"], Hold)
    books.holds[hold.id] = hold


def _released(books: Books, event: Event) -> None:
    books.holds.pop(event.data["id"], None)


def _halted(books: Books, event: Event) -> None:
    books.halted = event.data["why"]
    books.halted_by_silence = event.data.get("silence", False)


def _heard_again(books: Books, event: Event) -> None:
    books.resumed_at = event.at
    books.incidents_changed += 1
    books.halted, books.halted_by_silence = "", False


def _gate_closed(books: Books, event: Event) -> None:
    books.closed_kinds[event.data["action"]] = event.data["why"]


def _gate_opened(books: Books, event: Event) -> None:
    books.closed_kinds.pop(event.data["action"], None)


def _told(books: Books, event: Event) -> None:
    books.paged[event.data["key"]] = event.steady
    if len(books.paged) > KEPT_KEYS:
        del books.paged[next(iter(books.paged))]
    books.counts["notify", event.kind.value] += 1
    books.counts["notify", "held_back"] += event.data.get("held", 0)
    if said := event.data.get("bar"):
        bar = _parse(said, Bar)
        books.barred[bar.incident] = bar
    if source := event.data.get("source", ""):
        books.calls = [c for c in books.calls if event.steady - c[0] < CALLS_S]
        books.calls.append((event.steady, source, event.kind.value, event.data["about"]))


def _settled(books: Books, event: Event) -> None:
    books.barred.pop(event.data["incident"], None)


def _forecast(books: Books, event: Event) -> None:
    forecast = _parse(event.data["forecast"], Forecast)
    books.forecasts[forecast.pool] = forecast


def _serving(books: Books, event: Event) -> None:
    plan = _parse(event.data["plan"], ServePlan)
    books.serving[plan.name] = plan


def _metered(books: Books, event: Event) -> None:
    add_use(books.used, event)
    books.month.add(event)


def _regret(books: Books, event: Event) -> None:
    regret = msgspec.convert(event.data["regret"], Regret)
    books.regrets[regret.pool] = (*books.regrets.get(regret.pool, ()), regret)[-REGRETS:]


def _forget_old(books: Books) -> None:
    """Keep memory bounded: drop the oldest ended proposals that no budget needs."""
    if len(books.files) <= KEPT_CLOSED:
        return
    ended = [f for f in books.files.values() if not f.busy]
    if len(ended) <= KEPT_CLOSED:
        return
    newest = books.files[next(reversed(books.files))].changed_steady
    for file in ended[: len(ended) - KEPT_CLOSED]:
        if file.effect is None or newest - file.changed_steady > LEDGER_S:
            del books.files[file.proposal.id]
            _let_go(books, file.proposal)


def _let_go(books: Books, proposal: Proposal) -> None:
    """Forget all that was kept about a Proposal; a break-glass is kept until its review."""
    ident = proposal.id
    books.acted.pop(ident, None)
    books.escalated.discard(ident)
    if ident in books.lifts and books.lifts[ident].reviewed_by:
        del books.lifts[ident]
    if books.drains.get(node_of(proposal.action)) == ident:
        del books.drains[node_of(proposal.action)]
    idents = books.by_incident[proposal.incident]
    idents.remove(ident)
    if not idents:
        del books.by_incident[proposal.incident]


_FOLDS: dict[Kind, Callable[[Books, Event], None]] = {
    Kind.PROPOSED: _proposed,
    Kind.VERDICT: _verdict,
    Kind.ASKED: _asked,
    Kind.ANSWERED: _answered,
    Kind.BREAK_GLASS: _break_glass,
    Kind.REVIEWED: _reviewed,
    Kind.ESCALATED: lambda b, e: b.escalated.add(e.data["proposal"]),
    Kind.APPROVAL_VOID: lambda b, e: _move(b, e, Step.VOIDED, why=e.data["why"]),
    Kind.WITHDRAWN: lambda b, e: _move(b, e, Step.VOIDED, why=e.data["why"]),
    Kind.APPROVAL_EXPIRED: lambda b, e: _move(b, e, Step.EXPIRED, why="nobody answered in time"),
    Kind.EFFECT_STARTED: _started,
    Kind.EFFECT_ISSUED: _issued,
    Kind.EFFECT_FINISHED: _finished,
    Kind.INCIDENT_OPENED: _incident,
    Kind.INCIDENT_CHANGED: _incident,
    Kind.INCIDENT_CLOSED: _incident,
    Kind.WATCH_STARTED: _began,
    Kind.SESSION_CHANGED: _session,
    Kind.SESSION_RECONCILED: _session,
    Kind.POLICY_LOADED: _policy,
    Kind.POLICY_REFUSED: _policy_refused,
    Kind.STOPPED: _stopped,
    Kind.RESUMED: _resumed,
    Kind.AUTONOMY: _autonomy,
    Kind.HELD: _held,
    Kind.RELEASED: _released,
    Kind.HALTED: _halted,
    Kind.HEARD_AGAIN: _heard_again,
    Kind.GATE_CLOSED: _gate_closed,
    Kind.GATE_OPENED: _gate_opened,
    Kind.PAGED: _told,
    Kind.TICKETED: _told,
    Kind.SETTLED: _settled,
    Kind.FORECAST: _forecast,
    Kind.REGRET: _regret,
    Kind.SERVING: _serving,
    Kind.METERED: _metered,
    Kind.MODEL_CALLED: lambda b, e: b.model_calls.append(_parse(e.data["call"], ModelCall)),
}
