"""One call of a corpus, tried on the real path: text -> Action -> Proposal -> facts and impact ->
judge -> people -> executor -> the simulated cluster, whose effects are counted.

A call is an action by its kind (`node.drain`), a tool of the crew's belt (`propose`, `impact`,
`node`, ...), or `desk.answer`, the one door by which a person's word comes in. What a call leaves
out is filled in for it as is best for it: the incarnation that is there now, the incident that
speaks for it with all its evidence, the digest and nonce that were shown. So what is refused is
refused on its merits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from watchkeeper.control.concerns import concerns
from watchkeeper.control.life import State
from watchkeeper.control.papers import File
from watchkeeper.control.propose import act, ask_people_if_told_to, judge_it, propose
from watchkeeper.core.action import KINDS, Action, TicketOpen, node_of, parse_action
from watchkeeper.core.crew import Briefing, Draft
from watchkeeper.core.errors import Malformed, Refused, WatchkeeperError
from watchkeeper.core.incident import Incident
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Answer, Decision
from watchkeeper.core.word import Word, parse
from watchkeeper.placement.running import Terms
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.remedy.verify import expected_effect
from watchkeeper_agents.tools import Tools
from watchkeeper_evals.guard_lines import Call, CallLine, action_json, as_json
from watchkeeper_evals.guard_scene import Scene, open_scene

READS: dict[str, Callable[[Tools, str], object]] = {
    "incident": Tools.incident,
    "node": Tools.node,
    "demand": Tools.demand,
    "forecast": Tools.forecast,
    "serves": Tools.serves,
    "waiting": lambda tools, _pool: tools.line(Terms()),
}
"""What the crew may read, by the name that a corpus calls it."""
SIMULATES = ("impact", "simulate", "unmet")
PROPOSES = ("draft", "propose")
ANSWERS = "desk.answer"
AFTER = 3
"""Turns that are run after a call, so that what was cleared is carried out."""


class Fate(NamedTuple):
    """What became of a call. end: `executed` (an effect reached the cluster), `asked` (a person
    would decide), `harmless` (it read, simulated, or told a person), `refused`, or `waits`.
    by: who refused: `unknown_tool`, `schema`, a verdict's own word (`invariant`, `policy`,
    `limit`, `budget`, `default`, `dial`, `error`), `desk`, `unserved`, or `effect`, the last look.
    """

    end: str
    by: str = ""
    why: str = ""


class _Name(Word, frozen=True):
    """What a reading tool takes."""

    name: str


class _Asked(Word, frozen=True):
    """What `propose` takes; who asks, and in which world, is not among it."""

    action: dict[str, Any]
    incident: str = ""
    evidence: tuple[str, ...] | None = None
    confidence: float = 1.0
    reason: str = ""
    rung: str = ""
    plan: tuple[dict[str, Any], ...] = ()


class _Answered(Word, frozen=True):
    """What `desk.answer` takes. Absent: what was really shown."""

    person: str
    answer: Answer = Answer.APPROVE
    proposal: str = ""
    digest: str | None = None
    nonce: str | None = None


def try_call(line: CallLine, policy: CheckedPolicy) -> Fate:
    """Try it in a scene of its own. Raises nothing that the product itself handles."""
    with open_scene(policy, line.given) as scene:
        about = line.call.args.get("node", "") if isinstance(line.call.args, dict) else ""
        scene.begin(line.given, about if isinstance(about, str) else "")
        if line.given.ask:
            _question(scene, line)
        for call in line.given.before:
            _one(scene, call, drift=False)
            scene.turns(AFTER)
        before = len(scene.cluster.effects)
        fate = _one(scene, line.call, drift=line.given.drift)
        scene.turns(AFTER)
        if len(scene.cluster.effects) > before:
            return Fate("executed")
        return fate() if callable(fate) else fate


_Later = Callable[[], Fate]


def _one(scene: Scene, call: Call, *, drift: bool) -> Fate | _Later:
    try:
        if call.tool in READS:
            return _read(scene, call)
        if call.tool in SIMULATES:
            return _simulate(scene, call)
        if call.tool in PROPOSES:
            return _propose(scene, parse(as_json(call.args), _Asked, call.tool), drift=drift)
        if call.tool == ANSWERS:
            return _answer(scene, parse(as_json(call.args), _Answered, call.tool))
        if call.tool not in KINDS:
            return Fate("refused", "unknown_tool", f"there is no tool {call.tool[:80]!r}")
        action = parse_action(action_json(call.tool, _completed(scene, call.args)))
        return _draft(scene, action, _Asked(action={}), drift=drift)
    except Malformed as err:
        return Fate("refused", "schema", str(err))
    except Refused as err:
        return Fate("refused", "desk", str(err))


def _tools(scene: Scene, snapshot: Snapshot) -> Tools:
    books = scene.watch.record.books
    return Tools(
        Briefing(
            snapshot=snapshot,
            incidents=books.open_incidents(),
            forecasts=dict(books.forecasts),
            results=(),
            busy=frozenset(),
            serves=scene.watch.serves,
            checked=dict(books.checked),
        )
    )


def _read(scene: Scene, call: Call) -> Fate:
    name = parse(as_json(call.args), _Name, call.tool).name
    READS[call.tool](_tools(scene, _look(scene)), name)
    return Fate("harmless")


def _simulate(scene: Scene, call: Call) -> Fate:
    asked = parse(as_json(call.args), _Asked, call.tool)
    tools, action = _tools(scene, _look(scene)), _action(scene, asked.action)
    tools.unmet(action) if call.tool == "unmet" else tools.impact(action)
    return Fate("harmless")


def _propose(scene: Scene, asked: _Asked, *, drift: bool) -> Fate | _Later:
    for step in asked.plan:
        _action(scene, step)
    return _draft(scene, _action(scene, asked.action), asked, drift=drift)


def _action(scene: Scene, said: dict[str, Any]) -> Action:
    kind = said.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise Malformed(f"not an action: unknown kind {str(kind)[:80]!r}")
    args = {key: value for key, value in said.items() if key != "kind"}
    return parse_action(action_json(kind, _completed(scene, args)))


def _completed(scene: Scene, args: Any) -> Any:
    """What an honest tool belt fills in when it is not said: which life of the node or gang."""
    if not isinstance(args, dict):
        return args
    node = scene.cluster.nodes.get(str(args.get("node", "")))
    job = scene.cluster.jobs.get(str(args.get("job", "")))
    known: dict[str, Any] = {}
    if "node" in args:
        known["incarnation"] = node.incarnation if node is not None else "inc-unknown"
    if "job" in args:
        known["attempt_id"] = job.attempt_id if job is not None else "attempt-unknown"
    return {**known, **args}


def _draft(scene: Scene, action: Action, asked: _Asked, *, drift: bool) -> Fate | _Later:
    snapshot, watch = _look(scene), scene.watch
    incident = _best_incident(scene, action, snapshot, asked.incident)
    evidence = asked.evidence
    if evidence is None:
        evidence = tuple(s.id for s in incident.signals) if incident else ()
    plan = tuple(_action(scene, step) for step in asked.plan)
    draft = Draft(
        thread=incident.id if incident else "eval",
        action=action,
        by="agent:remediation",
        reason=asked.reason or "asked by a call of the corpus",
        confidence=asked.confidence,
        effect=expected_effect(action, _tools(scene, snapshot).view(())),
        incident=incident.id if incident else asked.incident,
        evidence=evidence,
        plan=plan,
        rung=asked.rung,
    )
    proposal = propose(watch, snapshot, draft)
    if proposal is None:
        told = action_tells(action)
        return Fate("harmless") if told else Fate("refused", "unserved", "no provider serves it")
    verdict = judge_it(watch, snapshot, proposal)
    ask_people_if_told_to(watch, snapshot, proposal, verdict)
    if verdict.decision is Decision.DENY:
        return Fate("refused", verdict.refused_by, verdict.because)
    if drift:
        scene.drift(node_of(action) or str(getattr(action, "job", "")))
    act(watch, snapshot)
    return lambda: _ended(watch.record.books.files[proposal.id])


def action_tells(action: Action) -> bool:
    """Does it only tell a person something?"""
    return isinstance(action, TicketOpen) or getattr(action, "title", None) is not None


def _ended(file: File) -> Fate:
    match file.state:
        case State.ASKING:
            return Fate("asked", why=file.why)
        case State.REFUSED | State.FAILED | State.VOID:
            return Fate("refused", "effect", file.why)
        case State.DENIED:
            by = file.verdict.refused_by if file.verdict else ""
            return Fate("refused", by, file.why)
        case _:
            return Fate("waits", why=f"{file.state.value}: {file.why}")


def _best_incident(scene: Scene, action: Action, snapshot: Snapshot, named: str) -> Incident | None:
    """The incident that is cited: the one that is named, else the surest that is about the
    target, else the surest there is, as a liar would cite it."""
    incidents = scene.watch.record.books.incidents
    if named:
        return incidents.get(named)
    there = sorted(incidents.values(), key=lambda i: (i.is_open, i.confidence), reverse=True)
    mine = [i for i in there if concerns(i, action, snapshot)]
    return next(iter([*mine, *there]), None)


def _question(scene: Scene, line: CallLine) -> None:
    """A question that waits for people. Raises Malformed where the orders do not ask."""
    snapshot, watch = _look(scene), scene.watch
    action = _action(scene, line.given.ask)
    draft = Draft(
        thread="eval-question",
        action=action,
        by=line.given.asked_by,
        reason="a question of the corpus",
        confidence=1.0,
        effect=expected_effect(action, _tools(scene, snapshot).view(())),
    )
    proposal = propose(watch, snapshot, draft)
    if proposal is None:
        raise Malformed(f"line {line.line}: given.ask is never asked of people")
    verdict = judge_it(watch, snapshot, proposal)
    ask_people_if_told_to(watch, snapshot, proposal, verdict)


def _answer(scene: Scene, said: _Answered) -> Fate | _Later:
    waiting = scene.desk.asks()
    ask = next((a for a in waiting if a.id == said.proposal), waiting[0] if waiting else None)
    ident = said.proposal or (ask.id if ask else "P-0")
    shown_digest, shown_nonce = (ask.digest, ask.nonce) if ask else ("", "")
    scene.desk.answer(
        ident,
        said.answer,
        scene.person(said.person),
        digest=shown_digest if said.digest is None else said.digest,
        nonce=shown_nonce if said.nonce is None else said.nonce,
    )
    if said.answer is not Answer.APPROVE:
        return Fate("harmless")  # a person's no does nothing
    return lambda: Fate("waits", why="a yes that led to nothing yet")


def _look(scene: Scene) -> Snapshot:
    snapshot = scene.watch.looker.look()
    if snapshot is None:
        raise WatchkeeperError("the simulated cluster cannot be read")
    return snapshot
