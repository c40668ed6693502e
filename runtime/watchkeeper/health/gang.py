"""Does a gang hang, crawl or compute nonsense, and does one of its nodes stand out?

Asked by `notice`, once a turn. A gang is judged by its own past (its usual pace, its longest
pause) and its nodes by each other (utilisation, power, clock), never by a global threshold. A step
counter is the job's own word: it opens a question about the job. A node is named only by what the
driver's readings show of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace as with_fields
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.cluster import Job
from watchkeeper.core.fault import PACED
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.once import once_for
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot
from watchkeeper.core.word import utc
from watchkeeper.health.paces import Gangs, stepped
from watchkeeper.health.robust import deviations, medians
from watchkeeper.health.sense import SenseSettings, level_id
from watchkeeper.health.sensors import no_witnesses
from watchkeeper.health.sightings import SensorPast, Sightings

LATE_LOOKS, LATE_S = 3, 20.0
"""A step must be late on so many looks, and for so long past the limit."""
ODD_S = 20.0
"""A node must differ from its peers for so long."""
ODD = 6.0
"""Robust deviations by which a GPU differs from those of its gang (ours; published work uses 3,
with far more readings)."""
PEERS = 4
"""In a gang of fewer nodes GPUs are compared with GPUs: at most one in so many may differ."""
PEER_GPUS = 8
"""With fewer GPUs than this there are no peers to compare."""
_COLUMNS: tuple[tuple[int, float, float], ...] = (
    (GPU_FIELDS.index("utilization_percent"), 8.0, 0.0),
    (GPU_FIELDS.index("power_watts"), 20.0, 0.08),
    (GPU_FIELDS.index("sm_clock_mhz"), 30.0, 0.04),
)
"""(column, least spread in its unit, least spread as share of the median)."""
_WORTH = ("loss", "grad_norm")
"""Keys of a job's metadata that must be finite numbers, where a job reports them."""


def watch_gangs(
    snapshot: Snapshot, before: Sightings, settings: SenseSettings
) -> tuple[list[Signal], Gangs]:
    """What the gangs' steps say now, and what to remember of them. Gangs that go on well are only
    rows of a few arrays: at 10,000 nodes there are thousands of them."""
    now = snapshot.at.timestamp()
    jobs = _that_step(snapshot.running)
    gangs = stepped(before.gangs, jobs, before.looked, now, settings)
    gangs = _judged(gangs, jobs, now, settings)
    found = list(_at_their_pace(before.gangs, gangs, snapshot, settings))
    said = [
        (jobs[i], codes)
        for i in _said_of(gangs)
        if _is_grown(jobs[i], now, settings) and (codes := list(_codes(gangs, i, now)))
    ]
    if not said:
        return found, gangs
    odd = dict(gangs.odd)
    every = odd_in([job for job, _ in said], snapshot, before.sensors)
    for (job, codes), odd_now in zip(said, every, strict=True):
        known = dict(odd.get(job.name, ()))
        odd[job.name] = tuple((n, known.get(n, now)) for n in odd_now)
        found += _signals(snapshot, job, odd[job.name], codes, settings)
    return found, with_fields(gangs, odd=odd)


@once_for
def _that_step(running: tuple[Job, ...]) -> tuple[Job, ...]:
    """Those that report their steps."""
    return tuple([job for job in running if job.step is not None])


def _is_grown(job: Job, now: float, settings: SenseSettings) -> bool:
    """An attempt is not judged in its first minutes."""
    return now - job.state_since.timestamp() >= settings.gang_grace_s


def _judged(gangs: Gangs, jobs: Sequence[Job], now: float, settings: SenseSettings) -> Gangs:
    """Count the looks on which a gang was late, or its loss no number."""
    late = now - gangs.at > gangs.limit_s
    nan = _no_numbers(jobs)
    if not (late | nan | (gangs.late_looks > 0) | (gangs.nan_looks > 0)).any():
        return gangs
    late_since, late_looks = gangs.late_since.copy(), gangs.late_looks.copy()
    nan_since, nan_looks = gangs.nan_since.copy(), gangs.nan_looks.copy()
    for holds, since, looks in ((late, late_since, late_looks), (nan, nan_since, nan_looks)):
        for i in np.flatnonzero(holds | (looks > 0)).tolist():
            if not _is_grown(jobs[i], now, settings):
                continue
            if holds[i]:
                since[i], looks[i] = now if np.isnan(since[i]) else since[i], looks[i] + 1
            else:
                since[i], looks[i] = np.nan, 0
    return with_fields(
        gangs,
        late_since=late_since,
        late_looks=late_looks,
        nan_since=nan_since,
        nan_looks=nan_looks,
    )


@once_for
def _no_numbers(jobs: Sequence[Job]) -> NDArray[np.bool_]:
    """bool[N]: what the job says of its loss is no number."""
    found = np.zeros(len(jobs), np.bool_)
    found[[i for i, job in enumerate(jobs) if job.metadata and _is_nan(job)]] = True
    return found


def _is_nan(job: Job) -> bool:
    return any(_no_number(job.metadata.get(key, "")) for key in _WORTH)


def _said_of(gangs: Gangs) -> list[int]:
    """Rows of the gangs of which `_codes` may say something."""
    looks = np.maximum(gangs.late_looks, gangs.nan_looks) >= LATE_LOOKS
    return np.flatnonzero(looks | ~np.isnan(gangs.slow_since)).tolist()


def _no_number(text: str) -> bool:
    if len(text) > 32:
        return False
    try:
        return not isfinite(float(text))
    except ValueError:
        return False  # absent, or no number at all: that says nothing


