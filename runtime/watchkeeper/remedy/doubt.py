"""Is it this node at all, and may its gang go on meanwhile? Asked between the fence and the drain.

A fence costs little and can be taken away; a drain, a reset or a reboot cannot. Symptoms often
blame the innocent end, and a third of all faults is over by itself; so whatever a short real
workload on the fenced, empty node would show is put to that witness of our own first. Nobody waits
for the node by then. Pure; proposes, never acts.
"""

from __future__ import annotations

from datetime import datetime

from watchkeeper.core.action import JobPreempt
from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.fault import (
    GONE_S,
    PROOF_S,
    check_tells,
    cleared,
    is_over,
    quiet_for_s,
    works_since_s,
)
from watchkeeper.core.heat import cool_for_s
from watchkeeper.core.incident import Incident
from watchkeeper.remedy.evict import choice, spare_gpus
from watchkeeper.remedy.jobs import after_repair
from watchkeeper.remedy.patience import HAZARD_PER_H, SLOW_PACE, stake_of, worth_waiting_s
from watchkeeper.remedy.plan import Plan, Steps, Wait
from watchkeeper.remedy.rungs import Patient
from watchkeeper.remedy.witness import counter_says

HANG_S = 300.0
"""How long a gang makes no steps before it is ended: what goes on by itself (a link trained anew, a
file server back) mostly does so sooner, and a watchdog waits 10 to 30 minutes (ours)."""
CALM_S = 600.0
"""A node whose gang runs on is trusted again once nothing was told of it for so long (ours)."""
STALE_S = 900.0
"""A check that failed so long before the repair could begin is taken once more (ours)."""
LOOKS = 2
"""Checks of one life before it is repaired: a word that came while the first ran may have been the
last (ours)."""
_SLOWS = frozenset({"gang.slow", "gang.hang"})


def is_thin(patient: Patient) -> bool:
    """One instrument, and no failed check of ours beside it."""
    return patient.incident.independent_sources < 2 and check_here(patient) is not False


def check_here(patient: Patient) -> bool | None:
    """How our check of this incarnation ended in this incident; None when there was none."""
    tried = patient.view.tried("check.run", patient.node.incarnation)
    if not tried:
        return None
    return {"recovered": True, "failed": False}.get(tried[-1].value)


def home_again(patient: Patient) -> Plan | None:
    """Its check passed since the last word against it: it goes back, and nothing is repaired."""
    node, view = patient.node, patient.view
    check = view.snapshot.state.checks.get(node.name)
    if check_here(patient) is not True or not cleared(patient.incident, check, node.incarnation):
        return None
    if patient.fence is None:
        return after_repair(patient.incident, view)
    if not patient.can("node.uncordon"):
        return None
    reason = f"{node.name} passed its check; what was said of it did not show under load."
    return patient.climb((patient.action("node.uncordon"), reason))


def works_again(patient: Patient) -> Plan | None:
    """A gang makes steps there after the last word against it: that is a check, and it is let go
    on. None: none does."""
    incident, view = patient.incident, patient.view
    jobs = view.snapshot.jobs_on(patient.node.name)
    works_s = works_since_s(incident, view.snapshot.at, jobs)
    if works_s is None or patient.repaired_by_us or check_here(patient) is False:
        return None
    if works_s < PROOF_S:
        return Wait(why=f"What runs on {patient.node.name} makes steps since.")
    if patient.fence is None:
        return after_repair(incident, view)
    if not patient.can("node.uncordon"):
        return None
    reason = f"What runs on {patient.node.name} has run well since."
    return patient.climb((patient.action("node.uncordon"), reason))


def told_no_more(patient: Patient) -> Plan | None:
    """What spoke of it is told again while it lasts, and is told no more: nothing is repaired. A
    gang that runs on the node has shown after a while that it is well; empty, it is checked, once
    more where a check failed while it lasted."""
    incident, view, node = patient.incident, patient.view, patient.node
    silence = view.snapshot.silence_s(node.name)
    heard = silence is not None and silence <= view.settings.silent_after_s
    check = view.snapshot.state.checks.get(node.name)
    over = is_over(incident, view.snapshot.at, view.snapshot.jobs, check)
    if patient.repaired_by_us or not heard or not over:
        return None
    if patient.fence is None:
        return after_repair(incident, view)
    if not running_on(patient):
        looked = len(view.tried("check.run", node.incarnation))
        again = check_here(patient) is False and looked <= LOOKS and "check.run" in view.serves
        if not again or patient.check_runs or not is_emptied(patient):
            return None
        reason = (
            f"{node.name} failed its check, and nothing is told of it since. It is checked again."
        )
        return patient.climb((patient.action("check.run"), reason))
    quiet_s = quiet_for_s(incident, view.snapshot.at) or 0.0
    if quiet_s < CALM_S or not patient.can("node.uncordon"):
        return Wait(why="It is not told of any more. It waits whether that stays so.")
    reason = f"Nothing is told of {node.name} any more, and what runs there runs well."
    return patient.climb((patient.action("node.uncordon"), reason))


def cooled(patient: Patient) -> Plan | None:
    """Its clocks are not cut any more, and its gang is not told of: it is let go on, and trusted
    again after a while. What is empty is checked by the ladder itself."""
    quiet_s = cool_for_s(patient.incident, patient.view.snapshot)
    if quiet_s is None or quiet_s < GONE_S or patient.fence is None or not running_on(patient):
        return None
    if quiet_s < CALM_S or not patient.can("node.uncordon"):
        return Wait(why="No clock is cut any more. It waits whether that stays so.")
    reason = f"No clock of {patient.node.name} is cut any more, and what runs there runs well."
    return patient.climb((patient.action("node.uncordon"), reason))


