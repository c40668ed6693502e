"""The ladder for a GPU fault whose cure needs an empty node.

Cordon, drain, cure, check, uncordon, requeue; where no provider has a cure: hide the GPU, or keep
the node fenced, and call a person.
"""

from __future__ import annotations

from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.fault import Fault, Recovery, recovery_said
from watchkeeper.core.incident import ATTACKER_WRITABLE, Incident, Signal
from watchkeeper.core.telemetry import GPU_FIELDS
from watchkeeper.remedy.cures import LAST_RESORT, ONE_TRY, cures_for
from watchkeeper.remedy.jobs import after_repair, elsewhere
from watchkeeper.remedy.patience import stake_of, worth_waiting_s
from watchkeeper.remedy.plan import Done, Escalate, Plan, Steps, Wait
from watchkeeper.remedy.rungs import Patient, Rung, homecoming, not_confirmed_dead

_PRESENT = GPU_FIELDS.index("present")
_COMPANIONS = frozenset({"xid.43", "xid.45", "xid.154"})
"""They come with another code, and say nothing of a link themselves."""
_WHY_RESET = "The error asks for a reset of the GPU, once nothing runs on it."
_OF_THE_HOST = frozenset({Fault.NETWORK_LINK, Fault.PCIE, Fault.NODE_FLAPPING, Fault.NODE_SUSPECT})
"""No GPU is named, none is reset or hidden, and the host is what the cure is for."""
SLOW = frozenset({"node.reboot", "node.replace"})
"""Cures that take so long that a gang better goes on elsewhere meanwhile."""
SUSPECT_S = 600.0
"""How long one NVLink error is watched for a second (assumption)."""


def gpu_ladder(patient: Patient) -> Plan:
    """From what is observed: is the node still the one that fell ill, and where does it stand?"""
    node, incident = patient.node, patient.incident
    if node.ray_state is RayState.UNKNOWN:
        return Wait(why=f"Ray does not know the state of {node.name}.")
    if node.ray_state is RayState.DRAINING:
        return Wait(why=f"{node.name} drains.")
    if hidden := _hidden(patient):
        plan = after_repair(incident, patient.view)
        ends = f"{hidden} The rest of the node serves. A person must see to the GPU."
        return plan if isinstance(plan, Steps) else Escalate(why=ends)
    if incident.fault == Fault.NVLINK and (suspicion := _only_suspected(patient)):
        return suspicion
    if node.ray_state is RayState.DEAD:
        return not_confirmed_dead(patient) or _cure(patient)
    if over := _said_over(patient):
        return over
    # A node that keeps dying is not well because it lives again.
    well_when_back = incident.fault != Fault.NODE_FLAPPING or patient.repaired_by_us
    if node.incarnation != incident.incarnation and well_when_back:
        lost = _lost_now(patient)
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
    return Wait(why=f"One source speaks of {incident.title}; a second may follow.")


def _cures(patient: Patient) -> tuple[str, ...]:
    """What is left to try: each cure once in an incident."""
    fault = Fault(patient.incident.fault)
    view = patient.view
    kinds = cures_for(
        fault,
        view.snapshot.world,
        view.serves,
        recovery_said(_of_this_life(patient)),
        switch=_by_a_switch(patient.incident),
        again=view.repairs_7d.get(patient.node.name, 0) > 0 and not view.refused("node.replace"),
    )
    kinds = tuple(k for k in kinds if not (k in LAST_RESORT and view.refused(k)))
    if fault in ONE_TRY and any(view.tried(k) for k in kinds):
        kinds = tuple(k for k in kinds if k in LAST_RESORT)
    if not _sick_gpus(patient.incident) or fault in _OF_THE_HOST:
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
        cordon = (patient.action("node.cordon"), f"{patient.incident.title}. Keep new work off.")
        return patient.climb(cordon, drain, *ahead)
    return _until_checkpoint(patient) or patient.climb(drain, *ahead)


