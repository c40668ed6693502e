"""Who goes first, where steps of one turn are in each other's way? The engine reckons what each
order lets go and holds back; rules take the gravest first, and a model may choose another of those
orders. Asked by the planner.

It can let no step go that the engine holds back in every order, and holds nothing back for longer
than its seat allows. Every step is judged by policy like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from watchkeeper.core.action import say, traits_of
from watchkeeper.core.crew import Briefing, Draft, Thought
from watchkeeper.core.impact import simulate
from watchkeeper.core.model import Chosen
from watchkeeper_agents.reasoner import Option, Pick, Question, Reasoner, Weighing, decide
from watchkeeper_agents.tools import Tools
from watchkeeper_agents.words import Turn, WorkItem

MOST_ORDERS = 4
"""Orders that are put to a model, the rules' own among them."""
MOST_TRIED = 8
"""Steps that are tried in front, the gravest first."""
PLANNER = "planner"

Turns: TypeAlias = Sequence[tuple[WorkItem, Turn]]
Held: TypeAlias = Mapping[str, str]
Settle: TypeAlias = Callable[[Turns], Held]


class Order(NamedTuple):
    """One order that the engine has reckoned: what goes first, and what then waits for it."""

    first: Draft
    waits: tuple[Draft, ...]


class Weighed(NamedTuple):
    """The turns in the order that was taken, and why a thread's Draft waits; "" where it goes."""

    turns: Turns
    held: Held
    thoughts: tuple[Thought, ...] = ()


def in_order(briefing: Briefing, turns: Turns, settle: Settle, reasoner: Reasoner) -> Weighed:
    """The rules' order, or another of those that were reckoned, where a model chose it. settle:
    thread -> why its Draft is held back, for turns in a given order."""
    held = settle(turns)
    if not (isinstance(reasoner, Weighing) and reasoner.sits(PLANNER)):
        return Weighed(turns, held)
    orders = reckoned(briefing, turns, held, settle)
    question = _question(briefing, turns, orders) if len(orders) > 1 else None
    if question is None:
        return Weighed(turns, held)
    pick = decide(reasoner, question)
    thread = orders[0].first.thread
    if pick.thinking:
        stay = {d.thread: pick.why for order in orders for d in (order.first, *order.waits)}
        return Weighed(turns, {t: why or stay.get(t, "") for t, why in held.items()})
    noted = (pick.fell_back,) if pick.fell_back else pick.notes
    thoughts = tuple(
        Thought(thread=thread, text=text, by=f"agent:{PLANNER}", model=pick.model)
        for text in noted
        if text
    )
    if pick.chosen is None:
        return Weighed(turns, held, thoughts)
    chosen = orders[[o.id for o in question.options].index(pick.option)].first
    turns = [_marked(t, pick) if _thread(t) == chosen.thread else t for t in turns]
    turns = _in_front(turns, chosen.thread)
    return Weighed(turns, settle(turns), thoughts)


def reckoned(briefing: Briefing, turns: Turns, held: Held, settle: Settle) -> list[Order]:
    """The orders in which the first conflict of a turn can be settled, the rules' own first; none
    where nothing is in anything's way."""
    drafts = {_thread(t): d for t in turns if (d := t[1].move.draft) is not None}
    found: list[Order] = []
    before: Draft | None = None
    for draft in list(_tried(briefing, drafts.values(), held))[:MOST_TRIED]:
        then = settle(_in_front(turns, draft.thread))
        if then[draft.thread]:
            continue  # not for another step of this turn
        lost = [d for t, d in drafts.items() if not held[t] and then[t]]
        lost = lost or [d for d in drafts.values() if _in_one_pool(briefing, d, draft)][:1]
        if not lost or (before is not None and before not in lost):
            continue
        before = before or lost[0]
        found.append(Order(draft, tuple(lost)))
    if before is None:
        return []
    found = found[: MOST_ORDERS - 1]
    return [Order(before, tuple(order.first for order in found)), *found]


def _tried(briefing: Briefing, drafts: Iterable[Draft], held: Held) -> Iterator[Draft]:
    """What waits; and of steps that take something away in one pool, all but the first: policy
    judges them one by one, and may have room for one."""
    pools: set[str] = set()
    for draft in drafts:
        if held[draft.thread]:
            yield draft
        elif pool := _taken_from(briefing, draft):
            if pool in pools:
                yield draft
            pools.add(pool)


def _taken_from(briefing: Briefing, draft: Draft) -> str:
    """The pool from which it takes work or capacity away; "" where it takes none."""
    traits = traits_of(draft.action)
    if not traits.disruptive or traits.recovers:
        return ""
    return simulate(briefing.snapshot, draft.action).pool


def _in_one_pool(briefing: Briefing, one: Draft, other: Draft) -> bool:
    pool = _taken_from(briefing, other)
    return one is not other and bool(pool) and _taken_from(briefing, one) == pool


def _question(briefing: Briefing, turns: Turns, orders: Sequence[Order]) -> Question | None:
    """The same as a question; None where it is the rules' alone: about no incident, or policy
    refused one of these steps just now."""
    memories = {_thread(t): t[1].memory for t in turns}
    for order in orders:
        past = memories[order.first.thread].attempts
        if past and (past[-1].kind, past[-1].value) == ("verdict", "deny"):
            return None
    tools = Tools(briefing)
    incident = tools.incident(orders[0].first.incident)
    if incident is None:
        return None
    options = tuple(
        Option(f"order-{n}", _says(order), order.first.action) for n, order in enumerate(orders, 1)
    )
    return Question(
        thread=incident.id,  # its caps are the incident's
        facts=tuple(o.says for o in options),
        options=options,
        agent=PLANNER,
        incident=incident,
        tools=tools,
        orders=tuple((order.first, *order.waits) for order in orders),
    )


def _says(order: Order) -> str:
    rest = ", ".join(say(d.action) for d in order.waits)
    return f"{say(order.first.action)} goes before {rest}"


def _marked(turn: tuple[WorkItem, Turn], pick: Pick) -> tuple[WorkItem, Turn]:
    """The step that was let go first carries who chose that, for policy and for the record."""
    item, said = turn
    draft = said.move.draft
    assert draft is not None
    assert pick.chosen is not None
    own: Chosen = msgspec.structs.replace(pick.chosen, agent=PLANNER)
    if draft.chosen is not None:
        own = msgspec.structs.replace(draft.chosen, ordered=own)
    draft = msgspec.structs.replace(draft, chosen=own)
    move = msgspec.structs.replace(said.move, draft=draft)
    return item, msgspec.structs.replace(said, move=move)


def _in_front(turns: Turns, thread: str) -> list[tuple[WorkItem, Turn]]:
    return sorted(turns, key=lambda t: _thread(t) != thread)


def _thread(turn: tuple[WorkItem, Turn]) -> str:
    draft = turn[1].move.draft
    return draft.thread if draft is not None else turn[0].thread
