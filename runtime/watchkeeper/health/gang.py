"""Does a gang hang, crawl or compute nonsense, and does one of its nodes stand out?

Asked by `notice`, once a turn. A gang is judged by its own past (its usual pace, its longest
pause) and its nodes by each other (utilisation, power, clock), never by a global threshold. A step
counter is the job's own word: it opens a question about the job. A node is named only by what the
driver's readings show of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from statistics import median

import numpy as np
from msgspec.structs import replace

from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot
from watchkeeper.core.word import utc
from watchkeeper.health.robust import deviations, slower
from watchkeeper.health.sense import SenseSettings, level_id
from watchkeeper.health.sensors import no_witness
from watchkeeper.health.sightings import GangPast, SensorPast, Sightings

PACE_S = 60.0
"""One pace is measured over this time, so that it depends little on how often we look."""
USUAL, RECENT = 32, 5
LEAST_USUAL = 10
"""Minutes of a gang's past before its pace is judged at all."""
SLOW_OF_RECENT = 3
"""So many of the last five minutes must be slow: a checkpoint takes one of them."""
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
) -> tuple[list[Signal], dict[str, GangPast]]:
    """What the gangs' steps say now, and what to remember of them. A gang that goes on well costs
    a comparison or two: at 10,000 nodes there are thousands of them."""
    now = snapshot.at.timestamp()
    pasts: dict[str, GangPast] = {}
    found: list[Signal] = []
    for job in snapshot.jobs.values():
        if job.state is not JobState.RUNNING or job.step is None:
            continue
        past = _seen(job, before.gangs.get(job.name), before.looked, now, settings)
        if now - job.state_since.timestamp() >= settings.gang_grace_s:
            past = _judged(job, past, now)
            codes = list(_codes(past, now))
            if codes:
                known = dict(past.odd)
                odd_now = odd_nodes(snapshot, job, before.sensors)
                odd = tuple((n, known.get(n, now)) for n in odd_now)
                past = replace(past, odd=odd)
                found += _signals(snapshot, job, past, codes, settings)
        pasts[job.name] = past
    return found, pasts


def _limit_s(past: GangPast, settings: SenseSettings) -> float:
    """Seconds without a step after which this gang is late."""
    paces = past.usual + past.recent
    if not paces:
        return settings.blind_s
    own = max(settings.hang_factor * median(paces), 2.0 * past.pause_s)
    return max(settings.hang_min_s, min(own, settings.blind_s))


def _seen(
    job: Job, past: GangPast | None, looked: float, now: float, settings: SenseSettings
) -> GangPast:
    step = job.step or 0
    if past is None or past.attempt != job.attempt_id or step < past.step:
        at = _step_time(job, job.state_since.timestamp(), now)
        return GangPast(job.attempt_id, step, at, step, at, settings.blind_s)
    if step == past.step:
        return past
    at = _step_time(job, looked, now)
    stood = looked - past.at > past.limit_s / 2
    measured = at - past.mark_at >= PACE_S
    pause = at - past.at - (step - past.step - 1) * past.usual_pace if past.usual_pace else 0.0
    longer = pause > past.pause_s
    past = replace(past, step=step, at=at, late_since=None, late_looks=0)
    if longer:
        past = replace(past, pause_s=min(pause, settings.blind_s / 2))
    if stood:  # a time in which it made no step at all says nothing of its pace
        past = replace(past, mark_step=step, mark_at=at)
    elif measured:
        past = _paced(past, settings)
    return replace(past, limit_s=_limit_s(past, settings)) if longer or measured else past


def _step_time(job: Job, earliest: float, now: float) -> float:
    """When its newest step came: its own word where that can be true, else when we saw it."""
    told = job.step_at.timestamp() if job.step_at is not None else now
    return told if earliest <= told <= now else now


