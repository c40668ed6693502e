"""The watch itself on one seed: the real crew, gate, executor and journal, by `app.twin_run`.

Counts what it decided, and holds each escalation against what was truly wrong there. The truth is
asked after the run, never during it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from watchkeeper.app.twin_run import Played
from watchkeeper.app.twin_run import play as play_watch
from watchkeeper.core.incident import target_node
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper_evals.remediation.runs import (
    TOLD,
    WATCH,
    Fate,
    SeedRun,
    Told,
    deeds,
    fates,
    noises,
    peak_mb,
)
from watchkeeper_evals.remediation.setup import Setup

MANY = 3
"""A fault of so many nodes of a domain is one that a domain's incident may be about."""
BEFORE_S = 600.0
"""A fault that was over so long before an incident opened may still be what it is about."""


def watched(setup: Setup, seed: int, cluster: TwinCluster, told: TOLD) -> SeedRun:
    """Play the watch under the setup's orders. Raises PolicyError when they do not load."""
    played = play_watch(
        setup.spec(seed),
        dict(setup.orders),
        keep_lines=True,
        cluster=cluster,
        progress=lambda share, _turns: told(_so_far(cluster, share)),
    )
    ends = fates(cluster)
    return SeedRun(
        seed=seed,
        controller=WATCH,
        tally=played.tally,
        fates=ends,
        deeds=deeds(cluster),
        effects=played.effects,
        trace_hash=played.trace_hash,
        wall_s=played.wall_s,
        noise=noises(cluster),
        rss_mb=peak_mb(),
        asked=played.asks,
        asked_night=played.asked_night,
        answered=played.answered,
        escalated=dict(Counter(escalated(played, cluster, ends))),
        escalated_as=played.escalations,
        halts=played.halts,
        verdicts=played.verdicts,
        refused_by=played.refused_by,
        violations=tuple(f"{v.id} at {v.at_s:.0f} s: {v.text}" for v in played.violations),
        effects_checked=played.effects_checked,
        cadence=played.cadence,
        turns=played.turns,
        pages=played.pages,
    )


def _so_far(cluster: TwinCluster, share: float) -> Told:
    return Told(share, cluster.tally().ettr, cluster.false_actions.false)


class _Incident(NamedTuple):
    targets: set[str]
    opened_s: float


def escalated(played: Played, cluster: TwinCluster, ends: Iterable[Fate]) -> Iterator[str]:
    """For each incident that ended with a person: `curable` where a true fault that needs no hands
    was on its targets, `hidden` where the only such faults were what no check finds, `person` where
    only such were that need hands, `nothing` where none was."""
    known: dict[str, _Incident] = {}
    ends = tuple(ends)
    for line in played.lines:
        kind, at, *words = line.split("\x1f")
        if not kind.startswith("incident"):
            continue
        at_s = (datetime.fromisoformat(at) - cluster.clock.start).total_seconds()
        incident = known.setdefault(words[0], _Incident(set(), at_s))
        if len(words) > 2:
            incident.targets.add(words[2])
        elif words[-1] == "escalated":
            yield _truth(incident, at_s, cluster, ends)


def _truth(incident: _Incident, at_s: float, cluster: TwinCluster, ends: tuple[Fate, ...]) -> str:
    since_s = incident.opened_s - BEFORE_S
    nodes = set(_nodes(incident.targets, cluster, since_s, at_s))
    wide = set(_domains(incident.targets, cluster))
    there = [
        fate
        for fate in ends
        if fate.at_s <= at_s
        and fate.at_s + fate.lasted_s >= since_s
        and (nodes & set(fate.nodes) or len(wide & set(fate.nodes)) >= MANY)
    ]
    if not there:
        return "nothing"
    curable = [fate for fate in there if fate.curable]
    if not curable:
        return "person"
    return "hidden" if all(fate.hidden for fate in curable) else "curable"


def _domains(targets: set[str], cluster: TwinCluster) -> Iterator[int]:
    """Every node of the racks, leaves, feeds and zones among the targets: storage is told of by its
    zone alone. What holds one of a thousand nodes is not what such an incident is about."""
    wide = {t for t in targets if t.partition(":")[0] not in ("node", "gpu", "job")}
    for i in cluster.machines.index.values() if wide else ():
        if not wide.isdisjoint(f"{k}:{v}" for k, v in cluster.machines.word(i).domains().items()):
            yield i


def _nodes(targets: set[str], cluster: TwinCluster, from_s: float, to_s: float) -> Iterator[int]:
    """The nodes among the targets, and those that its gangs had in this time."""
    for target in sorted(targets):
        name = target_node(target)
        if name in cluster.machines.index:
            yield cluster.machines.index[name]
        gang = cluster.work.gangs.get(target.partition(":")[2])
        if target.startswith("job:") and gang is not None:
            yield from gang.stood_on(from_s, to_s)
