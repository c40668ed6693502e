"""A question lapses with what it was asked for: counters are told while they are over their
thresholds, and are held against now."""

from collections.abc import Callable

import msgspec
from world import DAY, Kind, Story

from watchkeeper.control.life import State
from watchkeeper.core.action import kind_of
from watchkeeper.core.incident import Trust

Tell = Callable[..., Story]
NODE = "train-02"


def narrow(story: Story) -> None:
    """The width of a GPU's link is read as half of its best, and the gang on it crawls."""
    cluster = story.cluster
    cluster.xid(NODE, 3, 1)
    line = cluster.signals[-1]
    ident = f"S-{line.at:%H%M%S}"
    width = {"id": f"{ident}-w", "code": "pcie.width", "value": 0.5}
    slow = {"id": f"{ident}-s", "code": "gang.slow", "target": "job:llm", "source": "progress"}
    own = {"trust": Trust.DRIVER, "source": "gpu-driver"}
    told = {"trust": Trust.SCHEDULER, "incarnation": story.cluster.jobs["llm"].attempt_id}
    cluster.signals[-1:] = [
        msgspec.structs.replace(line, **width, **own),
        msgspec.structs.replace(line, **slow, **told),
    ]


def asked_to_drain(tell: Tell) -> Story:
    """By day: the node is fenced, and its drain, which would stop the gang, waits for an answer."""
    story = tell(hour=DAY)
    story.cluster.run("llm", ("train-01", NODE))
    story.turns(2)
    for _ in range(6):
        narrow(story)
        story.turns(2, every_s=10.0)
    assert story.desk.asks()
    assert story.done() == ["node.cordon"]
    return story


def test_a_question_lapses_when_what_it_was_asked_for_is_not_told_of_any_more(tell: Tell) -> None:
    story = asked_to_drain(tell)
    (file,) = [f for f in story.files() if kind_of(f.action) == "node.drain"]
    assert file.state is State.ASKING
    story.turns(12, every_s=10.0)
    assert story.record.books.files[file.proposal.id].state is State.ASKING, "one reading is late"
    story.until(lambda: story.events(Kind.APPROVAL_VOID), within=8, every_s=10.0)
    assert "not seen any more" in story.events(Kind.APPROVAL_VOID)[-1].data["why"]
    story.turns(3, every_s=10.0)
    assert story.done() == ["node.cordon"], "nothing was done to a node that is well"
    assert not story.desk.asks(), "and nothing is asked"


def test_a_gangs_question_lapses_when_its_node_turns_out_to_be_ill(tell: Tell) -> None:
    story = tell(autonomy="ask", hour=DAY)
    story.cluster.run("llm", ("train-01", NODE))
    story.turns(2)
    story.cluster._stop_gangs(NODE)
    story.until(lambda: story.events(Kind.INCIDENT_OPENED))
    story.cluster.xid(NODE, 3, 31)
    story.turns(1)
    story.until(lambda: story.desk.asks())
    assert [kind_of(f.action) for f in story.record.books.waiting()] == ["job.requeue"]
    story.cluster.xid(NODE, 3, 48)
    story.until(lambda: story.events(Kind.APPROVAL_VOID), within=20)
    assert "gpu_memory by now" in story.events(Kind.APPROVAL_VOID)[-1].data["why"]
    story.until(lambda: story.desk.asks(), within=60)
    assert [kind_of(f.action) for f in story.record.books.waiting()] == ["node.cordon"]
