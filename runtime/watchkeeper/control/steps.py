"""The steps of one turn, each a function with one job. `turn.py` gives their order."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import msgspec

from watchkeeper.control.asking import if_approved
from watchkeeper.control.books import File, Question
from watchkeeper.control.gate import bound_of, ledger_view, weigh
from watchkeeper.control.life import State
from watchkeeper.control.look import stale
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import NotifyPage, TicketOpen, kind_of, say, traits_of
from watchkeeper.core.crew import Briefing, Conclusion, CrewReply, Draft, StepResult
from watchkeeper.core.desk import Shown
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.event import Kind
from watchkeeper.core.impact import generation, simulate
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.core.proposal import Proposal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Decision, Obligations, Verdict
from watchkeeper.core.word import canonical, digest, plain
from watchkeeper.health.correlate import correlate
from watchkeeper.health.illness import still_ill
from watchkeeper.health.sense import debounce, sense
from watchkeeper.policy.invariants import mass_unhealthy

BLIND_PAGE_S = 60.0
"""The cluster unreadable for this long wakes a person."""

DEMAND_EVERY_S = 10.0
CLEARED_FOR_S = 300.0
"""What was allowed or approved and could not begin within this time is asked for anew."""

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


def say_blind(watch: Watch) -> None:
    """The cluster was never read: nothing can be thought; after a while, wake a person."""
    now = watch.clock.steady()
    if watch.blind_since is None:
        watch.blind_since = now
    if now - watch.blind_since > BLIND_PAGE_S:
        watch.teller.page("blind", "The watch cannot see the cluster", watch.looker.ray_error)


def keep_orders(watch: Watch) -> None:
    """Stop latch, policy files and Redis copies: notice what people or accidents changed."""
    record = watch.record
    if watch.stop.is_set() and not record.books.orders.stopped:
        by, reason = watch.stop.who()
        record.write(Kind.STOPPED, by=by, reason=reason, durable=True)
        watch.teller.page(f"stopped:{record.journal.head[0]}", "The watch was stopped", f"By {by}.")
    elif record.books.orders.stopped and not watch.stop.is_set():
        # Only `resume` clears the latch; a deleted file does not.
        watch.stop.set(record.books.orders.stopped_by, record.books.orders.stop_reason)
    _keep_policy(watch)
    _keep_copies(watch)


def _keep_policy(watch: Watch) -> None:
    changed = watch.policies.changed(watch.clock.now())
    if changed is None:
        return
    policy, problems = changed
    if problems:
        text = "\n".join(str(p) for p in problems)
        watch.record.write(Kind.POLICY_REFUSED, problems=text, durable=True)
        watch.teller.page(
            f"policy:{digest(text)[:12]}", "The changed policy does not load", text[:2000]
        )
    elif policy is not None and policy.version != watch.record.books.policy_version:
        watch.record.write(
            Kind.POLICY_LOADED,
            (policy.version,),
            version=policy.version,
            files=dict(policy.sources),
            durable=True,
        )


def _keep_copies(watch: Watch) -> None:
    """After FLUSHALL, or on another server, copies are rebuilt from the books before any effect."""
    with contextlib.suppress(ClusterUnavailable):  # the telemetry source says so in the snapshot
        if watch.mirror.lost():
            publish_copies(watch)
            watch.record.write(
                Kind.REDIS_REBUILT, text="Redis had lost its copies; they were rebuilt."
            )


def know_the_session(watch: Watch, snapshot: Snapshot) -> None:
    """A new GCS session voids what was decided in the old one, and halts until fences and jobs
    are reconciled with the journal."""
    watch.latest = snapshot
    watch.blind_since = None
    record, session = watch.record, snapshot.state.session
    if session != record.books.session:
        before = record.books.session
        record.write(Kind.SESSION_CHANGED, session=session, before=before, durable=True)
        for file in [*record.books.waiting(), *record.books.cleared()]:
            _void(watch, file, "Ray was started anew; what was decided before is void")
        for file in record.books.in_hand():
            if file.effect and file.effect.session != session:
                _finish_lost(watch, file)
    if not record.books.reconciled and not stale(snapshot):
        fences = {f.node: f.name for f in snapshot.fences.values()}
        record.write(
            Kind.SESSION_RECONCILED,
            session=session,
            fences=fences,
            jobs=sorted(snapshot.jobs),
            durable=True,
        )


def _finish_lost(watch: Watch, file: File) -> None:
    watch.record.write(
        Kind.EFFECT_FINISHED,
        (file.proposal.id, file.proposal.incident),
        proposal=file.proposal.id,
        result="in_doubt",
        why="Ray was started anew before it could be verified",
        durable=True,
    )


def think(watch: Watch, snapshot: Snapshot) -> None:
    """Signals to incidents; series to forecasts. The same snapshot gives the same incidents."""
    books = watch.record.books
    arrived = watch.looker.take_signals()
    ours = tuple(s for s in arrived if s.world is snapshot.world)
    seen = sense(snapshot, watch.sense)
    derived, watch.sightings = debounce(seen, watch.sightings, snapshot.at)
    before = dict(books.incidents)
    signals = ours + derived
    after = correlate(tuple(before.values()), signals, snapshot, watch.ids, watch.sense)
    for incident in after:
        _note_incident(watch, before.get(incident.id), _in_its_stage(watch, incident))
    _foresee(watch, snapshot)


def _in_its_stage(watch: Watch, incident: Incident) -> Incident:
    """Open, acting or verifying, by what is in hand for it."""
    if not incident.is_open:
        return incident
    states = {f.state for f in watch.record.books.of_incident(incident.id)}
    stage = IncidentState.OPEN
    if states & {State.CLEARED, State.STARTED}:
        stage = IncidentState.ACTING
    elif State.ISSUED in states:
        stage = IncidentState.VERIFYING
    return msgspec.structs.replace(incident, state=stage)


def _note_incident(watch: Watch, old: Incident | None, new: Incident) -> None:
    if old is not None and msgspec.structs.replace(new, updated_at=old.updated_at) == old:
        return
    kind = Kind.INCIDENT_CHANGED
    if old is None:
        kind = Kind.INCIDENT_OPENED
    elif old.is_open and not new.is_open:
        kind = Kind.INCIDENT_CLOSED
    watch.record.write(kind, (new.id, new.target), incident=plain(new))


def _foresee(watch: Watch, snapshot: Snapshot) -> None:
    if stale(snapshot):
        return
    if snapshot.steady - watch.demand_recorded_at >= DEMAND_EVERY_S:
        watch.demand_recorded_at = snapshot.steady
        try:
            watch.mirror.record_demand(snapshot.state)
        except ClusterUnavailable:
            return
    for forecast in watch.forecaster.collect(snapshot.state, snapshot.at):
        watch.record.write(Kind.FORECAST, (f"pool:{forecast.pool}",), forecast=plain(forecast))


def halt_if_too_many_are_ill(watch: Watch, snapshot: Snapshot) -> None:
    """Too many unhealthy at once is a sensor or facility fault: halt and page (S9)."""
    books = watch.record.books
    if books.halted:
        return
    why = mass_unhealthy(ledger_view(books, snapshot))
    if why:
        halt(watch, why)


def halt(watch: Watch, why: str) -> None:
    """Stop acting alone until a person resumes. The page goes out even if nothing else works."""
    watch.teller.page(
        f"halt:{watch.record.journal.head[0]}",
        "The watch has halted and needs a person",
        f"{why} Nothing is repaired until somebody resumes the watch.",
    )
    watch.record.write(Kind.HALTED, why=why, durable=True)


def end_stale_questions(watch: Watch, snapshot: Snapshot) -> None:
    """Questions and permissions lapse: by time, by drift, or because the trouble is over."""
    books = watch.record.books
    version = books.policy_version
    for file in books.cut_short():
        _void(watch, file, "the watch ended before it was judged or asked")
    for file in [*books.waiting(), *books.cleared()]:
        question = file.question
        incident = books.incidents.get(file.proposal.incident)
        drifted = generation(snapshot, file.action, version) != file.proposal.generation
        if incident is not None and not incident.is_open:
            _void(watch, file, f"{incident.id} is closed: {incident.closed_because}")
        elif question is not None and snapshot.steady >= question.expires_steady:
            _expire(watch, file, question)
        elif drifted and not stale(snapshot):
            _void(watch, file, "the target, its jobs, its domain or the policy changed")
        elif file.state is State.CLEARED and snapshot.steady - file.changed_steady > CLEARED_FOR_S:
            _void(watch, file, "it could not begin in time")


def _void(watch: Watch, file: File, why: str) -> None:
    kind = Kind.APPROVAL_VOID if file.question else Kind.WITHDRAWN
    watch.record.write(
        kind,
        (file.proposal.id, file.proposal.incident),
        proposal=file.proposal.id,
        why=why,
        durable=True,
    )


def _expire(watch: Watch, file: File, question: Question) -> None:
    ident = file.proposal.id
    watch.record.write(
        Kind.APPROVAL_EXPIRED, (ident, file.proposal.incident), proposal=ident, durable=True
    )
    if question.on_timeout == "escalate":
        watch.teller.page(
            f"expired:{ident}",
            f"Nobody answered: {say(file.action)}?",
            f"{file.proposal.reason} {file.proposal.if_ignored}",
            (ident, file.proposal.incident),
        )


def ask_the_crew(watch: Watch, snapshot: Snapshot) -> CrewReply:
    """Hand the crew its briefing. On a stale snapshot, stopped or halted, there is none."""
    books = watch.record.books
    if stale(snapshot) or books.orders.stopped or books.halted:
        return CrewReply()
    busy = frozenset(f.thread for f in books.files.values() if f.busy)
    results = (*watch.told_results, *_undelivered(watch, busy))
    watch.told_results.clear()
    return watch.crew.ask(
        Briefing(
            snapshot=snapshot,
            incidents=books.open_incidents(),
            forecasts=dict(books.forecasts),
            results=results,
            busy=busy,
            serves=watch.serves,
            checked=dict(books.checked),
            history=_history(watch),
        )
    )


def _undelivered(watch: Watch, busy: frozenset[str]) -> list[StepResult]:
    """The last ended Proposal of each thread, if its crew thread has not heard of it."""
    last: dict[str, File] = {f.thread: f for f in watch.record.books.files.values()}
    results = []
    for thread, file in last.items():
        if thread in busy or file.proposal.id in watch.delivered:
            continue
        watch.delivered.add(file.proposal.id)
        results.append(_result_of(file))
    return results


def _result_of(file: File) -> StepResult:
    kind, value = RESULT_OF[file.state]
    verdict = file.verdict
    return StepResult(
        thread=file.thread,
        proposal=file.proposal.id,
        action=file.action,
        kind=kind,
        value=value,
        says=file.why,
        refused_by=verdict.refused_by if verdict else "",
        reason_ids=tuple(r.id for r in verdict.reasons) if verdict else (),
    )


def _history(watch: Watch) -> dict[str, tuple[StepResult, ...]]:
    """What each open incident's thread was told so far, oldest first, from the record."""
    told: dict[str, list[StepResult]] = {}
    open_ids = {i.id for i in watch.record.books.open_incidents()}
    for file in watch.record.books.files.values():
        if file.thread in open_ids and not file.busy:
            told.setdefault(file.thread, []).append(_result_of(file))
    return {thread: tuple(results) for thread, results in told.items()}


