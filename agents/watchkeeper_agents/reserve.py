"""How many nodes of each pool should stand ready, and do they? Asked by the planner, each turn that
thinks.

From what this cluster showed: its own repairs of the last 7 days, and how long a node is away. What
is kept for nodes that are surely broken is not spent on suspects; a pool with too few is told of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from watchkeeper.core.cluster import Node
from watchkeeper.core.crew import Briefing, Thought
from watchkeeper.core.facts import spare_nodes
from watchkeeper.core.ledger import WEEK_S
from watchkeeper.core.once import once_for
from watchkeeper.remedy.spares import DAY_S, measured, spares_for
from watchkeeper_agents.words import CrewSettings

AWAY_S = 1800.0
"""How long a broken node is away: drain, reboot or replacement, check (8 to 30 min each, ours)."""
WEEK_DAYS = WEEK_S / DAY_S


@lru_cache(maxsize=2)
def wanted(briefing: Briefing, chance: float = 0.99) -> dict[str, int]:
    """Pool -> nodes that should stand ready. Once for each briefing. A pool in which nothing was
    repaired for a week is held to need none: the bound would rest on no evidence."""
    nodes = briefing.snapshot.nodes
    size = sizes(nodes)
    failed: Counter[str] = Counter()
    for name, incidents in briefing.repaired.items():
        if name in nodes:
            failed[nodes[name].pool] += len(incidents)
    return {
        pool: spares_for(size[pool], measured(count, size[pool] * WEEK_DAYS), AWAY_S, chance)
        for pool, count in sorted(failed.items())
        if size[pool]
    }


@once_for
def sizes(nodes: dict[str, Node]) -> Counter[str]:
    """Nodes of each pool, without those of the control path."""
    return Counter(n.pool for n in nodes.values() if not n.control_path)


def shortfalls(briefing: Briefing, settings: CrewSettings) -> Iterator[Thought]:
    """One sentence for each pool with fewer free nodes than its own failures ask for."""
    ready = spare_nodes(briefing.snapshot)
    for pool, want in wanted(briefing, settings.spare_chance).items():
        have = len(ready.get(pool, frozenset()))
        if have < want:
            text = (
                f"{pool} has fewer nodes ready than its repairs of the last 7 days ask for: "
                f"{want} would cover those away at once."
            )
            yield Thought(thread=f"reserve:{pool}", text=text, by="agent:planner")
