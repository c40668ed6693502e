"""The ladder for a GPU fault whose cure needs an empty node.

Cordon, drain, cure, check, uncordon, requeue; where no provider has a cure: hide the GPU, or keep
the node fenced, and call a person.
"""

from __future__ import annotations

from watchkeeper.core.cluster import RayState
from watchkeeper.core.facts import spare_nodes
from watchkeeper.core.fault import Fault, hangs_no_more, last_reading, recovery_said
from watchkeeper.remedy.cures import LAST_RESORT, ONE_TRY, cures_for
from watchkeeper.remedy.doubt import (
    check_here,
    cooled,
    home_again,
    is_emptied,
    running_on,
    second_opinion,
    told_no_more,
    until_checkpoint,
    with_gangs,
    works_again,
)
from watchkeeper.remedy.jobs import after_repair
from watchkeeper.remedy.plan import Escalate, Plan, Steps, Wait
from watchkeeper.remedy.rungs import Patient, Rung, homecoming, not_confirmed_dead
from watchkeeper.remedy.witness import (
    OF_THE_HOST,
    blames_the_network,
    board_of_both,
    by_a_switch,
    counter_says,
    hidden,
    lost_now,
    of_this_life,
    only_suspected,
    only_the_wire,
    own_disk,
    said_over,
    sick_gpus,
    to_reset,
)

_WHY_RESET = "The error asks for a reset of the GPU, once nothing runs on it."
HEAT_S = 1800.0
"""How long a hot or braked node, its work gone, is given to cool down before its check (ours)."""
LEMON = 2
"""Repairs for other incidents within 7 days after which a node is rather replaced (S20: 3)."""


def gpu_ladder(patient: Patient) -> Plan:
    """From what is observed: is the node still the one that fell ill, and where does it stand?"""
    node, incident = patient.node, patient.incident
    if node.ray_state is RayState.UNKNOWN:
        return Wait(why=f"Ray does not know the state of {node.name}.")
    if node.ray_state is RayState.DRAINING:
        return Wait(why=f"{node.name} drains.")
    if gone := hidden(patient):
        plan = after_repair(incident, patient.view)
        ends = f"{gone} The rest of the node serves. A person must see to the GPU."
        return plan if isinstance(plan, Steps) else Escalate(why=ends)
    if incident.fault == Fault.NVLINK and (suspicion := only_suspected(patient)):
        return suspicion
    if node.ray_state is RayState.DEAD:
        return not_confirmed_dead(patient) or _cure(patient)
    for well in (said_over, home_again, told_no_more, works_again):
        if over := well(patient):
            return over
    # A node that keeps dying is not well because it lives again.
    well_when_back = incident.fault != Fault.NODE_FLAPPING or patient.repaired_by_us
    if node.incarnation != incident.incarnation and well_when_back:
        lost = lost_now(patient)
        if lost is None:
            return Wait(why=f"{node.name} is back; its GPUs have not reported yet.")
        if not lost and patient.checked is not False:
            return homecoming(patient)
    return _awaits_company(patient) or _empty(patient)


def _awaits_company(patient: Patient) -> Wait | None:
    """The first word of a fault is seldom its last: codes come in company, and a second instrument
    speaks with its next reading. Nothing is decided on one source before that."""
    incident, view = patient.incident, patient.view
    young = (view.snapshot.at - incident.opened_at).total_seconds() < view.settings.settle_s
    if view.attempts or incident.independent_sources >= 2 or not young:
        return None
    if last_reading(incident) is not None:
        return None  # it was read more than once before it was believed
    return Wait(why=f"One source speaks of {incident.title}; a second may follow.")


def is_lemon(patient: Patient) -> bool:
    """It falls ill again and again: two other repairs within a week, or by its whole history while
    a spare stands ready. With none it is repaired once more, and serves on."""
    node, view = patient.node, patient.view
    if view.repairs_7d.get(node.name, 0) >= LEMON:
        return True
    return patient.incident.lemon > 0 and has_spare(patient)


def has_spare(patient: Patient) -> bool:
    """Whether another node of its pool stands wholly free."""
    node = patient.node
    return bool(spare_nodes(patient.view.snapshot).get(node.pool, frozenset()) - {node.name})


