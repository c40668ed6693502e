"""Which signals belong together? Incidents + signals -> incidents.

Asked once a turn, after `sense`. One sick node is one incident, whatever its instruments say of
it; a gang that stopped with it belongs to it; a node that died because we drained it is our own
doing. The same signals on the same snapshot twice change nothing. Never acts, never forgets: what
is closed is handed back as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from msgspec.structs import replace

from watchkeeper.core.clock import Ids
from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.fault import GANG_FAULTS, PACED, UNHEALTHY_NODE, Fault, rank
from watchkeeper.core.incident import Incident, IncidentState, Signal, target_node
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.health.book import PART_OF, Book, closed
from watchkeeper.health.chart import joined, opened, opened_on
from watchkeeper.health.domains import gather, unexplained
from watchkeeper.health.evidence import (
    believed,
    fault_of,
)
from watchkeeper.health.illness import healed, still_ill
from watchkeeper.health.news import (
    at_boot,
    before_this_life,
    known,
    not_from_the_future,
    of_a_life,
    of_an_attempt,
)
from watchkeeper.health.sense import REAL, SenseSettings, lost_sources
from watchkeeper.health.storage import TOGETHER_S

_IN_HAND = (IncidentState.ACTING, IncidentState.VERIFYING)
_TAKES_JOBS = (UNHEALTHY_NODE - {Fault.NODE_SILENT}) | {
    Fault.APPLICATION,
    Fault.GPU_MEMORY_CONTAINED,
}
_SLOWS_JOBS = _TAKES_JOBS | {Fault.GPU_THERMAL, Fault.GPU_POWER_BRAKE}
"""A gang that stopped on such a node stopped because of it. Silence explains nothing."""


LATE_S = 120.0
"""A gang's end that is told so soon after the incident that ended it was closed is part of it."""


def correlate(
    incidents: tuple[Incident, ...] | Book,
    signals: tuple[Signal, ...],
    snapshot: Snapshot,
    ids: Ids,
    settings: SenseSettings = REAL,
) -> tuple[Incident, ...]:
    """Every incident after this turn, those unchanged included, new ones last. A Book of them is
    written in; whoever keeps one from turn to turn spares the making of it.

    Closes what healed without us (`closed_because` says how); never closes what is in hand.
    """
    blind = lost_sources(snapshot, settings)
    book = incidents if isinstance(incidents, Book) else Book(incidents)
    for incident in book.unresolved():
        if (now := _closed_if_healed(incident, snapshot, settings, blind)) is not incident:
            book.put(now)
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


def _closed_if_healed(
    incident: Incident, snapshot: Snapshot, settings: SenseSettings, blind: frozenset[str]
) -> Incident:
    if incident.state in _IN_HAND:
        return incident
    why = healed(incident, snapshot, settings, blind)
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
    signals = unexplained(book, name, signals, snapshot)
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
        book.write(joined(home, fresh, snapshot))
    elif speaking:
        # Companions (Xid 45, 154) come along, and never open anything themselves.
        book.write(opened(ids, name, fresh, speaking, snapshot))


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


def _join_job(book: Book, signal: Signal, snapshot: Snapshot, ids: Ids) -> None:
    name = signal.target.partition(":")[2]
    mine = book.of_job(name)
    if any(s.id == signal.id for i in mine for s in i.signals):
        return
    if signal.code == PACED:
        _join_where_it_was_slow(book, mine, signal, snapshot)
        return
    job = snapshot.jobs.get(name)
    if storage := _its_storage(book, job, signal, snapshot):
        if storage.state is not IncidentState.RESOLVED:
            book.write(joined(storage, (signal,), snapshot))
        return
    takes = _SLOWS_JOBS if signal.code == "gang.slow" else _TAKES_JOBS
    host = _host(book, job.nodes if job else (), takes) or next(
        (i for i in mine if i.is_open), None
    )
    if host is not None:
        told = joined(host, (signal,), snapshot)
        book.write(replace(told, jobs=_also(host.jobs, (name,))))
    elif (fault := fault_of(signal)) is None:
        return
    elif (ours := _ended_by_us(mine, job, signal)) is not None:
        again = replace(ours, state=IncidentState.OPEN, closed_because="")
        book.write(joined(again, (signal,), snapshot))
    elif (known_to := _told_to_a_person(mine, signal, fault)) is not None:
        book.write(joined(known_to, (signal,), snapshot))
    else:
        book.write(replace(opened_on(ids, signal, fault, snapshot), jobs=(name,)))


