"""The workers as Ray and the provider tell of them: raylets, incarnations, fences, hidden GPUs.

A Node word is replaced only when it changes, and a reading that was handed out never changes.
What is truly broken is known in `harm`, who works where in `work`; here is only the outside.
"""

from __future__ import annotations

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

    silent_s: f8[N], when the node's collector fell silent; inf while it speaks. stamp counts
    changes.
    """

    def __init__(self, fleet: Fleet, clock: TwinClock) -> None:
        self.clock = clock
        self.gpus = fleet.gpus_per_node
        self.names: list[str] = []
        self.index: dict[str, int] = {}
        self.silent_s: NDArray[np.float64] = np.full(len(fleet), NEVER)
        self.fences: dict[str, Fence] = {}
        self.stamp = 0
        self._born = 0
        self._words: dict[str, Node] = {}
        self._handed = False
        self._add(Node(**self._newborn(HEAD, "head", 0), control_path=True))
        for i, name in enumerate(fleet.names):
            places = fleet.domains_of(i)
            self._add(Node(**(self._newborn(name, places["pool"], self.gpus) | places)))
            self.names.append(name)
            self.index[name] = i

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
        self.stamp += 1

    def words(self) -> dict[str, Node]:
        """Every node by name. The caller keeps it; later changes go to a copy."""
        self._handed = True
        return self._words

    def word(self, i: int) -> Node:
        return self._words[self.names[i]]

    def gpus_of(self, pool: str) -> int:
        """GPUs that Ray lists in a pool."""
        return sum(word.gpus for word in self._words.values() if word.pool == pool)

    def _set(self, i: int, **changes: object) -> None:
        if self._handed:
            self._words, self._handed = dict(self._words), False
        name = self.names[i]
        if "ray_state" in changes:
            changes["ray_state_since"] = self.clock.now()
        self._words[name] = msgspec.structs.replace(self._words[name], **changes)
        self.stamp += 1

    # What it may be asked.

    def alive(self, i: int) -> bool:
        return self.word(i).ray_state is RayState.ALIVE

    def down(self, i: int) -> bool:
        return self.word(i).ray_state is RayState.DEAD

    def draining(self, i: int) -> bool:
        return self.word(i).ray_state is RayState.DRAINING

    def fenced(self, i: int) -> bool:
        return self.names[i] in self.fences

    def takes_work(self, i: int) -> bool:
        """A whole node that Ray would place a gang on."""
        word = self.word(i)
        return (
            word.ray_state is RayState.ALIVE
            and word.gpus == self.gpus
            and word.name not in self.fences
        )

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
        self.names.append(name)
        self.index[name] = i
        self.silent_s = np.append(self.silent_s, NEVER)
        return i

    def end(self, i: int, *, gone: bool | None) -> None:
        """Its raylet is dead to Ray. gone: the provider's word on its process."""
        self.fences.pop(self.names[i], None)
        self._set(i, ray_state=RayState.DEAD, process_gone=gone, gpus_free=0.0)
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
            gpus_free=float(self.gpus),
        )
        self.speak(i)
        if token is not None:
            self.fence(i, token)

    def drain(self, i: int) -> None:
        self._set(i, ray_state=RayState.DRAINING)

    def fence(self, i: int, token: int) -> None:
        """Take what is free; the rest comes as work ends."""
        word = self.word(i)
        held = int(word.gpus_free)
        self.fences[word.name] = Fence(
            name=f"wk-fence-{word.name}-{token}",
            node=word.name,
            token=token,
            held=held,
            wanted=word.gpus,
        )
        self._set(i, gpus_free=word.gpus_free - held)

    def open(self, i: int) -> None:
        """Give back what our fence holds."""
        fence = self.fences.pop(self.names[i], None)
        if fence is not None:
            self._set(i, gpus_free=self.word(i).gpus_free + fence.held)

    def hide(self, i: int, gpu: int) -> None:
        word = self.word(i)
        hidden = (*word.hidden_gpus, gpu)
        fence = self.fences.get(word.name)
        if fence is not None:
            left = word.gpus - 1
            self.fences[word.name] = msgspec.structs.replace(
                fence, wanted=left, held=min(fence.held, left)
            )
        self._set(i, hidden_gpus=hidden, gpus=word.gpus - 1, gpus_free=max(0.0, word.gpus_free - 1))

    def occupy(self, i: int) -> None:
        """A gang takes all its GPUs."""
        self._set(i, gpus_free=0.0)

    def vacate(self, i: int) -> None:
        """Its gang is gone: a fence takes what it waited for."""
        word = self.word(i)
        if word.ray_state is RayState.DEAD:
            return
        fence = self.fences.get(word.name)
        if fence is None:
            self._set(i, gpus_free=float(word.gpus))
            return
        self.fences[word.name] = msgspec.structs.replace(fence, held=fence.wanted)
        self.stamp += 1
