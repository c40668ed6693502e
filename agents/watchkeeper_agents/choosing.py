"""How far a reasoner's choice reaches in one thread: which options it is given, and how long it may
hold back what the rules would do.

A model can make a step later, by a bound, or gentler, by one rung. When its time is up, when policy
refused what it chose, or when it has nothing to say, the rules choose.
"""

from __future__ import annotations

import msgspec

from watchkeeper.core.action import NodeCordon, NodeDrain, TicketOpen, kind_of, say
from watchkeeper.core.crew import Draft
from watchkeeper.core.incident import Incident
from watchkeeper.remedy.plan import RemedyView, Step
from watchkeeper.remedy.runbook import cited
from watchkeeper.remedy.verify import expected_effect
from watchkeeper_agents.reasoner import (
    ESCALATE,
    GENTLER,
    STEP,
    TICKET,
    WAIT,
    Option,
    Pick,
    Question,
    Reasoner,
    Rules,
    decide,
)
from watchkeeper_agents.tools import Tools
from watchkeeper_agents.words import Memory, Move, Turn

MOST_BODY = 4000
"""Characters of a ticket."""
MOST_ADVICE = 1000
ADVICE = "A model's advice, which decides nothing"


def options_for(
    incident: Incident, step: Step, tools: Tools
) -> tuple[tuple[Option, ...], Step | None]:
    """What is open beside the ladder's step, the step itself first; and the gentler step, where
    there is one: a fence, which can be taken back, in the place of a drain, which cannot."""
    gentler = _gentler(incident, step, tools)
    milder = () if gentler is None else (Option(GENTLER, say(gentler.action), gentler.action),)
    rest = (
        Option(WAIT, "Do nothing yet"),
        Option(TICKET, "Leave it to a person, with a ticket"),
        Option(ESCALATE, "Leave it to a person"),
    )
    return (Option(STEP, say(step.action), step.action), *milder, *rest), gentler


def _gentler(incident: Incident, step: Step, tools: Tools) -> Step | None:
    drain = step.action
    if not isinstance(drain, NodeDrain) or drain.node in tools.snapshot.fences:
        return None
    fence = NodeCordon(node=drain.node, incarnation=drain.incarnation)
    if not tools.serves(kind_of(fence)) or tools.unmet(fence):
        return None
    view = RemedyView(snapshot=tools.snapshot, serves=frozenset())
    return Step(
        action=fence,
        reason=step.reason,
        effect=expected_effect(fence, view),
        rung=f"{incident.fault}: {kind_of(fence)}",
    )


def choose(reasoner: Reasoner, question: Question, memory: Memory) -> Pick:
    """What the reasoner picks, as long as it is its turn; else what the rules do."""
    now = question.tools.snapshot.steady if question.tools is not None else 0.0
    over = memory.held_until is not None and not _ahead(memory.held_until, now)
    last = memory.attempts[-1] if memory.attempts else None
    refused = last is not None and (last.kind, last.value) == ("verdict", "deny")
    return decide(Rules() if over or refused else reasoner, question)


def advised(memory: Memory, pick: Pick) -> Memory:
    """With what a model just said of it, so that a later ticket of the ladder can tell it."""
    if not pick.notes:
        return memory
    return msgspec.structs.replace(memory, advice=" ".join(pick.notes)[:MOST_ADVICE])


LONGEST_HOLD_S = 86400.0


def _ahead(until: float, now: float) -> bool:
    """A time to come that was set on this clock; one of before a reboot counts as over."""
    return 0.0 < until - now <= LONGEST_HOLD_S


def held_back(
    incident: Incident,
    question: Question,
    pick: Pick,
    memory: Memory,
    looks: str,
    by: str,
) -> Turn:
    """The turn of a thread whose reasoner wants the step held back, or is still thinking."""
    noted = (pick.fell_back,) if pick.fell_back else ()
    if pick.thinking:
        return Turn(memory=memory, move=Move(end="waiting", why=pick.why), model=pick.model)
    if pick.hold_s is None:  # a reasoner of one's own, bound to nothing
        end = "waiting" if pick.option == WAIT else "escalated"
        move = Move(end=end, why=pick.why or f"{pick.model} chose to {pick.option}.")
        return Turn(memory=memory, move=move, thoughts=(*noted, move.why), model=pick.model)
    assert question.tools is not None
    now = question.tools.snapshot.steady
    until = memory.held_until if memory.held_until is not None else now + pick.hold_s
    first = question.options[0].says
    why = f"{pick.model} holds back: {first}. The rules go on in {until - now:.0f} s."
    memory = msgspec.structs.replace(
        memory, held_until=until, quiet_until=until, quiet_why=why, quiet_for=looks
    )
    written = any(isinstance(a.action, TicketOpen) for a in memory.attempts)
    if pick.option in (TICKET, ESCALATE) and not written:
        draft = ticket(incident, question, pick, until - now, by)
        return Turn(memory=memory, move=Move(draft=draft), thoughts=pick.notes, model=pick.model)
    return Turn(
        memory=memory,
        move=Move(end="waiting", why=why),
        thoughts=pick.notes,
        model=pick.model,
    )


def ticket(incident: Incident, question: Question, pick: Pick, in_s: float, by: str) -> Draft:
    """What a person needs who takes over: what is seen, what is believed and why, what was tried,
    what comes next by itself, and where to read on. Drawn from the record; a model's words are told
    as its own, last."""
    assert question.tools is not None
    title = f"{incident.id}: {incident.title.rstrip('.')}. A model asks for a person"
    action = TicketOpen(
        subject=incident.target, title=title, body=ticket_body(incident, question, pick, in_s)
    )
    draft = question.tools.draft(
        incident, action, by=by, reason=title, rung=f"{incident.fault}: ticket.open"
    )
    return msgspec.structs.replace(draft, chosen=pick.chosen)


def ticket_body(incident: Incident, question: Question, pick: Pick, in_s: float) -> str:
    seen = "; ".join(
        dict.fromkeys(f"{s.code} on {s.target} by {s.source}" for s in incident.signals[-12:])
    )
    believed = [
        f"- {h.claim}: {h.status.value}, {h.confidence:.2f}" + (f" ({h.why})" if h.why else "")
        for h in incident.hypotheses
    ]
    tried = [f"- {say(a.action)}: {a.value}. {a.says}".rstrip() for a in question.attempts]
    page = cited(incident.fault)
    parts = [
        f"Seen: {seen}.",
        "Believed:\n" + "\n".join(believed) if believed else "No hypothesis fits.",
        "Tried:\n" + "\n".join(tried) if tried else "Nothing was tried yet.",
        f"Next by the rules, in {in_s:.0f} s, if policy allows it: {question.options[0].says}.",
        f"Runbook: {page} (derived, not vendor guidance)." if page else "",
        f"{ADVICE}: " + " ".join(pick.notes) if pick.notes else "",
    ]
    return "\n".join(part for part in parts if part)[:MOST_BODY]
