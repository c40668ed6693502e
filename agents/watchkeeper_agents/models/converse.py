"""One conversation: the prompt, the case, read-only tools for some steps, and the last word; and
the books that are kept of it.

Every call is bounded before it is made, and written down whatever became of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from watchkeeper.core.action import kind_of
from watchkeeper.core.model import ModelAsk, ModelCall, ModelClient, ModelFailed, ModelReply, Said
from watchkeeper.core.redact import redact
from watchkeeper.core.word import canonical, digest
from watchkeeper_agents.models import belt
from watchkeeper_agents.models.answer import AnswerSaid, NotOpen, read_answer, schema_for
from watchkeeper_agents.models.case import Case
from watchkeeper_agents.models.clerk import KEPT, Clerk, costed, ended, failed
from watchkeeper_agents.models.pages import prompt
from watchkeeper_agents.models.settings import Seat
from watchkeeper_agents.models.spending import CHARS_A_TOKEN
from watchkeeper_agents.reasoner import Question

MOST_TOOLS = 4
"""Tools of one step that are answered."""


@dataclass(frozen=True, slots=True)
class Talk:
    """What a conversation ended with: an answer, or why there is none."""

    prompt: str
    said: AnswerSaid | None = None
    why: str = ""


def converse(
    client: ModelClient, seat: Seat, question: Question, case: Case, now: float, clerk: Clerk
) -> Talk:
    """Ask, answer its tools, ask again, at most seat.steps + 1 times. Never raises for what a
    model does."""
    page = prompt(question.agent)
    said = [Said(role="system", text=page.text), Said(role="user", text=canonical(case).decode())]
    tools = belt.specs(question) if seat.steps else ()
    used: set[tuple[str, bytes]] = set()
    for step in range(seat.steps + 1):
        ask = ModelAsk(
            said=tuple(said),
            answer=schema_for(case),
            tools=tools,
            most_tokens=seat.most_tokens,
            last=step == seat.steps,
        )
        call = _begun(client, question, case, page.id, ask, now)
        size = len(canonical(ask)) // CHARS_A_TOKEN
        money = client.price(size, seat.most_tokens)
        if why := clerk.shut(seat.model, question.thread, now, size + seat.most_tokens, money):
            return Talk(page.id, why=why)
        try:
            reply = client.call(ask)
        except Exception as err:  # a client's own bug is a failure of the model, not of the watch
            end = failed(call, err, client, size)
            clerk.note(seat.model, end)
            how = end.ended if isinstance(err, ModelFailed) else "the client failed"
            return Talk(page.id, why=f"{how}: {end.why}")
        call = costed(call, reply, client)
        if reply.calls and not ask.last:
            names = tuple(c.name[:40] for c in reply.calls[:MOST_TOOLS])
            clerk.note(seat.model, ended(call, "tools", tools=names))
            said += _tools(reply, question, used)
            continue
        told = [s.text for s in said if s.role == "tool"]
        return _last_word(reply, case, call, page.id, seat, clerk, told)
    return Talk(page.id, why="it went on calling tools")


def _tools(reply: ModelReply, question: Question, used: set[tuple[str, bytes]]) -> list[Said]:
    """What it asked for, and each answer. The same call twice is answered with that (a loop)."""
    taken = reply.calls[:MOST_TOOLS]
    found = [Said(role="assistant", text=reply.text[:KEPT], calls=taken)]
    for call in taken:
        key = (call.name, canonical(call.args))
        text = '{"error":"asked before; answer now"}'
        if key not in used:
            text = belt.use(call.name, call.args, question)
        used.add(key)
        found.append(Said(role="tool", text=text, call=call.id))
    return found


def _last_word(
    reply: ModelReply,
    case: Case,
    call: ModelCall,
    page: str,
    seat: Seat,
    clerk: Clerk,
    told: list[str],
) -> Talk:
    try:
        answer = read_answer(reply.text, case, told)
    except NotOpen as err:
        clerk.note(seat.model, ended(call, "not open", why=str(err)))
        return Talk(page, why=str(err))
    except ValueError as err:
        why = redact(str(err))[:200]
        clerk.note(seat.model, ended(call, "malformed", why=why))
        return Talk(page, why=f"no answer of the closed set ({why})")
    done = ended(call, "answered", option=answer.option, confidence=answer.confidence)
    clerk.note(seat.model, done)
    return Talk(page, said=answer)


def _begun(
    client: ModelClient, question: Question, case: Case, page: str, ask: ModelAsk, now: float
) -> ModelCall:
    first = question.options[0].action
    return ModelCall(
        agent=question.agent,
        model=client.name,
        about=question.thread,
        prompt=page,
        asked=digest(ask),
        ended="",
        steady=now,
        fault=case.fault,
        kind=kind_of(first) if first is not None else "",
    )