def move_work(patient: Patient) -> Plan:
    """Clocks are cut, which no action here mends: keep new work off, move a gang that suffers of
    it once it has saved, and leave the rest to a person."""
    incident, node = patient.incident, patient.node
    why = f"{incident.title}. No action of ours mends it."
    suffers = any(s.code == "gang.slow" for s in incident.signals)
    if node.ray_state is RayState.ALIVE:
        if patient.fence is None and patient.can("node.cordon"):
            return patient.climb((patient.action("node.cordon"), f"{why} Keep new work off."))
        if suffers and patient.fence is not None and patient.can("node.drain"):
            reason = f"{why} Its gang goes on elsewhere."
            drain = patient.climb((patient.action("node.drain"), reason))
            return _until_checkpoint(patient) or drain
    return elsewhere(incident, patient.view, node) or Escalate(why=why)


def _until_checkpoint(patient: Patient) -> Wait | None:
    """Fenced already, so nothing new lands: is it cheaper to let the gangs save first?"""
    incident, view = patient.incident, patient.view
    hangs = any(s.code == "gang.hang" for s in incident.signals)
    slow = any(s.code == "gang.slow" for s in incident.signals)
    if patient.fence is None or hangs:
        return None
    longest, name = 0.0, ""
    for job in view.snapshot.jobs_on(patient.node.name):
        every = view.settings.checkpoint_every_s
        stake = stake_of(job, incident.fault, view.snapshot.at, every, slow=slow)
        if job.state is JobState.RUNNING and stake is None:
            return None  # of one gang nobody knows when it saves
        wait = worth_waiting_s(stake) if stake is not None else 0.0
        longest, name = max((longest, name), (wait, job.name))
    if longest <= 0.0:
        return None
    return Wait(why=f"The drain waits for the next checkpoint of {name}: that loses less.")


def _cure(patient: Patient) -> Plan:
    """The node is gone: cure it, or after a reset bring it back."""
    node, view = patient.node, patient.view
    resets = {getattr(r.action, "gpu", -1) for r in view.tried("gpu.reset", node.incarnation)}
    if resets:
        todo = [g for g in _sick_gpus(patient.incident) if g not in resets]
        rungs: list[Rung] = [(patient.action("gpu.reset", gpu=g), _WHY_RESET) for g in todo]
        if not view.tried("node.restart", node.incarnation):
            rungs.append(_bring_back(patient))
            return patient.climb(*rungs, *patient.return_to_service())
    cures = _cures(patient)
    if not cures:
        return _no_cure(patient)
    if cures[0] in SLOW and (first := elsewhere(patient.incident, view, node)):
        return first
    return patient.climb(
        *_cure_rungs(patient, cures[0], node.incarnation), *patient.return_to_service()
    )


def _cure_rungs(patient: Patient, kind: str, life: str) -> tuple[Rung, ...]:
    name = patient.node.name
    match kind:
        case "gpu.reset":
            sick = _sick_gpus(patient.incident)
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
        case _ if patient.incident.fault in _OF_THE_HOST:
            reason = "A reboot trains the host's links anew and starts its software clean."
            return ((patient.action(kind, life), reason),)
        case _:
            reason = "A reboot of the host resets the GPU; a GPU off the bus needs no less."
            return ((patient.action(kind, life), reason),)


def _bring_back(patient: Patient, life: str | None = None) -> Rung:
    return patient.action("node.restart", life), f"{patient.node.name} returns after the reset."


def _no_cure(patient: Patient) -> Plan:
    """Nothing (more) to try: hide the GPU where that can be done, else keep the node fenced."""
    node, title = patient.node, patient.incident.title
    if patient.repaired_by_us:
        return Escalate(why=f"{title}: still there after what we can do.", page=True)
    sick = _sick_gpus(patient.incident)
    if node.ray_state is not RayState.ALIVE:
        return Escalate(why=f"{title}, and no provider here can mend it. {node.name} is down.")
    alone = len(sick) == 1 and patient.incident.fault not in (Fault.NVLINK, *_OF_THE_HOST)
    if alone and patient.can("gpu.quarantine"):
        reason = f"{title}. No provider here can mend it, so the GPU is hidden."
        return patient.climb((patient.action("gpu.quarantine", gpu=sick[0]), reason))
    if patient.fence is None and patient.can("node.cordon"):
        reason = f"{title}. No provider here can mend it, so new work is kept off."
        return patient.climb((patient.action("node.cordon"), reason))
    fenced = f" {node.name} is fenced." if patient.fence else ""
    return Escalate(why=f"{title}, and no provider here can mend it.{fenced}")


