"""What is the next rung? Incident + view -> Plan. Asked by the remediation agent, once a turn.

Level-triggered: the rung follows from what is observed (state, incarnation, fence, check, jobs)
and from what was tried, never from a counter, so that after a crash the work goes on where the
cluster stands. No rung is climbed twice on one incarnation. Proposes; never acts.
"""

from __future__ import annotations

from watchkeeper.core.cluster import Node, RayState
from watchkeeper.core.fault import GANG_FAULTS, REPAIRED_ON_NODE, Fault
from watchkeeper.core.incident import Incident
from watchkeeper.core.untold import untold
from watchkeeper.remedy import rungs
from watchkeeper.remedy.domain import domain_ladder, falls_with_others
from watchkeeper.remedy.gang import gang_ladder
from watchkeeper.remedy.gpu import LEMON, gpu_ladder, move_work
from watchkeeper.remedy.jobs import job_ladder
from watchkeeper.remedy.plan import Done, Escalate, Plan, RemedyView, Steps, Wait
from watchkeeper.remedy.rungs import Patient, homecoming

MAX_RESTARTS = 2
"""Restarts within one incident: a node that dies again right after its second is no bad luck."""


def next_steps(incident: Incident, view: RemedyView) -> Plan:
    """The next rung and what would follow; or why to wait, why it is done, or why a person must
    go on. The same incident and view always give the same plan."""
    plan = _route(incident, view)
    if isinstance(plan, Steps) and (harm := _worse(view)):
        return Escalate(why=f"{harm} Nothing more is tried.", page=True)
    ends = isinstance(plan, Done) or (isinstance(plan, Escalate) and not plan.page)
    if ends and (gangs := untold(incident, view.snapshot)):
        names = ", ".join(gangs)
        return Wait(why=f"{names} ran on {incident.node} when it ended; Ray tells of that soon.")
    return plan


def _route(incident: Incident, view: RemedyView) -> Plan:
    if blind := _blind(incident, view):
        return blind
    match Fault(incident.fault):
        case Fault.NODE_LOST:
            return _on_node(incident, view, node_lost)
        case Fault.NODE_SILENT:
            return _on_node(incident, view, node_silent)
        case Fault.JOB_STOPPED | Fault.APPLICATION | Fault.GPU_MEMORY_CONTAINED:
            return job_ladder(incident, view)
        case Fault.GPU_THERMAL | Fault.GPU_POWER_BRAKE | Fault.GPU_HANDS_ON:
            return _on_node(incident, view, move_work)
        case Fault.GPU_UNKNOWN:
            return Escalate(why=f"{incident.title}. We know no cure for it, so nothing is tried.")
        case Fault.GPU_NOTICE:
            return Escalate(why=f"{incident.title}. It asks for a look, not for an act.")
        case Fault.SENSOR:
            return Escalate(why=f"{incident.title}. Look at the sensor; its GPUs are left alone.")
        case Fault.DOMAIN_DOWN | Fault.STORAGE_STALL:
            return domain_ladder(incident, view)
        case fault if fault in GANG_FAULTS:
            return gang_ladder(incident, view)
        case Fault.CAPACITY_SHORT:
            return Wait(why="The scheduler looks after capacity.")
        case Fault.SOURCE_LOST:
            return Escalate(why=f"{incident.title}. What it told us is Unknown now.", page=True)
        case fault if fault in REPAIRED_ON_NODE:
            return _on_node(incident, view, gpu_ladder)
        case fault:
            return Escalate(why=f"No ladder for {fault.value}.")


def _worse(view: RemedyView) -> str:
    for result in view.attempts:
        if result.kind == "outcome" and result.value == "worse":
            return result.says or "The last step made it worse."
    return ""


