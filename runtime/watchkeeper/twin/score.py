"""What was a run worth? Asked by the driver and by the evals; never by the watch."""

from __future__ import annotations

from collections.abc import Iterable

from watchkeeper.twin.energy import Paid
from watchkeeper.twin.gangs import CAUSES, Gang
from watchkeeper.twin.words import HOUR_S, Tally


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
