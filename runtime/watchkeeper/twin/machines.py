"""The workers as Ray and the provider tell of them: raylets, incarnations, fences, hidden GPUs.

A Node word is replaced only when it changes, and a reading that was handed out never changes.
What is truly broken is known in `harm`, who works where in `work`; here is only the outside.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.cluster import Fence, Node, RayState
from watchkeeper.twin.clock import TwinClock
from watchkeeper.twin.topology import Fleet

HEAD = "head"
NEVER = float("inf")


class Machines:
    """Nodes by index and by name; the head is known by name only.

    silent_s: f8[N], when the node's collector fell silent; inf while it speaks. able: 1 where Ray
    would place a gang that needs a whole node. draining: indexes. stamp counts changes. Whether
    GPUs are free is written into the words when somebody reads them.
    """

    def __init__(self, fleet: Fleet, clock: TwinClock) -> None:
        self.clock = clock
        self.gpus = fleet.gpus_per_node
        self.names: list[str] = []
        self.index: dict[str, int] = {}
        self.silent_s: NDArray[np.float64] = np.full(len(fleet), NEVER)
        self.fences: dict[str, Fence] = {}
        self.able = bytearray()
        self.draining: set[int] = set()
        self.stamp = 0
        self._occupied = bytearray()
        self._stale: set[int] = set()
        self._born = 0
        self._words: dict[str, Node] = {}
        self._gpus_by_pool: Counter[str] = Counter()
        self._handed = False
        self._add(Node(**self._newborn(HEAD, "head", 0), control_path=True))
        for i, name in enumerate(fleet.names):
            places = fleet.domains_of(i)
            self._add(Node(**(self._newborn(name, places["pool"], self.gpus) | places)))
            self._number(name, i)

    def __len__(self) -> int:
        return len(self.names)

    def _newborn(self, name: str, pool: str, gpus: int) -> dict[str, Any]:
        return {
            "name": name,
            "pool": pool,
            "incarnation": self._next_life(),
            "ray_state": RayState.ALIVE,
            "ray_state_since": self.clock.now(),
            "gpus": gpus,
            "gpus_free": float(gpus),
            "process_gone": False,
        }

    def _next_life(self) -> str:
        self._born += 1
        return f"life{self._born:07d}"

    def _add(self, node: Node) -> None:
        self._words[node.name] = node
        self._gpus_by_pool[node.pool] += node.gpus
        self.stamp += 1

    def _number(self, name: str, i: int) -> None:
        self.names.append(name)
        self.index[name] = i
        self.able.append(1)
        self._occupied.append(0)

    def words(self) -> dict[str, Node]:
        """Every node by name. The caller keeps it; later changes go to a copy."""
        for i in sorted(self._stale):
            free = float(self._free(i))
            if self.word(i).gpus_free != free:
                self._write(i, {"gpus_free": free})
        self._stale.clear()
        self._handed = True
        return self._words

    def word(self, i: int) -> Node:
        return self._words[self.names[i]]

    def gpus_of(self, pool: str) -> int:
        """GPUs that Ray lists in a pool."""
        return self._gpus_by_pool[pool]

    def _free(self, i: int) -> int:
        """GPUs of a node that neither a gang nor our fence holds; none on one that is dead."""
        word = self.word(i)
        if self._occupied[i] or word.ray_state is RayState.DEAD:
            return 0
        fence = self.fences.get(word.name)
        return word.gpus - (fence.held if fence else 0)

    def _write(self, i: int, changes: dict[str, Any]) -> None:
        if self._handed:
            self._words, self._handed = dict(self._words), False
        name = self.names[i]
        before = self._words[name]
        now = self._words[name] = msgspec.structs.replace(before, **changes)
        self._gpus_by_pool[now.pool] += now.gpus - before.gpus

    def _set(self, i: int, **changes: Any) -> None:
        """It changed: its word is written anew, and what follows from it."""
        if "ray_state" in changes:
            changes["ray_state_since"] = self.clock.now()
        if changes:
            self._write(i, changes)
        word = self.word(i)
        alive = word.ray_state is RayState.ALIVE
        self.able[i] = alive and word.gpus == self.gpus and word.name not in self.fences
        if word.ray_state is RayState.DRAINING:
            self.draining.add(i)
        else:
            self.draining.discard(i)
        self._stale.add(i)
        self.stamp += 1

    # What it may be asked.

    def alive(self, i: int) -> bool:
        return self.word(i).ray_state is RayState.ALIVE

    def down(self, i: int) -> bool:
        return self.word(i).ray_state is RayState.DEAD

    def fenced(self, i: int) -> bool:
        return self.names[i] in self.fences

    # What happens to it.

    def grow(self, pool: str, rack: str) -> int:
        """One more node of a pool, in a domain of its own; its index."""
        i = len(self.names)
        count = sum(1 for name in self.names if name.startswith(f"{pool}-x")) + 1
        name = f"{pool}-x{count:04d}"
        born = self._newborn(name, pool, self.gpus)
        if self._handed:
            self._words, self._handed = dict(self._words), False
        self._add(Node(**born, rack=rack, nvlink_domain=f"nvl-{name}"))
        self._number(name, i)
        self.silent_s = np.append(self.silent_s, NEVER)
        return i

    def end(self, i: int, *, gone: bool | None) -> None:
        """Its raylet is dead to Ray. gone: the provider's word on its process."""
        self.fences.pop(self.names[i], None)
        self._set(i, ray_state=RayState.DEAD, process_gone=gone)
        self.hush(i)

    def hush(self, i: int) -> None:
        """Its collector falls silent."""
        self.silent_s[i] = min(self.silent_s[i], self.clock.s)
        self.stamp += 1

    def speak(self, i: int) -> None:
        """Its collector is heard again."""
        self.silent_s[i] = NEVER
        self.stamp += 1

    def rise(self, i: int, *, token: int | None) -> None:
        """A new raylet, all GPUs shown; behind our fence where a token is given."""
        self._set(
            i,
            incarnation=self._next_life(),
            ray_state=RayState.ALIVE,
            process_gone=False,
            hidden_gpus=(),
            gpus=self.gpus,
        )
        self.speak(i)
        if token is not None:
            self.fence(i, token)

    def drain(self, i: int) -> None:
        self._set(i, ray_state=RayState.DRAINING)

    def fence(self, i: int, token: int) -> None:
        """Take what is free; the rest comes as work ends."""
        word = self.word(i)
        self.fences[word.name] = Fence(
            name=f"wk-fence-{word.name}-{token}",
            node=word.name,
            token=token,
            held=self._free(i),
            wanted=word.gpus,
        )
        self._set(i)

    def open(self, i: int) -> None:
        """Give back what our fence holds."""
        if self.fences.pop(self.names[i], None) is not None:
            self._set(i)

    def hide(self, i: int, gpu: int) -> None:
        word = self.word(i)
        left = word.gpus - 1
        fence = self.fences.get(word.name)
        if fence is not None:
            self.fences[word.name] = msgspec.structs.replace(
                fence, wanted=left, held=min(fence.held, left)
            )
        self._set(i, hidden_gpus=(*word.hidden_gpus, gpu), gpus=left)

    def occupy(self, nodes: list[int]) -> None:
        """A gang takes all GPUs of these."""
        for i in nodes:
            self._occupied[i] = 1
        self._stale.update(nodes)
        self.stamp += 1

    def vacate(self, nodes: list[int]) -> None:
        """Their gang is gone: fences take what they waited for."""
        for i in nodes:
            self._occupied[i] = 0
        self._stale.update(nodes)
        self.stamp += 1
        if not self.fences:
            return
        for i in nodes:
            fence = self.fences.get(self.names[i])
            if fence is not None:
                self.fences[fence.node] = msgspec.structs.replace(fence, held=fence.wanted)
