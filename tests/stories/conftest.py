"""Stories run the real turn, gate, executor, journal and shipped policy; only the cluster, the
clock and the crew's graph are replaced (see world.py)."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import Story


@pytest.fixture
def tell(tmp_path: Path) -> Iterator[Callable[..., Story]]:
    """Make a Story in a home of its own."""
    made: list[Story] = []

    def make(**options: object) -> Story:
        story = Story(tmp_path / f"home{len(made)}", **options)
        made.append(story)
        return story

    yield make
    for story in made:
        story.journal.close()
