"""Whose turn is it where a bad driver was rolled out? Asked by the gang's ladder.

Every gang that is started there stops again: all at once, they would use up their requeues within
minutes, and call a person each. One tries, the others wait; where it makes steps, more follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.fault import PROOF_S, STEP_SEEN_S, Fault
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.remedy.plan import RemedyView, Wait

TRY_S = 600.0
"""Between two tries of gangs on such nodes: a start, and the steps that show what it met,
take a minute or two; the repair of a rollout takes people hours (ours)."""
LOOK_S = 60.0
"""Whether it is its turn is asked so often: there may be hundreds that wait (ours)."""


def waits_its_turn(stopped: Iterable[Job], view: RemedyView) -> Wait | None:
    """Why none of these gangs is requeued now; None where one of them may be.

    The one that stopped longest ago tries first. Who does not take its turn (a person is asked
    about it, its node has an incident of its own) holds up nobody: `TRY_S` later the next may too.
    """
    bad = frozenset(key for key, faults in view.down.items() if Fault.GPU_DRIVER in faults)
    if not bad:
        return None
    here = _gangs_in(view.snapshot, bad)
    there = {job.name for job in here}
    mine = {job.name: job for job in stopped if job.name in there}
    if not mine:
        return None
    down = [job for job in here if job.state is JobState.STOPPED and not _barred(job, view)]
    down.sort(key=lambda job: (job.state_since, job.name))
    turn = {job.name for job in down[: _room(down, here, view)]}
    if any(name in turn or _barred(job, view) for name, job in mine.items()):
        return None
    names, where = ", ".join(sorted(mine)), ", ".join(sorted(bad)).replace(":", " ")
    why = f"{names} waits its turn: a gang that starts on {where} stops again."
    return Wait(why=why, again_s=LOOK_S)


def _room(down: list[Job], here: Iterable[Job], view: RemedyView) -> int:
    """How many of those that stand still there may be requeued now."""
    if not down:
        return 0
    now = view.snapshot.at
    if any((now - job.state_since).total_seconds() < TRY_S for job in down):
        return 0
    began = [j for j in here if j.state is not JobState.STOPPED]
    began = [job for job in began if job.state_since > down[0].state_since]
    proven = [job for job in began if _works(job, view)]
    waited = min(((now - j.state_since).total_seconds() for j in (*down, *began)), default=0.0)
    young = [j for j in began if (now - j.state_since).total_seconds() < TRY_S and j not in proven]
    return max(0, len(proven) - len(young)) + int(waited // TRY_S)


def _works(job: Job, view: RemedyView) -> bool:
    """It has made steps for a while since it began, and makes them still."""
    if job.state is not JobState.RUNNING or job.step_at is None:
        return False
    lasted = (job.step_at - job.state_since).total_seconds()
    return lasted >= PROOF_S and (view.snapshot.at - job.step_at).total_seconds() < STEP_SEEN_S


def _barred(job: Job, view: RemedyView) -> bool:
    """It is not ours to submit: its turn would pass unused."""
    return bool(job.requeue_blocked or job.name in view.denied)


@lru_cache(maxsize=2)
def _gangs_in(snapshot: Snapshot, domains: frozenset[str]) -> tuple[Job, ...]:
    """The gangs with a node in one of these domains, once for each snapshot."""
    inside = {
        node.name
        for node in snapshot.nodes.values()
        if any(f"{kind}:{name}" in domains for kind, name in node.domains().items())
    }
    return tuple(job for job in snapshot.jobs.values() if not inside.isdisjoint(job.nodes))
