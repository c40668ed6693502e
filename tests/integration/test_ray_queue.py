"""The line before Ray, on a real lab: a forecast adds a node before anybody waits, a wave of gangs
is admitted whole, and an urgent one takes the place of the cheapest, which goes on from its
checkpoint. Real raylets, real jobs, the real turn, gate and executor; only the history of demand
is made up."""

from __future__ import annotations

import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.stories.world import MemoryMirror, MemoryNotifier

from watchkeeper.adapters import ray_admission
from watchkeeper.adapters.gang_progress import ProgressRoot
from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.adapters.ray_jobs import JobApi
from watchkeeper.adapters.stop_file import FileStop
from watchkeeper.adapters.system_clock import SystemClock, SystemIds
from watchkeeper.control.execute import Executor
from watchkeeper.control.look import Looker
from watchkeeper.control.policy_shelf import Shelf, Source
from watchkeeper.control.record import Record
from watchkeeper.control.tell import Teller
from watchkeeper.control.turn import turn
from watchkeeper.control.watch import Watch
from watchkeeper.core.action import JobPlace, NodeCordon, NodeUncordon
from watchkeeper.core.cluster import ClusterState, JobState, RayState, World
from watchkeeper.core.errors import EffectFailed, Malformed, Refused
from watchkeeper.core.event import Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.telemetry import (
    GPU_FIELDS,
    HOST_FIELDS,
    FleetFrame,
    SourceState,
    TelemetryRead,
)
from watchkeeper.demand.choose import KeptChoices
from watchkeeper.health.sense import LAB
from watchkeeper.placement.running import Terms
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.words import CrewSettings

from .ray_fixture import LiveLab

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

ORDERS = """apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: line, owner: nobody}
rules:
  - {id: admit, effect: allow, actions: [job.place]}
  - id: make-room
    effect: allow
    actions: [job.preempt]
    when: preempt.for_priority > job.priority && impact.gpu_hours <= 1.0
  - id: ahead
    effect: allow
    actions: [pool.scale]
    when: pool.pending_gpus == 0.0 && scale.add == 1 && forecast.score <= 0.95
"""
ELASTIC = """apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: elastic, owner: nobody}
rules:
  - {id: admit, effect: allow, actions: [job.place, job.preempt]}
"""
HOUR = 3600.0


class EveryNodeSpeaks:
    """This lab runs without collectors: each living node is heard, and says nothing of its GPUs."""

    def __init__(self, lab: LiveLab) -> None:
        self._lab = lab

    def read(self) -> TelemetryRead:
        nodes = self._lab.read().nodes.values()
        names = tuple(n.name for n in nodes if n.ray_state is RayState.ALIVE)
        frame = FleetFrame(
            nodes=names,
            read_at=np.full(len(names), time.time()),
            gpu=np.full((len(names), 8, len(GPU_FIELDS)), np.nan, np.float32),
            host=np.full((len(names), len(HOST_FIELDS)), np.nan, np.float32),
            simulated=np.ones(len(names), np.bool_),
            vendor=("simulated",) * len(names),
            row={name: i for i, name in enumerate(names)},
        )
        return TelemetryRead(frame=frame, signals=(), source=SourceState("telemetry", 0.0))


class DailyWave:
    """The real forecaster, over ten made-up days in which some GPUs more than there are were wanted
    at what is an hour from now."""

    def __init__(self) -> None:
        self.made: Forecast | None = None

    def collect(self, state: ClusterState, at: datetime) -> tuple[Forecast, ...]:
        train = next((d for d in state.demand if d.pool == "train"), None)
        if self.made is not None or train is None:
            return ()
        now = at.timestamp()
        hours = range(240, -1, -1)
        peak = train.total_gpus - 4.0
        samples = [(now - h * HOUR, 8.0 + peak * _wave(-h), 0.0) for h in hours]
        self.made = KeptChoices().forecast("train", samples, at)
        return (self.made,)


def _wave(hour: int) -> float:
    """1 an hour from now of each day, 0 half a day apart."""
    return max(0.0, math.cos((hour - 1) * 2 * math.pi / 24)) ** 2


