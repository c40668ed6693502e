"""Nodes that a person has kept for a time, told with the real turn, gate, executor and book:
policy decides, the line keeps them for their tenant from then on, and then all of it is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from watchkeeper.adapters.reservation_book import Keeping, ReservationBook
from watchkeeper.app.door_calls import calls
from watchkeeper.app.print_tables import status_table
from watchkeeper.core.action import PoolReserve
from watchkeeper.core.cluster import JobState, World
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Refused, UsageError
from watchkeeper.core.verdict import Answer
from watchkeeper.core.word import plain
from watchkeeper.placement.running import Terms
from watchkeeper.twin.memory import ManualClock, MemoryCluster
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.words import CrewSettings

from .world import ALICE, NIGHT, Story

PACE = CrewSettings(terms=Terms(least_runtime_s=5.0, restart_s=60.0), leaves_s=2.0, grow_after_s=20)
ANNA = Person(name="anna")

ORDERS = """
apiVersion: watchkeeper/v1
kind: Policy
metadata: {{name: kept}}
people: {{oncall: [primary, bob]}}
rules:
  - {{id: place, effect: allow, actions: [job.place]}}
  - id: keep
    effect: {effect}
    actions: [pool.reserve]
    when: reserve.nodes <= 2 && reserve.for <= duration("12h")
    reason: Nodes are kept for those who ask in time.
{more}
"""


class Kept(Story):
    """A story in which the reservation book is wired in, as `app.wiring` does."""

    def _start(self, autonomy: str) -> None:
        self.book = ReservationBook(
            self.home / "reservations.jsonl", self.cluster.cluster_id, self.clock
        )
        super()._start(autonomy)
        self.watch.looker._reader = Keeping(self.cluster, self.book, self.clock)
        served = {**self.watch.executor.actuators, "pool.reserve": self.book}
        self.watch.executor = replace(self.watch.executor, actuators=served)

    def wish(self, action: PoolReserve, person: Person = ANNA) -> Any:
        """What the desk says once the turn has judged it."""
        return self.hear(lambda: self.desk.reserve(action, person))

    def hear(self, call: Callable[[], Any]) -> Any:
        """The answer of a call that waits for the turn."""
        found: list[Any] = []

        def ask() -> None:
            try:
                found.append(call())
            except Refused as err:
                found.append(err)

        door = threading.Thread(target=ask)
        door.start()
        while not found:
            self.turns(1)
            door.join(0.05)
        return found[0]


def story(home: Path, effect: str = "allow", more: str = "") -> Kept:
    cluster = MemoryCluster.of(ManualClock(NIGHT), {"train": 3}, world=World.LAB)
    cluster.admits = True
    orders = {"kept.yaml": ORDERS.format(effect=effect, more=more)}
    told = Kept(home, cluster=cluster, policies=orders, crew=lambda: LangGraphCrew(settings=PACE))
    told.turns(2)
    return told


def kept(told: Kept, begins_h: float, hours: float, nodes: int = 2) -> PoolReserve:
    begin = told.clock.now() + timedelta(hours=begins_h)
    until = begin + timedelta(hours=hours)
    return PoolReserve(pool="train", nodes=nodes, begin=begin, until=until, tenant="nlp")


def runs(told: Kept, job: str) -> bool:
    return told.cluster.jobs[job].state is JobState.RUNNING


def test_nodes_are_kept_for_their_tenant_and_free_again_when_it_is_over(tmp_path: Path) -> None:
    told = story(tmp_path)
    said = told.wish(kept(told, 0.0, 1.0))
    assert said.says.startswith("Policy allows it")
    told.turns(3)
    (shown,) = told.desk.board().reserved
    assert (shown.ident, shown.nodes, shown.tenant) == ("R1", 2, "nlp")
    assert [f.state.value for f in told.files()] == ["recovered"]

    told.cluster.ask("theirs", 2, tenant="vision")
    told.cluster.ask("ours", 2, tenant="nlp")
    told.until(lambda: runs(told, "ours"), within=20)
    assert not runs(told, "theirs")
    (why,) = [j.why_waits for j in told.desk.board().jobs if j.name == "theirs"]
    assert "2 nodes are reserved for nlp (R1)" in why
    ended = msgspec.structs.replace(told.cluster.jobs["ours"], state=JobState.SUCCEEDED, nodes=())
    told.cluster.jobs["ours"] = ended
    told.turns(3)
    assert not runs(told, "theirs")

    told.clock.pass_s(3600)
    told.until(lambda: runs(told, "theirs"), within=20)
    assert told.desk.board().reserved == ()


def test_until_it_begins_others_may_use_the_nodes_if_they_are_done_by_then(tmp_path: Path) -> None:
    told = story(tmp_path)
    told.wish(kept(told, 2.0, 4.0))
    told.turns(2)
    for name, runtime_s in (("long", 3 * 3600.0), ("untold", None), ("short", 3600.0)):
        told.cluster.ask(name, 2, tenant="vision", runtime_s=runtime_s)
    told.until(lambda: runs(told, "short"), within=20)
    assert not runs(told, "long")
    assert not runs(told, "untold")


def test_policy_is_asked_as_for_any_action_and_who_asks_does_not_approve(tmp_path: Path) -> None:
    refused = story(tmp_path / "a", "deny")
    said = refused.wish(kept(refused, 0.0, 1.0))
    assert said.says.startswith("Policy refuses it")
    refused.turns(2)
    assert refused.desk.board().reserved == ()

    asked = story(tmp_path / "b", "ask", "    approvals: {from: [group:oncall]}")
    said = asked.wish(kept(asked, 0.0, 1.0), ALICE)
    assert said.says.startswith("Policy asks people about it first")
    with pytest.raises(Refused):
        asked.answer(Answer.APPROVE, ALICE)
    asked.answer(Answer.APPROVE, Person(name="bob", groups=("oncall",)))
    asked.turns(3)
    assert [r.ident for r in asked.desk.board().reserved] == ["R1"]


def test_orders_bound_how_many_nodes_and_for_how_long(tmp_path: Path) -> None:
    told = story(tmp_path)
    for action in (kept(told, 0.0, 1.0, nodes=3), kept(told, 0.0, 13.0)):
        assert told.wish(action).says.startswith("Policy refuses it")
    assert told.wish(kept(told, 0.0, 12.0)).says.startswith("Policy allows it")


def test_what_cannot_be_kept_is_refused_with_the_reason(tmp_path: Path) -> None:
    told = story(tmp_path)
    told.wish(kept(told, 0.0, 1.0))
    told.turns(3)
    assert "train has 3 nodes, and 2 of them are reserved then" in str(
        told.wish(kept(told, 0.5, 1.0))
    )
    assert "over" in str(told.wish(kept(told, -3.0, 1.0)))
    assert "Say from when" in str(told.wish(PoolReserve(pool="train", nodes=1)))
    assert "no pool named x" in str(told.wish(PoolReserve(pool="x", nodes=1, begin=NIGHT,
        until=NIGHT + timedelta(days=1))))  # fmt: skip


def test_a_reservation_outlives_the_watch_and_can_be_given_up(tmp_path: Path) -> None:
    told = story(tmp_path)
    told.wish(kept(told, 0.0, 1.0))
    told.turns(3)
    told.crash_and_start()
    told.turns(2)
    assert [r.ident for r in told.desk.board().reserved] == ["R1"]
    told.book.give_up("R1")
    told.turns(1)
    assert told.desk.board().reserved == ()
    told.crash_and_start()
    told.turns(2)
    assert told.desk.board().reserved == ()


def test_the_command_line_s_door_reserves_in_a_name_and_gives_up(tmp_path: Path) -> None:
    told = story(tmp_path)
    served = calls(
        told.desk, lambda: None, None, told.record, "", give_up=told.book.give_up
    )  # fmt: skip
    begin = told.clock.now()
    asked = {
        "pool": "train",
        "nodes": 1,
        "begin": begin.isoformat(),
        "until": (begin + timedelta(hours=1)).isoformat(),
        "tenant": "nlp",
    }
    with pytest.raises(UsageError, match="not one of the policy's people"):
        served["reserve"](**asked, person="anybody")
    with pytest.raises(UsageError, match="nodes must be between"):
        served["reserve"](**{**asked, "nodes": 0}, person="primary")
    said = told.hear(lambda: served["reserve"](**asked, person="primary"))
    assert said["says"].startswith("Policy allows it")
    told.turns(3)
    assert "Reserved R1: 1 of train for nlp" in status_table(plain(told.desk.board()))
    served["unreserve"](ident="R1", person="bob")
    told.turns(1)
    assert told.desk.board().reserved == ()
    assert "R1 was given up: 1 nodes of train for nlp." in told.log()
