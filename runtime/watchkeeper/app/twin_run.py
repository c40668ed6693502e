"""Plays a twin with the real watch over it, and counts what came of it.

`play` is what evals, `policy simulate` and tests call. Everything in it is simulated; the watch,
its crew, gate, executor and journal are the real ones, on the twin's clock.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from watchkeeper.app.twin_assert import Ledger, Violation
from watchkeeper.app.twin_cadence import Dense, Held, Skipping
from watchkeeper.app.twin_count import Mended, mended
from watchkeeper.app.twin_parts import Boundary, Crash, Parts, TwinPager, put_together
from watchkeeper.app.twin_people import People
from watchkeeper.app.twin_trace import Trace
from watchkeeper.control.turn import turn
from watchkeeper.core.crew import Crew
from watchkeeper.core.word import Word
from watchkeeper.health.sense import REAL, SenseSettings
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.people import OnCall
from watchkeeper.twin.words import DAY_S, Tally, TwinSpec

PROGRESS_S = 1.0
"""Progress is told at most so often, in real seconds."""


class FalseCount(Word, frozen=True):
    """Disruptive actions that no true fault called for, of all that were taken. by_class and
    by_kind: name -> (false, taken). lapsed: of the false ones, those whose fault had just ended
    by itself."""

    false: int
    taken: int
    lapsed: int
    by_class: dict[str, tuple[int, int]]
    by_kind: dict[str, tuple[int, int]]


class Played(Word, frozen=True):
    """One run, counted. Everything is simulated.

    verdicts, refused_by, effects, results, incidents, signals: name -> how often. asks are
    questions to people; asked_night those by night. escalations: fault class -> incidents that
    ended with a person. mttr: class of true fault -> what became of it. violations: promises
    broken; must be empty. trace_hash: SHA-256 of what was decided. lines: what it was taken of,
    where that was asked for. wall_s: real seconds, and no part of what is compared.
    """

    spec: TwinSpec
    tally: Tally
    false_actions: FalseCount
    verdicts: dict[str, int]
    refused_by: dict[str, int]
    effects: dict[str, int]
    results: dict[str, int]
    incidents: dict[str, int]
    signals: dict[str, int]
    asks: int
    asked_night: int
    answered: int
    pages: int
    tickets: int
    escalations: dict[str, int]
    halts: int
    mttr: dict[str, Mended]
    faults: int
    violations: tuple[Violation, ...]
    effects_checked: int
    trace_hash: str
    turns: int
    ticks: int
    cadence: str
    why: dict[str, int]
    crashes: int
    wall_s: float
    lines: tuple[str, ...] = ()


Progress = Callable[[float, int], None]
"""Told now and then: share of the run that is played, and turns held so far."""


def play(
    spec: TwinSpec,
    orders: Mapping[str, str],
    *,
    skip: bool = True,
    crew: Crew | None = None,
    people: bool = True,
    progress: Progress | None = None,
    crash_at: Callable[[str], bool] | None = None,
    sense: SenseSettings = REAL,
    on_call: OnCall | None = None,
    keep_lines: bool = False,
    cluster: TwinCluster | None = None,
) -> Played:
    """Play the whole of a twin under these orders (file name -> text) and count.

    skip: hold turns only where something can come of them; the decisions are the same. crew:
    another planner in the place of the real crew. people: whether anybody answers. crash_at: asked
    at every boundary of record and effect (see `twin_parts.Boundary`); where it says True the
    watch is killed and started again from its journal. cluster: a twin that is built already.
    Raises PolicyError when the orders do not load.
    """
    run = TwinRun(
        spec,
        orders,
        skip=skip,
        crew=crew,
        people=People(spec, present=people, on_call=on_call),
        crash_at=crash_at,
        sense=sense,
        keep_lines=keep_lines,
        cluster=cluster,
    )
    with tempfile.TemporaryDirectory(prefix="watchkeeper-twin-") as home, _few_cycles():
        return run.play(Path(home), progress)


@contextmanager
def _few_cycles() -> Iterator[None]:
    """A turn makes hundreds of words that live on and hardly a cycle among them: to look for those
    after every 700 words took 8 % of a run of 2,048 nodes."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class TwinRun:
    """One twin, one watch over it, and who answers."""

    def __init__(
        self,
        spec: TwinSpec,
        orders: Mapping[str, str],
        *,
        skip: bool,
        crew: Crew | None,
        people: People,
        crash_at: Callable[[str], bool] | None,
        sense: SenseSettings,
        keep_lines: bool,
        cluster: TwinCluster | None,
    ) -> None:
        self._spec, self._orders, self._crew = spec, orders, crew
        self._cluster = cluster or TwinCluster.of(spec)
        self._people, self._sense, self._crash_at = people, sense, crash_at
        self._cadence = Skipping(spec.tick_s) if skip else Dense(spec.tick_s)
        self._trace = Trace(keep=keep_lines)
        self._pager, self._ledger = TwinPager(), Ledger()
        self._crashes = 0

    def play(self, home: Path, progress: Progress | None = None) -> Played:
        """From the first tick to the last."""
        began = told = time.perf_counter()
        last = int(self._spec.days * DAY_S / self._spec.tick_s)
        tick = 0
        parts = self._start(home)
        while tick <= last:
            self._cluster.advance(tick * self._spec.tick_s)
            try:
                self._people.answer(parts)
                turn(parts.watch)
            except Crash:
                parts = self._start_again(home, parts)
                continue  # the same tick, with a new process
            self._people.hear(parts)
            tick = self._cadence.after(tick, parts, self._people)
            if progress is not None and time.perf_counter() - told >= PROGRESS_S:
                told = time.perf_counter()
                progress(min(1.0, tick / max(1, last)), self._cadence.turns)
        self._cluster.advance(max(self._cluster.clock.s, self._spec.days * DAY_S))
        parts.close()
        return self._counted(last + 1, time.perf_counter() - began)

    def _start(self, home: Path) -> Parts:
        parts = put_together(
            self._cluster,
            self._orders,
            home,
            crew=self._crew,
            sense=self._sense,
            pager=self._pager,
            ledger=self._ledger,
            boundary=self._boundary() if self._crash_at is not None else None,
        )
        parts.journal.listen(self._trace.hear)
        parts.journal.listen(self._cadence.hear)
        return parts

    def _start_again(self, home: Path, parts: Parts) -> Parts:
        """kill -9 and a new process: journal, latch and cluster are what is left."""
        self._crashes += 1
        parts.close()
        return self._start(home)

    def _boundary(self) -> Boundary:
        asks = self._crash_at
        assert asks is not None

        def boundary(where: str) -> None:
            if asks(where):
                raise Crash(where)

        return boundary

    def _counted(self, ticks: int, wall_s: float) -> Played:
        trace, held = self._trace, self._cadence.held(ticks)
        judged = self._cluster.false_actions
        ends = {
            end.partition(":")[2]: n for end, n in trace.ends.items() if end.startswith("escalated")
        }
        return Played(
            spec=self._spec,
            tally=self._cluster.tally(),
            false_actions=FalseCount(
                false=judged.false,
                taken=judged.taken,
                lapsed=judged.lapsed,
                by_class=judged.by_class(),
                by_kind=judged.by_kind(),
            ),
            verdicts=dict(trace.verdicts),
            refused_by=dict(trace.refused),
            effects=dict(trace.effects),
            results=dict(trace.results),
            incidents=dict(trace.incidents),
            signals=dict(trace.signals),
            asks=self._people.asked,
            asked_night=self._people.asked_at_night,
            answered=self._people.answered,
            pages=len(self._pager.pages),
            tickets=len(self._pager.tickets),
            escalations=ends,
            halts=trace.halts,
            mttr=mended(self._cluster),
            faults=len(self._cluster.harm.played),
            violations=tuple(self._ledger.violations),
            effects_checked=len(self._ledger.past),
            trace_hash=trace.digest,
            turns=held.turns,
            ticks=ticks,
            cadence=held.says(),
            why=held.why,
            crashes=self._crashes,
            wall_s=round(wall_s, 3),
            lines=tuple(trace.lines),
        )


__all__ = ["Crash", "FalseCount", "Held", "Played", "TwinRun", "play"]
