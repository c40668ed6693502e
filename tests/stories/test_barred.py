"""What a hold or a freeze of the orders keeps from beginning is left as one ticket for each
incident: what, by whom, until when, what would be done after. It is settled when that ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import pytest
from world import ALICE, BEN, DAY, Kind, Story

from watchkeeper.control.hush import BARRED, BOUNDS
from watchkeeper.core.desk import Person
from watchkeeper.core.incident import IncidentState
from watchkeeper.core.word import plain
from watchkeeper_agents.crew import LangGraphCrew

Tell = Callable[..., Story]
HEAD = "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: open}\n"
PEOPLE = "people: {oncall: [primary, secondary], break-glass: [primary]}\n"
RULES = 'rules:\n  - {id: all-may-be-done, effect: allow, actions: ["*"]}\n'
OPEN = {"policies/open.yaml": HEAD + PEOPLE + RULES}
WINDOW = (
    "windows:\n  freeze: {days: [mon, tue, wed, thu, fri, sat, sun], from: '00:00', to: '13:00',"
    " tz: UTC}\n"
)
FREEZE = (
    "  - {id: freeze-holds, effect: deny, enforcement: soft, actions: [node.cordon, node.drain],"
    " during: freeze, reason: Change freeze.}\n"
)
FROZEN = {"policies/open.yaml": HEAD + PEOPLE + WINDOW + RULES + FREEZE}
ALWAYS = {"policies/open.yaml": HEAD + PEOPLE + RULES + FREEZE.replace(" during: freeze,", "")}

GLASS = Person(name="primary", groups=("oncall", "break-glass"))


def ill(tell: Tell, policies: dict[str, str], hour: datetime = DAY) -> Story:
    story = tell(policies=policies, crew=LangGraphCrew, hour=hour)
    story.turns(2)
    return story


def tickets(story: Story) -> list[tuple[str, str, str]]:
    return [t for t in story.notifier.tickets if t[0].startswith("barred:")]


def settled(story: Story) -> list[str]:
    return [title for key, title, _ in story.notifier.settled if key == tickets(story)[-1][0]]


def test_a_hold_on_a_sick_node_is_one_ticket_that_says_what_by_whom_until_when_and_what_then(
    tell: Tell,
) -> None:
    story = ill(tell, OPEN)
    until = story.clock.now() + timedelta(hours=2)
    story.desk.hold(BEN, ["node:train-02"], until, "hands in the rack")
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: tickets(story))
    story.turns(120, every_s=10.0)  # it is refused again every 5 minutes, and nobody hears of that
    ((_, title, body),) = tickets(story)
    assert "INC-1 waits: Cordon train-02 is held back." in title
    assert f"secondary holds node train-02 until {until:%Y-%m-%d %H:%M} UTC" in title
    assert "hands in the rack" in title
    assert "`watchkeeper release H-1`" in title
    assert "What would be done after: Cordon train-02, then " in body
    assert story.notifier.pages == []
    assert settled(story) == []


@pytest.mark.parametrize("ends", ["released", "its time"])
def test_the_ticket_is_settled_when_the_hold_ends_and_the_repair_begins(
    tell: Tell, ends: str
) -> None:
    story = ill(tell, OPEN)
    story.desk.hold(BEN, ["node:train-02"], story.clock.now() + timedelta(minutes=10))
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: tickets(story))
    if ends == "released":
        story.desk.release(ALICE, "H-1")
    else:
        story.clock.pass_s(601.0)
    story.turns(2)
    assert settled(story) == ["INC-1 is held back no longer: H-1 has ended. Policy is asked again."]
    assert "node.cordon" in story.done()
    assert story.record.books.barred == {}
    assert "INC-1 is held back no longer" in story.log()


def test_a_restart_neither_tells_it_twice_nor_forgets_to_settle_it(tell: Tell) -> None:
    story = ill(tell, OPEN)
    story.desk.hold(BEN, ["fleet"], story.clock.now() + timedelta(hours=2))
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: tickets(story))
    story.crash_and_start()
    story.turns(40, every_s=10.0)
    assert len(tickets(story)) == 1
    story.desk.release(ALICE, "H-1")
    story.turns(2)
    assert len(settled(story)) == 1


def test_a_freeze_of_the_orders_is_told_with_its_order_and_until_when(tell: Tell) -> None:
    story = ill(tell, FROZEN)  # at 12:00, the freeze ends at 13:00
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: tickets(story))
    ((_, title, body),) = tickets(story)
    assert "By order freeze-holds, policies/open.yaml:" in title
    assert "freeze: open until 13:00 UTC" in title
    assert "Change freeze." in title
    assert "`watchkeeper break-glass P-" in title
    assert "What would be done after: Cordon train-02" in body
    story.until(lambda: settled(story), within=80, every_s=60.0)
    assert "freeze is over. Policy is asked again." in settled(story)[0]
    story.until(lambda: "node.cordon" in story.done(), within=40, every_s=10.0)


def test_a_break_glass_that_lifts_the_freeze_settles_it(tell: Tell) -> None:
    story = ill(tell, FROZEN)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: tickets(story))
    story.desk.break_glass(tickets(story)[0][0].rpartition(":")[2], GLASS, "It drops packets.")
    story.until(lambda: "node.cordon" in story.done())
    story.until(lambda: settled(story), within=120, every_s=10.0)


def test_a_rule_that_refuses_for_good_is_no_freeze(tell: Tell) -> None:
    story = ill(tell, ALWAYS)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: any(f.state.value == "denied" for f in story.files()))
    story.turns(20)
    assert tickets(story) == []


def test_what_the_incident_ended_without_is_settled_with_it(tell: Tell) -> None:
    story = ill(tell, OPEN)
    story.desk.hold(BEN, ["fleet"], story.clock.now() + timedelta(hours=9))
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: tickets(story))
    (incident,) = story.record.books.open_incidents()
    ended = msgspec.structs.replace(incident, state=IncidentState.RESOLVED, closed_because="gone")
    story.record.write(Kind.INCIDENT_CLOSED, (incident.id,), incident=plain(ended))
    story.turns(1)
    assert "the incident is closed" in settled(story)[0]


def test_a_hold_over_many_sick_nodes_fills_no_pager_and_wakes_nobody(tell: Tell) -> None:
    story = tell(policies=OPEN, crew=LangGraphCrew, hour=DAY, pools={"train": 200})
    story.turns(2)
    story.desk.hold(BEN, ["fleet"], story.clock.now() + timedelta(hours=9))
    for n in range(1, 20):
        story.cluster.xid(f"train-{n:02d}", 3, 79)
    story.turns(30, every_s=10.0)
    assert len(tickets(story)) == BOUNDS[BARRED].tickets
    assert story.notifier.pages == []
    story.turns(8, every_s=600.0)
    assert [t for _, t, _ in story.notifier.tickets if "calls on people were held back" in t]
