"""May this order act here at all? Asked before every effect of the twin.

At most once for a key; a stale fencing token, another session, another cluster and another
incarnation are refused, and so is what no provider here serves.
"""

from __future__ import annotations

from watchkeeper.core.action import REQUEUE_BEFORE, kind_of, node_of, targets_of
from watchkeeper.core.errors import EffectFailed, LeaseLost
from watchkeeper.core.ports import EffectOrder
from watchkeeper.twin.machines import Machines

SERVES: frozenset[str] = frozenset(
    {
        "node.cordon",
        "node.uncordon",
        "node.drain",
        "node.restart",
        "node.reboot",
        "node.replace",
        "gpu.reset",
        "gpu.quarantine",
        "gpu.power_cap",
        "job.requeue",
        "job.preempt",
        "pool.scale",
        "check.run",
        REQUEUE_BEFORE,
    }
)


class Door:
    """Remembers keys that have acted, and the highest fencing token of each target."""

    def __init__(self, cluster: str, session: str, machines: Machines) -> None:
        self.cluster, self.session, self.machines = cluster, session, machines
        self._keys: set[str] = set()
        self._tokens: dict[str, int] = {}

    def knows(self, order: EffectOrder) -> bool:
        """It has been carried out already."""
        return order.key in self._keys

    def remember(self, order: EffectOrder) -> None:
        """It has been carried out now."""
        self._keys.add(order.key)

    def admit(self, order: EffectOrder) -> None:
        """Raises EffectFailed or LeaseLost for an order that may not act."""
        name = node_of(order.action)
        target = name or targets_of(order.action)[0]
        if order.cluster != self.cluster:
            raise EffectFailed(f"this order is for {order.cluster}, not for {self.cluster}")
        if order.session != self.session:
            raise EffectFailed("another session of Ray")
        if kind_of(order.action) not in SERVES:
            raise EffectFailed(f"{kind_of(order.action)} is not served here")
        if name and name not in self.machines.index:
            raise EffectFailed(f"no worker here is called {name}")
        if order.token < self._tokens.get(target, 0):
            raise LeaseLost(f"fencing token {order.token} is stale")
        self._tokens[target] = order.token
        if name:
            word = self.machines.word(self.machines.index[name])
            if word.incarnation != str(getattr(order.action, "incarnation", "")):
                raise EffectFailed(f"{name} is another incarnation now")
