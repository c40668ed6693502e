"""A question as a person reads it: both outcomes, the cost, and the way back."""

import msgspec
import pytest
from tests.stories.world import ALICE, DAY, Answer, Story

from watchkeeper.control.asking import blast, cost, title_of, undo_text
from watchkeeper.core.action import (
    Action,
    GpuQuarantine,
    JobPlace,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeRestart,
    PoolReserve,
    PoolScale,
)
from watchkeeper.core.desk import Ask
from watchkeeper.core.proposal import Impact
from watchkeeper.core.word import digest

N = {"node": "train-02", "incarnation": "x"}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    story = Story(tmp_path_factory.mktemp("asked"), hour=DAY)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    yield story
    story.journal.close()


@pytest.fixture
def ask(story: Story) -> Ask:
    return story.desk.asks()[0]


def test_the_title_names_the_hard_steps_and_not_only_the_first(ask: Ask) -> None:
    assert ask.title == "Drain and restart train-02?"


def test_it_says_what_a_yes_does_and_costs_and_what_a_no_leaves(ask: Ask) -> None:
    assert "Work on train-02 may finish for 20 s, then its raylet is ended" in ask.if_approved
    assert "1 gang stops (llm); it repeats at most" in ask.if_approved
    assert "this question lapses" in ask.if_ignored
    assert "1 node, up to 8 GPUs, up to 1 job" in ask.blast


def test_it_names_the_rule_that_asks_by_file_and_line(ask: Ask) -> None:
    assert ask.rule
    assert ask.rule_where.startswith("policies/")
    assert ask.rule_where.rpartition(":")[2].isdigit()


def test_s14_the_digest_is_of_exactly_what_is_shown(ask: Ask) -> None:
    assert ask.digest == digest(ask.shown)


@pytest.mark.parametrize(
    ("impact", "says"),
    [
        (Impact(), ""),
        (Impact(nodes=("a",)), "No running gang stops."),
        (
            Impact(jobs=("g",), checkpoint_age_s=60.0),
            "1 gang stops (g); it repeats at most 60 s of work.",
        ),
        (
            Impact(jobs=("g", "h"), checkpoint_age_s=600.0),
            "2 gangs stop (g, h); they repeat at most 10 min of work.",
        ),
        (Impact(jobs=("g",)), "1 gang stops (g); checkpoint age unknown."),
    ],
)
def test_the_cost_in_words(impact: Impact, says: str) -> None:
    assert cost(impact) == says


def test_the_blast_radius_in_words() -> None:
    assert blast(Impact()) == "0 nodes, up to 0 GPUs, up to 0 jobs."
    grows = PoolScale(pool="train", add=1)
    assert blast(Impact(), (grows,)) == "No node goes out and nothing that runs is stopped."
    full = Impact(nodes=("a",), gpus=8, jobs=("g",), pool="train", pool_size=4, pool_out_after=2)
    assert blast(full).endswith("Makes 2 of 4 nodes out in train.")


def test_what_cannot_be_taken_back_is_said_so() -> None:
    assert undo_text(NodeCordon(**N), ()) == "Yes: node.uncordon."
    assert "cannot be taken back" in undo_text(NodeCordon(**N), (NodeDrain(**N),))
    assert undo_text(NodeRestart(**N), ()).startswith("None.")
    assert undo_text(GpuQuarantine(gpu=1, **N), ()).startswith("None.")


def test_a_single_step_is_asked_as_itself(ask: Ask) -> None:
    one = msgspec.structs.replace(
        ask.shown.proposal, action=PoolScale(pool="train", add=1), plan=()
    )
    assert title_of(one) == "Add 1 node to train?"


def test_an_answered_question_says_who_and_what(story: Story, ask: Ask) -> None:
    done = story.answer(Answer.DENY)
    assert (done.status.state, done.status.by) == ("denied", ALICE.name)
    assert story.desk.asks() == ()


AGAIN = JobRequeue(job="llm", attempt_id="a1")
PLACED = JobPlace(job="llm", attempt_id="a1", nodes=("train-01", "train-02"))


def test_starting_a_gang_tells_what_it_fills_and_not_that_it_touches_nothing() -> None:
    assert blast(Impact(pool="train"), (AGAIN,), 16.0) == (
        "Starts 16 GPUs of llm from the last checkpoint. No node goes out and nothing that runs "
        "is stopped."
    )
    assert blast(Impact(), (AGAIN,)).startswith("Starts llm from the last checkpoint.")
    assert blast(Impact(nodes=("a",)), (PLACED,), 16.0).startswith("Starts 16 GPUs of llm. ")
    assert blast(Impact(), (AGAIN, NodeCordon(**N)), 16.0).startswith("0 nodes")


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (AGAIN, "A gang that has started can be stopped"),
        (PLACED, "A gang that has started can be stopped"),
        (JobPreempt(job="llm", attempt_id="a1"), "A stopped gang can be started again"),
        (PoolReserve(pool="train", nodes=1), "`watchkeeper unreserve`"),
        (PoolScale(pool="train", add=1), "None. If it does not work you are paged."),
    ],
    ids=lambda part: type(part).__name__,
)
def test_no_way_back_speaks_of_a_fence_where_no_node_is_fenced(action: Action, says: str) -> None:
    assert undo_text(action, ()).startswith(says)
