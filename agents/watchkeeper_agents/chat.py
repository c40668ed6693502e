"""Answers a person's question from the record, by rules. It does nothing: orders are read by
`chat_orders`, and come here only where they were not understood.

Asked by the desk with what the first page shows and the newest lines of the log; text in the
question only selects what is quoted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from watchkeeper.core.desk import Board, JobView, LogLine, NodeView, PoolView
from watchkeeper_agents import chat_past

_ORDERS = (
    "approve", "deny", "restart", "drain", "reboot", "cordon", "uncordon", "quarantine", "requeue",
    "scale", "stop", "resume", "halt", "kill", "allow", "replace", "reset",
)  # fmt: skip
_WORD = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_IDENT = re.compile(r"(?:p|inc)-\d+")
_DECIDING = {
    "denied", "approved", "answered", "decided", "reviewed", "lifted", "stopped", "resumed",
    "halted", "deny", "approve", "answer",
}  # fmt: skip
_CAN = {"what", "can", "you"}
_QUOTED = 4
"""Lines of the log quoted in one answer."""


@dataclass(frozen=True, eq=False, slots=True)
class ChatFacts:
    """What an answer may rest on: the first page, and the newest lines of the log."""

    board: Board
    log: tuple[LogLine, ...]


def answer(question: str, facts: ChatFacts) -> str:
    """A few plain sentences, each from the record; the same facts always give the same answer."""
    asked = " ".join(question.lower().split())
    words = _WORD.findall(asked)
    if not words:
        return _help()
    if words[0] in _ORDERS or (words[0] == "please" and len(words) > 1 and words[1] in _ORDERS):
        return (
            "I do not understand this order, and nothing was done. I know: cordon, drain, restart, "
            "reboot, replace or check NODE; put NODE back; requeue or preempt GANG; 2 more nodes "
            "for POOL; leave NODE, rack RACK or pool POOL alone until 07:00; dial down to ask; "
            "stop. Questions that wait have buttons of their own."
        )
    if "demand" in words or "forecast" in words:
        return _demand(asked, words, facts)
    if past := _past(asked, set(words), facts):
        return past
    if "why" in words:
        if "my" in words and {"job", "jobs", "gang"} & set(words) and not _subjects(words, facts):
            return _line(facts.board)
        return _why(words, facts)
    if {"queue", "line", "waits", "waiting"} & set(words):
        return _line(facts.board)
    if {"regret", "planned", "plan"} & set(words):
        return _looked_back(facts.board)
    for node in facts.board.nodes:
        if node.name.lower() in words:
            return _node(node)
    for job in facts.board.jobs:
        if job.name.lower() in words:
            return _job(job, facts)
    if {"wrong", "status", "happening", "ok", "healthy", "broken", "up"} & set(words):
        return _wrong(facts.board)
    if set(words) >= _CAN or "help" in words:
        return _help()
    return f"I did not understand that. {_help()}"


def _past(asked: str, words: set[str], facts: ChatFacts) -> str:
    """What happened, was done, is written, and is left of it; "" for anything else."""
    named = _subjects(list(words), facts)
    if {"cost", "costs", "costed", "spend", "spent", "money", "bill", "price", "prices"} & words:
        return chat_past.cost()
    if "who" in words and _DECIDING & words:
        ids = {w for w in words if _IDENT.fullmatch(w)}
        if told := chat_past.who(named | ids, words, facts.log):
            return told
    if {"happened", "happen", "night", "did", "done"} & words and not named:
        return chat_past.happened(asked, facts.board, facts.log)
    if "shadow" in words or ({"policy", "rule", "rules"} & words and {"change", "changes"} & words):
        return chat_past.shadow(facts.board)
    if {"left", "budget", "budgets", "limit", "limits"} & words and not named:
        return chat_past.left(facts.board)
    if {"waits", "waiting", "pending", "approvals", "questions"} & words and {
        "me", "us", "approvals", "questions", "people", "person",
    } & words:  # fmt: skip
        return chat_past.waits_for_people(facts.board)
    return ""


def answer_from(question: str, board: Board, log: tuple[LogLine, ...]) -> str:
    """`answer`, in the shape in which the desk asks."""
    return answer(question, ChatFacts(board, log))


def _help() -> str:
    return (
        "I can answer from the record: what is wrong; what waits for me; what happened last night; "
        "why did something happen to a node, job or incident; why does a job wait; who waits; what "
        "was planned and what was needed; demand at 14:00 or in 2 hours; what is left of the "
        "budgets; what the rules in shadow would change; who approved or denied P-1."
    )


def _wrong(board: Board) -> str:
    said = []
    if board.orders.stopped:
        by, why = board.orders.stopped_by or "somebody", board.orders.stop_reason or "not given"
        said.append(f"The watch is stopped by {by}. Reason: {why.rstrip('.')}.")
    if board.halted:
        said.append(f"The watch halted itself: {board.halted.rstrip('.')}.")
    if not board.health.ready:
        said.append(f"It is not ready: {board.health.why_not_ready.rstrip('.')}.")
    ill = sorted((n for n in board.nodes if n.state != "healthy"), key=lambda n: (n.rank, n.name))
    said += [_node(n) for n in ill[:5]]
    if len(ill) > 5:
        said.append(f"{len(ill) - 5} more nodes are not healthy.")
    stopped = [j.name for j in board.jobs if j.state == "stopped"]
    if stopped:
        said.append(f"Stopped gangs: {', '.join(stopped[:8])}.")
    said += [
        f"{p.pending_gpus:g} GPUs wait in {p.pool}." for p in board.pools if p.pending_gpus > 0
    ]
    if board.waiting:
        titles = "; ".join(f"{a.id}: {a.title}" for a in board.waiting[:4])
        count = len(board.waiting)
        said.append(
            f"{count} question{'s wait' if count != 1 else ' waits'} for a person: {titles}."
        )
    if not said:
        said.append(f"Nothing that we can see: all {len(board.nodes)} nodes are healthy.")
    if board.last_reading_s is not None:
        said.append(f"The last reading is {board.last_reading_s:.0f} s old.")
    return " ".join(said)


def _node(node: NodeView) -> str:
    what = f": {node.what.rstrip('.')}" if node.what else ""
    incident = f" ({node.incident})" if node.incident else ""
    source = (
        " GPU values there are simulated." if node.simulated and node.state != "healthy" else ""
    )
    return f"{node.name} is {node.state}{what}{incident}.{source}"


def _job(job: JobView, facts: ChatFacts) -> str:
    if job.state == "waiting":
        return _why_waits(job, facts)
    said = f"{job.name} is {job.state}, attempt {job.attempt}, {job.gpus:g} GPUs"
    said += f" on {', '.join(job.nodes)}" if job.nodes else ""
    if job.step is not None:
        said += f", at step {job.step}"
    if job.checkpoint_step is not None:
        said += f"; its last checkpoint is step {job.checkpoint_step}"
    return f"{said}."


def _why(words: list[str], facts: ChatFacts) -> str:
    jobs = [j for j in facts.board.jobs if j.name.lower() in words]
    if jobs and jobs[0].state == "waiting":
        return _why_waits(jobs[0], facts)
    subjects = _subjects(words, facts)
    if not subjects:
        known = "a node, a gang, an incident or a proposal"
        return (
            f"I did not understand what that is about. Name {known} that the record knows, and I "
            f"quote what it says. {_help()}"
        )
    said = [
        f"{a.id}: {a.why_now} Rule {a.rule_where or a.rule}."
        for a in facts.board.waiting
        if {a.id.lower(), a.shown.proposal.incident.lower()} & subjects
        or {n.lower() for n in a.shown.impact.nodes} & subjects
    ]
    lines = [line for line in facts.log if _about(line, subjects)]
    said += [chat_past.quote(line) for line in lines[-_QUOTED:]]
    return " ".join(said) or f"The newest lines of the log say nothing about {sorted(subjects)[0]}."


def _why_waits(job: JobView, facts: ChatFacts) -> str:
    said = [job.why_waits or f"{job.name} waits for {job.gpus:g} GPUs."]
    for pool in facts.board.pools:
        if pool.pending_gpus > 0:
            free = max(0.0, pool.total_gpus - pool.running_gpus)
            said.append(
                f"{pool.pool} has {pool.nodes} nodes, {pool.out} of them out; {free:g} of "
                f"{pool.total_gpus:g} GPUs are not in use; {pool.pending_gpus:g} are waited for."
            )
    lines = [line for line in facts.log if _about(line, {job.name.lower()})]
    said += [chat_past.quote(line) for line in lines[-2:]]
    return " ".join(said)


def _line(board: Board) -> str:
    """Who waits, and for what."""
    waiting = [j for j in board.jobs if j.state == "waiting"]
    if not waiting:
        return "No gang waits."
    said = [j.why_waits or f"{j.name} waits for {j.gpus:g} GPUs." for j in waiting[:_QUOTED]]
    if len(waiting) > _QUOTED:
        said.append(f"{len(waiting) - _QUOTED} more wait.")
    return " ".join(said)


def _looked_back(board: Board) -> str:
    """What earlier plans were worth."""
    said = [f"{p.pool}: {text}" for p in board.pools for text in p.looked_back]
    return " ".join(said) or "No plan of an hour is over yet, so nothing was held against it."


def _subjects(words: list[str], facts: ChatFacts) -> set[str]:
    """Names in the question that the record knows, in lower case."""
    known = {n.name.lower() for n in facts.board.nodes}
    known |= {j.name.lower() for j in facts.board.jobs}
    known |= {p.pool.lower() for p in facts.board.pools}
    known |= {a.id.lower() for a in facts.board.waiting}
    known |= {line.incident.lower() for line in facts.log if line.incident}
    known |= {line.proposal.lower() for line in facts.log if line.proposal}
    return known & set(words)


def _about(line: LogLine, subjects: set[str]) -> bool:
    # Questions and answers are left out: an answer must not become its own source.
    if line.kind == "You asked":
        return False
    if {line.incident.lower(), line.proposal.lower()} & subjects:
        return True
    return bool(set(_WORD.findall(line.text.lower())) & subjects)


def _demand(asked: str, words: list[str], facts: ChatFacts) -> str:
    pools = [p for p in facts.board.pools if p.pool.lower() in words] or list(facts.board.pools)
    if not pools:
        return "No demand was recorded yet."
    ahead = _ahead_s(asked, facts.board.at)
    return " ".join(_outlook(p, ahead, facts.board.at) for p in pools[:6])


def _outlook(pool: PoolView, ahead_s: float, at: datetime) -> str:
    now = f"{pool.pool}: {pool.running_gpus:g} GPUs run and {pool.pending_gpus:g} wait now"
    if not pool.horizons_s:
        return f"{now}; there is no forecast yet. {pool.forecast_why}".strip()
    i = min(range(len(pool.horizons_s)), key=lambda k: abs(pool.horizons_s[k] - ahead_s))
    nearest = pool.horizons_s[i]
    when = at + timedelta(seconds=nearest)
    said = (
        f"{now}; at {when:%H:%M} UTC, {nearest / 3600:g} h ahead, {pool.p50[i]:.0f} are expected "
        f"({pool.p10[i]:.0f} to {pool.p90[i]:.0f} in 8 of 10 cases), of {pool.total_gpus:g}. "
        f"Method: {pool.forecast_method}. {pool.forecast_why}"
    )
    if ahead_s > max(pool.horizons_s):
        said += f" The forecast reaches no further than {max(pool.horizons_s) / 3600:g} h."
    return said


def _ahead_s(asked: str, at: datetime) -> float:
    """How far ahead the question asks, in seconds; an hour when it does not say."""
    if found := re.search(r"in (\d{1,3}) ?(min|m\b|hour|h\b|day|d\b)", asked):
        unit = {"m": 60.0, "h": 3600.0, "d": 86400.0}[found[2][0]]
        return int(found[1]) * unit
    if found := re.search(r"at (\d{1,2})(?::(\d{2}))?", asked):
        hour, minute = int(found[1]), int(found[2] or 0)
        if hour < 24 and minute < 60:
            then = at.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return ((then - at).total_seconds()) % 86400
    return 86400.0 if "tomorrow" in asked else 3600.0
