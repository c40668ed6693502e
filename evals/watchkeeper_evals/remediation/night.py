"""One night of one run, for the timeline: which night, its faults, and what was done about them."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from watchkeeper.twin.topology import Fleet
from watchkeeper.twin.words import HOUR_S, TwinSpec
from watchkeeper_evals.remediation.runs import Fate, SeedRun
from watchkeeper_evals.remediation.svg import Lane, Mark

TZ = ZoneInfo("Europe/Berlin")
FROM_HOUR, HOURS = 22, 8.0
MOST_LANES = 18
WIDE = 4
"""A fault of more nodes than this is one lane, named by its class."""


class Night(NamedTuple):
    """From 22:00 to 06:00 in Berlin. begin_s: seconds since the twin's beginning. weight: faults
    and disruptive actions in it."""

    begin_s: float
    begin: datetime
    lanes: tuple[Lane, ...]
    left_out: int
    weight: int

    @property
    def ticks(self) -> list[tuple[float, str]]:
        hours = range(int(HOURS) + 1)
        return [(h / HOURS, f"{(self.begin + timedelta(hours=h)):%H:%M}") for h in hours]


def busiest(run: SeedRun, spec: TwinSpec, fleet: Fleet) -> Night | None:
    """The night with the most true faults and actions, the earliest of them; None where there was
    nothing."""
    moments = [*(fate.at_s for fate in run.fates), *(deed.at_s for deed in run.deeds)]
    nights = Counter(night for at_s in moments if (night := _night(spec, at_s)) is not None)
    if not nights:
        return None
    begin = min(nights, key=lambda night: (-nights[night], night))
    begin_s = (begin - spec.start).total_seconds()
    lanes = _lanes(run, begin_s, spec, fleet)
    shown, hidden = tuple(lanes[:MOST_LANES]), len(lanes[MOST_LANES:])
    return Night(begin_s, begin.astimezone(TZ), shown, hidden, nights[begin])


def _night(spec: TwinSpec, at_s: float) -> datetime | None:
    """The evening on which the night of this moment begins; None by day."""
    local = (spec.start + timedelta(seconds=at_s)).astimezone(TZ)
    if 6 <= local.hour < FROM_HOUR:
        return None
    evening = local if local.hour >= FROM_HOUR else local - timedelta(days=1)
    return evening.replace(hour=FROM_HOUR, minute=0, second=0, microsecond=0)


def _lanes(run: SeedRun, begin_s: float, spec: TwinSpec, fleet: Fleet) -> list[Lane]:
    end_s = begin_s + HOURS * HOUR_S

    def share(at_s: float) -> float:
        return min(1.0, max(0.0, (at_s - begin_s) / (end_s - begin_s)))

    spans: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for fate in run.fates:
        if fate.at_s < end_s and fate.at_s + fate.lasted_s > begin_s:
            ended = {"itself": "by itself", "open": "not yet"}.get(fate.ended_by, fate.ended_by)
            says = f"{fate.law}, {_lasting(fate.lasted_s)}, ended by {ended}".replace("by by", "by")
            whole = (share(fate.at_s), share(fate.at_s + fate.lasted_s), says)
            spans[_lane(fate, fleet)].append(whole)
    marks: dict[str, list[Mark]] = defaultdict(list)
    for deed in run.deeds:
        if begin_s <= deed.at_s < end_s:
            name = deed.target.partition(":")[2].partition("/")[0]
            at = spec.start + timedelta(seconds=deed.at_s)
            why = f"for {deed.law}" if deed.law else "FALSE: nothing there that it cures"
            says = f"{at.astimezone(TZ):%H:%M} {deed.kind}, {why}"
            marks[name].append(Mark(share(deed.at_s), says, not deed.law))
    names = sorted({*spans, *marks}, key=lambda n: (_first(spans[n], marks[n]), n))
    return [Lane(name, tuple(spans[name]), tuple(marks[name])) for name in names]


def _lane(fate: Fate, fleet: Fleet) -> str:
    if len(fate.nodes) > WIDE:
        return f"{fate.law} ({len(fate.nodes)})"
    return fleet.names[fate.nodes[0]]


def _first(spans: list[tuple[float, float, str]], marks: list[Mark]) -> float:
    return min([*(s[0] for s in spans), *(m.at for m in marks)])


def _lasting(seconds: float) -> str:
    if seconds < 2 * HOUR_S:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR_S:.1f} h"
