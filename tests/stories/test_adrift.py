"""What was left half done is looked at again: a drain that ended badly while its node still drains,
a step on which nothing follows, a GPU that was reset where nobody could see it."""

from collections.abc import Callable

import pytest
from world import ALICE, LadderCrew, Story

from watchkeeper.control.adrift import LEFT_S, STILL_DRAINS_S
from watchkeeper.control.life import State
from watchkeeper.core.action import NodeDrain
from watchkeeper.core.cluster import RayState
from watchkeeper.core.crew import Briefing, CrewReply
from watchkeeper.core.errors import EffectFailed, EffectInDoubt
from watchkeeper.core.event import Kind

Tell = Callable[..., Story]
NODE = "train-02"


def draining(tell: Tell) -> Story:
    """By night a GPU falls off the bus under a gang; its node is fenced, and drains."""
    story = tell(pools={"train": 8})
    story.cluster.run("llm", ("train-01", NODE))
    story.turns(2)
    story.cluster.xid(NODE, 3, 79)
    story.until(lambda: story.cluster.nodes[NODE].ray_state is RayState.DRAINING)
    return story


def drain_of(story: Story) -> State:
    return next(f.state for f in story.files() if isinstance(f.action, NodeDrain))


def back(story: Story) -> bool:
    node = story.cluster.nodes[NODE]
    return node.ray_state is RayState.ALIVE and NODE not in story.cluster.fences


def refuse_force(
    story: Story, err: Exception, while_: Callable[[], bool] = lambda: True
) -> list[int]:
    """The provider cannot end the raylet, as long as this holds."""
    real, tries = story.cluster.enforce, [0]

    def enforce(order: object) -> object:
        tries[0] += 1
        if while_():
            raise err
        return real(order)  # type: ignore[arg-type]

    story.cluster.enforce = enforce  # type: ignore[method-assign, assignment]
    return tries


@pytest.mark.parametrize(
    ("err", "ends"),
    [
        (EffectFailed("the host does not answer"), State.FAILED),
        (EffectInDoubt("no word from the host"), State.FAILED),
    ],
    ids=["it fails", "it is in doubt"],
)
def test_s18_a_drain_that_ended_badly_is_ended_after_all_and_the_repair_goes_on(
    tell: Tell, err: Exception, ends: State
) -> None:
    story = draining(tell)
    tries = refuse_force(story, err, while_=lambda: drain_of(story) is not ends)
    story.until(lambda: drain_of(story) is ends, within=400, every_s=10.0)
    before = tries[0]
    story.until(lambda: back(story) and story.quiet(), within=600, every_s=5.0)
    assert tries[0] == before + 1, "asked until it was done, and then no more"
    assert story.done().count("node.drain") == 1, "the drain itself is never repeated"


def test_a_drain_that_never_ends_calls_a_person_in_bounded_time(tell: Tell) -> None:
    story = draining(tell)
    tries = refuse_force(story, EffectFailed("the host does not answer"))
    story.until(lambda: drain_of(story) is State.FAILED, within=400)
    began = story.clock.steady()
    story.until(lambda: story.paged("still drains"), within=200, every_s=5.0)
    assert story.clock.steady() - began <= STILL_DRAINS_S + 10.0
    assert story.paged("goes on trying")
    before = tries[0]
    story.turns(100, every_s=10.0)
    assert 2 <= tries[0] - before <= 12, "it goes on, and does not hammer"
    assert len([k for k, _, _ in story.notifier.pages if k.startswith("drains:")]) == 1


@pytest.mark.parametrize("how", ["stopped", "halted", "the gate", "observe"])
def test_s4_s9_s21_what_forbids_acting_forbids_ending_it_too_and_the_page_says_so(
    tell: Tell, how: str
) -> None:
    story = draining(tell)
    match how:
        case "stopped":
            story.desk.stop(ALICE, "let me look")
        case "halted":
            story.record.write(Kind.HALTED, why="too many are ill", durable=True)
        case "the gate":
            story.record.write(Kind.GATE_CLOSED, action="node.drain", why="worse", durable=True)
        case _:
            story.record.write(Kind.AUTONOMY, by="primary", level="observe", durable=True)
    tries = refuse_force(story, EffectFailed("never asked"), while_=lambda: False)
    story.until(lambda: story.paged("cannot end it"), within=300, every_s=5.0)
    assert drain_of(story) is State.FAILED
    assert tries[0] == 0
    assert story.cluster.nodes[NODE].ray_state is RayState.DRAINING
    if how == "observe":
        story.record.write(Kind.AUTONOMY, by="primary", level="auto", durable=True)
    else:
        story.desk.resume(ALICE, "go on")
    story.until(lambda: back(story), within=400, every_s=5.0)
    assert tries[0] == 1


def test_s18_after_a_crash_the_books_know_it_still_and_end_it(tell: Tell) -> None:
    story = draining(tell)
    refuse_force(
        story,
        EffectFailed("the host does not answer"),
        while_=lambda: drain_of(story) is not State.FAILED,
    )
    story.until(lambda: drain_of(story) is State.FAILED, within=400)
    story.crash_and_start()
    story.until(lambda: back(story), within=400, every_s=5.0)
    assert story.done().count("node.drain") == 1


def test_another_life_of_the_node_is_left_alone(tell: Tell) -> None:
    """Somebody else began another drain of another raylet: that is not ours to end."""
    story = draining(tell)
    tries = refuse_force(story, EffectFailed("no"))
    story.until(lambda: drain_of(story) is State.FAILED, within=400)
    story.cluster._change(NODE, incarnation="somebody-elses")
    story.turns(60, every_s=10.0)
    assert tries[0] == 1


class GivesUp(LadderCrew):
    """Climbs as always, and says nothing more once a step has failed."""

    def ask(self, briefing: Briefing) -> CrewReply:
        reply = super().ask(briefing)
        failed = {r.thread for rs in self.heard.values() for r in rs if r.value == "failed"}
        return CrewReply(
            drafts=tuple(d for d in reply.drafts if d.thread not in failed),
            conclusions=tuple(c for c in reply.conclusions if c.thread not in failed),
        )


def test_an_incident_on_whose_failed_step_nothing_follows_calls_a_person_once(
    tell: Tell,
) -> None:
    story = tell(pools={"train": 8}, crew=GivesUp)
    story.turns(2)
    story.cluster.before_effect = _fails
    story.cluster.lose(NODE)
    story.until(lambda: any(f.state is State.FAILED for f in story.files()), within=400)
    began = story.clock.steady()
    story.until(lambda: story.paged("nothing follows"), within=400, every_s=5.0)
    assert story.clock.steady() - began <= LEFT_S + 30.0
    story.turns(300, every_s=10.0)
    assert len([k for k, _, _ in story.notifier.pages if k.startswith("left:")]) == 1
    assert story.record.books.open_incidents(), "it stays open: the world may change"


def _fails(_order: object) -> None:
    raise EffectFailed("the provider is broken")
