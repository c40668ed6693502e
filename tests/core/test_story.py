"""Events into sentences: the same journal tells the same story, and text is only quoted."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.stories.world import ALICE, Story

from watchkeeper.control.story import Narrator, story_of
from watchkeeper.core.event import Event, Kind


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A night: a node is lost, brought back, and its gang goes on."""
    story = Story(tmp_path_factory.mktemp("night"))
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.lose("train-02")
    story.until(lambda: story.quiet() and story.done())
    yield story
    story.journal.close()


def told(events: list[Event]) -> list[str]:
    narrator = Narrator()
    return [f"{x.kind}: {x.text}" for e in events if (x := narrator.line(e)) is not None]


def test_every_event_of_a_night_can_be_told(lived: Story) -> None:
    lines = told(list(lived.journal.events()))
    assert any(line.startswith("Saw: ") for line in lines)
    assert any(line.startswith("Allows: Restart train-02") for line in lines)
    assert any(line.startswith("Does: Restart train-02") for line in lines)
    assert any(line.startswith("Did: Restart train-02. Verified:") for line in lines)
    assert any(line.startswith("Resolved: INC-") for line in lines)


def test_the_same_journal_tells_the_same_story(lived: Story) -> None:
    events = list(lived.journal.events())
    assert told(events) == told(events)


def test_a_reader_who_comes_late_is_told_without_a_fault(lived: Story) -> None:
    events = list(lived.journal.events())
    for start in range(0, len(events), 5):
        told(events[start:])


def test_sentences_are_plain(lived: Story) -> None:
    for line in told(list(lived.journal.events())):
        assert "!" not in line
        assert "None" not in line
        assert ".." not in line


def test_an_incident_is_told_from_first_sight_to_its_end(lived: Story) -> None:
    first = min(lived.record.books.incidents.values(), key=lambda i: int(i.id.partition("-")[2]))
    story = story_of(first, lived.journal.events(), "v1")
    assert story.steps[0].title.startswith("Saw: ")
    assert (story.people, story.failed) == ((), 0)
    assert story.actions >= 1
    assert story.out_for_s is not None
    assert story.out_for_s > 0
    assert [s.seq for s in story.steps] == sorted(s.seq for s in story.steps)
    assert story.first_seq <= story.steps[0].seq
    assert story.steps[-1].seq <= story.last_seq


def test_another_incident_is_not_mixed_in(lived: Story) -> None:
    for incident in lived.record.books.incidents.values():
        for step in story_of(incident, lived.journal.events(), "v1").steps:
            line = next(e for e in lived.journal.events() if e.seq == step.seq)
            named = {s for s in line.subject if s.startswith("INC-")}
            assert named <= {incident.id}


@pytest.mark.parametrize(
    ("kind", "data", "says"),
    [
        (Kind.APPROVAL_VOID, {"proposal": "P-1", "why": "ann changed it: P-2 is asked instead."},
         "An action: ann changed it: P-2 is asked instead."),
        (Kind.EFFECT_ISSUED, {"proposal": "P-1", "enforced": True, "text": "train-03 serves."},
         "An action: train-03 serves."),
        (Kind.EFFECT_FINISHED, {"proposal": "P-1", "result": "refused", "why": "It is stale."},
         "An action: It is stale. Nothing was done."),
        (Kind.STOPPED, {"by": "eve", "stranger": True},
         "eve (not of the policy's people) stopped the watch."),
        (Kind.STOPPED, {"by": "ann"}, "ann stopped the watch."),
    ],
    ids=["void", "issued", "refused", "a stranger", "one of ours"],
)  # fmt: skip
def test_each_sentence_ends_once(kind: Kind, data: dict[str, object], says: str) -> None:
    at = datetime(2026, 3, 4, tzinfo=UTC)
    event = Event(1, at, at, 0.0, kind, (), data, "", "")
    assert told([event])[0].partition(": ")[2] == says


def test_whom_the_policy_does_not_know_is_told_so_wherever_the_stop_is(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.turns(1)
    story.stop_file.set("eve", "")
    story.turns(1)
    assert story.desk.board().orders.stopped_by == "eve (not of the policy's people)"
    story.desk.resume(ALICE)
    story.desk.stop(ALICE)
    story.turns(1)
    assert story.desk.board().orders.stopped_by == ALICE.name
    story.journal.close()
