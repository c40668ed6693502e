"""What happens at the same time: a stop, a turn of the dial, a lease, two answers, a slow turn.
Whoever comes first, nothing is done that somebody has just forbidden, and no word of a person is
lost."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from world import ALICE, ASKING, BEN, DAY, Answer, Kind, LadderCrew, Story

from watchkeeper.control.execute import Executor
from watchkeeper.control.life import State
from watchkeeper.control.turn import turn
from watchkeeper.core.cluster import RayState
from watchkeeper.core.crew import Briefing, CrewReply
from watchkeeper.core.errors import JournalBroken, Refused
from watchkeeper.core.verdict import Autonomy

Tell = Callable[..., Story]
NODE = "train-02"


def asked(story: Story) -> str:
    """By day, an XID 79 on train-02 that waits for an answer."""
    story.cluster.run("llm", ("train-01", NODE))
    story.turns(2)
    story.cluster.xid(NODE, 3, 79)
    story.until(lambda: story.desk.asks())
    return story.desk.asks()[0].id


def at_the_second_judgement(
    monkeypatch: pytest.MonkeyPatch, deed: Callable[[], Any], *, after: bool
) -> None:
    """It happens right before the world is judged again, or right after that was written down."""
    real = Executor._why_not

    def why_not(executor: Executor, *args: Any) -> str:
        if not after:
            deed()
        why = real(executor, *args)
        if after:
            deed()
        return why

    monkeypatch.setattr(Executor, "_why_not", why_not)


DEEDS: dict[str, tuple[Callable[[Story], Any], str]] = {
    "the latch file is written": (lambda s: s.stop_file.set("primary", "wait"), "(S4)"),
    "the file is touched by hand": (lambda s: (s.home / "STOP").touch(), "(S4)"),
    "somebody stops at the desk": (lambda s: s.desk.stop(ALICE, "wait"), "(S4)"),
    "somebody stops while Redis is down": (
        lambda s: (setattr(s.mirror, "down", "connection refused"), s.desk.stop(ALICE)),
        "(S4)",
    ),
    "the dial goes to observe": (
        lambda s: s.desk.set_autonomy(ALICE, Autonomy.OBSERVE),
        "observe",
    ),
    "the dial goes to ask": (lambda s: s.desk.set_autonomy(ALICE, Autonomy.ASK), "asked now"),
    "another lease is granted": (
        lambda s: setattr(s.record.books, "fence_token", s.record.books.fence_token + 1),
        "(S6)",
    ),
}


@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize(("deed", "says"), DEEDS.values(), ids=DEEDS)
def test_s4_s6_what_comes_between_the_second_judgement_and_the_effect_stops_it(
    tell: Tell, monkeypatch: pytest.MonkeyPatch, deed: Any, says: str, after: bool
) -> None:
    story = tell()
    story.turns(2)
    at_the_second_judgement(monkeypatch, lambda: deed(story), after=after)
    story.cluster.lose(NODE)
    story.until(lambda: any(f.state is State.REFUSED for f in story.files()), within=60)
    assert story.done() == []
    assert any(says in f.why for f in story.files())


def test_s4_a_stop_while_the_end_of_a_drain_is_written_down_keeps_it_from_being_forced(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = tell(pools={"train": 8})
    story.cluster.run("llm", ("train-01", NODE))
    story.turns(2)
    story.cluster.xid(NODE, 3, 79)
    story.until(lambda: story.cluster.nodes[NODE].ray_state is RayState.DRAINING)
    real = story.record.write

    def write(kind: Kind, *args: Any, **data: Any) -> Any:
        event = real(kind, *args, **data)
        if data.get("enforced"):
            story.stop_file.set("primary", "not now")
        return event

    monkeypatch.setattr(story.record, "write", write)
    story.until(lambda: story.stop_file.is_set(), within=60)
    story.turns(60)
    assert story.cluster.nodes[NODE].ray_state is RayState.DRAINING


@pytest.mark.parametrize("round_", range(5))
def test_s15_a_yes_and_a_no_at_once_are_one_answer_and_the_other_hears_so(
    tell: Tell, round_: int
) -> None:
    story = tell(hour=DAY, policies=ASKING)
    ident = asked(story)
    ask = story.desk.asks()[0]
    outcome: dict[str, str] = {}
    gate = threading.Barrier(2)

    def click(person: Any, answer: Answer) -> None:
        gate.wait()
        try:
            story.desk.answer(ident, answer, person, digest=ask.digest, nonce=ask.nonce)
            outcome[answer.value] = "taken"
        except Refused:
            outcome[answer.value] = "refused"

    clicks = [
        threading.Thread(target=click, args=pair)
        for pair in ((ALICE, Answer.APPROVE), (BEN, Answer.DENY))
    ]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    assert sorted(outcome.values()) == ["refused", "taken"]
    assert len(story.events(Kind.ANSWERED)) == 1
    story.turns(5)
    assert ("node.cordon" in story.done()) == (outcome["approve"] == "taken")


def test_s5_an_approval_that_comes_after_the_world_has_moved_is_refused_or_void(
    tell: Tell,
) -> None:
    """The answer is taken between two turns, and the job lands in between too."""
    story = tell(hour=DAY, policies=ASKING)
    ident = asked(story)
    story.cluster.run("newcomer", (NODE,))
    story.answer(Answer.APPROVE)
    story.turns(2)
    file = story.record.books.files[ident]
    assert file.state is State.VOID, file.why
    assert not [o for o in story.cluster.effects if o.key.startswith(ident)]


def test_s5_a_new_policy_between_the_answer_and_the_effect_voids_it(tell: Tell) -> None:
    story = tell(hour=DAY, policies=ASKING)
    ident = asked(story)
    never = story.policy_files["policies/asking.yaml"] + (
        "  - {id: hands-off, effect: deny, actions: [node.cordon]}\n"
    )
    story.policy_files = story.policy_files | {"policies/asking.yaml": never}
    story.turns(1)  # it is seen, and must be still for a look
    story.answer(Answer.APPROVE)
    story.turns(3)
    assert not [o for o in story.cluster.effects if o.key.startswith(ident)]
    assert story.record.books.files[ident].state in (State.VOID, State.REFUSED)


@pytest.mark.parametrize("where", ["the crew thinks", "the second look"])
def test_s14_s28_an_approval_that_runs_out_during_a_slow_turn_has_no_effect(
    tell: Tell, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = tell(hour=DAY, policies=ASKING)
    ident = asked(story)
    expires = story.record.books.files[ident].question
    assert expires is not None
    story.answer(Answer.APPROVE)
    late_s = expires.expires_steady - story.clock.steady() + 1.0
    if where == "the crew thinks":

        class Slow(LadderCrew):
            def ask(self, briefing: Briefing) -> CrewReply:
                story.clock.pass_s(late_s)
                return super().ask(briefing)

        story.watch.crew = Slow()
    else:
        at_the_second_judgement(monkeypatch, lambda: story.clock.pass_s(late_s), after=False)
    turn(story.watch)
    file = story.record.books.files[ident]
    assert file.state is State.REFUSED, file.why
    assert "expired" in file.why
    assert not story.cluster.effects


def test_s4_a_stop_that_is_pressed_while_somebody_resumes_holds(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = tell()
    story.desk.stop(ALICE, "first")
    story.turns(1)
    real = story.record.write

    def write(kind: Kind, *args: Any, **data: Any) -> Any:
        if kind is Kind.RESUMED:
            story.desk.stop(BEN, "second")
        return real(kind, *args, **data)

    monkeypatch.setattr(story.record, "write", write)
    story.desk.resume(ALICE, "go on")
    story.cluster.lose(NODE)
    story.turns(10)
    assert story.record.books.orders.stopped_by == "secondary"
    assert story.done() == []


def test_s4_a_turn_in_the_middle_of_a_resume_does_not_undo_it(tell: Tell) -> None:
    story = tell()
    for _ in range(20):
        story.desk.stop(ALICE, "a while")
        story.turns(1)
        turns = threading.Thread(target=lambda: [turn(story.watch) for _ in range(3)])
        turns.start()
        story.desk.resume(ALICE, "go on")
        turns.join()
        story.turns(1)
        assert not story.stop_file.is_set()
        assert not story.record.books.orders.stopped


def test_s4_s26_a_resume_that_cannot_be_written_leaves_the_watch_stopped(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = tell()
    story.desk.stop(ALICE, "wait")
    story.turns(1)

    def broken(*_: Any, **__: Any) -> Any:
        raise JournalBroken("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(story.journal, "append", broken)
        with pytest.raises(JournalBroken):
            story.desk.resume(ALICE, "go on")
    assert story.stop_file.is_set()
    story.cluster.lose(NODE)
    story.turns(10)
    assert story.done() == []


def test_s6_two_watches_never_hold_one_journal(tmp_path: Path) -> None:
    story = Story(tmp_path)
    with pytest.raises(Exception, match=r"(?i)lock|another|in use"):
        story._start("auto")
    story.journal.close()
