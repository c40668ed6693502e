"""What refused a step is gone: a hold was released, orders or dial were changed. It is asked again
at the next turn, and not after the wait of a refusal that nothing has changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from world import ALICE, BEN, Kind, Story

from watchkeeper.core.action import kind_of
from watchkeeper.core.verdict import Autonomy
from watchkeeper_agents.crew import LangGraphCrew

Tell = Callable[..., Story]
HEAD = "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: open}\n"
OPEN = HEAD + "people: {oncall: [primary, secondary]}\nrules:\n"
OPEN += '  - {id: all-may-be-done, effect: allow, actions: ["*"]}\n'
FROZEN = OPEN + "  - {id: freeze, effect: deny, actions: [node.cordon, node.drain, job.preempt]}\n"


def refused(tell: Tell, **more: object) -> Story:
    story = tell(crew=LangGraphCrew, **more)
    story.turns(2)
    return story


def no(story: Story) -> None:
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: any(f.state.value == "denied" for f in story.files()))
    story.turns(20)
    assert "node.cordon" not in story.done()
    assert len([f for f in story.files() if kind_of(f.action) == "node.cordon"]) <= 1


def test_a_step_that_a_hold_refused_is_asked_again_at_the_turn_after_its_release(
    tell: Tell,
) -> None:
    story = refused(tell, policies={"policies/open.yaml": OPEN})
    hold = story.desk.hold(BEN, ["node:train-02"], story.clock.now() + timedelta(hours=6))
    no(story)
    story.desk.release(ALICE, hold.id)
    story.turns(1)
    assert story.done() == ["node.cordon"]


def test_so_it_is_when_the_hold_ran_out_and_the_watch_was_started_anew_meanwhile(
    tell: Tell,
) -> None:
    story = refused(tell, policies={"policies/open.yaml": OPEN})
    story.desk.hold(BEN, ["node:train-02"], story.clock.now() + timedelta(seconds=120))
    no(story)
    story.crash_and_start()
    story.clock.pass_s(121.0)
    story.turns(2)
    assert "node.cordon" in story.done()


def test_one_hold_of_two_that_bear_on_it_is_released_and_the_other_still_refuses(
    tell: Tell,
) -> None:
    story = refused(tell, policies={"policies/open.yaml": OPEN})
    until = story.clock.now() + timedelta(hours=6)
    first = story.desk.hold(BEN, ["node:train-02"], until)
    story.desk.hold(BEN, ["fleet"], until)
    no(story)
    story.desk.release(ALICE, first.id)
    story.turns(20)
    assert "node.cordon" not in story.done()
    assert len([f for f in story.files() if kind_of(f.action) == "node.cordon"]) == 2


def test_a_new_hold_elsewhere_is_no_reason_to_ask_again(tell: Tell) -> None:
    story = refused(tell, policies={"policies/open.yaml": OPEN})
    until = story.clock.now() + timedelta(hours=6)
    story.desk.hold(BEN, ["node:train-02"], until)
    no(story)
    verdicts = len(story.events(Kind.VERDICT))
    story.desk.hold(BEN, ["node:train-04"], until)
    story.turns(20)
    assert len(story.events(Kind.VERDICT)) == verdicts


def test_a_step_that_the_dial_refused_is_asked_again_when_it_is_turned_up(tell: Tell) -> None:
    story = refused(tell, policies={"policies/open.yaml": OPEN})
    story.desk.set_autonomy(ALICE, Autonomy.OBSERVE)
    no(story)
    story.desk.set_autonomy(ALICE, Autonomy.AUTO)
    story.turns(1)
    assert story.done() == ["node.cordon"]


def test_a_step_that_the_orders_refused_is_asked_again_when_they_are_changed(
    tell: Tell,
) -> None:
    story = refused(tell, policies={"policies/open.yaml": FROZEN})
    no(story)
    story.policy_files = {"policies/open.yaml": OPEN}
    story.turns(2)  # a changed file is taken up when it has been still for a look
    assert story.done() == ["node.cordon"]
