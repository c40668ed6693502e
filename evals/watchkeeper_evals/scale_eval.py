"""How much fleet can one watch carry? `watchkeeper eval scale` asks.

A simulated fleet through a real Redis, under the whole watch: its own turn, crew with checkpoints
in Redis, judge, journal on disk and copies for readers. The dial stands at observe, so verdicts are
made and nothing is carried out. Times are on the wall of this machine: look at the load beside
them.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psutil

from watchkeeper.adapters.redis_checkpoints import RedisCheckpoints
from watchkeeper.adapters.redis_connection import SHARDS, Keys, connect
from watchkeeper.adapters.redis_mirror import RedisMirror
from watchkeeper.adapters.redis_server import start
from watchkeeper.adapters.redis_sink import RedisSink
from watchkeeper.adapters.redis_telemetry import RedisTelemetry
from watchkeeper.adapters.redis_urgent import UrgentSignals
from watchkeeper.adapters.system_clock import SystemClock, SystemIds
from watchkeeper.control.loop import Loop
from watchkeeper.control.turn import turn
from watchkeeper.control.watch import Watch
from watchkeeper.core.cluster import World
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.verdict import Autonomy
from watchkeeper.health.sense import REAL
from watchkeeper.policy import invariants
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.words import CrewSettings
from watchkeeper_evals.bench import ingest
from watchkeeper_evals.scale_fleet import POOL, Fleet
from watchkeeper_evals.stage import close, journal_of, staged

Figures = dict[str, Any]

EVERY_S = 10
"""A node speaks this often; a turn comes each second, so a tenth of the fleet is new to it."""
ILL = 0.002
"""Share of the nodes that lie ill while turns are timed."""
TURNS = 60
FAULTS = 40
"""Single faults of which each is timed to its verdict."""
INTERVAL_S = 1.0
WAIT_S = 30.0
ROUNDS_OF_AN_HOUR = 9
"""Rounds of samples after which the streams are full: they are bounded by count and by an hour."""

TURN_MS, VERDICT_MS, BURST_S, HALT_S, RSS_MB, RATIO, SAMPLES = 250, 50, 2.0, 1.0, 600, 0.9, 50_000


def scale_eval(
    nodes: int,
    burst: int | None,
    policy: CheckedPolicy,
    progress: Callable[[str], None] = lambda said: None,  # noqa: ARG005  nobody listens
) -> Figures:
    """Every figure of one run; a burst's are None where none was asked for."""
    load_1m = os.getloadavg()[0]
    progress("ingest ...")
    inflow = ingest()
    progress(f"turns over {max(10, nodes // 10)} nodes ...")
    tenth = _turns(max(10, nodes // 10), policy)
    progress(f"turns over {nodes} nodes ...")
    whole = _turns(nodes, policy)
    progress("single faults ...")
    single = _single_faults(nodes, policy)
    found: Figures = {
        "ingest_samples_per_s": inflow["samples_per_s"],
        "redis_raw_samples_per_s": inflow["raw_samples_per_s"],
        "ingest_ratio": inflow["ratio"],
        "turn_ms": whole["turn_ms"],
        "signal_to_verdict_ms": single["to_verdict"],
        "burst_s": None,
        "rss_mb": whole["rss_mb"]["watch"] + whole["rss_mb"]["redis"],
        "nodes": nodes,
        "gpus": nodes * 8,
        "burst": burst,
        "turn_full_ms": whole["full_ms"],
        "turn_first_ms": whole["first_ms"],
        "turn_ms_at_a_tenth": tenth["turn_ms"],
        "turn_growth_for_10x": round(whole["turn_ms"]["p50"] / tenth["turn_ms"]["p50"], 1),
        "signal_to_durable_ms": single["to_durable"],
        "rss_parts_mb": whole["rss_mb"],
        "history": whole["history"],
    }
    if burst:
        progress(f"{burst} faults at once, the breaker as it is ...")
        found |= _burst(nodes, burst, policy, raised=False)
        progress(f"{burst} faults at once, the breaker raised ...")
        found |= _burst(nodes, burst, policy, raised=True)
    found["machine"] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_1m_before": round(load_1m, 2),
        "load_1m_after": round(os.getloadavg()[0], 2),
    }
    found["world"] = "twin"
    return {**found, "budgets": [b._asdict() for b in budgets_of(found)]}


@dataclass
class _Stage:
    """A watch over a fleet, and when it wrote which verdicts."""

    fleet: Fleet
    watch: Watch
    sink: RedisSink
    url: str
    redis_pid: int
    verdicts: list[tuple[float, Event]] = field(default_factory=list)
    events: list[tuple[float, Kind]] = field(default_factory=list)

    def note(self, event: Event) -> None:
        """Called by the journal for each line that it has written."""
        now = time.perf_counter()
        self.events.append((now, event.kind))
        if event.kind is Kind.VERDICT:
            self.verdicts.append((now, event))

    def judged(self) -> set[str]:
        """Incidents that have a verdict by now."""
        return {e.subject[1] for _, e in self.verdicts if len(e.subject) > 1}


@contextmanager
def _staged(nodes: int, policy: CheckedPolicy, first_pool: int = POOL) -> Iterator[_Stage]:
    with TemporaryDirectory(prefix="wk-scale-") as folder:
        home = Path(folder)
        server = start(home / "redis")
        try:
            clock, name = SystemClock(), "twin-scale"
            fleet = Fleet(nodes, name, first_pool)
            telemetry = RedisTelemetry(server.url, name, World.TWIN, clock=clock)
            mirror = RedisMirror(server.url, name, clock=clock)
            watch = staged(
                home,
                clock=clock,
                ids=SystemIds(),
                reader=fleet,
                telemetry=telemetry,
                actuators=dict.fromkeys(SERVED, _NoHands()),
                policy=policy,
                crew=LangGraphCrew(
                    saver=RedisCheckpoints(server.url, name), settings=CrewSettings(canary=False)
                ),
                world=World.TWIN,
                mirror=mirror,
                sense=REAL,
                autonomy=Autonomy.OBSERVE,
            )
            sink = RedisSink(server.url, name)
            stage = _Stage(fleet, watch, sink, server.url, server.pid)
            journal_of(watch).listen(stage.note)
            try:
                yield stage
            finally:
                close(watch)
                for client in (telemetry, mirror, sink):
                    client.close()
        finally:
            server.stop()


def _turns(nodes: int, policy: CheckedPolicy) -> Figures:
    """Whole turns, a tenth of the fleet new to each; then some with all of it new."""
    with _staged(nodes, policy) as stage:
        for _ in range(ROUNDS_OF_AN_HOUR):
            stage.fleet.speak(stage.sink)
        sick = int(nodes * ILL)
        ill = [s for i in range(sick) for s in stage.fleet.fault(i * (nodes // sick), i)]
        if ill:
            stage.sink.send(stage.fleet.samples([0], time.time())[0], ill)
        first = _timed(lambda: turn(stage.watch))
        for _ in range(3):
            turn(stage.watch)
        taken, full = [], []
        for number in range(TURNS):
            stage.fleet.speak(stage.sink, EVERY_S, number)
            taken.append(_timed(lambda: turn(stage.watch)))
        for _ in range(TURNS // 4):
            stage.fleet.speak(stage.sink)
            full.append(_timed(lambda: turn(stage.watch)))
        return {
            "turn_ms": _percentiles(taken, 1e3),
            "full_ms": _percentiles(full, 1e3),
            "first_ms": round(first * 1e3, 1),
            "rss_mb": _memory(stage),
            "history": _history(stage),
        }


def _single_faults(nodes: int, policy: CheckedPolicy) -> Figures:
    """One fault at a time, each timed from its landing in Redis to its verdict in the journal,
    over a watch that runs as it does in service: its own thread, woken by urgent signals."""
    with _staged(nodes, policy) as stage:
        stage.fleet.speak(stage.sink)
        turn(stage.watch)
        ends: list[float] = []

        def one(watch: Watch) -> None:
            turn(watch)
            ends.append(time.perf_counter())

        loop = Loop(stage.watch, INTERVAL_S, one)
        urgent = UrgentSignals(stage.url, stage.fleet.cluster, loop.wake)
        urgent.start()
        loop.start()
        written, durable = [], []
        try:
            # Few enough that they are no mass fault of a pool, which would halt the watch.
            for number in range(1 + max(5, min(FAULTS, nodes // 10))):
                # Not in step with the turns, and never two within one.
                stage.fleet.speak(stage.sink, EVERY_S, number)
                seen = len(ends)
                _wait(lambda: len(ends) > seen)  # noqa: B023  waited for at once
                time.sleep(0.13 + 0.011 * (number % 40))
                node = (number * 7919 + 1) % nodes
                before = len(stage.verdicts)
                sample = stage.fleet.samples([node], time.time())[0]
                signals = stage.fleet.fault(node, number)
                began = time.perf_counter()
                stage.sink.send(sample, signals)
                _wait(lambda: len(stage.verdicts) > before)  # noqa: B023  waited for at once
                at = stage.verdicts[before][0]
                _wait(lambda: bool(ends) and ends[-1] > at)  # noqa: B023  waited for at once
                written.append(at - began)
                durable.append(next(e for e in ends if e > at) - began)
        finally:
            urgent.close()
            loop.stop()
        # The first of a process also loads and warms what no fault had needed before: told apart.
        return {
            "to_verdict": {
                **_percentiles(written[1:], 1e3),
                "first": round(written[0] * 1e3, 1),
            },
            "to_durable": _percentiles(durable[1:], 1e3),
        }


def _burst(nodes: int, burst: int, policy: CheckedPolicy, *, raised: bool) -> Figures:
    """So many faults at once, half of one pool, until each incident has its verdict and the turn
    is durable. As the breaker is, there is one halt and one page before, and all are refused."""
    with _staged(nodes, policy, first_pool=2 * burst) as stage, _breaker(raised=raised):
        stage.fleet.speak(stage.sink)
        turn(stage.watch)
        faults = [s for i in range(burst) for s in stage.fleet.fault(2 * i, i)]
        sample = stage.fleet.samples([0], time.time())[0]
        began, worked = time.perf_counter(), time.process_time()
        stage.sink.send(sample, faults)
        turns = 0
        while time.perf_counter() - began < WAIT_S:
            turn(stage.watch)
            turns += 1
            if len(stage.judged()) >= burst:
                break
        took = time.perf_counter() - began
        books = stage.watch.record.books
        kinds = [kind for _, kind in stage.events]
        if raised:
            return {
                "burst_s": round(took, 3),
                "burst_cpu_s": round(time.process_time() - worked, 3),
                "burst_verdicts": len(stage.judged()),
                "burst_incidents": len(books.incidents),
                "burst_proposals": kinds.count(Kind.PROPOSED),
                "burst_turns": turns,
            }
        last = max((at for at, k in stage.events if k in (Kind.HALTED, Kind.PAGED)), default=None)
        return {
            "burst_halt_verdicts": len(stage.judged()),
            "burst_halt_verdicts_s": round(took, 3),
            "burst_halt_s": None if last is None else round(last - began, 3),
            "burst_halts": kinds.count(Kind.HALTED),
            "burst_pages": kinds.count(Kind.PAGED),
        }


@contextmanager
def _breaker(*, raised: bool) -> Iterator[None]:
    """The mass breaker as it is, or raised beyond reach. No order and no setting can raise it
    (S9): the eval alone does, to time what lies behind it."""
    before = invariants.UNHEALTHY_SHARE_PERCENT
    if raised:
        invariants.UNHEALTHY_SHARE_PERCENT = 100
    try:
        yield
    finally:
        invariants.UNHEALTHY_SHARE_PERCENT = before


class _NoHands:
    """Meets `Actuator`, and is never called: the dial stands at observe."""

    name = "none"
    serves: frozenset[str] = frozenset()

    def execute(self, order: Any) -> Any:
        raise AssertionError(f"nothing may be carried out here: {order}")

    enforce = execute


SERVED = (
    "node.cordon", "node.uncordon", "node.drain", "node.restart", "node.reboot", "gpu.reset",
    "gpu.quarantine", "job.requeue", "pool.scale", "check.run",
)  # fmt: skip


class Budget(NamedTuple):
    """One figure beside what it may be. `at_least`: more is better."""

    what: str
    figure: float | None
    budget: float
    unit: str
    met: bool


def budgets_of(found: Figures) -> Iterator[Budget]:
    """Each budget of the product against the figures of a run."""
    least = (
        ("ingest", found["ingest_samples_per_s"], SAMPLES, "samples/s"),
        ("ingest, ratio to raw", found["ingest_ratio"], RATIO, ""),
    )
    most: list[tuple[str, float | None, float, str]] = [
        (f"turn at {found['nodes']} nodes, p99", found["turn_ms"]["p99"], TURN_MS, "ms"),
        ("turn, growth for ten times the nodes", found["turn_growth_for_10x"], 10, "times"),
        (
            f"signal to verdict at {found['nodes']} nodes, p99 (set for 1500)",
            found["signal_to_verdict_ms"]["p99"],
            VERDICT_MS,
            "ms",
        ),
        ("memory, watch and Redis", found["rss_mb"], RSS_MB, "MB"),
    ]
    if found["burst"]:
        most += [
            ("burst, to halt and page", found.get("burst_halt_s"), HALT_S, "s"),
            (
                "burst, verdicts that the halt left out",
                found["burst"] - found["burst_halt_verdicts"],
                0,
                "",
            ),
            ("burst, breaker raised, to the last verdict", found.get("burst_s"), BURST_S, "s"),
        ]
    for what, figure, budget, unit in least:
        yield Budget(f"{what}, at least", figure, budget, unit, figure >= budget)
    for what, figure, budget, unit in most:
        yield Budget(what, figure, budget, unit, figure is not None and figure <= budget)


def table(found: Figures) -> str:
    """The figures for people: one line each, the budget beside it."""
    rows = [Budget(**row) for row in found["budgets"]]
    width = max(len(row.what) for row in rows)
    lines = [f"{'':<{width}}  {'measured':>18}  {'budget':>18}"]
    for row in rows:
        figure = "not reached" if row.figure is None else f"{row.figure:g} {row.unit}"
        said = "met" if row.met else "NOT MET"
        lines.append(
            f"{row.what:<{width}}  {figure:>18}  {f'{row.budget:g} {row.unit}':>18}  {said}"
        )
    machine, parts = found["machine"], found["rss_parts_mb"]
    lines += [
        "",
        f"A turn p50 {found['turn_ms']['p50']:g} ms; with every node new "
        f"{found['turn_full_ms']['p50']:g} ms; at a tenth of the nodes "
        f"{found['turn_ms_at_a_tenth']['p50']:g} ms.",
        f"Signal to verdict p50 {found['signal_to_verdict_ms']['p50']:g} ms; made durable p50 "
        f"{found['signal_to_durable_ms']['p50']:g} ms, "
        f"p99 {found['signal_to_durable_ms']['p99']:g} ms; the first after a start, to its "
        f"verdict, {found['signal_to_verdict_ms']['first']:g} ms.",
        f"Memory: watch {parts['watch']} MB, Redis {parts['redis']} MB. {found['history']}",
        f"{found['nodes']} simulated nodes of 8 GPUs; the dial at observe; "
        f"{machine['cores']} cores, load {machine['load_1m_before']:g} before and "
        f"{machine['load_1m_after']:g} after, Python {machine['python']}. "
        "A busy machine is slower: look at the load.",
    ]
    return "\n".join(lines)


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _wait(seen: Callable[[], bool]) -> None:
    ends, pause = time.monotonic() + WAIT_S, threading.Event()
    while not seen():
        if time.monotonic() > ends:
            raise TimeoutError("the watch did not come to it")
        pause.wait(0.0005)


def _percentiles(seconds: list[float], unit: float) -> Figures:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {
        "p50": round(cuts[49] * unit, 2),
        "p99": round(cuts[98] * unit, 2),
        "max": round(max(seconds) * unit, 2),
        "n": len(seconds),
    }


def _memory(stage: _Stage) -> dict[str, int]:
    """Resident memory now, in MB: of this process, which is watch and eval, and of Redis."""
    gc.collect()
    mb = 2**20
    redis = psutil.Process(stage.redis_pid).memory_info().rss if stage.redis_pid else 0
    return {"watch": round(psutil.Process().memory_info().rss / mb), "redis": round(redis / mb)}


def _history(stage: _Stage) -> str:
    """What of the past is held, in words."""
    keys = Keys(stage.fleet.cluster)
    with connect(stage.url) as client:
        held = sum(client.xlen(keys.samples(i)) for i in range(SHARDS))
    each = held / len(stage.fleet.names)
    return (
        f"Held: the latest reading of each node in the watch, and {held} readings in Redis "
        f"({each:.0f} a node), where streams are bounded by count and by an hour."
    )
