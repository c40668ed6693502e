"""When is the next turn due? Every tick, or only where something can come of it.

A quiet tick is skipped when nothing visible has changed, nobody answers, and no time that the
watch keeps has run out. Every delay of the watch is counted from a moment at which something
happened; so turns are held for a while after each such moment, and again at each delay after it.
A test plays a day both ways and compares every signal, verdict and effect.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from watchkeeper.app.twin_parts import Parts
from watchkeeper.app.twin_people import People
from watchkeeper.control import adrift
from watchkeeper.control.halting import goes_on_at
from watchkeeper.control.life import State
from watchkeeper.control.verify import BLIND_S
from watchkeeper.core.cluster import JobState, Node
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.fault import NAN_PROOF_S, Fault, steps_may_end
from watchkeeper.core.incident import IncidentState, Signal, target_node
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot
from watchkeeper.health.domains import awaits_steps, members
from watchkeeper.health.doubt import PASSING
from watchkeeper.health.evidence import STALL, fault_of
from watchkeeper.health.gang import ODD_S
from watchkeeper.health.illness import FLAP_CALM_S, silence_ends
from watchkeeper.health.notice import OUR_DOING_S
from watchkeeper.health.sense import SenseSettings
from watchkeeper.health.sensors import MOVES, STILL_S
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.frame import SAMPLE_S
from watchkeeper.twin.words import Hurt

NEWS_S = 10.0
"""After a turn that wrote something: what it wrote is taken up by the next."""
NO_NEWS = frozenset(
    {
        Kind.INCIDENT_OPENED,
        Kind.INCIDENT_CHANGED,
        Kind.NOTE,
        Kind.PAGED,
        Kind.TICKETED,
        Kind.SETTLED,
    }
)
"""But for these: the crew was asked about an incident on the turn that wrote it, and of what people
are told the watch makes nothing."""
HEARTBEAT_S = 900.0
"""A turn at least so often: half of `frozen_s`, so that a reading that stands still is seen to have
moved before, and one that happens to be the same on two looks is not taken for it."""
SECOND_S, MINUTE_S, MOST_LOOKS = 60.0, 60.0, 6
"""A doubt of `notice` is settled within a minute of looks."""
LAST_MINUTES = 8
WATCHED_S = 2400.0
"""A gang that slows down or stands still is looked at for so long: more than what is taken for a
hang where a gang's pace is not known, and than its last minutes that are judged."""
_WIRE = 3
"""Where `TwinCluster.mark` counts lines of instruments."""
_PRESENT = GPU_FIELDS.index("present")


@dataclass(frozen=True)
class Held:
    """How many turns were held, and of how many ticks; what for."""

    turns: int
    ticks: int
    why: dict[str, int]

    def says(self) -> str:
        """The cadence in one line."""
        share = self.turns / max(1, self.ticks)
        return f"{self.turns} turns held of {self.ticks} ticks ({share:.1%})"


class Dense:
    """A turn at every tick."""

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self.turns = 0

    def after(self, tick: int, parts: Parts, people: People) -> int:  # noqa: ARG002
        """The tick of the next turn."""
        self.turns += 1
        return tick + 1

    def hear(self, event: Event) -> None:
        """What a turn wrote changes nothing here."""

    def held(self, ticks: int) -> Held:
        return Held(self.turns, ticks, {"every tick": self.turns})


