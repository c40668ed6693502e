"""Which faults really happen, where and when? Spec + laws -> TrueFaults in order of time.

Asked once for each run, before anything moves. Nodes differ: most fail half as often as the mean,
1.5 % are lemons, and young ones burn in. What a cure brings back is `relapse`, asked by the world
at the moment of cure; it needs no chance but the fault's own luck. Never looks at what is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from watchkeeper.twin.chance import Stream, stream, uniform
from watchkeeper.twin.topology import Fleet, build
from watchkeeper.twin.words import DAY_S, FaultLaw, Scope, TrueFault, TwinSpec

LEMON_SHARE = 0.015
"""1 to 2 % of nodes are lemons. Meta RSC found 40 in two clusters of 24,000 GPUs: 1.3 %."""
LEMON_LOW, LEMON_HIGH = 20.0, 50.0
"""A lemon fails 20 to 50 times as often as the mean. Assumed; 504 B200: 3 of 63 nodes gave over
half of the exclusions."""
SOUND_MEAN = 0.5
SOUND_SHAPE = 2.0
"""The rest: gamma with mean 0.5 and this shape (assumed), so that the mean of all stays near 1."""
YOUNG_SHARE = 0.10
"""Share of nodes in their first 30 days at the twin's beginning, evenly aged. Assumed."""
BURN_IN_DAYS = 30.0
BURN_IN = 3.0
"""Young nodes fail three times as often. Assumed."""
TRANSIENT_SIGMA = 1.0
TRANSIENT_MOST_S = 6 * 3600.0
"""Spread and bound of how long a transient fault lasts. Assumed; the median is the law's."""
RELAPSE_WITHIN_S = 7 * DAY_S
ROLLOUT_REACHED = (0.02, 0.10)
"""Share of the fleet's racks that a bad rollout reached before it was stopped. Assumed."""

_HARDWARE = (Scope.GPU, Scope.NODE)
"""What a lemon fails by. A program's bug or a rack's cooling does not care about the node."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class NodeRates:
    """How each node differs. multiplier: f8[N], of the mean rate, burn-in left out. lemon: bool[N].
    young_until_s: f8[N], end of burn-in, 0 where it is past. Its mean over nodes and over the run,
    burn-in counted, is 1: fleets of one size expect the same number of faults in every seed."""

    multiplier: Floats
    lemon: NDArray[np.bool_]
    young_until_s: Floats


def node_rates(spec: TwinSpec) -> NodeRates:
    """The nodes' differences, drawn from the seed alone."""
    n, chance = spec.nodes, stream(spec.seed, Stream.NODES)
    multiplier = chance.gamma(SOUND_SHAPE, SOUND_MEAN / SOUND_SHAPE, n)
    order = chance.permutation(n)
    lemon = np.zeros(n, np.bool_)
    lemon[order[: int(LEMON_SHARE * n + chance.random())]] = True
    multiplier[lemon] = chance.uniform(LEMON_LOW, LEMON_HIGH, n)[lemon]
    young = chance.random(n) < YOUNG_SHARE
    until = np.where(young, chance.random(n) * BURN_IN_DAYS * DAY_S, 0.0)
    share = np.minimum(until, spec.days * DAY_S) / (spec.days * DAY_S)
    multiplier /= float(np.mean(multiplier * (1.0 + (BURN_IN - 1.0) * share)))
    return NodeRates(multiplier, lemon, until)


def draw_faults(spec: TwinSpec, laws: Sequence[FaultLaw]) -> tuple[TrueFault, ...]:
    """Every fault of the run, oldest first, with ids from 0; none where `spec.faults` is off.

    Each class is drawn from a stream of its own, by its place in the table.
    """
    if not spec.faults:
        return ()
    fleet, rates = build(spec), node_rates(spec)
    drawn: list[TrueFault] = []
    for place, law in enumerate(laws):
        drawn.extend(_of_law(spec, law, place, fleet, rates))
    drawn.sort(key=lambda fault: (fault.at_s, fault.law, fault.nodes))
    return tuple(replace(fault, id=i) for i, fault in enumerate(drawn))


