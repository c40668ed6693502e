"""The line before the nodes, told with the real turn, crew, gate and executor over a cluster in
memory: nobody is half placed, the urgent come first, and what was planned is held against what
was needed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from watchkeeper.core.action import kind_of
from watchkeeper.core.cluster import ClusterState, JobState, World
from watchkeeper.core.event import Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.placement.running import Terms
from watchkeeper.twin.memory import ManualClock, MemoryCluster
from watchkeeper_agents.chat import answer_from
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.words import CrewSettings

from .world import NIGHT, Story

PACE = CrewSettings(terms=Terms(least_runtime_s=5.0, restart_s=60.0), leaves_s=2.0, grow_after_s=20)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path, cluster=admitting(), crew=lambda: LangGraphCrew(settings=PACE))


def admitting() -> MemoryCluster:
    """Three nodes of eight GPUs, by night, before which gangs wait for our admission."""
    cluster = MemoryCluster.of(ManualClock(NIGHT), {"train": 3}, world=World.LAB)
    cluster.admits = True
    return cluster


def steps(story: Story) -> list[str]:
    """Effects on gangs and pools, in order, as `job.place wide`."""
    return [
        f"{kind_of(o.action)} {getattr(o.action, 'job', '') or getattr(o.action, 'pool', '')}"
        for o in story.cluster.effects
    ]


def state(story: Story, job: str) -> JobState:
    return story.cluster.jobs[job].state


def test_a_wave_is_admitted_in_its_turn_and_every_gang_whole(story: Story) -> None:
    for name, nodes in (("wide", 2), ("late", 2), ("narrow", 1)):
        story.cluster.ask(name, nodes)
        story.clock.pass_s(1.0)
    story.until(lambda: state(story, "narrow") is JobState.RUNNING, within=20)
    story.turns(3)
    running = {n: j for n, j in story.cluster.jobs.items() if j.state is JobState.RUNNING}
    assert {n: len(j.nodes) for n, j in running.items()} == {"wide": 2, "narrow": 1}
    taken = [name for job in running.values() for name in job.nodes]
    assert len(taken) == len(set(taken)) == 3
    assert state(story, "late") is JobState.WAITING, "one node would not do, so it has none"


def test_the_urgent_takes_the_place_of_the_cheapest_which_goes_on_where_it_saved(
    story: Story,
) -> None:
    for name, node in (("often", "train-01"), ("seldom", "train-02"), ("other", "train-03")):
        story.cluster.run(name, (node,))
    stale = NIGHT - timedelta(hours=6)
    for name in ("seldom", "other"):
        job = story.cluster.jobs[name]
        story.cluster.jobs[name] = msgspec.structs.replace(job, checkpoint_at=stale)
    story.clock.pass_s(30.0)
    story.cluster.ask("urgent", 1, priority=9)
    story.until(lambda: state(story, "urgent") is JobState.RUNNING, within=40)
    assert steps(story)[:2] == ["job.preempt often", "job.place urgent"]
    victim = story.cluster.jobs["often"]
    assert (victim.state, victim.held, victim.checkpoint_step) == (JobState.WAITING, True, 120)
    done = msgspec.structs.replace(story.cluster.jobs["urgent"], state=JobState.SUCCEEDED, nodes=())
    story.cluster.jobs["urgent"] = done
    story.until(lambda: state(story, "often") is JobState.RUNNING, within=40)
    assert story.cluster.jobs["often"].step == 120, "from its checkpoint"
    assert "seldom" not in "".join(steps(story)), "nobody else was stopped"


def test_an_elastic_victim_goes_on_smaller_and_grows_back_when_nobody_waits(story: Story) -> None:
    job = story.cluster.run("elastic", ("train-01", "train-02", "train-03"))
    story.cluster.jobs["elastic"] = msgspec.structs.replace(job, workers=3, least=1)
    story.clock.pass_s(30.0)
    story.cluster.ask("urgent", 1, priority=9)
    story.until(lambda: len(story.cluster.jobs["elastic"].nodes) == 2, within=60)
    assert state(story, "urgent") is JobState.RUNNING
    assert steps(story)[:3] == ["job.preempt elastic", "job.place urgent", "job.place elastic"]
    done = msgspec.structs.replace(story.cluster.jobs["urgent"], state=JobState.SUCCEEDED, nodes=())
    story.cluster.jobs["urgent"] = done
    small = story.cluster.jobs["elastic"]
    story.until(
        lambda: story.desk.asks() or len(story.cluster.jobs["elastic"].nodes) == 3, within=80
    )
    ask = story.desk.asks()[0]
    assert ask.title == "Preempt elastic?", "no order lets it restart a gang for this alone"
    assert "runs with 2 of 3 workers; nobody waits" in ask.shown.proposal.reason
    assert small.state is JobState.RUNNING


def test_every_door_says_why_a_gang_waits(tmp_path: Path) -> None:
    story = Story(tmp_path, cluster=admitting(), autonomy="observe")
    story.cluster.run("llama", ("train-01", "train-02"))
    story.cluster.ask("bert-7", 2)
    story.turns(2)
    board = story.desk.board()
    (told,) = [j.why_waits for j in board.jobs if j.name == "bert-7"]
    assert told == (
        "bert-7 needs 2 whole nodes; 1 is free; the rest is held by llama (16 GPUs); no runtime "
        "estimate says when that ends."
    )
    assert answer_from("why does bert-7 wait", board, ()).startswith(told)
    assert answer_from("who is waiting?", board, ()) == told
    assert not any(j.why_waits for j in board.jobs if j.name != "bert-7")


class Told:
    """A forecast of 40 GPUs, made once."""

    def __init__(self) -> None:
        self.made = False

    def collect(self, state: ClusterState, at: object) -> tuple[Forecast, ...]:
        if self.made:
            return ()
        self.made = True
        return (
            Forecast(
                pool="train", made_at=state.read_at, method="told", why="by the test",
                horizons_s=(3600.0,), quantiles=(0.5, 0.9), values=((30.0, 40.0),),
                history_s=1e6,
            ),
        )  # fmt: skip


def test_what_was_planned_is_held_against_what_was_needed_and_survives_a_restart(
    story: Story,
) -> None:
    story.watch.forecaster = Told()
    story.watch.review_s = 600.0
    story.cluster.run("llama", ("train-01", "train-02"))
    story.turns(62, every_s=10.0)
    (event,) = story.events(Kind.REGRET)
    regret = event.data["regret"]
    assert (regret["planned"], regret["needed"], regret["had"]) == (40.0, 16.0, 24.0)
    assert regret["idle"] == pytest.approx(8 * 600 / 3600, abs=0.06)
    assert regret["short"] == 0.0
    said = story.desk.board().pools[0].looked_back[0]
    assert "Planned 40 GPUs" in said
    assert "16 were needed at most: 24 too many. 1.4 GPU-hours stood idle" in said
    assert "Looks back" in story.log()
    story.crash_and_start()
    story.turns(1)
    assert story.desk.board().pools[0].looked_back[0] == said