def _paced(past: GangPast, settings: SenseSettings) -> GangPast:
    """Add what was measured since the mark; after a long absence, as so many minutes alike."""
    took, steps = past.at - past.mark_at, past.step - past.mark_step
    pace, times = took / steps, min(USUAL + RECENT, max(1, int(took / PACE_S)))
    usual, recent = past.usual, past.recent
    every = (*usual, *recent, pace)
    if max((*recent, pace)) <= settings.slow_factor * min(every):
        # None of them can count as slow: all at once what the loop below does one by one.
        every = (*every, *(pace,) * (times - 1))
        usual, recent, times = every[:-RECENT][-USUAL:], every[-RECENT:], 0
    for _ in range(times):
        slow = _is_slow(recent, usual, settings)
        recent = (*recent, pace)
        if len(recent) > RECENT:
            # What is slow never becomes what is usual.
            usual = usual if slow else (*usual, recent[0])[-USUAL:]
            recent = recent[1:]
    slow = _is_slow(recent, usual, settings)
    return replace(
        past,
        usual=usual,
        recent=recent,
        usual_pace=median(usual) if usual else 0.0,
        slow=slow,
        slow_since=(past.slow_since or past.at) if slow else None,
        mark_at=past.at,
        mark_step=past.step,
    )


def _is_slow(recent: tuple[float, ...], usual: tuple[float, ...], settings: SenseSettings) -> bool:
    if len(usual) < LEAST_USUAL or len(recent) < SLOW_OF_RECENT:
        return False
    # The limit is at least this high: nearly every gang of a fleet is done with here.
    if sorted(recent)[-SLOW_OF_RECENT] <= settings.slow_factor * min(usual):
        return False
    return sum(slower(recent, usual, settings.slow_factor)) >= SLOW_OF_RECENT


def _judged(job: Job, past: GangPast, now: float) -> GangPast:
    if now - past.at > past.limit_s:
        past = replace(past, late_since=past.late_since or now, late_looks=past.late_looks + 1)
    elif past.late_looks:
        past = replace(past, late_since=None, late_looks=0)
    if job.metadata and any(_no_number(job.metadata.get(key, "")) for key in _WORTH):
        past = replace(past, nan_since=past.nan_since or now, nan_looks=past.nan_looks + 1)
    elif past.nan_looks:
        past = replace(past, nan_since=None, nan_looks=0)
    return past


def _no_number(text: str) -> bool:
    if len(text) > 32:
        return False
    try:
        return not isfinite(float(text))
    except ValueError:
        return False  # absent, or no number at all: that says nothing


def _codes(past: GangPast, now: float) -> Iterator[tuple[str, float]]:
    """(code, since when)."""
    late = past.late_since is not None and now - past.late_since >= LATE_S
    if late and past.late_looks >= LATE_LOOKS:
        yield "gang.hang", past.at
    elif past.slow and past.slow_since is not None:
        yield "gang.slow", past.slow_since
    if past.nan_since is not None and past.nan_looks >= LATE_LOOKS:
        yield "gang.nan", past.nan_since


def odd_nodes(snapshot: Snapshot, job: Job, sensors: SensorPast | None = None) -> dict[str, float]:
    """Nodes of this gang that differ from the others, and by how many robust deviations. None
    where many differ (then that is the program's shape) or where there are too few to compare. A
    gang of few nodes is judged by its GPUs, where there are enough of them. Readings that are old
    or stand still bear no witness."""
    frame, now = snapshot.frame, snapshot.at.timestamp()
    rows = [
        (row, name)
        for name in job.nodes
        if (row := frame.row.get(name)) is not None
        and frame.read_at[row] >= now - 60.0
        and not no_witness(sensors, row, name, now)
    ]
    if len(rows) * frame.gpu.shape[1] < PEER_GPUS:
        return {}
    gpus = frame.gpu[[row for row, _ in rows]]
    worst, gpus_odd = np.zeros(len(rows)), np.zeros(gpus.shape[:2], np.bool_)
    for column, least, share in _COLUMNS:
        values = gpus[:, :, column].astype(np.float64)
        known = values[~np.isnan(values)]
        if known.size < PEER_GPUS:
            continue
        floor = max(least, share * abs(float(np.median(known)))) / 2.0
        away = np.nan_to_num(np.abs(deviations(values, floor)))
        worst = np.maximum(worst, away.max(axis=1))
        gpus_odd |= away >= ODD
    if len(rows) < PEERS and gpus_odd.sum() > gpus_odd.size // PEERS:
        return {}
    (odd,) = np.nonzero(worst >= ODD)
    if not 0 < len(odd) <= max(1, len(rows) // 16):
        return {}
    return {rows[i][1]: float(worst[i]) for i in odd.tolist()}


def _signals(
    snapshot: Snapshot,
    job: Job,
    past: GangPast,
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
    for name, since in past.odd:
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
