"""Who waits, in which order they are tried, and who may pass whom.

Order: priority; then tenants within their quota before those who borrow; then who holds and used
least of late; then who came first. The first that cannot start gets a reservation; the others are
backfilled around it. It starts nothing by itself: `admit` says what now fits, and holds it.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, tzinfo
from typing import NamedTuple

from watchkeeper.placement.engine import Engine
from watchkeeper.placement.explain import why
from watchkeeper.placement.fleet import Fleet
from watchkeeper.placement.reserve import Reservation, passes, reserve
from watchkeeper.placement.running import Running
from watchkeeper.placement.share import Shares
from watchkeeper.placement.words import Gang, Placement

LOOK_AGAIN_S = 300.0
"""A reservation is worked out anew after so long."""

MOST_HOLDS = 3
"""Waiting gangs that are asked about a reservation in one look at the queue."""


class Waiting(NamedTuple):
    """A gang in the queue. nth: order of arrival. able: the fleet could hold it, were it empty and
    well."""

    gang: Gang
    since: float
    nth: int
    able: bool


class Queue:
    """Waiting and running gangs of one engine. Times are seconds that never run backwards."""

    def __init__(self, engine: Engine, shares: Shares | None = None) -> None:
        self.engine, self.shares = engine, shares or Shares()
        self.waiting: dict[str, Waiting] = {}
        self.running: dict[str, Running] = {}
        self.reservation: Reservation | None = None
        self._arrived = 0
        self._looked: dict[str, float] = {}
        self._failed: dict[tuple[object, ...], int] = {}
        self._holds = 0
        self._empty = Engine(Fleet(engine.fleet.machines))
        self._below: set[str] = set()

    def add(self, gang: Gang, now: float) -> None:
        """A gang asks. The engine learns from it. Raises ValueError for a name that is known."""
        if gang.name in self.waiting or gang.name in self.running:
            raise ValueError(f"{gang.name} waits or runs already")
        self.engine.hear(gang)
        able = self._empty.fits(gang)
        self.waiting[gang.name] = Waiting(gang, now, self._arrived, able)
        self._arrived += 1

    def cancel(self, name: str) -> None:
        """It waits no longer. Raises KeyError."""
        del self.waiting[name]
        self._drop(name)

    def finish(self, name: str, now: float) -> None:
        """It ended or was stopped; its seats are free. Raises KeyError."""
        del self.running[name]
        self._below.discard(name)
        self.shares.gave(self.engine.release(name), now)

    def shrink(self, name: str, to: int, now: float) -> None:
        """An elastic gang goes on with `to` workers, and grows back when nobody waits. Raises
        KeyError, and ValueError outside its bounds."""
        self._resized(name, self.engine.shrink(name, to), now)

    def saved(self, name: str, at: float) -> None:
        """It wrote a checkpoint."""
        self.running[name] = _with(self.running[name], checkpoint=at)

    def admit(self, now: float) -> list[Placement]:
        """Every gang that can start now, already holding its seats, in the order they were tried.
        Elastic gangs that run below their count grow when nobody waits who could use the room."""
        started: list[Placement] = []
        held, asked = False, 0
        for waiting in self.turn(now):
            gang = waiting.gang
            workers = self.shares.workers(gang)
            if workers < gang.floor:
                continue
            placement = self._try(gang, workers, now)
            if placement is not None:
                del self.waiting[gang.name]
                self.running[gang.name] = Running(placement=placement, since=now)
                self.shares.took(placement, now)
                self._note(placement)
                started.append(placement)
                self._drop(gang.name)
            elif not held and asked < MOST_HOLDS:
                asked += 1
                held = self._hold(gang, now)
        if self._below and not any(map(self._could_start, self.waiting.values())):
            self._grow(now)
        return started

    def turn(self, now: float) -> Iterator[Waiting]:
        """Who waits, in the order they are tried. What starts meanwhile counts at once, so one
        tenant cannot take all that came free in one go."""
        lines: defaultdict[int, defaultdict[str, deque[Waiting]]]
        lines = defaultdict(lambda: defaultdict(deque))
        for waiting in self.waiting.values():  # in order of arrival
            lines[waiting.gang.priority][waiting.gang.tenant].append(waiting)
        for priority in sorted(lines, reverse=True):
            # A tenant's rank only gets worse while its gangs start, so a stale one is mended late.
            heads = [(self._rank(line[0], now), line) for line in lines[priority].values()]
            heapq.heapify(heads)
            while heads:
                stale, line = heads[0]
                rank = self._rank(line[0], now)
                if rank > stale:
                    heapq.heapreplace(heads, (rank, line))
                    continue
                yield line.popleft()
                if line:
                    heapq.heapreplace(heads, (self._rank(line[0], now), line))
                else:
                    heapq.heappop(heads)

    def _rank(self, waiting: Waiting, now: float) -> tuple[bool, float, int]:
        """(borrows, GPUs held and used of late for each unit of weight, order of arrival)."""
        gang, shares = waiting.gang, self.shares
        return not shares.within_quota(gang), shares.load(gang.tenant, now), waiting.nth

    def why(self, name: str, now: float, zone: tzinfo = UTC) -> str:
        """Why a gang waits, in one sentence. Raises KeyError for one that does not."""
        gang, kept = self.waiting[name].gang, self.reservation
        if not self.engine.fits(gang) and (kept is None or kept.gang.name != name):
            kept = reserve(self.engine, gang, self.running.values(), now)
        return why(self.engine, gang, now, zone, kept, self.shares.refuses(gang))

    def reclaims(self, gang: Gang, victim: Running) -> bool:
        """The gang is within its tenant's quota, and the victim runs on quota that was borrowed."""
        tenant = victim.placement.gang.tenant
        return (
            tenant != gang.tenant
            and self.shares.within_quota(gang)
            and self.shares.borrowed(tenant) > 0
        )

    def _try(self, gang: Gang, workers: int, now: float) -> Placement | None:
        kept = self.reservation
        avoid = None
        if kept is not None and kept.gang.name != gang.name and not passes(gang, kept, now):
            avoid = kept.rows
        # What failed fails again until something was given back: most of a long queue is alike.
        shape = (
            gang.piece, workers, gang.least, gang.within, gang.tenant, gang.sole, gang.pool,
            gang.zones, gang.suspects_ok, gang.spares_ok, self._holds if avoid is not None else -1,
            *[kept.lets(gang) for kept in self.engine.fleet.kept],
        )  # fmt: skip
        given = self.engine.fleet.given_back
        if self._failed.get(shape) == given:
            return None
        placement = self.engine.place(gang, avoid=avoid, most=workers)
        if placement is None:
            if len(self._failed) > 10_000:
                self._failed.clear()
            self._failed[shape] = given
        return placement

    def _could_start(self, waiting: Waiting) -> bool:
        """Some day, and within its tenant's limit as things stand."""
        gang = waiting.gang
        return waiting.able and self.shares.workers(gang) >= gang.floor

    def _hold(self, gang: Gang, now: float) -> bool:
        """Keep nodes for the first gang that waits; False where no estimates make room for it, so
        that the next may have them. Once promised, nodes stay with that gang until it starts:
        only one of higher priority takes them over, so that no one starves."""
        kept = self.reservation
        if kept is not None and kept.gang.priority >= gang.priority:
            gang = kept.gang
        looked = self._looked.get(gang.name)
        if looked is None or now - looked >= LOOK_AGAIN_S:
            self._looked[gang.name] = now
            found = reserve(self.engine, gang, self.running.values(), now)
            if found is not None or (kept is not None and kept.gang.name == gang.name):
                self.reservation = found
                self._holds += 1
        return self.reservation is not None and self.reservation.gang.name == gang.name

    def _drop(self, name: str) -> None:
        """The gang waits no longer."""
        self._looked.pop(name, None)
        if self.reservation is not None and self.reservation.gang.name == name:
            self.reservation = None

    def _grow(self, now: float) -> None:
        for name in sorted(self._below):
            before = self.running[name].placement
            workers = len(before.seats) + max(0, self.shares.workers(before.gang))
            after = self.engine.grow(name, most=workers)
            if after is not before:
                self._resized(name, after, now)

    def _resized(self, name: str, after: Placement, now: float) -> None:
        """An elastic gang runs with more or fewer workers than it did."""
        run = self.running[name]
        self.shares.gave(run.placement, now)
        self.shares.took(after, now)
        self.running[name] = _with(run, placement=after)
        self._note(after)

    def _note(self, placement: Placement) -> None:
        """Remember who runs with fewer workers than it wants."""
        gang = placement.gang
        if len(placement.seats) < gang.count:
            self._below.add(gang.name)
        else:
            self._below.discard(gang.name)


def _with(
    run: Running, placement: Placement | None = None, checkpoint: float | None = None
) -> Running:
    return Running(
        placement=placement or run.placement,
        since=run.since,
        checkpoint=run.checkpoint if checkpoint is None else checkpoint,
    )
