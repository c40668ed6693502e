"""Collectors inside Ray: one on each living node, mended when asked again, counted as no work."""

from __future__ import annotations

import time

import psutil
import pytest
import redis

from watchkeeper.adapters.ray_collectors import RayCollectors
from watchkeeper.adapters.ray_names import COLLECTOR

from .ray_fixture import LiveLab

pytestmark = [pytest.mark.ray, pytest.mark.redis]

CLUSTER = "real-pinned"


def _collecting() -> set[int]:
    """Process ids of collectors of this test's cluster."""
    return {
        p.pid
        for p in psutil.process_iter(["cmdline", "status"])
        if f"--cluster {CLUSTER} " in " ".join(p.info["cmdline"] or [])
        and p.info["status"] != psutil.STATUS_ZOMBIE
    }


def test_every_living_node_gets_one_collector_that_a_second_call_mends(
    lab: LiveLab, redis_url: str, redis_client: redis.Redis
) -> None:
    nodes = {n: v for n, v in lab.read().nodes.items() if n in ("train-01", "train-02")}
    pinned = RayCollectors(lab.actuator._door, redis_url=redis_url, cluster=CLUSTER, interval_s=0.5)
    try:
        assert pinned.ensure_collectors(nodes) == {}
        assert len(_collecting()) == 2
        end = time.monotonic() + 30
        while not _heard(redis_client) >= set(nodes):
            assert time.monotonic() < end, list(redis_client.scan_iter())
            time.sleep(0.1)
        first = _collecting()
        psutil.Process(min(first)).kill()
        while len(_collecting()) == 2:
            time.sleep(0.02)
        assert pinned.ensure_collectors(nodes) == {}
        assert len(_collecting()) == 2
        state = lab.read()
        assert not [j for j in state.jobs.values() if j.state.value == "running"]
        assert state.demand[0].running_gpus == 0
    finally:
        names = [f"{COLLECTOR}{n.incarnation[:16]}" for n in nodes.values()]
        lab.actuator._door.call("release", 30, names=names)
    end = time.monotonic() + 10
    while _collecting():
        assert time.monotonic() < end
        time.sleep(0.05)


def _heard(client: redis.Redis) -> set[str]:
    """Nodes with a latest value: the fields of the cluster's one hash of that name."""
    keys = client.scan_iter(f"wk:*{CLUSTER}*latest*")
    return {field.decode() for key in keys for field in client.hkeys(key)}