def propose(watch: Watch, snapshot: Snapshot, draft: Draft) -> Proposal | None:
    """Give a Draft its id, time and generation. Pages and tickets go out at once; an action that
    no provider serves becomes a ticket, never a Proposal that cannot run."""
    if isinstance(draft.action, TicketOpen | NotifyPage):
        _tell(watch, draft, draft.action)
        return None
    kind = kind_of(draft.action)
    if kind not in watch.serves:
        watch.teller.ticket(
            f"unserved:{draft.thread}:{kind}",
            f"{say(draft.action)}: no provider serves {kind} here",
            draft.reason,
            (draft.incident,),
        )
        watch.told_results.append(_told(draft, "outcome", "failed", f"no provider serves {kind}"))
        return None
    proposal = Proposal(
        id=watch.ids.new("P"),
        action=draft.action,
        by=draft.by,
        reason=draft.reason,
        at=watch.clock.now(),
        world=snapshot.world,
        effect=draft.effect,
        generation=generation(snapshot, draft.action, watch.record.books.policy_version),
        confidence=draft.confidence,
        incident=draft.incident,
        evidence=draft.evidence,
        plan=draft.plan,
        rung=draft.rung,
        if_ignored=draft.if_ignored,
    )
    watch.record.write(
        Kind.PROPOSED,
        (proposal.id, proposal.incident),
        proposal=plain(proposal),
        impact=plain(simulate(snapshot, proposal.action)),
        thread=draft.thread,
    )
    return proposal


