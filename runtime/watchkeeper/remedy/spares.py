"""How many nodes must stand ready? From measured failure rates; pure arithmetic with units.

Nodes fail as a Poisson process and are away for a repair time; by Little's law the number away at
once has mean rate x time, and is Poisson whatever the law of the repair times (Palm's theorem).
The spares that cover it with a given chance are its quantile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from math import exp, lgamma, log, sqrt

from watchkeeper.core.cluster import Node
from watchkeeper.core.facts import spare_nodes
from watchkeeper.core.ledger import WEEK_S
from watchkeeper.core.once import once_for
from watchkeeper.core.telemetry import Snapshot

DAY_S = 86400.0
AWAY_S = 1800.0
"""How long a broken node is away: drain, reboot or replacement, check (8 to 30 min each, ours)."""
SMALL_POOL = 20
"""Fewer nodes than this keep no spare against their gangs: one node would be too large a share."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Failures per node and day, as measured. upper: its one-sided 95 % bound, by Wilson and
    Hilferty's approximation of the exact (chi-squared) one: few failures seen prove little."""

    per_node_day: float
    upper: float


def measured(failures: int, node_days: float) -> Rate:
    """Raises ValueError where nothing was measured."""
    if node_days <= 0 or failures < 0:
        raise ValueError("a rate needs node-days above 0 and failures of 0 or more")
    n = failures + 1
    # Half of the 95 % quantile of chi-squared with 2n degrees of freedom.
    bound = n * (1 - 1 / (9 * n) + 1.6449 / (3 * sqrt(n))) ** 3
    return Rate(failures / node_days, bound / node_days)


def away(nodes: int, per_node_day: float, repair_s: float) -> float:
    """Mean number of nodes away at once. repair_s: mean seconds from failure to service."""
    return nodes * per_node_day * repair_s / DAY_S


def poisson_quantile(mean: float, chance: float) -> int:
    """The smallest k with P(X <= k) >= chance. Raises ValueError outside 0 < chance < 1."""
    if not 0.0 < chance < 1.0 or not 0.0 <= mean < 1e6:
        raise ValueError("chance must lie between 0 and 1, and the mean between 0 and a million")
    if mean == 0.0:
        return 0
    total, k = 0.0, max(0, int(mean - 12 * sqrt(mean)) - 1)
    while True:
        total += exp(k * log(mean) - mean - lgamma(k + 1))
        if total >= chance or k > mean + 40 * sqrt(mean) + 40:
            return k
        k += 1


def spares_for(
    nodes: int,
    rate: Rate,
    repair_s: float,
    chance: float = 0.99,
    *,
    largest_domain: int = 0,
    careful: bool = True,
) -> int:
    """Nodes to hold ready so that, with this chance, every node away has a stand-in.

    careful: count with the rate's upper bound. largest_domain: nodes of the largest rack or switch,
    where one such loss must be covered as well (they fail together, which Poisson does not know).
    """
    mean = away(nodes, rate.upper if careful else rate.per_node_day, repair_s)
    return max(poisson_quantile(mean, chance), largest_domain)


@once_for
def sizes(nodes: dict[str, Node]) -> Counter[str]:
    """Nodes of each pool, without those of the control path."""
    return Counter(n.pool for n in nodes.values() if not n.control_path)


def wanted(
    nodes: dict[str, Node], repaired: Mapping[str, Sized], chance: float = 0.99
) -> dict[str, int]:
    """Pool -> nodes that should stand ready. repaired: node -> its repairs of the last 7 days. A
    pool in which nothing was repaired is held to need none: the bound would rest on no evidence."""
    size = sizes(nodes)
    failed: Counter[str] = Counter()
    for name, incidents in repaired.items():
        if name in nodes:
            failed[nodes[name].pool] += len(incidents)
    return {
        pool: spares_for(size[pool], measured(count, size[pool] * WEEK_S / DAY_S), AWAY_S, chance)
        for pool, count in sorted(failed.items())
        if size[pool]
    }


def kept_back(
    snapshot: Snapshot, repaired: Mapping[str, Sized], suspects: Iterable[str]
) -> frozenset[str]:
    """Free nodes that gangs leave alone, because repairs may ask for them: in large pools, as many
    as should stand ready."""
    found: list[str] = []
    size, doubted = sizes(snapshot.nodes), frozenset(suspects)
    for pool, want in wanted(snapshot.nodes, repaired).items():
        if want and size[pool] >= SMALL_POOL:
            ready = spare_nodes(snapshot).get(pool, frozenset())
            found += sorted(ready - doubted)[-want:]
    return frozenset(found)
