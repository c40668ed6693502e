"""How many nodes of each pool should stand ready, and do they? Asked by the planner, each turn that
thinks.

From what this cluster showed: its own repairs of the last 7 days, and how long a node is away. What
is kept for nodes that are surely broken is not spent on suspects; a pool with too few is told of.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from watchkeeper.core.crew import Briefing, Thought
from watchkeeper.core.facts import spare_nodes
from watchkeeper.remedy import spares
from watchkeeper_agents.words import CrewSettings


@lru_cache(maxsize=2)
def wanted(briefing: Briefing, chance: float = 0.99) -> dict[str, int]:
    """Pool -> nodes that should stand ready. Once for each briefing. A pool in which nothing was
    repaired for a week is held to need none: the bound would rest on no evidence."""
    return spares.wanted(briefing.snapshot.nodes, briefing.repaired, chance)


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
