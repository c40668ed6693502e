"""Break-glass and escalation, told from the refusal to the review: what is soft one person may
lift, in the open, and another looks at it afterwards."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from world import ALICE, BEN, DAY, NIGHT, Answer, Kind, Story

from watchkeeper.control import folding
from watchkeeper.control.books import Books
from watchkeeper.control.gate import lifted_for
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Refused
from watchkeeper.core.verdict import Autonomy
from watchkeeper_agents.crew import LangGraphCrew

Tell = Callable[..., Story]
REPAIR = ["node.cordon", "node.drain", "node.restart", "check.run", "node.uncordon"]

CHIEF = Person(name="cara", groups=("oncall", "break-glass"))
LEAD = Person(name="dan", groups=("leads", "break-glass"))
PEOPLE = (
    "people:\n"
    "  oncall: [primary, secondary, cara]\n"
    "  leads: [dan, eve]\n"
    "  break-glass: [cara, dan]\n"
)
HEAD = "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: story}\n"
OPEN = '  - {id: all-may-be-done, effect: allow, actions: ["*"]}\n'


def orders(rules: str, rest: str = "") -> dict[str, str]:
    """Standing orders that allow everything, but for these rules."""
    return {"policies/story.yaml": HEAD + PEOPLE + rest + "rules:\n" + OPEN + rules}


FREEZE = (
    "  - {id: year-end-freeze, effect: deny, enforcement: soft, actions: [node.cordon, node.drain],"
    ' when: node.gpus > 4, reason: "Nothing moves before the books are closed."}\n'
)
LADDER = None
CREWS = pytest.mark.parametrize("crew", [LADDER, LangGraphCrew], ids=["ladders", "the real crew"])


def refused(story: Story, node: str = "train-02") -> str:
    """A GPU falls off the bus and the repair is refused; the proposal's id."""
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.xid(node, 3, 79)
    story.until(lambda: any(f.state.value == "denied" for f in story.files()))
    story.turns(3)  # the crew hears of it
    return story.files()[-1].proposal.id


def asked(story: Story) -> str:
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    return story.desk.asks()[0].id


@CREWS
def test_what_a_soft_freeze_refuses_a_person_may_lift_and_the_whole_repair_goes_on(
    tell: Tell, crew: object
) -> None:
    story = tell(hour=NIGHT, policies=orders(FREEZE), crew=crew)
    ident = refused(story)
    assert story.done() == []
    assert f"It is soft: `watchkeeper break-glass {ident}` lifts it." in story.log()

    said = story.desk.break_glass(ident, CHIEF, "the gang is worth more than the freeze")

    assert "lifted year-end-freeze" in said
    assert story.done() == [], "it grants nothing by itself: it is judged again first"
    story.until(lambda: story.done() and story.quiet(), within=400)
    assert [kind for kind in story.done() if kind in REPAIR] == REPAIR
    assert len(story.events(Kind.BREAK_GLASS)) == 1, "once, for all the steps that were shown"
    assert not story.events(Kind.ASKED)
    assert "cara lifted year-end-freeze for: Cordon train-02. Reason: the gang" in story.log()
    verdicts = [e.data["verdict"] for e in story.events(Kind.VERDICT)]
    kinds = [{r["kind"] for r in v["reasons"] if r["id"] == "year-end-freeze"} for v in verdicts]
    assert {"lifted"} in kinds, "the verdict says what it was given without"


@CREWS
@pytest.mark.parametrize(
    "bound",
    [
        "limits:\n  - {id: none-tonight, actions: [node.cordon, node.drain], per: fleet,"
        " rate: {count: 0, per: 1h}, enforcement: soft}\n",
        "budgets:\n  - {id: none-tonight, actions: [node.cordon, node.drain], every: 1d,"
        " gpu_hours: 0, enforcement: soft}\n",
    ],
    ids=["a limit", "a budget"],
)
def test_a_soft_bound_that_is_reached_may_be_lifted_too_although_the_incident_was_handed_over(
    tell: Tell, crew: object, bound: str
) -> None:
    story = tell(policies=orders("", bound), crew=crew)
    ident = refused(story)
    story.desk.break_glass(ident, CHIEF, "the gang")
    story.until(lambda: story.done() and story.quiet(), within=400)
    assert [kind for kind in story.done() if kind in REPAIR] == REPAIR


