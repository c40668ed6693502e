"""A question as a person reads it: drawn from the record, never from a model's words."""

from __future__ import annotations

from watchkeeper.control.books import Books
from watchkeeper.control.life import State
from watchkeeper.control.papers import File, Question
from watchkeeper.core.action import (
    TRAITS,
    Action,
    JobPlace,
    JobRequeue,
    PoolReserve,
    PoolScale,
    kind_of,
    node_of,
    say,
    traits_of,
)
from watchkeeper.core.desk import Ask, AskStatus, Shown
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Answer, Decision, Verdict

_DOES = {
    "node.cordon": "{node} is fenced: nothing new lands on it.",
    "node.drain": "Work on {node} may finish for {deadline} s, then its raylet is ended.",
    "node.restart": "A new raylet starts under the name {node}.",
    "node.uncordon": "{node} returns to service.",
    "check.run": "A short real workload runs on {node} before it returns.",
    "job.requeue": "{job} starts again from its last checkpoint.",
    "gpu.quarantine": "GPU {gpu} of {node} is hidden; the other GPUs stay in service.",
}


_UNDO = {
    "job.requeue": "A gang that has started can be stopped; its last checkpoint stays.",
    "job.place": "A gang that has started can be stopped; its last checkpoint stays.",
    "job.preempt": "A stopped gang can be started again from its last checkpoint.",
    "pool.reserve": "`watchkeeper unreserve` gives it up before its time.",
}
"""The way back of what is done to no node, by the first step."""


def if_approved(shown: Shown) -> str:
    """What happens on a yes: each shown step in a sentence, then what it costs."""
    proposal = shown.proposal
    sentences = [_sentence(a) for a in (proposal.action, *proposal.plan)]
    foreseen = proposal.predicted.says() if proposal.predicted is not None else ""
    return " ".join([*dict.fromkeys(sentences), cost(shown.impact), foreseen]).strip()


def _sentence(action: Action) -> str:
    if isinstance(action, PoolScale):
        added = "1 node is" if action.add == 1 else f"{action.add} nodes are"
        return f"{added} added to {action.pool}."
    template = _DOES.get(kind_of(action))
    if template is None:
        return f"{say(action)}."
    fields = {name: getattr(action, name, "") for name in ("node", "gpu", "job")}
    return template.format(**fields, deadline=f"{getattr(action, 'deadline_s', 0):g}")


def cost(impact: Impact) -> str:
    """What is lost, in words: gangs, GPU-hours, age of the checkpoint."""
    if not impact.jobs:
        return "No running gang stops." if impact.nodes else ""
    names = ", ".join(impact.jobs)
    noun = "gang stops" if len(impact.jobs) == 1 else "gangs stop"
    age = impact.checkpoint_age_s
    since = (
        f"they repeat at most {_minutes(age)} of work"
        if age is not None
        else "checkpoint age unknown"
    )
    if len(impact.jobs) == 1:
        since = since.replace("they repeat", "it repeats")
    return f"{len(impact.jobs)} {noun} ({names}); {since}."


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def blast(impact: Impact, steps: tuple[Action, ...] = (), starts: float = 0.0) -> str:
    """The blast radius as a person counts it; also the bound that the approval is tied to.
    starts: GPUs of the gang that the steps start, 0 where it is not known."""
    if steps and all(isinstance(a, JobRequeue | JobPlace) for a in steps):
        return _starting(steps, starts)
    nodes, jobs = len(impact.nodes), len(impact.jobs)
    if steps and all(isinstance(a, PoolScale | PoolReserve) for a in steps) and not (nodes or jobs):
        return "No node goes out and nothing that runs is stopped."
    parts = [
        f"{nodes} node{'s' if nodes != 1 else ''}",
        f"up to {impact.gpus:g} GPUs",
        f"up to {jobs} job{'s' if jobs != 1 else ''}",
    ]
    text = ", ".join(parts) + "."
    if impact.pool_size:
        text += f" Makes {impact.pool_out_after} of {impact.pool_size} nodes out in {impact.pool}."
    return text


def _starting(steps: tuple[Action, ...], starts: float) -> str:
    """Of steps that only start gangs: they take nothing away, but they fill GPUs."""
    names = ", ".join(dict.fromkeys(a.job for a in steps if isinstance(a, JobRequeue | JobPlace)))
    held = f"{starts:g} GPUs of {names}" if starts else names
    again = " from the last checkpoint" if any(isinstance(a, JobRequeue) for a in steps) else ""
    return f"Starts {held}{again}. No node goes out and nothing that runs is stopped."


