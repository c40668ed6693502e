"""Brief the crew and take in what it concluded. The crew is only known as the port `Crew`.

It fails closed: a crew that raises, or answers what is no answer, has asked for nothing. A person
is called, and the turn goes on, since what is under way must still be verified.
"""

from __future__ import annotations

from datetime import UTC
from math import inf

import msgspec

from watchkeeper.control import hush
from watchkeeper.control.fair import used_now
from watchkeeper.control.folding import KEPT_CLOSED
from watchkeeper.control.heard import heard
from watchkeeper.control.holding import in_force
from watchkeeper.control.life import State
from watchkeeper.control.look import stale
from watchkeeper.control.papers import File
from watchkeeper.control.serving import plans_now
from watchkeeper.control.trusting import scores, would
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import REPAIRS, NotifyPage, TicketOpen, kind_of, node_of, traits_of
from watchkeeper.core.crew import (
    Briefing,
    Conclusion,
    CrewReply,
    Draft,
    PastStep,
    StepResult,
    orders_of,
)
from watchkeeper.core.event import Kind
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.core.ledger import WEEK_S
from watchkeeper.core.tame import harmless
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Verdict
from watchkeeper.core.word import plain
from watchkeeper.health.domains import explained_by
from watchkeeper.health.illness import still_ill
from watchkeeper.policy.model import Prices
from watchkeeper.remedy.runbook import cited

DAY_S = 86400.0
MOST_ADVICE = 1000
"""Characters of a model's advice on a ticket."""
DENIED_S = 3600.0
"""A person's no to a step on a gang holds for every incident for so long, as a yes does (ours)."""
RESULT_OF = {
    State.DENIED: ("verdict", "deny"),
    State.RECOVERED: ("outcome", "recovered"),
    State.WORSE: ("outcome", "worse"),
    State.FAILED: ("outcome", "failed"),
    State.IN_DOUBT: ("outcome", "in_doubt"),
    State.REFUSED: ("outcome", "refused"),
    State.TURNED_DOWN: ("answer", "deny"),
    State.PUT_OFF: ("answer", "not_now"),
    State.EXPIRED: ("answer", "expired"),
    State.VOID: ("answer", "void"),
}


def ask_the_crew(watch: Watch, snapshot: Snapshot) -> CrewReply:
    """Hand the crew its briefing, and hear what of its reply is sound. On a stale snapshot, or
    stopped, there is none. Never raises for what a crew does.

    A watch that has halted asks once about each incident, so that it has its verdict (which S9
    refuses) on the record; it tells no results and ends no thread until a person resumes it.
    """
    books = watch.record.books
    if stale(snapshot) or books.orders.stopped:
        return CrewReply()
    busy = frozenset(f.thread for f in books.files.living())
    told: tuple[StepResult, ...] = ()
    ended: list[StepResult] = []
    if books.halted:
        busy |= watch.asked_in_halt
        if all(i.id in busy for i in books.open_incidents()):
            return CrewReply()
    else:
        watch.asked_in_halt = frozenset()
        told, ended = tuple(watch.told_results), _undelivered(watch, busy)
        watch.told_results.clear()
    policy = watch.policies.current()
    prices = policy.prices if policy is not None else Prices()
    briefing = Briefing(
        snapshot=snapshot,
        incidents=books.open_incidents(),
        forecasts=dict(books.forecasts),
        serving=plans_now(books, snapshot),
        results=(*told, *ended),
        busy=busy,
        serves=watch.serves,
        checked=dict(books.checked),
        history=_history(watch),
        repaired=repaired_of(watch, snapshot),
        past=_past(watch, snapshot),
        gpu_hour={
            d.pool: price for d in snapshot.state.demand if (price := prices.of(d.pool)) is not None
        },
        currency=prices.currency,
        feeds=policy.feeds if policy is not None else {},
        capacity=policy.capacity if policy is not None else {},
        quotas=policy.quotas if policy is not None else (),
        used=used_now(books.used, snapshot.at),
        used_up=books.month.used_up(policy, snapshot.at),
        scores=scores(watch),
        would=would(watch, snapshot),
        denied=denied_of(watch, snapshot),
        down=_down(watch),
        orders=frozenset(
            orders_of(
                policy.version if policy is not None else "",
                books.orders.autonomy.value,
                (hold.id for hold in in_force(books, watch.clock)),
            )
        ),
    )
    try:
        reply: object = watch.crew.ask(briefing)
    except Exception as err:  # the boundary: whoever plans, the watch itself goes on
        watch.told_results[:0] = told  # nobody heard them: they are told again
        watch.delivered -= {r.proposal for r in ended}
        watch.all_delivered_at = -1
        _call_a_person(watch, "raised", " ".join(f"{type(err).__name__}: {err}".split())[:500])
        return CrewReply()
    sound, wrong = heard(reply, snapshot)
    if wrong:
        _call_a_person(watch, "garbled", "; ".join(wrong)[:2000])
    if books.halted:
        asked = {i.id for i in briefing.incidents} | {d.thread for d in sound.drafts}
        watch.asked_in_halt |= asked
        return CrewReply(drafts=tuple(d for d in sound.drafts if _is_a_step(d)))
    return sound


