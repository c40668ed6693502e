"""A change of the orders is tried beside a watch that works, and takes nothing up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from world import NIGHT, Story

from watchkeeper.core.errors import Malformed, Refused

Tell = Callable[..., Story]
HEAD = "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: quiet}\n"
NO_DRAINS = HEAD + "rules:\n  - {id: no-drains, effect: deny, actions: [node.drain]}\n"


def repaired(tell: Tell) -> Story:
    """A night on which a node was drained and came back."""
    story = tell(hour=NIGHT)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: "node.drain" in story.done() and story.quiet(), within=400)
    return story


def test_it_says_what_would_have_been_decided_otherwise_and_changes_nothing(tell: Tell) -> None:
    story = repaired(tell)
    before = story.watch.policies.current()
    found = story.desk.try_orders("quiet.yaml", NO_DRAINS.replace("\n", "\r\n"))
    assert (found.new, found.sound) == (True, True), found.check
    assert found.narrowed > 0
    assert found.widened == 0
    assert found.replayed == found.judged > 0
    assert "the rule no-drains denies it" in found.told
    assert story.watch.policies.current() is before


def test_a_mistake_is_told_with_its_file_and_line(tell: Tell) -> None:
    found = tell().desk.try_orders("quiet.yaml", NO_DRAINS.replace("effect", "efect"))
    assert not found.sound
    assert "quiet.yaml:5" in found.check
    assert "efect" in found.check


@pytest.mark.parametrize("file", ["../people.yaml", "quiet.sh", "quiet_test.yaml", ""])
def test_only_a_file_of_orders_has_a_name(tell: Tell, file: str) -> None:
    with pytest.raises(Malformed, match="Name the file"):
        tell().desk.try_orders(file, NO_DRAINS)


def test_one_change_is_tried_at_a_time(tell: Tell) -> None:
    desk = tell().desk
    with desk._trying._busy, pytest.raises(Refused, match="Another change is being tried"):
        desk.try_orders("quiet.yaml", NO_DRAINS)
