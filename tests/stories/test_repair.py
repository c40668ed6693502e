"""A night and a day at the watch: what is repaired alone, what is asked, what an answer does."""

from collections.abc import Callable

import pytest
from world import ALICE, BEN, DAY, NIGHT, Answer, Kind, Story

from watchkeeper.core.cluster import JobState
from watchkeeper.core.errors import Refused

Tell = Callable[..., Story]
REPAIR = ["node.cordon", "node.drain", "node.restart", "check.run", "node.uncordon"]


@pytest.mark.parametrize("hour", [NIGHT, DAY], ids=["by night", "by day"])
def test_a_dead_node_is_brought_back_alone_at_any_hour(tell: Tell, hour: object) -> None:
    story = tell(hour=hour)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.lose("train-02")
    story.until(lambda: story.done() and story.quiet() and "job.requeue" in story.done())
    assert story.done() == ["node.restart", "check.run", "node.uncordon", "job.requeue"]
    assert story.cluster.jobs["llm"].state is JobState.RUNNING
    assert (story.cluster.jobs["llm"].step or 0) > 100, "it goes on from its checkpoint"
    assert not story.events(Kind.ANSWERED), "nobody was asked"


def test_every_verdict_names_its_rule_by_file_and_line(tell: Tell) -> None:
    story = tell()
    story.cluster.lose("train-02")
    story.until(lambda: story.done() and story.quiet())
    verdicts = [e.data["verdict"] for e in story.events(Kind.VERDICT)]
    assert verdicts
    for verdict in verdicts:
        assert any(r["where"].startswith("policies/always.yaml:") for r in verdict["reasons"])


def test_by_night_a_gpu_off_the_bus_is_repaired_alone(tell: Tell) -> None:
    story = tell(hour=NIGHT)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.done() and story.quiet())
    assert [kind for kind in story.done() if kind in REPAIR] == REPAIR
    assert not story.desk.asks()


def asked_by_day(tell: Tell) -> Story:
    """A GPU left the bus of a node that works, by day: the fence stands, and the rest is asked."""
    story = tell(hour=DAY)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    assert story.done() == ["node.cordon"], "what stops work waits for the answer"
    return story


def test_by_day_one_approval_carries_the_whole_plan_that_was_shown(tell: Tell) -> None:
    story = asked_by_day(tell)
    ask = story.desk.asks()[0]
    assert ask.title == "Drain and restart train-02?"
    assert ask.shown.impact.jobs == ("llm",)
    story.answer(Answer.APPROVE)
    story.until(lambda: story.quiet(), within=200)
    assert [kind for kind in story.done() if kind in REPAIR] == REPAIR
    assert len(story.events(Kind.ASKED)) == 1


def test_a_denial_is_final_for_the_incident_and_does_nothing(tell: Tell) -> None:
    story = asked_by_day(tell)
    story.answer(Answer.DENY)
    story.turns(30)
    assert story.done() == ["node.cordon"]
    assert story.desk.asks() == ()


def test_not_now_is_no_denial(tell: Tell) -> None:
    story = asked_by_day(tell)
    ident = story.desk.asks()[0].id
    story.answer(Answer.NOT_NOW)
    shown = story.desk.ask(ident)
    assert shown is not None
    assert shown.status.state == "not_now"
    assert story.done() == ["node.cordon"]


def test_an_unanswered_question_lapses_and_pages(tell: Tell) -> None:
    story = asked_by_day(tell)
    story.turns(250, every_s=30.0)
    assert story.events(Kind.APPROVAL_EXPIRED)
    assert story.paged("Nobody answered")
    assert story.done() == ["node.cordon"]


def test_the_same_answer_twice_is_one_answer_and_another_is_refused(tell: Tell) -> None:
    story = asked_by_day(tell)
    ask = story.desk.asks()[0]
    for _ in range(3):
        story.desk.answer(ask.id, Answer.APPROVE, ALICE, digest=ask.digest, nonce=ask.nonce)
    assert len(story.events(Kind.ANSWERED)) == 1
    with pytest.raises(Refused, match="Already decided by primary"):
        story.desk.answer(ask.id, Answer.DENY, BEN, digest=ask.digest, nonce=ask.nonce)


def test_the_dial_at_ask_turns_an_allowed_repair_into_a_question(tell: Tell) -> None:
    story = tell(autonomy="ask")
    story.cluster.lose("train-02")
    story.until(lambda: story.desk.asks())
    assert story.done() == []


def test_under_the_dial_at_ask_one_yes_carries_the_whole_repair(tell: Tell) -> None:
    story = tell(autonomy="ask", pools={"train": 8})
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    story.answer(Answer.APPROVE)
    story.until(lambda: "node.uncordon" in story.done(), within=400)
    assert len(story.events(Kind.ASKED)) == 1
    ends = [e.data["result"] for e in story.events(Kind.EFFECT_FINISHED)]
    assert set(ends) == {"recovered"}, "no step was turned back"


def test_the_dial_at_observe_executes_nothing_and_says_what_it_would_do(tell: Tell) -> None:
    story = tell(autonomy="observe")
    story.cluster.lose("train-02")
    story.turns(20)
    assert story.done() == []
    assert "Restart train-02" in story.log()


def test_a_broken_policy_change_keeps_the_last_good_set_and_pages(tell: Tell) -> None:
    story = tell()
    story.turns(2)
    version = story.record.books.policy_version
    story.policy_files = {**story.policy_files, "policies/new.yaml": "kind: Polcy\n"}
    story.turns(2)
    assert story.record.books.policy_version == version
    assert story.paged("policy does not load")
    story.cluster.lose("train-02")
    story.until(lambda: story.done() and story.quiet())
