"""Gangs with topology over simulated hours: how many admissions a second, how long gangs wait, and
how much of their traffic leaves a rack. `eval placement --topology` asks.

The same queue, quotas and reservations drive the engine, best fit and first fit; only the choice
of nodes differs. Hard topology is kept by all three; the preferred one only the engine knows.
"""

from __future__ import annotations

import heapq
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from watchkeeper.placement.engine import Engine, seat_on
from watchkeeper.placement.fleet import Bools, Fleet, Machine
from watchkeeper.placement.queue import Queue
from watchkeeper.placement.rule import fitting, slots
from watchkeeper.placement.share import Quota, Shares
from watchkeeper.placement.topology import capacity
from watchkeeper.placement.words import WHOLE, Gang, Placement, Seat
from watchkeeper_evals.placement_gangs import NODES, TENANTS, Arrival, arrivals, racked
from watchkeeper_evals.placement_read import read_machines
from watchkeeper_evals.placement_rules import Rule, best_fit, first_fit
from watchkeeper_evals.placement_victims import EVERY, Victims

Figures = dict[str, Any]

CYCLE_S = 10.0
"""Simulated seconds between two looks at the queue."""


class RuleEngine(Engine):
    """The engine with another choice of nodes: one worker after the other, by a simple rule."""

    def __init__(self, fleet: Fleet, rule: Rule) -> None:
        super().__init__(fleet)
        self._rule = rule

    def copy(self) -> RuleEngine:
        twin = RuleEngine(self.fleet.copy(), self._rule)
        twin.balance, twin.placed = self.balance, dict(self.placed)
        return twin

    def _seats(
        self, gang: Gang, count: int, least: int, avoid: Bools | None
    ) -> tuple[Seat, ...] | None:
        fleet, may = self.fleet, self._may(gang, avoid)
        free = np.minimum(slots(fleet, gang.piece, may), count)
        if gang.within:
            room = capacity(fleet, free, gang.within)
            able = np.flatnonzero(room >= least)
            if not able.size:
                return None
            tight = able[int(room[able].argmin())] if self._rule is best_fit else able[0]
            may = may & (fleet.domains[gang.within] == tight)
        elif int(free.sum()) < least:
            return None
        seats: list[Seat] = []
        for _ in range(count):
            row = self._rule(fleet, gang.piece, fitting(fleet, gang.piece, may))
            seats.append(seat_on(fleet, gang.piece, row))
            fleet.take(seats[-1:], gang)
        return tuple(seats)


def topology_eval(
    nodes: Path,
    workloads: int = 15_000,
    seeds: int = 1,
    first_seed: int = 42,
    progress: Callable[[str], None] = lambda _: None,
    most: int = NODES,
) -> Figures:
    """Every figure, on the largest `most` machines of the list. Raises UsageError and Malformed
    for a bad node list."""
    machines = racked(read_machines(nodes), most)
    load_1m = os.getloadavg()[0]
    runs: dict[str, list[Figures]] = {name: [] for name in ("engine", "best_fit", "first_fit")}
    for seed in range(first_seed, first_seed + seeds):
        coming = arrivals(workloads, seed, sum(m.gpus for m in machines))
        for name in runs:
            runs[name].append(_run(name, machines, coming))
            progress(f"seed {seed}, {name}: {_short(runs[name][-1])}")
    return {
        **_mean(runs["engine"]),
        "baselines": {name: _mean(runs[name]) for name in ("best_fit", "first_fit")},
        "workloads": workloads,
        "nodes": len(machines),
        "gpus": sum(m.gpus for m in machines),
        "seeds": seeds,
        "first_seed": first_seed,
        "simulated": "racks, NVLink domains and gangs are synthetic; the machines are the list's",
        "machine": {"cores": os.cpu_count(), "load_1m": round(load_1m, 2)},
    }