def test_it_is_judged_again_and_the_rest_of_the_policy_still_holds(tell: Tell) -> None:
    hard = "  - {id: never, effect: deny, actions: [node.drain], when: node.gpus > 4}\n"
    story = tell(policies=orders(FREEZE + hard))
    ident = refused(story)
    story.desk.break_glass(ident, CHIEF, "try it")
    story.turns(20)
    assert story.done() == ["node.cordon"], "the drain is refused by what nobody may lift"


@pytest.mark.parametrize(
    ("person", "reason", "why"),
    [
        (ALICE, "now", "not in the group break-glass"),
        (CHIEF, "  ", "Say why"),
        (Person(name="agent:remediation", groups=("break-glass",)), "now", "Agents lift nothing"),
    ],
    ids=["a person outside the group", "without a reason", "an agent"],
)
def test_s15_who_may_not_lift_is_told_why(
    tell: Tell, person: Person, reason: str, why: str
) -> None:
    story = tell(policies=orders(FREEZE))
    ident = refused(story)
    with pytest.raises(Refused, match=why):
        story.desk.break_glass(ident, person, reason)
    story.turns(5)
    assert story.done() == []
    assert not story.events(Kind.BREAK_GLASS)


def test_s15_who_asked_for_it_may_not_lift_what_refuses_it(tell: Tell) -> None:
    story = tell(policies=orders(FREEZE))
    ident = refused(story)
    file = story.record.books.files[ident]
    own = msgspec.structs.replace(file.proposal, by="person:cara")
    story.record.books.files[ident] = file.__class__(
        **{**{n: getattr(file, n) for n in file.__slots__}, "proposal": own}
    )
    with pytest.raises(Refused, match="Who asks may not lift"):
        story.desk.break_glass(ident, CHIEF, "mine")


def test_a_hard_deny_is_lifted_by_nobody(tell: Tell) -> None:
    story = tell(policies=orders(FREEZE.replace("enforcement: soft, ", "")))
    ident = refused(story)
    assert "break-glass" not in story.log()
    with pytest.raises(Refused, match="what is hard nobody may lift"):
        story.desk.break_glass(ident, CHIEF, "please")


def test_nothing_is_lifted_that_nobody_proposed_or_that_is_done(tell: Tell) -> None:
    story = tell(policies=orders(FREEZE))
    with pytest.raises(Refused, match="no proposal P-99"):
        story.desk.break_glass("P-99", CHIEF, "now")
    ident = refused(story)
    story.desk.break_glass(ident, CHIEF, "now")
    with pytest.raises(Refused, match="there is nothing to lift"):
        story.desk.break_glass(ident, LEAD, "me too")
    story.until(lambda: story.done() and story.quiet(), within=400)
    with pytest.raises(Refused, match="there is nothing to lift"):
        story.desk.break_glass(ident, LEAD, "me too")


def test_an_old_refusal_is_history(tell: Tell) -> None:
    story = tell(policies=orders(FREEZE))
    ident = refused(story)
    story.clock.pass_s(901.0)
    with pytest.raises(Refused, match="too old"):
        story.desk.break_glass(ident, CHIEF, "now")


@CREWS
def test_s5_a_lift_is_void_when_the_world_moved_meanwhile(tell: Tell, crew: object) -> None:
    story = tell(policies=orders(FREEZE), crew=crew)
    ident = refused(story)
    story.desk.break_glass(ident, CHIEF, "now")
    story.cluster.run("newcomer", ("train-02",))
    story.turns(30)
    books = story.record.books
    file, lift = books.files[ident], books.lifts[ident]
    assert file.state.value == "void"
    assert story.done() == []
    again = msgspec.structs.replace(file.proposal, id="P-77")
    assert lifted_for(books, again, file.impact, lift.steady) == ()