def _join_where_it_was_slow(
    book: Book, mine: list[Incident], signal: Signal, snapshot: Snapshot
) -> None:
    """That a gang is fast again speaks for the node that was blamed, and opens nothing."""
    for incident in mine:
        slow = any(s.code == "gang.slow" and s.target == signal.target for s in incident.signals)
        if incident.is_open and incident.fault == Fault.NODE_SUSPECT and slow:
            book.write(joined(incident, (signal,), snapshot))


def _ended_by_us(mine: list[Incident], job: Job | None, signal: Signal) -> Incident | None:
    """The incident, closed just now, whose own steps ended this attempt. Called the gang's own end,
    a person would be asked for what they have approved already."""
    if signal.code != "job.stopped" or job is None:
        return None
    return next(
        (
            i
            for i in reversed(mine)
            if i.state is IncidentState.RESOLVED
            and job.attempt_id in i.ended
            and signal.at - i.updated_at <= timedelta(seconds=LATE_S)
        ),
        None,
    )


def _told_to_a_person(mine: list[Incident], signal: Signal, fault: Fault) -> Incident | None:
    """The incident of this very attempt and class that a person has: more of the same is theirs. A
    new attempt is a new patient, unless it computes nonsense as the one before did: then what makes
    it so is still among its nodes, and a person looks for it."""
    return next(
        (
            i
            for i in mine
            if i.state is IncidentState.ESCALATED
            and i.fault == fault
            and (
                fault is Fault.GANG_NAN
                or any(s.incarnation == signal.incarnation for s in i.signals)
            )
        ),
        None,
    )


def _its_storage(
    book: Book, job: Job | None, signal: Signal, snapshot: Snapshot
) -> Incident | None:
    """A gang that began to crawl or hang while the storage of its zone failed did so because of it,
    also if that is told only after the storage is back."""
    if job is None or signal.code not in ("gang.slow", "gang.hang"):
        return None
    zones = {f"zone:{n.zone}" for name in job.nodes if (n := snapshot.nodes.get(name)) is not None}
    return next(
        (
            i
            for i in book.values()
            if i.fault == Fault.STORAGE_STALL
            and (i.state is not IncidentState.RESOLVED or signal.at <= i.updated_at)
            and signal.at >= i.opened_at - timedelta(seconds=TOGETHER_S)
            and (i.target == "cluster" or i.target in zones)
        ),
        None,
    )


def _join_target(book: Book, signal: Signal, snapshot: Snapshot, ids: Ids) -> None:
    fault = fault_of(signal)
    same = [i for i in book.values() if i.target == signal.target]
    home = next((i for i in same if i.is_open), None)
    if fault is None or (home is None and known(book, same, signal)):
        return
    if (
        home is None
        and fault is Fault.CAPACITY_SHORT
        and _only_repairs_wait(book, signal, snapshot)
    ):
        return
    if home is None:  # a person has it: more of the same is theirs
        escalated = (i for i in same if i.state is IncidentState.ESCALATED and i.fault == fault)
        home = next(escalated, None)
    if home is None:
        home = opened_on(ids, signal, fault, snapshot)
    book.write(joined(home, (signal,), snapshot))


def _only_repairs_wait(book: Book, signal: Signal, snapshot: Snapshot) -> bool:
    """Every gang that waits in the pool lost its node to a repair that goes on: it waits for that,
    and the pool is not too small for it."""
    pool = signal.target.partition(":")[2]
    waiting = [
        job
        for job in snapshot.not_running
        if job.pool == pool and job.state is JobState.WAITING and job.pending_gpus > 0
    ]
    return bool(waiting) and all(
        any(i.is_open and i.node and i.fault in _TAKES_JOBS for i in book.of_job(job.name))
        for job in waiting
    )


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
    for incident in book.unresolved():
        ours = incident.fault == Fault.JOB_STOPPED or incident.fault in GANG_FAULTS
        if not ours or incident.node or incident.state is not IncidentState.OPEN:
            continue
        jobs = [snapshot.jobs[name] for name in incident.jobs if name in snapshot.jobs]
        host = _host(book, (node for job in jobs for node in job.nodes))
        if host is None:
            continue
        told = joined(host, incident.signals, snapshot)
        book.write(replace(told, jobs=_also(host.jobs, incident.jobs)))
        book.write(closed(incident, snapshot, f"{PART_OF}{host.id}."))


def _also(names: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*names, *more)))
