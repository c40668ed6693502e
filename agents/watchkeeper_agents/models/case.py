"""A question as a model is told it: typed facts, and not one character that the cluster wrote.

Every text in a case is from a closed set of ours (classes, states, kinds, phrases of our own
catalogue) or a name that is made up here (`node-1`, `gang-2`). So no name, label, log line,
exception or ticket can say anything to whoever proposes (S22): the bytes are the same with and
without it. What tenants' own words raised is left out altogether.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from watchkeeper.core.action import Action, kind_of, node_of, traits_of
from watchkeeper.core.cluster import Job
from watchkeeper.core.crew import StepResult
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import (
    ATTACKER_WRITABLE,
    Incident,
    Signal,
    Trust,
    lowest,
    target_node,
)
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import Word
from watchkeeper.health.catalogue import meaning
from watchkeeper.health.evidence import fault_of
from watchkeeper_agents.models.pages import RunbookStep, runbook
from watchkeeper_agents.models.rivals import OrderTold, incidents_of, made_up, told_orders
from watchkeeper_agents.reasoner import Question
from watchkeeper_agents.tools import Tools

MOST_EVIDENCE, MOST_CAUSES, MOST_GANGS, MOST_TRIED = 16, 8, 8, 16
INSTRUMENTS = frozenset(
    {"kernel-log", "nvml", "gpu-driver", "ray", "provider", "telemetry", "scheduler", "collector"}
)
_PLAIN = re.compile(r"[A-Za-z][A-Za-z ,'()-]{2,78}")
_CODE = re.compile(r"s?xid\.\d{1,5}")


class Evidence(Word, frozen=True):
    """One typed fact. on: `node`, `gpu`, `gang` or `other`. age_s is rounded."""

    id: str
    code: str
    means: str
    source: str
    trust: str
    on: str
    age_s: int
    value: float | None = None


class Cause(Word, frozen=True):
    """One hypothesis of ours, and the evidence it names."""

    id: str
    says: str
    status: str
    confidence: float
    evidence: tuple[str, ...] = ()


class Gang(Word, frozen=True):
    """One gang on the target, under a name made up here."""

    id: str
    state: str
    gpus: float
    nodes: int
    priority: int
    since_checkpoint_s: int | None = None


class Open(Word, frozen=True):
    """One option. kind: of the action, or `none`. policy: what it would decide now, or "" where
    nobody could say. expects: what telemetry must show afterwards."""

    id: str
    kind: str
    says: str
    disruptive: bool = False
    reversible: bool = True
    gangs_stopped: int = 0
    gpus_taken: float = 0.0
    pool_out_after: int = 0
    pool_size: int = 0
    expects: str = ""
    policy: str = ""


class Case(Word, frozen=True):
    """All that a model is told of one question."""

    agent: str
    fault: str
    confidence: float
    sources: int
    label: str
    node: dict[str, str | int | float | bool | None]
    evidence: tuple[Evidence, ...]
    causes: tuple[Cause, ...]
    gangs: tuple[Gang, ...]
    tried: tuple[str, ...]
    options: tuple[Open, ...]
    runbook: tuple[RunbookStep, ...] = ()
    figures: dict[str, float] = {}
    orders: tuple[OrderTold, ...] = ()


def case_of(question: Question) -> Case:
    """The case of one question. Pure; needs the question's incident and tools."""
    incident, tools = question.incident, question.tools
    assert incident is not None
    assert tools is not None
    at = tools.snapshot.at
    counting = [s for s in incident.signals if s.trust not in ATTACKER_WRITABLE]
    kept = sorted(counting[-MOST_EVIDENCE:], key=lambda s: (s.at, s.code, s.target))
    ids = {s.id: f"e{n}" for n, s in enumerate(kept, 1)}
    page = runbook(incident.fault)
    among = incidents_of(question)
    names = made_up(question)
    about = [order[0].incident for order in question.orders]
    about = about or [incident.id] * len(question.options)
    return Case(
        agent=question.agent,
        fault=Fault(incident.fault).value,
        confidence=round(incident.confidence, 3),
        sources=incident.independent_sources,
        label=lowest(s.trust for i in among for s in i.signals if s.trust not in ATTACKER_WRITABLE),
        node=_node(incident, tools),
        evidence=tuple(
            Evidence(
                id=ids[s.id],
                code=_code(s),
                means=_means(s),
                source=s.source if s.source in INSTRUMENTS else "other",
                trust=Trust(s.trust).value,
                on=_on(s),
                age_s=_rounded((at - s.at).total_seconds()),
                value=s.value,
            )
            for s in kept
        ),
        causes=tuple(
            Cause(
                id=f"h{n}",
                says=_says(h.claim),
                status=h.status.value,
                confidence=round(h.confidence, 3),
                evidence=tuple(ids[e] for e in h.evidence if e in ids),
            )
            for n, h in enumerate(incident.hypotheses[:MOST_CAUSES], 1)
        ),
        gangs=_gangs(incident, tools.snapshot),
        tried=tuple(_tried(r) for r in question.attempts[-MOST_TRIED:]),
        options=tuple(
            _open(o.id, o.action, ident, names, tools)
            for o, ident in zip(question.options, about, strict=True)
        ),
        runbook=page.steps if page is not None else (),
        figures=question.figures,
        orders=told_orders(question),
    )