def topology_table(found: Figures) -> str:
    """The figures as a page for people."""
    rows = {"engine": found, **found["baselines"]}
    keys = (
        ("admissions_per_s", "admissions a second"),
        ("admissions_per_cpu_s", "admissions a second of CPU"),
        ("decision_ms.p50", "one decision, p50 ms"),
        ("decision_ms.p99", "one decision, p99 ms"),
        ("wait_s.mean", "wait, mean s"),
        ("wait_s.p95", "wait, p95 s"),
        ("cross_rack_pct", "ring neighbours in two racks, %"),
        ("cross_nvlink_pct", "ring neighbours in two NVLink domains, %"),
        ("used_pct", "GPU time in use while work arrived, %"),
    )
    kinds = list(found["wait_s"]["by_kind"])
    chosen = found.get("victims")
    said = [
        f"{found['workloads']} gangs on {found['nodes']} nodes, {found['gpus']} GPUs, "
        f"seeds {found['first_seed']}..{found['first_seed'] + found['seeds'] - 1}; simulated: "
        f"{found['simulated']}",
        "",
        f"{'':42}" + "".join(f"{name:>12}" for name in rows),
    ]
    for key, label in keys:
        said.append(f"{label:42}" + "".join(f"{_at(row, key):12.2f}" for row in rows.values()))
    for kind in kinds:
        told = "".join(f"{row['wait_s']['by_kind'][kind]:12.0f}" for row in rows.values())
        said.append(f"{'wait of ' + kind + ', mean s':42}{told}")
    if chosen:
        said.append(
            f"who makes room for an urgent gang: p50 {chosen['ms']['p50']:.1f} ms, p99 "
            f"{chosen['ms']['p99']:.1f} ms ({chosen['cpu_ms']['p99']:.1f} ms of CPU), "
            f"{chosen['asked']:.0f} asked, {chosen['running']:.0f} running"
        )
    return "\n".join(said)


class _Timed:
    """Times every call of `place` on one engine."""

    def __init__(self, engine: Engine) -> None:
        self.took: list[float] = []
        self._place = engine.place
        engine.place = self  # type: ignore[method-assign]

    def __call__(
        self, gang: Gang, *, avoid: Bools | None = None, most: int | None = None
    ) -> Placement | None:
        began = time.perf_counter_ns()
        found = self._place(gang, avoid=avoid, most=most)
        self.took.append((time.perf_counter_ns() - began) / 1e6)
        return found


def _run(name: str, machines: list[Machine], coming: list[Arrival]) -> Figures:
    fleet = Fleet(machines)
    rule = {"best_fit": best_fit, "first_fit": first_fit}.get(name)
    played = _Play(RuleEngine(fleet, rule) if rule else Engine(fleet), coming)
    played.to_the_end()
    return played.figures()


