"""The books are a fold: the same journal gives the same books, and so does any part of it."""

from pathlib import Path

import msgspec
import pytest
from tests.stories.world import DAY, Answer, Kind, Story

from watchkeeper.control import folding
from watchkeeper.control.books import Books
from watchkeeper.control.life import State
from watchkeeper.control.record import Record
from watchkeeper.core.cluster import World
from watchkeeper.core.event import GENESIS, Event
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.core.verdict import Autonomy
from watchkeeper.twin.memory import ManualClock

AT = ManualClock().now()


def event(seq: int, kind: Kind, *subject: str, **data: object) -> Event:
    return Event(
        seq=seq,
        at=AT,
        policy_at=AT,
        steady=float(seq),
        kind=kind,
        subject=subject,
        data=data,
        prev=GENESIS,
    )


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A day with everything in it: a repair with approval, a denial, a stop, a crash, a halt."""
    story = Story(tmp_path_factory.mktemp("lived"), hour=DAY, pools={"train": 8})
    story.cluster.run("llm", ("train-01", "train-02"))
    story.cluster.run("vision", ("train-03", "train-04"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    story.answer(Answer.APPROVE)
    story.until(lambda: "node.drain" in story.done())
    story.crash_and_start()
    story.turns(40, every_s=10.0)
    story.cluster.xid("train-04", 1, 79)
    story.until(lambda: story.desk.asks(), within=400)
    story.answer(Answer.DENY)
    story.stop_file.set("primary", "a look")
    story.turns(3)
    story.stop_file.clear()
    story.record.write(Kind.RESUMED, by="primary", reason="", durable=True)
    story.turns(1)
    for name in ("train-05", "train-06", "train-07", "train-08"):
        story.cluster.lose(name)
    story.turns(20)
    yield story
    story.journal.close()


def folded(events: list[Event]) -> Books:
    books = Books()
    for each in events:
        books.apply(each)
    return books


@pytest.mark.parametrize(
    ("away_s", "slow"), [(30.0, False), (599.0, False), (601.0, True), (86_400.0, True)]
)
def test_s23_a_watch_that_was_away_for_ten_minutes_knows_when_it_was_back(
    tmp_path: Path, away_s: float, slow: bool
) -> None:
    story = Story(tmp_path, pools={"train": 4})
    story.turns(1)
    story.record.write(Kind.WATCH_STARTED, text="the first start", world="twin", cluster="c")
    assert story.record.books.back_steady is None, "a first start follows no outage"
    story.clock.pass_s(away_s)
    story.record.write(Kind.WATCH_STARTED, text="back", world="twin", cluster="c")
    back = story.record.books.back_steady
    assert back == (story.clock.steady() if slow else None)
    story.journal.close()


def test_s23_ray_that_began_anew_is_an_outage_too(tmp_path: Path) -> None:
    story = Story(tmp_path, pools={"train": 4})
    story.turns(1)
    assert story.record.books.back_steady is None, "the first session is none"
    story.record.write(Kind.SESSION_CHANGED, session="new", before=story.record.books.session)
    assert story.record.books.back_steady == story.clock.steady()
    story.journal.close()


def test_the_day_had_everything_in_it(lived: Story) -> None:
    kinds = {e.kind for e in lived.journal.events()}
    assert kinds >= {
        Kind.PROPOSED,
        Kind.VERDICT,
        Kind.ASKED,
        Kind.ANSWERED,
        Kind.EFFECT_STARTED,
        Kind.EFFECT_ISSUED,
        Kind.EFFECT_FINISHED,
        Kind.STOPPED,
        Kind.RESUMED,
        Kind.HALTED,
    }


def test_folding_the_journal_again_gives_the_same_books(lived: Story) -> None:
    events = list(lived.journal.events())
    assert folded(events) == folded(events)
    assert folded(events) == lived.record.books, "as they were kept while it happened"


def test_a_new_watch_begins_with_the_books_of_the_old_one(lived: Story) -> None:
    assert Record(lived.journal).books == lived.record.books


def test_no_prefix_of_the_journal_breaks_the_books(lived: Story) -> None:
    books = Books()
    for each in lived.journal.events():
        books.apply(each)
        assert all(f.effect is not None for f in books.in_hand())
        assert all(f.state is State.ASKING for f in books.waiting())


def test_a_watch_may_die_after_any_line_and_fold_the_rest_later(lived: Story) -> None:
    events = list(lived.journal.events())
    whole = folded(events)
    for cut in range(0, len(events), 7):
        books = folded(events[:cut])
        for each in events[cut:]:
            books.apply(each)
        assert books == whole


def test_ids_go_on_counting_where_the_journal_ended(lived: Story) -> None:
    numbers = [int(f.proposal.id.partition("-")[2]) for f in lived.files()]
    assert lived.record.books.ids["P"] == max(numbers)


def test_the_fence_token_only_ever_grows(lived: Story) -> None:
    books, seen = Books(), [0]
    for each in lived.journal.events():
        books.apply(each)
        seen.append(books.fence_token)
    assert seen == sorted(seen)
    assert seen[-1] > 0


def test_an_event_of_a_kind_that_changes_nothing_is_passed_over() -> None:
    books = Books()
    books.apply(event(1, Kind.CHAT, question="?", answer="."))
    assert books == Books()


def test_a_line_about_a_proposal_nobody_knows_is_passed_over() -> None:
    books = Books()
    books.apply(event(1, Kind.EFFECT_FINISHED, "P-9", proposal="P-9", result="recovered"))
    books.apply(event(2, Kind.EFFECT_ISSUED, "P-9", proposal="P-9"))
    assert books.files == {}


def test_before_any_order_it_only_observes() -> None:
    assert Books().orders.autonomy is Autonomy.OBSERVE
    assert Books().reconciled is False


def test_s4_only_a_resume_clears_stop_halt_and_closed_gates() -> None:
    books = Books()
    books.apply(event(1, Kind.AUTONOMY, by="up", level="auto"))
    books.apply(event(2, Kind.STOPPED, by="primary", reason="wait"))
    books.apply(event(3, Kind.HALTED, why="half of the pool is ill"))
    books.apply(event(4, Kind.GATE_CLOSED, action="node.restart", why="worse"))
    books.apply(event(5, Kind.WATCH_STARTED, text="again"))
    books.apply(event(6, Kind.REDIS_REBUILT, text="copies"))
    assert (books.orders.stopped, books.orders.stopped_by) == (True, "primary")
    assert (books.halted, books.closed_kinds) == (
        "half of the pool is ill",
        {"node.restart": "worse"},
    )
    books.apply(event(7, Kind.RESUMED, by="primary"))
    assert (books.orders.stopped, books.halted, books.closed_kinds) == (False, "", {})
    assert books.orders.autonomy is Autonomy.AUTO, "a resume leaves the dial where it was"


def incident(number: int, state: IncidentState) -> dict[str, object]:
    return msgspec.to_builtins(
        Incident(
            id=f"INC-{number}",
            target="node:a",
            fault="node_lost",
            title="t",
            state=state,
            opened_at=AT,
            updated_at=AT,
            world=World.TWIN,
            confidence=0.9,
        )
    )


def test_old_resolved_incidents_leave_memory_and_no_other_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folding, "KEPT_CLOSED", 3)
    books = Books()
    states = [IncidentState.ESCALATED, IncidentState.OPEN, *[IncidentState.RESOLVED] * 8]
    for number, state in enumerate(states, start=1):
        line = event(
            number, Kind.INCIDENT_OPENED, f"INC-{number}", incident=incident(number, state)
        )
        books.apply(line)
    assert list(books.incidents) == ["INC-1", "INC-2", "INC-8", "INC-9", "INC-10"]
    assert books.ids["INC"] == 10


def test_the_record_changes_nothing_when_the_journal_refuses(tmp_path: Path) -> None:
    class Full:
        def events(self, after: int = 0) -> list[Event]:
            return []

        def append(self, *args: object, **kwargs: object) -> Event:
            raise OSError("No space left on device")

    record = Record(Full())
    with pytest.raises(OSError, match="No space"):
        record.write(Kind.STOPPED, by="primary", reason="")
    assert record.books == Books()
