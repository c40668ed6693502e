"""Are clocks cut, and can the readings be believed? Columns of the fleet, asked by `notice`.

Heat and the power brake are told apart by the driver's own bits, and a power cap is neither. A
reading that cannot be true, or that stands still while its neighbours move, is a fault of the
sensor: it never becomes one of the GPU.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.cluster import RayState
from watchkeeper.core.heat import HW_THERMAL, POWER_BRAKE, SW_THERMAL
from watchkeeper.core.incident import Signal, Trust
from watchkeeper.core.telemetry import GPU_FIELDS, FleetFrame, Snapshot
from watchkeeper.core.word import utc
from watchkeeper.health.sense import SenseSettings, level_id
from watchkeeper.health.sightings import SensorPast

_THERMAL = SW_THERMAL | HW_THERMAL
_REASONS = GPU_FIELDS.index("throttle_reasons")
_WATCHED = tuple(
    GPU_FIELDS.index(name)
    for name in ("temperature_celsius", "power_watts", "utilization_percent", "sm_clock_mhz")
)
_MAY_FREEZE = (0, 1)
"""Of the watched: temperature and power. Load and clock stand still in health, too."""
LOOK_EVERY_S = 60.0
MOVES = 5
"""Another reading of the same GPU must have moved so often while this one stood."""
MOST_STILL = 0.2
MOST = 64
"""Signals of one kind in one turn. More is one fault of the telemetry, not of so many GPUs."""
ONE_BY_ONE = 4
"""Nodes whose readings cannot be true, told one by one; more are one change of a unit (ours)."""
STILL_S = 300.0
"""A node none of whose readings moved for so long is no witness, though it is not told yet."""

_POWER = GPU_FIELDS.index("power_watts")
_LIMIT = GPU_FIELDS.index("power_limit_watts")
_CELSIUS = GPU_FIELDS.index("temperature_celsius")
_LOAD = GPU_FIELDS.index("utilization_percent")
MOST_WATTS = 3000.0
"""No GPU draws so much (a whole superchip is below). Milliwatts read as watts are far above."""
TIMES_ITS_LIMIT = 4.0


def watch_clocks(
    snapshot: Snapshot, before: Mapping[tuple[str, str], float], settings: SenseSettings
) -> tuple[dict[tuple[str, str], float], list[Signal]]:
    """Since when each GPU's clocks are cut, and the signals of those cut for long enough."""
    frame = snapshot.frame
    if not frame.gpu.size:
        return {}, []
    reasons = frame.gpu[:, :, _REASONS]
    cut: dict[tuple[str, str], float] = {}
    found: list[Signal] = []
    with np.errstate(invalid="ignore"):
        any_cut = reasons >= SW_THERMAL  # NaN is not; the lower bits are no fault
    if not any_cut.any():
        return cut, found
    bits = np.where(any_cut, reasons, 0).astype(np.int64)
    hot = np.flatnonzero(bits.any(axis=1)).tolist()
    speaks = {row: _speaks(snapshot, row, settings) for row in hot}
    for code, mask, hold in (
        ("gpu.thermal", _THERMAL, settings.throttle_s),
        ("gpu.power_brake", POWER_BRAKE, settings.brake_s),
    ):
        rows, gpus = np.nonzero(bits & mask)
        for row, gpu in zip(rows.tolist(), gpus.tolist(), strict=True):
            if (said := speaks[row]) is None:
                continue
            target = f"gpu:{frame.nodes[row]}/{gpu}"
            since = min(before.get((code, target), said), said)
            cut[code, target] = since
            hard = bool(bits[row, gpu] & (HW_THERMAL | POWER_BRAKE))
            if said - since >= (min(hold, settings.brake_s) if hard else hold):
                found.append(_of(snapshot, code, target, row, since, float(bits[row, gpu])))
    return cut, found[:MOST] if _one_sensor(found, frame) else found


