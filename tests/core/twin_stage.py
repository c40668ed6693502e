"""A small twin with hand-made faults, and the verbs to play it."""

from __future__ import annotations

from typing import Any

from watchkeeper.core.action import (
    Action,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeReboot,
    NodeReplace,
    NodeRestart,
    NodeUncordon,
)
from watchkeeper.core.cluster import Job, JobState, Node
from watchkeeper.core.incident import Signal
from watchkeeper.core.ports import EffectOrder
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.topology import build
from watchkeeper.twin.words import FaultLaw, Hurt, Noise, NoiseKind, Scope, TrueFault, TwinSpec

PLAIN = {
    "node.cordon": NodeCordon,
    "node.uncordon": NodeUncordon,
    "node.drain": NodeDrain,
    "node.restart": NodeRestart,
    "node.reboot": NodeReboot,
    "node.replace": NodeReplace,
}


def law(name: str = "off_bus", **changes: Any) -> FaultLaw:
    """A GPU off the bus that a reboot cures, unless told."""
    words: dict[str, Any] = {
        "scope": Scope.GPU,
        "rate_per_node_day": 1e-3,
        "hurts": Hurt.STOPS,
        "shows": ("xid.79", "gpu.lost"),
        "cured_by": ("node.reboot", "node.replace"),
        "source": "made up for a test",
        "manual_repair_h": 1000.0,
    }
    return FaultLaw(name=name, **(words | changes))


def fault(
    law: FaultLaw, at_s: float = 100.0, nodes: tuple[int, ...] = (0,), **more: Any
) -> TrueFault:
    words: dict[str, Any] = {"id": 0, "first": law.shows[0], "gpu": -1}
    if law.scope is Scope.GPU:
        words["gpu"] = 3
    return TrueFault(law=law.name, at_s=at_s, nodes=nodes, **(words | more))


def noise(kind: NoiseKind, at_s: float, ends_s: float, **more: Any) -> Noise:
    return Noise(id=0, kind=kind, at_s=at_s, ends_s=ends_s, **more)


class Stage:
    """One twin. Node 0 is train-0001; the gang of `gang_nodes` begins there."""

    def __init__(
        self,
        *faults: TrueFault,
        laws: tuple[FaultLaw, ...] = (),
        noise: tuple[Noise, ...] = (),
        **spec: Any,
    ) -> None:
        words: dict[str, Any] = {"seed": 7, "nodes": 20, "gang_nodes": (4,), "spares": 0.1}
        self.spec = TwinSpec(**(words | spec))
        numbered = tuple(f if f.id else _numbered(f, i) for i, f in enumerate(faults))
        self.twin = TwinCluster(self.spec, build(self.spec), numbered, noise, laws)
        self.source = self.twin.telemetry()
        self.heard: list[Signal] = []
        self._token = 0

    def at(self, seconds: float) -> Stage:
        """Play up to this time."""
        self.twin.advance(seconds)
        return self

    def listen(self) -> list[Signal]:
        """Lines that came since the last time."""
        new = list(self.source.read().signals)
        self.heard += new
        return new

    def node(self, i: int = 0) -> Node:
        return self.twin.read().nodes[self.twin.machines.names[i]]

    def job(self, name: str = "train-gang-01") -> Job:
        return self.twin.read().jobs[name]

    @property
    def gang(self):  # type: ignore[no-untyped-def]
        return self.twin.work.gangs["train-gang-01"]

    def order(self, action: Action, **wrong: Any) -> EffectOrder:
        self._token += 1
        words: dict[str, Any] = {
            "key": f"K{self._token}",
            "token": self._token,
            "session": self.twin.session,
            "cluster": self.twin.cluster_id,
        }
        return EffectOrder(action=action, **(words | wrong))

    def do(self, kind: str, i: int = 0, **more: Any) -> EffectOrder:
        """Carry out one plain action on a node, now."""
        node = self.node(i)
        order = self.order(PLAIN[kind](node=node.name, incarnation=node.incarnation, **more))
        self.twin.execute(order)
        return order

    def requeue(self, name: str = "train-gang-01") -> None:
        self.twin.execute(self.order(JobRequeue(job=name, attempt_id=self.job(name).attempt_id)))

    def keep_running(self, to_s: float, after_s: float = 0.0) -> None:
        """A controller that submits each stopped gang again so long after, by default at once."""
        while (at_s := self.twin.next_event_s()) <= to_s:
            self.twin.advance(at_s)
            for gang in self.twin.work.gangs.values():
                if gang.state is not JobState.STOPPED:
                    continue
                if self.twin.clock.s >= gang.since_s + after_s:
                    self.requeue(gang.name)
                else:
                    self.twin.agenda.enter(gang.since_s + after_s, lambda: None)
        self.twin.advance(to_s)


def _numbered(fault: TrueFault, i: int) -> TrueFault:
    from msgspec.structs import replace

    return replace(fault, id=i)
