"""Did they fall ill together because of what they share? Asked by the correlator, last.

Five hosts of one rack within minutes are one fault of the rack: one incident on it, with what
speaks for and against each thing that they share, and no repair node by node.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from watchkeeper.core.clock import Ids
from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.fault import PROOF_S, STEP_SEEN_S, Fault
from watchkeeper.core.incident import Incident, IncidentState, Signal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.health.book import PART_OF, Book, closed, members
from watchkeeper.health.evidence import confidence, fault_of
from watchkeeper.health.hypotheses import hypotheses
from watchkeeper.health.sense import SenseSettings
from watchkeeper.health.sensors import clocks_cut
from watchkeeper.health.titles import title

_FAMILY: dict[str, str] = {
    Fault.NODE_LOST: "gone",
    Fault.NODE_SILENT: "gone",
    Fault.NODE_FLAPPING: "gone",
    Fault.NETWORK_LINK: "gone",
    Fault.GPU_THERMAL: "heat",
    Fault.GPU_POWER_BRAKE: "power",
    Fault.NVLINK: "fabric",
    Fault.GPU_DRIVER: "driver",
}
"""What can be of one cause. An Xid of the GPU itself is not: five bad GPUs are five faults. But
firmware that falls silent on five nodes of a rack at once was rolled out to them."""
SHARED = frozenset(_FAMILY) | {None}
"""Faults that a domain explains while it is down; companions, which speak for none, with them."""
SUSPECT = "gang.suspect"
"""That a node is slower than its peers of one gang. In a rack that is hot or cut off it is slow for
that: its own repair would mend nothing, and fail its check for as long as the rack is ill."""
_OF_DRIVERS = frozenset({Fault.GPU_DRIVER, Fault.GPU_HARDWARE})
"""What a bad driver says of GPUs that have nothing: no word of it is about one of them."""
QUIET_S: dict[str, float] = {Fault.GPU_DRIVER: 1800.0, Fault.NETWORK_LINK: 600.0}
"""What only words tell of may be over when none came for so long (ours). Counters speak each
minute; a driver speaks when something runs on it: its silence on empty nodes says nothing."""
FORGOTTEN_S = 86400.0
"""A driver on nodes that stayed empty is no more one fault of them all after so long: people had it
for a day (ours)."""
NOTED_EVERY_S = 120.0
"""A domain's incident notes no more often than this that its words go on."""
_KINDS = {
    "gone": ("rack", "leaf", "power_feed", "zone"),
    "heat": ("rack", "power_feed", "zone"),
    "power": ("rack", "power_feed", "zone"),
    "fabric": ("nvlink_domain",),
    "driver": ("rack", "leaf", "power_feed", "zone"),
}

LEAST_SHARE = 0.25
"""Of the domain's nodes, so many must be ill: five of a zone of a thousand are not the zone."""
FEW = 3
"""With fewer ill than this the domain is well again; what is left are single nodes."""
_PER_NODE = 2
"""Signals kept of one node: a feed's incident stays small."""


def gather(book: Book, snapshot: Snapshot, ids: Ids, settings: SenseSettings) -> None:
    """Write one incident for each domain that fell ill, and close those that it explains."""
    since = snapshot.at - timedelta(seconds=settings.domain_window_s)
    fresh = [
        i
        for i in book.unresolved()
        if i.opened_at >= since and i.fault in _FAMILY and i.state is IncidentState.OPEN and i.node
    ]
    for family in dict.fromkeys(_FAMILY[i.fault] for i in fresh):
        own = [i for i in fresh if _FAMILY[i.fault] == family]
        _join_known(book, own, snapshot)
        # Silence is Unknown: it joins a domain that is known to be down, and makes none.
        own = [i for i in own if book[i.id].is_open and i.fault != Fault.NODE_SILENT]
        wider = [i for i in book.values() if _is_wider(i, since, family)]
        while own and (found := _domain(own, wider, snapshot, family, settings)) is not None:
            kind, name, taken, parts = found
            _write(book, f"{kind}:{name}", taken, parts, snapshot, ids)
            gone = {i.id for i in taken}
            own = [i for i in own if i.id not in gone]
            wider = [i for i in wider if i.id not in {p.id for p in parts}]


