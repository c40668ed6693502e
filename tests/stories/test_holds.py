"""What a person asks to be left alone is left alone: at once, over a restart, at the verdict and
at the effect, until its time or a person ends it. It takes back what can be, and grants nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from world import ALICE, BEN, DAY, Answer, Kind, Story

from watchkeeper.app.door_calls import calls
from watchkeeper.app.print_tables import status_table
from watchkeeper.core.action import kind_of, traits_of
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Refused
from watchkeeper.core.word import plain
from watchkeeper_agents.crew import LangGraphCrew

Tell = Callable[..., Story]
OPEN = {
    "policies/open.yaml": "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: open}\n"
    "people: {oncall: [primary, secondary], break-glass: [primary]}\nrules:\n"
    '  - {id: all-may-be-done, effect: allow, actions: ["*"]}\n'
}
HOURS = timedelta(hours=6)


def held(story: Story, *what: str, for_s: float = 3600.0) -> str:
    until = story.clock.now() + timedelta(seconds=for_s)
    return story.desk.hold(BEN, what, until, "hands in the rack").id


def sick(tell: Tell, **more: Any) -> Story:
    story = tell(policies=OPEN, **more)
    story.turns(2)
    return story


@pytest.mark.parametrize("what", ["node:train-02", "rack:r1", "pool:train", "fleet"])
def test_s4_nothing_begins_on_what_a_person_holds_and_everything_does_when_it_is_released(
    tell: Tell, what: str
) -> None:
    story = sick(tell, crew=LangGraphCrew)
    rack = f"rack:{story.watch.latest.nodes['train-02'].rack}"
    ident = held(story, rack if what.startswith("rack") else what)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: any(f.state.value == "denied" for f in story.files()))
    story.turns(20, every_s=10.0)
    assert not [k for k in story.done() if k != "check.run"]
    refusal = story.events(Kind.VERDICT)[0].data["verdict"]
    assert refusal["reasons"][0]["id"] == "S4"
    assert "secondary holds" in refusal["reasons"][0]["text"]
    assert refusal["liftable"] == [], "no break-glass: a person releases it"

    story.desk.release(ALICE, ident)
    story.until(lambda: "node.cordon" in story.done(), within=60, every_s=10.0)


def test_s4_a_hold_on_one_node_leaves_the_others_to_their_repair(tell: Tell) -> None:
    story = sick(tell)
    held(story, "node:train-01")
    story.cluster.xid("train-03", 3, 79)
    story.until(lambda: "node.cordon" in story.done())


def test_s4_a_held_gang_is_not_stopped_by_what_happens_to_its_nodes(tell: Tell) -> None:
    story = tell(policies=OPEN)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    held(story, "job:llm")
    story.cluster.xid("train-02", 3, 79)
    story.turns(70)
    stops = [f for f in story.files() if kind_of(f.action) in ("node.drain", "job.preempt")]
    assert stops
    assert not [f for f in stops if f.effect]


def test_s4_a_hold_takes_back_a_question_that_waits_and_a_permission_that_has_not_begun(
    tell: Tell,
) -> None:
    from world import ASKING

    story = tell(policies=ASKING)
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    question = story.desk.asks()[0]
    story.answer(Answer.APPROVE)
    held(story, "node:train-02")
    story.turns(1)
    assert story.done() == []
    file = story.record.books.files[question.id]
    assert file.state.value == "void"
    assert "holds node train-02" in file.why


def test_s4_a_hold_that_comes_between_the_judgement_and_the_effect_stops_the_effect(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = sick(tell)
    looks = story.watch.executor._look_again

    def look(*_: Any) -> Any:
        held(story, "node:train-02")
        return looks()

    monkeypatch.setattr(type(story.watch.executor), "_look_again", lambda _self: look())
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.events(Kind.EFFECT_FINISHED))
    assert story.done() == []
    assert "holds node train-02" in story.events(Kind.EFFECT_FINISHED)[0].data["why"]


def test_s4_a_drain_under_way_is_not_ended_by_force_on_what_is_held(tell: Tell) -> None:
    story = tell(policies=OPEN)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: "node.drain" in story.done())
    held(story, "rack:" + story.watch.latest.nodes["train-02"].rack)
    story.turns(90)
    assert not [e for e in story.events(Kind.EFFECT_ISSUED) if e.data.get("enforced")]


def test_s4_a_hold_outlives_a_restart_and_ends_by_its_time(tell: Tell) -> None:
    story = sick(tell)
    held(story, "pool:train", for_s=600.0)
    story.crash_and_start()
    story.turns(1)
    assert [h.by for h in story.desk.board().orders.holds] == ["secondary"]
    assert "secondary holds pool train until" in status_table(plain(story.desk.board()))
    story.clock.pass_s(600.0)
    story.turns(2)
    assert story.desk.board().orders.holds == ()
    assert "ran out" in story.log()


def test_s28_a_step_of_the_wall_clock_does_not_end_a_hold(tell: Tell) -> None:
    story = sick(tell)
    held(story, "fleet", for_s=600.0)
    story.clock.step_wall(5 * 3600.0)
    story.turns(1)
    assert story.desk.board().orders.holds, "the steady clock has not seen ten minutes yet"


def test_a_hold_lets_pass_what_gives_back_and_changes_no_verdict_elsewhere(tell: Tell) -> None:
    story = tell(policies=OPEN, crew=LangGraphCrew)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    held(story, "node:train-02")
    story.cluster.lose("train-02")
    story.turns(20, every_s=5.0)
    kinds = {kind_of(f.action) for f in story.files()}
    assert {"job.requeue", "node.restart"} <= kinds, story.log()
    for file in story.files():
        denied = file.verdict is not None and file.verdict.decision.value == "deny"
        assert denied is traits_of(file.action).disruptive


@pytest.mark.parametrize(
    ("what", "until", "because"),
    [
        pytest.param((), HOURS, "Name between", id="nothing"),
        pytest.param(("node:nobody",), HOURS, "no node nobody", id="a node that is not there"),
        pytest.param(("node:*",), HOURS, "There is no", id="a pattern"),
        pytest.param(("tenant:a",), HOURS, "There is no", id="a kind that cannot be held"),
        pytest.param(("fleet",), timedelta(days=40), "within 31 days", id="for ever"),
        pytest.param(("fleet",), timedelta(0), "within 31 days", id="no time at all"),
    ],
)
def test_a_hold_names_what_there_is_and_ends(
    tell: Tell, what: tuple[str, ...], until: timedelta, because: str
) -> None:
    story = sick(tell)
    with pytest.raises(Refused, match=because):
        story.desk.hold(BEN, what, story.clock.now() + until, "")


def test_agents_hold_and_release_nothing(tell: Tell) -> None:
    story = sick(tell)
    ident = held(story, "fleet")
    agent = Person(name="agent:remediation")
    with pytest.raises(Refused):
        story.desk.hold(agent, ["fleet"], story.clock.now() + HOURS)
    with pytest.raises(Refused):
        story.desk.release(agent, ident)
    with pytest.raises(Refused, match="H-1"):
        story.desk.release(BEN, "H-9")


def test_the_command_line_holds_and_releases(tell: Tell) -> None:
    story = sick(tell, hour=DAY)
    table = calls(story.desk, lambda: None, None, story.record, "http://127.0.0.1:8080")
    until = (story.clock.now() + HOURS).isoformat()
    rack = f"rack:{story.watch.latest.nodes['train-01'].rack}"
    made = table["hold"](what=[rack], until=until, person="primary", reason="a visit")
    assert (made.id, made.by) == ("H-1", "primary")
    assert table["release"](ident="H-1", person="secondary").id == "H-1"
    assert [e.data["by"] for e in story.events(Kind.RELEASED)] == ["secondary"]
