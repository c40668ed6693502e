"""Which node of a gang makes its loss no number? Asked by the gang's ladder and by the planner.

A gang that computes nonsense again, from a checkpoint of before it, has a node to blame that no
instrument names. It is kept ended while each of its nodes does arithmetic whose result is known,
all at once; who gets it wrong is fenced, the gang goes on, and the fenced one is checked once more
before it is given back. A check takes free GPUs, stops nothing and fences nobody. Pure.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from watchkeeper.core.action import CheckRun, node_of
from watchkeeper.core.cluster import CheckResult, Job, JobState, Node, RayState
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.remedy.jobs import after_repair
from watchkeeper.remedy.plan import Escalate, Plan, RemedyView, Step, Steps, Wait
from watchkeeper.remedy.rungs import Patient, homecoming, step

AGAIN = 2
"""Attempts whose loss was no number, from which on the gang's program is not blamed."""
MOST_TEST_S = 3 * 3600.0
"""A gang is kept ended for its test no longer than this (ours)."""


def attempts_in_doubt(incident: Incident) -> int:
    """How many attempts of the gang said that their loss is no number."""
    return len({s.incarnation for s in incident.signals if s.code == "gang.nan"})


def tested(snapshot: Snapshot, name: str, since: datetime) -> bool | None:
    """How the check of this node's raylet ended that began after `since`; None: no result yet."""
    node, found = snapshot.nodes.get(name), snapshot.state.checks.get(name)
    if node is None or found is None or found.incarnation != node.incarnation:
        return None
    return found.passed if _after(found, since) else None


def to_check(incident: Incident, snapshot: Snapshot) -> tuple[str, ...]:
    """Nodes of a gang under test that have no result yet, by name."""
    if incident.fault != Fault.GANG_NAN or attempts_in_doubt(incident) != AGAIN:
        return ()
    since = _newest_word(incident)
    return tuple(
        sorted(
            node.name
            for job in _under_test(incident, snapshot)
            for node in _alive(job, snapshot)
            if tested(snapshot, node.name, since) is None
        )
    )


def check_step(incident: Incident, name: str, view: RemedyView) -> Step | Wait:
    """The check of one node of a gang under test, once for each life of its raylet."""
    node = view.snapshot.nodes.get(name)
    if node is None or node.ray_state is not RayState.ALIVE or "check.run" not in view.serves:
        return Wait(why=f"{name} cannot be checked.")
    runs = _patient(incident, node, view).check_runs
    if runs or view.tried("check.run", node.incarnation):
        return Wait(why=f"The check of {name} was asked for already.")
    action = CheckRun(node=name, incarnation=node.incarnation)
    reason = f"Is it {name} that makes {', '.join(incident.jobs)} compute nonsense?"
    return step(incident, view, action, reason)


def group_test(incident: Incident, view: RemedyView) -> Plan | None:
    """What the gang's ladder does about its nodes; None: nothing (more)."""
    if attempts_in_doubt(incident) < AGAIN or "check.run" not in view.serves:
        return None
    since = _newest_word(incident)
    ours = {node_of(r.action) for r in view.tried("node.cordon")}
    jobs = [view.snapshot.jobs[n] for n in incident.jobs if n in view.snapshot.jobs]
    wrong = {
        name for job in jobs for name in job.nodes if tested(view.snapshot, name, since) is False
    }
    for name in sorted(wrong - set(view.snapshot.fences)):
        node = view.snapshot.nodes[name]
        patient = _patient(incident, node, view)
        if not patient.check_runs and patient.can("node.cordon"):
            reason = f"{name} failed its check. Keep work off, and let the gang go on elsewhere."
            return patient.climb((patient.action("node.cordon"), reason))
    left = to_check(incident, view.snapshot)
    if left and not wrong and _stood_s(incident, view.snapshot) < MOST_TEST_S:
        return Wait(why=f"{incident.title}. {len(left)} of its nodes are still checked.")
    gang = after_repair(incident, view)
    if isinstance(gang, Steps):
        return gang
    for name in sorted(ours.intersection(view.snapshot.fences, view.snapshot.nodes)):
        return _of_the_culprit(_patient(incident, view.snapshot.nodes[name], view), since)
    return None


def _of_the_culprit(patient: Patient, since: datetime) -> Plan:
    """It is fenced: check it once more where nobody waits for it, and give it back."""
    node, view = patient.node, patient.view
    if node.ray_state is not RayState.ALIVE:
        return Wait(why=f"{node.name} is {node.ray_state.value}.")
    if patient.check_runs:
        return Wait(why=f"The check of {node.name} runs.")
    if tested(view.snapshot, node.name, since) is not False:
        return homecoming(patient)
    if patient.can("check.run"):
        again = f"{node.name} failed one check. It fails another before it is given back."
        return patient.climb((patient.action("check.run"), again))
    if patient.can("node.replace") and not view.refused("node.replace"):
        reason = f"{node.name} computes wrong in silence, as two checks say. Nothing else mends it."
        return patient.climb((patient.action("node.replace"), reason), *patient.return_to_service())
    return Escalate(why=f"{node.name} fails its check, is fenced, and cannot be replaced by us.")


def _patient(incident: Incident, node: Node, view: RemedyView) -> Patient:
    return Patient(replace(incident, node=node.name, incarnation=node.incarnation), node, view)


def _under_test(incident: Incident, snapshot: Snapshot) -> list[Job]:
    """Its gangs that are ended, unless one of their nodes is known to be wrong already."""
    since = _newest_word(incident)
    jobs = [snapshot.jobs[n] for n in incident.jobs if n in snapshot.jobs]
    return [
        job
        for job in jobs
        if job.state is JobState.STOPPED
        and not any(tested(snapshot, name, since) is False for name in job.nodes)
    ]


def _alive(job: Job, snapshot: Snapshot) -> list[Node]:
    """Its nodes that a check can run on."""
    here = [snapshot.nodes[n] for n in job.nodes if n in snapshot.nodes]
    return [n for n in here if n.ray_state is RayState.ALIVE and not n.control_path]


def _after(found: CheckResult, since: datetime) -> bool:
    return found.at is not None and found.at >= since


def _newest_word(incident: Incident) -> datetime:
    return max(s.at for s in incident.signals if s.code == "gang.nan")


def _stood_s(incident: Incident, snapshot: Snapshot) -> float:
    return (snapshot.at - _newest_word(incident)).total_seconds()