def _cures(patient: Patient) -> tuple[str, ...]:
    """What is left to try: each cure once in an incident."""
    fault = Fault(patient.incident.fault)
    if blames_the_network(patient.incident):
        fault = Fault.NETWORK_LINK
    view = patient.view
    kinds = cures_for(
        fault,
        view.snapshot.world,
        view.serves,
        recovery_said(of_this_life(patient)),
        switch=by_a_switch(patient.incident),
        again=is_lemon(patient) and not view.refused("node.replace"),
        wire=only_the_wire(patient.incident),
        disk=own_disk(patient.incident),
        board=board_of_both(patient.incident),
        spare=has_spare(patient),
    )
    kinds = tuple(k for k in kinds if not (k in LAST_RESORT and view.refused(k)))
    if fault in ONE_TRY and any(view.tried(k) for k in kinds):
        kinds = tuple(k for k in kinds if k in LAST_RESORT)
    if not sick_gpus(patient.incident) or fault in OF_THE_HOST:
        kinds = tuple(k for k in kinds if k != "gpu.reset")
    if "node.restart" not in view.serves:
        # A drained node comes back by a reboot, or by a restart after the reset.
        kinds = tuple(k for k in kinds if k != "gpu.reset")
    return tuple(k for k in kinds if not view.tried(k))


def _empty(patient: Patient) -> Plan:
    """The node is alive and ill: fence it, drain it."""
    node, name = patient.node, patient.node.name
    cures = _cures(patient)
    if not cures:
        return _no_cure(patient)
    ahead = (*_cure_rungs(patient, cures[0], node.incarnation), *patient.return_to_service())
    drain = (patient.action("node.drain"), f"{name} must be empty before it is repaired.")
    if not patient.can("node.drain"):
        return Escalate(why=f"{name} cannot be drained (again), so it is not repaired.", page=True)
    if patient.fence is None and patient.can("node.cordon"):
        if old := counter_says(patient) or _steps_again(patient):
            return old
        cordon = (patient.action("node.cordon"), f"{patient.incident.title}. Keep new work off.")
        return patient.climb(cordon, drain, *ahead)
    if settle := second_opinion(patient) or with_gangs(patient) or _still_growing(patient):
        return settle
    if cures[0] == "node.replace" and is_emptied(patient):
        # Its raylet need not end first. While a person is asked, its instruments go on to speak.
        return patient.climb(*ahead)
    return patient.climb(drain, *ahead)


def _steps_again(patient: Patient) -> Wait | None:
    """It stood out in a gang that hung, and that gang makes steps: what it was may be over."""
    if patient.incident.fault != Fault.NODE_SUSPECT:
        return None
    if not hangs_no_more(patient.incident, patient.view.snapshot.jobs):
        return None
    return Wait(why="The gang that hung makes steps again. It waits whether that stays so.")


def _still_growing(patient: Patient) -> Wait | None:
    """Fenced and empty, so that nobody waits for it: first hear all that will be said of it, since
    the first word often asks for a lesser cure than the last."""
    view = patient.view
    lasted = (view.snapshot.at - patient.incident.opened_at).total_seconds()
    if patient.fence is None or running_on(patient) or lasted >= view.settings.linger_s:
        return None
    if patient.repaired_by_us or check_here(patient) is False:
        return None
    return Wait(why=f"{patient.node.name} is fenced and empty; more may be said of it.")


def move_work(patient: Patient) -> Plan:
    """Clocks are cut, or it asks for hands: no reset or reboot mends that. Keep new work off, move
    a gang that suffers of it once it has saved, give it time to pass; then another node, or a
    person."""
    incident, node, view = patient.incident, patient.node, patient.view
    why = f"{incident.title}. No action on the node mends it."
    if node.ray_state is RayState.ALIVE:
        if node.incarnation != incident.incarnation and patient.repaired_by_us:
            return homecoming(patient)
        if patient.fence is None and patient.can("node.cordon"):
            return patient.climb((patient.action("node.cordon"), f"{why} Keep new work off."))
        if waits := home_again(patient) or cooled(patient) or with_gangs(patient):
            return waits
        suffers = any(s.code == "gang.slow" for s in incident.signals)
        if suffers and running_on(patient) and patient.can("node.drain"):
            reason = f"{why} Its gang goes on elsewhere."
            return until_checkpoint(patient, slow=True) or patient.climb(
                (patient.action("node.drain"), reason)
            )
    if running_on(patient):
        return Wait(why=f"{why} What runs there may end by itself first.")
    lasted = (view.snapshot.at - incident.opened_at).total_seconds()
    hot = incident.fault in (Fault.GPU_THERMAL, Fault.GPU_POWER_BRAKE)
    if hot and node.ray_state is RayState.ALIVE and lasted < HEAT_S:
        return Wait(why=f"{why} {node.name} is fenced, and may cool down.")
    if node.ray_state is RayState.ALIVE and (look := second_opinion(patient)):
        return look
    if node.ray_state is RayState.DEAD and (not_yet := not_confirmed_dead(patient)):
        return not_yet
    if _cures(patient) and patient.can("node.replace"):
        drain = (patient.action("node.drain"), f"{node.name} is emptied before it is given back.")
        swap = (patient.action("node.replace"), f"{why} Another node takes its place.")
        if node.ray_state is RayState.DEAD or is_emptied(patient):
            return patient.climb(swap, *patient.return_to_service())
        if node.ray_state is RayState.ALIVE and patient.can("node.drain"):
            return patient.climb(drain, swap, *patient.return_to_service())
    return Escalate(why=why)


