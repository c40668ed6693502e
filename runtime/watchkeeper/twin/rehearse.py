"""A step played before it is proposed: a small simulated cluster made from one snapshot, the step
and its plan carried out in it, and what could then be seen.

Durations are assumed (docs/twin.md tells the twin's own); what is foreseen is who stops, what is
out meanwhile, and whether each step can follow the last. Touches nothing real.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from watchkeeper.core.action import (
    Action,
    GpuReset,
    NodeDrain,
    NodeReboot,
    NodeReplace,
    NodeRestart,
    kind_of,
    node_of,
    traits_of,
)
from watchkeeper.core.cluster import Job, JobState, Node, RayState, World
from watchkeeper.core.errors import WatchkeeperError
from watchkeeper.core.ports import EffectOrder
from watchkeeper.core.proposal import Predicted
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.twin.memory import ManualClock, MemoryCluster

MOST_NODES = 256
"""Nodes that are played: those of the target's gangs first."""
TAKES_S = {
    "node.cordon": 5.0,
    "node.restart": 30.0,
    "node.reboot": 600.0,
    "node.replace": 900.0,
    "gpu.reset": 120.0,
    "check.run": 60.0,
    "job.requeue": 60.0,
    "pool.scale": 300.0,
}
"""Assumed; a drain takes until its work ended, or its deadline."""


class TwinRehearsal:
    """Meets `core.ports.Rehearsal`."""

    def rehearse(self, snapshot: Snapshot, actions: tuple[Action, ...]) -> Predicted | None:
        """See the port."""
        if not actions or not _playable(actions[0]):
            return None
        try:
            return _played(snapshot, actions)
        except (WatchkeeperError, LookupError, ValueError) as err:
            return Predicted(
                holds=False, after_s=0.0, gangs_stopped=0, gpus_out=0.0, nodes_out=0,
                stuck=f"{type(err).__name__}: {err}"[:200],
            )  # fmt: skip


def _playable(action: Action) -> bool:
    return traits_of(action).scope in ("node", "gpu", "job") and kind_of(action) in (
        *TAKES_S,
        "node.drain",
        "node.uncordon",
        "gpu.quarantine",
    )


def _played(snapshot: Snapshot, actions: tuple[Action, ...]) -> Predicted:
    cluster = _cluster(snapshot, actions[0])
    before = _out(cluster)
    first = _step(cluster, actions[0], 1)
    after = _out(cluster)
    stopped = sum(
        job.state is JobState.STOPPED and _was_running(snapshot, job)
        for job in cluster.jobs.values()
    )
    done, stuck = [], "" if first[0] else "what must be seen does not come true"
    for number, action in enumerate(actions[1:] if first[0] else (), 2):
        if not _playable(action):
            break
        try:
            holds, _ = _step(cluster, action, number)
        except WatchkeeperError as err:
            stuck = f"{kind_of(action)}: {err}"[:200]
            break
        if not holds:
            stuck = f"{kind_of(action)} does not come to its end"
            break
        done.append(kind_of(action))
    return Predicted(
        holds=first[0],
        after_s=first[1],
        gangs_stopped=stopped,
        gpus_out=round(after[1] - before[1], 1),
        nodes_out=after[0] - before[0],
        plan=tuple(done),
        stuck=stuck,
    )


def _was_running(snapshot: Snapshot, job: Job) -> bool:
    then = snapshot.jobs.get(job.name)
    return then is not None and then.state is JobState.RUNNING


def _cluster(snapshot: Snapshot, action: Action) -> MemoryCluster:
    """The target's surroundings, as the snapshot has them."""
    target = snapshot.nodes.get(node_of(action))
    own = snapshot.jobs.get(str(getattr(action, "job", "")))
    jobs = list(snapshot.jobs_on(target.name)) if target is not None else []
    jobs += [own] if own is not None and own not in jobs else []
    names = dict.fromkeys(n for job in jobs for n in job.nodes)
    near = (n.name for n in snapshot.nodes.values() if target is not None and n.pool == target.pool)
    wanted = [*([target.name] if target else []), *names, *near]
    nodes = {n: snapshot.nodes[n] for n in dict.fromkeys(wanted) if n in snapshot.nodes}
    nodes = dict(list(nodes.items())[:MOST_NODES])
    return MemoryCluster(
        clock=ManualClock(snapshot.at),
        world=World.TWIN,
        nodes=nodes,
        jobs={j.name: j for j in _on(snapshot.jobs.values(), nodes)},
        fences={n: f for n, f in snapshot.fences.items() if n in nodes},
    )


def _on(jobs: Iterable[Job], nodes: dict[str, Node]) -> list[Job]:
    return [j for j in jobs if any(n in nodes for n in j.nodes)]


def _step(cluster: MemoryCluster, action: Action, number: int) -> tuple[bool, float]:
    """(what must be seen came true, after so many seconds)."""
    began, name = cluster.clock.steady(), node_of(action)
    node = cluster.nodes.get(name)
    if node is not None and not getattr(action, "incarnation", "x"):
        action = msgspec.structs.replace(action, incarnation=node.incarnation)
    born = node.incarnation if node is not None else ""
    if isinstance(action, NodeReboot | NodeReplace):
        if node is not None and node.ray_state is not RayState.DEAD:
            cluster.lose(name)
        action = NodeRestart(node=name, incarnation=born)
        cluster.clock.pass_s(TAKES_S["node.reboot"])
    if isinstance(action, GpuReset):
        cluster.clock.pass_s(TAKES_S["gpu.reset"])
        return node is not None, cluster.clock.steady() - began
    order = EffectOrder(
        action=action, key=f"rehearsal-{number}", token=10**6 + number, session=cluster.session,
        cluster=cluster.cluster_id,
    )  # fmt: skip
    cluster.execute(order)
    cluster.clock.pass_s(TAKES_S.get(kind_of(action), 5.0))
    if isinstance(action, NodeDrain) and cluster.nodes[name].ray_state is not RayState.DEAD:
        cluster.clock.pass_s(action.deadline_s)
        cluster.enforce(order)
    return _holds(cluster, action, born), cluster.clock.steady() - began


def _holds(cluster: MemoryCluster, action: Action, born: str) -> bool:
    name = node_of(action)
    node, job = cluster.nodes.get(name), cluster.jobs.get(str(getattr(action, "job", "")))
    match traits_of(action).shows:
        case "node.fenced":
            return name in cluster.fences
        case "node.open":
            return name not in cluster.fences
        case "node.gone":
            return node is not None and node.ray_state is RayState.DEAD
        case "node.alive":
            return node is not None and node.incarnation != born
        case "check.passed":
            return name in cluster.checks
        case "job.running":
            return job is not None and job.state is JobState.RUNNING
        case "gpu.hidden":
            return node is not None and bool(node.hidden_gpus)
        case _:
            return True


def _out(cluster: MemoryCluster) -> tuple[int, float]:
    """Nodes and GPUs that take no work."""
    out = [
        n
        for n in cluster.nodes.values()
        if n.ray_state is not RayState.ALIVE or n.name in cluster.fences
    ]
    return len(out), float(sum(n.gpus for n in out))
