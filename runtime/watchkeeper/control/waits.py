"""Why each gang waits, for every door of the Desk: the same line that the scheduler agent sees.

Pure, from one snapshot and the open incidents. Where nobody waits it costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from watchkeeper.core.incident import Incident
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.placement.line import line_of

MOST_TOLD = 40
"""Gangs whose reason is worked out, the next in turn first: a page shows no more."""


def reasons(snapshot: Snapshot, incidents: Iterable[Incident]) -> dict[str, str]:
    """Name of a waiting gang -> one sentence."""
    suspects = frozenset(i.node for i in incidents if i.is_open and i.node)
    line = line_of(snapshot, suspects)
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