def _cure(patient: Patient) -> Plan:
    """The node is gone: cure it, or after a reset bring it back."""
    node, view = patient.node, patient.view
    resets = {getattr(r.action, "gpu", -1) for r in view.tried("gpu.reset", node.incarnation)}
    if resets:
        todo = [g for g in to_reset(patient.incident) if g not in resets]
        rungs: list[Rung] = [(patient.action("gpu.reset", gpu=g), _WHY_RESET) for g in todo]
        if not view.tried("node.restart", node.incarnation):
            rungs.append(_bring_back(patient))
            return patient.climb(*rungs, *patient.return_to_service())
    cures = _cures(patient)
    if not cures:
        return _no_cure(patient)
    return patient.climb(
        *_cure_rungs(patient, cures[0], node.incarnation), *patient.return_to_service()
    )


def _cure_rungs(patient: Patient, kind: str, life: str) -> tuple[Rung, ...]:
    name = patient.node.name
    match kind:
        case "gpu.reset":
            sick = to_reset(patient.incident)
            resets = [(patient.action("gpu.reset", life, gpu=g), _WHY_RESET) for g in sick]
            return (*resets, _bring_back(patient, life))
        case "node.restart":
            reason = f"A new raylet clears the simulated fault of {name}."
            return ((patient.action(kind, life), reason),)
        case "node.replace":
            reason = (
                f"What mends {patient.incident.title} without a new node was tried, or none is."
            )
            return ((patient.action(kind, life), reason),)
        case _ if patient.incident.fault in OF_THE_HOST:
            reason = "A reboot trains the host's links anew and starts its software clean."
            return ((patient.action(kind, life), reason),)
        case _ if patient.incident.fault == Fault.GPU_OFF_BUS:
            reason = "A reboot of the host resets the GPU; a GPU off the bus needs no less."
            return ((patient.action(kind, life), reason),)
        case _:
            reason = "A reboot of the host resets all of its GPUs and loads its driver anew."
            return ((patient.action(kind, life), reason),)


def _bring_back(patient: Patient, life: str | None = None) -> Rung:
    return patient.action("node.restart", life), f"{patient.node.name} returns after the reset."


def _no_cure(patient: Patient) -> Plan:
    """Nothing (more) to try: hide the GPU where that can be done, else keep the node fenced."""
    node, title = patient.node, patient.incident.title
    if patient.repaired_by_us:
        return Escalate(why=f"{title}: still there after what we can do.", page=True)
    sick = sick_gpus(patient.incident)
    if node.ray_state is not RayState.ALIVE:
        return Escalate(why=f"{title}, and no provider here can mend it. {node.name} is down.")
    alone = len(sick) == 1 and patient.incident.fault not in (Fault.NVLINK, *OF_THE_HOST)
    if alone and patient.can("gpu.quarantine"):
        reason = f"{title}. No provider here can mend it, so the GPU is hidden."
        return patient.climb((patient.action("gpu.quarantine", gpu=sick[0]), reason))
    if patient.fence is None and patient.can("node.cordon"):
        reason = f"{title}. No provider here can mend it, so new work is kept off."
        return patient.climb((patient.action("node.cordon"), reason))
    fenced = f" {node.name} is fenced." if patient.fence else ""
    return Escalate(why=f"{title}, and no provider here can mend it.{fenced}")
