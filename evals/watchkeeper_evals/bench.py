"""`make bench`: the budgets, each a figure of this run, and a ratio where the machine matters.

Prints one JSON object. It measures; it never judges: a slow machine is not a failure.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from watchkeeper.core.cluster import World

Figures = dict[str, Any]
NODES = 2_000
"""Samples in one ingest round."""


def main() -> int:
    """Run every benchmark; progress goes to stderr."""
    found: Figures = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "load_1m_at_start": round(os.getloadavg()[0], 2),
    }
    for name, measure in BENCHES.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        found[name] = measure()
    print(json.dumps(found, indent=2))
    return 0


def _percentiles(seconds: list[float], unit: float) -> Figures:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(cuts[49] * unit, 2), "p99": round(cuts[98] * unit, 2), "n": len(seconds)}


def _timed(act: Callable[[], object], rounds: int, warm: int = 3) -> list[float]:
    for _ in range(warm):
        act()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return taken


@contextmanager
def _redis() -> Iterator[str]:
    from watchkeeper.adapters.redis_server import start

    with tempfile.TemporaryDirectory(prefix="wk-bench-") as folder:
        server = start(Path(folder) / "redis")
        try:
            yield server.url
        finally:
            server.stop()


def ingest() -> Figures:
    """Our sink against raw pipelined redis-py with the same bytes, in turn, best of 5 each."""
    import redis

    from watchkeeper.adapters.redis_sink import RedisSink
    from watchkeeper.core.sample_bytes import encode
    from watchkeeper.core.sources import Sample
    from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS

    now = time.time()
    gpu = np.full((8, len(GPU_FIELDS)), 50.0, np.float32)
    host = np.full(len(HOST_FIELDS), 10.0, np.float32)
    ours: list[float] = []
    raw: list[float] = []
    with _redis() as url:
        client = redis.Redis.from_url(url)
        sink = RedisSink(url, "bench")
        for turn in range(6):
            samples = [
                Sample(
                    node=f"n{i}",
                    at=now + turn,
                    world=World.TWIN,
                    gpu=gpu,
                    host=host,
                    vendor="simulated",
                    simulated=True,
                )
                for i in range(NODES)
            ]
            began = time.perf_counter()
            sink.send_many(samples)
            ours.append(time.perf_counter() - began)
            payloads = [encode(s) for s in samples]
            began = time.perf_counter()
            for at in range(0, NODES, 500):
                pipe = client.pipeline(transaction=False)
                for payload in payloads[at : at + 500]:
                    pipe.xadd("raw", {"s": payload}, maxlen=20_000, approximate=True)
                pipe.execute()
            raw.append(time.perf_counter() - began)
    return {
        "samples_per_s": round(NODES / min(ours[1:])),
        "raw_samples_per_s": round(NODES / min(raw[1:])),
        "ratio": round(min(raw[1:]) / min(ours[1:]), 2),
    }


def turn() -> Figures:
    """One quiet turn's thinking over a cluster in memory, at two sizes; the ratio is the growth."""
    found: Figures = {}
    for nodes in (1_000, 10_000):
        think = _thinker(nodes)
        found[f"{nodes}_nodes_ms"] = _percentiles(_timed(think, 20), 1e3)
    small = found["1000_nodes_ms"]["p50"]
    found["growth_for_10x"] = round(found["10000_nodes_ms"]["p50"] / small, 1)
    return found


def _thinker(nodes: int) -> Callable[[], object]:
    """Sense, correlate and the fleet's ledger on one snapshot: what each turn thinks."""
    from watchkeeper.control.books import Books
    from watchkeeper.control.look import Looker
    from watchkeeper.control.past import ledger_view
    from watchkeeper.core.impact import out_by_domain
    from watchkeeper.health.correlate import correlate
    from watchkeeper.health.sense import sense
    from watchkeeper.twin.memory import CountingIds, ManualClock, MemoryCluster

    clock = ManualClock()
    cluster = MemoryCluster.of(clock, {"train": nodes}, world=World.TWIN)
    clock.pass_s(60.0)
    snapshot = Looker(cluster, cluster.telemetry(), clock).look()
    assert snapshot is not None
    ids, books = CountingIds(), Books()

    def think() -> None:
        out_by_domain.cache_clear()
        correlate((), sense(snapshot), snapshot, ids)
        ledger_view(books, snapshot)

    return think


def verdict() -> Figures:
    """The judge over 500 rules, as `watchkeeper eval policy` measures it."""
    from watchkeeper_evals.policy_eval import policy_eval

    found = policy_eval(500)
    wanted = ("load_ms", "verdict_us", "candidates", "at_most_32", "us_per_further_candidate")
    return {name: found[name] for name in wanted}


def checkpoint() -> Figures:
    """One LangGraph superstep with our saver, against the in-memory one, in turn."""
    from typing import TypedDict

    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, StateGraph

    from watchkeeper.adapters.redis_checkpoints import RedisCheckpoints

    class State(TypedDict):
        n: int

    def graph(saver: Any) -> Any:
        built = StateGraph(State)
        names = [f"s{i}" for i in range(5)]
        for name in names:
            built.add_node(name, lambda s: {"n": s["n"] + 1})
        for a, b in zip([START, *names], [*names, END], strict=True):
            built.add_edge(a, b)
        return built.compile(checkpointer=saver)

    with _redis() as url:
        graphs = {"ours": graph(RedisCheckpoints(url, "bench")), "memory": graph(InMemorySaver())}
        taken: dict[str, list[float]] = {name: [] for name in graphs}
        for i in range(60):
            for name, built in graphs.items():
                config = {"configurable": {"thread_id": f"{name}-{i}"}}
                began = time.perf_counter()
                built.invoke({"n": 0}, config, durability="sync")
                taken[name].append((time.perf_counter() - began) / 5)
    ours, memory = _percentiles(taken["ours"], 1e3), _percentiles(taken["memory"], 1e3)
    return {
        "step_ms": ours,
        "in_memory_ms": memory,
        "ratio_to_in_memory": round(ours["p50"] / memory["p50"], 2),
    }


def journal() -> Figures:
    """Appends made durable one by one, and one fsync for a thousand."""
    from watchkeeper.adapters.journal_file import FileJournal
    from watchkeeper.core.event import Kind
    from watchkeeper.twin.memory import ManualClock

    with tempfile.TemporaryDirectory(prefix="wk-bench-") as folder:
        record = FileJournal(Path(folder), ManualClock())
        each = _timed(lambda: record.append(Kind.NOTE, (), {"text": "x" * 500}, durable=True), 200)
        grouped = _timed(lambda: record.append(Kind.NOTE, (), {"text": "x" * 500}), 2_000)
        record.close()
    return {"durable_us": _percentiles(each, 1e6), "append_us": _percentiles(grouped, 1e6)}


BENCHES: dict[str, Callable[[], Figures]] = {
    "ingest": ingest,
    "turn": turn,
    "verdict_500_rules": verdict,
    "checkpoint_step": checkpoint,
    "journal": journal,
}


if __name__ == "__main__":
    sys.exit(main())
