"""Why each gang waits, for every door of the Desk: the same line that the scheduler agent sees.

Pure, from one snapshot, the open incidents and what the briefing of the crew holds too. Where
nobody waits it costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized

from watchkeeper.core.incident import Incident
from watchkeeper.core.money import QuotaOrder, UsedUp
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.placement.line import line_of
from watchkeeper.placement.running import Terms
from watchkeeper.placement.share import shares_of
from watchkeeper.remedy.spares import kept_back

MOST_TOLD = 40
"""Gangs whose reason is worked out, the next in turn first: a page shows no more."""


def reasons(
    snapshot: Snapshot,
    incidents: Iterable[Incident],
    repaired: Mapping[str, Sized],
    quotas: Iterable[QuotaOrder],
    used: Mapping[str, float],
    used_up: Iterable[UsedUp] = (),
    terms: Terms | None = None,
) -> dict[str, str]:
    """Name of a waiting gang -> one sentence. repaired, quotas, used, used_up: as in the crew's
    Briefing. terms: the crew's."""
    if not snapshot.not_running:
        return {}
    suspects = frozenset(i.node for i in incidents if i.is_open and i.node)
    spares = kept_back(snapshot, repaired, suspects)
    shares = shares_of(quotas, used, snapshot.at.timestamp(), used_up)
    line = line_of(snapshot, suspects, spares, shares, terms)
    if line is None:
        return {}
    told = {}
    for place, name in enumerate(line.order[:MOST_TOLD], 1):
        turn = f" It is number {place} of {len(line.order)} in the line."
        why = line.why(name)
        if name in line.starts and not snapshot.jobs[name].held:
            why = f"{why} Ray starts it."
        told[name] = why + (turn if len(line.order) > 1 else "")
    return told
