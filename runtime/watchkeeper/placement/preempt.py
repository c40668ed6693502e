"""Whom a gang may displace, and whom it should: the cheapest victims in one domain.

Asked by the scheduler agent. It answers; whether anything is stopped is policy's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from watchkeeper.placement.clear import Clearing, clear
from watchkeeper.placement.engine import Engine
from watchkeeper.placement.running import Running, Terms
from watchkeeper.placement.words import Gang

Reclaims = Callable[[Running], bool]
"""This gang's tenant uses more than its quota, and the waiting one less than its own."""


def preempt(
    engine: Engine,
    gang: Gang,
    running: Iterable[Running],
    now: float,
    terms: Terms | None = None,
    reclaims: Reclaims = lambda _run: False,
) -> Clearing | None:
    """The cheapest way to make room for `gang`; None when there is none, or it fits as it is.

    Only preemptible work of lower priority, or work on borrowed quota of at most the same
    priority, that has run for `terms.least_runtime_s`.
    """
    terms = terms or Terms()
    if engine.fits(gang):
        return None
    return clear(engine, gang, victims(gang, running, now, terms, reclaims), now, terms)


def victims(
    gang: Gang, running: Iterable[Running], now: float, terms: Terms, reclaims: Reclaims
) -> list[Running]:
    """Who may be displaced for this gang, by name."""
    found = []
    for run in running:
        one = run.placement.gang
        if not one.preemptible or one.priority > gang.priority or not terms.settled(run, now):
            continue
        if one.priority < gang.priority or reclaims(run):
            found.append(run)
    return sorted(found, key=lambda run: run.placement.gang.name)
