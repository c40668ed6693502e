"""What must be left of a cluster once an action is done: floors of pools, quorums, classes (S11).

Declared in the orders by whoever runs the cluster; `policy.invariants` holds every action against
them, whoever asks for it. Here are the words, and what of the snapshot they are held against.
"""

from __future__ import annotations

from msgspec.structs import replace

from watchkeeper.core.action import Action, JobPlace, JobPreempt, kind_of, node_of
from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.facts import spare_nodes
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import Word

EVERY_OTHER = "default"
PLENTY = 1_000_000
USES_SPARES = frozenset({"node.drain", "node.restart", "node.reboot", "node.replace", "job.place"})
"""What work moves for, or begins by: it needs nodes that are free."""
TAKES_OUT = (USES_SPARES - {"job.place"}) | {"node.cordon"}


class PoolFloor(Word, frozen=True):
    """nodes: so many of the pool stay in service. spares: so many of them stay free for work."""

    pool: str
    nodes: int = 0
    spares: int = 0
    where: str = ""

    @property
    def key(self) -> str:
        """As the ledger counts its free nodes."""
        return f"spare:{self.pool}"


class Quorum(Word, frozen=True):
    """Nodes of which more than half stay in service. One that is not there counts as out."""

    name: str
    members: tuple[str, ...]
    where: str = ""

    @property
    def majority(self) -> int:
        return len(self.members) // 2 + 1

    @property
    def key(self) -> str:
        """As the ledger counts it."""
        return f"quorum:{self.name}"


class ClassFloor(Word, frozen=True):
    """Gangs of this priority and above: preemption leaves them so many running GPUs."""

    name: str
    priority: int
    gpus: float
    where: str = ""

    @property
    def key(self) -> str:
        """As the ledger counts it."""
        return f"class:{self.name}"


class Floors(Word, frozen=True):
    """All that is declared. pools: by name, `default` for every other."""

    pools: dict[str, PoolFloor] = {}
    quorums: tuple[Quorum, ...] = ()
    classes: tuple[ClassFloor, ...] = ()

    @property
    def declared(self) -> bool:
        return bool(self.pools or self.quorums or self.classes)

    def of_pool(self, pool: str) -> PoolFloor | None:
        """What is kept of this pool."""
        found = self.pools.get(pool)
        if found is None and pool and EVERY_OTHER in self.pools:
            found = replace(self.pools[EVERY_OTHER], pool=pool)
        return found

    def of_node(self, node: str) -> tuple[Quorum, ...]:
        """The quorums that a node is part of."""
        return tuple(q for q in self.quorums if node in q.members)


def counted(
    floors: Floors, snapshot: Snapshot, action: Action
) -> tuple[dict[str, int], dict[str, int]]:
    """(out, size) of what this action bears on, as `LedgerView` has them: free nodes that it takes,
    and all that there are; members of its quorums that are out, the target itself aside, and all
    members; by class, the running GPUs in whole ones. Empty where nothing is declared."""
    out: dict[str, int] = {}
    size: dict[str, int] = {}
    target = node_of(action)
    pool, taken, free = _spares(snapshot, action)
    if (floor := floors.of_pool(pool)) is not None and floor.spares:
        out[floor.key], size[floor.key] = taken, free
    for quorum in floors.of_node(target) if target else ():
        others = [name for name in quorum.members if name != target]
        out[quorum.key] = sum(not _in_service(snapshot, name) for name in others)
        size[quorum.key] = len(quorum.members)
    if isinstance(action, JobPreempt):
        running = [j for j in snapshot.jobs.values() if j.state is JobState.RUNNING]
        for each in floors.classes:
            size[each.key] = int(sum(j.gpus for j in running if j.priority >= each.priority))
    return out, size


def _spares(snapshot: Snapshot, action: Action) -> tuple[str, int, int]:
    """(pool, its free nodes that the action uses up, all of them). The work of a node that is
    emptied needs another one."""
    if isinstance(action, JobPlace):
        job = snapshot.jobs.get(action.job)
        pool, wanted = job.pool if job is not None else "", set(action.nodes)
        free = spare_nodes(snapshot).get(pool, frozenset())
        return pool, len(free & wanted), len(free)
    node = snapshot.nodes.get(node_of(action))
    if node is None:
        return "", 0, 0
    free = spare_nodes(snapshot).get(node.pool, frozenset())
    kind = kind_of(action)
    if node.name in free:
        return node.pool, int(kind in TAKES_OUT), len(free)
    runs = any(job.state is JobState.RUNNING for job in snapshot.jobs_on(node.name))
    return node.pool, int(runs and kind in USES_SPARES), len(free)


def _in_service(snapshot: Snapshot, name: str) -> bool:
    node = snapshot.nodes.get(name)
    alive = node is not None and node.ray_state is RayState.ALIVE
    return alive and name not in snapshot.fences


def keys(floors: Floors, action: Action, pool: str) -> frozenset[str]:
    """What must be counted for this action, by the keys of the ledger."""
    floor, kind = floors.of_pool(pool), kind_of(action)
    found = {floor.key} if floor and floor.spares and kind in TAKES_OUT | USES_SPARES else set()
    if kind in TAKES_OUT:
        found |= {quorum.key for quorum in floors.of_node(node_of(action))}
    if isinstance(action, JobPreempt):
        found |= {each.key for each in floors.classes}
    return frozenset(found)


def enough(floors: Floors, action: Action, pool: str) -> tuple[dict[str, int], dict[str, int]]:
    """The same for a case that says nothing of them: all that is declared is there."""
    counts = keys(floors, action, pool)
    return dict.fromkeys(counts, 0), dict.fromkeys(counts, PLENTY)
