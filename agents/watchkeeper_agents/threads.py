"""Runs each work item in its own durable thread, and survives the loss of any of them.

A thread is parked where it asked, or it is not there; in both cases the incident, the snapshot
and the journal's history say enough to go on. Parked threads are resumed with exactly one result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import Context as Fresh
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from watchkeeper.core.action import TicketOpen
from watchkeeper.core.crew import Briefing, StepResult, Thought
from watchkeeper.core.errors import WatchkeeperError
from watchkeeper.core.serving import SERVE
from watchkeeper.core.word import Word, canonical
from watchkeeper_agents import admission, keeping, power, remediation, scheduler, serving
from watchkeeper_agents.hearing import HELD, LONGEST_QUIET_S, eased, freed, heard_out
from watchkeeper_agents.reasoner import Reasoner
from watchkeeper_agents.tools import Tools
from watchkeeper_agents.words import (
    CHECK,
    FEED,
    GANG,
    MOST_HISTORY,
    POWER,
    CrewSettings,
    Memory,
    Move,
    Turn,
    WorkItem,
    incident_of,
)

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

Answer: TypeAlias = tuple[WorkItem, Turn]

MOST_BEGUN = 32
"""Threads that a turn begins or goes on with in its graph, those parked aside. In a burst the
others are thought first, so that their verdicts need not wait for 750 checkpoints."""


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """Handed to every node for the time of one turn; never part of a thread's state. thought: the
    answer of the one thread that runs, where it has been thought already."""

    briefing: Briefing
    settings: CrewSettings
    reasoner: Reasoner
    thought: Turn | None = None


def answer_of(state: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """One agent's answer to one turn, as the thread's next state. Pure.

    Raises msgspec.ValidationError for a state that is not ours.
    """
    item = msgspec.convert(state["item"], WorkItem)
    memory = msgspec.convert(state["memory"], Memory)
    raw = state.get("result")
    result = None if raw is None else msgspec.convert(raw, StepResult)
    turn = context.thought or _think(item, memory, result, context)
    return {"memory": stored(turn.memory), "turn": stored(turn), "result": None}


def stored(word: Word) -> Any:
    """A word as plain JSON, lists and not tuples, so that a thread reads back what it wrote."""
    return msgspec.json.decode(canonical(word))


def wants_an_answer(state: Mapping[str, Any]) -> bool:
    """The thread asked for something and must park."""
    return state["turn"]["move"]["draft"] is not None


def _think(item: WorkItem, memory: Memory, result: StepResult | None, context: Context) -> Turn:
    tools = Tools(context.briefing, context.settings.remedy)
    unheard = _unheard(memory, result, context.briefing, item.thread)
    memory = msgspec.structs.replace(memory, attempts=(*memory.attempts, *unheard))
    if freed(memory, context.briefing.orders):
        memory = heard_out(memory)
    incident = tools.incident(incident_of(item.thread))
    if item.thread.startswith(GANG):
        name = item.thread.removeprefix(GANG)
        return admission.admit(name, memory, result, tools, context.settings)
    if item.thread.startswith((POWER, FEED)):
        return power.cap(item.thread, memory, result, tools, context.settings)
    if item.thread.startswith(keeping.KEEP):
        return keeping.keep(item.thread, memory, result, tools, context.settings)
    if item.thread.startswith(SERVE):
        return serving.serve(item.thread, memory, result, tools, context.settings)
    if incident is None:
        if item.agent == "scheduler":
            pool = scheduler.pool_of(item.subject)
            return scheduler.watch_ahead(pool, memory, result, tools, context.settings)
        return Turn(memory=memory, move=Move(end="waiting", why="The incident is over."))
    if CHECK in item.thread:
        name = item.thread.partition(CHECK)[2]
        return remediation.check_node(incident, name, memory, result, tools, context.settings)
    agent = scheduler.think if item.agent == "scheduler" else remediation.think
    if item.thread != incident.id:
        agent = remediation.move_gangs
    return agent(incident, memory, result, tools, context.reasoner, context.settings)


@dataclass(frozen=True, slots=True)
class _Resting:
    """A thread that waits: its last answer, what the world looked like, and until when."""

    answer: Turn
    looks: str
    until: float


class Threads:
    """The durable threads. One caller at a time; in memory it keeps only what may be lost."""

    def __init__(
        self,
        make: Callable[[Any], Any],
        saver: BaseCheckpointSaver[Any] | None,
        settings: CrewSettings,
        reasoner: Reasoner,
    ) -> None:
        from langgraph.checkpoint.memory import InMemorySaver

        self._make = make
        self._settings = settings
        self._reasoner = reasoner
        self._spare_saver = InMemorySaver()
        self._spare = make(self._spare_saver)
        self._saver = saver
        self._kept = make(saver) if saver is not None else None
        self._in_spare: set[str] = set()
        self._down = ""
        self._told_down = False
        self._resting: dict[str, _Resting] = {}
        self._parked: set[str] = set()
        self._owed: dict[str, Memory] = {}

    def run(self, items: Sequence[WorkItem], briefing: Briefing) -> tuple[Answer, ...]:
        """Each item's answer for this turn, in order."""
        self._down = ""
        context = Context(briefing, self._settings, self._reasoner)
        results = {r.thread: r for r in briefing.results}
        now = briefing.snapshot.steady
        answers = []
        begun = 0
        for item in items:
            result = results.get(item.thread)
            tools = Tools(briefing)
            looks = _looks(item, tools, self._settings)
            rest = self._resting.get(item.thread)
            if result is None and rest and self._rests(rest, looks, tools):
                answers.append((item, msgspec.structs.replace(rest.answer, thoughts=())))
                continue
            thought = self._thinks_again(item, rest, result, context)
            if rest and thought and _waits_on(thought, rest.answer):
                turn = thought
            elif item.thread in self._parked or begun < MOST_BEGUN:
                begun += item.thread not in self._parked
                turn = self._one(item, result, replace(context, thought=thought))
            else:
                turn = self._ahead(item, result, replace(context, thought=thought))
            self._resting.pop(item.thread, None)
            if turn.move.end == "waiting":
                until = self._until(turn, now)
                self._resting[item.thread] = _Resting(turn, looks, until)
            answers.append((item, turn))
        self._forget_all_but({item.thread for item in items} | briefing.busy)
        return tuple(answers)

    def _thinks_again(
        self, item: WorkItem, rest: _Resting | None, result: StepResult | None, context: Context
    ) -> Turn | None:
        """What a thread that waits, and was told nothing, now makes of the world. It goes through
        its graph, and is kept, only if that is something new."""
        if rest is None or result is not None or item.thread in self._parked:
            return None
        if self._down or self._told_down:
            return None  # whether it is back shows only when a thread is kept again
        memory = rest.answer.memory
        if _unheard(memory, None, context.briefing, item.thread):
            return None
        return _think(item, memory, None, context)

    def _until(self, turn: Turn, now: float) -> float:
        """When a waiting thread thinks again though nothing changed. One that keeps quiet has
        nothing to think about before its quiet ends."""
        quiet = turn.memory.quiet_until
        if quiet is not None and now < quiet <= now + LONGEST_QUIET_S:
            return quiet
        if turn.for_change:
            return inf
        return now + (turn.again_s or self._settings.recheck_s)

    def rest(self, items: Sequence[WorkItem], briefing: Briefing) -> bool:
        """Would every one of these wait again, for all that it can see? Then a turn of the crew
        says nothing new."""
        if self._down or self._told_down:
            return False  # whether it is back shows only when a thread is kept again
        tools = Tools(briefing)
        for item in items:
            rest = self._resting.get(item.thread)
            if rest is None or not self._rests(rest, _looks(item, tools, self._settings), tools):
                return False
        return True

    def _rests(self, rest: _Resting, looks: str, tools: Tools) -> bool:
        """It goes on waiting: its time is not up, and what it looks at, or what had refused its
        step, is as it was."""
        now = tools.snapshot.steady
        if now >= rest.until or rest.looks != looks:
            return False
        if freed(rest.answer.memory, tools.briefing.orders):
            return False
        return not eased(rest.answer.memory, now, tools.out, self._settings)

    def next_s(self) -> float:
        """Steady seconds at which a waiting thread thinks again by itself; inf when none waits."""
        return min((rest.until for rest in self._resting.values()), default=float("inf"))

    def complaints(self) -> tuple[Thought, ...]:
        """Said once when the saver fails, and once when it is back."""
        if bool(self._down) == self._told_down:
            return ()
        self._told_down = bool(self._down)
        text = (
            f"The crew's threads cannot be kept: {self._down} It goes on in memory."
            if self._down
            else "The crew's threads are kept again."
        )
        return (Thought(thread="crew", text=text, by="agent:planner"),)

    def _ahead(self, item: WorkItem, result: StepResult | None, context: Context) -> Turn:
        """The same answer by the same agent, before the thread is kept: it begins on a later
        turn, with this memory. Should the process end before, it begins from the journal."""
        memory = self._owed.get(item.thread, Memory())
        turn = context.thought or _think(item, memory, result, context)
        self._owed[item.thread] = turn.memory
        return turn

    def _one(self, item: WorkItem, result: StepResult | None, context: Context) -> Turn:
        if self._kept is not None and not self._down:
            try:
                return self._in(self._kept, self._saver, item, result, context)
            except WatchkeeperError as err:
                self._down = f"{err}".rstrip(".") + "."
        turn = self._in(self._spare, self._spare_saver, item, result, context)
        self._in_spare.add(item.thread)
        return turn

    def _in(
        self, graph: Any, saver: Any, item: WorkItem, result: StepResult | None, context: Context
    ) -> Turn:
        """Resume the thread where it parked, or start it (again) from its incident."""
        from langgraph.types import Command

        config = {"configurable": {"thread_id": item.thread}, "recursion_limit": 8}
        parked, memory = _found(saver, config)
        if not parked:
            memory = self._owed.pop(item.thread, memory)
        unheard = _unheard(memory, result, context.briefing, item.thread)
        if result is None and unheard:
            result = unheard[-1]
        if parked:
            told = stored(result if result is not None else _held(item))
            given: Any = Command(resume=told)
        else:
            if item.thread in self._in_spare and saver is self._spare_saver:
                saver.delete_thread(item.thread)  # it keeps every step otherwise, for ever
            told = None if result is None else stored(result)
            given = {"item": stored(item), "memory": stored(memory), "result": told}
        # A run of its own, not a subgraph of the turn: hence the fresh context variables.
        out = Fresh().run(
            graph.invoke,
            given,
            config,
            context=context,
            durability="sync" if parked else "exit",
        )
        turn = msgspec.convert(out["turn"], Turn)
        (self._parked.add if turn.move.draft is not None else self._parked.discard)(item.thread)
        return turn

    def _forget_all_but(self, threads: set[str] | frozenset[str]) -> None:
        for kept in (self._resting, self._owed):
            for thread in [t for t in kept if t not in threads]:
                del kept[thread]
        self._parked &= threads
        for thread in [t for t in self._in_spare if t not in threads]:
            self._in_spare.discard(thread)
            self._spare_saver.delete_thread(thread)