def relapse(
    fault: TrueFault, law: FaultLaw, cured_at_s: float, spec: TwinSpec, new_id: int
) -> TrueFault | None:
    """What a cured fault comes back as, within 7 days; None when it stays away.

    Asked by the world when a cure takes hold, or a transient fault ends. The same fault cured at
    the same time always gives the same answer, whatever else happened before it. A relapse is
    never transient: what came back once wants a cure. Not to be asked of a node that was replaced.
    """
    if law.relapse <= 0 or fault.luck >= law.relapse:
        return None
    wait_s = RELAPSE_WITHIN_S * fault.luck / law.relapse  # luck below the chance is again uniform
    first_of_all = fault.id if fault.relapse_of < 0 else fault.relapse_of
    return replace(
        fault,
        id=new_id,
        at_s=cured_at_s + wait_s,
        ends_s=float("inf"),
        first=law.shows[0],
        also=(),
        blames=-1,
        relapse_of=first_of_all,
        luck=uniform(spec.seed, Stream.RELAPSE, first_of_all, int(fault.luck * 2**32)),
    )


def _of_law(
    spec: TwinSpec, law: FaultLaw, place: int, fleet: Fleet, rates: NodeRates
) -> list[TrueFault]:
    chance = stream(spec.seed, Stream.FAULTS, place)
    mean = law.rate_per_node_day * spec.acceleration * spec.nodes * spec.days
    count = int(chance.poisson(mean))
    if not count:
        return []
    node, at_s = _where_and_when(chance, count, law, spec, rates)
    lasts_s = np.minimum(
        law.transient_s * np.exp(TRANSIENT_SIGMA * chance.standard_normal(count)), TRANSIENT_MOST_S
    )
    ends_s = np.where(chance.random(count) < law.transient, at_s + lasts_s, np.inf)
    misled = chance.random(count) < law.misleads
    misleading = chance.integers(0, max(1, len(law.misleading)), count)
    with_another = chance.random(count) < law.co_chance
    another = chance.integers(0, max(1, len(law.co_shows)), count)
    gpu = chance.integers(0, spec.gpus_per_node, count)
    innocent = chance.integers(1, max(2, spec.gpus_per_node), count)
    luck, reach = chance.random(count), chance.random(count)
    found = []
    for i in range(count):
        first = law.misleading[misleading[i]] if misled[i] else law.shows[0]
        blames = bool(misled[i]) and first in law.shows and spec.gpus_per_node > 1
        found.append(
            TrueFault(
                id=0,
                law=law.name,
                at_s=float(at_s[i]),
                nodes=_touched(law, int(node[i]), float(reach[i]), fleet),
                gpu=int(gpu[i]) if law.scope is Scope.GPU else -1,
                ends_s=float(ends_s[i]),
                first=first,
                also=(law.co_shows[another[i]],) if with_another[i] else (),
                blames=int(gpu[i] + innocent[i]) % spec.gpus_per_node if blames else -1,
                luck=float(luck[i]),
            )
        )
    return found


def _where_and_when(
    chance: np.random.Generator, count: int, law: FaultLaw, spec: TwinSpec, rates: NodeRates
) -> tuple[Ints, Floats]:
    """Nodes and times; hardware by the nodes' rates and burn-in, all else evenly."""
    run_s = spec.days * DAY_S
    where, when = chance.random(count), chance.random(count)
    if law.scope not in _HARDWARE:
        return (where * spec.nodes).astype(np.int64), when * run_s
    young_s = np.minimum(rates.young_until_s, run_s)
    weight = np.cumsum(rates.multiplier * (run_s + (BURN_IN - 1.0) * young_s))
    node = np.searchsorted(weight, where * weight[-1], side="right")
    # Time runs three times as dense while the node is young.
    young = young_s[node]
    dense = when * (run_s + (BURN_IN - 1.0) * young)
    at_s = np.where(dense < BURN_IN * young, dense / BURN_IN, dense - (BURN_IN - 1.0) * young)
    return node.astype(np.int64), at_s


def _touched(law: FaultLaw, node: int, reach: float, fleet: Fleet) -> tuple[int, ...]:
    """The node alone, or all of its domain. A rollout goes rack by rack, from this one's on."""
    if law.scope in (Scope.GPU, Scope.NODE, Scope.JOB):
        return (node,)
    if law.scope is not Scope.FLEET:
        return fleet.members(law.scope, int(fleet.group(law.scope)[node]))
    low, high = ROLLOUT_REACHED
    racks = len(fleet.racks)
    reached = max(1, round(racks * (low + (high - low) * reach)))
    after = (fleet.rack - int(fleet.rack[node])) % racks
    return tuple(np.flatnonzero(after < reached).tolist())
