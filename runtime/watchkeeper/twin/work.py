"""The gangs of the twin: who runs where, who stands still, who waits.

A gang is placed on what Ray can see (alive, whole, unfenced nodes); whether it then thrives is
decided by what truly ails those nodes. Never repairs anything; nobody but its owner, hours later,
and whoever is asked submits a stopped gang again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import inf

import numpy as np

from watchkeeper.core.cluster import JobState
from watchkeeper.twin.agenda import Agenda, Entry
from watchkeeper.twin.ailment import Ailment, Ailments
from watchkeeper.twin.clock import TwinClock
from watchkeeper.twin.gangs import FULL, Gang, Pace
from watchkeeper.twin.lineup import draw_up
from watchkeeper.twin.machines import Machines
from watchkeeper.twin.topology import Fleet
from watchkeeper.twin.words import HOUR_S, Hurt, TwinSpec

FAILS_AFTER_S = 60.0
"""A gang that is started on a node with a fault that stops it ends this soon. Assumed."""
OWNER_LOOKS_S = 4 * HOUR_S
"""An owner submits a stopped gang again after this time, unasked. Assumed."""
FULL_WATTS = 700.0
"""Power limit of one GPU, uncapped (H100 SXM)."""
SURELY_S = 1e-3
"""After a checkpoint is whole, whatever floating point says."""
IDLE, WORKING, STARTING, HUNG, SLOW, STARVED = range(6)
"""What the GPUs of a node are seen to do."""


class Work:
    """Every gang by name, and the node each holds.

    shunned: nodes that people know to be broken and start nothing on, though Ray would.
    dirty: names of gangs that changed since `roster` last looked; stamp counts the changes.
    failed, corrupted, left and submitted are told what happens here: a gang ended because of an
    ailment that it was started upon; one was started on what corrupts it; a node's gang is gone; a
    gang's processes are about to start anew.
    """

    def __init__(
        self,
        spec: TwinSpec,
        fleet: Fleet,
        machines: Machines,
        ailments: Ailments,
        agenda: Agenda,
        clock: TwinClock,
    ) -> None:
        self.machines, self.ailments = machines, ailments
        self.agenda, self.clock = agenda, clock
        self.gangs = {gang.name: gang for gang in draw_up(spec, fleet)}
        self.holder: list[Gang | None] = [None] * len(machines)
        self.activity = np.zeros(len(machines), np.int8)
        self.caps: dict[tuple[int, int], float] = {}
        self.shunned: set[int] = set()
        self.stamp = 0
        self.failed: Callable[[Gang, Ailment], None] = lambda _gang, _ailment: None
        self.corrupted: Callable[[Gang, Ailment], None] = lambda _gang, _ailment: None
        self.left: Callable[[int], None] = lambda _node: None
        self.submitted: Callable[[Gang], object] = lambda _gang: None
        self._watchdogs: dict[str, Entry] = {}
        self.dirty: set[str] = set()
        for gang in self.gangs.values():
            gang.move(gang.nodes, self.clock.s)
            self._hold(gang, gang.nodes)
            self._changed(gang)

    # What happens to gangs.

    def on(self, node: int) -> Gang | None:
        """The gang that runs on this node."""
        gang = self.holder[node]
        return gang if gang is not None and gang.running else None

    def running_on(self, nodes: Sequence[int]) -> list[Gang]:
        """The gangs that run on any of these nodes, each once."""
        found = {g.name: g for i in nodes if (g := self.on(i)) is not None}
        return [found[name] for name in sorted(found)]

    def stop(self, gang: Gang, cause: str = "redo") -> None:
        """The gang ends; it keeps its claim on its nodes."""
        if not gang.running:
            return
        gang.stop(self.clock.s, JobState.STOPPED, cause)
        self._vacate(gang)
        attempt = gang.attempt
        self.agenda.enter(self.clock.s + OWNER_LOOKS_S, lambda: self._owner(gang, attempt))

    def preempt(self, gang: Gang) -> None:
        """Write a checkpoint, end, give the nodes up and wait for room."""
        attempt = gang.attempt
        whole_s = gang.begin_checkpoint(self.clock.s)

        def end() -> None:
            if gang.running and gang.attempt == attempt:
                gang.stop(self.clock.s, JobState.WAITING)
                self._vacate(gang)
                for i in gang.nodes:
                    self.holder[i] = None
                self.fill()

        self.agenda.enter(min(whole_s, self.clock.s + gang.cost_s) + SURELY_S, end)
        self._changed(gang)

    def stop_at_checkpoint(self, gang: Gang, by_s: float) -> None:
        """End it right after its next checkpoint, if that is whole in time."""
        ahead = gang.copy()  # to ask changes nothing: not when its next report counts from
        ahead.settle(self.clock.s)
        at_s, attempt = ahead.next_checkpoint_s(), gang.attempt
        if at_s > by_s:
            return

        def end() -> None:
            if gang.running and gang.attempt == attempt:
                self.stop(gang, "drain")

        self.agenda.enter(at_s + SURELY_S, end)

    def requeue(self, gang: Gang) -> None:
        """Submit a stopped gang again: it starts, or waits for nodes."""
        if gang.state is not JobState.STOPPED:
            return
        if not self._start(gang):
            gang.wait(self.clock.s)
            self._changed(gang)

    def fill(self) -> None:
        """Nodes are free that were not: start what waits, the most urgent and oldest first."""
        waiting = [g for g in self.gangs.values() if g.state is JobState.WAITING]
        for gang in sorted(waiting, key=lambda g: (-g.priority, g.since_s, g.name)):
            if not self._start(gang):
                self._changed(gang)  # what it lacks may be less now

    def feel(self, gang: Gang) -> None:
        """Take in what ails its nodes now: pace, hang, corruption."""
        if not gang.running:
            return
        ailing = self.ailments.among(gang.nodes)
        pace = min((a.pace for a in ailing), default=FULL)
        pace = min(pace, self._capped(gang))
        if pace != gang.pace:
            gang.set_pace(pace, self.clock.s)
        corrupting = [a for a in ailing if a.law.hurts is Hurt.TAINTS]
        if corrupting:
            gang.taint(self.clock.s)
            gang.known |= any(a.told for a in corrupting)
        self._wind_watchdog(gang, ailing)
        self._changed(gang)

    def cap(self, node: int, gpu: int, watts: float, limit: float) -> None:
        """Cap one GPU's power; clocks fall with the cube root of it (assumed)."""
        self.caps[node, gpu] = watts
        if watts >= limit:
            del self.caps[node, gpu]
        if (gang := self.on(node)) is not None:
            self.feel(gang)

    def grew(self) -> None:
        """One node more."""
        self.holder.append(None)
        self.activity = np.append(self.activity, np.int8(IDLE))
        self.fill()

    # The steps of it.

    def _capped(self, gang: Gang) -> Pace:
        if not self.caps:
            return FULL
        mine = set(gang.nodes)
        lowest = min((w for (i, _), w in self.caps.items() if i in mine), default=inf)
        return FULL if lowest == inf else Pace(min(1.0, (lowest / FULL_WATTS) ** (1 / 3)), "slow")

    def _wind_watchdog(self, gang: Gang, ailing: list[Ailment]) -> None:
        hanging = [a for a in ailing if a.pace.share <= 0.0]
        if not hanging:
            if (entry := self._watchdogs.pop(gang.name, None)) is not None:
                entry.cancel()
            return
        if gang.name in self._watchdogs:
            return
        after_s = min(a.law.watchdog_s for a in hanging)
        first = hanging[0]

        def bark() -> None:
            self._watchdogs.pop(gang.name, None)
            first.stopped.append((gang, gang.attempt))
            self.stop(gang)

        begin = max(self.clock.s, gang.ready_s)
        self._watchdogs[gang.name] = self.agenda.enter(begin + after_s, bark)

    def _vacate(self, gang: Gang) -> None:
        if (entry := self._watchdogs.pop(gang.name, None)) is not None:
            entry.cancel()
        self.machines.vacate(gang.nodes)
        self._changed(gang)
        for i in sorted(self.machines.draining.intersection(gang.nodes)):
            self.left(i)

    def _owner(self, gang: Gang, attempt: int) -> None:
        if gang.state is JobState.STOPPED and gang.attempt == attempt:
            self.requeue(gang)

    def _start(self, gang: Gang) -> bool:
        """Gather its nodes (its own where they still take work) and start it there."""
        self.submitted(gang)
        holder, takes = self.holder, self.takes
        keep = [i for i in gang.nodes if takes(i) and (holder[i] is gang or holder[i] is None)]
        missing = gang.width - len(keep)
        if missing:
            more = list(islice(self._free(gang, set(keep)), missing))
            if len(more) < missing:
                return False
            keep = sorted([*keep, *more])
        for i in gang.nodes:
            if holder[i] is gang:
                holder[i] = None
        gang.move(keep, self.clock.s)
        gang.start(self.clock.s)
        self._hold(gang, keep)
        self.feel(gang)
        self._meet_what_stops(gang)
        for ailment in self.ailments.among(keep):
            if ailment.law.hurts is Hurt.TAINTS:
                self.corrupted(gang, ailment)
        self.agenda.enter(gang.ready_s, lambda: self._changed(gang))
        return True

    def takes(self, i: int) -> bool:
        """Would a gang be started there?"""
        return bool(self.machines.able[i]) and i not in self.shunned

    def _free(self, gang: Gang, but: set[int]) -> Iterator[int]:
        """Nodes of its pool that nobody holds, but for these."""
        for i, held in enumerate(self.holder):
            free = held is None and i not in but and self.takes(i)
            if free and self.machines.word(i).pool == gang.pool:
                yield i

    def can_leave(self, gang: Gang) -> bool:
        """There are free nodes in the place of those of its own that are shunned."""
        lacking = sum(i in self.shunned for i in gang.nodes)
        return len(list(islice(self._free(gang, set()), lacking))) == lacking

    def _hold(self, gang: Gang, nodes: list[int]) -> None:
        for i in nodes:
            self.holder[i] = gang
        self.machines.occupy(nodes)

    def _meet_what_stops(self, gang: Gang) -> None:
        stops = [a for a in self.ailments.among(gang.nodes) if a.law.hurts is Hurt.STOPS]
        if not stops:
            return
        first, attempt = stops[0], gang.attempt

        def fail() -> None:
            still = first.left & set(gang.nodes)
            if still and gang.running and gang.attempt == attempt:
                first.stopped.append((gang, gang.attempt))
                self.stop(gang)
                self.failed(gang, first)

        self.agenda.enter(self.clock.s + FAILS_AFTER_S, fail)

    # What is seen of it.

    def _changed(self, gang: Gang) -> None:
        self.stamp += 1
        self.dirty.add(gang.name)
        self.activity[gang.nodes] = self._doing(gang)

    def _doing(self, gang: Gang) -> int:
        if not gang.running:
            return IDLE
        share, cause = gang.pace
        if cause == "starved" and share < 1.0:
            return STARVED
        if self.clock.s < gang.ready_s:
            return STARTING
        if share <= 0.0:
            return HUNG
        return SLOW if share < 1.0 else WORKING