def _waits_on(turn: Turn, before: Turn) -> bool:
    """It asks for nothing and has nothing more to remember: all that is kept of it stands."""
    return turn.move.draft is None and turn.move.end == "waiting" and turn.memory == before.memory


def _found(saver: Any, config: dict[str, Any]) -> tuple[bool, Memory]:
    """(parked at `ask`, its memory). What is malformed is deleted and counts as never there."""
    from langgraph.checkpoint.serde.types import INTERRUPT

    found = saver.get_tuple(config)
    if found is None:
        return False, Memory()
    try:
        memory = msgspec.convert(found.checkpoint["channel_values"]["memory"], Memory)
        msgspec.convert(found.checkpoint["channel_values"]["item"], WorkItem)
    except (msgspec.ValidationError, KeyError):
        saver.delete_thread(config["configurable"]["thread_id"])
        return False, Memory()
    return any(write[1] == INTERRUPT for write in found.pending_writes or ()), memory


def _unheard(
    memory: Memory, result: StepResult | None, briefing: Briefing, thread: str
) -> list[StepResult]:
    """What the journal says this thread was told, and it does not remember: it was lost, or lived
    in memory while Redis was away."""
    known = {a.proposal for a in memory.attempts} | {result.proposal if result else ""}
    newest = briefing.history.get(thread, ())[-MOST_HISTORY:]
    return [h for h in newest if h.proposal not in known]


def _held(item: WorkItem) -> StepResult:
    """What a thread is told whose Draft the planner held back, or whose result never came: think
    again. The action is a stand-in; nobody reads it."""
    return StepResult(
        thread=item.thread,
        proposal="",
        action=TicketOpen(subject=item.subject, title="held back"),
        kind=HELD,
        value=HELD,
    )


def _looks(item: WorkItem, tools: Tools, settings: CrewSettings) -> str:
    if item.thread.startswith(GANG):
        return admission.looks(item.thread.removeprefix(GANG), tools, settings)
    if item.thread.startswith((POWER, FEED)):
        return power.looks(item.thread, tools)
    incident = tools.incident(incident_of(item.thread))
    if incident is None:
        return item.subject
    if item.agent == "scheduler":
        return scheduler.looks(tools.demand(scheduler.pool_of(item.subject)))
    if item.thread != incident.id:
        return remediation.looks_beside(incident, tools)
    return remediation.looks(incident, tools)
