"""The crew as LangGraph graphs: state, nodes and edges, and no logic.

One graph per turn: triage -> threads -> reconcile. One graph per thread, durable under the
incident's id: the agent thinks; a Draft parks the thread at `ask` with `interrupt`, and one typed
result resumes it on a later turn. There is no gate, no effect and no verification in here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import TypedDict  # typing's own gives no schema before Python 3.12

from watchkeeper.core.crew import Briefing, CrewReply, Thought
from watchkeeper.core.model import ModelCall
from watchkeeper_agents import planner
from watchkeeper_agents.reasoner import Accountable, Reasoner, Rules
from watchkeeper_agents.threads import Answer, Context, Threads, answer_of, wants_an_answer
from watchkeeper_agents.words import CrewSettings, WorkItem

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver


class ThreadState(TypedDict, total=False):
    """What a thread keeps: plain JSON. item, memory, turn: words as dicts; result: the one typed
    result that was not heard yet."""

    item: dict[str, Any]
    memory: dict[str, Any]
    result: dict[str, Any] | None
    turn: dict[str, Any]


class TurnState(TypedDict, total=False):
    """What one turn carries from node to node; never stored. items: WorkItems; answers: of each
    thread; reply: a CrewReply. `Any`, since LangGraph's tooling makes a schema of it, and knows
    none of our words."""

    items: Any
    answers: Any
    reply: Any


def of_this_run() -> Context:
    """What the turn handed to its graphs."""
    from langgraph.runtime import get_runtime

    return get_runtime(Context).context


Given = Callable[[], Context]


def _context_of(given: Given) -> type[Context] | None:
    """Each run brings its own, unless the graph was made with one."""
    return Context if given is of_this_run else None


def thread_graph(saver: BaseCheckpointSaver[Any] | None, given: Given = of_this_run) -> Any:
    """agent -> ask (parks) -> agent ..., until the agent asks for nothing."""
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import interrupt

    def agent(state: ThreadState) -> ThreadState:
        return answer_of(state, given())  # type: ignore[return-value]

    def ask(state: ThreadState) -> ThreadState:
        return {"result": interrupt({"thread": state["item"]["thread"]})}

    graph = StateGraph(ThreadState, context_schema=_context_of(given))
    graph.add_node("remediation", agent)
    graph.add_node("scheduler", agent)
    graph.add_node("ask", ask)
    graph.add_conditional_edges(START, lambda s: s["item"]["agent"], ["remediation", "scheduler"])
    for name in ("remediation", "scheduler"):
        graph.add_conditional_edges(
            name, lambda s: "ask" if wants_an_answer(s) else END, ["ask", END]
        )
    graph.add_conditional_edges("ask", lambda s: s["item"]["agent"], ["remediation", "scheduler"])
    return graph.compile(checkpointer=saver)


def turn_graph(
    threads: Threads, settings: CrewSettings, given: Given = of_this_run, *, plain: bool = False
) -> Any:
    """triage -> threads -> reconcile, over one briefing. plain: what goes from node to node is
    plain JSON, to be looked at."""
    from langgraph.graph import END, START, StateGraph

    def briefing() -> Briefing:
        return given().briefing

    def triage(state: TurnState) -> TurnState:  # noqa: ARG001  LangGraph hands it over
        return {"items": out(planner.triage(briefing(), settings))}

    def run(state: TurnState) -> TurnState:
        items = back(state["items"], tuple[WorkItem, ...])
        return {"answers": out(threads.run(items, briefing()))}

    def reconcile(state: TurnState) -> TurnState:
        by = given().reasoner
        answers = back(state["answers"], tuple[Answer, ...])
        return {"reply": out(planner.reconcile(briefing(), answers, settings, by))}

    def out(value: Any) -> Any:
        return msgspec.to_builtins(value) if plain else value

    def back(value: Any, kind: Any) -> Any:
        return msgspec.convert(value, kind) if plain else value

    graph = StateGraph(TurnState, context_schema=_context_of(given))
    graph.add_node("triage", triage)
    graph.add_node("threads", run)
    graph.add_node("reconcile", reconcile)
    for a, b in (
        (START, "triage"),
        ("triage", "threads"),
        ("threads", "reconcile"),
        ("reconcile", END),
    ):
        graph.add_edge(a, b)
    return graph.compile()


@dataclass(frozen=True, eq=False)
class _Built:
    turn: Any
    threads: Threads


class LangGraphCrew:
    """Meets `core.crew.Crew`. Built once; holds no cluster, no credential and no clock.

    saver: keeps the threads over restarts; None keeps them in memory only. A saver that fails
    does not stop the crew: the turn goes on in memory, and a Thought says so.
    """

    def __init__(
        self,
        reasoner: Reasoner | None = None,
        saver: BaseCheckpointSaver[Any] | None = None,
        settings: CrewSettings | None = None,
    ) -> None:
        self._reasoner = reasoner or Rules()
        self._saver = saver
        self._settings = settings or CrewSettings()
        self._built: _Built | None = None

    def ask(self, briefing: Briefing) -> CrewReply:
        """Think one turn. Deterministic with the rules; never touches the cluster."""
        built = self._build()
        if not briefing.results and built.threads.rest(
            planner.triage(briefing, self._settings), briefing
        ):
            # All wait as before; the graph would say the same again.
            return CrewReply(thoughts=self._read(briefing), calls=self._calls())
        context = Context(briefing, self._settings, self._reasoner)
        state: TurnState = built.turn.invoke({}, context=context)
        reply = state["reply"]
        return CrewReply(
            drafts=reply.drafts,
            conclusions=reply.conclusions,
            thoughts=(*reply.thoughts, *built.threads.complaints(), *self._read(briefing)),
            calls=self._calls(),
        )

    def _calls(self) -> tuple[ModelCall, ...]:
        """What the reasoner asked of models since the last turn, for the record."""
        return self._reasoner.calls() if isinstance(self._reasoner, Accountable) else ()

    def _read(self, briefing: Briefing) -> tuple[Thought, ...]:
        """What a reader without tools made of raw text; it decides nothing."""
        return self._reasoner.look(briefing) if isinstance(self._reasoner, Accountable) else ()

    def next_s(self) -> float:
        """When it thinks again though nothing changed: steady seconds, inf when it does not."""
        return self._built.threads.next_s() if self._built is not None else float("inf")

    def _build(self) -> _Built:
        # On the first turn, not at construction: LangGraph takes a second or more to import.
        if self._built is None:
            make: Callable[[Any], Any] = thread_graph
            threads = Threads(make, self._saver, self._settings, self._reasoner)
            self._built = _Built(turn_graph(threads, self._settings), threads)
        return self._built
