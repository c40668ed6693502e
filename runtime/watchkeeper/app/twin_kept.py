"""What is left once an effect is carried out? S11 as `twin_assert` sees it, from outside.

Counts nodes, members and GPUs by itself, in what the cluster shows before the effect, and shares
no code with the judge: only what people declared is the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from watchkeeper.core.action import Action, JobPlace, JobPreempt, kind_of, node_of
from watchkeeper.core.cluster import ClusterState, JobState, Node, RayState
from watchkeeper.core.floors import Floors

LEAVES = frozenset({"node.cordon", "node.drain", "node.reboot", "node.replace", "node.restart"})
ENDS_WORK = LEAVES - {"node.cordon"}


def not_kept(floors: Floors, action: Action, state: ClusterState) -> Iterator[str]:
    """Each thing that was declared to stay and would not, in a sentence."""
    kind, node = kind_of(action), state.nodes.get(node_of(action))
    if node is not None and kind in LEAVES:
        yield from _of_pool(floors, node, state, ends_work=kind in ENDS_WORK)
        yield from _of_quorums(floors, node, state)
    if isinstance(action, JobPlace):
        taken = set(action.nodes)
        for pool in {state.nodes[n].pool for n in taken if n in state.nodes}:
            free = _free(state, pool) - taken
            if (floor := floors.of_pool(pool)) and len(free) < floor.spares:
                yield f"{len(free)} free nodes of {pool} are left, and {floor.spares} are kept"
    if isinstance(action, JobPreempt):
        yield from _of_classes(floors, action.job, state)


def _of_pool(floors: Floors, node: Node, state: ClusterState, *, ends_work: bool) -> Iterator[str]:
    floor = floors.of_pool(node.pool)
    if floor is None or node.control_path:
        return
    left = {n.name for n in state.nodes.values() if n.pool == node.pool and _serves(state, n)}
    if node.name in left and len(left) - 1 < floor.nodes:
        yield f"{len(left) - 1} nodes of {node.pool} are left, and {floor.nodes} are kept"
    free = _free(state, node.pool)
    moves = ends_work and any(
        job.state is JobState.RUNNING and node.name in job.nodes for job in state.jobs.values()
    )
    after = len(free - {node.name}) - moves
    if (moves or node.name in free) and after < floor.spares:
        yield f"{after} free nodes of {node.pool} are left, and {floor.spares} are kept"


def _of_quorums(floors: Floors, node: Node, state: ClusterState) -> Iterator[str]:
    if not _serves(state, node):
        return
    for quorum in floors.quorums:
        up = [n for n in quorum.members if n in state.nodes and _serves(state, state.nodes[n])]
        left = len(up) - 1
        if node.name in quorum.members and 2 * left <= len(quorum.members):
            yield f"{left} of {len(quorum.members)} members of {quorum.name} are left"


def _of_classes(floors: Floors, name: str, state: ClusterState) -> Iterator[str]:
    running = [job for job in state.jobs.values() if job.state is JobState.RUNNING]
    for each in floors.classes:
        mine = {job.name: job.gpus for job in running if job.priority >= each.priority}
        left = sum(gpus for job, gpus in mine.items() if job != name)
        if name in mine and left < each.gpus:
            yield f"{left:g} GPUs of the class {each.name} run on, and {each.gpus:g} are kept"


def _serves(state: ClusterState, node: Node) -> bool:
    return (
        node.ray_state is RayState.ALIVE and node.name not in state.fences and not node.control_path
    )


def _free(state: ClusterState, pool: str) -> set[str]:
    """Nodes of a pool on which work can begin at once."""
    return {
        n.name
        for n in state.nodes.values()
        if n.pool == pool and _serves(state, n) and 0 < n.gpus <= n.gpus_free
    }
