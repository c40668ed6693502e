"""Whose GPUs are on their way, and which gang is a repair's to bring back? Asked by the scheduler,
so that it stops nobody for what a repair gives back by itself. It proposes nothing.
"""

from __future__ import annotations

from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.fault import REPAIRED_ON_NODE
from watchkeeper.core.incident import Incident
from watchkeeper_agents.tools import Tools
from watchkeeper_agents.words import CrewSettings


def repaired_by(name: str, incident: Incident, tools: Tools, settings: CrewSettings) -> str:
    """The open repair that this gang is part of; "" when it is part of none. An attempt that the
    repair itself ended never runs again; any other waits for its repair for a while only."""
    job, lasted = tools.snapshot.jobs[name], tools.snapshot.at - incident.opened_at
    for repair in tools.briefing.incidents:
        if not repair.is_open or repair.fault not in REPAIRED_ON_NODE or name not in repair.jobs:
            continue
        if job.attempt_id in repair.ended or lasted.total_seconds() < settings.repair_s:
            return repair.id
    return ""


def leaving(head: Job, tools: Tools, settings: CrewSettings) -> str:
    """Gangs that were stopped just now, and those that a repair has ended and Ray still shows on
    nodes of theirs: their GPUs are on their way, and a second victim would be one too many."""
    ended = {attempt for i in tools.briefing.incidents if i.is_open for attempt in i.ended}
    found = [
        job.name
        for job in tools.snapshot.not_running
        if job.attempt_id in ended
        and job.nodes
        and job.state is JobState.WAITING
        and job.pool == head.pool
        and job.name != head.name
    ]
    found += [
        job.name
        for job in tools.snapshot.not_running
        if job.held
        and job.attempt
        and job.pool == head.pool
        and job.name != head.name
        and (tools.snapshot.at - job.state_since).total_seconds() < settings.leaves_s
    ]
    return ", ".join(sorted(found))
