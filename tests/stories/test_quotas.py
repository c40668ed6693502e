"""Quotas of the orders in the line, told with the real turn, crew, gate and executor: who is within
its own goes first, who used much of late goes later, and nobody holds more than it may."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from watchkeeper.core.action import kind_of
from watchkeeper.core.cluster import JobState, World
from watchkeeper.core.event import Kind
from watchkeeper.core.usage import UsageRecord
from watchkeeper.core.word import plain
from watchkeeper.placement.running import Terms
from watchkeeper.twin.memory import ManualClock, MemoryCluster
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.words import CrewSettings

from .world import NIGHT, Story

PACE = CrewSettings(terms=Terms(least_runtime_s=5.0, restart_s=60.0), leaves_s=2.0, grow_after_s=20)

ORDERS = """
apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: shares}
allowances:
  - {id: lab-month, tenant: lab, gpu_hours: 10, when_used_up: hold}
quotas:
  nlp: {gpus: 16}
  vision: {gpus: 0, gpus_at_most: 16}
rules:
  - id: go
    effect: allow
    actions: [job.place, job.preempt]
    reason: The line decides.
"""


@pytest.fixture
def story(tmp_path: Path) -> Story:
    cluster = MemoryCluster.of(ManualClock(NIGHT), {"train": 3}, world=World.LAB)
    cluster.admits = True
    told = Story(
        tmp_path,
        cluster=cluster,
        policies={"shares.yaml": ORDERS},
        crew=lambda: LangGraphCrew(settings=PACE),
    )
    told.turns(2)
    return told


def runs(story: Story, job: str) -> bool:
    return story.cluster.jobs[job].state is JobState.RUNNING


def why(story: Story, job: str) -> str:
    (found,) = [j.why_waits for j in story.desk.board().jobs if j.name == job]
    return found


def test_nobody_holds_more_than_it_may_and_nobody_is_stopped_for_that(story: Story) -> None:
    story.cluster.ask("theirs", 2, tenant="vision")
    story.until(lambda: runs(story, "theirs"), within=20)
    story.clock.pass_s(60)
    story.cluster.ask("more", 1, tenant="vision", priority=9)
    story.turns(6)
    assert not runs(story, "more"), "one node is free, and its tenant may hold no more"
    assert "tenant vision holds 16 GPUs and may hold 16" in why(story, "more")
    assert "job.preempt" not in [kind_of(o.action) for o in story.cluster.effects]


def test_what_was_borrowed_is_claimed_back_by_who_owns_it(story: Story) -> None:
    story.cluster.ask("borrowed", 2, tenant="vision")
    story.until(lambda: runs(story, "borrowed"), within=20)
    story.clock.pass_s(60)
    story.cluster.ask("own", 2, tenant="nlp")
    story.until(lambda: runs(story, "own"), within=60)
    assert not runs(story, "borrowed")


def metered(story: Story, tenant: str, hours: float) -> None:
    """A quarter of an hour of metering that ends now, written to the record."""
    now = story.clock.now()
    held = UsageRecord(
        first=now - timedelta(minutes=15),
        last=now,
        known_s=900.0,
        gpu_hours={"train": {"held": hours}},
        tenants={"train": {tenant: hours}},
        world=World.LAB,
    )
    story.record.write(Kind.METERED, ("usage",), usage=plain(held))


def test_a_tenant_whose_month_is_used_up_waits_and_others_go_on(story: Story) -> None:
    metered(story, "lab", 9.5)
    story.cluster.ask("early", 1, tenant="lab")
    story.until(lambda: runs(story, "early"), within=20)
    metered(story, "lab", 0.6)
    story.clock.pass_s(60)
    story.cluster.ask("late", 1, tenant="lab", priority=9)
    story.cluster.ask("other", 1, tenant="nlp")
    story.until(lambda: runs(story, "other"), within=20)
    assert not runs(story, "late"), "a node is free, and nobody else waits"
    assert "the allowance lab-month is used up: 10 of 10 GPU-hours this month" in why(story, "late")
    assert runs(story, "early"), "what runs is not stopped for it"
    story.crash_and_start()
    story.turns(4)
    assert not runs(story, "late")
    story.clock.pass_s(31 * 86400)
    story.until(lambda: runs(story, "late"), within=20)


def test_who_used_much_of_late_goes_after_who_used_little(story: Story) -> None:
    metered(story, "much", 40.0)
    story.cluster.ask("first", 3, tenant="much")
    story.clock.pass_s(1)
    story.cluster.ask("second", 3, tenant="little")
    story.until(lambda: runs(story, "second"), within=20)
    assert not runs(story, "first")
    story.crash_and_start()
    assert story.record.books.used["much"].gpu_s == 40.0 * 3600
