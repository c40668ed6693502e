"""Which nodes are kept for a reservation, and who may use them meanwhile.

Asked by the line. Nodes are chosen afresh each time: those that the tenant holds already, then
those that come free soonest. Nobody is stopped for a reservation; others may use its nodes until it
begins if they will be done by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from watchkeeper.core.cluster import Reserved
from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Bools
from watchkeeper.placement.running import Floats, Running
from watchkeeper.placement.words import Gang

UNTOLD_S = 24 * 3600.0
"""Work without an estimate is taken to run for so long (assumed): so long before a reservation
begins, it no longer starts on the nodes kept."""


@dataclass(frozen=True, eq=False, slots=True)
class Hold:
    """Nodes kept: bool[N]. begins_s, ends_s: seconds from now, below zero once begun."""

    name: str
    rows: Bools
    tenant: str
    begins_s: float
    ends_s: float

    def lets(self, gang: Gang) -> bool:
        """This gang may start on them now: they are its tenant's, or it will be done in time."""
        if self.tenant and gang.tenant == self.tenant:
            return True
        runs_s = UNTOLD_S if gang.runtime_s is None else gang.runtime_s
        return runs_s <= self.begins_s


def holds(
    engine: Engine, running: Iterable[Running], reserved: Iterable[Reserved], now: float
) -> tuple[Hold, ...]:
    """What is kept for each reservation, soonest first; two that overlap in time share no node.
    Fewer nodes than were asked for where the pool has no more in service."""
    fleet, runs = engine.fleet, {run.name: run for run in running}
    found: list[tuple[Reserved, Hold]] = []
    for each in sorted(reserved, key=lambda r: (r.begin, r.ident)):
        begins, ends = each.begin.timestamp() - now, each.until.timestamp() - now
        if ends <= 0:
            continue
        may = np.fromiter((m.pool == each.pool for m in fleet.machines), np.bool_, len(fleet))
        may &= ~(fleet.closed | fleet.suspect)
        for other, hold in found:
            if other.begin < each.until and each.begin < other.until:
                may &= ~hold.rows
        free_at, own = _free_at(engine, runs, each.tenant, now)
        order = np.lexsort((fleet.spare, free_at, ~own))
        rows = np.zeros(len(fleet), np.bool_)
        rows[order[may[order]][: each.nodes]] = True
        found.append((each, Hold(each.ident, rows, each.tenant, begins, ends)))
    return tuple(hold for _, hold in found)


def _free_at(
    engine: Engine, runs: dict[str, Running], tenant: str, now: float
) -> tuple[Floats, Bools]:
    """(when each node is free of others' work, which nodes the tenant works on): f8[N], bool[N].
    Work without an estimate, and work that is no gang, is not counted on to end."""
    size = len(engine.fleet)
    free_at, own = np.full(size, now), np.zeros(size, np.bool_)
    for name, placement in engine.placed.items():
        rows = list(placement.rows)
        if tenant and placement.gang.tenant == tenant:
            own[rows] = True
            continue
        run = runs.get(name)
        ends = run.ends(now) if run is not None else None
        free_at[rows] = np.maximum(free_at[rows], np.inf if ends is None else ends)
    return free_at, own