def _tell(watch: Watch, draft: Draft, action: TicketOpen | NotifyPage) -> None:
    key = f"{kind_of(action)}:{draft.thread}:{digest(action.title)[:8]}"
    send = watch.teller.page if isinstance(action, NotifyPage) else watch.teller.ticket
    send(key, action.title, action.body or draft.reason, (draft.incident,))
    watch.told_results.append(_told(draft, "outcome", "recovered", "told"))


def _told(draft: Draft, kind: str, value: str, says: str) -> StepResult:
    return StepResult(
        thread=draft.thread, proposal="", action=draft.action, kind=kind, value=value, says=says
    )


def judge_it(watch: Watch, snapshot: Snapshot, proposal: Proposal) -> Verdict:
    """Judge, and journal the verdict with its exact inputs."""
    books = watch.record.books
    weighed = weigh(proposal, snapshot, books, watch.policies.current(), watch.clock)
    verdict = weighed.verdict
    watch.record.write(
        Kind.VERDICT,
        (proposal.id, proposal.incident),
        proposal=proposal.id,
        verdict=plain(verdict),
        input=weighed.inputs,
    )
    if verdict.halts and not books.halted:
        halt(watch, verdict.because)
    if verdict.alert:
        watch.teller.page(
            f"alert:{digest(verdict.alert)[:12]}", "The judge alerts", verdict.alert
        )
    return verdict