def _down(watch: Watch) -> dict[str, frozenset[str]]:
    """What the domains that are down explain; asked anew when an incident has changed."""
    incidents = watch.record.books.incidents
    if watch.down_of[0] != incidents.changes:
        watch.down_of = (incidents.changes, explained_by(incidents.values()))
    return watch.down_of[1]


def _is_a_step(draft: Draft) -> bool:
    """Something to be judged, and no word to people: those were called when the watch halted."""
    return not isinstance(draft.action, TicketOpen | NotifyPage)


def _call_a_person(watch: Watch, what: str, why: str) -> None:
    """Once an hour: what is still broken by then deserves another page."""
    watch.teller.page(
        f"crew:{what}:{watch.clock.now():%Y%m%dT%H}",
        "The crew failed and asked for nothing"
        if what == "raised"
        else "Part of what the crew answered was dropped",
        f"{why}. The watch goes on and verifies what is under way.",
    )


def repaired_of(watch: Watch, snapshot: Snapshot) -> dict[str, frozenset[str]]:
    """Each node's repairs of the last 7 days, by the incidents that they were for; since it was
    last replaced, where it was: another machine has the name since. Counted anew when a proposal
    has changed, and when the oldest of them is a week ago."""
    changes, until, known = watch.repairs_of
    if changes == watch.record.books.files.changes and snapshot.steady <= until:
        return known
    found: dict[str, set[str]] = {}
    new: set[str] = set()
    until = inf
    for file in watch.record.books.past():
        if file.effect is None or snapshot.steady - file.effect.started_steady > WEEK_S:
            continue
        until = min(until, file.effect.started_steady + WEEK_S)
        node = node_of(file.action)
        if kind_of(file.action) in REPAIRS and node and node not in new:
            found.setdefault(node, set()).add(file.proposal.incident or file.proposal.id)
        if kind_of(file.action) == "node.replace" and file.state is State.RECOVERED:
            new.add(node)
    repaired = {node: frozenset(ids) for node, ids in found.items()}
    watch.repairs_of = (watch.record.books.files.changes, until, repaired)
    return repaired


def denied_of(watch: Watch, snapshot: Snapshot) -> dict[tuple[str, str], str]:
    """(kind, gang) -> who said no to it within the hour, and when: the same step of another
    incident is the same question. Counted anew when a proposal has changed, and when the oldest of
    them is over."""
    changes, until, known = watch.denied_of
    files = watch.record.books.files
    if changes == files.changes and snapshot.steady <= until:
        return known
    found: dict[tuple[str, str], str] = {}
    until = inf
    for file in files.values():
        job = str(getattr(file.action, "job", ""))
        if file.state is not State.TURNED_DOWN or not job or not file.approvals:
            continue
        if snapshot.steady - file.changed_steady > DENIED_S:
            continue
        until = min(until, file.changed_steady + DENIED_S)
        last = file.approvals[-1]
        when = file.changed_at.astimezone(UTC)
        found[kind_of(file.action), job] = f"{last.person} said no to it at {when:%H:%M} UTC"
    watch.denied_of = (files.changes, until, found)
    return found


def _past(watch: Watch, snapshot: Snapshot) -> tuple[PastStep, ...]:
    """The disruptive steps of the last day, since a person last resumed. Waves go by them. Counted
    anew when a proposal or an incident has changed, and when the oldest of them is a day old."""
    books = watch.record.books
    changes = (books.files.changes, books.incidents.changes, books.resumed_at)
    known, until, steps = watch.past_of
    if known == changes and snapshot.steady <= until:
        return steps
    found = []
    until = inf
    for file in books.past():  # newest first
        effect = file.effect
        if effect is None or snapshot.steady - effect.started_steady > DAY_S:
            break
        until = effect.started_steady + DAY_S
        if books.resumed_at is not None and effect.started_at < books.resumed_at:
            break
        if file.state is State.REFUSED or not traits_of(file.action).disruptive:
            continue
        incident = books.incidents.get(file.proposal.incident)
        value = RESULT_OF[file.state][1] if file.state in RESULT_OF else "under_way"
        fault = incident.fault if incident is not None else ""
        found.append(PastStep(kind_of(file.action), fault, node_of(file.action), value))
    watch.past_of = (changes, until, tuple(reversed(found)))
    return watch.past_of[2]


def _undelivered(watch: Watch, busy: frozenset[str]) -> list[StepResult]:
    """The last ended Proposal of each thread, if its crew thread has not heard of it."""
    files = watch.record.books.files
    if watch.all_delivered_at == files.changes:
        return []
    watch.all_delivered_at = files.changes
    last: dict[str, File] = {f.thread: f for f in files.values()}
    if len(watch.delivered) > 2 * KEPT_CLOSED:
        watch.delivered &= files.keys()
    results = []
    for thread, file in last.items():
        if thread in busy or file.proposal.id in watch.delivered:
            continue
        watch.delivered.add(file.proposal.id)
        results.append(_result_of(file))
    return results


