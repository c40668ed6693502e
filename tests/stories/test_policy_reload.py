"""A changed policy: taken up in one piece when it is good, kept out and told when it is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from world import Story

from watchkeeper.core.errors import PolicyError

Tell = Callable[..., Story]

ORDERS = "policies/always.yaml"
HEAD = "apiVersion: watchkeeper/v1\nkind: PolicyTest\nmetadata: {name: t}\nat: 2026-03-18T02:30Z\n"
TRUE = HEAD + (
    "tests:\n"
    "  - name: a dead node is brought back\n"
    "    given: {proposal: {action: node.restart}, node: {ray_state: dead, process_gone: true}}\n"
    "    expect: {verdict: allow}\n"
)
FALSE = TRUE.replace("verdict: allow", "verdict: deny")


@pytest.fixture
def story(tell: Tell) -> Story:
    story = tell()
    story.turns(2)
    return story


def change(story: Story, old: str, new: str) -> None:
    text = story.policy_files[ORDERS]
    assert old in text
    story.policy_files = {**story.policy_files, ORDERS: text.replace(old, new)}


def test_a_good_change_is_taken_up_and_told(story: Story) -> None:
    before = story.record.books.policy_version
    change(story, "rate: {count: 6, per: 1h}", "rate: {count: 5, per: 1h}")
    story.turns(2)
    assert story.record.books.policy_version != before
    assert f"Policy {story.record.books.policy_version} is in force" in story.log()


def test_a_change_is_left_alone_until_it_has_been_still_for_a_look(story: Story) -> None:
    before = story.record.books.policy_version
    change(story, "kind: Policy", "kind: Poli")  # an editor in the middle of writing
    story.turns(1)
    change(story, "kind: Poli\n", "kind: Policy\n")
    story.turns(3)
    assert story.record.books.policy_version == before
    assert not story.record.books.policy_error
    assert not story.paged("policy does not load")


def test_a_change_that_fails_its_own_tests_is_kept_out_with_the_reason(story: Story) -> None:
    before = story.record.books.policy_version
    story.policy_tests = {"policies/always_test.yaml": FALSE}
    change(story, "rate: {count: 6, per: 1h}", "rate: {count: 5, per: 1h}")
    story.turns(2)
    assert story.record.books.policy_version == before
    assert "verdict should be deny, is allow" in story.record.books.policy_error
    assert "policies/always_test.yaml:6" in story.record.books.policy_error
    assert story.paged("policy does not load")
    assert story.desk.board().policy_error
    assert story.desk.metrics()["policy_load_ok"] == 0


def test_a_change_that_passes_its_own_tests_is_taken_up(story: Story) -> None:
    before = story.record.books.policy_version
    story.policy_tests = {"policies/always_test.yaml": TRUE}
    change(story, "rate: {count: 6, per: 1h}", "rate: {count: 5, per: 1h}")
    story.turns(2)
    assert story.record.books.policy_version != before


def test_the_alarm_ends_when_the_good_files_are_back(story: Story) -> None:
    good = story.policy_files
    change(story, "kind: Policy", "kind: Poli")
    story.turns(2)
    assert story.record.books.policy_error
    story.policy_files = good
    story.turns(2)
    assert not story.record.books.policy_error
    assert story.desk.metrics()["policy_load_ok"] == 1


def test_a_watch_started_again_on_a_broken_folder_goes_on_with_its_last_good_set(
    story: Story,
) -> None:
    before = story.record.books.policy_version
    change(story, "kind: Policy", "kind: Poli")
    story.crash_and_start()
    story.turns(2)
    assert story.record.books.policy_version == before
    assert story.record.books.policy_error
    story.cluster.lose("train-02")
    story.until(lambda: story.done() and story.quiet())


def test_a_first_watch_never_starts_on_a_broken_folder(tell: Tell, story: Story) -> None:
    broken = {**story.policy_files, ORDERS: "kind: Poli\n"}
    with pytest.raises(PolicyError):
        tell(policies=broken)