class Line:
    """A watch over the lab, whose turns the test takes."""

    def __init__(self, lab: LiveLab, home: Path, orders: str = ORDERS) -> None:
        self.lab = lab
        clock = SystemClock()
        self.journal = FileJournal(home / "journal", clock)
        record = Record(self.journal)
        looker = Looker(lab.reader, EveryNodeSpeaks(lab), clock)
        shelf = Shelf(Source(lambda: ({"line.yaml": orders}, {}), lambda: ""), clock.policy_now())
        stop = FileStop(home / "STOP", clock)
        acts = {k: a for a in (lab.actuator, lab.provider) for k in a.serves}
        self.forecaster = DailyWave()
        self.watch = Watch(
            record=record,
            looker=looker,
            crew=LangGraphCrew(
                settings=CrewSettings(terms=Terms(1.0, 10.0), recheck_s=1.0, grow_after_s=5.0)
            ),
            executor=Executor(
                record=record, actuators=acts, stop=stop, look=looker.look, policy=shelf.current,
                clock=clock,
            ),
            teller=Teller(MemoryNotifier(), record),
            mirror=MemoryMirror(),
            stop=stop,
            policies=shelf,
            forecaster=self.forecaster,
            clock=clock,
            ids=SystemIds(),
            world=World.LAB,
            sense=LAB,
        )  # fmt: skip
        record.write(Kind.AUTONOMY, by="test", level="auto")

    def until(self, fact: Callable[[ClusterState], Any], what: str, within_s: float = 40.0) -> None:
        """Turns until a fact of the cluster holds."""
        end = time.monotonic() + within_s
        while True:
            turn(self.watch)
            self.admission.tidy()
            state = self.lab.read()
            if fact(state):
                return
            assert time.monotonic() < end, f"{what}: {self.told()}\n{self.thought()}\n{state.jobs}"
            time.sleep(0.3)

    @property
    def admission(self) -> Any:
        return self.lab.actuator.admission

    def told(self) -> list[str]:
        """What was done and said, in order."""
        said = []
        for event in self.journal.events():
            if event.kind is Kind.EFFECT_STARTED:
                said.append(f"{event.data['action']} {event.data['targets'][0]}")
            elif event.kind is Kind.EFFECT_FINISHED:
                said.append(f"  {event.data['result']}: {event.data.get('why', '')}")
        return said

    def thought(self) -> list[str]:
        """What a message tells besides."""
        state = self.lab.read()
        told = [f"{n.name} {n.ray_state} {n.gpus}" for n in state.nodes.values()]
        made = self.forecaster.made
        return [str(state.demand), str(told), str(made.values[:2] if made else None)]

    def effects(self) -> list[str]:
        return [line for line in self.told() if not line.startswith(" ")]

    def submit(self, name: str, **more: Any) -> None:
        """Hand in a gang of whole nodes, as its owner would."""
        steps, save = more.pop("steps", 1_000_000), more.pop("save", 5)
        words = [
            *(sys.executable, "-m", "watchkeeper.adapters.ray_gang", "--job", name),
            *("--root", self.lab.info.progress_root, "--steps", str(steps)),
            *("--step-seconds", "0.1", "--checkpoint-every", str(save)),
        ]
        self.admission.submit(
            {"name": name, "entrypoint": shlex.join(words), "workers": 2, "gpus": 8.0,
             "pool": "train", **more}
        )  # fmt: skip

    def report(self, name: str) -> Any:
        return ProgressRoot(Path(self.lab.info.progress_root)).read(name)


@pytest.fixture
def line(lab: LiveLab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Line]:
    line = Line(lab, tmp_path, getattr(request, "param", ORDERS))
    yield line
    for name, job in lab.read().jobs.items():
        if job.held:
            line.admission.cancel(name)
        elif job.state in (JobState.RUNNING, JobState.WAITING):
            JobApi(lab.info.job_api).stop(job.attempt_id)
    lab.until(
        lambda s: line.admission.tidy() + sum(d.running_gpus for d in s.demand) == 0,
        "GPUs are free",
    )
    line.journal.close()


