"""The read-only tools that a model may call while it thinks, each with a closed set of arguments.

Every answer is numbers and our own words, as in `case`. None of them changes anything, and an
unknown tool or argument is answered with what there is.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from watchkeeper.core.cluster import RayState
from watchkeeper.core.facts import quantile_at
from watchkeeper.core.fault import Fault
from watchkeeper.core.model import ToolSpec
from watchkeeper.core.word import canonical
from watchkeeper_agents.models.case import Case, case_of
from watchkeeper_agents.models.pages import runbook, tool_says
from watchkeeper_agents.reasoner import Question

MOST_BYTES = 8_000
"""Longest answer of a tool."""
NAMES = ("snapshot", "history", "similar", "runbook", "policy", "what_if", "forecast")


def specs(question: Question) -> tuple[ToolSpec, ...]:
    """The belt for one question. The options are the only targets there are."""
    options = [o.id for o in question.options if o.action is not None] or ["none"]
    none: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    option = _one("option", options)
    args = {
        "what_if": option,
        "policy": option,
        "runbook": _one("fault", [f.value for f in Fault]),
    }
    return tuple(ToolSpec(name=n, says=tool_says(n), args=args.get(n, none)) for n in NAMES)


def _one(name: str, values: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name],
        "properties": {name: {"type": "string", "enum": values}},
    }


def use(name: str, args: dict[str, Any], question: Question) -> str:
    """One tool's answer as JSON. Never raises: a wrong call is answered in words of ours."""
    tools, incident = question.tools, question.incident
    if tools is None or incident is None or name not in NAMES:
        return _text({"error": f"there is no such tool; the tools are {', '.join(NAMES)}"})
    spec = next(s for s in specs(question) if s.name == name)
    wrong = _wrong(args, spec.args)
    if wrong:
        return _text({"error": wrong})
    answers: dict[str, Any] = {}
    match name:
        case "snapshot":
            answers = _snapshot(question, case_of(question))
        case "history":
            answers = {"tried": case_of(question).tried}
        case "similar":
            answers = _similar(question)
        case "runbook":
            page = runbook(args["fault"])
            answers = {"steps": msgspec.to_builtins(page.steps) if page else []}
        case "policy":
            answers = {"decision": _option(question, args["option"])["policy"] or "unknown"}
        case "what_if":
            answers = _option(question, args["option"])
        case "forecast":
            answers = _forecast(question)
    return _text(answers)


def _wrong(args: dict[str, Any], schema: dict[str, Any]) -> str:
    known: dict[str, Any] = schema["properties"]
    if set(args) != set(known):
        return f"its arguments are {', '.join(known) or 'none'}"
    for name, value in args.items():
        if value not in known[name]["enum"]:
            return f"{name} is one of {', '.join(known[name]['enum'])}"
    return ""


def _option(question: Question, ident: str) -> dict[str, Any]:
    found = next(o for o in case_of(question).options if o.id == ident)
    answer: dict[str, Any] = msgspec.to_builtins(found)
    return answer


def _snapshot(question: Question, case: Case) -> dict[str, Any]:
    """The pool in numbers."""
    assert question.tools is not None
    assert question.incident is not None
    snapshot = question.tools.snapshot
    own = snapshot.nodes.get(question.incident.node)
    pool = [n for n in snapshot.nodes.values() if own is not None and n.pool == own.pool]
    states = Counter(n.ray_state.value for n in pool)
    open_now = Counter(i.fault for i in question.tools.briefing.incidents if i.is_open)
    return {
        "node": case.node,
        "pool_nodes": len(pool),
        "pool_states": {s.value: states[s.value] for s in RayState},
        "pool_fenced": sum(n.name in snapshot.fences for n in pool),
        "pool_gpus_free": round(sum(n.gpus_free for n in pool), 1),
        "open_incidents": {f.value: open_now[f.value] for f in Fault if open_now[f.value]},
    }


def _similar(question: Question) -> dict[str, Any]:
    """What became of disruptive steps on the same class of fault within a day."""
    assert question.tools is not None
    assert question.incident is not None
    past = [s for s in question.tools.briefing.past if s.fault == question.incident.fault]
    found: dict[str, dict[str, int]] = {}
    for step in past:
        ends = found.setdefault(step.kind, {})
        ends[step.value] = ends.get(step.value, 0) + 1
    return {"steps": found}


def _forecast(question: Question) -> dict[str, Any]:
    assert question.tools is not None
    assert question.incident is not None
    own = question.tools.node(question.incident.node)
    pool = own.pool if own is not None else question.incident.target.partition(":")[2]
    forecast = question.tools.forecast(pool)
    if forecast is None:
        return {"known": False}
    return {
        "known": True,
        "gpus_wanted_in_1h": quantile_at(forecast, 3600.0, 0.5),
        "gpus_wanted_in_1h_at_90_percent": quantile_at(forecast, 3600.0, 0.9),
    }


def _text(answer: dict[str, Any]) -> str:
    return canonical(answer).decode()[:MOST_BYTES]
