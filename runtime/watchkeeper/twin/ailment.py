"""A fault while it lasts, and where it lies. Kept by `harm`; read by `work`, `frame`, `score`."""

from __future__ import annotations

from dataclasses import dataclass, field

from watchkeeper.twin.gangs import FULL, Gang, Pace
from watchkeeper.twin.words import FaultLaw, Hurt, Scope, TrueFault


@dataclass(eq=False, slots=True)
class Ailment:
    """left: indexes of the nodes that it still holds. downed: those whose raylet it ended.
    stopped: (gang, attempt) that it ended. told: an instrument has spoken of it. found: people know
    where it is, and start nothing there."""

    fault: TrueFault
    law: FaultLaw
    left: set[int]
    downed: set[int] = field(default_factory=set)
    stopped: list[tuple[Gang, int]] = field(default_factory=list)
    over_s: float | None = None
    told: bool = False
    found: bool = False

    @property
    def hurts(self) -> bool:
        """Is there anything to cure? An action on what is harmless is a false one."""
        return self.law.hurts is not Hurt.NOTHING

    @property
    def pace(self) -> Pace:
        """What it leaves of a gang's pace."""
        cause = "starved" if self.law.scope is Scope.STORAGE else ""
        match self.law.hurts:
            case Hurt.HANGS:
                return Pace(0.0, cause or "hang")
            case Hurt.SLOWS:
                return Pace(self.law.slowdown, cause or "slow")
            case _:
                return FULL

    def touches(self, gpu: int) -> bool:
        """Whether an act on this GPU reaches it (-1: on the whole node)."""
        return gpu < 0 or self.fault.gpu in (-1, gpu)

    def cured_by(self, kind: str, gpu: int = -1) -> bool:
        """Does an effect of this kind end it? Only what its law lists does."""
        return kind in self.law.cured_by and self.touches(gpu)


class Ailments:
    """What is wrong now, by node."""

    def __init__(self) -> None:
        self.now: dict[int, Ailment] = {}
        self._on: dict[int, dict[int, Ailment]] = {}
        self.stamp = 0

    def add(self, ailment: Ailment) -> None:
        self.stamp += 1
        self.now[ailment.fault.id] = ailment
        for node in sorted(ailment.left):
            self._on.setdefault(node, {})[ailment.fault.id] = ailment

    def leave(self, ailment: Ailment, nodes: set[int]) -> None:
        """It no longer holds these nodes; it is over when it holds none."""
        self.stamp += 1
        for node in nodes & ailment.left:
            held = self._on[node]
            del held[ailment.fault.id]
            if not held:
                del self._on[node]
        ailment.left -= nodes
        if not ailment.left:
            self.now.pop(ailment.fault.id, None)

    def on(self, node: int) -> tuple[Ailment, ...]:
        """Those of one node, oldest first."""
        return tuple(self._on.get(node, {}).values())

    def among(self, nodes: list[int]) -> list[Ailment]:
        """Those of any of these nodes, each once, oldest first."""
        if len(self._on) < len(nodes):
            mine = set(nodes)
            hit = [i for i in self._on if i in mine]
        else:
            hit = [i for i in nodes if i in self._on]
        found = {a.fault.id: a for i in hit for a in self._on[i].values()}
        return [found[k] for k in sorted(found)]