def test_a_gang_is_admitted_whole_or_not_at_all(
    lab: LiveLab, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Malformed, match="least must be between 0 and its 2 workers"):
        line.submit("odd", least=3)
    line.submit("pair", steps=3)
    with pytest.raises(Refused, match="waits already"):
        line.submit("pair")
    job = lab.read().jobs["pair"]
    assert (job.held, job.state, job.pending_gpus, job.attempt_id) == (
        True, JobState.WAITING, 16.0, "pair-a0",
    )  # fmt: skip
    monkeypatch.setattr(ray_admission, "SEATS_S", 2.0)
    taken, free = "train-01", "train-02"
    fence = NodeCordon(node=taken, incarnation=lab.incarnation(taken))
    lab.actuator.execute(lab.order(fence))  # its GPUs are gone after the gang was judged
    order = JobPlace(job="pair", attempt_id="pair-a0", nodes=(free, taken))
    with pytest.raises(EffectFailed, match=r"were not free together within 2 s\. None is held"):
        lab.actuator.execute(lab.order(order))
    lab.actuator.execute(lab.order(NodeUncordon(node=taken, incarnation=fence.incarnation)))
    lab.until(lambda s: s.nodes[taken].gpus_free == 8, "open again")
    state = lab.read()
    assert state.nodes[free].gpus_free == 8, "no seat is kept of a gang that was not whole"
    assert state.jobs["pair"].held
    assert state.scaler == ""
    line.admission.cancel("pair")


def test_forecast_wave_preemption_and_resume(lab: LiveLab, line: Line) -> None:
    before = {n.name for n in lab.read().nodes.values() if n.gpus}

    line.until(lambda s: sum(n.gpus > 0 for n in s.nodes.values()) > len(before), "it never grew")
    assert line.effects() == ["pool.scale pool:train"]
    assert not any(j.pending_gpus for j in lab.read().jobs.values()), "and nobody waits yet"
    made = line.forecaster.made
    assert made is not None
    assert made.score is not None

    line.submit("often", priority=1, save=5)
    line.submit("seldom", priority=1, save=100_000)
    line.until(
        lambda s: all((s.jobs[n].step or 0) >= 10 for n in ("often", "seldom")), "the wave runs"
    )
    assert len(set(lab.read().jobs["often"].nodes) | set(lab.read().jobs["seldom"].nodes)) == 4

    line.submit("urgent", priority=9, steps=15)
    line.until(lambda s: s.jobs["urgent"].state is JobState.RUNNING, "the urgent runs")
    victim = lab.read().jobs["often"]
    assert (victim.held, victim.state, victim.attempt) == (True, JobState.WAITING, 1)
    saved = victim.checkpoint_step
    assert saved is not None
    assert saved == victim.step, "told to stop, it saved first: no step is lost"
    assert lab.read().jobs["seldom"].state is JobState.RUNNING, "it would have lost more"

    line.until(
        lambda s: (
            s.jobs["urgent"].state is JobState.SUCCEEDED
            and s.jobs["often"].state is JobState.RUNNING
            and (s.jobs["often"].step or 0) > saved
        ),
        "the victim goes on",
    )
    assert line.report("often").resumed_from == saved
    assert line.report("often").attempt == 2
    done = line.effects()
    assert done.index("job.preempt job:often") < done.index("job.place job:urgent")
    assert done[-1] == "job.place job:often"
    assert done.count("job.preempt job:often") == 1
    assert "job.preempt job:seldom" not in done


@pytest.mark.skipif(not os.environ.get("WATCHKEEPER_NIGHTLY"), reason="half a minute: by night")
@pytest.mark.parametrize(
    "line", [pytest.param(ELASTIC, id="orders that let it grow")], indirect=True
)
def test_an_elastic_gang_shrinks_for_an_urgent_one_and_grows_back_with_no_step_lost(
    lab: LiveLab, line: Line
) -> None:
    all_of = sum(n.gpus > 0 for n in lab.read().nodes.values())
    line.submit("elastic", workers=all_of, least=1, priority=1)
    line.until(lambda s: (s.jobs["elastic"].step or 0) >= 5, "it runs")
    assert len(lab.read().jobs["elastic"].nodes) == all_of

    line.submit("urgent", workers=1, priority=9, steps=30)
    line.until(
        lambda s: (
            s.jobs["urgent"].step is not None
            and line.report("elastic").attempt == 2
            and len(s.jobs["elastic"].nodes) == all_of - 1
        ),
        "it goes on smaller beside the urgent",
    )
    small = line.report("elastic")
    assert small.resumed_from > 0, "from where it saved when it was told to stop"

    line.until(
        lambda s: line.report("elastic").attempt == 3 and len(s.jobs["elastic"].nodes) == all_of,
        "it grows back",
        within_s=90.0,
    )
    whole = line.report("elastic")
    assert whole.resumed_from >= small.resumed_from
    assert line.effects().count("job.preempt job:elastic") == 2, "once to shrink, once to grow"
