"""Is it still ill, and how many fell ill together? Asked by control and by the ladder's callers.

Level-triggered: the answer comes from this snapshot, never from what was done. None is Unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import numpy as np

from watchkeeper.core.cluster import Job, JobState, RayState
from watchkeeper.core.fault import (
    GANG_FAULTS,
    GONE_S,
    NAN_PROOF_S,
    PROOF_S,
    UNHEALTHY_NODE,
    Fault,
    cleared,
    is_over,
    last_reading,
    works_since_s,
)
from watchkeeper.core.heat import MASK, cool_for_s
from watchkeeper.core.incident import Incident, Signal, target_node
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot
from watchkeeper.core.untold import untold
from watchkeeper.health.domains import domain_ill, members, quiet_ends
from watchkeeper.health.evidence import fault_of, repeated
from watchkeeper.health.sense import COLLECTORS, REAL, SenseSettings, lost_sources, unheard
from watchkeeper.health.sensors import clocks_cut, impossible
from watchkeeper.health.storage import IDLE_PERCENT, mounts_quiet

FLAP_CALM_S = 3600.0
"""A node that kept dying is well after so long a life (ours)."""
_LOAD = GPU_FIELDS.index("utilization_percent")
_PRESENT = GPU_FIELDS.index("present")


def still_ill(
    incident: Incident,
    snapshot: Snapshot,
    settings: SenseSettings = REAL,
    blind: frozenset[str] | None = None,
) -> bool | None:
    """True: the fault is there. False: it is gone. None: this snapshot cannot tell.

    It speaks about the patient alone; whether it serves again (fence released, gangs running) is
    `healed`. blind: the lost sources, for who asks of many incidents.
    """
    if blind is None:
        blind = lost_sources(snapshot, settings)
    match incident.fault:
        case Fault.SOURCE_LOST:
            return _source_ill(incident, snapshot, settings, blind)
        case _ if "ray" in blind:
            return None
        case Fault.NODE_LOST | Fault.NODE_SILENT:
            return _node_ill(incident, snapshot, settings, blind)
        case Fault.JOB_STOPPED | Fault.APPLICATION | Fault.GPU_MEMORY_CONTAINED:
            return _jobs_ill(incident, snapshot)
        case Fault.GPU_NOTICE:
            return False
        case fault if fault in GANG_FAULTS:
            return _gang_ill(incident, snapshot)
        case Fault.DOMAIN_DOWN:
            return domain_ill(incident, snapshot, settings, blind)
        case Fault.STORAGE_STALL:
            return _starves(incident, snapshot)
        case Fault.SENSOR:
            return _misreads(incident, snapshot)
        case Fault.GPU_THERMAL | Fault.GPU_POWER_BRAKE:
            return _clocks_ill(incident, snapshot, settings)
        case Fault.NODE_FLAPPING:
            return _flaps(incident, snapshot)
        case Fault.CAPACITY_SHORT:
            pool = _name(incident)
            return any(d.pool == pool and d.pending_gpus > 0 for d in snapshot.state.demand)
        case _:
            return _gpu_ill(incident, snapshot, settings)


def healed(
    incident: Incident,
    snapshot: Snapshot,
    settings: SenseSettings = REAL,
    blind: frozenset[str] | None = None,
) -> str:
    """Why an incident can be closed without us, as one sentence; "" when it cannot.

    Not while our fence stands on the node, nor while a gang that it stopped still waits for us, or
    its end is still to be told.
    """
    if still_ill(incident, snapshot, settings, blind) is not False or _stopped(incident, snapshot):
        return ""
    node = snapshot.nodes.get(incident.node)
    if node is None:
        return f"{incident.target} is well again." if not incident.node else ""
    if incident.fault in (Fault.JOB_STOPPED, Fault.APPLICATION):
        return f"{', '.join(incident.jobs)} no longer waits for us." if incident.jobs else ""
    if node.name in snapshot.fences or node.ray_state is not RayState.ALIVE:
        return ""
    if untold(incident, snapshot):
        return ""
    if node.incarnation != incident.incarnation:
        return f"{node.name} came back as {node.incarnation[:8]}."
    if incident.fault in (Fault.GPU_MEMORY_CONTAINED, Fault.GPU_NOTICE):
        return ""  # what the ticket asks for is still to be done
    if incident.fault == Fault.NODE_SILENT:
        return f"{node.name} is heard again."
    return f"{incident.target} answers again."


def silence_ends(incident: Incident) -> list[float]:
    """When silence alone would end it, in epoch seconds: for who skips quiet stretches."""
    last = last_reading(incident)
    words = [] if last is None else [last]
    if incident.fault in MASK:
        words += [s.at for s in incident.signals]
    quiet = quiet_ends(incident) + mounts_quiet(incident)
    return [at.timestamp() + GONE_S for at in words] + quiet


def is_silence(incident: Incident) -> bool:
    """Is it about a node, or many, that Ray hears and we do not?"""
    return incident.fault == Fault.NODE_SILENT or incident.target == f"source:{COLLECTORS}"


ILL_WINDOW_S = 300.0
"""What fell ill within this time fell ill together (S9)."""


def newly_unhealthy(
    incidents: tuple[Incident, ...], snapshot: Snapshot, window_s: float = ILL_WINDOW_S
) -> dict[str, int]:
    """Pool -> its nodes that turned unhealthy within the window, mended ones included (S9).

    Those that fell silent count too: silence proves nothing of a node (S10), but of many at once it
    says that the watch cannot see. Counts by the wall time of the snapshots that opened them. A
    node whose pool the snapshot does not know counts under "".
    """
    since = snapshot.at - timedelta(seconds=window_s)
    pools: dict[str, set[str]] = {}
    for incident in incidents:
        if not incident.node or incident.opened_at < since:
            continue
        if incident.fault not in UNHEALTHY_NODE:
            continue
        if incident.fault == Fault.NVLINK and not repeated(incident.signals, Fault.NVLINK):
            continue  # one line is a suspicion
        node = snapshot.nodes.get(incident.node)
        pools.setdefault(node.pool if node else "", set()).add(incident.node)
    for incident in incidents:
        if incident.opened_at < since:
            continue
        many: Iterable[str] = ()
        if incident.fault == Fault.DOMAIN_DOWN:
            many = members(incident)
        elif incident.target == f"source:{COLLECTORS}":
            many = unheard(snapshot)
        for name in many:
            node = snapshot.nodes.get(name)
            pools.setdefault(node.pool if node else "", set()).add(name)
    return {pool: len(names) for pool, names in sorted(pools.items())}


def _name(incident: Incident) -> str:
    return incident.target.partition(":")[2]


def _source_ill(
    incident: Incident, snapshot: Snapshot, settings: SenseSettings, blind: frozenset[str]
) -> bool | None:
    name = _name(incident)
    if name != COLLECTORS:
        return name in blind
    return None if blind else bool(unheard(snapshot, settings))


def _jobs_ill(incident: Incident, snapshot: Snapshot) -> bool | None:
    if _stopped(incident, snapshot):
        return True
    known = [snapshot.jobs.get(name) for name in incident.jobs]
    unsettled = any(job is None or job.state is JobState.WAITING for job in known)
    return None if unsettled else False


def _stopped(incident: Incident, snapshot: Snapshot) -> list[str]:
    jobs = (snapshot.jobs.get(name) for name in incident.jobs)
    return [job.name for job in jobs if job is not None and job.state is JobState.STOPPED]


def _node_ill(
    incident: Incident, snapshot: Snapshot, settings: SenseSettings, blind: frozenset[str]
) -> bool | None:
    node = snapshot.nodes.get(incident.node)
    if node is None:
        return None
    match node.ray_state:
        case RayState.DEAD:
            return True
        case RayState.UNKNOWN | RayState.DRAINING:
            return None
        case RayState.ALIVE:
            if incident.fault == Fault.NODE_LOST:
                return False
            if blind & {"telemetry", "redis"}:
                return None
            silence = snapshot.silence_s(node.name)
            return silence is None or silence > settings.silent_after_s


def _gang_ill(incident: Incident, snapshot: Snapshot) -> bool | None:
    """A gang hangs no more once it made a step, or another attempt of it did; whether it is as
    fast as it was, one snapshot cannot tell. Nonsense is over when another attempt goes on from a
    checkpoint of before it."""
    if _stopped(incident, snapshot):
        return True
    told = [s for s in incident.signals if s.code.startswith("gang.") and not target_node(s.target)]
    newest = max(told, key=lambda s: (s.at, s.id), default=None)
    jobs = [snapshot.jobs.get(name) for name in incident.jobs]
    well: list[bool | None] = []
    for job in jobs:
        if job is None or job.state is JobState.WAITING or newest is None:
            well.append(None)
        elif job.state is not JobState.RUNNING:
            well.append(True)
        elif job.step is None or job.step_at is None:
            well.append(None)
        elif job.attempt_id != newest.incarnation:
            well.append(incident.fault != Fault.GANG_NAN or _clean(job, told, snapshot))
        else:
            went_on = job.step_at > newest.at and incident.fault == Fault.GANG_HANG
            well.append(True if went_on else None)
    if not well or None in well:
        return None
    return not all(well)


def _clean(job: Job, told: list[Signal], snapshot: Snapshot) -> bool | None:
    """Whether this attempt goes on from before the nonsense began: it began with a checkpoint that
    is older, or with none. Then it is well once it ran for a while and said nothing more; until
    then that is Unknown."""
    since = min((s.at for s in told if s.code == "gang.nan"), default=job.state_since)
    saved = job.checkpoint_at
    if saved is not None and since < saved <= job.state_since:
        return False
    ran_s = (snapshot.at - job.state_since).total_seconds()
    return True if ran_s >= NAN_PROOF_S else None


def _starves(incident: Incident, snapshot: Snapshot) -> bool | None:
    if (ends := mounts_quiet(incident)) and snapshot.at.timestamp() < max(ends):
        return True  # other gangs of the zone may need no mount, and be busy
    zone, frame = _name(incident) if incident.target.startswith("zone:") else "", snapshot.frame
    rows = [
        frame.row[name]
        for job in snapshot.jobs.values()
        if job.state is JobState.RUNNING
        for name in job.nodes
        if name in frame.row and name in snapshot.nodes
        if not zone or snapshot.nodes[name].zone == zone
    ]
    load = frame.gpu[rows, :, _LOAD] if rows else np.empty(0, np.float32)
    known = load[~np.isnan(load)]
    return None if not known.size else bool(np.median(known) < IDLE_PERCENT)


def _misreads(incident: Incident, snapshot: Snapshot) -> bool | None:
    if any(s.code != "sensor.implausible" for s in incident.signals):
        return None  # whether a sensor moves again takes more than one look
    wrong = impossible(snapshot.frame.gpu)
    if not incident.node:
        return bool(wrong.any())
    row = snapshot.frame.row.get(incident.node)
    return None if row is None else bool(wrong[row].any())


def _clocks_ill(incident: Incident, snapshot: Snapshot, settings: SenseSettings) -> bool | None:
    row, silence = snapshot.frame.row.get(incident.node), snapshot.silence_s(incident.node)
    if row is None or silence is None or silence > settings.silent_after_s:
        return None
    code = "gpu.thermal" if incident.fault == Fault.GPU_THERMAL else "gpu.power_brake"
    return bool(clocks_cut(snapshot.frame.gpu[row], code).any())


def _flaps(incident: Incident, snapshot: Snapshot) -> bool | None:
    node = snapshot.nodes.get(incident.node)
    if node is None or node.ray_state in (RayState.UNKNOWN, RayState.DRAINING):
        return None
    if node.ray_state is RayState.DEAD:
        return True
    lived = (snapshot.at - node.ray_state_since).total_seconds()
    return False if lived >= FLAP_CALM_S else None


def passed_by(incident: Incident, snapshot: Snapshot, settings: SenseSettings = REAL) -> bool:
    """What spoke of its node is told again and again while it lasts, and is told no more, while the
    node is heard; or it is of a kind that stops all work, and a gang has worked there since: it
    ended by itself. Asked of what nobody has repaired yet."""
    node, silence = snapshot.nodes.get(incident.node), snapshot.silence_s(incident.node)
    if node is None or silence is None or silence > settings.silent_after_s:
        return False
    same = node.incarnation == incident.incarnation and node.ray_state is RayState.ALIVE
    if incident.fault in MASK:
        cool_s = cool_for_s(incident, snapshot)
        return same and cool_s is not None and cool_s >= GONE_S
    check = snapshot.state.checks.get(node.name)
    works_s = works_since_s(incident, snapshot.at, snapshot.jobs_on(node.name))
    works = works_s is not None and works_s >= PROOF_S
    return same and (works or is_over(incident, snapshot.at, snapshot.jobs, check))


def _gpu_ill(incident: Incident, snapshot: Snapshot, settings: SenseSettings) -> bool | None:
    """A lost GPU is seen; an Xid is not, and its word holds for the incarnation it was said of,
    unless a check of that incarnation has passed since."""
    node = snapshot.nodes.get(incident.node)
    if node is None or node.ray_state is RayState.UNKNOWN:
        return None
    if incident.gpu is not None and incident.gpu in node.hidden_gpus:
        return False
    same = node.incarnation == incident.incarnation
    same &= not cleared(incident, snapshot.state.checks.get(node.name), node.incarnation)
    works_s = works_since_s(incident, snapshot.at, snapshot.jobs_on(node.name))
    same &= works_s is None or works_s < PROOF_S
    same &= not passed_by(incident, snapshot, settings)
    if node.ray_state is not RayState.ALIVE or same:
        # A polled fact alone may go as it came; a line of the log stays true until the next life.
        only_polled = not any(
            fault_of(s) is not None for s in incident.signals if s.code != "gpu.lost"
        )
        if not (only_polled and node.ray_state is RayState.ALIVE):
            return True
    row = snapshot.frame.row.get(node.name)
    silence = snapshot.silence_s(node.name)
    if row is None or silence is None or silence > settings.silent_after_s:
        return None
    spoke_since = snapshot.frame.read_at[row] >= node.ray_state_since.timestamp()
    present = snapshot.frame.gpu[row, :, _PRESENT]
    if incident.gpu is not None and incident.gpu < len(present):
        present = present[incident.gpu : incident.gpu + 1]
    if np.any(present == 0.0):
        return True
    known = present[~np.isnan(present)]
    return False if spoke_since and known.size else None