class _Play:
    """One stream of gangs through one engine. Only the queue's own work is timed."""

    def __init__(self, engine: Engine, coming: list[Arrival]) -> None:
        self._fleet, self._coming = engine.fleet, coming
        self._timed = _Timed(engine)
        own = self._fleet.capacity_milli / WHOLE / TENANTS
        quotas = (Quota(f"t{nth:02d}", own) for nth in range(TENANTS))
        self._queue = Queue(engine, Shares(quotas))
        self._told = {arrival.gang.name: arrival for arrival in coming}
        self._ends: list[tuple[float, str]] = []
        self._waits: defaultdict[str, list[float]] = defaultdict(list)
        self._crossing = _Crossing(self._fleet)
        self._nth, self._busy, self._wall, self._cpu = 0, 0.0, 0.0, 0.0
        self._victims = Victims() if type(engine) is Engine else None

    def to_the_end(self) -> None:
        """Until everything has started, or what still waits fits nowhere."""
        now, asked, coming = 0.0, 0, self._coming
        while self._nth < len(coming) or self._queue.waiting:
            more = self._nth < len(coming)
            now = _next_look(now, coming[self._nth].at if more else None, self._ends)
            began, began_cpu = time.perf_counter(), time.process_time()
            started = self._look(now)
            self._wall += time.perf_counter() - began
            self._cpu += time.process_time() - began_cpu
            if self._victims is not None and self._nth // EVERY > asked:
                asked = self._nth // EVERY
                self._victims.ask(self._queue, now)
            for placement in started:
                self._begin(placement, now)
            if not started and not self._ends and self._nth == len(coming):
                return

    def _look(self, now: float) -> list[Placement]:
        while self._ends and self._ends[0][0] <= now:
            end, done = heapq.heappop(self._ends)
            self._queue.finish(done, end)
        while self._nth < len(self._coming) and self._coming[self._nth].at <= now:
            self._queue.add(self._coming[self._nth].gang, self._coming[self._nth].at)
            self._nth += 1
        return self._queue.admit(now)

    def _begin(self, placement: Placement, now: float) -> None:
        told, last = self._told[placement.gang.name], self._coming[-1].at
        heapq.heappush(self._ends, (now + told.runs_s, told.gang.name))
        self._waits[told.kind].append(now - told.at)
        self._busy += placement.gpus * max(0.0, min(last - now, told.runs_s))
        self._crossing.add(placement)

    def figures(self) -> Figures:
        every = [wait for found in self._waits.values() for wait in found]
        by_kind = {kind: statistics.fmean(found) for kind, found in sorted(self._waits.items())}
        offered = self._coming[-1].at * self._fleet.capacity_milli / WHOLE
        return {
            "admissions_per_s": len(every) / self._wall,
            "admissions_per_cpu_s": len(every) / self._cpu,
            "admitted": len(every),
            "decision_ms": _quantiles(self._timed.took, (50, 99)),
            "wait_s": {
                "mean": statistics.fmean(every),
                **_quantiles(every, (50, 95)),
                "by_kind": by_kind,
            },
            "cross_rack_pct": self._crossing.percent("rack"),
            "cross_nvlink_pct": self._crossing.percent("nvlink_domain"),
            "used_pct": 100 * self._busy / offered,
            "wall_s": self._wall,
            **(self._victims.figures() if self._victims is not None else {}),
        }


def _next_look(now: float, arrives: float | None, ends: list[tuple[float, str]]) -> float:
    """The first cycle at which something has happened."""
    happens = min(x for x in (arrives, ends[0][0] if ends else None, float("inf")) if x is not None)
    if happens == float("inf"):
        return now + CYCLE_S
    return max(now + CYCLE_S, CYCLE_S * -(-happens // CYCLE_S))


class _Crossing:
    """Of the neighbours in each gang's ring, how many lie in two domains. Every rule's workers get
    the engine's order of ranks, by domain, so that only the choice of nodes is compared."""

    def __init__(self, fleet: Fleet) -> None:
        self._ids = {level: fleet.domains[level].tolist() for level in ("rack", "nvlink_domain")}
        self._near_by = fleet.near_by.tolist()
        self._pairs, self._cross = 0, dict.fromkeys(self._ids, 0)

    def add(self, placement: Placement) -> None:
        rows = sorted((seat.row for seat in placement.seats), key=self._near_by.__getitem__)
        if len(rows) < 2:
            return
        self._pairs += len(rows)
        for level, ids in self._ids.items():
            self._cross[level] += sum(
                ids[a] != ids[b] for a, b in zip(rows, [*rows[1:], rows[0]], strict=True)
            )

    def percent(self, level: str) -> float:
        return 100 * self._cross[level] / max(self._pairs, 1)


def _quantiles(values: list[float], percents: tuple[int, ...]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(values, p)) for p in percents}


def _mean(runs: list[Figures]) -> Figures:
    """The mean of each figure over the seeds."""
    first = runs[0]
    return {
        key: _mean([run[key] for run in runs])
        if isinstance(first[key], dict)
        else statistics.fmean(run[key] for run in runs)
        for key in first
        if all(key in run for run in runs)
    }


def _at(found: Figures, path: str) -> float:
    value: Any = found
    for key in path.split("."):
        value = value[key]
    return float(value)


def _short(run: Figures) -> str:
    return (
        f"{run['admitted']} admitted, {run['admissions_per_s']:.0f}/s, "
        f"mean wait {run['wait_s']['mean']:.0f} s, {run['cross_rack_pct']:.1f} % across racks"
    )
