"""The line before a snapshot's nodes: who may start now, who blocks it, and why each one waits.

Asked by the scheduler agent and by the Desk, so that both say the same. It starts nothing: a
`Line` is a trial on a copy of what the snapshot shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo

import numpy as np

from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.placement.clear import Clearing
from watchkeeper.placement.defragment import Moves, defragment
from watchkeeper.placement.engine import Engine
from watchkeeper.placement.explain import why
from watchkeeper.placement.inventory import Inventory, take_stock
from watchkeeper.placement.keep import holds
from watchkeeper.placement.preempt import preempt
from watchkeeper.placement.queue import Queue
from watchkeeper.placement.reserve import Reservation, reserve
from watchkeeper.placement.running import Running, Terms
from watchkeeper.placement.share import Shares
from watchkeeper.placement.words import Gang, Placement

KEPT_S = 900.0
"""For so long after it began to wait, nodes are kept for a gang that others could make room for."""


@dataclass(frozen=True, eq=False, slots=True)
class Line:
    """Who waits before one fleet, in the order of their turn. now: seconds since the epoch.

    starts: gangs that have room now, by name, with their seats; those before them in the line have
    taken theirs. queue: the trial after that, in which every one of `starts` runs.
    """

    queue: Queue
    now: float
    starts: Mapping[str, Placement]
    order: tuple[str, ...]
    running: Mapping[str, Running]

    def gang(self, name: str) -> Gang:
        """Raises KeyError for one that does not wait."""
        started = self.starts.get(name)
        return started.gang if started is not None else self.queue.waiting[name].gang

    def nodes(self, name: str) -> tuple[str, ...]:
        """Names of the nodes where it may start now, each once. Raises KeyError."""
        fleet = self.queue.engine.fleet
        return tuple(fleet.names[row] for row in self.starts[name].rows)

    def blocked(self, pool: str) -> tuple[str, ...]:
        """Who of this pool finds no room, the next in turn first; not those whose tenants hold all
        that they may, since no room would help them."""
        waiting, refuses = self.queue.waiting, self.queue.shares.refuses
        here = (n for n in self.order if n in waiting and waiting[n].gang.pool == pool)
        return tuple(n for n in here if not refuses(waiting[n].gang))

    def reservation(self, name: str) -> Reservation | None:
        """When it could start by the estimates given, and where; None where none makes room."""
        return reserve(self.queue.engine, self.gang(name), self.running.values(), self.now)

    def why(self, name: str, zone: tzinfo = UTC) -> str:
        """Why it waits, in one sentence. Raises KeyError."""
        if name in self.starts:
            where = ", ".join(self.nodes(name))
            return f"{name} has room now on {where}, and should start soon."
        gang, engine = self.gang(name), self.queue.engine
        kept = self.queue.reservation if engine.fits(gang) else self.reservation(name)
        return why(engine, gang, self.now, zone, kept, self.queue.shares.refuses(gang))

    def clearing(self, name: str, terms: Terms) -> Clearing | None:
        """The cheapest gangs of lower priority that would have to make room."""
        gang = self.gang(name)
        return preempt(
            self.queue.engine, gang, self.running.values(), self.now, terms,
            lambda victim: self.queue.reclaims(gang, victim),
        )  # fmt: skip

    def moves(self, name: str, terms: Terms, wait_s: float | None) -> Moves | None:
        """The cheapest gangs that would land elsewhere at once, where that is worth the wait."""
        gang = self.gang(name)
        return defragment(self.queue.engine, gang, self.running.values(), self.now, terms, wait_s)


class _Trial(Queue):
    """A queue that also keeps nodes for a gang that others could make room for: else what comes
    free goes to those behind it, and it would take the more victims. Not for ever: if by then
    nobody made room for it, those behind it may have the nodes."""

    def __init__(self, engine: Engine, shares: Shares | None, terms: Terms) -> None:
        super().__init__(engine, shares)
        self._terms = terms

    def _hold(self, gang: Gang, now: float) -> bool:
        held = super()._hold(gang, now)
        if now - self.waiting[gang.name].since > KEPT_S:
            return held
        kept = self.reservation if held else None
        ours = [run for run in self.running.values() if run.since < now]
        clearing = preempt(
            self.engine, gang, ours, now, self._terms, lambda run: self.reclaims(gang, run)
        )
        if clearing is None:
            return held
        if kept is not None and (kept.at - now) * gang.gpus <= clearing.price:
            return held  # it is cheaper to wait
        rows = np.zeros(len(self.engine.fleet), np.bool_)
        rows[list(clearing.placement.rows)] = True
        self.reservation = Reservation(gang=gang, at=now, rows=rows, after="")
        return True


def line_of(
    snapshot: Snapshot,
    suspects: Iterable[str] = (),
    spares: Iterable[str] = (),
    shares: Shares | None = None,
    terms: Terms | None = None,
) -> Line | None:
    """The line as this snapshot shows it; None where nobody waits, which is most of the time.

    suspects and spares: as for `take_stock`. shares: quotas, where there are any. terms: what
    stopping a gang costs.
    """
    waiting = [job for job in snapshot.not_running if _waits(job)]
    if not waiting:
        return None
    now = snapshot.at.timestamp()
    stock = _stock(snapshot, frozenset(suspects), frozenset(spares))
    queue = _Trial(stock.engine.copy(), shares, terms or Terms())
    if snapshot.state.reserved:
        kept = holds(stock.engine, stock.running.values(), snapshot.state.reserved, now)
        queue.engine.fleet.keep(kept)
    for job in sorted(waiting, key=lambda j: (j.state_since, j.name)):
        if job.name in stock.waiting:
            queue.add(stock.waiting[job.name], job.state_since.timestamp())
    running = {}
    for name, run in stock.running.items():
        saved = snapshot.jobs[name].checkpoint_at
        running[name] = Running(
            run.placement, run.since, saved.timestamp() if saved is not None else None
        )
        queue.shares.took(run.placement, now)
    queue.running.update(running)
    order = tuple(w.gang.name for w in queue.turn(now))
    starts = {p.gang.name: p for p in queue.admit(now)}
    return Line(queue=queue, now=now, starts=starts, order=order, running=running)


def _waits(job: Job) -> bool:
    """For GPUs that it has not; a gang whose seats are taken and whose driver starts is no more
    in the line."""
    return job.state is JobState.WAITING and (job.held or job.pending_gpus > 0)


_KEPT: deque[tuple[tuple[object, ...], Inventory]] = deque(maxlen=2)
"""The crew and the Desk ask about the same fleet, with and without what they doubt."""


def _stock(snapshot: Snapshot, suspects: frozenset[str], spares: frozenset[str]) -> Inventory:
    """The fleet as an engine, kept while nobody moved: nothing in it depends on the time but when
    work was last saved, which is read afresh."""
    key = (
        tuple([(n.name, n.ray_state, n.gpus_free, n.gpus) for n in snapshot.nodes.values()]),
        tuple(sorted(snapshot.fences)),
        tuple(
            [
                (j.name, j.attempt_id, j.state, j.nodes, j.gpus, j.pending_gpus, j.priority)
                for j in snapshot.jobs.values()
            ]
        ),
        suspects,
        spares,
    )
    for known, stock in tuple(_KEPT):
        if known == key:
            return stock
    stock = take_stock(snapshot, suspects, spares)
    _KEPT.append((key, stock))
    return stock
