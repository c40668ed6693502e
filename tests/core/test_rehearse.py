"""A step played in the twin before it is proposed: what it foresees; that it touches nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.core.crew_stage import job, node, snapshot
from tests.stories.test_model import Model, lost, story_of

from watchkeeper.core.action import (
    Action,
    CheckRun,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeReboot,
    NodeRestart,
    NodeUncordon,
    PoolScale,
)
from watchkeeper.core.cluster import JobState, RayState
from watchkeeper.core.word import canonical
from watchkeeper.twin.rehearse import TwinRehearsal

ON: dict[str, Any] = {"node": "train-02", "incarnation": "inc-train-02"}
ALIVE = snapshot(
    node("train-01"), node("train-02"), jobs=(job(state=JobState.RUNNING, nodes=("train-02",)),)
)
DEAD = snapshot(node("train-01"), node("train-02", RayState.DEAD), jobs=(job(),))


def test_a_drain_is_foreseen_to_stop_its_gang_and_to_take_the_node_out() -> None:
    drain = NodeDrain(**ON, deadline_s=60.0)
    seen = TwinRehearsal().rehearse(ALIVE, (NodeCordon(**ON), drain, NodeReboot(**ON)))
    assert seen is not None
    assert (seen.holds, seen.gangs_stopped, seen.gpus_out, seen.nodes_out) == (True, 0, 8.0, 1)
    assert seen.plan == ("node.drain", "node.reboot")
    alone = TwinRehearsal().rehearse(ALIVE, (drain,))
    assert alone is not None
    assert (alone.gangs_stopped, alone.after_s) == (1, 65.0)


def test_a_whole_way_home_is_played_to_its_end() -> None:
    steps: tuple[Action, ...] = (
        NodeRestart(**ON),
        CheckRun(node="train-02", incarnation=""),
        NodeUncordon(node="train-02", incarnation=""),
        JobRequeue(job="llm", attempt_id="a1"),
    )
    seen = TwinRehearsal().rehearse(DEAD, steps)
    assert seen is not None
    assert seen.plan == ("check.run", "node.uncordon", "job.requeue")
    assert seen.stuck == ""
    assert seen.says() == (
        "Rehearsed in the twin: done after about 30 s, 0 gangs stopped, 0 GPUs out; then "
        "check.run, node.uncordon, job.requeue."
    )


def test_a_step_on_a_life_that_is_over_does_not_come_to_its_end() -> None:
    seen = TwinRehearsal().rehearse(ALIVE, (NodeCordon(node="train-02", incarnation="older"),))
    assert seen is not None
    assert not seen.holds
    assert "another incarnation" in seen.says()


@pytest.mark.parametrize("actions", [(), (PoolScale(pool="train", add=1),)], ids=["none", "a pool"])
def test_what_the_twin_cannot_play_is_not_foreseen(actions: tuple[Action, ...]) -> None:
    assert TwinRehearsal().rehearse(ALIVE, actions) is None


def test_the_snapshot_is_as_it_was() -> None:
    before = canonical(ALIVE.state)
    TwinRehearsal().rehearse(ALIVE, (NodeDrain(**ON, deadline_s=5.0), NodeReboot(**ON)))
    assert canonical(ALIVE.state) == before


def test_what_was_foreseen_is_on_the_record_and_held_against_what_was_seen(tmp_path: Path) -> None:
    story = story_of(tmp_path, Model("step"))
    story.watch.rehearsal = TwinRehearsal()
    lost(story)
    story.until(lambda: "Seen: done after" in story.log())
    chosen = next(f for f in story.files() if f.proposal.chosen is not None)
    assert chosen.proposal.predicted is not None
    assert chosen.proposal.predicted.holds
    assert "Rehearsed in the twin: done after about 30 s" in story.log()
    rules = [f for f in story.files() if f.proposal.chosen is None]
    assert all(f.proposal.predicted is None for f in rules)
    story.journal.close()
