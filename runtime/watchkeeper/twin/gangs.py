"""One gang: its progress in closed form between events, and what became of each of its seconds.

Nothing is stepped: a gang is a handful of numbers that hold since `mark_s`, and `settle` carries
them forward. Every second that the gang is owed its GPUs is either useful or lost to one cause,
so `useful + lost == allocated` at any time. Knows no nodes' health and no world; `work` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple

from watchkeeper.core.cluster import JobState

CAUSES = (
    "redo",
    "restart",
    "stopped",
    "queue",
    "hang",
    "slow",
    "starved",
    "taint",
    "drain",
    "checkpoint",
)
"""redo: steps since the checkpoint, done again. stopped: nobody has submitted it again yet.
queue: waits for nodes. starved: its storage stands still or is slow. drain: redo of our own making.
taint: steps on a state that was corrupt."""


class Pace(NamedTuple):
    """How fast it steps: 1 is its own pace, 0 not at all. cause: what the rest is lost to."""

    share: float = 1.0
    cause: str = "slow"


class Stood(NamedTuple):
    """From this time of the twin on it had these nodes."""

    since_s: float
    nodes: tuple[int, ...]


FULL = Pace()


def cycle(phase_s: float, dt: float, every_s: float, cost_s: float) -> tuple[float, int, float]:
    """dt seconds further in the rhythm of work and checkpoint: (seconds worked, checkpoints
    finished, new phase). A cycle is every_s of work and then cost_s of writing."""
    whole = every_s + cost_s
    x = phase_s + dt
    count = int(x // whole)
    rest = x - count * whole
    worked = count * every_s + min(rest, every_s) - min(phase_s, every_s)
    return worked, count, rest


@dataclass(slots=True)
class Gang:
    """Whole nodes that run, stop and restart together.

    width: nodes it needs. done and kept: seconds of work behind its newest step and its last
    checkpoint. unsaved: those of `useful` that a stop would lose. clean and clean_s: the last
    checkpoint before its state became corrupt at corrupt_s, while `tainted`. known: somebody has
    noticed that. stood: since when it had which nodes, the latest last: for who asks afterwards.
    """

    name: str
    pool: str
    width: int
    gpus: float
    every_s: float
    cost_s: float
    restart_s: float
    step_s: float
    tenant: str = ""
    priority: int = 0
    nodes: list[int] = field(default_factory=list)
    stood: list[Stood] = field(default_factory=list)
    state: JobState = JobState.RUNNING
    since_s: float = 0.0
    attempt: int = 1
    mark_s: float = 0.0
    ready_s: float = 0.0
    phase_s: float = 0.0
    pace: Pace = FULL
    done: float = 0.0
    progressed_s: float = 0.0
    kept: float = 0.0
    kept_s: float = 0.0
    tainted: bool = False
    known: bool = False
    clean: float = 0.0
    clean_s: float = 0.0
    corrupt_s: float = 0.0
    useful: float = 0.0
    unsaved: float = 0.0
    lost: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0.0))

    def move(self, nodes: list[int], at_s: float) -> None:
        """These are its nodes from now on."""
        self.nodes = nodes
        if not self.stood or self.stood[-1].nodes != tuple(nodes):
            self.stood.append(Stood(at_s, tuple(nodes)))

    def stood_on(self, from_s: float, to_s: float) -> set[int]:
        """Every node it had at any time between these two."""
        ends = [*(then.since_s for then in self.stood[1:]), inf]
        spans = zip(self.stood, ends, strict=True)
        return {i for at, end in spans if at.since_s <= to_s and end > from_s for i in at.nodes}

    @property
    def running(self) -> bool:
        return self.state is JobState.RUNNING

    @property
    def works(self) -> bool:
        """It runs and steps, at whatever pace."""
        return self.running and self.pace.share > 0.0

    def settle(self, to_s: float) -> None:
        """Book every second up to now."""
        dt = to_s - self.mark_s
        self.mark_s = to_s
        if dt <= 0.0:
            return
        if self.state is JobState.STOPPED:
            self.lost["stopped"] += dt
        elif self.state is JobState.WAITING:
            self.lost["queue"] += dt
        else:
            starting = min(max(self.ready_s - (to_s - dt), 0.0), dt)
            self.lost["restart"] += starting
            if dt > starting:
                self._work(dt - starting, to_s)

    def _work(self, dt: float, to_s: float) -> None:
        share, cause = self.pace
        if share <= 0.0:
            self.lost[cause] += dt
            return
        before = self.phase_s
        worked, count, self.phase_s = cycle(before, dt, self.every_s, self.cost_s)
        gained = worked * share
        since = min(self.phase_s, self.every_s) * share
        self.lost["checkpoint"] += dt - worked
        self.lost[cause] += worked - gained
        self.done += gained
        self.progressed_s = to_s
        if count:
            self.kept = self.done - since
            self.kept_s = to_s - dt - before + count * (self.every_s + self.cost_s)
        if self.tainted:
            self.lost["taint"] += gained
        else:
            self.useful += gained
            self.unsaved = since if count else self.unsaved + gained

    def seen(self, at_s: float) -> tuple[float, float, float, float]:
        """What it would report at a time from `mark_s` on: done, when it last progressed, kept,
        and when that was whole. Changes nothing. Asked of every gang; hence written out."""
        begin = self.mark_s if self.mark_s > self.ready_s else self.ready_s
        share = self.pace[0]
        if at_s <= begin or share <= 0.0 or self.state is not JobState.RUNNING:
            return self.done, self.progressed_s, self.kept, self.kept_s
        every, phase = self.every_s, self.phase_s
        whole = every + self.cost_s
        x = phase + at_s - begin
        count = x // whole
        rest = x - count * whole
        into = rest if rest < every else every
        worked = count * every + into - (phase if phase < every else every)
        done = self.done + worked * share
        if not count:
            return done, at_s, self.kept, self.kept_s
        return done, at_s, done - into * share, begin - phase + count * whole

    def next_checkpoint_s(self) -> float:
        """When the checkpoint that comes next will be whole; inf when it makes no steps."""
        if not self.works:
            return inf
        return max(self.mark_s, self.ready_s) + self.every_s + self.cost_s - self.phase_s

    def copy(self) -> Gang:
        """The same gang, to be carried forward without moving this one."""
        return replace(self, lost=dict(self.lost))

    # What happens to it.

    def set_pace(self, pace: Pace, at_s: float) -> None:
        self.settle(at_s)
        self.pace = pace

    def begin_checkpoint(self, at_s: float) -> float:
        """Start writing now, out of its rhythm; when that will be whole. At once for a gang that
        has nothing to write or cannot."""
        self.settle(at_s)
        if not self.works or at_s <= self.ready_s:
            return at_s
        self.phase_s = max(self.phase_s, self.every_s)
        return self.next_checkpoint_s()

    def taint(self, at_s: float) -> None:
        """From here on its steps are worth nothing, until it goes back to before this."""
        self.settle(at_s)
        if not self.tainted:
            self.tainted, self.known = True, False
            self.clean, self.clean_s, self.corrupt_s = self.kept, self.kept_s, at_s

    def stop(self, at_s: float, state: JobState, cause: str = "redo") -> None:
        """It ends here. cause: what the steps since its checkpoint are lost to."""
        self.settle(at_s)
        if self.running and not (self.tainted and self.kept > self.clean):
            self._lose(cause)  # a tainted gang with a later checkpoint goes on from that one
        self.state, self.since_s = state, at_s

    def wait(self, at_s: float) -> None:
        """It is submitted, and its nodes are not there."""
        self.settle(at_s)
        self.state, self.since_s = JobState.WAITING, at_s

    def start(self, at_s: float) -> None:
        """A new attempt, from its last checkpoint: the last clean one if the taint is known."""
        self.settle(at_s)
        if self.tainted and (self.known or self.kept <= self.clean):
            self._lose("redo")
            self.kept, self.kept_s, self.tainted = self.clean, self.clean_s, False
        self.state, self.since_s = JobState.RUNNING, at_s
        self.attempt += 1
        self.done, self.progressed_s, self.phase_s = self.kept, at_s, 0.0
        self.ready_s, self.pace = at_s + self.restart_s, FULL

    def go_back(self, before_s: float) -> None:
        """While it stands still: from a checkpoint written before this time, and from none later.

        Checkpoints older than the newest lie a cycle apart; what they lack is done again.
        """
        if self.tainted and before_s <= self.corrupt_s:
            self.known = True
        newest = (self.clean, self.clean_s) if self.known and self.tainted else None
        kept, kept_s = newest or (self.kept, self.kept_s)
        if kept_s >= before_s and not self.tainted:
            back = int((kept_s - before_s) // (self.every_s + self.cost_s)) + 1
            less = min(kept, back * self.every_s)
            self.useful -= less
            self.lost["redo"] += less
            self.kept, self.kept_s = kept - less, kept_s - back * (self.every_s + self.cost_s)

    def _lose(self, cause: str) -> None:
        self.useful -= self.unsaved
        self.lost[cause] += self.unsaved
        self.unsaved = 0.0
