"""The remediation agent: hear what became of the last step, diagnose, ask for the next rung.

Level-triggered: the rung follows from the snapshot and from what was tried, so a thread that was
lost begins anew without harm. Asked once a turn per open incident; holds nothing that acts.
"""

from __future__ import annotations

import msgspec

from watchkeeper.core.action import Action, kind_of, say, traits_of
from watchkeeper.core.cluster import RayState
from watchkeeper.core.crew import Draft, StepResult
from watchkeeper.core.fault import last_reading
from watchkeeper.core.incident import HypothesisStatus, Incident
from watchkeeper.remedy.group_test import check_step
from watchkeeper.remedy.ladder import next_steps
from watchkeeper.remedy.moving import gangs_ladder, left_running
from watchkeeper.remedy.plan import Done, Escalate, Step, Steps, Wait
from watchkeeper.remedy.undo import undo
from watchkeeper_agents.choosing import advised, choose, held_back, options_for
from watchkeeper_agents.hearing import (
    eased,
    first_silence,
    hear,
    hear_beside,
    heard_out,
    hushed,
    remember_out,
)
from watchkeeper_agents.reasoner import GENTLER, STEP, Question, Reasoner
from watchkeeper_agents.tools import Tools, in_words
from watchkeeper_agents.words import CHECK, GANGS, CrewSettings, Memory, Move, Turn

BY = "agent:remediation"


def think(
    incident: Incident,
    memory: Memory,
    result: StepResult | None,
    tools: Tools,
    reasoner: Reasoner,
    settings: CrewSettings,
) -> Turn:
    """One turn of one incident's thread."""
    world = looks(incident, tools)
    called = bool(tools.briefing.down)
    memory, over = hear(memory, result, tools.snapshot.steady, world, settings, called=called)
    left = left_running(incident, memory.attempts, tools.snapshot)
    said_no = result is not None and (result.kind, result.value) == ("answer", "deny")
    if over is not None and not ((left and said_no) or first_silence(memory, result)):
        return Turn(memory=memory, move=over, thoughts=(over.why,))
    memory = remember_out(memory, result, tools.out_around(incident.node))
    if eased(memory, tools.snapshot.steady, tools.out, settings):
        memory = heard_out(memory)
    if back := _take_back(incident, result, tools):
        return Turn(memory=memory, move=back, thoughts=(f"{back.why} Undo it first.",))
    if why := hushed(memory, tools.snapshot.steady, world):
        return Turn(memory=memory, move=Move(end="waiting", why=why))
    plan = left or next_steps(incident, tools.view(memory.attempts, incident.id))
    match plan:
        case Steps():
            return _ask(incident, memory, plan, tools, reasoner)
        case Wait():
            turn = _stop(memory, "waiting", plan.why, diagnosis(incident))
            return msgspec.structs.replace(turn, again_s=plan.again_s)
        case Done():
            return _stop(memory, "resolved", plan.why, plan.why)
        case Escalate():
            told = f"{diagnosis(incident)} {plan.why}"
            return _stop(memory, "escalated", plan.why, told, page=plan.page)


def move_gangs(
    incident: Incident,
    memory: Memory,
    result: StepResult | None,
    tools: Tools,
    reasoner: Reasoner,
    settings: CrewSettings,
) -> Turn:
    """One turn of the thread that looks after the gangs of a node's incident. It ends nothing:
    what it cannot do is left to the incident's own thread."""
    now = tools.snapshot.steady
    memory, why, _ = hear_beside(memory, result, now, looks(incident, tools), settings)
    if why:
        return Turn(memory=memory, move=Move(end="waiting", why=why))
    plan = gangs_ladder(incident, tools.view(memory.attempts, incident.id))
    if isinstance(plan, Steps):
        turn = _ask(incident, memory, plan, tools, reasoner)
        if (draft := turn.move.draft) is not None:
            draft = msgspec.structs.replace(draft, thread=f"{incident.id}{GANGS}", plan=())
            return msgspec.structs.replace(turn, move=Move(draft=draft))
        return msgspec.structs.replace(turn, move=Move(end="waiting", why=turn.move.why))
    for_change = isinstance(plan, Wait) and plan.for_change
    return Turn(memory=memory, move=Move(end="waiting", why=plan.why), for_change=for_change)