def ask_people_if_told_to(
    watch: Watch, snapshot: Snapshot, proposal: Proposal, verdict: Verdict
) -> None:
    """Put the question: what is shown, under which digest, to whom, until when."""
    if verdict.decision is not Decision.ASK:
        return
    incident = watch.record.books.incidents.get(proposal.incident)
    shown = Shown(
        proposal=proposal,
        impact=bound_of((proposal.action, *proposal.plan), snapshot),
        evidence=tuple(s for s in incident.signals if s.id in proposal.evidence)
        if incident
        else (),
        policy_version=verdict.policy_version,
    )
    duty = verdict.obligations or Obligations()
    harmful = any(
        traits_of(a).disruptive and not traits_of(a).reversible
        for a in (proposal.action, *proposal.plan)
    )
    now = watch.clock.now()
    question = Question(
        shown=shown,
        digest=digest(shown),
        nonce=watch.ids.secret(),
        asked_at=now,
        expires_at=now + timedelta(seconds=duty.expires_s),
        expires_steady=watch.clock.steady() + duty.expires_s,
        needs=duty.quorum,
        groups=duty.groups,
        on_timeout=duty.on_timeout,
        if_approved=if_approved(shown),
        typed_name=str(getattr(proposal.action, "node", "")) if harmful else "",
    )
    watch.record.write(
        Kind.ASKED,
        (proposal.id, proposal.incident),
        proposal=proposal.id,
        question=msgspec.to_builtins(question),
        durable=True,
    )
    watch.teller.ticket(
        f"ask:{proposal.id}",
        f"Waits for you: {say(proposal.action)}?",
        f"{proposal.reason} {watch.console_url}/a/{proposal.id}",
        (proposal.id, proposal.incident),
    )


def conclude(watch: Watch, reply: CrewReply) -> None:
    """Take in what the crew thought, and which of its threads are over."""
    for thought in reply.thoughts:
        if watch.last_thought.get(thought.thread) != thought.text:
            watch.last_thought[thought.thread] = thought.text
            watch.record.write(
                Kind.NOTE, (thought.thread,), text=thought.text, by=thought.by, model=thought.model
            )
    for conclusion in reply.conclusions:
        incident = watch.record.books.incidents.get(conclusion.thread)
        if incident is not None and incident.is_open:
            _close(watch, incident, conclusion)


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
        send = watch.teller.page if conclusion.page and not told else watch.teller.ticket
        title = f"{ended.id} needs a person: {ended.title}"
        send(f"escalated:{ended.id}", title, conclusion.why, (ended.id,))


def act(watch: Watch, snapshot: Snapshot) -> None:
    """Carry out what was allowed or approved, as the record (never Redis) says."""
    for file in watch.record.books.cleared():
        watch.executor.execute(file, snapshot)


def publish(watch: Watch, snapshot: Snapshot) -> None:
    """Make the turn durable and refresh the readers' copies."""
    watch.latest = snapshot
    watch.record.journal.sync()
    with contextlib.suppress(ClusterUnavailable):
        publish_copies(watch)  # else readers of Redis see stale copies; the record stands


def publish_copies(watch: Watch) -> None:
    """Incidents, orders, questions and the journal's head, as Redis readers see them."""
    books = watch.record.books
    seq, head = watch.record.journal.head
    copies = {
        "incidents": canonical(list(books.incidents.values())[-100:]),
        "orders": canonical({"orders": plain(books.orders), "halted": books.halted}),
        "approvals": canonical([f.proposal.id for f in books.waiting()]),
        "ledger": canonical({f.proposal.id: f.state.value for f in books.files.values()}),
        "journal_head": canonical({"seq": seq, "hash": head}),
    }
    for name, value in copies.items():
        watch.mirror.publish(name, value)
