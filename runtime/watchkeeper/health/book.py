"""The incidents of one turn by id, while the correlator works on them. Nobody else asks."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident, IncidentState, target_node
from watchkeeper.core.telemetry import Snapshot

PART_OF = "It is part of "
"""How `closed_because` begins where an incident went up in another, whose id follows."""


class Book(dict[str, Incident]):
    """Incidents by id, in order, with an index by node: a whole pool may fall ill at once."""

    def __init__(self, incidents: Iterable[Incident]) -> None:
        super().__init__()
        self._on: dict[str, list[str]] = {}
        self._of_job: dict[str, dict[str, None]] = {}
        self._domain_of: dict[str, str] = {}
        for incident in incidents:
            self.write(incident)

    def write(self, incident: Incident) -> None:
        """Add an incident, or put its new self in its place."""
        if incident.node and incident.id not in self:
            self._on.setdefault(incident.node, []).append(incident.id)
        for job in incident.jobs:
            self._of_job.setdefault(job, {})[incident.id] = None
        if incident.fault == Fault.DOMAIN_DOWN:
            for name in members(incident):
                self._domain_of[name] = incident.id
        self[incident.id] = incident

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


def members(incident: Incident) -> frozenset[str]:
    """The nodes that a domain's incident is about: those that its signals name."""
    return frozenset(n for s in incident.signals if (n := target_node(s.target)))


def closed(incident: Incident, snapshot: Snapshot, why: str) -> Incident:
    """The incident, closed without us at the time of this snapshot."""
    return replace(
        incident, state=IncidentState.RESOLVED, updated_at=snapshot.at, closed_because=why
    )
