"""How every gang of the fleet steps, as columns: asked once a turn by `gang`.

A fleet has as many gangs as nodes, and nearly all of them go on well. So what is remembered of them
is a handful of arrays; one by one we look only at those few of which something is to be said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.cluster import Job
from watchkeeper.health.robust import medians, slower

PACE_S = 60.0
"""One pace is measured over this time, so that it depends little on how often we look."""
USUAL, RECENT = 32, 5
LEAST_USUAL = 10
"""Minutes of a gang's past before its pace is judged at all."""
SLOW_OF_RECENT = 3
"""So many of the last five minutes must be slow: a checkpoint takes one of them."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Patience(Protocol):
    """What of `sense.SenseSettings` is asked here; see there. Seconds, and factors."""

    @property
    def hang_min_s(self) -> float: ...
    @property
    def hang_factor(self) -> float: ...
    @property
    def blind_s(self) -> float: ...
    @property
    def slow_factor(self) -> float: ...


class GangPast(msgspec.Struct, frozen=True, gc=False):
    """One attempt of a gang. Times are epoch seconds by our own looking.

    step, at: its newest step and when it came. mark_step, mark_at: where the pace now being
    measured began. usual, recent: paces in seconds per step, one a minute; `recent` is what is
    judged, `usual` what it is judged by. pause_s: its longest pause between steps. limit_s: without
    a step for so long it is late. slow: it is slower than usual now. slow_since, late_since,
    late_looks: since when, and on how many looks. nan_since, nan_looks: the same for a loss that is
    no number. odd: node -> since when it differs from its peers.
    """

    attempt: str
    step: int
    at: float
    mark_step: int
    mark_at: float
    limit_s: float
    usual: tuple[float, ...] = ()
    recent: tuple[float, ...] = ()
    usual_pace: float = 0.0
    pause_s: float = 0.0
    slow: bool = False
    slow_since: float | None = None
    late_since: float | None = None
    late_looks: int = 0
    nan_since: float | None = None
    nan_looks: int = 0
    odd: tuple[tuple[str, float], ...] = ()


def _no_floats() -> Floats:
    return np.zeros(0)


def _no_ints() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False, slots=True)
class Gangs(Mapping[str, GangPast]):
    """The same of all gangs that run: row i is names[i]. A column that says "since" holds NaN where
    nothing lasts. jobs: the words that this was taken from. paces: f8[N, USUAL + RECENT], the
    newest on the right, NaN where there is none yet; the last RECENT of them are `recent`. Read as
    a mapping it gives one gang's word."""

    jobs: Sequence[Job] = ()
    names: tuple[str, ...] = ()
    attempts: tuple[str, ...] = ()
    step: Ints = field(default_factory=_no_ints)
    at: Floats = field(default_factory=_no_floats)
    mark_step: Ints = field(default_factory=_no_ints)
    mark_at: Floats = field(default_factory=_no_floats)
    limit_s: Floats = field(default_factory=_no_floats)
    paces: Floats = field(default_factory=lambda: np.empty((0, USUAL + RECENT)))
    usual_pace: Floats = field(default_factory=_no_floats)
    pause_s: Floats = field(default_factory=_no_floats)
    slow_since: Floats = field(default_factory=_no_floats)
    late_since: Floats = field(default_factory=_no_floats)
    late_looks: Ints = field(default_factory=_no_ints)
    nan_since: Floats = field(default_factory=_no_floats)
    nan_looks: Ints = field(default_factory=_no_ints)
    odd: Mapping[str, tuple[tuple[str, float], ...]] = field(default_factory=dict)
    row: Mapping[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> GangPast:
        i = self.row[name]
        known = [pace for pace in self.paces[i].tolist() if pace == pace]
        return GangPast(
            attempt=self.attempts[i],
            step=int(self.step[i]),
            at=float(self.at[i]),
            mark_step=int(self.mark_step[i]),
            mark_at=float(self.mark_at[i]),
            limit_s=float(self.limit_s[i]),
            usual=tuple(known[:-RECENT]),
            recent=tuple(known[-RECENT:]),
            usual_pace=float(self.usual_pace[i]),
            pause_s=float(self.pause_s[i]),
            slow=not np.isnan(self.slow_since[i]),
            slow_since=_or_none(self.slow_since[i]),
            late_since=_or_none(self.late_since[i]),
            late_looks=int(self.late_looks[i]),
            nan_since=_or_none(self.nan_since[i]),
            nan_looks=int(self.nan_looks[i]),
            odd=self.odd.get(name, ()),
        )

    def without_steps(self, now: float, share: float) -> dict[str, float]:
        """Gangs that made no step for more than this share of their limit, and have a past to be
        judged by: name -> their last step."""
        (rows,) = np.nonzero(
            (now - self.at > self.limit_s * share) & ~np.isnan(self.paces[:, USUAL - 1])
        )
        return {self.names[i]: float(self.at[i]) for i in rows.tolist()}

    def in_doubt(self, now: float) -> bool:
        """Whether a later look at the same steps may say more of some gang."""
        doubt = (self.nan_looks > 0) | (self.late_looks > 0) | ~np.isnan(self.slow_since)
        return bool((doubt | (now - self.at > self.limit_s / 4)).any())

    def late_for_fewer_looks_than(self, looks: int) -> bool:
        """Whether some gang is late, and was not yet seen so on so many looks."""
        return bool(((self.late_looks > 0) & (self.late_looks < looks)).any())


def _or_none(since: np.floating[Any]) -> float | None:
    return None if np.isnan(since) else float(since)


_COLUMNS = tuple(
    f.name for f in fields(Gangs) if f.name not in ("jobs", "names", "attempts", "odd", "row")
)


def stepped(
    before: Gangs, jobs: Sequence[Job], looked: float, now: float, settings: Patience
) -> Gangs:
    """What to remember of these jobs' steps, all of which run and report them. looked: the last
    look, in epoch seconds."""
    if jobs is before.jobs:
        return before
    past, rows = _same_rows(before, jobs, now, settings)
    step, told = _words_of([jobs[i] for i in rows.tolist()], now)
    before_at, before_step = past.at[rows], past.step[rows]
    # Its own word where that can be true, else when we saw it.
    at = np.where((looked <= told) & (told <= now), told, now)
    moved = step > before_step
    if not moved.any():
        return replace(past, jobs=jobs)
    if not moved.all():
        rows, step, at = rows[moved], step[moved], at[moved]
        before_at, before_step = before_at[moved], before_step[moved]
    usual = past.usual_pace[rows]
    pause = np.where(usual > 0, at - before_at - (step - before_step - 1) * usual, 0.0)
    longer = pause > past.pause_s[rows]
    stood = looked - before_at > past.limit_s[rows] / 2
    measured = ~stood & (at - past.mark_at[rows] >= PACE_S)
    longest = np.minimum(pause[longer], settings.blind_s / 2)
    now_past = replace(
        past,
        jobs=jobs,
        step=_put(past.step, rows, step),
        at=_put(past.at, rows, at),
        late_since=_put(past.late_since, rows, np.nan),
        late_looks=_put(past.late_looks, rows, 0),
        pause_s=_put(past.pause_s, rows[longer], longest),
        # A time in which it made no step at all says nothing of its pace.
        mark_step=_put(past.mark_step, rows[stood], step[stood]),
        mark_at=_put(past.mark_at, rows[stood], at[stood]),
    )
    return _measured(now_past, rows[measured], rows[longer], settings)


def _put(column: NDArray[Any], rows: Ints, values: Any) -> NDArray[Any]:
    """The column with these values in these rows."""
    if not len(rows):
        return column
    changed = column.copy()
    changed[rows] = values
    return changed


def _words_of(jobs: Sequence[Job], now: float) -> tuple[Ints, Floats]:
    """(step, when it came by the job's own word)."""
    step = np.array([job.step for job in jobs], np.int64)
    told = np.array([now if job.step_at is None else job.step_at.timestamp() for job in jobs])
    return step, told


def _same_rows(
    before: Gangs, jobs: Sequence[Job], now: float, settings: Patience
) -> tuple[Gangs, Ints]:
    """What was remembered, in the order of these jobs, and the rows that may have something new:
    a job of which nothing changed is the very same word as before. A new attempt, or one whose
    steps went back, begins anew."""
    if len(jobs) == len(before.jobs):
        both = enumerate(zip(jobs, before.jobs, strict=True))
        rows = [i for i, (job, word) in both if job is not word]
        if _go_on([(jobs[i], before.jobs[i]) for i in rows]):
            return before, np.array(rows, np.int64)
    names = tuple([job.name for job in jobs])
    attempts = tuple([job.attempt_id for job in jobs])
    step, told = _words_of(jobs, now)
    old = [before.row.get(name, -1) for name in names]
    new = np.array(
        [
            i < 0 or before.attempts[i] != attempt or before.step[i] > n
            for i, attempt, n in zip(old, attempts, step.tolist(), strict=True)
        ],
        np.bool_,
    )
    kept, rows_before = np.flatnonzero(~new), np.array(old, np.int64)[~new]
    columns: dict[str, Any] = {}
    for name in _COLUMNS:
        column = getattr(before, name)
        blank = np.nan if name.endswith("since") or name == "paces" else 0
        columns[name] = np.full((len(names), *column.shape[1:]), blank, column.dtype)
        columns[name][kept] = column[rows_before]
    began = np.array([job.state_since.timestamp() for job in jobs])
    first = np.where((began <= told) & (told <= now), told, now)
    for name, value in (("step", step), ("mark_step", step), ("at", first), ("mark_at", first)):
        columns[name][new] = value[new]
    columns["limit_s"][new] = settings.blind_s
    fresh = {names[i] for i in np.flatnonzero(new).tolist()}
    found = Gangs(
        names=names,
        attempts=attempts,
        odd={n: odd for n, odd in before.odd.items() if n in set(names) and n not in fresh},
        row={name: i for i, name in enumerate(names)},
        **columns,
    )
    return found, np.arange(len(jobs))


def _go_on(both: list[tuple[Job, Job]]) -> bool:
    """(its word now, and before): the same attempts, none further back than it was. All report
    their steps. A loop, since a fleet has thousands."""
    for job, word in both:
        if job.attempt_id != word.attempt_id or job.name != word.name:
            return False
        if job.step < word.step:  # type: ignore[operator]
            return False
    return True


def _measured(past: Gangs, rows: Ints, longer: Ints, settings: Patience) -> Gangs:
    """Add what was measured since the mark; after a long absence, as so many minutes alike."""
    if not len(rows) and not len(longer):
        return past
    took = past.at[rows] - past.mark_at[rows]
    pace = took / (past.step[rows] - past.mark_step[rows])
    times = np.clip((took / PACE_S).astype(np.int64), 1, USUAL + RECENT)
    slow_since = past.slow_since.copy()
    mine = _added(_of_rows(past.paces, rows), pace, times, settings)
    paces = mine
    if len(rows) < len(past.paces):
        paces = past.paces.copy()
        paces[rows] = mine
    slow = _slow(mine, settings)
    since = slow_since[rows]
    slow_since[rows] = np.where(slow, np.where(np.isnan(since), past.at[rows], since), np.nan)
    usual_pace, mark_at, mark_step = (
        past.usual_pace.copy(),
        past.mark_at.copy(),
        past.mark_step.copy(),
    )
    usual_pace[rows] = np.nan_to_num(medians(mine[:, :USUAL]))
    mark_at[rows], mark_step[rows] = past.at[rows], past.step[rows]
    limit_s = past.limit_s.copy()
    either = np.zeros(len(limit_s), np.bool_)
    either[rows] = either[longer] = True
    anew = np.flatnonzero(either)
    limit_s[anew] = _limits(_of_rows(paces, anew), past.pause_s[anew], settings)
    return replace(
        past,
        paces=paces,
        slow_since=slow_since,
        usual_pace=usual_pace,
        mark_at=mark_at,
        mark_step=mark_step,
        limit_s=limit_s,
    )


def _of_rows(columns: Floats, rows: Ints) -> Floats:
    """These rows, in rising order; the array itself where that is all of them."""
    return columns if len(rows) == len(columns) else columns[rows]


def _added(mine: Floats, pace: Floats, times: Ints, settings: Patience) -> Floats:
    """Each row with its pace added so many times; the array that came is left as it is."""
    # None of them can count as slow: all at once what `_one_by_one` does minute by minute.
    again = np.where(times[:, None] > np.arange(1, SLOW_OF_RECENT + 1), pace[:, None], -np.inf)
    lowest = np.fmin.reduce(mine, axis=1, initial=np.inf)
    plain = _nth(np.concatenate((mine[:, USUAL:], again), axis=1)) <= (
        settings.slow_factor * np.fmin(lowest, pace)
    )
    counts = sorted(set(times[plain].tolist()))
    if len(counts) == 1 and plain.all():
        return _shifted(mine, pace, counts[0])
    found = mine.copy()
    for count in counts:
        which = np.flatnonzero(plain & (times == count))
        found[which] = _shifted(mine[which], pace[which], count)
    for i in np.flatnonzero(~plain).tolist():
        found[i] = _one_by_one(mine[i], float(pace[i]), int(times[i]), settings)
    return found


def _shifted(mine: Floats, pace: Floats, count: int) -> Floats:
    return np.concatenate((mine[:, count:], np.repeat(pace[:, None], count, axis=1)), axis=1)


def _one_by_one(row: Floats, pace: float, times: int, settings: Patience) -> Floats:
    """One gang's paces with this one added so many times. What is slow never becomes usual."""
    known = row[~np.isnan(row)].tolist()
    usual, recent = tuple(known[:-RECENT]), tuple(known[-RECENT:])
    for _ in range(times):
        slow = _is_slow(recent, usual, settings)
        recent = (*recent, pace)
        if len(recent) > RECENT:
            usual = usual if slow else (*usual, recent[0])[-USUAL:]
            recent = recent[1:]
    every = (*usual, *recent)
    return np.array((np.nan,) * (USUAL + RECENT - len(every)) + every)


def _slow(paces: Floats, settings: Patience) -> Bools:
    """bool[N]: so many of its recent paces are slower than its usual ones."""
    usual, recent = paces[:, :USUAL], paces[:, USUAL:]
    least = np.fmin.reduce(usual, axis=1, initial=np.inf)
    # The limit is at least this high: nearly every gang of a fleet is done with here.
    found: Bools = _nth(recent) > settings.slow_factor * least
    for i in np.flatnonzero(found).tolist():
        known = paces[i][~np.isnan(paces[i])].tolist()
        found[i] = _is_slow(tuple(known[-RECENT:]), tuple(known[:-RECENT]), settings)
    return found


def _nth(paces: Floats) -> Floats:
    """f8[N]: of each row the slowest but so many that a row with them counts as slow."""
    ordered = np.sort(np.where(np.isnan(paces), -np.inf, paces), axis=1)
    return np.asarray(ordered[:, -SLOW_OF_RECENT], np.float64)


def _is_slow(recent: tuple[float, ...], usual: tuple[float, ...], settings: Patience) -> bool:
    if len(usual) < LEAST_USUAL or len(recent) < SLOW_OF_RECENT:
        return False
    return sum(slower(recent, usual, settings.slow_factor)) >= SLOW_OF_RECENT


def _limits(paces: Floats, pause_s: Floats, settings: Patience) -> Floats:
    """Seconds without a step after which each gang is late."""
    own = np.maximum(settings.hang_factor * medians(paces), 2.0 * pause_s)
    own = np.where(np.isnan(own), settings.blind_s, own)
    return np.maximum(settings.hang_min_s, np.minimum(own, settings.blind_s))