def check_node(
    incident: Incident,
    name: str,
    memory: Memory,
    result: StepResult | None,
    tools: Tools,
    settings: CrewSettings,
) -> Turn:
    """One turn of the thread that checks one node of a gang under test. It too ends nothing."""
    now = tools.snapshot.steady
    memory, why, _ = hear_beside(memory, result, now, looks(incident, tools), settings)
    if why:
        return Turn(memory=memory, move=Move(end="waiting", why=why))
    step = check_step(incident, name, tools.view(memory.attempts, incident.id))
    if isinstance(step, Wait):
        return Turn(memory=memory, move=Move(end="waiting", why=step.why))
    draft = _draft(incident, step, tools)
    draft = msgspec.structs.replace(draft, thread=f"{incident.id}{CHECK}{name}")
    return Turn(memory=memory, move=Move(draft=draft))


WORTH_SAYING = 0.05
"""A possible cause below this confidence is on the incident's page, not in the log."""


def diagnosis(incident: Incident) -> str:
    """The incident as the log tells it: what is seen, what is believed, what is refuted."""
    said = [f"{incident.title.rstrip('.')}."]
    for h in incident.hypotheses:
        claim = h.claim[:1].upper() + h.claim[1:]
        match h.status:
            case HypothesisStatus.SUPPORTED:
                said.append(f"{claim}: {h.confidence:.2f}.")
            case HypothesisStatus.PROPOSED if h.confidence >= WORTH_SAYING:
                said.append(f"{claim}: possible, {h.confidence:.2f}.")
            case HypothesisStatus.REFUTED:
                because = f", because {h.why}" if h.why else ""
                said.append(f"{claim}: refuted{because}.")
            case _:
                pass
    return " ".join(said)


def looks(incident: Incident, tools: Tools) -> str:
    """What this incident's world looks like, in one short text that changes when it does."""
    node = tools.node(incident.node)
    fence = tools.snapshot.fences.get(incident.node)
    parts = [incident.fault, f"{incident.confidence:.2f}", f"{incident.independent_sources}"]
    if node is not None:
        parts += [node.incarnation, node.ray_state.value, str(node.process_gone)]
    if (read := last_reading(incident)) is not None:
        parts.append(f"{read:%H:%M:%S}")
    if fence is not None:
        parts.append(f"fence {fence.held}/{fence.wanted}")
    parts.append(tools.briefing.checked.get(incident.node, ""))
    jobs = (tools.snapshot.jobs.get(name) for name in incident.jobs)
    parts += [f"{j.name} {j.attempt_id} {j.state.value}" for j in jobs if j is not None]
    if incident.jobs and not incident.node:
        parts += tools.briefing.down  # a gang may wait until its domain is well
    return "; ".join(parts)


def looks_beside(incident: Incident, tools: Tools) -> str:
    """The same for a thread beside its own, which also goes by what is free behind the fence."""
    node = tools.node(incident.node)
    free = f"; free {node.gpus_free:g}" if node is not None else ""
    return looks(incident, tools) + free


def _ask(incident: Incident, memory: Memory, plan: Steps, tools: Tools, reasoner: Reasoner) -> Turn:
    step = plan.next
    kind = kind_of(step.action)
    if not tools.serves(kind):
        why = f"{say(step.action)} is the next step, but no provider here serves {kind}."
        return _stop(memory, "escalated", why, why)
    if why := tools.unmet(step.action):
        return _stop(memory, "waiting", why, why)
    impact = tools.impact(step.action)
    options, gentler = options_for(incident, step, tools)
    question = Question(
        thread=incident.id,
        facts=(f"class of fault {incident.fault}", in_words(impact, step.action)),
        options=options,
        agent="remediation",
        incident=incident,
        tools=tools,
        attempts=memory.attempts,
    )
    pick = choose(reasoner, question, memory)
    memory = advised(memory, pick)
    noted = (pick.fell_back,) if pick.fell_back else ()
    if pick.option not in (STEP, GENTLER):
        return held_back(incident, question, pick, memory, looks(incident, tools), BY)
    rest = plan.rest
    if pick.option == GENTLER and gentler is not None:
        step, rest = gentler, (step.action, *plan.rest)
    draft = msgspec.structs.replace(_draft(incident, step, tools, rest), chosen=pick.chosen)
    found = diagnosis(incident)
    told = () if found == memory.said else (f"{found} Next: {say(step.action)}.",)
    thoughts = (*noted, *pick.notes, *told)
    return Turn(
        memory=msgspec.structs.replace(memory, said=found),
        move=Move(draft=draft),
        thoughts=thoughts,
        model=pick.model,
    )


