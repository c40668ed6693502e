"""A gang's end reaches the watch seconds after its node's. It is the repair's, and no new story."""

from collections.abc import Callable

import pytest
from world import DAY, Answer, Kind, Story

from watchkeeper.core.cluster import JobState, World
from watchkeeper.twin.memory import ManualClock, MemoryCluster

Tell = Callable[..., Story]


class LateWord(MemoryCluster):
    """Tells a gang's end `late_s` after its node's; until then it shows the gang as running."""

    late_s: float = 8.0

    def _stop_gangs(self, node: str) -> None:
        ending = [n for n, j in self.jobs.items() if node in j.nodes]
        ending = [n for n in ending if self.jobs[n].state is JobState.RUNNING]
        self.ending = {n: (self.clock.steady() + self.late_s, node) for n in ending}

    def read(self):  # type: ignore[no-untyped-def]
        for name, (at, node) in list(getattr(self, "ending", {}).items()):
            if self.clock.steady() >= at:
                del self.ending[name]
                super()._stop_gangs(node)
        return super().read()


def approved(tell: Tell, late_s: float) -> Story:
    """Under the dial at ask, a person has approved the repair of a node with a gang on it."""
    plain = MemoryCluster.of(ManualClock(DAY), {"train": 8})
    cluster = LateWord(clock=plain.clock, world=World.LAB, nodes=plain.nodes)
    cluster.late_s = late_s
    story = tell(autonomy="ask", cluster=cluster)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    assert "Requeue llm" in " ".join(story.desk.asks()[0].steps)
    story.answer(Answer.APPROVE)
    return story


@pytest.mark.parametrize("late_s", [4.0, 10.0, 40.0])
def test_an_approved_requeue_is_not_lost_when_ray_tells_the_gangs_end_late(
    tell: Tell, late_s: float
) -> None:
    story = approved(tell, late_s)
    story.until(lambda: "job.requeue" in story.done(), within=400)
    story.until(story.quiet, within=100)
    assert story.cluster.jobs["llm"].attempt_id == "llm-a2"
    assert len(story.events(Kind.ASKED)) == 1, "the yes carried the requeue too"
    assert len(story.events(Kind.INCIDENT_OPENED)) == 1
    assert "own process ended" not in story.log()


def test_a_gang_that_ray_never_calls_ended_holds_the_incident_open_for_a_minute(
    tell: Tell,
) -> None:
    story = approved(tell, late_s=1e9)
    story.until(story.quiet, within=400)
    back = story.cluster.nodes["train-02"].ray_state_since
    ended = story.events(Kind.INCIDENT_CLOSED)[-1]
    assert 55.0 <= (ended.at - back).total_seconds() <= 75.0
    assert "job.requeue" not in story.done()


def test_an_end_told_after_the_incident_has_closed_opens_that_incident_again(tell: Tell) -> None:
    story = approved(tell, late_s=100.0)
    story.until(lambda: "job.requeue" in story.done(), within=600)
    story.until(story.quiet, within=100)
    assert len(story.events(Kind.INCIDENT_OPENED)) == 1
    assert len(story.events(Kind.ASKED)) == 1
    assert "own process ended" not in story.log()
