"""A person asks for something else than what is asked: preview it, then let the turn ask it.

A preview is judged by the policy in force and leaves no trace. Asking is done by the turn alone,
which is the only one that makes Proposals: a door leaves its request and waits for the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from watchkeeper.control.asking import ask_of, blast, if_approved
from watchkeeper.control.gate import bound_of, weigh
from watchkeeper.control.left import WAIT_S, Left, await_turn, take_up
from watchkeeper.control.life import State
from watchkeeper.control.papers import File
from watchkeeper.control.propose import ask_people_if_told_to, judge_it, proof_of, record_it
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import Action, say
from watchkeeper.core.amend import Amendment, amended, narrows, steps_of
from watchkeeper.core.desk import Person, Shown
from watchkeeper.core.errors import Refused
from watchkeeper.core.event import Kind
from watchkeeper.core.impact import generation, started_gpus
from watchkeeper.core.proposal import Proposal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Decision, Verdict
from watchkeeper.core.word import digest, plain

CHANGED = "What you saw is not what is asked now. Read it again."


@dataclass(eq=False)
class Request(Left):
    """One change that a door left for the turn. Ends with `made`, the new question's id, or with
    `refused`, why there is none."""

    proposal: str
    steps: tuple[Action, ...]
    person: Person
    made: str = ""


def preview(watch: Watch, proposal: str, given: Mapping[str, str], person: Person) -> Amendment:
    """What policy says of the change, and who would have to approve it. Raises Refused (there is
    no such question, or it waits no more) and Malformed (a value that the schema refuses)."""
    with watch.record.lock:
        file, seen = _waiting(watch, proposal)
        assert file.question is not None
        steps = amended(file.proposal, given)
        changed = _changed(watch, file.proposal, steps, person, seen, ident=proposal)
        policy = watch.policies.current()
        verdict = weigh(changed, seen, watch.record.books, policy, watch.clock).verdict
        shown = Shown(
            proposal=changed,
            impact=bound_of(steps, seen),
            evidence=file.question.shown.evidence,
            policy_version=verdict.policy_version,
        )
        return Amendment(
            proposal=proposal,
            steps=tuple(say(s) for s in steps),
            narrows=changed.by == file.proposal.by,
            by=changed.by,
            impact=shown.impact,
            blast=blast(shown.impact, steps, started_gpus(steps, seen)),
            if_approved=if_approved(shown),
            verdict=verdict,
            digest=_digest(file, steps),
            says=means(verdict, kept=changed.by == file.proposal.by),
        )


def means(verdict: Verdict, *, kept: bool) -> str:
    """What asking for a change would mean for who asks."""
    if verdict.decision is Decision.DENY:
        return f"Policy refuses this: {verdict.because}. Nothing can be asked."
    whose = (
        "This is less than what was asked, so it stays the same request"
        if kept
        else "This is not less than what was asked, so it becomes your own request"
    )
    if verdict.decision is Decision.ALLOW:
        return f"{whose}. Policy allows it without a question: it begins with the next look."
    duty = verdict.obligations
    who = " or ".join(g.removeprefix("group:") for g in duty.groups) if duty else ""
    if kept:
        return f"{whose}. You may approve it{f', if you are of {who}' if who else ''}."
    return f"{whose}. You may not approve it: another person{f' of {who}' if who else ''} must."


def amend(
    watch: Watch, proposal: str, given: Mapping[str, str], person: Person, shown: str
) -> Request:
    """Leave the change for the turn. `shown`: the digest of its preview. Raises as `preview`, and
    Refused where the question, or what would come of it, is not what was shown."""
    if person.name.startswith("agent:"):
        raise Refused("Agents change no question (S15).")
    seen = preview(watch, proposal, given, person)
    if seen.digest != shown:
        raise Refused(CHANGED)
    if not seen.may_be_asked:
        raise Refused(seen.says)
    with watch.record.lock:
        file, _ = _waiting(watch, proposal)
        request = Request(proposal, amended(file.proposal, given), person)
        watch.amendments.append(request)
        return request


def answer_of(watch: Watch, request: Request, timeout_s: float = WAIT_S) -> str:
    """The new question's id, once the turn has made it. Raises Refused; then nothing was asked."""
    await_turn(watch.record.lock, watch.amendments, request, "Nothing was changed", timeout_s)
    if not request.made:
        raise Refused(request.refused or "Nothing was changed.")
    return request.made


def ask_what_was_amended(watch: Watch, snapshot: Snapshot) -> None:
    """A step of the turn: withdraw each question that a person changed, and ask the other."""

    def ask(request: Request) -> None:
        request.made = _ask_instead(watch, snapshot, request)

    take_up(watch.record.lock, watch.amendments, ask)


def _ask_instead(watch: Watch, snapshot: Snapshot, request: Request) -> str:
    with watch.record.lock:
        file, _ = _waiting(watch, request.proposal)
        proposal = _changed(
            watch, file.proposal, request.steps, request.person, snapshot, watch.ids.new("P")
        )
        subject = (file.proposal.id, proposal.incident, proposal.id)
        watch.record.write(
            Kind.WITHDRAWN,
            subject,
            proposal=file.proposal.id,
            by=request.person.name,
            instead=proposal.id,
            why=f"{request.person.name} changed it: {proposal.id} is asked instead.",
        )
        record_it(watch, snapshot, proposal, file.thread, durable=True)
        verdict = judge_it(watch, snapshot, proposal)
        ask_people_if_told_to(watch, snapshot, proposal, verdict)
        return proposal.id


def _changed(
    watch: Watch,
    asked: Proposal,
    steps: tuple[Action, ...],
    person: Person,
    snapshot: Snapshot,
    ident: str,
) -> Proposal:
    """The same request with other steps. Who narrows it does not become its requester."""
    kept = narrows(steps_of(asked), steps)
    return msgspec.structs.replace(
        asked,
        id=ident,
        action=steps[0],
        plan=steps[1:],
        by=asked.by if kept else f"person:{person.name}",
        effect=proof_of(steps[0], snapshot),
        at=watch.clock.now(),
        generation=generation(snapshot, steps[0], watch.record.books.policy_version),
    )


def _waiting(watch: Watch, proposal: str) -> tuple[File, Snapshot]:
    books = watch.record.books
    file = books.files.get(proposal)
    ask = ask_of(file, books) if file else None
    if file is None or ask is None:
        raise Refused(f"There is no question {proposal}.")
    if file.state is not State.ASKING or file.question is None:
        raise Refused(ask.status.decided)
    if file.approvals:
        raise Refused(f"{file.approvals[0].person} answered it already. Answer it, or deny it.")
    if watch.clock.steady() >= file.question.expires_steady:
        raise Refused("The question has expired.")
    if watch.latest is None:
        raise Refused("The cluster was not read yet; wait for the first turn.")
    return file, watch.latest


def _digest(file: File, steps: tuple[Action, ...]) -> str:
    """Of what a person sees when they ask: the question it was drawn from, and the new steps."""
    assert file.question is not None
    return digest([file.question.digest, [plain(s) for s in steps]])
