"""A burst: every thread is answered in the same turn, and every thread is kept a little later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from watchkeeper.control.look import Looker
from watchkeeper.core.action import kind_of, node_of
from watchkeeper.core.cluster import Node, World
from watchkeeper.core.crew import Briefing, CrewReply, StepResult
from watchkeeper.core.incident import Incident
from watchkeeper.health.correlate import correlate
from watchkeeper.health.sense import sense
from watchkeeper.twin.memory import CountingIds, ManualClock, MemoryCluster
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.threads import MOST_BEGUN
from watchkeeper_agents.words import CrewSettings

NODES = 3 * MOST_BEGUN
SETTINGS = CrewSettings(canary=False)


class Burst:
    """A pool of which every node died, and a crew that has not heard of it."""

    def __init__(self) -> None:
        self.clock = ManualClock(datetime(2026, 11, 18, 1, 30, tzinfo=UTC))
        self.cluster = MemoryCluster.of(self.clock, {"train": NODES}, world=World.TWIN)
        for name in list(self.cluster.nodes)[1:]:
            node = self.cluster.nodes[name]
            self.cluster.nodes[name] = _apart(node)
            self.cluster.lose(name)
        self.clock.pass_s(60.0)
        self.crew = LangGraphCrew(settings=SETTINGS)
        self.incidents: tuple[Incident, ...] = ()
        self.ids = CountingIds()

    def turn(self, results: tuple[StepResult, ...] = ()) -> CrewReply:
        seen = Looker(self.cluster, self.cluster.telemetry(), self.clock).look()
        assert seen is not None
        self.incidents = correlate(self.incidents, sense(seen), seen, self.ids)
        self.clock.pass_s(1.0)
        briefing = Briefing(
            snapshot=seen,
            incidents=self.incidents,
            forecasts={},
            results=results,
            busy=frozenset(),
            serves=self.cluster.serves,
            checked={},
        )
        return self.crew.ask(briefing)

    def kept(self) -> int:
        """Threads that are parked in their graph."""
        built = self.crew._built
        assert built is not None
        return len(built.threads._parked)


def _apart(node: Node) -> Node:
    """In a rack of its own, so that no rack is taken for the patient."""
    return msgspec.structs.replace(node, rack=f"rack-{node.name}")


def test_every_incident_of_a_burst_is_answered_in_the_turn_that_sees_it() -> None:
    reply = Burst().turn()
    assert len({d.thread for d in reply.drafts}) == NODES
    assert {node_of(d.action) for d in reply.drafts} == {
        f"train-{i:02d}" for i in range(1, NODES + 1)
    }


def test_a_burst_is_answered_as_each_incident_alone_would_be() -> None:
    burst = Burst()
    many = {d.thread: d for d in burst.turn().drafts}
    alone = LangGraphCrew(settings=SETTINGS)
    last = burst.incidents[-1]
    seen = Looker(burst.cluster, burst.cluster.telemetry(), burst.clock).look()
    assert seen is not None
    briefing = Briefing(
        snapshot=seen,
        incidents=(last,),
        forecasts={},
        results=(),
        busy=frozenset(),
        serves=burst.cluster.serves,
        checked={},
    )
    (draft,) = alone.ask(briefing).drafts
    assert many[last.id] == draft


def test_a_turn_begins_no_more_threads_than_its_share_and_later_turns_begin_the_rest() -> None:
    burst = Burst()
    kept = []
    for _ in range(4):
        burst.turn()
        kept.append(burst.kept())
    assert kept[0] == MOST_BEGUN
    assert kept == sorted(kept)
    assert kept[-1] == NODES


def test_what_a_thread_heard_before_it_was_kept_is_not_forgotten() -> None:
    burst = Burst()
    first = burst.turn()
    last = first.drafts[-1]
    refused = StepResult(
        thread=last.thread,
        proposal="P-1",
        action=last.action,
        kind="verdict",
        value="deny",
        refused_by="policy",
        says="not tonight",
    )
    heard = burst.turn((refused,))
    assert last.thread not in {d.thread for d in heard.drafts}, "it was told no"
    for _ in range(4):
        again = burst.turn()
        assert last.thread not in {d.thread for d in again.drafts}, "and it remembers"
    assert kind_of(last.action) == "node.restart"
    burst.clock.pass_s(timedelta(hours=1).total_seconds())
    assert last.thread in {d.thread for d in burst.turn().drafts}, "until it may ask again"
