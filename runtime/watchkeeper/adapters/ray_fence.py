"""Our cordon: one-GPU detached placement groups that take a node's GPUs as these come free.

Ray has no cordon. Groups pinned to a node's name claim what is free at once and the rest as work
ends; when the raylet dies they wait, and claim its successor before other work does (measured:
sealed 0.05 s after the new raylet registered). How far a fence is sealed is read, never assumed.
"""

from __future__ import annotations

from watchkeeper.adapters.ray_door import RayDoor
from watchkeeper.adapters.ray_fold import newest
from watchkeeper.adapters.ray_gcs import Gcs, GroupRow, NodeRow
from watchkeeper.adapters.ray_names import HIDDEN, NAMESPACE, fence_name, parse_fence, selector_for
from watchkeeper.core.errors import EffectFailed

_CREATE_S = 30.0


class Fences:
    """Raise and lift fences. Creating needs the driver child; lifting and counting do not."""

    def __init__(self, gcs: Gcs, door: RayDoor) -> None:
        self._gcs = gcs
        self._door = door

    def groups(self, node: str) -> list[GroupRow]:
        """The placement groups of every fence on this node."""
        return [
            group
            for group in self._gcs.groups()
            if group.namespace == NAMESPACE and (parse_fence(group.name) or ("",))[0] == node
        ]

    def held(self, node: str) -> list[GroupRow]:
        """Those that hold a GPU of the living raylet now."""
        row = newest(self._gcs.nodes()).get(node)
        if row is None or not row.alive:
            return []
        return [
            g
            for g in self.groups(node)
            if g.state == "created" and g.bundles[0].node_id == row.node_id
        ]

    def raise_on(self, node: str, token: int, hidden: tuple[int, ...] | None = None) -> int:
        """Fence a node, dead or alive, up to one group per GPU; returns how many were added.

        An older fence that stands already is kept: lifting it first would open a gap. hidden: the
        GPUs that the next raylet will not have; None means those that this one lacks.
        Raises EffectFailed, EffectInDoubt, ClusterUnavailable.
        """
        row = newest(self._gcs.nodes()).get(node)
        if row is None:
            raise EffectFailed(f"Ray never saw a node called {node}.")
        wanted = self._wanted(row, hidden)
        if wanted <= 0:
            raise EffectFailed(f"{node} has no GPUs to fence.")
        standing = self.groups(node)
        missing = wanted - len(standing)
        taken = {group.name for group in standing}
        names = [name for i in range(wanted) if (name := fence_name(node, token, i)) not in taken]
        if missing > 0:
            self._door.call(
                "create_groups",
                _CREATE_S,
                names=names[:missing],
                selector=selector_for(row.labels, node, row.node_id),
            )
        return max(0, missing)

    def _wanted(self, row: NodeRow, hidden: tuple[int, ...] | None) -> int:
        """GPUs a fence has to hold: what Ray gives out there, without what is hidden from it and
        what our own holders sit on."""
        given = int(row.total.get("GPU", 0))
        if hidden is not None:
            lacking = [i for i in row.labels.get(HIDDEN, "").split(".") if i]
            return given + len(lacking) - len(set(hidden))
        return given - sum(
            len(actor.gpu_ids)
            for actor in self._gcs.actors()
            if actor.node_id == row.node_id and actor.namespace == NAMESPACE
        )

    def lift(self, node: str) -> int:
        """Remove every fence of ours from a node; returns how many groups that were."""
        standing = self.groups(node)
        for group in standing:
            self._gcs.remove_group(group)
        return len(standing)

    def reseat(self, node: str, token: int) -> None:
        """Let go of a raylet that takes no work any more and wait for its successor.

        A fence would keep a draining raylet busy for ever, since Ray counts what it holds as work.
        """
        if self.lift(node):
            self.raise_on(node, token)