def _one_sensor(found: list[Signal], frame: FleetFrame) -> bool:
    gpus = int(np.prod(frame.gpu.shape[:2]))
    return len(found) > max(MOST, gpus // 2)


def watch_sensors(
    snapshot: Snapshot, before: SensorPast | None, settings: SenseSettings
) -> tuple[list[Signal], SensorPast | None]:
    """Readings that cannot be true, at once; those that stand still, once a minute."""
    frame, now = snapshot.frame, snapshot.at.timestamp()
    if not frame.gpu.size:
        return [], before
    found = list(_implausible(snapshot, settings))
    past = _moved(frame, before, now, settings.frozen_s)
    for row, since, count in past.stuck:
        if _speaks(snapshot, row, settings) is not None:
            target = f"node:{frame.nodes[row]}"
            found.append(_of(snapshot, "sensor.frozen", target, row, since, float(count)))
    return found, past


def _moved(frame: FleetFrame, before: SensorPast | None, now: float, frozen_s: float) -> SensorPast:
    """Looked at once a minute: at 10,000 nodes each look is a pass over 320,000 readings."""
    shape = (*frame.gpu.shape[:2], len(_WATCHED))
    now -= now % LOOK_EVERY_S  # by whole minutes: the same whoever looks how often
    if before is None or before.nodes != frame.nodes or before.seen.shape != shape:
        moved, moves = np.full(shape, now), np.zeros(shape, np.int32)
        return SensorPast(frame.nodes, now, frame.gpu[:, :, _WATCHED], moved, moves)
    if now - before.at < LOOK_EVERY_S:
        return before
    seen: NDArray[np.float32] = frame.gpu[:, :, _WATCHED]
    changed = seen != before.seen  # NaN differs from everything: a gap is no standstill
    moved = np.where(changed, now, before.moved)
    moves = before.moves + changed
    if now - moved[:, :, _MAY_FREEZE].min() < frozen_s:
        return SensorPast(frame.nodes, now, seen, moved, moves)  # nothing stands still so long
    still = (now - moved >= frozen_s)[:, :, _MAY_FREEZE] & ~np.isnan(seen)[:, :, _MAY_FREEZE]
    # What is held at its limit stands still because of that: it is hot, or braked, and told of.
    still &= ~(np.nan_to_num(frame.gpu[:, :, _REASONS]) >= SW_THERMAL)[:, :, None]
    lively = ((moves >= MOVES) & (now - moved < frozen_s / 4)).sum(axis=2) >= 2
    # Where it stands still for most of the fleet it is coarse, or not measured: no node's fault.
    odd = still.mean(axis=(0, 1)) <= MOST_STILL
    frozen = (still & lively[:, :, None] & odd) | (
        _whole_rows(seen, still, moves) & ~np.isnan(seen[:, :, _MAY_FREEZE])
    )
    rows = np.flatnonzero(frozen.any(axis=(1, 2))).tolist()[:MOST]
    stuck = tuple(
        (row, float(moved[row][:, _MAY_FREEZE][frozen[row]].min()), int(frozen[row].sum()))
        for row in rows
    )
    return SensorPast(frame.nodes, now, seen, moved, moves, stuck)


def _whole_rows(
    seen: NDArray[np.float32], still: NDArray[np.bool_], moves: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """bool[N, 1, 1]: of this node every temperature and every power stands still to the last
    digit, though they moved before and those of most nodes still do: its collector repeats itself.
    """
    known = ~np.isnan(seen[:, :, _MAY_FREEZE])
    stands = (still | ~known).all(axis=(1, 2)) & known.any(axis=(1, 2))
    moved_once = (moves[:, :, _MAY_FREEZE] >= MOVES).any(axis=(1, 2))
    if stands.mean() > MOST_STILL:
        return np.zeros((len(seen), 1, 1), np.bool_)
    rows: NDArray[np.bool_] = np.logical_and(stands, moved_once)
    return rows[:, None, None]


def no_witnesses(past: SensorPast | None, nodes: tuple[str, ...], now: float) -> NDArray[np.bool_]:
    """bool[N]: the readings of this node stood still for so long that they say nothing of now.
    nodes: the names of all rows."""
    found = np.zeros(len(nodes), np.bool_)
    if past is None:
        return found
    lively = (past.moves[:, :, _MAY_FREEZE] >= MOVES).any(axis=(1, 2))
    stands = now - past.moved[:, :, _MAY_FREEZE].max(axis=(1, 2)) >= STILL_S
    mute: NDArray[np.bool_] = lively & stands
    if past.nodes == nodes:
        return mute
    known = dict(zip(past.nodes, mute.tolist(), strict=True))
    found[:] = [known.get(name, False) for name in nodes]
    return found


def impossible(gpu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """bool[N, G]: a reading of this GPU cannot be true. gpu: f4[N, G, len(GPU_FIELDS)]."""
    power, limit = gpu[:, :, _POWER], gpu[:, :, _LIMIT]
    celsius, load = gpu[:, :, _CELSIUS], gpu[:, :, _LOAD]
    with np.errstate(invalid="ignore"):
        wrong: NDArray[np.bool_] = (
            (power > MOST_WATTS)
            | (power < 0)
            | ((limit > 0) & (power > TIMES_ITS_LIMIT * limit))
            | (celsius > 150.0)
            | (celsius < -50.0)
            | (load > 101.0)
            | (load < 0)
        )
    return wrong


def clocks_cut(gpu: NDArray[np.float32], code: str) -> NDArray[np.bool_]:
    """bool[...]: the driver says that clocks are cut for this reason. gpu: f4[..., fields]. NaN
    says nothing, which is False: ask for NaN first where Unknown matters."""
    mask = _THERMAL if code == "gpu.thermal" else POWER_BRAKE
    cut: NDArray[np.bool_] = (np.nan_to_num(gpu[..., _REASONS]).astype(np.int64) & mask) != 0
    return cut


def _implausible(snapshot: Snapshot, settings: SenseSettings) -> list[Signal]:
    rows = np.flatnonzero(impossible(snapshot.frame.gpu).any(axis=1)).tolist()
    if (
        len(rows) > ONE_BY_ONE
    ):  # one change of a unit is one fault, of the telemetry and not of nodes
        at = snapshot.at.timestamp()
        return [_of(snapshot, "sensor.implausible", "cluster", rows[0], at, float(len(rows)))]
    found = []
    for row in rows:
        said = _speaks(snapshot, row, settings)
        if said is not None:
            target = f"node:{snapshot.frame.nodes[row]}"
            found.append(_of(snapshot, "sensor.implausible", target, row, said, None))
    return found


def _speaks(snapshot: Snapshot, row: int, settings: SenseSettings) -> float | None:
    """When this row was read, in epoch seconds; None when it is old or its node is not alive."""
    node = snapshot.nodes.get(snapshot.frame.nodes[row])
    said = float(snapshot.frame.read_at[row])
    if node is None or node.ray_state is not RayState.ALIVE:
        return None
    fresh = snapshot.at.timestamp() - said <= settings.silent_after_s
    return said if fresh else None


def _of(
    snapshot: Snapshot, code: str, target: str, row: int, since: float, value: float | None
) -> Signal:
    node = snapshot.nodes.get(snapshot.frame.nodes[row])
    life = node.incarnation if node is not None and target != "cluster" else ""
    lasting = None if code == "sensor.implausible" else utc(since)
    return Signal(
        id=level_id(code, target, life, lasting),
        code=code,
        target=target,
        at=min(utc(since), snapshot.at),
        source="gpu-driver",
        trust=Trust.DRIVER,
        world=snapshot.world,
        value=value,
        incarnation=life,
        simulated=bool(snapshot.frame.simulated[row]),
    )
