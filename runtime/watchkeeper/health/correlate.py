"""Which signals belong together? Incidents + signals -> incidents.

Asked once a turn, after `sense`. One sick node is one incident, whatever its instruments say of
it; a gang that stopped with it belongs to it; a node that died because we drained it is our own
doing. The same signals on the same snapshot twice change nothing. Never acts, never forgets: what
is closed is handed back as it was.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from watchkeeper.core.clock import Ids
from watchkeeper.core.fault import GANG_FAULTS, REPAIRED_ON_NODE, UNHEALTHY_NODE, Fault, rank
from watchkeeper.core.incident import Incident, IncidentState, Signal, target_node
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.health.book import PART_OF, Book, closed
from watchkeeper.health.domains import SHARED, gather
from watchkeeper.health.evidence import (
    believed,
    confidence,
    fault_of,
    merged,
)
from watchkeeper.health.hypotheses import hypotheses
from watchkeeper.health.illness import healed, still_ill
from watchkeeper.health.news import (
    at_boot,
    before_this_life,
    known,
    not_from_the_future,
    of_a_life,
    of_an_attempt,
)
from watchkeeper.health.sense import REAL, SenseSettings
from watchkeeper.health.titles import title

_IN_HAND = (IncidentState.ACTING, IncidentState.VERIFYING)
_TAKES_JOBS = (UNHEALTHY_NODE - {Fault.NODE_SILENT}) | {
    Fault.APPLICATION,
    Fault.GPU_MEMORY_CONTAINED,
}
_SLOWS_JOBS = _TAKES_JOBS | {Fault.GPU_THERMAL, Fault.GPU_POWER_BRAKE}
"""A gang that stopped on such a node stopped because of it. Silence explains nothing."""


def correlate(
    incidents: tuple[Incident, ...],
    signals: tuple[Signal, ...],
    snapshot: Snapshot,
    ids: Ids,
    settings: SenseSettings = REAL,
) -> tuple[Incident, ...]:
    """Every incident after this turn, those unchanged included, new ones last.

    Closes what healed without us (`closed_because` says how); never closes what is in hand.
    """
    book = Book(_closed_if_healed(i, snapshot, settings) for i in incidents)
    news = [not_from_the_future(s, snapshot) for s in signals if s.world is snapshot.world]
    news = [s for s in news if believed(s)]
    by_node: dict[str, list[Signal]] = {}
    for signal in news:
        if node := target_node(signal.target):
            by_node.setdefault(node, []).append(signal)
    for node in sorted(by_node):
        _join_node(book, node, by_node[node], snapshot, ids, settings)
    for signal in sorted(news, key=lambda s: (s.target, s.at, s.id)):
        if target_node(signal.target):
            continue
        if signal.target.startswith("job:"):
            _join_job(book, of_an_attempt(signal, snapshot), snapshot, ids)
        else:
            _join_target(book, signal, snapshot, ids)
    _absorb_jobs(book, snapshot)
    gather(book, snapshot, ids, settings)
    return tuple(book.values())


def _closed_if_healed(incident: Incident, snapshot: Snapshot, settings: SenseSettings) -> Incident:
    if incident.state is IncidentState.RESOLVED or incident.state in _IN_HAND:
        return incident
    why = healed(incident, snapshot, settings)
    return closed(incident, snapshot, why) if why else incident


def _join_node(
    book: Book,
    name: str,
    signals: list[Signal],
    snapshot: Snapshot,
    ids: Ids,
    settings: SenseSettings,
) -> None:
    node = snapshot.nodes.get(name)
    now = node.incarnation if node else ""
    if book.domain_of(name) is not None:
        # What the domain explains is not told again node by node.
        signals = [s for s in signals if fault_of(s) not in SHARED]
    own = book.on(name)
    home = next((i for i in own if i.is_open), None)
    fresh: list[Signal] = []
    for signal in signals:
        if known(book, own, signal) or at_boot(signal, snapshot, settings):
            continue
        of_old = bool(signal.incarnation and now and signal.incarnation != now)
        if home is None and before_this_life(signal, node, settings):
            continue  # an old line, told late or told again
        if of_old and (home is None or home.incarnation != signal.incarnation):
            continue  # the patient it speaks of is gone
        fresh.append(of_a_life(signal, home, snapshot))
    if not fresh:
        return
    speaking = [s for s in fresh if fault_of(s) is not None]
    if home is None and speaking:
        home = _with_a_person(own, speaking, snapshot, settings)
    if home is not None:
        book.write(_joined(home, fresh, snapshot))
    elif speaking:
        # Companions (Xid 45, 154) come along, and never open anything themselves.
        opened = _opened(ids, name, fresh, speaking, snapshot)
        book.write(opened)


def _with_a_person(
    own: list[Incident],
    speaking: list[Signal],
    snapshot: Snapshot,
    settings: SenseSettings,
) -> Incident | None:
    """The escalated incident that these belong to: same incarnation, nothing graver than it."""
    worst = max(rank(f) for s in speaking if (f := fault_of(s)))
    for incident in own:
        if (
            incident.state is IncidentState.ESCALATED
            and all(s.incarnation == incident.incarnation for s in speaking)
            and worst <= rank(incident.fault)
            and still_ill(incident, snapshot, settings) is not False
        ):
            return incident
    return None


def _opened(
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


SUMMARY = "xid.154"
"""The driver's word on the cure of another code: it names a fault only where it stands alone."""


