"""Think: signals to incidents, series to forecasts.

Nothing here asks for an action.
"""

from __future__ import annotations

import msgspec

from watchkeeper.control.life import State
from watchkeeper.control.look import stale
from watchkeeper.control.regret import measure
from watchkeeper.control.serving import plan_serving
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import REPAIRS, JobRequeue, NodeReplace, kind_of
from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.errors import ClusterUnavailable
from watchkeeper.core.event import Kind
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import plain
from watchkeeper.health.correlate import correlate
from watchkeeper.health.doubt import weigh
from watchkeeper.health.lemons import with_history
from watchkeeper.health.notice import notice

BLIND_PAGE_S = 60.0
"""The cluster unreadable for this long wakes a person."""

DEMAND_EVERY_S = 10.0


def say_blind(watch: Watch) -> None:
    """The cluster was never read: nothing can be thought; after a while, wake a person."""
    now = watch.clock.steady()
    if watch.blind_since is None:
        watch.blind_since = now
    if now - watch.blind_since > BLIND_PAGE_S:
        hour = f"{watch.clock.now():%Y%m%dT%H}"
        watch.teller.page(
            f"blind:{hour}", "The watch cannot see the cluster", watch.looker.ray_error
        )


def think(watch: Watch, snapshot: Snapshot) -> None:
    """Signals to incidents; series to forecasts. The same snapshot gives the same incidents."""
    books = watch.record.books
    arrived = watch.looker.take_signals()
    ours = tuple(s for s in arrived if s.world is snapshot.world)
    derived, seen = notice(snapshot, watch.sightings, watch.sense)
    before = dict(books.incidents)
    told, watch.sightings = weigh(ours, before.values(), snapshot, seen, watch.sense)
    signals = told + derived
    watch.book = watch.book.caught_up(before.values())
    after = correlate(watch.book, signals, snapshot, watch.ids, watch.sense)
    lemons = _lemons([i for i in after if i.id not in before], after, watch, snapshot)
    for incident in after:
        old = before.get(incident.id)
        if incident is old and incident.state is IncidentState.RESOLVED:
            continue  # of thousands that a long run leaves behind, nearly all
        told_of = lemons.get(incident.id, incident)
        now = _with_its_gangs(watch, _in_its_stage(watch, told_of), snapshot)
        _note_incident(watch, old, now)
    _foresee(watch, snapshot)


def _lemons(
    opened: list[Incident], after: tuple[Incident, ...], watch: Watch, snapshot: Snapshot
) -> dict[str, Incident]:
    """Of the incidents opened now, those on a node that fails again and again, saying so."""
    if not opened:
        return {}
    files = watch.record.books.files.values()
    replaced = {
        f.proposal.incident for f in files if isinstance(f.action, NodeReplace) and f.effect
    }
    told_of = with_history(opened, after, snapshot, frozenset(replaced))
    return {incident.id: incident for incident in told_of}


def _in_its_stage(watch: Watch, incident: Incident) -> Incident:
    """Open, acting or verifying, by what is in hand for it. The same object where that is so."""
    if not incident.is_open:
        return incident
    states = {f.state for f in watch.record.books.of_incident(incident.id)}
    stage = IncidentState.OPEN
    if states & {State.CLEARED, State.STARTED}:
        stage = IncidentState.ACTING
    elif State.ISSUED in states:
        stage = IncidentState.VERIFYING
    if incident.state is stage:
        return incident
    return msgspec.structs.replace(incident, state=stage)


def _with_its_gangs(watch: Watch, incident: Incident, snapshot: Snapshot) -> Incident:
    """With the gangs that end with its node by our own steps: Ray tells their end seconds later,
    and it is this incident's then. The same object where there are none new."""
    node = snapshot.nodes.get(incident.node)
    if not incident.is_open or node is None:
        return incident
    jobs, ended = list(incident.jobs), list(incident.ended)
    for file in watch.record.books.of_incident(incident.id):
        kind = kind_of(file.action)
        if file.effect is None or file.state is State.REFUSED or kind not in REPAIRS:
            continue
        dead = node.ray_state is RayState.DEAD
        since = node.ray_state_since if dead else None
        if kind == "node.drain":
            since = file.effect.started_at
        plan = [step.job for step in file.proposal.plan if isinstance(step, JobRequeue)]
        for job in (snapshot.jobs.get(name) for name in (*file.impact.jobs, *plan)):
            on = job is not None and job.state in (JobState.RUNNING, JobState.WAITING)
            if since and job and on and job.state_since < since:
                jobs.append(job.name)
                ended.append(job.attempt_id)
    found = tuple(dict.fromkeys(jobs)), tuple(dict.fromkeys(ended))
    if found == (incident.jobs, incident.ended):
        return incident
    return msgspec.structs.replace(incident, jobs=found[0], ended=found[1])


def _note_incident(watch: Watch, old: Incident | None, new: Incident) -> None:
    if new is old:
        return
    if old is not None and _same(old, new):
        return
    kind = Kind.INCIDENT_CHANGED
    if old is None:
        kind = Kind.INCIDENT_OPENED
    elif old.is_open and not new.is_open:
        kind = Kind.INCIDENT_CLOSED
    watch.record.write(kind, (new.id, new.target), incident=plain(new))


def _same(old: Incident, new: Incident) -> bool:
    """Whether nothing but its time has changed. The time of a domain's says for how long its words
    go on, and is kept: without it, it would end while they do, and begin anew."""
    if new.fault == Fault.DOMAIN_DOWN:
        return new == old
    return msgspec.structs.replace(new, updated_at=old.updated_at) == old


def _foresee(watch: Watch, snapshot: Snapshot) -> None:
    if stale(snapshot):
        return
    if snapshot.steady - watch.demand_recorded_at >= DEMAND_EVERY_S:
        watch.demand_recorded_at = snapshot.steady
        try:
            watch.mirror.record_demand(snapshot.state)
        except ClusterUnavailable:
            return
    for forecast in watch.forecaster.collect(snapshot.state, snapshot.at):
        watch.record.write(Kind.FORECAST, (f"pool:{forecast.pool}",), forecast=plain(forecast))
    measure(watch, snapshot)
    plan_serving(watch, snapshot)