def test_s5_a_lift_carries_no_step_that_would_touch_more_than_was_seen(tell: Tell) -> None:
    story = tell(policies=orders(FREEZE))
    ident = refused(story)
    story.desk.break_glass(ident, CHIEF, "now")
    story.until(lambda: story.done() == ["node.cordon"])
    story.cluster.run("newcomer", ("train-02",))
    story.turns(20)
    assert "node.drain" not in story.done(), "another gang would stop, and nobody saw it"


def test_an_asking_soft_question_is_answered_by_one_persons_break_glass(tell: Tell) -> None:
    two = (
        "  - {id: two-of-us, effect: ask, enforcement: soft, actions: [node.cordon, node.drain],"
        " approvals: {quorum: 2, from: [oncall]}}\n"
    )
    story = tell(hour=DAY, policies=orders(two))
    ident = asked(story)
    line = next(x.text for x in story.desk.log(limit=100) if x.kind == "Asks")
    assert line.endswith(f"It is soft: `watchkeeper break-glass {ident}` lifts it.")
    story.answer(Answer.APPROVE, ALICE)
    story.turns(3)
    assert story.done() == [], "two are needed"
    story.desk.break_glass(ident, LEAD, "the second is on a plane")
    assert story.desk.asks() == ()
    story.until(lambda: story.done() and story.quiet(), within=400)
    assert [kind for kind in story.done() if kind in REPAIR] == REPAIR


def test_after_a_lift_what_is_still_asked_is_asked_anew_and_old_answers_do_not_count(
    tell: Tell,
) -> None:
    two = (
        "  - {id: two-of-us, effect: ask, enforcement: soft, actions: [node.cordon],"
        " approvals: {quorum: 2, from: [oncall]}}\n"
    )
    story = tell(hour=DAY, policies=orders(two))
    ident = asked(story)
    story.answer(Answer.APPROVE, ALICE)
    story.desk.break_glass(ident, LEAD, "hurry")
    story.desk.set_autonomy(LEAD, Autonomy.ASK)
    story.turns(1)
    (ask,) = story.desk.asks()
    assert (ask.id, ask.needs, ask.approvals) == (ident, 1, ())
    story.turns(3)
    assert story.done() == []
    story.answer(Answer.APPROVE, ALICE)
    story.until(lambda: story.done() == ["node.cordon"])


def test_a_second_lift_of_the_same_proposal_adds_to_the_first_and_owes_its_own_review(
    tell: Tell,
) -> None:
    ask = "  - {id: ask-first, effect: ask, enforcement: soft, actions: [node.cordon]}\n"
    story = tell(hour=DAY, policies=orders(FREEZE + ask))
    ident = refused(story)
    story.desk.break_glass(ident, CHIEF, "the freeze is over for us")
    story.until(lambda: story.desk.asks())
    story.desk.break_glass(ident, LEAD, "and nobody answers")
    story.until(lambda: "node.drain" in story.done())
    lift = story.record.books.lifts[ident]
    assert lift.rules == ("year-end-freeze", "ask-first")
    assert (lift.person, lift.before) == ("dan", ("cara",))
    for own in (CHIEF, LEAD):
        with pytest.raises(Refused, match="Another person"):
            story.desk.review(ident, own)
    story.desk.review(ident, BEN)
    assert story.desk.board().reviews == ()


@pytest.mark.parametrize("restart", [False, True], ids=["", "after a restart"])
def test_s28_a_lift_lasts_an_hour_of_the_steady_clock(tell: Tell, restart: bool) -> None:
    story = tell(policies=orders(FREEZE))
    ident = refused(story)
    story.desk.break_glass(ident, CHIEF, "now")
    story.until(lambda: story.done() == ["node.cordon"])
    if restart:
        story.crash_and_start()
    books = story.record.books
    file, lift = books.files[ident], books.lifts[ident]
    for waited_s, rules in ((3600.0, ("year-end-freeze",)), (3600.1, ())):
        assert lifted_for(books, file.proposal, file.impact, lift.steady + waited_s) == rules


