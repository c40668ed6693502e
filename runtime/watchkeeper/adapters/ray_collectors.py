"""Collectors pinned to the nodes of a real cluster: one detached zero-CPU actor on each raylet.

Each runs `watchkeeper collect --inside-ray` as its child, so what it sends is trusted no more than
Ray: tenants share its uid. A site that wants kernel and driver trust runs `watchkeeper collect` as
its own user instead. The nodes need this package in Ray's own environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from watchkeeper.adapters.ray_door import RayDoor
from watchkeeper.adapters.ray_names import COLLECTOR, NAMESPACE
from watchkeeper.core.cluster import Node, RayState

_EACH_S = 5.0
_ENSURE_S = 60.0


class RayCollectors:
    """Keeps a collector on every living node. redis_url must be reachable from the nodes."""

    def __init__(
        self, door: RayDoor, *, redis_url: str, cluster: str, interval_s: float = 5.0
    ) -> None:
        self._door = door
        self._redis = redis_url
        self._cluster = cluster
        self._interval = interval_s

    def ensure_collectors(self, nodes: Mapping[str, Node]) -> dict[str, str]:
        """Start what is missing and mend what ended; harmless to repeat.

        Returns node name -> why its collector does not run, for those where it does not.
        Raises EffectFailed, EffectInDoubt.
        """
        wanted = {
            name: node.incarnation
            for name, node in nodes.items()
            if node.ray_state is RayState.ALIVE
        }
        answer = self._door.call(
            "ensure_collectors",
            _ENSURE_S,
            nodes=wanted,
            redis_url=self._redis,
            cluster=self._cluster,
            interval_s=self._interval,
        )
        failed: dict[str, str] = answer["failed"]
        return failed


class PinnedCollector:
    """The actor: keeps one `watchkeeper collect` process alive on its node."""

    def __init__(self, argv: list[str]) -> None:
        self._argv = argv
        self._child: Any = None

    def mend(self) -> bool:
        """Start the collector unless it runs. Returns whether it had to be started."""
        import subprocess
        import sys

        from watchkeeper.adapters.parent_bound import bound

        if self._child is not None and self._child.poll() is None:
            return False
        self._child = subprocess.Popen(
            bound([sys.executable, "-m", "watchkeeper.app.collect", *self._argv]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return True


def arguments(
    node: str, incarnation: str, redis_url: str, cluster: str, interval_s: float
) -> list[str]:
    """What `watchkeeper collect` is told on one node of a real cluster."""
    return [
        *("--redis", redis_url, "--cluster", cluster, "--node", node),
        *("--incarnation", incarnation, "--world", "real", "--gpus", "auto"),
        *("--interval", f"{interval_s:g}", "--inside-ray"),
    ]


def ensure_in_driver(
    nodes: dict[str, str], redis_url: str, cluster: str, interval_s: float
) -> dict[str, Any]:
    """Inside the driver child: one actor per node, each asked to mend its collector."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    actor = ray.remote(num_cpus=0, max_restarts=0)(PinnedCollector)
    asked = {}
    for node, incarnation in nodes.items():
        handle = actor.options(
            name=f"{COLLECTOR}{incarnation[:16]}",
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            scheduling_strategy=NodeAffinitySchedulingStrategy(incarnation, soft=False),
        ).remote(arguments(node, incarnation, redis_url, cluster, interval_s))
        asked[node] = handle.mend.remote()
    failed = {}
    done, _ = (
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=_EACH_S * (1 + len(asked)))
        if asked
        else ([], [])
    )
    for node, ref in asked.items():
        if ref not in done:
            failed[node] = "it did not start in time"
            continue
        try:
            ray.get(ref)
        except ray.exceptions.RayError as err:
            failed[node] = type(err).__name__
    return {"failed": failed}
