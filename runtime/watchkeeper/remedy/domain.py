"""The ladder of a whole domain: a rack, a switch, a feed, the storage. Nothing of it is done to a
node: what they share is a person's to mend. Gangs that stopped are requeued where there is room.
"""

from __future__ import annotations

from functools import lru_cache

from watchkeeper.core.cluster import RayState
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.remedy.jobs import after_repair
from watchkeeper.remedy.plan import Escalate, Plan, RemedyView, Steps, Wait
from watchkeeper.remedy.rungs import Patient

TOGETHER_S = 120.0
"""Deaths so close in time are taken to have one cause, where the nodes share a domain (ours)."""
COMPANY = 3
"""So many of one rack, leaf or feed together, this one counted, are worth waiting for more."""
MANY = 5
"""So many are the domain's fault: five hosts of one rack within minutes."""
_KINDS = ("rack", "leaf", "power_feed")


def domain_ladder(incident: Incident, view: RemedyView) -> Plan:
    """Requeue what can run elsewhere; the rest is a person's, at once."""
    if incident.fault == Fault.DOMAIN_DOWN:
        plan = after_repair(incident, view)
        if isinstance(plan, Steps):
            return plan
        why = f"{incident.title}. It is one fault of what they share; no node is touched."
    else:
        why = f"{incident.title}. Look at the storage and the network to it; no node is touched."
    return Escalate(why=why, page=True)


def falls_with_others(patient: Patient) -> Wait | None:
    """Did others of its rack, switch or feed die with it? Then the domain may be what is ill, and
    starting one node anew would neither help nor be right. Waited out, never longer than the
    domain's own incident needs to form, unless so many fell that the domain is surely it."""
    node, view = patient.node, patient.view
    since = node.ray_state_since.timestamp()
    dead = _dead_by_domain(view.snapshot)
    most, where = 0, ""
    for kind, name in node.domains().items():
        if kind not in _KINDS:
            continue
        times = dead.get(f"{kind}:{name}", ())
        near = sum(abs(t - since) <= TOGETHER_S for t in times)
        most, where = max((most, where), (near, f"{kind} {name}"))
    if most >= MANY:
        return Wait(why=f"{most} nodes of {where} died together: that is no fault of one node.")
    if most < COMPANY:
        return None
    waited = view.snapshot.at.timestamp() - since
    if waited >= view.settings.company_s:
        return None
    return Wait(why=f"{most} nodes of {where} died together. More may follow, so it waits a while.")


@lru_cache(maxsize=2)
def _dead_by_domain(snapshot: Snapshot) -> dict[str, tuple[float, ...]]:
    """Domain -> times of death of its dead nodes, once for each snapshot. Those behind our fence
    are our own doing and left out."""
    found: dict[str, list[float]] = {}
    for node in snapshot.nodes.values():
        if node.ray_state is not RayState.DEAD or node.name in snapshot.fences:
            continue
        for kind, name in node.domains().items():
            if kind in _KINDS:
                found.setdefault(f"{kind}:{name}", []).append(node.ray_state_since.timestamp())
    return {key: tuple(times) for key, times in found.items()}