def test_only_the_newest_proposal_of_a_repair_may_be_lifted(tell: Tell) -> None:
    story = tell(policies=orders(FREEZE))
    ident = refused(story)
    (made,) = story.events(Kind.PROPOSED)
    again = {**made.data["proposal"], "id": "P-77"}
    story.record.write(Kind.PROPOSED, ("P-77",), **{**made.data, "proposal": again})
    with pytest.raises(Refused, match="the newest proposal is P-77"):
        story.desk.break_glass(ident, CHIEF, "now")


# The review.


def broken(story: Story) -> str:
    ident = refused(story)
    story.desk.break_glass(ident, CHIEF, "the gang")
    story.until(lambda: story.done() and story.quiet(), within=400)
    return ident


def test_a_break_glass_owes_a_review_by_another_person(tell: Tell) -> None:
    story = tell(policies=orders(FREEZE))
    ident = broken(story)
    (owed,) = story.desk.board().reviews
    assert "cara lifted year-end-freeze" in owed
    assert story.desk.metrics()["reviews_pending"] == 1
    assert any("owes a review" in title for _, title, _ in story.notifier.tickets)
    with pytest.raises(Refused, match="Another person reviews it"):
        story.desk.review(ident, CHIEF, "all good")
    assert "reviewed by secondary" in story.desk.review(ident, BEN, "right so")
    assert story.desk.board().reviews == ()
    with pytest.raises(Refused, match="Reviewed already by secondary"):
        story.desk.review(ident, ALICE)
    with pytest.raises(Refused, match="Nobody broke the glass"):
        story.desk.review("P-99", ALICE)