def _node(incident: Incident, tools: Tools) -> dict[str, str | int | float | bool | None]:
    node = tools.node(incident.node)
    if node is None:
        return {}
    fence = tools.snapshot.fences.get(node.name)
    silence = tools.snapshot.silence_s(node.name)
    return {
        "id": "node-1",
        "ray_state": node.ray_state.value,
        "process_gone": node.process_gone,
        "gpus": node.gpus,
        "gpus_free": round(node.gpus_free, 1),
        "fenced": fence is not None,
        "fence_sealed": fence is not None and fence.sealed,
        "silent_for_s": None if silence is None else _rounded(silence),
        "repairs_7d": len(tools.briefing.repaired.get(node.name, frozenset()) - {incident.id}),
        "sick_gpus": len(incident.sick_gpus),
        "check_passed": tools.briefing.checked.get(node.name, "") == node.incarnation,
    }


def _gangs(incident: Incident, snapshot: Snapshot) -> tuple[Gang, ...]:
    """Ordered by what they are, never by what they are called."""
    on = [*(snapshot.jobs_on(incident.node) if incident.node else ())]
    on += [j for n in incident.jobs if (j := snapshot.jobs.get(n)) is not None and j not in on]
    told = sorted(
        (_gang(job, snapshot) for job in on),
        key=lambda g: (-g.gpus, -g.nodes, -g.priority, g.state, g.since_checkpoint_s or -1),
    )
    return tuple(
        Gang(
            id=f"gang-{n}",
            state=g.state,
            gpus=g.gpus,
            nodes=g.nodes,
            priority=g.priority,
            since_checkpoint_s=g.since_checkpoint_s,
        )
        for n, g in enumerate(told[:MOST_GANGS], 1)
    )


def _gang(job: Job, snapshot: Snapshot) -> Gang:
    saved = job.checkpoint_at
    return Gang(
        id="",
        state=job.state.value,
        gpus=round(job.gpus, 1),
        nodes=len(job.nodes),
        priority=job.priority,
        since_checkpoint_s=None
        if saved is None
        else _rounded((snapshot.at - saved).total_seconds()),
    )


def _open(
    ident: str, action: Action | None, incident: str, names: Mapping[str, str], tools: Tools
) -> Open:
    if action is None:
        return Open(id=ident, kind="none", says=WITHOUT_ACTION.get(ident, ident))
    impact, traits = tools.impact(action), traits_of(action)
    would = tools.briefing.would
    return Open(
        id=ident,
        kind=kind_of(action),
        says=_in_words(action, names),
        disruptive=traits.disruptive,
        reversible=traits.reversible,
        gangs_stopped=len(impact.jobs),
        gpus_taken=round(impact.gpus, 1),
        pool_out_after=impact.pool_out_after,
        pool_size=impact.pool_size,
        expects=traits.shows,
        policy=would(action, incident).value if would is not None else "",
    )


WITHOUT_ACTION = {
    "wait": "Do nothing yet. The rules go on after a while.",
    "ticket": "Leave it to a person: a ticket is written, and the rules go on after a while.",
    "escalate": "Leave it to a person.",
}


def _in_words(action: Action, names: Mapping[str, str]) -> str:
    """The action without the names that the cluster gave its parts."""
    where = names.get(node_of(action), "another node")
    gpu = getattr(action, "gpu", None)
    if gpu is not None:
        where = f"GPU {gpu:d} of {where}"
    if not node_of(action):
        where = {"job": "its gang", "pool": "its pool"}.get(traits_of(action).scope, "it")
    numbers = {
        "deadline_s": "within {:g} s",
        "add": "{:d} nodes",
        "watts": "{:g} W",
    }
    more = "".join(
        f", {text.format(value)}"
        for name, text in numbers.items()
        if (value := getattr(action, name, None)) is not None
    )
    return f"{kind_of(action)} of {where}{more}"


def _tried(result: StepResult) -> str:
    return f"{kind_of(result.action)}: {result.kind} {result.value}"[:80]


def _code(signal: Signal) -> str:
    known = _CODE.fullmatch(signal.code) or meaning(signal.code) != signal.code
    return signal.code if known else "other"


def _means(signal: Signal) -> str:
    if _code(signal) == "other":
        fault = fault_of(signal)
        return f"a sign of {fault.value}" if fault is not None else "a sign that we do not know"
    return meaning(signal.code)


def _on(signal: Signal) -> str:
    kind = signal.target.partition(":")[0]
    if target_node(signal.target) and kind in ("node", "gpu"):
        return kind
    return "gang" if kind == "job" else "other"


def _says(claim: str) -> str:
    """Our own phrase for a cause; anything else is not repeated."""
    return claim if _PLAIN.fullmatch(claim) else "another cause"


def _rounded(seconds: float) -> int:
    """To two digits: nobody decides on more, and the same question stays the same for a while."""
    whole = max(0, round(seconds))
    unit = int(10 ** max(0, len(str(whole)) - 2))
    return whole // unit * unit


def option_ids(case: Case) -> Sequence[str]:
    return [o.id for o in case.options]
