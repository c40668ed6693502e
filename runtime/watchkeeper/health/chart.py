"""The sheet of one incident: how it is opened, what each signal adds, and what it then says.

Asked by the correlator, which decides what belongs together. The same signals give the same sheet.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from watchkeeper.core.clock import Ids
from watchkeeper.core.fault import GANG_FAULTS, REPAIRED_ON_NODE, Fault, rank
from watchkeeper.core.incident import Incident, IncidentState, Signal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.health.claims import of_history
from watchkeeper.health.evidence import confidence, fault_of, merged
from watchkeeper.health.hypotheses import hypotheses
from watchkeeper.health.titles import title


def opened(
    ids: Ids, node: str, fresh: list[Signal], speaking: list[Signal], snapshot: Snapshot
) -> Incident:
    gravest = max(speaking, key=_names)
    blank = Incident(
        id=ids.new("INC"),
        target=f"node:{node}",
        fault=fault_of(gravest) or Fault.GPU_UNKNOWN,
        title="",
        state=IncidentState.OPEN,
        opened_at=snapshot.at,
        updated_at=snapshot.at,
        world=snapshot.world,
        confidence=0.0,
        node=node,
        incarnation=gravest.incarnation,
    )
    return _rebuilt(blank, merged((), fresh), snapshot)


def opened_on(ids: Ids, signal: Signal, fault: Fault, snapshot: Snapshot) -> Incident:
    blank = Incident(
        id=ids.new("INC"),
        target=signal.target,
        fault=fault,
        title="",
        state=IncidentState.OPEN,
        opened_at=snapshot.at,
        updated_at=snapshot.at,
        world=snapshot.world,
        confidence=0.0,
    )
    return _rebuilt(blank, (signal,), snapshot)


SUMMARY = "xid.154"
"""The driver's word on the cure of another code: it names a fault only where it stands alone."""


def _names(signal: Signal) -> tuple[bool, int]:
    return signal.code != SUMMARY, rank(fault_of(signal) or Fault.APPLICATION)


def joined(incident: Incident, fresh: Iterable[Signal], snapshot: Snapshot) -> Incident:
    signals = merged(incident.signals, fresh)
    if signals == incident.signals:
        return incident
    ids = {s.id for s in incident.signals}
    held = [s for s in incident.signals if fault_of(s) is not None]
    summed_up = bool(held) and all(s.code == SUMMARY for s in held)
    for signal in (s for s in signals if s.id not in ids):
        fault = fault_of(signal)
        if fault is None or (signal.code == SUMMARY and held):
            continue
        if rank(fault) < rank(incident.fault) and not summed_up:
            continue
        summed_up = False
        # A graver word, or the same of a later life: the incident now speaks of that.
        incident = replace(
            incident, fault=fault, incarnation=signal.incarnation or incident.incarnation
        )
    return _rebuilt(incident, signals, snapshot)


def _rebuilt(incident: Incident, signals: tuple[Signal, ...], snapshot: Snapshot) -> Incident:
    fault = Fault(incident.fault)
    told = {
        s.target: f
        for s in signals
        if s.target.startswith("gpu:") and (f := fault_of(s)) is not None
    }
    sick = {t for t in told if _is_sick(t, fault, signals)}
    gpus = sick or set(told)
    indexed = {t for t in gpus if t.rpartition("/")[2].isdigit()}
    only = indexed or gpus
    target = next(iter(only)) if len(only) == 1 else incident.target
    if incident.node and len(only) > 1:
        target = f"node:{incident.node}"
    index = target.rpartition("/")[2] if target.startswith("gpu:") else ""
    gpu = int(index) if index.isdigit() else None
    speaking = [s for s in signals if (f := fault_of(s)) and _supports(f, fault)]
    found = hypotheses(fault, incident.node, gpu, signals, snapshot, target)
    return replace(
        incident,
        target=target,
        gpu=gpu,
        sick_gpus=tuple(sorted(sick)),
        title=title(fault, incident.node, target, frozenset(s.code for s in signals)),
        updated_at=snapshot.at,
        signals=signals,
        confidence=confidence(speaking),
        hypotheses=(*found, of_history(incident.lemon)) if incident.lemon else found,
    )


def _is_sick(target: str, fault: Fault, signals: tuple[Signal, ...]) -> bool:
    """A GPU that the fault itself is about: a program's error on another GPU is not its fault."""
    return any(
        s.target == target
        and (f := fault_of(s)) is not None
        and (_supports(f, fault) or f in REPAIRED_ON_NODE)
        for s in signals
    )


_WORDS_FOR: dict[Fault, frozenset[Fault]] = {
    Fault.NODE_LOST: frozenset({Fault.NODE_SILENT}),
    Fault.NODE_FLAPPING: frozenset({Fault.NODE_LOST, Fault.NODE_SILENT}),
    Fault.NODE_SUSPECT: GANG_FAULTS | {Fault.JOB_STOPPED},
    Fault.GANG_HANG: frozenset({Fault.JOB_STOPPED}),
}
"""What else supports a class: silence a lost node; a gang that suffers, and that its own watchdog
then ends, the node that stands out in it."""


def _supports(signal_fault: Fault, fault: Fault) -> bool:
    return signal_fault is fault or signal_fault in _WORDS_FOR.get(fault, ())
