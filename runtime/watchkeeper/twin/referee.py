"""Was each disruptive action deserved? Asked at the effect, with the truth at hand.

A false action is one whose target or domain had no active fault of a class that it can cure. The
watch never learns what is said here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from watchkeeper.core.action import TRAITS, kind_of, node_of, targets_of
from watchkeeper.core.cluster import JobState
from watchkeeper.core.ports import EffectOrder
from watchkeeper.twin.ailment import Ailment, Ailments
from watchkeeper.twin.harm import Harm
from watchkeeper.twin.words import HOUR_S, Scope

OUT = frozenset({"node.cordon", "node.drain"})
PREPARES = OUT | {"job.preempt"}
"""These cure nothing and come before whatever does: they are deserved by any fault of the node
that an act on the node, or a person at it, ends. A gang that is preempted off such a node leaves it
as by a drain; off a domain that only hands mend, it does not."""
OF_JOBS = frozenset({"job.requeue", "job.preempt", "job.place"})
LAPSED_S = HOUR_S
"""A fault that ended by itself within this time before the act is noted beside the false action,
which stays one."""


class Deed(NamedTuple):
    """One disruptive effect. law: the class of true fault that deserved it, "" when it is false.
    lapsed: a class that had just ended by itself. note: what the order carried (an incident)."""

    at_s: float
    kind: str
    target: str
    law: str
    lapsed: str = ""
    note: str = ""

    @property
    def false(self) -> bool:
        return not self.law


class FalseActions:
    """Every disruptive action that was carried out, deserved or not."""

    def __init__(self) -> None:
        self.deeds: list[Deed] = []

    @property
    def taken(self) -> int:
        """The denominator."""
        return len(self.deeds)

    @property
    def false(self) -> int:
        return sum(deed.false for deed in self.deeds)

    @property
    def lapsed(self) -> int:
        """Of the false ones, those that came just too late for a fault that ended by itself."""
        return sum(deed.false and bool(deed.lapsed) for deed in self.deeds)

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Kind of action -> (false, taken)."""
        return self._count((deed.kind, deed) for deed in self.deeds)

    def by_class(self) -> dict[str, tuple[int, int]]:
        """Class of true fault that deserved it, or that had lapsed, or "none" -> (false, taken)."""
        return self._count((deed.law or deed.lapsed or "none", deed) for deed in self.deeds)

    @staticmethod
    def _count(pairs: Iterable[tuple[str, Deed]]) -> dict[str, tuple[int, int]]:
        taken: Counter[str] = Counter()
        false: Counter[str] = Counter()
        for key, deed in pairs:
            taken[key] += 1
            false[key] += deed.false
        return {key: (false[key], taken[key]) for key in sorted(taken)}


def disruptive(kind: str) -> bool:
    """Whether this kind of action counts, by the traits that policy sees."""
    return TRAITS[kind].disruptive


def deserves(ailments: Ailments, kind: str, nodes: Sequence[int], gpu: int = -1) -> str:
    """The class of a fault, active now on one of these nodes, that calls for this; else ""."""
    for ailment in ailments.among(list(nodes)):
        if ailment.hurts and (ailment.cured_by(kind, gpu) or _prepares(kind, ailment)):
            return ailment.law.name
        if ailment.hurts and kind == "job.preempt" and ailment.cured_by("job.requeue"):
            return ailment.law.name
    return ""


def _prepares(kind: str, ailment: Ailment) -> bool:
    if kind == "job.preempt" and ailment.law.scope not in (Scope.GPU, Scope.NODE):
        return False
    return kind in PREPARES and not set(ailment.law.cured_by) <= OF_JOBS


def lapsed(over: Sequence[Ailment], nodes: Sequence[int], at_s: float) -> str:
    """The class of a fault of these nodes that ended by itself a short while ago; else ""."""
    for ailment in reversed(over):
        ended = ailment.over_s or 0.0
        if ended < at_s - LAPSED_S:
            return ""
        by_itself = ended == ailment.fault.ends_s
        if by_itself and ailment.hurts and set(ailment.fault.nodes) & set(nodes):
            return ailment.law.name
    return ""


class Referee:
    """Judges each order before it is carried out, and keeps the count."""

    def __init__(self, harm: Harm) -> None:
        self.harm = harm
        self.actions = FalseActions()
        self._out_for: dict[int, str] = {}

    def judge(self, order: EffectOrder) -> Deed | None:
        """Hold an order against what is truly wrong now; None for what disrupts nothing."""
        kind = kind_of(order.action)
        if not disruptive(kind):
            return None
        nodes, gpu = self._touched(order), int(getattr(order.action, "gpu", -1))
        law = deserves(self.harm.ailments, kind, nodes, gpu)
        if not law and kind == "node.restart":
            law = self._why_down(nodes[0])
        if not law and kind == "job.preempt" and self._makes_room(order):
            law = "room"
        at_s = self.harm.clock.s
        return Deed(
            at_s=at_s,
            kind=kind,
            target=targets_of(order.action)[0],
            law=law,
            lapsed="" if law else lapsed(self.harm.over, nodes, at_s),
            note=order.note,
        )

    def note(self, deed: Deed | None) -> None:
        """It was carried out."""
        if deed is None:
            return
        self.actions.deeds.append(deed)
        if deed.law and deed.kind in OUT:
            self._out_for[self.harm.machines.index[deed.target.partition(":")[2]]] = deed.law

    def back_in_service(self, i: int) -> None:
        """What this node was taken out for is done with."""
        self._out_for.pop(i, None)

    def _touched(self, order: EffectOrder) -> list[int]:
        name = node_of(order.action)
        if name:
            return [self.harm.machines.index[name]]
        gang = self.harm.work.gangs.get(str(getattr(order.action, "job", "")))
        return list(gang.nodes) if gang else []

    def _why_down(self, i: int) -> str:
        """A dead node harms nobody by its restart: what took it down answers for it, a fault or a
        drain of ours that was deserved."""
        if self.harm.machines.alive(i):
            return ""
        if i in self._out_for:
            return self._out_for[i]
        known = [*self.harm.ailments.now.values(), *self.harm.over]
        return next((a.law.name for a in reversed(known) if i in a.downed), "")

    def _makes_room(self, order: EffectOrder) -> bool:
        gangs = self.harm.work.gangs
        gang = gangs.get(str(getattr(order.action, "job", "")))
        return gang is not None and any(
            g.state is JobState.WAITING and g.pool == gang.pool and g.priority > gang.priority
            for g in gangs.values()
        )