def undo_text(action: Action, plan: tuple[Action, ...]) -> str:
    """Can it be taken back?"""
    kinds = [kind_of(a) for a in (action, *plan)]
    if all(TRAITS[k].reversible for k in kinds):
        return f"Yes: {TRAITS[kinds[0]].undo}."
    if "node.drain" in kinds:
        return "A drain cannot be taken back; a new raylet takes the place of the old one."
    if kinds[0] in _UNDO:
        return _UNDO[kinds[0]]
    if any(TRAITS[k].scope in ("node", "gpu") for k in kinds):
        return "None. If it does not work it stays fenced and you are paged."
    return "None. If it does not work you are paged."


def ask_of(file: File, books: Books) -> Ask | None:
    """The question of one Proposal, waiting or answered; None if it was never asked."""
    question, verdict = file.question, file.verdict
    if question is None or verdict is None:
        return None
    proposal = file.proposal
    rule = next((r for r in verdict.reasons if r.says is Decision.ASK and r.binds), None)
    incident = books.incidents.get(proposal.incident)
    return Ask(
        id=proposal.id,
        title=title_of(proposal),
        why_now=proposal.reason,
        if_approved=question.if_approved,
        if_ignored=_ignored(file, question),
        blast=blast(question.shown.impact, (proposal.action, *proposal.plan), question.starts),
        undo=undo_text(proposal.action, proposal.plan),
        rule=rule.id if rule else "",
        rule_where=rule.where if rule else "",
        steps=tuple(say(a) for a in (proposal.action, *proposal.plan)),
        shown=question.shown,
        verdict=verdict,
        digest=question.digest,
        nonce=question.nonce,
        asked_at=question.asked_at,
        expires_at=question.expires_at,
        needs=question.needs,
        from_groups=who_may(question, escalated=proposal.id in books.escalated),
        approvals=tuple(a for a in file.approvals if a.answer is Answer.APPROVE),
        status=_status(file, verdict),
        typed_name=question.typed_name,
        incident_title=incident.title if incident else "",
    )


def who_may(question: Question, *, escalated: bool) -> tuple[str, ...]:
    """The groups whose people may answer, with those that were called later."""
    called = question.escalate_to if escalated and question.groups else ()
    return tuple(dict.fromkeys((*question.groups, *called)))


def title_of(proposal: Proposal) -> str:
    """The question in one line. A plan on one node names its hard steps: "Cordon, drain and
    restart train-02?", so that nobody takes a fence for all that is asked."""
    node = node_of(proposal.action)
    hard = [
        kind_of(a).partition(".")[2]
        for a in (proposal.action, *proposal.plan)
        if node and node_of(a) == node and traits_of(a).disruptive
    ]
    if len(hard) < 2:
        return f"{say(proposal.action)}?"
    verbs = f"{', '.join(hard[:-1])} and {hard[-1]}"
    return f"{verbs.capitalize()} {node}?"


def _ignored(file: File, question: Question) -> str:
    lapse = (
        f"At {question.expires_at:%H:%M} UTC this question lapses and pages."
        if question.on_timeout == "escalate"
        else f"At {question.expires_at:%H:%M} UTC this question lapses."
    )
    return f"{file.proposal.if_ignored} {lapse}".strip()


_STATUS = {
    State.ASKING: ("waiting", ""),
    State.CLEARED: ("approved", "Approved; it begins with the next look."),
    State.STARTED: ("approved", "Approved; under way."),
    State.ISSUED: ("approved", "Approved; being verified."),
    State.RECOVERED: ("done", "Done and verified."),
    State.WORSE: ("done", "Done, and it got worse."),
    State.FAILED: ("done", "Tried, and it failed."),
    State.IN_DOUBT: ("done", "In doubt: nobody could see how it ended."),
    State.REFUSED: ("void", "Approved, and refused at the last look."),
    State.TURNED_DOWN: ("denied", "Denied."),
    State.PUT_OFF: ("not_now", "Not now; it may be asked again."),
    State.EXPIRED: ("expired", "Nobody answered in time."),
    State.VOID: ("void", "Void."),
}


def _status(file: File, verdict: Verdict) -> AskStatus:
    state, text = _STATUS.get(file.state, ("void", verdict.because))
    last = file.approvals[-1] if file.approvals else None
    detail = f"{text} {file.why}".strip() if state not in ("waiting", "approved") else text
    return AskStatus(
        state=state,
        by=last.person if last else "",
        at=last.at if last else file.changed_at,
        text=detail,
    )
