"""From a Draft to a judged Proposal, and to the question that people are asked.

Pages and tickets go out at once; an action that no provider serves never becomes a Proposal.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from watchkeeper.control import hush
from watchkeeper.control.asking import if_approved
from watchkeeper.control.gate import as_approved, bound_of, impact_of, weigh
from watchkeeper.control.halting import halt
from watchkeeper.control.papers import Question
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import Action, NotifyPage, TicketOpen, kind_of, say, traits_of
from watchkeeper.core.crew import Draft, StepResult
from watchkeeper.core.desk import Shown
from watchkeeper.core.event import Kind
from watchkeeper.core.impact import generation, started_gpus
from watchkeeper.core.proposal import Effect, Predicted, Proposal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Decision, Obligations, Verdict
from watchkeeper.core.word import digest, plain
from watchkeeper.remedy.plan import RemedyView
from watchkeeper.remedy.verify import expected_effect


def propose(watch: Watch, snapshot: Snapshot, draft: Draft) -> Proposal | None:
    """Give a Draft its id, time and generation. Pages and tickets go out at once; an action that
    no provider serves becomes a ticket, never a Proposal that cannot run."""
    if isinstance(draft.action, TicketOpen | NotifyPage):
        _tell(watch, draft, draft.action)
        return None
    kind = kind_of(draft.action)
    if kind not in watch.serves:
        hush.call(
            watch,
            hush.PLANNER,
            f"unserved:{draft.thread}:{kind}",
            f"{say(draft.action)}: no provider serves {kind} here",
            draft.reason,
            (draft.incident,),
            about=_about(watch, draft),
        )
        watch.told_results.append(_told(draft, "outcome", "failed", f"no provider serves {kind}"))
        return None
    proposal = proposal_of(watch, snapshot, draft, watch.ids.new("P"))
    record_it(watch, snapshot, proposal, draft.thread)
    return proposal


def record_it(
    watch: Watch, snapshot: Snapshot, proposal: Proposal, thread: str, *, durable: bool = False
) -> None:
    """Write a new Proposal down with its impact. durable: before anybody is told of it."""
    watch.record.write(
        Kind.PROPOSED,
        (proposal.id, proposal.incident),
        durable=durable,
        proposal=plain(proposal),
        impact=plain(impact_of(proposal, snapshot, watch.policies.current())),
        thread=thread,
    )


def proposal_of(watch: Watch, snapshot: Snapshot, draft: Draft, ident: str) -> Proposal:
    """The Proposal that a Draft becomes, under this id. Records nothing."""
    books = watch.record.books
    action = as_approved(books, draft.incident, draft.action, snapshot.steady)
    return Proposal(
        id=ident,
        action=action,
        by=draft.by,
        reason=draft.reason,
        at=watch.clock.now(),
        world=snapshot.world,
        effect=draft.effect if action is draft.action else proof_of(action, snapshot),
        generation=generation(snapshot, action, books.policy_version),
        confidence=draft.confidence,
        incident=draft.incident,
        evidence=draft.evidence,
        plan=draft.plan,
        rung=draft.rung,
        if_ignored=draft.if_ignored,
        chosen=draft.chosen,
        predicted=_rehearsed(watch, snapshot, draft),
    )


def proof_of(action: Action, snapshot: Snapshot) -> Effect:
    """What must be seen for an action whose arguments people changed: never who asks says it."""
    return expected_effect(action, RemedyView(snapshot=snapshot, serves=frozenset()))


def _rehearsed(watch: Watch, snapshot: Snapshot, draft: Draft) -> Predicted | None:
    """What a model chose is played in the twin first, so that people see what it should do, and
    what it did can be held against that. It decides nothing."""
    if watch.rehearsal is None or draft.chosen is None:
        return None
    return watch.rehearsal.rehearse(snapshot, (draft.action, *draft.plan))


def _tell(watch: Watch, draft: Draft, action: TicketOpen | NotifyPage) -> None:
    key = f"{kind_of(action)}:{draft.thread}:{digest(action.title)[:8]}"
    became = hush.call(
        watch,
        hush.PLANNER,
        key,
        action.title,
        action.body or draft.reason,
        (draft.incident,),
        about=_about(watch, draft),
        page=isinstance(action, NotifyPage),
    )
    if became == "held":
        watch.told_results.append(_told(draft, "outcome", "refused", "people are called enough"))
    else:
        watch.told_results.append(_told(draft, "outcome", "recovered", "told"))


def _about(watch: Watch, draft: Draft) -> str:
    """The incident it is about; any name that a planner makes up counts as none."""
    return draft.incident if draft.incident in watch.record.books.incidents else ""


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
    if verdict.alert and not verdict.halts:  # a halt has called a person
        hush.call(
            watch,
            hush.ALERT,
            f"alert:{digest(verdict.alert)[:12]}",
            "The judge alerts",
            verdict.alert,
            (proposal.id, proposal.incident),
            about=proposal.incident,
            page=True,
        )
    return verdict


def ask_people_if_told_to(
    watch: Watch, snapshot: Snapshot, proposal: Proposal, verdict: Verdict
) -> None:
    """Put the question: what is shown, under which digest, to whom, until when."""
    if verdict.decision is not Decision.ASK:
        return
    if full := hush.may_ask(watch, proposal.incident):
        watch.record.write(
            Kind.WITHDRAWN, (proposal.id, proposal.incident), proposal=proposal.id, why=full
        )
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
        escalate_steady=None
        if duty.escalate_after_s is None
        else watch.clock.steady() + duty.escalate_after_s,
        escalate_to=duty.escalate_to,
        starts=started_gpus((proposal.action, *proposal.plan), snapshot),
    )
    watch.record.write(
        Kind.ASKED,
        (proposal.id, proposal.incident),
        proposal=proposal.id,
        question=msgspec.to_builtins(question),
        durable=True,
    )
    hush.call(
        watch,
        hush.QUESTION,
        f"ask:{proposal.id}",
        f"Waits for you: {say(proposal.action)}?",
        f"{proposal.reason} {watch.console_url}/a/{proposal.id}",
        (proposal.id, proposal.incident),
        about=proposal.incident,
    )


def judge_what_was_lifted(watch: Watch, snapshot: Snapshot) -> None:
    """Judge again, without the soft rules that a person lifted by break-glass."""
    for file in watch.record.books.lifted():
        watch.delivered.discard(file.proposal.id)  # the crew shall hear how it ended after all
        verdict = judge_it(watch, snapshot, file.proposal)
        ask_people_if_told_to(watch, snapshot, file.proposal, verdict)


def act(watch: Watch, snapshot: Snapshot) -> None:
    """Carry out what was allowed or approved, as the record (never Redis) says."""
    for file in watch.record.books.cleared():
        watch.executor.execute(file, snapshot)
