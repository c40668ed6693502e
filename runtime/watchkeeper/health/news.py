"""Is this signal news, and of which life of the node? Asked by the correlator of each signal.

Old lines told late, links that fall at boot, clocks that run ahead, and what a closed incident
holds already.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from watchkeeper.core.cluster import JobState, Node, RayState
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident, IncidentState, Signal, target_node
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.health.book import Book
from watchkeeper.health.evidence import LEVEL_CODES, fault_of
from watchkeeper.health.sense import SenseSettings

_AT_BOOT = frozenset({Fault.NVLINK, Fault.NETWORK_LINK, Fault.PCIE})


def not_from_the_future(signal: Signal, snapshot: Snapshot) -> Signal:
    """A host whose clock runs ahead tells of what is to come: it happened now, at the latest."""
    return replace(signal, at=snapshot.at) if signal.at > snapshot.at else signal


def of_a_life(signal: Signal, home: Incident | None, snapshot: Snapshot) -> Signal:
    """A kernel log names no incarnation: it speaks of the one that lives, unless the line is
    older than that one and we already treat the one before."""
    node = snapshot.nodes.get(target_node(signal.target))
    if signal.incarnation or node is None:
        return signal
    before = node.ray_state is RayState.ALIVE and signal.at < node.ray_state_since
    if home is not None and before:
        return replace(signal, incarnation=home.incarnation)
    return replace(signal, incarnation=node.incarnation)


def of_an_attempt(signal: Signal, snapshot: Snapshot) -> Signal:
    """Who tells of a gang may name a node's incarnation, or none: it speaks of the attempt that
    ran at that time, where that is the one we know."""
    job = snapshot.jobs.get(signal.target.partition(":")[2])
    if job is None or signal.incarnation == job.attempt_id:
        return signal
    lives = {n.incarnation for n in (snapshot.nodes.get(name) for name in job.nodes) if n}
    strange = not signal.incarnation or signal.incarnation in lives
    if strange and (signal.at >= job.state_since or job.state is JobState.STOPPED):
        return replace(signal, incarnation=job.attempt_id)
    return signal


def before_this_life(signal: Signal, node: Node | None, settings: SenseSettings) -> bool:
    """An event of the kernel from well before this raylet began, while nothing is treated here.
    What is still true of it is told again by the driver, or by the next error."""
    if node is None or node.ray_state is not RayState.ALIVE or signal.code in LEVEL_CODES:
        return False
    if signal.incarnation:
        return False  # told by its own incarnation: judged by that
    return signal.at < node.ray_state_since - timedelta(seconds=settings.boot_grace_s)


def known(book: Book, own: list[Incident], signal: Signal) -> bool:
    """Old news: an incident that is closed, or with a person, holds it already."""
    for incident in own:
        if incident.is_open or book.set_free(incident):
            continue
        has_it = any(s.id == signal.id for s in incident.signals)
        if incident.state is IncidentState.ESCALATED and has_it:
            return True
        if has_it and signal.at <= incident.updated_at:
            return True
        told_late = (
            signal.code not in LEVEL_CODES
            and incident.opened_at <= signal.at <= incident.updated_at
            and any((s.code, s.target) == (signal.code, signal.target) for s in incident.signals)
        )
        if told_late:
            return True
    return False


def at_boot(signal: Signal, snapshot: Snapshot, settings: SenseSettings) -> bool:
    """Links train and go down together while a node boots: that is no fault."""
    node = snapshot.nodes.get(target_node(signal.target))
    if node is None or node.ray_state is not RayState.ALIVE:
        return False
    if fault_of(signal) not in _AT_BOOT:
        return False
    grace = timedelta(seconds=settings.link_grace_s)
    return node.ray_state_since - grace <= signal.at < node.ray_state_since + grace