def _kept_result(watch: Watch, file: File) -> StepResult:
    """The same, made once for each state of a file: every turn asks for all of them."""
    known = watch.results.get(file.proposal.id)
    if known is None or known[0] is not file:
        known = watch.results[file.proposal.id] = (file, _result_of(file))
    return known[1]


def _result_of(file: File) -> StepResult:
    kind, value = RESULT_OF[file.state]
    verdict = file.verdict
    if file.state is State.DENIED and verdict is not None and _for_a_halt(verdict):
        value = "halted"
    return StepResult(
        thread=file.thread,
        proposal=file.proposal.id,
        action=file.action,
        kind=kind,
        value=value,
        says=file.why,
        refused_by="silence" if _silence_is_a_no(file) else verdict.refused_by if verdict else "",
        reason_ids=tuple(r.id for r in verdict.reasons) if verdict else (),
        under=file.under if file.state is State.DENIED else (),
    )


def _silence_is_a_no(file: File) -> bool:
    """Nobody answered, and the orders say what that means."""
    question = file.question
    return file.state is State.EXPIRED and question is not None and question.on_timeout == "deny"


def _for_a_halt(verdict: Verdict) -> bool:
    """Refused because the watch halted, whatever else was against it. It is told only after a
    person resumed, who has seen what was ill; so it is no answer to the step itself."""
    return any(r.id == "S9" for r in verdict.reasons if r.kind == "invariant")


def _history(watch: Watch) -> dict[str, tuple[StepResult, ...]]:
    """What each open incident's thread was told so far, oldest first, from the record; made anew
    when a proposal or an incident has changed."""
    books = watch.record.books
    written = (books.files.changes, books.incidents.changes)
    if watch.history_of[0] != written:
        watch.history_of = (written, _told_so_far(watch))
    return watch.history_of[1]


def _told_so_far(watch: Watch) -> dict[str, tuple[StepResult, ...]]:
    told: dict[str, list[StepResult]] = {}
    open_ids = {i.id for i in watch.record.books.open_incidents()}
    for file in watch.record.books.files.values():
        if file.thread in open_ids and not file.busy:
            told.setdefault(file.thread, []).append(_kept_result(watch, file))
    watch.results = {
        r.proposal: watch.results[r.proposal] for results in told.values() for r in results
    }
    return {thread: tuple(results) for thread, results in told.items()}


def conclude(watch: Watch, reply: CrewReply) -> None:
    """Take in what the crew thought, what it asked of models, and which of its threads are over."""
    for call in reply.calls:
        watch.record.write(Kind.MODEL_CALLED, (call.about,), call=plain(call))
    for thought in reply.thoughts:
        if watch.last_thought.get(thought.thread) != thought.text:
            watch.last_thought[thought.thread] = thought.text
            if len(watch.last_thought) > KEPT_CLOSED:
                del watch.last_thought[next(iter(watch.last_thought))]
            watch.record.write(
                Kind.NOTE, (thought.thread,), text=thought.text, by=thought.by, model=thought.model
            )
    for conclusion in reply.conclusions:
        incident = watch.record.books.incidents.get(conclusion.thread)
        if incident is not None and incident.is_open:
            _close(watch, incident, conclusion)


def _for_a_person(incident: Incident, conclusion: Conclusion) -> str:
    """What an escalation says: why, where to read on, and last a model's advice, as advice."""
    page, advice = cited(incident.fault), harmless(conclusion.advice)[:MOST_ADVICE]
    parts = [
        conclusion.why,
        f"Runbook: {page}." if page else "",
        f"A model's advice, which decides nothing: {advice}" if advice else "",
    ]
    return " ".join(part for part in parts if part)


def _close(watch: Watch, incident: Incident, conclusion: Conclusion) -> None:
    """Resolved only if telemetry does not say otherwise; escalated always reaches a person."""
    resolved = conclusion.end == "resolved"
    if (
        resolved
        and watch.latest is not None
        and still_ill(incident, watch.latest, watch.sense) is True
    ):
        return
    if not resolved and conclusion.end != "escalated":
        return
    ended = msgspec.structs.replace(
        incident,
        state=IncidentState.RESOLVED if resolved else IncidentState.ESCALATED,
        updated_at=watch.clock.now(),
        closed_because=conclusion.why,
    )
    watch.record.write(
        Kind.INCIDENT_CLOSED, (ended.id, ended.target), incident=plain(ended), durable=True
    )
    if not resolved:
        # A question that nobody answered has paged already; a second page would say the same.
        last = watch.record.books.last_of_thread(conclusion.thread)
        told = last is not None and last.state is State.EXPIRED
        hush.call(
            watch,
            hush.ESCALATION,
            f"escalated:{ended.id}",
            f"{ended.id} needs a person: {ended.title}",
            _for_a_person(ended, conclusion),
            (ended.id,),
            about=ended.id,
            page=conclusion.page and not told,
        )
