"""The gangs as Ray tells of them: Job words and the pools' demand.

A gang reports its step at set times, the small ones in turn, so that what is seen is a function of
the time, and a quiet tick has little to write. A reading that was handed out never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from watchkeeper.core.cluster import Job, JobState, PoolDemand
from watchkeeper.twin.clock import TwinClock
from watchkeeper.twin.gangs import Gang
from watchkeeper.twin.machines import Machines
from watchkeeper.twin.work import Work

REPORT_S = 60.0
"""Gangs of several nodes report on whole minutes."""
SMALL_REPORT_S = 60.0
"""Jobs of one node report every minute too, in turn: a gang from which no step came for two
minutes is taken for one that hangs."""
TURN_S = 10.0


class _Seen(NamedTuple):
    """What gangs report at one time. stepping: rows that only made steps, and the newest step of
    each. saved: rows that have another checkpoint, too; step, its step and its time of each.
    others: rows that were not asked, since they began just now."""

    stepping: tuple[list[int], list[int]]
    saved: tuple[list[int], list[int], list[int], list[float]]
    others: list[int]


class _Turn:
    """Gangs that report at the same times: every period_s, from offset_s on. rows: where `_Told`
    keeps them."""

    __slots__ = ("last_s", "offset_s", "period_s", "rows")

    def __init__(self, period_s: float, offset_s: float, rows: range) -> None:
        self.period_s, self.offset_s, self.rows = period_s, offset_s, rows
        self.last_s = -1.0

    def report_s(self, at_s: float) -> float:
        """The last time of reporting up to now; 0 before the first."""
        since = at_s - self.offset_s
        return max(0.0, since - since % self.period_s + self.offset_s)


class _Told:
    """What `Gang.seen` asks of each gang, and what was last told of its checkpoint, as columns.
    numbers: f8[11, N]; taken anew where a gang is stale, since between events they stand still."""

    __slots__ = ("gangs", "names", "numbers", "row", "stale")

    def __init__(self, gangs: list[Gang]) -> None:
        self.gangs, self.names = gangs, [gang.name for gang in gangs]
        self.row = {name: i for i, name in enumerate(self.names)}
        self.stale = set(range(len(gangs)))
        self.numbers = np.full((11, len(gangs)), np.nan)

    def seen(self, rows: NDArray[np.intp], at_s: NDArray[np.float64]) -> _Seen:
        """The same sums as `Gang.seen`, for these rows at once, each at a time of its own; told
        at once of those saved."""
        self._refresh()
        numbers = self.numbers if len(rows) == len(self.gangs) else self.numbers[:, rows]
        begin, share, every, cost, phase, done, step_s, held, held_s, told_s, told = numbers
        steps = (share > 0.0) & (at_s > begin)
        whole = every + cost
        x = phase + at_s - begin
        count = x // whole
        into = np.minimum(x - count * whole, every)
        now = done + (count * every + into - np.minimum(phase, every)) * share
        kept = (np.where(count > 0, now - into * share, held) / step_s + 1e-6).astype(np.int64)
        kept_s = np.where(count > 0, begin - phase + count * whole, held_s)
        step = (now / step_s + 1e-6).astype(np.int64)
        same = (kept_s == told_s) & (kept == told)
        plain, saved = np.flatnonzero(steps & same), np.flatnonzero(steps & ~same)
        self.numbers[9:, rows[saved]] = kept_s[saved], kept[saved]
        return _Seen(
            stepping=(rows[plain].tolist(), step[plain].tolist()),
            saved=(
                rows[saved].tolist(),
                step[saved].tolist(),
                kept[saved].tolist(),
                kept_s[saved].tolist(),
            ),
            others=rows[(share > 0.0) & ~steps].tolist(),
        )

    def told(self, name: str, kept_s: float, kept_step: int) -> None:
        """This was said of its checkpoint."""
        self.numbers[9:, self.row[name]] = kept_s, kept_step

    def _refresh(self) -> None:
        for i in self.stale:
            gang = self.gangs[i]
            share = gang.pace.share if gang.running else 0.0
            begin = max(gang.mark_s, gang.ready_s)
            self.numbers[:, i] = (
                *(begin, share, gang.every_s, gang.cost_s, gang.phase_s),
                *(gang.done, gang.step_s, gang.kept, gang.kept_s, np.nan, np.nan),
            )
        self.stale.clear()


class Roster:
    """Words of every gang, rewritten when it changed or its turn to report has come."""

    def __init__(self, work: Work, machines: Machines, clock: TwinClock) -> None:
        self.work, self.machines, self.clock = work, machines, clock
        self._jobs: dict[str, Job] = {}
        self._handed = False
        self._turns, gangs = _take_turns(work.gangs.values())
        self._told = _Told(gangs)
        self._turn_of = {gangs[i].name: turn for turn in self._turns for i in turn.rows}
        self._demand: tuple[tuple[int, int], tuple[PoolDemand, ...]] = ((-1, -1), ())

    def jobs(self) -> dict[str, Job]:
        """Every gang by name. The caller keeps it; later changes go to a copy."""
        now_s, dirty = self.clock.s, self.work.dirty
        due = [t for t in self._turns if t.last_s != t.report_s(now_s)]
        if not due and not dirty:
            return self._jobs
        if self._handed:
            self._jobs = dict(self._jobs)
        self._handed = True
        for name in sorted(dirty):
            gang, turn = self.work.gangs[name], self._turn_of[name]
            self._told.stale.add(self._told.row[name])
            self._jobs[name] = self._anew(gang)
            self._report(gang, max(gang.mark_s, turn.report_s(now_s)), None)
        if due:
            self._take_reports(due, dirty)
        dirty.clear()
        return self._jobs

    def _take_reports(self, due: list[_Turn], written: set[str]) -> None:
        """The words of all whose turn has come, but for what an event has just written."""
        for turn in due:
            turn.last_s = turn.report_s(self.clock.s)
        jobs, names = self._jobs, self._told.names
        rows = np.concatenate([np.arange(turn.rows.start, turn.rows.stop) for turn in due])
        times = [turn.last_s for turn in due]
        seen = self._told.seen(rows, np.repeat(times, [len(turn.rows) for turn in due]))
        at_of = {
            row: at for turn in due for at in (self.clock.at(turn.last_s),) for row in turn.rows
        }
        for row, step in zip(*seen.stepping, strict=True):
            name = names[row]
            jobs[name] = replace(jobs[name], step=step, step_at=at_of[row])
        for row, step, kept, kept_s in zip(*seen.saved, strict=True):
            name = names[row]
            if name not in written:
                jobs[name] = replace(
                    jobs[name],
                    step=step,
                    step_at=at_of[row],
                    checkpoint_step=kept,
                    checkpoint_at=self.clock.at(kept_s),
                )
        for row in seen.others:
            if names[row] not in written:
                turn = self._turn_of[names[row]]
                self._report(self._told.gangs[row], turn.last_s, at_of[row])

    def _report(self, gang: Gang, report_s: float, at: datetime | None) -> None:
        """Write the gang's own numbers of a time into its word. at: that time, if it is at hand."""
        if report_s < gang.mark_s:
            return  # it changed since then, and that was written
        done, progressed_s, kept, kept_s = gang.seen(report_s)
        name = gang.name
        shared = at is not None and progressed_s == report_s
        step_at = at if shared else self.clock.at(progressed_s)
        step, job = int(done / gang.step_s + 1e-6), self._jobs[name]
        kept_step = int(kept / gang.step_s + 1e-6)
        self._told.told(name, kept_s, kept_step)
        self._jobs[name] = replace(
            job,
            step=step,
            step_at=step_at,
            checkpoint_step=kept_step,
            checkpoint_at=self.clock.at(kept_s),
        )

    def _anew(self, gang: Gang) -> Job:
        """What of a word only an event changes."""
        waits = gang.state is JobState.WAITING
        names = self.machines.names
        return Job(
            name=gang.name,
            attempt_id=f"{gang.name}-a{gang.attempt}",
            state=gang.state,
            state_since=self.clock.at(gang.since_s),
            attempt=gang.attempt,
            tenant=gang.tenant,
            priority=gang.priority,
            pool=gang.pool,
            gpus=gang.gpus,
            pending_gpus=self.lacks(gang) if waits else 0.0,
            pending_bundle_gpus=gang.gpus / gang.width if waits else 0.0,
            nodes=tuple([names[i] for i in gang.nodes]),
        )

    def report_s(self, gang: Gang, at_s: float) -> float:
        """The last time up to this one at which the gang reports by the clock."""
        return self._turn_of[gang.name].report_s(at_s)

    def lacks(self, gang: Gang) -> float:
        """GPUs that a waiting gang has no claim on."""
        able, holder = self.machines.able, self.work.holder
        have = sum(holder[i] is gang and bool(able[i]) for i in gang.nodes)
        return (gang.width - have) * gang.gpus / gang.width

    def demand(self, pools: Sequence[str]) -> tuple[PoolDemand, ...]:
        """Queue and use by pool, in GPUs."""
        key = (self.work.stamp, self.machines.stamp)
        if self._demand[0] != key:
            self._demand = (key, tuple(self._pool_demand(pool) for pool in pools))
        return self._demand[1]

    def _pool_demand(self, pool: str) -> PoolDemand:
        waiting, running_gpus = [], 0.0
        for gang in self.work.gangs.values():
            if gang.pool != pool:
                continue
            if gang.state is JobState.RUNNING:
                running_gpus += gang.gpus
            elif gang.state is JobState.WAITING:
                waiting.append(gang)
        waiting.sort(key=lambda g: (-g.priority, g.since_s, g.name))
        return PoolDemand(
            pool=pool,
            total_gpus=float(self.machines.gpus_of(pool)),
            running_gpus=running_gpus,
            pending_gpus=sum(self.lacks(g) for g in waiting),
            waiting_jobs=len(waiting),
            fits_nowhere=bool(waiting),
            blocked_job=waiting[0].name if waiting else "",
        )


def _take_turns(gangs: Iterable[Gang]) -> tuple[list[_Turn], list[Gang]]:
    """Who reports when; and the gangs in the order of those turns, so that the rows of each lie
    side by side."""
    every = list(gangs)
    count = int(SMALL_REPORT_S / TURN_S)
    small = [(n % count, gang) for n, gang in enumerate(every) if gang.width <= 1]
    groups = [(REPORT_S, 0.0, [gang for gang in every if gang.width > 1])]
    groups += [
        (SMALL_REPORT_S, k * TURN_S, [gang for turn, gang in small if turn == k])
        for k in range(count)
    ]
    turns, ordered = list[_Turn](), list[Gang]()
    for period_s, offset_s, mine in groups:
        if mine:
            rows = range(len(ordered), len(ordered) + len(mine))
            turns.append(_Turn(period_s, offset_s, rows))
            ordered += mine
    return turns, ordered