def _codes(gangs: Gangs, i: int, now: float) -> Iterator[tuple[str, float]]:
    """(code, since when) of the gang in this row."""
    late_since, slow_since = float(gangs.late_since[i]), float(gangs.slow_since[i])
    if now - late_since >= LATE_S and gangs.late_looks[i] >= LATE_LOOKS:  # NaN is neither
        yield "gang.hang", float(gangs.at[i])
    elif slow_since == slow_since:
        yield "gang.slow", slow_since
    if gangs.nan_looks[i] >= LATE_LOOKS:
        yield "gang.nan", float(gangs.nan_since[i])


def _at_their_pace(
    before: Gangs, gangs: Gangs, snapshot: Snapshot, settings: SenseSettings
) -> Iterator[Signal]:
    """Attempts that were slow at the last look, and are not any more."""
    for i in np.flatnonzero(~np.isnan(before.slow_since)).tolist():
        name, attempt = before.names[i], before.attempts[i]
        row = gangs.row.get(name)
        if row is None or gangs.attempts[row] != attempt or not np.isnan(gangs.slow_since[row]):
            continue
        since = utc(float(before.slow_since[i]))
        yield Signal(
            id=level_id(PACED, f"job:{name}", attempt, since),
            code=PACED,
            target=f"job:{name}",
            at=utc(float(gangs.at[row])),
            source="gang-progress",
            trust=settings.progress_trust,
            world=snapshot.world,
            incarnation=attempt,
        )


def odd_nodes(snapshot: Snapshot, job: Job, sensors: SensorPast | None = None) -> dict[str, float]:
    """Nodes of this gang that differ from the others, and by how many robust deviations. None
    where many differ (then that is the program's shape) or where there are too few to compare. A
    gang of few nodes is judged by its GPUs, where there are enough of them. Readings that are old
    or stand still bear no witness."""
    return odd_in([job], snapshot, sensors)[0]


def odd_in(
    jobs: Sequence[Job], snapshot: Snapshot, sensors: SensorPast | None = None
) -> list[dict[str, float]]:
    """The same of several gangs, those of as many nodes at once: where a storage is slow all gangs
    of its zone are asked about on every turn."""
    speaks = _speaking(snapshot, sensors)
    row = snapshot.frame.row
    rows = [[i for n in job.nodes if (i := row.get(n)) is not None and speaks[i]] for job in jobs]
    found: list[dict[str, float]] = [{} for _ in jobs]
    names = snapshot.frame.nodes
    for size in sorted({len(mine) for mine in rows}):
        if size * snapshot.frame.gpu.shape[1] < PEER_GPUS:
            continue
        which = [i for i, mine in enumerate(rows) if len(mine) == size]
        many = np.array([rows[i] for i in which])
        for k, odd, away in _odd_rows(snapshot.frame.gpu[many]):
            found[which[k]][names[many[k, odd]]] = away
    return found


def _speaking(snapshot: Snapshot, sensors: SensorPast | None) -> list[bool]:
    """By row: the readings of this node speak of now."""
    frame, now = snapshot.frame, snapshot.at.timestamp()
    mute = no_witnesses(sensors, frame.nodes, now)
    found: list[bool] = ((frame.read_at >= now - 60.0) & ~mute).tolist()
    return found


def _odd_rows(gpus: NDArray[np.float32]) -> Iterator[tuple[int, int, float]]:
    """(gang, node, deviations) of what stands out. gpus: f4[K gangs, R nodes, G, fields]."""
    gangs, nodes, each = gpus.shape[:3]
    worst, gpus_odd = np.zeros((gangs, nodes)), np.zeros((gangs, nodes, each), np.bool_)
    for column, least, share in _COLUMNS:
        values = gpus[..., column].astype(np.float64).reshape(gangs, -1)
        enough = (~np.isnan(values)).sum(axis=1) >= PEER_GPUS
        floors = np.maximum(least, share * np.abs(medians(values))) / 2.0
        away = np.abs(deviations(values, floors))
        away = np.where(enough[:, None] & ~np.isnan(away), away, 0.0).reshape((*worst.shape, each))
        worst = np.maximum(worst, away.max(axis=2))
        gpus_odd |= away >= ODD
    odd = worst >= ODD
    counts = odd.sum(axis=1)
    told = (counts > 0) & (counts <= max(1, nodes // 16))
    if nodes < PEERS:
        told &= gpus_odd.sum(axis=(1, 2)) <= nodes * each // PEERS
    for k, i in np.argwhere(odd & told[:, None]).tolist():
        yield k, i, float(worst[k, i])


def _signals(
    snapshot: Snapshot,
    job: Job,
    odd: tuple[tuple[str, float], ...],
    codes: list[tuple[str, float]],
    settings: SenseSettings,
) -> Iterator[Signal]:
    target, now = f"job:{job.name}", snapshot.at.timestamp()
    for code, since in codes:
        yield Signal(
            id=level_id(code, target, job.attempt_id, utc(since)),
            code=code,
            target=target,
            at=utc(since),
            source="gang-progress",
            trust=settings.progress_trust,
            world=snapshot.world,
            incarnation=job.attempt_id,
        )
    first = min(since for _, since in codes)
    for name, since in odd:
        node = snapshot.nodes.get(name)
        if node is None or now - since < ODD_S:
            continue
        yield Signal(
            id=level_id("gang.suspect", f"node:{name}", job.attempt_id, utc(first)),
            code="gang.suspect",
            target=f"node:{name}",
            at=utc(max(first, since)),
            source="gang-peers",
            trust=Trust.DRIVER,
            world=snapshot.world,
            incarnation=node.incarnation,
            simulated=bool(snapshot.frame.simulated[snapshot.frame.row[name]]),
        )
