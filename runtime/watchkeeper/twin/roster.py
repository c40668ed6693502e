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
    """Gangs that report at the same times: every period_s, from offset_s on. numbers: f8[11, N],
    what `Gang.seen` asks of each gang, and what was last told of its checkpoint; taken anew where a
    gang is stale, since between events they stand still."""

    __slots__ = ("gangs", "last_s", "numbers", "offset_s", "period_s", "row", "stale")

    def __init__(self, period_s: float, offset_s: float, gangs: list[Gang]) -> None:
        self.period_s, self.offset_s, self.gangs = period_s, offset_s, gangs
        self.row = {gang.name: i for i, gang in enumerate(gangs)}
        self.stale = set(range(len(gangs)))
        self.numbers = np.full((11, len(gangs)), np.nan)
        self.last_s = -1.0

    def report_s(self, at_s: float) -> float:
        """The last time of reporting up to now; 0 before the first."""
        since = at_s - self.offset_s
        return max(0.0, since - since % self.period_s + self.offset_s)

    def seen(self) -> _Seen:
        """The same sums as `Gang.seen`, for all of them at once; told at once of those saved."""
        self._refresh()
        numbers = self.numbers
        begin, share, every, cost, phase, done, step_s, held, held_s, told_s, told = numbers
        steps = (share > 0.0) & (self.last_s > begin)
        whole = every + cost
        x = phase + self.last_s - begin
        count = x // whole
        into = np.minimum(x - count * whole, every)
        now = done + (count * every + into - np.minimum(phase, every)) * share
        kept = (np.where(count > 0, now - into * share, held) / step_s + 1e-6).astype(np.int64)
        kept_s = np.where(count > 0, begin - phase + count * whole, held_s)
        step = (now / step_s + 1e-6).astype(np.int64)
        same = (kept_s == told_s) & (kept == told)
        plain, saved = np.flatnonzero(steps & same), np.flatnonzero(steps & ~same)
        numbers[9:, saved] = kept_s[saved], kept[saved]
        return _Seen(
            stepping=(plain.tolist(), step[plain].tolist()),
            saved=(
                saved.tolist(),
                step[saved].tolist(),
                kept[saved].tolist(),
                kept_s[saved].tolist(),
            ),
            others=np.flatnonzero((share > 0.0) & ~steps).tolist(),
        )

    def told(self, gang: Gang, kept_s: float, kept_step: int) -> None:
        """This was said of its checkpoint."""
        self.numbers[9:, self.row[gang.name]] = kept_s, kept_step

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
        self._kept: dict[str, tuple[float, datetime]] = {}
        self._turns = _take_turns(work.gangs.values())
        self._turn_of = {g.name: turn for turn in self._turns for g in turn.gangs}
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
            turn.stale.add(turn.row[name])
            self._jobs[name] = self._anew(gang)
            self._report(gang, max(gang.mark_s, turn.report_s(now_s)), None)
        for turn in due:
            turn.last_s = turn.report_s(now_s)
            at = self.clock.at(turn.last_s)
            seen, jobs, gangs = turn.seen(), self._jobs, turn.gangs
            for row, step in zip(*seen.stepping, strict=True):
                name = gangs[row].name
                jobs[name] = replace(jobs[name], step=step, step_at=at)
            for row, step, kept, kept_s in zip(*seen.saved, strict=True):
                gang = gangs[row]
                if gang.name not in dirty:
                    saved_at = self._saved_at(gang.name, kept_s)
                    jobs[gang.name] = replace(
                        jobs[gang.name],
                        step=step,
                        step_at=at,
                        checkpoint_step=kept,
                        checkpoint_at=saved_at,
                    )
            for row in seen.others:
                if gangs[row].name not in dirty:
                    self._report(gangs[row], turn.last_s, at)
        dirty.clear()
        return self._jobs

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
        self._turn_of[name].told(gang, kept_s, kept_step)
        self._jobs[name] = replace(
            job,
            step=step,
            step_at=step_at,
            checkpoint_step=kept_step,
            checkpoint_at=self._saved_at(name, kept_s),
        )

    def _saved_at(self, name: str, kept_s: float) -> datetime:
        """When its checkpoint was whole. The very same time as long as it is the newest."""
        held = self._kept.get(name)
        if held is None or held[0] != kept_s:
            held = self._kept[name] = (kept_s, self.clock.at(kept_s))
        return held[1]

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


def _take_turns(gangs: Iterable[Gang]) -> list[_Turn]:
    every = list(gangs)
    small = range(int(SMALL_REPORT_S / TURN_S))
    turns = [_Turn(REPORT_S, 0.0, [gang for gang in every if gang.width > 1])]
    turns += [
        _Turn(
            SMALL_REPORT_S,
            k * TURN_S,
            [gang for n, gang in enumerate(every) if gang.width <= 1 and n % len(small) == k],
        )
        for k in small
    ]
    return [turn for turn in turns if turn.gangs]
