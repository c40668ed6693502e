"""A person's no to a step on a gang holds for every incident, for a while."""

from collections.abc import Callable

from world import DAY, Answer, Kind, Story

from watchkeeper.core.cluster import JobState
from watchkeeper_agents.crew import LangGraphCrew

Tell = Callable[..., Story]


def denied(tell: Tell, crew: object) -> Story:
    """A gang stopped by itself, and a person said no to its requeue."""
    story = tell(hour=DAY, autonomy="ask", pools={"train": 8}, crew=crew)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster._stop_gangs("train-02")
    story.until(lambda: story.desk.asks())
    assert story.desk.asks()[0].title == "Requeue llm?"
    story.answer(Answer.DENY)
    story.turns(5)
    return story


def test_a_no_to_a_requeue_holds_when_another_incident_would_ask_for_the_same(tell: Tell) -> None:
    story = denied(tell, LangGraphCrew)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    ask = story.desk.asks()[0]
    assert ask.title.startswith("Cordon"), ask.title
    assert not any("Requeue" in step for step in ask.steps)
    assert "Requeue llm is left out: primary said no to it at 12:0" in ask.why_now
    story.answer(Answer.APPROVE)
    story.until(story.quiet, within=300)
    assert "job.requeue" not in story.done()
    assert len(story.events(Kind.ASKED)) == 2, "nobody is asked again"
    assert story.cluster.jobs["llm"].state is JobState.STOPPED


def test_a_no_to_a_requeue_is_over_after_an_hour(tell: Tell) -> None:
    story = denied(tell, LangGraphCrew)
    story.clock.pass_s(3700.0)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    assert any("Requeue llm" in step for step in story.desk.asks()[0].steps)
