"""Do many gangs starve at once? Asked by `notice`.

GPUs idle, no steps, no GPU's code, and several gangs of one zone alike: that is the storage or the
way to it, and no node's fault.
"""

from __future__ import annotations

import numpy as np

from watchkeeper.core.cluster import JobState
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident, Signal, Trust
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot
from watchkeeper.core.word import utc
from watchkeeper.health.paces import Gangs
from watchkeeper.health.sense import level_id

GANGS = 3
SHARE = 0.3
"""Of the zone's busy nodes, so many must belong to gangs that starve (ours)."""
TOGETHER_S = 180.0
IDLE_PERCENT = 10.0
FLEET_LOAD = "fleet-load"
"""The source of a stall of which only idle GPUs tell."""
MOUNT_QUIET_S = 600.0
"""A node tells of a mount that does not answer when it needs it: it may be back when none has told
of it for so long (ours)."""
_LOAD = GPU_FIELDS.index("utilization_percent")


def starved(snapshot: Snapshot, pasts: Gangs) -> list[tuple[Signal, frozenset[str]]]:
    """One signal for each zone (or `cluster`) that starves, with the gangs it explains."""
    late = pasts.without_steps(snapshot.at.timestamp(), 1 / 2)
    if len(late) < GANGS:
        return []
    zones: dict[str, list[str]] = {}
    for name in late:
        zones.setdefault(_zone(snapshot, name), []).append(name)
    found = []
    for zone, names in sorted(zones.items()):
        since = float(np.median([late[name] for name in names]))
        together = [n for n in names if abs(late[n] - since) <= TOGETHER_S]
        if len(together) < GANGS or not _many(snapshot, zone, together):
            continue
        idle = [name for name in together if _idle(snapshot, name)]
        if len(idle) < max(GANGS, 0.8 * len(together)):
            continue
        found.append((_signal(snapshot, zone, min(late[n] for n in idle)), frozenset(together)))
    return found


def mounts_quiet(incident: Incident) -> list[float]:
    """Until when a storage's incident lasts for what nodes told of their mounts, in epoch seconds,
    one for the newest word; nothing where only idle GPUs told of it."""
    if incident.fault != Fault.STORAGE_STALL:
        return []
    told = [s.at.timestamp() for s in incident.signals if s.source != FLEET_LOAD]
    return [max(told) + MOUNT_QUIET_S] if told else []


def _zone(snapshot: Snapshot, job: str) -> str:
    zones = {snapshot.nodes[n].zone for n in snapshot.jobs[job].nodes if n in snapshot.nodes}
    return zones.pop() if len(zones) == 1 else ""


def _many(snapshot: Snapshot, zone: str, jobs: list[str]) -> bool:
    busy = {
        node
        for job in snapshot.jobs.values()
        if job.state is JobState.RUNNING
        for node in job.nodes
        if not zone or (node in snapshot.nodes and snapshot.nodes[node].zone == zone)
    }
    hungry = {node for name in jobs for node in snapshot.jobs[name].nodes}
    return len(hungry) >= max(GANGS, SHARE * len(busy))


def _idle(snapshot: Snapshot, job: str) -> bool:
    frame = snapshot.frame
    rows = [frame.row[n] for n in snapshot.jobs[job].nodes if n in frame.row]
    load = frame.gpu[rows, :, _LOAD]
    known = load[~np.isnan(load)]
    return bool(known.size) and float(np.median(known)) < IDLE_PERCENT


def _signal(snapshot: Snapshot, zone: str, since: float) -> Signal:
    target = f"zone:{zone}" if zone else "cluster"
    # One onset an hour is one fact: gangs join it as they starve.
    hour = utc(since).replace(minute=0, second=0, microsecond=0)
    return Signal(
        id=level_id("storage.stall", target, "", hour),
        code="storage.stall",
        target=target,
        at=utc(since),
        source=FLEET_LOAD,
        trust=Trust.DRIVER,
        world=snapshot.world,
    )
