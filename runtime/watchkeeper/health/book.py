"""The incidents by id, while the correlator works on them, and from turn to turn: a long run leaves
thousands, of which a turn changes a few. Nobody else asks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from msgspec.structs import replace

from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident, IncidentState, target_node
from watchkeeper.core.telemetry import Snapshot

PART_OF = "It is part of "
"""How `closed_because` begins where an incident went up in another, whose id follows."""


class Book(dict[str, Incident]):
    """Incidents by id, in order, with an index by node: a whole pool may fall ill at once; and of
    those that are not resolved, which are few."""

    def __init__(self, incidents: Iterable[Incident]) -> None:
        super().__init__()
        self._on: dict[str, list[str]] = {}
        self._of_job: dict[str, dict[str, None]] = {}
        self._domain_of: dict[str, str] = {}
        self._unresolved: dict[str, None] = {}
        self._found_elsewhere = False
        for incident in incidents:
            self.write(incident)

    def write(self, incident: Incident) -> None:
        """Add an incident, or put its new self in its place."""
        old = self.get(incident.id)
        if old is not None and _found_elsewhere(old, incident):
            self._found_elsewhere = True
        if incident.node and incident.id not in self:
            self._on.setdefault(incident.node, []).append(incident.id)
        for job in incident.jobs:
            self._of_job.setdefault(job, {})[incident.id] = None
        if incident.fault == Fault.DOMAIN_DOWN:
            for name in members(incident):
                self._domain_of[name] = incident.id
        self.put(incident)

    def put(self, incident: Incident) -> None:
        """Put its new self in its place, where it is found by the same node, gangs and domain."""
        known = incident.id in self
        self[incident.id] = incident
        if incident.state is IncidentState.RESOLVED:
            self._unresolved.pop(incident.id, None)
        elif known and incident.id not in self._unresolved:  # open again: back to its own place
            open_now = (i for i in self.values() if i.state is not IncidentState.RESOLVED)
            self._unresolved = dict.fromkeys(i.id for i in open_now)
        else:
            self._unresolved[incident.id] = None

    def unresolved(self) -> list[Incident]:
        """Those that go on, or that a person has; oldest first."""
        return [self[ident] for ident in self._unresolved]

    def caught_up(self, incidents: Collection[Incident]) -> Book:
        """The book of these: this one, with what has changed since; or a new one, where an index
        would not be as if it were made of them."""
        known = len(self)
        if self._found_elsewhere or len(incidents) < known:
            return Book(incidents)
        for mine, now in zip(self.values(), incidents, strict=False):
            if mine is now:
                continue
            if mine.id != now.id or _found_elsewhere(mine, now):
                return Book(incidents)
            self.put(now)
        for new in islice(incidents, known, None):
            self.write(new)
        return self

    def on(self, node: str) -> list[Incident]:
        """Those of one node, oldest first."""
        return [self[name] for name in self._on.get(node, ())]

    def of_job(self, job: str) -> list[Incident]:
        """Those of one gang, oldest first."""
        found = [self[ident] for ident in self._of_job.get(job, ())]
        return sorted(found, key=lambda i: i.opened_at) if len(found) > 1 else found

    def domain_of(self, node: str) -> Incident | None:
        """The domain's incident that this node fell ill with, while it lasts."""
        incident = self.get(self._domain_of.get(node, ""))
        if incident is None or incident.state is IncidentState.RESOLVED:
            return None
        return incident

    def set_free(self, incident: Incident) -> bool:
        """It went up in a domain's incident that is over: what is left is this node's own again."""
        if not incident.closed_because.startswith(PART_OF):
            return False
        other = self.get(incident.closed_because.removeprefix(PART_OF).rstrip("."))
        return (
            other is not None
            and other.fault == Fault.DOMAIN_DOWN
            and other.state is IncidentState.RESOLVED
        )


def _found_elsewhere(old: Incident, new: Incident) -> bool:
    """Whether an index may lead to it by other ways than before. Of domains the last one written
    counts, so that it matters when each was."""
    of_domain = Fault.DOMAIN_DOWN in (old.fault, new.fault)
    return of_domain or old.node != new.node or old.jobs != new.jobs


def members(incident: Incident) -> frozenset[str]:
    """The nodes that a domain's incident is about: those that its signals name."""
    return frozenset(n for s in incident.signals if (n := target_node(s.target)))


def closed(incident: Incident, snapshot: Snapshot, why: str) -> Incident:
    """The incident, closed without us at the time of this snapshot."""
    return replace(
        incident, state=IncidentState.RESOLVED, updated_at=snapshot.at, closed_because=why
    )