class Skipping:
    """Turns where something can come of them."""

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._wakes: list[int] = []
        self._close_until = 0
        self._written: set[Kind] = set()
        self._mark: tuple[int, ...] = ()
        self._foreseen = 0
        self.turns = 0
        self.why: Counter[str] = Counter()

    def after(self, tick: int, parts: Parts, people: People) -> int:
        """The tick of the next turn. Moves the twin up to the event that makes it due."""
        self.turns += 1
        now_s = tick * self._tick_s
        if self._written and (self._written - NO_NEWS or parts.watch.told_results):
            self._stay(now_s + NEWS_S)
        self._written.clear()
        self._foresee(parts)
        self._see(now_s, parts.cluster.mark)  # our own doing, within this turn
        due, why = self._due(tick, parts, people)
        return self._until_something_happens(tick, due, why, parts)

    def hear(self, event: Event) -> None:
        """The journal tells of each line as it is written."""
        self._written.add(event.kind)

    def held(self, ticks: int) -> Held:
        return Held(self.turns, ticks, dict(self.why))

    def _foresee(self, parts: Parts) -> None:
        """A gang that slows down is judged by its last minutes: they must have been seen one by
        one, and so the driver, who knows what comes, looks at them. And at the tick before an
        outage of telemetry, before readings begin and cease to stand still, and where many nodes
        begin and cease to be unheard."""
        cluster, harm = parts.cluster, parts.cluster.harm
        if self.turns == 1:
            disturbance = cluster.disturbance
            # The age of a lost source counts from the last look before; and a reading stands
            # still from the last whole minute before, up to the last one before it moves.
            for at_s in (*disturbance.outages_from_s, *disturbance.freezes_s):
                heapq.heappush(self._wakes, self._tick_of(at_s) - 1)
            # Who was not heard for a sample is late, and `_silences` knows when it counts; it is
            # heard again with its next sample.
            for at_s in disturbance.deaf_s:
                heapq.heappush(self._wakes, self._tick_of(at_s + SAMPLE_S) + 1)
                heapq.heappush(self._wakes, self._tick_of(at_s))
        for fault in harm.entered[self._foreseen :]:
            if harm.laws[fault.law].hurts is Hurt.SLOWS:
                gangs = cluster.work.running_on(fault.nodes)
                for report_s in {cluster.roster.report_s(g, fault.at_s) for g in gangs}:
                    for k in range(LAST_MINUTES):
                        heapq.heappush(self._wakes, self._tick_of(report_s - k * MINUTE_S))
        self._foreseen = len(harm.entered)

    def _see(self, at_s: float, mark: tuple[int, ...]) -> None:
        """Take in what is visible now. The tick of something that changed by itself shows all of
        it; of gangs and what ails them, `_times_of_health` and `_times_of_doubt` know when more is
        said, the crew when it thinks again, and the record when its times run out."""
        before, self._mark = self._mark, mark
        if mark != before:
            self._stay(at_s)

    def _stay(self, until_s: float) -> None:
        """A turn at each tick before this time."""
        self._close_until = max(self._close_until, self._tick_of(until_s))

    def _tick_of(self, at_s: float) -> int:
        """The first tick at or after a time."""
        return math.ceil(at_s / self._tick_s - 1e-9)

    def _due(self, tick: int, parts: Parts, people: People) -> tuple[int, str]:
        if tick < self._close_until:
            return tick + 1, "something changed"
        while self._wakes and self._wakes[0] <= tick:
            heapq.heappop(self._wakes)
        due = [(tick + self._tick_of(HEARTBEAT_S), "heartbeat")]
        if self._wakes:
            due.append((self._wakes[0], "a delay"))
        now_s = tick * self._tick_s
        for times, why in (
            ((people.next_s(),), "an answer"),
            (_times_of_record(parts), "a time of the record"),
            ((crew_thinks_s(parts.watch.crew, now_s),), "the crew thinks again"),
            (_times_of_health(parts), "a time of health"),
        ):
            # And the tick after each: some things must have lasted longer than their time.
            both = (t for at_s in times for t in (at_s, at_s + self._tick_s))
            if later := [t for t in both if now_s < t < math.inf]:
                due.append((self._tick_of(min(later)), why))
        # A doubt is settled by a reading, and the readings of a tick are there on it.
        if later := [t for t in _times_of_doubt(parts) if now_s < t < math.inf]:
            due.append((self._tick_of(min(later)), "a doubt"))
        first, why = min(due)
        return max(tick + 1, first), why

    def _by_the_way(self, parts: Parts) -> bool:
        """All that is new is a line which alone says nothing, and which the next turn, whatever it
        is held for, takes up as well: a link that fell once, on a node of which nothing else is
        said. Two of three turns for a line of an instrument were for such ones."""
        mark = parts.cluster.mark
        if any(mark[i] != self._mark[i] for i in range(len(mark)) if i != _WIRE):
            return False
        lines = parts.cluster.wire.waiting
        nodes = {target_node(line.target) for line in lines}
        if len(nodes) < len(lines) or not all(_says_nothing_alone(line) for line in lines):
            return False
        held = {node for node, _ in parts.watch.sightings.held}
        known = parts.watch.record.books.incidents.values()
        told = {i.node for i in known if i.state is not IncidentState.RESOLVED}
        if not nodes.isdisjoint(held | told):
            return False
        self._mark = mark
        return True

    def _until_something_happens(self, tick: int, due: int, why: str, parts: Parts) -> int:
        cluster = parts.cluster
        while (at_s := cluster.next_event_s()) <= due * self._tick_s:
            cluster.advance(at_s)
            if cluster.mark != self._mark and not self._by_the_way(parts):
                self._see(at_s, cluster.mark)
                due, why = min((due, why), (max(self._tick_of(at_s), tick + 1), "an event"))
        self.why[why] += 1
        return due


