"""A real Ray Serve on a real lab, by night: its requests are counted, its latency is measured, and
a node is added before a forecast's rate would miss the goal. The replicas, the requests and the
effect are real; the forecast and the hour of earlier minutes are made up."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from tests.stories.world import MemoryMirror

from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.app.cluster_wiring import Served, serves
from watchkeeper.control.look import Looker
from watchkeeper.core.cluster import ClusterState
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.serving import SERVE

from .ray_fixture import LiveLab
from .test_ray_queue import EveryNodeSpeaks, Line

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.environ.get("WATCHKEEPER_NIGHTLY"), reason="a minute: by night"),
]

ORDERS = """apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: served, owner: nobody}
serving:
  default: {latency: 500ms, percentile: 95, ready_after: 5m}
rules:
  - id: ahead
    effect: allow
    actions: [pool.scale]
    when: pool.pending_gpus == 0.0 && scale.add == 1 && forecast.score <= 0.95
"""

DRIVER = """
import asyncio, sys, threading
import ray
from ray import serve

ray.init(address="auto", namespace="serve", log_to_driver=False, logging_level="WARNING")

@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0.1, "num_gpus": 8})
class Model:
    async def __call__(self, request):
        await asyncio.sleep(0.05)
        return "ok"

port = int(sys.argv[1])
serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
serve.run(Model.bind(), name="chat", route_prefix="/chat")
print("READY", flush=True)

over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
import httpx
with httpx.Client(timeout=30, trust_env=False) as client:
    while not over.wait(0.2):
        client.get(f"http://127.0.0.1:{port}/chat")
serve.shutdown()
"""
CARRIES = 4.0


class Hour(MemoryMirror):
    """An hour of minutes: up to CARRIES requests a second within the goal, and more beyond it."""

    def served(self, name: str) -> list[tuple[float, ...]]:
        most = 40
        return [
            (i * 60.0, CARRIES * i / most, 1.0, 0.1, 0.3 if i <= most else 0.9, 1.0)
            for i in range(1, 61)
        ]


class Rising:
    """A forecast of the request rate: at 95 % as much as one replica more than there are nodes."""

    def __init__(self, nodes: int) -> None:
        self.made: Forecast | None = None
        self._rate = (nodes + 0.5) * CARRIES

    def collect(self, state: ClusterState, at: datetime) -> tuple[Forecast, ...]:
        if self.made is not None or not state.serving:
            return ()
        name = SERVE + state.serving[0].name
        levels = (0.05, 0.1, 0.5, 0.9, 0.95)
        self.made = Forecast(
            pool=name, made_at=at, method="ridge", why="Made up.", horizons_s=(3600.0,),
            quantiles=levels, values=(tuple(self._rate * q / 0.95 for q in levels),),
            history_s=864000.0, score=0.8, coverage80=0.8, origins=40,
        )  # fmt: skip
        return (self.made,)


@pytest.fixture
def served(lab: LiveLab) -> Iterator[None]:
    """One replica of eight GPUs, and five requests a second."""
    pytest.importorskip("ray.serve", reason="Ray Serve's own packages are not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(port)],
        env=lab.driver_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert driver.stdout is not None
    try:
        assert any("READY" in line for line in driver.stdout), "Serve did not start"
        yield
    finally:
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            driver.communicate(timeout=60)
        driver.kill()
        driver.wait()
        lab.until(lambda s: sum(d.running_gpus for d in s.demand) == 0, "GPUs are free")


@pytest.mark.usefixtures("served")
def test_requests_are_counted_and_a_node_comes_before_the_goal_is_missed(
    lab: LiveLab, tmp_path: Path
) -> None:
    before = sum(n.gpus > 0 for n in lab.read().nodes.values())
    line, clock = Line(lab, tmp_path, ORDERS), SystemClock()
    reader = Served(lab.reader, serves(lab.info.address, lab.info.job_api, clock), clock)
    line.watch.looker = Looker(reader, EveryNodeSpeaks(lab), clock)
    line.watch.executor = replace(line.watch.executor, look=line.watch.looker.look)
    line.watch.mirror, line.watch.forecaster = Hour(), Rising(before)
    try:
        begun = time.monotonic()
        found = ()
        while not (found and found[0].rate and found[0].latency_s):
            assert time.monotonic() - begun < 90, found
            found = reader.read().serving
            time.sleep(0.5)
        (one,) = found
        assert (one.name, one.pool, one.replicas, one.gpus) == ("chat/Model", "train", 1, 8.0)
        assert 0.5 < one.rate < 6.0, "five a second were sent, less what a request took"
        assert 0.05 <= one.latency_s[0] < 2.0
        assert one.whole, "as its callers see it"

        line.until(
            lambda s: sum(n.gpus > 0 for n in s.nodes.values()) > before, "no node came", 90.0
        )
        assert line.effects() == ["pool.scale pool:train"]
        assert not any(j.pending_gpus for j in lab.read().jobs.values()), "and nobody waits"
        plan = line.watch.record.books.serving["chat/Model"]
        assert (plan.replicas, plan.act_now) == (before + 1, True)
        assert plan.carries == pytest.approx(CARRIES, abs=0.6)
    finally:
        reader.close()
        line.journal.close()
