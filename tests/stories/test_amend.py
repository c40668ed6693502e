"""A person changes what is asked: less keeps its requester, anything else becomes their own request
that another person approves; and policy judges both before anything is asked."""

from __future__ import annotations

from collections.abc import Callable
from threading import Timer

import msgspec
import pytest
from world import ALICE, ASKING, BEN, DAY, Answer, Kind, Story

from watchkeeper.control.amend import Request, amend
from watchkeeper.core.action import Action, NodeDrain, kind_of
from watchkeeper.core.amend import ARGUMENTS, FIXED, fields_of
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Malformed, Refused
from watchkeeper_agents.crew import LangGraphCrew

Tell = Callable[..., Story]
REPAIR = ["node.cordon", "node.drain", "node.restart", "check.run", "node.uncordon"]


def asked(story: Story) -> str:
    """A GPU falls off the bus; the question's id."""
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    return story.desk.asks()[0].id


def drain_field(story: Story, ident: str) -> str:
    ask = story.desk.ask(ident)
    assert ask is not None
    return next(f.name for f in fields_of(ask.shown.proposal) if f.name.endswith(".deadline_s"))


def change(story: Story, ident: str, given: dict[str, str], person: Person = ALICE) -> Request:
    """Preview, ask for it, and let the turn take it."""
    seen = story.desk.preview(ident, given, person)
    request = amend(story.watch, ident, given, person, seen.digest)
    story.turns(1)
    return request


def test_every_argument_of_every_action_is_a_field_or_a_target_that_is_never_typed() -> None:
    for kind in msgspec.inspect.type_info(Action).types:  # type: ignore[attr-defined]
        for field in kind.fields:
            known = (str(kind.tag), field.name) in ARGUMENTS
            place = (str(kind.tag), field.name) == ("job.place", "nodes")
            assert known or place or field.name in FIXED, f"{kind.tag} has {field.name}"


@pytest.mark.parametrize("crew", [None, LangGraphCrew], ids=["ladders", "the real crew"])
def test_more_time_to_finish_work_is_less_so_the_same_request_is_asked_and_its_author_may_approve(
    tell: Tell, crew: object
) -> None:
    story = tell(hour=DAY, policies=ASKING, crew=crew)
    ident = asked(story)
    given = {drain_field(story, ident): "120"}
    seen = story.desk.preview(ident, given, ALICE)
    assert seen.narrows
    assert "You may approve it" in seen.says
    assert any("within 120 s" in step for step in seen.steps)
    request = change(story, ident, given)
    old, new = story.desk.ask(ident), story.desk.ask(request.made)
    assert old is not None
    assert new is not None
    assert old.status.state == "void"
    assert f"{request.made} is asked instead" in old.status.text
    assert new.shown.proposal.by == old.shown.proposal.by
    story.answer(Answer.APPROVE, ALICE)
    story.until(lambda: story.quiet())
    assert [kind for kind in story.done() if kind in REPAIR] == REPAIR
    drains = [o.action for o in story.cluster.effects if isinstance(o.action, NodeDrain)]
    assert [d.deadline_s for d in drains] == [120.0], (
        "the time that was approved, not the crew's own"
    )


def test_less_time_to_finish_work_is_not_less_so_its_author_may_not_approve_it(tell: Tell) -> None:
    story = tell(hour=DAY, policies=ASKING)
    ident = asked(story)
    given = {drain_field(story, ident): "5"}
    seen = story.desk.preview(ident, given, ALICE)
    assert not seen.narrows
    assert "another person of oncall must" in seen.says
    request = change(story, ident, given)
    with pytest.raises(Refused, match="S15"):
        story.answer(Answer.APPROVE, ALICE)
    story.answer(Answer.APPROVE, BEN)
    assert story.desk.ask(request.made).status.state == "approved"  # type: ignore[union-attr]


def test_a_plan_cut_short_consents_to_no_step_beyond_it(tell: Tell) -> None:
    story = tell(hour=DAY, policies=ASKING)
    ident = asked(story)
    change(story, ident, {"steps": "1"})
    story.answer(Answer.APPROVE, ALICE)
    story.until(lambda: story.done() and story.desk.asks())
    assert story.done() == ["node.cordon"]
    assert kind_of(story.desk.asks()[0].shown.proposal.action) == "node.drain"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("node", "train-01", "no argument that can be changed"),
        ("0.node", "train-01", "no argument that can be changed"),
        ("steps", "0", "from 1 to"),
        ("steps", "9", "from 1 to"),
        ("drain", "nan", "from 0 to 86400"),
        ("drain", "-1", "from 0 to 86400"),
        ("drain", "20", "Nothing is changed"),
        ("drain", "1e999999999999999999999", "from 0 to 86400"),
    ],
)
def test_what_the_schema_does_not_take_is_refused_with_what_it_would_take(
    tell: Tell, field: str, value: str, says: str
) -> None:
    story = tell(hour=DAY, policies=ASKING)
    ident = asked(story)
    name = drain_field(story, ident) if field == "drain" else field
    with pytest.raises(Malformed, match=says):
        story.desk.preview(ident, {name: value}, ALICE)


def test_what_policy_refuses_cannot_be_asked(tell: Tell) -> None:
    hard = (
        "  - {id: no-short-drain, effect: deny, actions: [node.cordon],\n"
        '     when: proposal.by == "person:primary", reason: "Nobody hurries a drain."}\n'
    )
    rules = ASKING["policies/asking.yaml"] + hard
    story = tell(hour=DAY, policies=ASKING | {"policies/asking.yaml": rules})
    ident = asked(story)
    given = {drain_field(story, ident): "5"}
    seen = story.desk.preview(ident, given, ALICE)
    assert seen.verdict.decision.value == "deny"
    with pytest.raises(Refused, match="Policy refuses this"):
        amend(story.watch, ident, given, ALICE, seen.digest)
    assert story.desk.ask(ident).status.state == "waiting"  # type: ignore[union-attr]


def test_another_preview_than_the_one_shown_and_a_question_that_was_decided_change_nothing(
    tell: Tell,
) -> None:
    story = tell(hour=DAY, policies=ASKING)
    ident = asked(story)
    given = {drain_field(story, ident): "120"}
    seen = story.desk.preview(ident, given, ALICE)
    with pytest.raises(Refused, match="Read it again"):
        amend(story.watch, ident, {drain_field(story, ident): "90"}, ALICE, seen.digest)
    request = amend(story.watch, ident, given, ALICE, seen.digest)
    story.answer(Answer.DENY, BEN)
    story.turns(1)
    assert request.made == ""
    assert "Already decided by secondary at" in request.refused
    assert len(story.events(Kind.WITHDRAWN)) == 0


def test_s15_an_agent_changes_no_question(tell: Tell) -> None:
    story = tell(hour=DAY, policies=ASKING)
    ident = asked(story)
    agent = Person(name="agent:remediation", groups=("oncall",))
    with pytest.raises(Refused, match="S15"):
        amend(story.watch, ident, {"steps": "1"}, agent, "")


def test_the_desk_waits_for_the_turn_and_names_the_new_question(tell: Tell) -> None:
    story = tell(hour=DAY, policies=ASKING)
    ident = asked(story)
    seen = story.desk.preview(ident, {"steps": "1"}, ALICE)
    turn = Timer(0.0, lambda: story.until(lambda: not story.watch.amendments))
    story.desk._wake = turn.start  # a request wakes the turn
    made = story.desk.amend(ident, {"steps": "1"}, ALICE, shown=seen.digest)
    turn.join()
    assert story.desk.ask(made).steps == ("Cordon train-02",)  # type: ignore[union-attr]