def _hidden(patient: Patient) -> str:
    sick = set(_sick_gpus(patient.incident))
    if sick and sick <= set(patient.node.hidden_gpus):
        return f"GPU {', '.join(map(str, sorted(sick)))} of {patient.node.name} is hidden."
    return ""


def _only_suspected(patient: Patient) -> Plan | None:
    """One NVLink line may blame the innocent end: watch for a second, or for the switch's word."""
    own = set(patient.incident.sick_gpus)
    seen = [
        s
        for s in patient.incident.signals
        if s.trust not in ATTACKER_WRITABLE
        and s.code not in _COMPANIONS
        and (s.target in own or not s.target.startswith("gpu:"))
    ]
    if recovery_said(patient.incident.signals) not in (None, Recovery.NONE):
        return None  # the driver itself asks for a cure
    times = [s.at for s in seen]
    if any(s.code == "nvlink.errors" for s in seen):
        return None  # a counter over its threshold is many errors already
    families = {s.code.partition(".")[0] for s in seen} & {"xid", "sxid"}
    apart = (max(times) - min(times)).total_seconds() if times else 0.0
    if apart >= 5.0 or len(families) > 1:
        return None
    lasted = (patient.view.snapshot.at - patient.incident.opened_at).total_seconds()
    if lasted < SUSPECT_S:
        return Wait(why="One NVLink error proves nothing. We watch for a second.")
    return Done(why="The NVLink error did not come again.")


def _said_over(patient: Patient) -> Plan | None:
    """The driver took its own word back (Xid 154 says None, after every other word): the GPU needs
    nothing. What stopped is requeued, and the ticket says so."""
    incident, now = patient.incident, _of_this_life(patient)
    if incident.fault in _OF_THE_HOST or incident.fault in (Fault.GPU_OFF_BUS, Fault.GPU_RMA):
        return None
    if recovery_said(now) is not Recovery.NONE or patient.view.attempts or patient.fence:
        return None
    spoke = max(s.at for s in now if s.code == "xid.154")
    if any(s.at > spoke for s in now if s.code != "xid.154" and s.code.startswith("xid.")):
        return None
    plan = after_repair(incident, patient.view)
    why = f"{incident.title}; the driver says since that the GPU needs no recovery."
    return plan if isinstance(plan, Steps) else Escalate(why=why)


def _of_this_life(patient: Patient) -> list[Signal]:
    """What the instruments said of the incarnation that fell ill."""
    life = patient.incident.incarnation
    return [
        s
        for s in patient.incident.signals
        if s.trust not in ATTACKER_WRITABLE and s.incarnation in ("", life)
    ]


def _by_a_switch(incident: Incident) -> bool:
    return any(s.code.startswith("sxid.") for s in incident.signals)


def _lost_now(patient: Patient) -> bool | None:
    """Does the driver of the new incarnation miss a GPU? None: it has not spoken since."""
    frame, node = patient.view.snapshot.frame, patient.node
    row = frame.row.get(node.name)
    last = frame.last_read(node.name)
    if row is None or last is None or last < node.ray_state_since.timestamp():
        return None
    present = frame.gpu[row, :, _PRESENT]
    sick = [g for g in _sick_gpus(patient.incident) if g < len(present)]
    return bool((present[sick] == 0.0).any() if sick else (present == 0.0).any())


def _sick_gpus(incident: Incident) -> list[int]:
    """Indexes of the GPUs that the fault is about; those named only by PCI address have none, and
    one that only a companion names is not touched."""
    names = {*incident.sick_gpus, incident.target}
    tails = [t.rpartition("/")[2] for t in names if t.startswith("gpu:")]
    return sorted({int(t) for t in tails if t.isdigit()})