def unexplained(book: Book, name: str, signals: list[Signal], snapshot: Snapshot) -> list[Signal]:
    """Of what is told of a node, that which the domain's incident does not explain that it fell
    ill with. That the rest goes on to be told is noted there: it says how long the domain is ill.
    """
    home = book.domain_of(name)
    if home is None:
        return signals
    explained = SHARED | (_OF_DRIVERS if _family_of(home) == "driver" else frozenset())
    told = any(fault_of(s) in explained & (QUIET_S.keys() | _OF_DRIVERS) for s in signals)
    if told and (snapshot.at - home.updated_at).total_seconds() >= NOTED_EVERY_S:
        book.write(replace(home, updated_at=snapshot.at))
    return [s for s in signals if s.code != SUSPECT and fault_of(s) not in explained]


def explained_by(incidents: Iterable[Incident]) -> dict[str, frozenset[str]]:
    """Domain that is down (`leaf:l1`) -> classes of fault of its nodes that this explains. A node
    whose repair had begun before the others fell ill keeps an incident of its own."""
    down: dict[str, frozenset[str]] = {}
    for incident in incidents:
        if incident.fault != Fault.DOMAIN_DOWN or incident.state is IncidentState.RESOLVED:
            continue
        family = _family_of(incident)
        faults = {fault for fault, of in _FAMILY.items() if of == family} | {Fault.NODE_SUSPECT}
        faults |= _OF_DRIVERS if family == "driver" else set()
        down[incident.target] = down.get(incident.target, frozenset()) | faults
    return down


def _is_wider(incident: Incident, since: datetime, family: str) -> bool:
    """A domain's own incident, young enough to have been the first part of something larger."""
    return (
        incident.fault == Fault.DOMAIN_DOWN
        and incident.state is IncidentState.OPEN
        and incident.opened_at >= since
        and _family_of(incident) == family
    )


def _family_of(incident: Incident) -> str:
    faults = (fault_of(s) for s in incident.signals)
    return next((_FAMILY[f] for f in faults if f in _FAMILY), "")


def _join_known(book: Book, fresh: list[Incident], snapshot: Snapshot) -> None:
    """A node that follows into a domain that is down already."""
    homes = [
        i.id
        for i in book.values()
        if i.fault == Fault.DOMAIN_DOWN and i.state is not IncidentState.RESOLVED
    ]
    for incident in fresh if homes else ():
        node = snapshot.nodes.get(incident.node)
        if node is None:
            continue
        for home in (book[ident] for ident in homes):
            kind, _, name = home.target.partition(":")
            same = node.domains().get(kind) == name
            if same and _family_of(home) == _FAMILY[incident.fault]:
                _write_into(book, home, (incident,), snapshot)
                break


def _domain(
    fresh: list[Incident],
    wider: list[Incident],
    snapshot: Snapshot,
    family: str,
    settings: SenseSettings,
) -> tuple[str, str, list[Incident], list[Incident]] | None:
    """The domain of which most is ill, and of equals the largest: (kind, name, incidents, and
    the smaller domains' incidents that it explains). None where no domain has enough."""
    ill: dict[tuple[str, str], set[str]] = {}
    names = {i.node for i in fresh} | {n for w in wider for n in members(w)}
    if len(names) < settings.domain_nodes:
        return None
    for name in names:
        node = snapshot.nodes.get(name)
        for kind, domain in node.domains().items() if node is not None else ():
            if kind in _KINDS[family]:
                ill.setdefault((kind, domain), set()).add(name)
    enough = {d: m for d, m in ill.items() if len(m) >= settings.domain_nodes}
    enough = {d: m for d, m in enough.items() if any(i.node in m for i in fresh)}
    if not enough:
        return None
    size = _sizes(snapshot, enough)
    share = {d: len(m) / max(1, size[d]) for d, m in enough.items()}
    best = max(share.values())
    if best < LEAST_SHARE:
        return None
    kind, domain = max(
        (d for d in enough if share[d] >= best - 0.1), key=lambda d: (len(enough[d]), d)
    )
    inside = enough[kind, domain]
    taken = [i for i in fresh if i.node in inside]
    return kind, domain, taken, [w for w in wider if members(w) <= inside]