def _names(signal: Signal) -> tuple[bool, int]:
    return signal.code != SUMMARY, rank(fault_of(signal) or Fault.APPLICATION)


def _joined(incident: Incident, fresh: Iterable[Signal], snapshot: Snapshot) -> Incident:
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
    return replace(
        incident,
        target=target,
        gpu=gpu,
        sick_gpus=tuple(sorted(sick)),
        title=title(fault, incident.node, target),
        updated_at=snapshot.at,
        signals=signals,
        confidence=confidence(speaking),
        hypotheses=hypotheses(fault, incident.node, gpu, signals, snapshot, target),
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


def _join_job(book: Book, signal: Signal, snapshot: Snapshot, ids: Ids) -> None:
    name = signal.target.partition(":")[2]
    mine = [i for i in book.values() if name in i.jobs]
    if any(s.id == signal.id for i in mine for s in i.signals):
        return
    job = snapshot.jobs.get(name)
    takes = _SLOWS_JOBS if signal.code == "gang.slow" else _TAKES_JOBS
    host = _host(book, job.nodes if job else (), takes) or next(
        (i for i in mine if i.is_open), None
    )
    if host is not None:
        joined = _joined(host, (signal,), snapshot)
        book.write(replace(joined, jobs=_also(host.jobs, (name,))))
    elif (fault := fault_of(signal)) is not None:
        opened = _opened_on(ids, signal, fault, snapshot)
        book.write(replace(opened, jobs=(name,)))


def _join_target(book: Book, signal: Signal, snapshot: Snapshot, ids: Ids) -> None:
    fault = fault_of(signal)
    same = [i for i in book.values() if i.target == signal.target]
    home = next((i for i in same if i.is_open), None)
    if fault is None or (home is None and known(book, same, signal)):
        return
    if home is None:
        home = _opened_on(ids, signal, fault, snapshot)
    book.write(_joined(home, (signal,), snapshot))


def _opened_on(ids: Ids, signal: Signal, fault: Fault, snapshot: Snapshot) -> Incident:
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


def _host(
    book: Book, nodes: Iterable[str], takes: frozenset[Fault] | set[Fault] = _TAKES_JOBS
) -> Incident | None:
    """The gravest open incident that explains why a gang on these nodes stopped."""
    hosts = [
        incident
        for node in sorted(set(nodes))
        for incident in book.on(node)
        if incident.is_open and incident.fault in takes
    ]
    return max(hosts, key=lambda i: (rank(i.fault), i.id), default=None)


def _absorb_jobs(book: Book, snapshot: Snapshot) -> None:
    """A gang often stops before Ray declares its node dead: then its incident was no own one."""
    for incident in list(book.values()):
        ours = incident.fault == Fault.JOB_STOPPED or incident.fault in GANG_FAULTS
        if not ours or incident.node or incident.state is not IncidentState.OPEN:
            continue
        jobs = [snapshot.jobs[name] for name in incident.jobs if name in snapshot.jobs]
        host = _host(book, (node for job in jobs for node in job.nodes))
        if host is None:
            continue
        joined = _joined(host, incident.signals, snapshot)
        book.write(replace(joined, jobs=_also(host.jobs, incident.jobs)))
        book.write(closed(incident, snapshot, f"{PART_OF}{host.id}."))


def _also(names: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*names, *more)))
