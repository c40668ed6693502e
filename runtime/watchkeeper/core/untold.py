"""Which gangs ended with a node, though Ray has not told so yet? Asked before an incident ends.

A gang's end reaches us seconds after its node's. Until then Ray shows the attempt that ran on the
old life of the node as running, and to believe that would lose the gang. Pure.
"""

from __future__ import annotations

from datetime import datetime

from watchkeeper.core.cluster import JobState, Node, RayState
from watchkeeper.core.incident import Incident
from watchkeeper.core.telemetry import Snapshot

TELLS_S = 60.0
"""Ray tells a gang's end within seconds of its node's; one not told by then goes on (ours)."""
ON_ITS_WAY_S = 15.0
"""A step reported this soon after may have been made before the node ended (ours)."""


def untold(incident: Incident, snapshot: Snapshot) -> list[str]:
    """Gangs whose attempt ended with the incident's node by our own steps, of which Ray has told
    neither that end nor, long enough after, another step; by name. Empty after `TELLS_S`."""
    node = snapshot.nodes.get(incident.node)
    ended = None if node is None or not incident.ended else _ended(incident, node)
    if ended is None or (snapshot.at - ended).total_seconds() >= TELLS_S:
        return []
    found = []
    for name in incident.jobs:
        job = snapshot.jobs.get(name)
        if job is None or job.state is not JobState.RUNNING or job.attempt_id not in incident.ended:
            continue
        if job.step_at is None or (job.step_at - ended).total_seconds() <= ON_ITS_WAY_S:
            found.append(name)
    return sorted(found)


def _ended(incident: Incident, node: Node) -> datetime | None:
    """When the life that the incident is about was over, at the latest; None while it is not."""
    if node.ray_state is RayState.DEAD or node.incarnation != incident.incarnation:
        return node.ray_state_since
    return None
