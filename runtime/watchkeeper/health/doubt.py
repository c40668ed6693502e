"""Which of these lines may be believed now? Asked once a turn of what the instruments told, before
`correlate`.

What goes up and down while a host boots, or once and never again, is not a fault because it was
told: a link, a port or a throttled clock is believed when later readings say the same: three, or
two where another instrument or the harm speaks too. A line told long after its time is believed
when its harm was seen at that time. What is not believed yet is kept for a while, and passed on
with what bears it out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from msgspec.structs import replace as replace_word

from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import (
    ATTACKER_WRITABLE,
    Incident,
    IncidentState,
    Signal,
    target_node,
)
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.health.evidence import STALL, fault_of
from watchkeeper.health.news import at_boot, not_from_the_future
from watchkeeper.health.sense import SenseSettings
from watchkeeper.health.sightings import Sightings

PASSING = frozenset(
    {
        "ib.link_down",
        "ib.symbol_errors",
        "nic.down",
        "pcie.width",
        "pcie.aer",
        "nvlink.errors",
        "gpu.thermal",
        "gpu.power_brake",
        "node.flap",
        STALL,
    }
)
"""Readings that also come and go in health: 214 of 288 nodes of one fleet said link-down at boot
and had no fault (NVSentinel issue 1701)."""
HARM_BEFORE_S, HARM_AFTER_S = 300.0, 600.0
"""A gang that stopped so long before or after a line may have stopped of what the line says: the
published window of attribution is 10 min before to 5 min after the stop."""
READINGS, READINGS_WITH_MORE = 3, 2
"""N of M polls: so many readings, apart from each other, or so many and something else (ours)."""
NODES_OF_STORAGE, TOGETHER_S = 3, 300.0
"""So many nodes of a zone whose mount does not answer, within this time, are its storage (ours)."""
MOST_HELD = 8
"""Lines kept of one node and class while they are in doubt."""

_LINKS = (Fault.NETWORK_LINK, Fault.PCIE)
"""Links of one host, which hang on the same board."""

Held = dict[tuple[str, str], tuple[Signal, ...]]
"""(node, class of fault) -> its lines that nothing bears out yet, oldest first."""


def weigh(
    told: Iterable[Signal],
    incidents: Iterable[Incident],
    snapshot: Snapshot,
    before: Sightings,
    settings: SenseSettings,
) -> tuple[tuple[Signal, ...], Sightings]:
    """Those to be believed now, in their order, and what to remember of the rest."""
    told, now = tuple(told), snapshot.at.timestamp()
    held = _still_young(before.held, now, settings)
    if not told:
        return (), replace(before, held=held) if held != before.held else before
    incidents = tuple(incidents)
    open_on = {(i.node or i.target, i.fault) for i in incidents if _goes_on(i, snapshot)}
    passed: list[Signal] = []
    for signal in (not_from_the_future(s, snapshot) for s in told):
        if signal.trust in ATTACKER_WRITABLE or not (node := target_node(signal.target)):
            passed.append(signal)  # `believed` says what such a line may do
        elif _told_late(signal, before, now, settings):
            if _harm_then(signal, node, snapshot) or _of_open(signal, node, incidents):
                passed.append(signal)
        elif signal.code not in PASSING:
            passed.append(signal)
        elif zone := _of_storage(signal, node, held, open_on, snapshot):
            passed += zone
        elif not at_boot(signal, snapshot, settings):
            passed += _borne_out(signal, node, held, open_on, snapshot, settings)
    return tuple(passed), replace(before, held=held)


def _goes_on(incident: Incident, snapshot: Snapshot) -> bool:
    """Further readings belong to it: it is open, or with a person and about this life."""
    if incident.is_open or not incident.node:
        return incident.state is not IncidentState.RESOLVED
    node = snapshot.nodes.get(incident.node)
    same = node is not None and node.incarnation == incident.incarnation
    return same and incident.state is IncidentState.ESCALATED


def _still_young(before: Held, now: float, settings: SenseSettings) -> Held:
    """Lines that could still be borne out. Of a raylet that leaves again and again, for a day."""
    held: Held = {}
    for key, lines in before.items():
        most = settings.flap_window_s if key[1] == Fault.NODE_FLAPPING else settings.confirm_s
        young = tuple(s for s in lines if now - s.at.timestamp() <= most)
        if young:
            held[key] = young
    return held


def _told_late(signal: Signal, before: Sightings, now: float, settings: SenseSettings) -> bool:
    """We were listening all the time, and should have heard it when it happened. What was said
    while we could not hear is news for as long again."""
    at = signal.at.timestamp()
    if now - at <= settings.late_s:
        return False
    began, ended = before.deaf
    return not (at >= began - settings.late_s and now - ended <= settings.late_s)


def _near(when: datetime, signal: Signal) -> bool:
    return -HARM_BEFORE_S <= (when - signal.at).total_seconds() <= HARM_AFTER_S


def _harm_then(signal: Signal, node: str, snapshot: Snapshot) -> bool:
    """Something stopped on this node at that time and has not gone on."""
    known = snapshot.nodes.get(node)
    if known is None:
        return False
    if known.ray_state is RayState.DEAD and _near(known.ray_state_since, signal):
        return True
    return any(
        job.state is JobState.STOPPED and _near(job.state_since, signal)
        for job in snapshot.jobs_on(node)
    )


def _of_open(signal: Signal, node: str, incidents: Iterable[Incident]) -> bool:
    """An incident that is open on this node began at that time: it is more evidence of it."""
    return any(i.node == node and i.is_open and _near(i.opened_at, signal) for i in incidents)


def _borne_out(
    signal: Signal,
    node: str,
    held: Held,
    open_on: set[tuple[str, str]],
    snapshot: Snapshot,
    settings: SenseSettings,
) -> list[Signal]:
    """This line with those before it, once enough speaks for it; else nothing yet."""
    fault = fault_of(signal)
    if fault is None:
        return [signal]  # below its threshold: it opens nothing
    if (node, fault) in open_on or any((node, f) in open_on for f in _LINKS if fault in _LINKS):
        return [signal]
    kept = held.get((node, fault), ())
    if not any(s.id == signal.id or _the_same_reading(s, signal, settings) for s in kept):
        kept = (*kept[: MOST_HELD // 2], *kept[MOST_HELD // 2 :][-(MOST_HELD // 2 - 1) :], signal)
    held[node, fault] = kept
    times = _apart(kept, settings.confirm_apart_s)
    if fault is Fault.NODE_FLAPPING:
        return list(kept) if times >= settings.flap_deaths else []
    more = len({s.code for s in kept}) > 1 or _harm_then(signal, node, snapshot)
    if times < READINGS and not (times >= READINGS_WITH_MORE and more):
        return []
    newest = [] if any(s.id == signal.id for s in kept) else [signal]
    return [*kept, *newest, *_other_links(node, fault, held)]


def _the_same_reading(kept: Signal, new: Signal, settings: SenseSettings) -> bool:
    """Its code was told so shortly before that both are one reading: were each kept, a port that
    falls each few seconds would crowd out the readings that lie apart."""
    near = abs((new.at - kept.at).total_seconds()) < settings.confirm_apart_s
    return near and (kept.code, kept.target) == (new.code, new.target)


def _other_links(node: str, fault: Fault, held: Held) -> list[Signal]:
    """What the host's other links said, once one of them is believed: which of its parts is to
    blame shows in all of them together."""
    if fault not in _LINKS:
        return []
    return [s for f in _LINKS if f != fault for s in held.get((node, f), ())]


def _of_storage(
    signal: Signal,
    node: str,
    held: Held,
    open_on: set[tuple[str, str]],
    snapshot: Snapshot,
) -> list[Signal]:
    """A mount that does not answer, told by several nodes of a zone: the word of its storage, with
    what the others said. Nothing where this node may be the only one."""
    known = snapshot.nodes.get(node)
    if signal.code != STALL or known is None:
        return []
    target = f"zone:{known.zone}" if known.zone else "cluster"
    key = (target, Fault.STORAGE_STALL)
    told = {target_node(s.target): s for s in held.get(key, ()) if _seconds(signal, s) < TOGETHER_S}
    lines = tuple({node: signal, **told}.values())[:MOST_HELD]
    held[key] = lines
    if key not in open_on and len(lines) < NODES_OF_STORAGE:
        return []
    return [replace_word(s, target=target, incarnation="") for s in lines]


def _seconds(one: Signal, other: Signal) -> float:
    return abs((one.at - other.at).total_seconds())


def _apart(lines: tuple[Signal, ...], apart_s: float) -> int:
    """How many readings these are, where those closer together than that are one."""
    count, last = 0, float("-inf")
    for at in sorted(s.at.timestamp() for s in lines):
        if at - last >= apart_s:
            count, last = count + 1, at
    return count
