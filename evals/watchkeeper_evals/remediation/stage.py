"""A controller on a twin: what it must be, how it acts, and how a run of it is played.

A controller acts at events and by its own alarms on the twin's agenda. All act through the same
port with the same durations as the watch. The watch itself is played elsewhere (`watch.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from watchkeeper.core.action import Action, kind_of
from watchkeeper.core.errors import EffectFailed
from watchkeeper.core.ports import EffectOrder
from watchkeeper.twin.cluster import TwinCluster

A_MOMENT_S = 0.01
"""After an effect is over, whatever comes at the same second."""


class Controller(Protocol):
    """One way to mend a cluster."""

    def act(self) -> None:
        """Asked after everything of one moment has happened."""
        ...


class Hands:
    """The acting side of a controller: orders under keys and tokens of their own."""

    def __init__(self, cluster: TwinCluster) -> None:
        self.cluster = cluster
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._count = 0

    def do(self, action: Action) -> bool:
        """Carry out one effect now; False when the provider refuses it and nothing happened."""
        self._count += 1
        order = EffectOrder(
            action=action,
            key=f"hand-{self._count}",
            token=self._count,
            session=self.cluster.session,
            cluster=self.cluster.cluster_id,
        )
        try:
            self.cluster.execute(order)
        except EffectFailed:
            self.refused[kind_of(action)] += 1
            return False
        self.done[kind_of(action)] += 1
        return True

    def later(self, after_s: float, deed: Callable[[], None]) -> None:
        """Do it so many seconds from now."""
        self.cluster.agenda.enter(self.cluster.clock.s + after_s, deed)

    def life(self, i: int) -> str:
        """The incarnation of a node, which every act on it names."""
        return self.cluster.machines.word(i).incarnation


def play(cluster: TwinCluster, controller: Controller, to_s: float) -> None:
    """Play the twin up to a time, the controller acting after every moment at which anything
    happens."""
    controller.act()
    while (at_s := cluster.next_event_s()) <= to_s:
        cluster.advance(at_s)
        controller.act()
    cluster.advance(to_s)