def _sizes(snapshot: Snapshot, domains: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    wanted = dict.fromkeys(domains, 0)
    for node in snapshot.nodes.values():
        for key in node.domains().items():
            if key in wanted:
                wanted[key] += 1
    return wanted


def _write(
    book: Book,
    target: str,
    taken: list[Incident],
    parts: list[Incident],
    snapshot: Snapshot,
    ids: Ids,
) -> None:
    blank = Incident(
        id=ids.new("INC"),
        target=target,
        fault=Fault.DOMAIN_DOWN,
        title=title(Fault.DOMAIN_DOWN, "", target),
        state=IncidentState.OPEN,
        opened_at=snapshot.at,
        updated_at=snapshot.at,
        world=snapshot.world,
        confidence=0.0,
    )
    book.write(blank)
    _write_into(book, blank, (*taken, *parts), snapshot)


def _write_into(book: Book, home: Incident, taken: Iterable[Incident], snapshot: Snapshot) -> None:
    taken = tuple(taken)
    signals = (*home.signals, *(s for i in taken for s in _few(i.signals)))
    jobs = tuple(dict.fromkeys((*home.jobs, *(name for i in taken for name in i.jobs))))
    fault, target = Fault.DOMAIN_DOWN, home.target
    book.write(
        replace(
            home,
            signals=signals,
            jobs=jobs,
            updated_at=snapshot.at,
            confidence=confidence(signals),
            hypotheses=hypotheses(fault, "", None, signals, snapshot, target),
        )
    )
    for incident in taken:
        book.write(closed(incident, snapshot, f"{PART_OF}{home.id}."))


def _few(signals: tuple[Signal, ...]) -> list[Signal]:
    kept: dict[str, list[Signal]] = {}
    for signal in signals:
        if fault_of(signal) in _FAMILY:
            kept.setdefault(signal.target.partition("/")[0], []).append(signal)
    return [s for group in kept.values() for s in group[:_PER_NODE]]


def domain_ill(
    incident: Incident, snapshot: Snapshot, settings: SenseSettings, blind: frozenset[str]
) -> bool | None:
    """True while enough of its nodes are ill; False when few or none are. Links that failed say
    nothing when they hold again: that is Unknown, until the raylets' own state tells. So is a
    driver of which nothing is told, until gangs work on its nodes."""
    family = _family_of(incident)
    quiet_s = (snapshot.at - incident.updated_at).total_seconds()
    if any(quiet_s < QUIET_S[fault] for fault in _worded(incident)):
        return True
    if family == "driver":
        return False if quiet_s >= FORGOTTEN_S or _works_again(incident, snapshot) else None
    if family == "fabric" or (blind & {"telemetry", "redis"} and family != "gone"):
        return None
    ill = sum(_node_is_ill(name, snapshot, settings, family) for name in members(incident))
    return ill >= FEW


def _works_again(incident: Incident, snapshot: Snapshot) -> bool:
    """Gangs that have run on some of its nodes for a while since the last word of it make steps.
    One that has just begun is about to meet what the one before it met."""
    proof = timedelta(seconds=PROOF_S)
    newest = snapshot.at - timedelta(seconds=STEP_SEEN_S)
    names, working = members(incident), set[str]()
    for job in snapshot.jobs.values():
        if job.state is not JobState.RUNNING or job.step_at is None:
            continue
        if (
            job.step_at > newest
            and job.step_at >= max(incident.updated_at, job.state_since) + proof
        ):
            working.update(names.intersection(job.nodes))
    return len(working) >= FEW


def awaits_steps(incident: Incident, now: datetime) -> bool:
    """Whether the next steps of gangs on its nodes may show that it is over. For who skips quiet
    stretches."""
    if incident.fault != Fault.DOMAIN_DOWN or _family_of(incident) != "driver":
        return False
    return (now - incident.updated_at).total_seconds() >= QUIET_S[Fault.GPU_DRIVER]


def quiet_ends(incident: Incident) -> list[float]:
    """When it would be over for want of words, in epoch seconds: of what only words tell of."""
    if incident.fault != Fault.DOMAIN_DOWN:
        return []
    ends = [QUIET_S[fault] for fault in sorted(_worded(incident))]
    if _family_of(incident) == "driver":
        ends.append(FORGOTTEN_S)
    return [incident.updated_at.timestamp() + end for end in ends]


def _worded(incident: Incident) -> set[str]:
    """Its faults of which only words tell."""
    return {f for s in incident.signals if (f := fault_of(s)) in QUIET_S}


def _node_is_ill(name: str, snapshot: Snapshot, settings: SenseSettings, family: str) -> bool:
    node, row = snapshot.nodes.get(name), snapshot.frame.row.get(name)
    if node is None:
        return True
    if family == "gone":
        silence = snapshot.silence_s(name)
        silent = silence is None or silence > settings.silent_after_s
        return node.ray_state is not RayState.ALIVE or silent
    if row is None:
        return True
    code = "gpu.thermal" if family == "heat" else "gpu.power_brake"
    return bool(clocks_cut(snapshot.frame.gpu[row], code).any())


__all__ = [
    "awaits_steps",
    "domain_ill",
    "explained_by",
    "gather",
    "members",
    "quiet_ends",
    "unexplained",
]