def _says_nothing_alone(line: Signal) -> bool:
    return line.code in PASSING and line.code != STALL and fault_of(line) is not None


def crew_thinks_s(crew: object, now_s: float) -> float:
    """When a crew thinks again by itself. One that does not say may ask at any tick."""
    ask = getattr(crew, "next_s", None)
    return float(ask()) if ask is not None else math.nextafter(now_s, math.inf)


def _times_of_record(parts: Parts) -> list[float]:
    """When something that is under way or was asked runs out; the clock's next step for what may
    begin now."""
    times = adrift.times(parts.watch.record.books)
    if (goes_on := goes_on_at(parts.watch.record.books)) is not None:
        times.append((goes_on - parts.cluster.clock.start).total_seconds())
    for file in parts.watch.record.books.files.living():
        effect, question = file.effect, file.question
        if file.in_hand and effect is not None:
            times += [effect.verify_by, effect.verify_by + BLIND_S]
            if effect.enforce_at is not None:
                times.append(effect.enforce_at)
        elif file.state is State.ASKING and question is not None:
            times.append(question.expires_steady)
            if question.escalate_steady is not None:
                times.append(question.escalate_steady)
        else:
            times.append(math.nextafter(parts.cluster.clock.s, math.inf))
    return times


def _times_of_health(parts: Parts) -> list[float]:
    """When what is seen now has lasted so long that `sense` says more of it, or less."""
    watch, begin = parts.watch, parts.cluster.clock.start.timestamp()
    snapshot, settings, seen = watch.latest, watch.sense, watch.sightings
    times = [at + OUR_DOING_S - begin for at in seen.ours.values()]
    times += [at + ODD_S - begin for nodes in seen.gangs.odd.values() for _, at in nodes]
    if snapshot is not None:
        times += _silences(snapshot, settings)
        for job in snapshot.not_running:
            if job.state is JobState.WAITING:
                times.append(job.state_since.timestamp() - begin + settings.capacity_after_s)
            elif job.state is JobState.STOPPED:
                times.append(job.state_since.timestamp() - begin + settings.job_settle_s)
        for incident in watch.record.books.open_incidents():
            node = snapshot.nodes.get(incident.node)
            if node is not None and incident.fault == Fault.NODE_FLAPPING:
                times.append(node.ray_state_since.timestamp() - begin + FLAP_CALM_S)
            elif incident.fault == Fault.GANG_HANG:  # over with its next step
                times += [_next_report_s(name, parts.cluster) for name in incident.jobs]
            elif incident.fault == Fault.GANG_NAN:  # over once it has run for so long
                jobs = [snapshot.jobs[n] for n in incident.jobs if n in snapshot.jobs]
                times += [j.state_since.timestamp() - begin + NAN_PROOF_S for j in jobs]
            elif node is not None and steps_may_end(incident):
                here = snapshot.jobs_on(node.name)
                times += [_next_report_s(job.name, parts.cluster) for job in here]
        for incident in watch.record.books.incidents.values():
            if incident.state is not IncidentState.RESOLVED:
                times += [at - begin for at in silence_ends(incident)]
                if awaits_steps(incident, snapshot.at):
                    names = members(incident)
                    gangs = {job.name for name in names for job in snapshot.jobs_on(name)}
                    times += [_next_report_s(name, parts.cluster) for name in gangs]
    return times


