"""What was a run worth, and was each disruptive action deserved?

A false action is one whose target or domain had no active fault of a class that it can cure. Asked
by the driver and by the evals; never by the watch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from watchkeeper.core.action import TRAITS
from watchkeeper.twin.ailment import Ailment, Ailments
from watchkeeper.twin.energy import Paid
from watchkeeper.twin.gangs import CAUSES, Gang
from watchkeeper.twin.words import HOUR_S, Tally

PREPARES = frozenset({"node.cordon", "node.drain"})
"""These cure nothing and come before whatever does: they are deserved by any fault of the node
that an act on the node, or a person at it, ends."""
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


def tally(gangs: Iterable[Gang], to_s: float, paid: Paid, gpus_per_node: int) -> Tally:
    """What the gangs made of their GPUs up to a time from their last event on. Changes nothing."""
    useful = allocated = 0.0
    lost = dict.fromkeys(CAUSES, 0.0)
    for gang in gangs:
        now = gang.copy()
        now.settle(to_s)
        hours = gang.gpus / HOUR_S
        useful += now.useful * hours
        allocated += to_s * hours
        for cause, seconds in now.lost.items():
            lost[cause] += seconds * hours
    return Tally(
        useful=useful,
        allocated=allocated,
        lost=lost,
        kwh=paid.kwh(useful, lost, allocated, gpus_per_node, to_s),
        money=paid.money(to_s),
    )
