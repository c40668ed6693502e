"""A watch that has halted says of each incident what it would have done, and does none of it."""

from __future__ import annotations

from collections.abc import Callable

from world import ALICE, Story

from watchkeeper.control.life import State
from watchkeeper.core.event import Kind

Tell = Callable[..., Story]


def test_s9_a_halt_is_one_page_and_every_incident_has_its_refused_verdict(tell: Tell) -> None:
    story = tell()
    story.turns(2)
    for name in ("train-01", "train-02", "train-03"):
        story.cluster.lose(name)
    story.turns(30)
    books = story.record.books
    assert [f.state for f in books.files.values()] == [State.DENIED] * 3
    assert {f.proposal.incident for f in books.files.values()} == set(books.incidents)
    assert all(
        f.verdict is not None and "S9" in {r.id for r in f.verdict.reasons}
        for f in books.files.values()
    )
    events = [event.kind for event in story.record.journal.events()]
    assert (events.count(Kind.HALTED), events.count(Kind.PAGED)) == (1, 1)
    assert story.done() == []


def test_s9_what_a_halt_refused_is_asked_again_once_a_person_has_resumed(tell: Tell) -> None:
    story = tell()
    story.turns(2)
    for name in ("train-01", "train-03"):
        story.cluster.lose(name)
    story.until(lambda: story.record.books.halted)
    story.turns(5)
    assert len(story.record.books.files) == 2, "asked once about each, however long it is halted"
    story.desk.resume(ALICE, "the rack lost power; it is back")
    story.until(lambda: story.quiet() and story.done().count("node.uncordon") == 2)
    assert all(i.closed_because for i in story.record.books.incidents.values())