def _next_report_s(name: str, cluster: TwinCluster) -> float:
    """When this gang reports its steps again; inf where it makes none."""
    gang = cluster.work.gangs.get(name)
    if gang is None or not gang.works:
        return math.inf
    return cluster.roster.report_s(gang, cluster.clock.s) + MINUTE_S


def _silences(snapshot: Snapshot, settings: SenseSettings) -> list[float]:
    """When those whose collector just fell silent count as silent; and when a young raylet is no
    longer excused, for being silent or for a GPU that is late."""
    begin = snapshot.at.timestamp() - snapshot.steady
    read_at = snapshot.frame.read_at
    ages = snapshot.at.timestamp() - read_at
    late = (ages > SAMPLE_S) & (ages <= settings.silent_after_s)
    times = [at - begin + settings.silent_after_s for at in set(read_at[late].tolist())]
    for node in _young(snapshot, settings.silent_after_s):
        row, since = snapshot.frame.row[node.name], node.ray_state_since.timestamp() - begin
        if (snapshot.frame.gpu[row, :, _PRESENT] == 0.0).any():
            times.append(since + settings.boot_grace_s)
        if ages[row] > SAMPLE_S:
            times.append(since + settings.silent_after_s)
    return times


def _young(snapshot: Snapshot, most_s: float) -> list[Node]:
    """Living nodes whose raylet is younger than that, and a look."""
    oldest = snapshot.at - timedelta(seconds=most_s + SAMPLE_S)
    return [
        node
        for node in snapshot.nodes.values()
        if node.ray_state_since >= oldest and node.name in snapshot.frame.row
    ]


def _standstills(parts: Parts) -> Iterator[float]:
    """When a reading that stands still has done so for long enough to bear no witness, or to be
    told: on whole minutes, as sensors are looked at."""
    past, begin = parts.watch.sightings.sensors, parts.cluster.clock.start.timestamp()
    rows = [i for i in parts.cluster.panel.frozen if past is not None and i < len(past.moved)]
    if past is None or not rows:
        return
    for since in np.unique(past.moved[rows]).tolist():
        for lasts_s in (STILL_S, parts.watch.sense.frozen_s):
            yield math.ceil((since - begin + lasts_s) / MINUTE_S) * MINUTE_S


def _times_of_doubt(parts: Parts) -> list[float]:
    """When `notice` may say more though nothing changes: a second reading, clocks that stay cut, a
    gang without steps or with slow ones, a reading that stands still.

    Looks into the truth for gangs: one that works well will go on to report its steps.
    """
    cluster, seen, settings = parts.cluster, parts.watch.sightings, parts.watch.sense
    now_s = cluster.clock.s
    begin = cluster.clock.start.timestamp()
    soon = math.nextafter(now_s, math.inf)
    times = [soon for first in seen.seen.values() if begin + now_s - first < SECOND_S]
    for since in seen.cut.values():
        times += [
            since - begin + hold + late_s
            for hold in (settings.brake_s, settings.throttle_s)
            for late_s in (0.0, SAMPLE_S)
        ]
    # Before a sensor can be seen to stand still, sensors must have been seen to move.
    if seen.sensors is not None and seen.sensors.moves.max() < MOVES:
        times.append(now_s - now_s % MINUTE_S + MINUTE_S)
    times += _standstills(parts)
    for gang in cluster.work.gangs.values():
        if gang.pace.share >= 1.0 or not gang.running or now_s < gang.ready_s:
            continue
        if now_s - gang.mark_s > WATCHED_S:
            continue  # its last minutes are all alike by now: no look says more
        past = seen.gangs.get(gang.name)
        late_s = None if past is None or past.late_since is None else past.late_since - begin
        if gang.pace.share > 0.0:
            times.append(cluster.roster.report_s(gang, now_s) + MINUTE_S)  # each of its reports
        elif late_s is None or now_s - late_s < SECOND_S:
            times.append(soon)
    if seen.gangs.late_for_fewer_looks_than(MOST_LOOKS):
        times.append(soon)
    return times