def test_a_lift_leaves_memory_with_its_proposal_and_not_before_its_review(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = tell(policies=orders(FREEZE), pools={"train": 8})
    ident = broken(story)
    books = story.record.books
    books.escalated.add(ident)
    monkeypatch.setattr(folding, "KEPT_CLOSED", 0)
    monkeypatch.setattr(folding, "LEDGER_S", 0.0)
    story.turns(12, every_s=60.0)
    story.cluster.lose("train-08")
    story.until(lambda: ident not in books.files, within=400)
    assert ident not in books.escalated
    assert list(books.lifts) == [ident], "somebody owes a review of it still"
    story.desk.review(ident, BEN, "right so")
    story.turns(12, every_s=60.0)
    story.cluster.xid("train-04", 3, 79)
    story.until(lambda: any(f.state.value == "denied" for f in story.files()), within=400)
    other = story.files()[-1].proposal.id
    story.desk.break_glass(other, CHIEF, "again")
    assert list(books.lifts) == [other]


@pytest.mark.parametrize("step_s", [0.0, -86400.0], ids=["", "though the wall clock was set back"])
def test_s28_an_overdue_review_pages_once_through_restarts(tell: Tell, step_s: float) -> None:
    story = tell(policies=orders(FREEZE))
    broken(story)
    story.clock.step_wall(step_s)
    story.clock.pass_s(23 * 3600.0)
    story.turns(2)
    assert not story.paged("was not reviewed")
    story.clock.pass_s(3600.0)
    story.turns(3)
    story.crash_and_start()
    story.turns(3)
    pages = [p for p in story.notifier.pages if "was not reviewed" in p[1]]
    assert len(pages) == 1
    assert "cara lifted year-end-freeze: the gang" in pages[0][2]


def test_a_wall_clock_that_says_so_calls_for_the_review_too(tell: Tell) -> None:
    """A host that was off for a day has a steady clock that did not count it."""
    story = tell(policies=orders(FREEZE))
    broken(story)
    story.clock.step_wall(86400.0)
    story.turns(2)
    assert story.paged("was not reviewed")


def test_lifts_and_reviews_survive_a_restart(tell: Tell) -> None:
    story = tell(policies=orders(FREEZE))
    ident = refused(story)
    story.desk.break_glass(ident, CHIEF, "the gang")
    story.crash_and_start()
    assert len(story.desk.board().reviews) == 1
    story.until(lambda: story.done() and story.quiet(), within=400)
    assert [kind for kind in story.done() if kind in REPAIR] == REPAIR, "durable before it was told"
    story.desk.review(ident, BEN)
    story.crash_and_start()
    assert story.desk.board().reviews == ()
    anew = Books()
    for event in story.journal.events():
        anew.apply(event)
    assert anew.lifts == story.record.books.lifts


# Escalation.

CALLS = (
    "  - id: ask-by-day\n"
    "    effect: ask\n"
    "    actions: [node.cordon]\n"
    "    approvals: {from: [oncall], expires: 15m, escalate: {after: 5m, to: [leads]}}\n"
)
EVE = Person(name="eve", groups=("leads",))


def test_before_the_time_is_up_the_second_group_may_not_answer(tell: Tell) -> None:
    story = tell(hour=DAY, policies=orders(CALLS))
    asked(story)
    story.turns(9, every_s=30.0)
    with pytest.raises(Refused, match="not in oncall"):
        story.answer(Answer.APPROVE, EVE)
    assert not story.paged("Nobody has answered yet")


@pytest.mark.parametrize("restart", [False, True], ids=["", "after a restart"])
def test_s28_after_it_the_second_group_is_called_once_and_may_answer(
    tell: Tell, restart: bool
) -> None:
    story = tell(hour=DAY, policies=orders(CALLS))
    ident = asked(story)
    story.clock.step_wall(-86400.0)
    story.turns(11, every_s=30.0)
    if restart:
        story.crash_and_start()
    story.turns(2)
    assert [e.data["proposal"] for e in story.events(Kind.ESCALATED)] == [ident]
    assert story.paged("leads may answer too")
    (ask,) = story.desk.asks()
    assert ask.from_groups == ("oncall", "leads")
    story.answer(Answer.APPROVE, EVE)
    story.until(lambda: story.done() == ["node.cordon"])


def test_the_first_group_may_still_answer_after_it(tell: Tell) -> None:
    story = tell(hour=DAY, policies=orders(CALLS))
    asked(story)
    story.turns(13, every_s=30.0)
    story.answer(Answer.APPROVE, ALICE)
    story.until(lambda: story.done() == ["node.cordon"])


def test_an_answer_in_time_calls_nobody(tell: Tell) -> None:
    story = tell(hour=DAY, policies=orders(CALLS))
    asked(story)
    story.answer(Answer.DENY, ALICE)
    story.turns(13, every_s=30.0)
    assert not story.events(Kind.ESCALATED)


def test_a_question_called_further_still_lapses_at_its_time(tell: Tell) -> None:
    story = tell(hour=DAY, policies=orders(CALLS))
    asked(story)
    story.turns(32, every_s=30.0)
    assert story.events(Kind.APPROVAL_EXPIRED)
    assert story.done() == []


def test_the_desk_shows_what_could_be_lifted_and_then_what_was_and_its_review(tell: Tell) -> None:
    story = tell(hour=NIGHT, policies=orders(FREEZE))
    ident = refused(story)
    (could,) = story.desk.glass().liftable
    assert (could.proposal, [r.id for r in could.soft]) == (ident, ["year-end-freeze"])
    assert [r.id for r in could.others] == ["all-may-be-done"]
    assert could.until is not None

    story.desk.break_glass(ident, CHIEF, "the gang is worth more")
    seen = story.desk.glass()
    assert seen.liftable == ()
    (lift,) = seen.lifts
    assert (lift.person, lift.rules, lift.state) == ("cara", ("year-end-freeze",), "made")
    story.until(lambda: story.desk.glass().lifts[0].state == "recovered", within=400)
    story.desk.review(ident, LEAD, "It was right.")
    assert story.desk.glass().lifts[0].reviewed_by == "dan"


def test_a_refusal_of_long_ago_is_not_offered_for_lifting(tell: Tell) -> None:
    story = tell(hour=NIGHT, policies=orders(FREEZE))
    refused(story)
    story.clock.pass_s(901)
    assert story.desk.glass().liftable == ()