def _draft(incident: Incident, step: Step, tools: Tools, rest: tuple[Action, ...] = ()) -> Draft:
    return tools.draft(
        incident,
        step.action,
        by=BY,
        reason=f"{_reason(incident, step)}{_left_out(incident, tools)}",
        rung=step.rung,
        effect=step.effect,
        plan=rest,
        if_ignored=if_ignored(incident, step.action, tools),
    )


def _stop(memory: Memory, end: str, why: str, told: str, *, page: bool = True) -> Turn:
    said = f"{told} {why}" if why not in told else told
    thoughts = () if said == memory.said else (said,)
    return Turn(
        memory=msgspec.structs.replace(memory, said=said),
        move=Move(end=end, why=why, page=page),
        thoughts=thoughts,
    )


def _take_back(incident: Incident, result: StepResult | None, tools: Tools) -> Move | None:
    """After a step that made it worse: its undo, where there is one and it can work."""
    if result is None or (result.kind, result.value) != ("outcome", "worse"):
        return None
    action = undo(result.action)
    if action is None or not tools.serves(kind_of(action)) or tools.unmet(action):
        return None
    why = f"{say(result.action)} made it worse: {result.says}"
    draft = tools.draft(incident, action, by=BY, reason=why, rung=f"{incident.fault}: undo")
    return Move(draft=draft, why=why)


def _reason(incident: Incident, step: Step) -> str:
    """Why now, and on how much evidence. What it would touch is shown beside it, not in it."""
    count = incident.independent_sources
    sources = f"{count} independent source{'s' if count != 1 else ''}"
    title = incident.title.rstrip(".")
    why = step.reason if step.reason.startswith(title) else f"{title}. {step.reason}"
    return f"{why} Seen by {sources}, confidence {incident.confidence:.2f}."


def _left_out(incident: Incident, tools: Tools) -> str:
    """What a person said no to, and the plan therefore does not hold; "" when nothing."""
    here = {job.name for job in tools.snapshot.jobs_on(incident.node)} if incident.node else set()
    told = [
        f" Requeue {job} is left out: {why}."
        for (kind, job), why in sorted(tools.briefing.denied.items())
        if kind == "job.requeue" and (job in here or job in incident.jobs)
    ]
    return "".join(told)


def if_ignored(incident: Incident, action: Action, tools: Tools) -> str:
    """What happens if nobody answers, in numbers."""
    stopped = [
        j for n in incident.jobs if (j := tools.snapshot.jobs.get(n)) is not None and not j.step
    ] or [j for n in incident.jobs if (j := tools.snapshot.jobs.get(n)) is not None]
    names = ", ".join(j.name for j in stopped)
    if traits_of(action).scope == "job":
        job = str(getattr(action, "job", ""))
        found = tools.snapshot.jobs.get(job)
        gpus = f", and its {found.gpus:g} GPUs of work wait" if found else ""
        return f"{job} stays stopped{gpus}."
    node = tools.node(incident.node)
    if node is None:
        return f"{incident.title.rstrip('.')} goes on."
    if node.ray_state is RayState.ALIVE and node.name not in tools.snapshot.fences:
        risk = f" {names} may stop there without warning." if names else ""
        return f"{node.name} keeps taking work on its {node.gpus} GPUs.{risk}"
    rest = f" {names} may stay stopped." if names else ""
    return f"{node.name} stays out with its {node.gpus} GPUs.{rest}"
