"""No planner buries the people on call: its pages and tickets are bounded for an hour and for one
incident, what is beyond is counted and told, and the watch's own calls always have room."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.properties.hostile_crews import RECKLESS, SHIPPED, draft
from world import Kind, Story

from watchkeeper.adapters.notify import PAGES_PER_HOUR, TICKETS_PER_HOUR, Notify
from watchkeeper.control.hush import BOUNDS, MOST_ASKED, MOST_ASKED_ABOUT, PLANNER, QUESTION
from watchkeeper.control.tell import Teller
from watchkeeper.core.action import NodeCordon, NodeReplace, NotifyPage, TicketOpen
from watchkeeper.core.crew import Briefing, Conclusion, CrewReply, Draft

ASK_ALL = {
    "policies/ask.yaml": """apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: ask, owner: nobody}
rules:
  - {id: ask-all, effect: ask, actions: ["*"], approvals: {quorum: 1, from: [group:oncall]}}
"""
}


class Says:
    """Asks what it is told to, every turn."""

    def __init__(self, asks: Callable[[Briefing, int], list[Draft]]) -> None:
        self.asks, self.turn = asks, 0
        self.heard: list[str] = []
        self.ends: tuple[Conclusion, ...] = ()

    def ask(self, briefing: Briefing) -> CrewReply:
        self.turn += 1
        self.heard += [f"{r.value}: {r.says}" for r in briefing.results]
        return CrewReply(drafts=tuple(self.asks(briefing, self.turn)), conclusions=self.ends)


def told(home: Path, crew: Says, orders: dict[str, str] = RECKLESS, **more: Any) -> Story:
    people = {name: text for name, text in SHIPPED.items() if "people" in name}
    files = {**people, **orders}
    return Story(home, policies=files, crew=lambda: crew, pools={"train": 8}, **more)


def spam(briefing: Briefing, turn: int) -> list[Draft]:
    """Another title each time, in a thread of its own, about incidents that it makes up."""
    return [
        draft(f"X-{turn}-{n}", kind(subject="x", title=f"wake up {turn}.{n}"), incident=f"INC-9{n}")
        for n in range(20)
        for kind in (NotifyPage, TicketOpen)
    ]


def of(story: Story, source: str, kind: Kind) -> int:
    return sum(e.data.get("source") == source for e in story.events(kind))


def test_a_planner_that_pages_every_turn_sends_a_few_an_hour_and_the_rest_is_counted(
    tmp_path: Path,
) -> None:
    crew = Says(spam)
    story = told(tmp_path, crew)
    story.turns(60, every_s=60.0)
    assert of(story, PLANNER, Kind.PAGED) <= BOUNDS[PLANNER].pages
    assert of(story, PLANNER, Kind.TICKETED) <= BOUNDS[PLANNER].tickets
    assert story.paged("held back")
    assert any("people are called enough" in text for text in crew.heard), "and it is told so"
    story.turns(5, every_s=60.0)
    title = next(t for k, t, _ in story.notifier.tickets if k.startswith("held:"))
    count = int(title.split()[0])
    sent = of(story, PLANNER, Kind.PAGED) + of(story, PLANNER, Kind.TICKETED)
    assert count >= 60 * 40 - sent - 40
    assert story.record.books.counts["notify", "held_back"] == count
    story.journal.close()


def test_s28_a_restart_does_not_refill_it(tmp_path: Path) -> None:
    story = told(tmp_path, Says(spam))
    for _ in range(6):
        story.turns(2, every_s=30.0)
        story.crash_and_start()
    assert of(story, PLANNER, Kind.PAGED) <= BOUNDS[PLANNER].about
    story.journal.close()


def test_an_hour_later_there_is_room_again(tmp_path: Path) -> None:
    story = told(tmp_path, Says(spam))
    story.turns(3)
    first = of(story, PLANNER, Kind.PAGED)
    story.clock.pass_s(3601.0)
    story.turns(3)
    assert of(story, PLANNER, Kind.PAGED) == 2 * first
    story.journal.close()


def test_while_a_planner_spams_a_halt_still_reaches_the_pager(tmp_path: Path) -> None:
    story = told(tmp_path, Says(spam))
    pager = Notify(tmp_path / "pages.log", None, story.clock)
    story.watch.teller = Teller(pager, story.record)
    story.turns(30, every_s=10.0)
    for name in ("train-01", "train-02", "train-03", "train-04"):
        story.cluster.lose(name)
    story.until(lambda: story.record.books.halted, within=60, every_s=10.0)
    assert "The watch has halted and needs a person" in (tmp_path / "pages.log").read_text()
    story.journal.close()


def test_all_that_others_may_cause_leaves_the_watch_room_on_the_pager() -> None:
    assert sum(b.pages for b in BOUNDS.values()) <= PAGES_PER_HOUR - 10
    assert sum(b.tickets for b in BOUNDS.values()) <= TICKETS_PER_HOUR - 20


def test_questions_that_wait_are_bounded_and_their_tickets_too(tmp_path: Path) -> None:
    def ask(briefing: Briefing, turn: int) -> list[Draft]:
        nodes = [n for n in briefing.snapshot.nodes.values() if not n.control_path]
        kinds = (NodeCordon, NodeReplace)
        return [
            draft(f"Q-{turn}-{n.name}-{k.__name__}", k(node=n.name, incarnation=n.incarnation))
            for n in nodes
            for k in kinds
        ]

    crew = Says(ask)
    story = told(tmp_path, crew, ASK_ALL)
    story.turns(40, every_s=60.0)
    assert 0 < len(story.desk.asks()) <= MOST_ASKED_ABOUT <= MOST_ASKED
    assert of(story, QUESTION, Kind.TICKETED) <= BOUNDS[QUESTION].about
    assert any("questions about no incident wait" in text for text in crew.heard)
    story.journal.close()


@pytest.mark.parametrize("page", [True, False])
def test_an_incident_that_a_planner_gives_up_reaches_a_person_however_much_it_spams(
    tmp_path: Path, page: bool
) -> None:
    crew = Says(spam)
    story = told(tmp_path, crew)
    story.turns(5, every_s=10.0)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: bool(story.record.books.open_incidents()), every_s=5.0)
    ident = story.record.books.open_incidents()[0].id
    crew.ends = (Conclusion(thread=ident, end="escalated", why="no idea", page=page),)
    story.turns(2)
    told_by = story.notifier.pages if page else story.notifier.tickets
    assert any(key == f"escalated:{ident}" for key, _, _ in told_by)
    story.journal.close()


def test_the_same_key_again_is_neither_sent_nor_counted(tmp_path: Path) -> None:
    same = [draft("T", NotifyPage(subject="x", title="the same"))]
    story = told(tmp_path, Says(lambda _b, _t: same))
    story.turns(50)
    assert of(story, PLANNER, Kind.PAGED) == 1
    assert not story.paged("held back")
    story.journal.close()
