"""`watchkeeper eval scale` over a small fleet, and what wakes the watch when a signal lands."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from watchkeeper.adapters.redis_connection import Keys
from watchkeeper.adapters.redis_urgent import UrgentSignals
from watchkeeper.policy import invariants
from watchkeeper_evals.scale_eval import _breaker, budgets_of
from watchkeeper_evals.scale_fleet import GPUS, Fleet

ROOT = Path(__file__).parents[2]
BOTH = {"p50", "p99"}


def cli(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "watchkeeper.app.cli", "eval", "scale", *args]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT
    )


def test_json_has_the_figures_of_the_contract_and_a_burst_ends_with_every_verdict() -> None:
    done = cli("--nodes", "120", "--burst", "40", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ingest_samples_per_s"] > 0
    assert found["redis_raw_samples_per_s"] > 0
    assert found["ingest_ratio"] > 0
    assert set(found["turn_ms"]) >= BOTH
    assert set(found["signal_to_verdict_ms"]) >= BOTH
    assert 0 < found["turn_ms"]["p50"] <= found["turn_ms"]["p99"]
    assert 0 < found["rss_mb"] < 2_000
    assert (found["burst_verdicts"], found["burst_incidents"]) == (40, 40)
    assert found["burst_s"] > 0
    assert (found["burst_halts"], found["burst_pages"]) == (1, 1)
    assert 0 < found["burst_halt_s"] <= found["burst_halt_verdicts_s"]
    assert found["burst_halt_verdicts"] == 40, "each incident has its verdict, refused as it is"
    assert found["nodes"] == 120
    assert found["world"] == "twin"
    assert "single faults" in done.stderr


def test_a_burst_that_does_not_fit_is_refused_before_anything_is_started() -> None:
    done = cli("--nodes", "100", "--burst", "80")
    assert done.returncode == 2
    assert "--nodes 160" in done.stderr


def test_s9_the_breaker_is_raised_for_the_time_of_the_measurement_alone() -> None:
    def fails() -> None:
        with _breaker(raised=True):
            raise RuntimeError(str(invariants.UNHEALTHY_SHARE_PERCENT))

    with pytest.raises(RuntimeError, match="100"):
        fails()
    assert invariants.UNHEALTHY_SHARE_PERCENT == 20


def test_a_figure_over_its_budget_is_told_as_not_met() -> None:
    found = {
        "ingest_samples_per_s": 60_000,
        "ingest_ratio": 0.5,
        "nodes": 10_000,
        "turn_ms": {"p99": 300.0},
        "turn_growth_for_10x": 4.0,
        "signal_to_verdict_ms": {"p99": 20.0},
        "rss_mb": 300,
        "burst": 750,
        "burst_halt_s": None,
        "burst_halt_verdicts": 750,
        "burst_s": 1.5,
    }
    met = {b.what: b.met for b in budgets_of(found)}
    assert [what for what, ok in met.items() if not ok] == [
        "ingest, ratio to raw, at least",
        "turn at 10000 nodes, p99",
        "burst, to halt and page",
    ]


def test_the_fleet_is_as_large_as_asked_and_most_of_it_works() -> None:
    state = Fleet(1_000, "twin-scale").read()
    assert len(state.nodes) == 1_000
    assert sum(node.gpus for node in state.nodes.values()) == 1_000 * GPUS
    assert len({node for job in state.jobs.values() for node in job.nodes}) > 700
    assert (datetime.now(UTC) - state.read_at).total_seconds() < 60


class Woken:
    """Counts wakes, and lets a test wait for one."""

    def __init__(self) -> None:
        self.count = 0
        self.event = threading.Event()

    def __call__(self) -> None:
        self.count += 1
        self.event.set()


def beginning(urgent: UrgentSignals) -> UrgentSignals:
    urgent.start()
    return urgent


@pytest.mark.parametrize("door", ["signals", "signals_ray"])
def test_a_signal_wakes_the_watch_at_once(
    redis_url: str, redis_client: redis.Redis, door: str
) -> None:
    woken, key = Woken(), getattr(Keys("c"), door)
    redis_client.xadd(key, {"j": "from before"})
    urgent = beginning(UrgentSignals(redis_url, "c", woken))
    try:
        # What lay there does not wake it; its first wait has begun once Redis sees a reader.
        deadline = time.monotonic() + 10
        while not _blocked(redis_client) and time.monotonic() < deadline:
            pass
        assert woken.count == 0
        began = time.monotonic()
        redis_client.xadd(key, {"j": "anything"})
        assert woken.event.wait(5)
        assert time.monotonic() - began < 0.5, "not at the next turn: at once"
    finally:
        urgent.close()


def test_a_flood_of_signals_wakes_it_a_few_times_and_not_thousands(
    redis_url: str, redis_client: redis.Redis
) -> None:
    woken = Woken()
    urgent = beginning(UrgentSignals(redis_url, "c", woken))
    try:
        began = time.monotonic()
        for _ in range(2_000):
            redis_client.xadd(Keys("c").signals_ray, {"j": "x"})
        assert woken.event.wait(5)
        assert woken.count <= 2 + (time.monotonic() - began) / 0.1
    finally:
        urgent.close()


def test_a_redis_that_is_away_ends_nothing(tmp_path: Path) -> None:
    woken = Woken()
    urgent = beginning(UrgentSignals(f"unix://{tmp_path}/none.sock", "c", woken))
    urgent.close()
    assert woken.count == 0


def _blocked(client: redis.Redis) -> bool:
    info = client.info("clients")
    assert isinstance(info, dict)
    return int(info["blocked_clients"]) > 0