def is_emptied(patient: Patient) -> bool:
    """Our fence holds all of it, and nothing runs behind it."""
    return patient.fence is not None and patient.fence.sealed and not running_on(patient)


def second_opinion(patient: Patient) -> Plan | None:
    """The check of a fenced, empty node, before anything is done to it. None: none is needed, or
    none can be had."""
    if not check_tells(patient.incident) or not is_emptied(patient):
        return None
    if patient.check_runs:
        return Wait(why=f"The check of {patient.node.name} runs.")
    here = check_here(patient)
    looked = len(patient.view.tried("check.run", patient.node.incarnation))
    if here is True and looked < LOOKS and "check.run" in patient.view.serves:
        reason = f"{patient.node.name} passed, but spoke while its check ran. It is checked again."
        return patient.climb((patient.action("check.run"), reason))
    old = here is False and _checked_s(patient) > STALE_S and looked <= LOOKS
    if old and "check.run" in patient.view.serves:
        reason = f"{patient.node.name} failed its check a while ago. Does it still?"
        return patient.climb((patient.action("check.run"), reason))
    if here is not None or not patient.can("check.run"):
        return None
    reason = f"{patient.node.name} is put to work before it is repaired: is it truly ill?"
    return patient.climb((patient.action("check.run"), reason))


def _checked_s(patient: Patient) -> float:
    """Seconds since the newest check of the node began; 0 where nobody knows when."""
    check = patient.view.snapshot.state.checks.get(patient.node.name)
    if check is None or check.at is None:
        return 0.0
    return (patient.view.snapshot.at - check.at).total_seconds()


def may_go_on(incident: Incident, now: datetime) -> bool:
    """Does a gang of it hang, and for too short a time to be ended? By the gang's own words."""
    began = min((s.at for s in incident.signals if s.code == "gang.hang"), default=None)
    return began is not None and (now - began).total_seconds() < HANG_S


def running_on(patient: Patient) -> list[Job]:
    """Gangs that run on it, by name."""
    jobs = patient.view.snapshot.jobs_on(patient.node.name)
    return sorted((j for j in jobs if j.state is JobState.RUNNING), key=lambda j: j.name)


def with_gangs(patient: Patient) -> Plan | None:
    """A gang runs on the node, which is fenced: wait, let it save and move, or (None) drain now."""
    jobs = running_on(patient)
    if not jobs or patient.fence is None:
        return None
    incident, view = patient.incident, patient.view
    codes = {s.code for s in incident.signals}
    suffers = bool(codes & _SLOWS)
    lasted = (view.snapshot.at - incident.opened_at).total_seconds()
    young = lasted < view.settings.settle_s
    if young and not suffers and incident.fault not in HAZARD_PER_H and not _taints(codes):
        return Wait(why="What such a fault stops, Ray tells seconds late.")
    if is_thin(patient) and not suffers:
        names = ", ".join(j.name for j in jobs)
        why = f"One instrument speaks, and {names} runs well: it is checked once that has ended."
        return Wait(why=why)
    if not suffers and incident.fault not in HAZARD_PER_H:
        return None
    if may_go_on(incident, view.snapshot.at):
        return Wait(why="The gang on it hangs. It may go on by itself.")
    for job in jobs:
        if view.can_preempt(job.attempt_id) and (not is_thin(patient) or _evict(patient, job)):
            return counter_says(patient) or _move(patient, job)
    if "gang.hang" not in codes and (wait := until_checkpoint(patient, slow="gang.slow" in codes)):
        return wait
    able = [job for job in jobs if view.can_preempt(job.attempt_id)]
    return _move(patient, able[0]) if able else None  # a drain would lose what it has not saved


def until_checkpoint(patient: Patient, *, slow: bool) -> Wait | None:
    """Fenced already, so nothing new lands: is it cheaper to let the gangs save first?"""
    incident, view = patient.incident, patient.view
    longest, name = 0.0, ""
    for job in running_on(patient):
        every = view.settings.checkpoint_every_s
        stake = stake_of(job, incident.fault, view.snapshot.at, every, slow=slow)
        if stake is None:
            return None  # of one gang nobody knows when it saves
        longest, name = max((longest, name), (worth_waiting_s(stake), job.name))
    if longest <= 0.0:
        return None
    return Wait(why=f"The drain waits for the next checkpoint of {name}: that loses less.")


def _move(patient: Patient, job: Job) -> Steps:
    hangs = any(s.code == "gang.hang" for s in patient.incident.signals)
    saves = "It can save nothing, is ended" if hangs else "It saves, ends"
    reason = f"{job.name} suffers of {patient.node.name}. {saves}, and goes on elsewhere."
    action = JobPreempt(job=job.name, attempt_id=job.attempt_id, at_once=hangs)
    return patient.climb((action, reason))


def _evict(patient: Patient, job: Job) -> bool:
    """Is putting the one suspect out, on thin evidence, cheaper than a long look at it?"""
    view, pool = patient.view, patient.node.pool
    spare = spare_gpus(view.snapshot, pool, patient.node.name)
    kept = view.held_back.get(pool, 0) * patient.node.gpus
    hangs = any(s.code == "gang.hang" for s in patient.incident.signals)
    idle = 1.0 if hangs else 1.0 - SLOW_PACE
    return choice(
        gang_gpus=job.gpus * idle,
        group_gpus=float(patient.node.gpus),
        spare_gpus=max(0.0, spare - kept),
        diagnose_s=view.settings.diagnose_s,
    ).evict_is_cheaper


def _taints(codes: set[str]) -> bool:
    return bool(codes & {"xid.95", "gang.nan"})
