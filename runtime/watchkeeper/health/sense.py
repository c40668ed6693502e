"""What does this snapshot say is wrong? Level-triggered facts, as Signals.

Asked once a turn. The same fact seen on five hundred turns is one Signal: its id is made of what
it says and of when that began. Missing data gives `node.silent`, `node.unknown` or `source.lost`,
never a word about health.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np

from watchkeeper.core.cluster import JobState, Node, RayState
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot
from watchkeeper.core.word import utc
from watchkeeper.health.dwell import LAB, REAL, SenseSettings
from watchkeeper.health.sightings import Sightings

__all__ = [
    "LAB",
    "REAL",
    "SenseSettings",
    "Sightings",
    "debounce",
    "level_id",
    "lost_sources",
    "sense",
]
_PRESENT = GPU_FIELDS.index("present")


@lru_cache(maxsize=8192)
def level_id(code: str, target: str, incarnation: str, since: datetime | None) -> str:
    """The id of a level fact: the same for as long as the fact lasts, and after a restart."""
    onset = f"{since.timestamp():.3f}" if since else ""
    text = "\x1f".join((code, target, incarnation, onset))
    return "S-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def sense(snapshot: Snapshot, settings: SenseSettings = REAL) -> tuple[Signal, ...]:
    """Every fact that holds now, in a stable order. Nodes of the control path are sensed too."""
    overdue = _overdue(snapshot, settings)
    many = _too_many(snapshot, overdue, settings)
    found = [
        *_sources(snapshot, many, settings),
        *_nodes(snapshot, overdue, many, settings),
        *_gpus(snapshot, settings),
        *_jobs(snapshot, settings),
        *_capacity(snapshot, settings),
    ]
    return tuple(sorted(found, key=lambda s: (s.target, s.code)))


def lost_sources(snapshot: Snapshot, settings: SenseSettings = REAL) -> frozenset[str]:
    """Names of the sources that do not answer, or not often enough."""
    lost = set()
    for name, source in snapshot.sources.items():
        limit = settings.source_limit_s.get(name)
        too_old = source.age_s is None or (limit is not None and source.age_s > limit)
        if source.error or too_old:
            lost.add(name)
    return frozenset(lost)


COLLECTORS = "collectors"
"""The source that is lost when too many collectors are silent at once."""
FEW_SILENT, SILENT_SHARE = 4, 0.05
"""More silent collectors than both, on nodes that Ray hears: that is one fault of the telemetry,
and not one of each node (ours)."""


def unheard(snapshot: Snapshot, settings: SenseSettings = REAL) -> tuple[str, ...]:
    """Nodes that Ray hears and we do not, where these are so many that the telemetry itself must
    have failed for them; () where they are few, or where no telemetry comes at all."""
    return _too_many(snapshot, _overdue(snapshot, settings), settings)


def _too_many(snapshot: Snapshot, overdue: list[str], settings: SenseSettings) -> tuple[str, ...]:
    if lost_sources(snapshot, settings) & {"ray", "telemetry", "redis"}:
        return ()
    alive = [n for n in overdue if snapshot.nodes[n].ray_state is RayState.ALIVE]
    if len(alive) <= max(FEW_SILENT, int(SILENT_SHARE * len(snapshot.nodes))):
        return ()
    return tuple(alive)


def _sources(
    snapshot: Snapshot, quiet: tuple[str, ...], settings: SenseSettings
) -> Iterator[Signal]:
    if quiet:
        target = f"source:{COLLECTORS}"
        yield Signal(
            id=level_id("source.lost", target, snapshot.state.session, None),
            code="source.lost",
            target=target,
            at=snapshot.at,
            source="watch",
            trust=Trust.PROVIDER,
            world=snapshot.world,
            value=float(len(quiet)),
            raw=f"{len(quiet)} of {len(snapshot.nodes)} nodes are not heard; Ray hears them",
        )
    for name in sorted(lost_sources(snapshot, settings)):
        source = snapshot.sources[name]
        age = source.age_s
        yield Signal(
            id=level_id("source.lost", f"source:{name}", snapshot.state.session, None),
            code="source.lost",
            target=f"source:{name}",
            at=snapshot.at - timedelta(seconds=age or 0.0),
            source="watch",
            trust=Trust.PROVIDER,
            world=snapshot.world,
            value=age,
            raw=source.error[:200],
        )


def _nodes(
    snapshot: Snapshot, overdue: list[str], many: tuple[str, ...], settings: SenseSettings
) -> Iterator[Signal]:
    blind = lost_sources(snapshot, settings)
    if "ray" in blind:
        return  # what we know of nodes is old; `source.lost` says so
    # A store that is lost makes nobody silent: it is we who cannot hear.
    if "telemetry" not in blind and "redis" not in blind:
        in_one = set(many)
        for name in overdue:
            if name not in in_one:
                yield _silent(snapshot, snapshot.nodes[name], settings)
    for node in snapshot.not_alive:
        match node.ray_state:
            case RayState.DEAD:
                yield _of_node(snapshot, node, "node.dead", "ray", Trust.RAY)
                if node.process_gone is True:
                    yield _of_node(snapshot, node, "node.process_gone", "provider", Trust.PROVIDER)
            case RayState.UNKNOWN:
                if _for_s(snapshot, node.ray_state_since) >= settings.unknown_after_s:
                    yield _of_node(snapshot, node, "node.unknown", "ray", Trust.RAY)
            case RayState.ALIVE | RayState.DRAINING:
                pass


def _overdue(snapshot: Snapshot, settings: SenseSettings) -> list[str]:
    """Nodes whose telemetry is too old. A raylet so young is given time to begin."""
    frame, now = snapshot.frame, snapshot.at.timestamp()
    # NaN, never spoke, is not fresh; comparing it raises no flag.
    fresh = now - frame.read_at <= settings.silent_after_s
    quiet = {frame.nodes[row] for row in np.flatnonzero(~fresh).tolist()}
    quiet |= _unread(snapshot.nodes, frame.row)
    return [
        name
        for name, node in ((name, snapshot.nodes.get(name)) for name in sorted(quiet))
        if node is not None
        # The head need not carry a collector; if it had one, its silence counts.
        and not (node.control_path and frame.last_read(name) is None)
        and not (
            node.ray_state is RayState.ALIVE
            and _for_s(snapshot, node.ray_state_since)
            < max(settings.boot_grace_s, settings.silent_after_s)
        )
    ]


_read: tuple[Mapping[str, Node], Mapping[str, int], frozenset[str]] = ({}, {}, frozenset())


def _unread(nodes: Mapping[str, Node], row: Mapping[str, int]) -> frozenset[str]:
    """Nodes without a row. Mostly both are the very same as on the turn before."""
    global _read
    known = _read  # one read: doors ask from threads of their own
    if known[0] is not nodes or known[1] is not row:
        known = _read = (nodes, row, frozenset(nodes.keys() - row.keys()))
    return known[2]


def _silent(snapshot: Snapshot, node: Node, settings: SenseSettings) -> Signal:
    last = snapshot.frame.last_read(node.name)
    since = utc(last) if last is not None else node.ray_state_since
    return Signal(
        id=level_id("node.silent", f"node:{node.name}", node.incarnation, since),
        code="node.silent",
        target=f"node:{node.name}",
        at=min(since + timedelta(seconds=settings.silent_after_s), snapshot.at),
        source="telemetry",
        trust=Trust.RAY,
        world=snapshot.world,
        incarnation=node.incarnation,
    )


def _of_node(snapshot: Snapshot, node: Node, code: str, source: str, trust: Trust) -> Signal:
    target = f"node:{node.name}"
    return Signal(
        id=level_id(code, target, node.incarnation, node.ray_state_since),
        code=code,
        target=target,
        at=node.ray_state_since,
        source=source,
        trust=trust,
        world=snapshot.world,
        incarnation=node.incarnation,
    )


def _gpus(snapshot: Snapshot, settings: SenseSettings) -> Iterator[Signal]:
    frame = snapshot.frame
    if not frame.gpu.size:
        return
    rows, indexes = np.nonzero(frame.gpu[:, :, _PRESENT] == 0.0)  # NaN is Unknown, not lost
    for row, index in zip(rows.tolist(), indexes.tolist(), strict=True):
        node = snapshot.nodes.get(frame.nodes[row])
        read_at = float(frame.read_at[row])
        if node is None or node.ray_state is RayState.DEAD or index in node.hidden_gpus:
            continue
        if np.isnan(read_at) or snapshot.at.timestamp() - read_at > settings.silent_after_s:
            continue  # an old reading is Unknown
        if read_at < node.ray_state_since.timestamp() + settings.boot_grace_s and (
            node.ray_state is RayState.ALIVE
        ):
            continue  # a GPU may be late at boot
        target = f"gpu:{node.name}/{index}"
        yield Signal(
            id=level_id("gpu.lost", target, node.incarnation, None),
            code="gpu.lost",
            target=target,
            at=utc(read_at),
            source="gpu-driver",
            trust=Trust.DRIVER,
            world=snapshot.world,
            incarnation=node.incarnation,
            simulated=bool(frame.simulated[row]),
        )


def _jobs(snapshot: Snapshot, settings: SenseSettings) -> Iterator[Signal]:
    if "ray" in lost_sources(snapshot, settings):
        return
    for job in snapshot.not_running:
        if job.state is not JobState.STOPPED:
            continue
        if _for_s(snapshot, job.state_since) >= settings.job_settle_s:
            target = f"job:{job.name}"
            yield Signal(
                id=level_id("job.stopped", target, job.attempt_id, job.state_since),
                code="job.stopped",
                target=target,
                at=job.state_since,
                source="ray",
                trust=Trust.SCHEDULER,
                world=snapshot.world,
                incarnation=job.attempt_id,
            )


def _capacity(snapshot: Snapshot, settings: SenseSettings) -> Iterator[Signal]:
    if "ray" in lost_sources(snapshot, settings):
        return
    for demand in snapshot.state.demand:
        if demand.pending_gpus <= 0:
            continue
        waiting = [
            job
            for job in snapshot.not_running
            if job.pool == demand.pool and job.state is JobState.WAITING
        ]
        oldest = min((j.state_since for j in waiting), default=None)
        long = any(
            _for_s(snapshot, j.state_since)
            >= (settings.held_after_s if j.held else settings.capacity_after_s)
            for j in waiting
        )
        if demand.fits_nowhere or long:
            target = f"pool:{demand.pool}"
            yield Signal(
                id=level_id("capacity.short", target, demand.blocked_job, oldest),
                code="capacity.short",
                target=target,
                at=oldest or snapshot.at,
                source="ray",
                trust=Trust.SCHEDULER,
                world=snapshot.world,
                value=demand.pending_gpus,
            )


def _for_s(snapshot: Snapshot, since: datetime) -> float:
    return (snapshot.at - since).total_seconds()


HELD_BACK = frozenset({"gpu.lost", "source.lost", "sensor.implausible"})
"""Facts read by polling one instrument, where one wrong reading must open nothing."""


def debounce(
    signals: tuple[Signal, ...], before: Sightings, at: datetime
) -> tuple[tuple[Signal, ...], Sightings]:
    """Let a polled fact through only when a second, later reading says it again.

    `before` is what this function returned on the last turn; a fresh `Sightings()` after a start
    costs one reading and nothing else. Of a GPU or a sensor the reading is the collector's, so
    that reading one sample on ten turns is still one; for `source.lost` it is the turn itself.
    """
    passed: list[Signal] = []
    first: dict[str, float] = {}
    for signal in signals:
        if signal.code not in HELD_BACK:
            passed.append(signal)
            continue
        read = (at if signal.code == "source.lost" else signal.at).timestamp()
        first[signal.id] = min(before.seen.get(signal.id, read), read)
        if first[signal.id] < read:
            passed.append(signal)
    return tuple(passed), replace(before, seen=first)