def _blind(incident: Incident, view: RemedyView) -> Wait | None:
    """On old news nothing is done: a step that needs Ray's view waits until Ray answers."""
    ray = view.snapshot.sources.get("ray")
    if incident.fault == Fault.SOURCE_LOST or ray is None:
        return None
    old = ray.age_s is None or ray.age_s > view.settings.ray_limit_s
    if not (ray.error or old):
        return None
    return Wait(why="Ray does not answer; what it said last is too old to act on.")


def _on_node(incident: Incident, view: RemedyView, ladder: rungs.NodeLadder) -> Plan:
    node = view.snapshot.nodes.get(incident.node)
    if node is None:
        return Wait(why=f"Ray does not list {incident.node}: its state is Unknown.")
    if node.control_path:
        why = f"{incident.title}. It carries our own control path, which only a person may touch."
        return Escalate(why=why, page=True)
    return _with_its_domain(incident, node, view) or ladder(Patient(incident, node, view))


def _with_its_domain(incident: Incident, node: Node, view: RemedyView) -> Wait | None:
    """Its repair began before the others of its rack, leaf or feed fell ill: what they share is to
    blame, and nothing more is done to this one until that is over."""
    for kind, name in node.domains().items():
        if incident.fault in view.down.get(f"{kind}:{name}", ()):
            return Wait(why=f"{kind} {name} is down, which explains what is told of {node.name}.")
    return None


def node_lost(patient: Patient) -> Plan:
    """Restart, check, uncordon, requeue what stopped there."""
    node, view = patient.node, patient.view
    match node.ray_state:
        case RayState.UNKNOWN:
            return Wait(why=f"Ray does not know the state of {node.name}: Unknown is not dead.")
        case RayState.DRAINING:
            return Wait(why=f"{node.name} drains.")
        case RayState.ALIVE:
            return homecoming(patient)
        case RayState.DEAD:
            pass
    if not_yet := rungs.not_confirmed_dead(patient):
        return not_yet
    if not view.serves & {"node.restart", "node.reboot"}:
        return Escalate(why=f"{node.name} is lost, and no provider here can restart it.")
    if company := falls_with_others(patient):
        return company
    often = view.repairs_7d.get(node.name, 0) >= LEMON
    if often and patient.can("node.replace") and not view.refused("node.replace"):
        reason = f"{node.name} is dead again, after two other repairs within 7 days."
        return patient.climb((patient.action("node.replace"), reason), *patient.return_to_service())
    for kind in ("node.restart", "node.reboot"):
        if kind not in view.serves or view.tried(kind, node.incarnation):
            continue
        if len(view.tried(kind)) >= MAX_RESTARTS:
            continue
        if kind == "node.reboot" and node.process_gone is None and "node.replace" in view.serves:
            continue  # its provider does not see the host: an order to reboot reaches nobody
        reason = f"{node.name} is dead by Ray's word and by a second source; nothing runs there."
        return patient.climb((patient.action(kind), reason), *patient.return_to_service())
    if patient.can("node.replace") and not view.refused("node.replace"):
        reason = f"{node.name} is dead, and neither a restart nor a reboot brought it back."
        return patient.climb((patient.action("node.replace"), reason), *patient.return_to_service())
    return _died_again(node.name)


def _died_again(name: str) -> Escalate:
    return Escalate(why=f"{name} died again, or did not come back, after a restart.", page=True)


def node_silent(patient: Patient) -> Plan:
    """Silence is Unknown (S10): it is waited out, never repaired."""
    node, view = patient.node, patient.view
    lasted = (view.snapshot.at - patient.incident.opened_at).total_seconds()
    if node.ray_state is not RayState.ALIVE:
        return Wait(why=f"Nobody hears {node.name}. That is Unknown, until a second source speaks.")
    silence = view.snapshot.silence_s(node.name)
    if silence is not None and silence <= view.settings.silent_after_s:
        return Done(why=f"{node.name} is heard again.")
    if lasted < view.settings.dwell_s:
        return Wait(why=f"Ray hears {node.name}, we do not. Its collector gets time to return.")
    return Escalate(why=f"The collector of {node.name} is silent; Ray says the node is alive.")
