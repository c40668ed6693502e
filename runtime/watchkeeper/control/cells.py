"""The fleet as the map draws it: columns in, two strings out. Pure, from one snapshot.

A fleet of 10,000 GPUs is drawn anew every few seconds by every open page: no loop over GPUs, and
only nodes about which something is said are looked at one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from watchkeeper.control.fleet import RANK, node_state
from watchkeeper.control.look import FRESH_S
from watchkeeper.core.cells import NODE_STATES, Block, FleetCells, FleetLayout, Grouping, Shade
from watchkeeper.core.cluster import Node
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.incident import Incident
from watchkeeper.core.once import once_for
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot
from watchkeeper.core.word import digest

SCALE: dict[Shade, tuple[float, float, str]] = {
    Shade.HEALTH: (0.0, 100.0, "%"),
    Shade.UTILIZATION: (0.0, 100.0, "%"),
    Shade.TEMPERATURE: (30.0, 95.0, "°C"),
    Shade.POWER: (0.0, 100.0, "% of its limit"),
    Shade.FORECAST: (0.0, 100.0, "% of the pool wanted in an hour"),
}
AHEAD_S = 3600.0
WORDS, WORDS_LONG = 40, 120
_COLUMN = {name: i for i, name in enumerate(GPU_FIELDS)}
_NUMBERS = re.compile(r"(\d+)")
_OVER = np.zeros(256, np.uint8)
"""How a node stands -> what all of its GPUs are drawn as, whatever was read of them; 0: as read."""
_OVER[list(b"dqu")] = ord("q")
_OVER[list(b"rck")] = ord("c")


@dataclass(frozen=True, eq=False, slots=True)
class _Placed:
    """One layout with what cells need of it: its nodes in order, and which GPUs there are."""

    layout: FleetLayout
    nodes: tuple[Node, ...]
    there: NDArray[np.bool_]
    hidden: tuple[tuple[int, tuple[int, ...]], ...]
    row_of: dict[str, int]
    rows: list[tuple[Mapping[str, int], NDArray[np.intp]]] = field(default_factory=list)
    """The rows of the frame for these nodes, made once for each mapping of names to rows."""


@once_for
def _by_grouping(_nodes: dict[str, Node]) -> dict[Grouping, _Placed]:
    """Layouts made so far of exactly these nodes."""
    return {}


def placed(nodes: dict[str, Node], by: Grouping) -> _Placed:
    known = _by_grouping(nodes)
    if by not in known:
        known[by] = _place(nodes, by)
    return known[by]


def layout_of(snapshot: Snapshot, by: Grouping) -> FleetLayout:
    """Every node in its block, as people count: rack 2 before rack 10."""
    return placed(snapshot.nodes, by).layout


def _place(nodes: dict[str, Node], by: Grouping) -> _Placed:
    blocks: dict[str, list[Node]] = {}
    for node in nodes.values():
        blocks.setdefault(_domain(node, by), []).append(node)
    names = sorted(blocks, key=lambda name: (not name, _as_counted(name)))
    for name in names:
        blocks[name].sort(key=lambda n: _as_counted(n.name))
    order = tuple(node for name in names for node in blocks[name])
    counts = [n.gpus + len(n.hidden_gpus) for n in order]
    wide = max(counts, default=0)
    words = tuple(
        Block(
            r=name,
            n=tuple(n.name for n in blocks[name]),
            g=tuple(n.gpus + len(n.hidden_gpus) for n in blocks[name]),
        )
        for name in names
    )
    return _Placed(
        layout=FleetLayout(key=digest([by, words])[:16], by=by, blocks=words),
        nodes=order,
        there=np.arange(wide)[None, :] < np.array(counts, np.int64)[:, None],
        hidden=tuple((i, n.hidden_gpus) for i, n in enumerate(order) if n.hidden_gpus),
        row_of={n.name: i for i, n in enumerate(order)},
    )


def _domain(node: Node, by: Grouping) -> str:
    match by:
        case Grouping.RACK:
            return node.rack
        case Grouping.NVLINK:
            return node.nvlink_domain
        case Grouping.POOL:
            return node.pool


def _as_counted(name: str) -> tuple[tuple[int, int, str], ...]:
    parts = _NUMBERS.split(name.casefold())
    return tuple((1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts if p)


def cells_of(
    snapshot: Snapshot,
    incidents: Iterable[Incident],
    forecasts: Mapping[str, Forecast],
    shade: Shade,
    by: Grouping,
) -> FleetCells:
    """One character for each node and GPU, in the order of `layout_of(snapshot, by)`."""
    place = placed(snapshot.nodes, by)
    troubles = {i.node: i for i in incidents if i.is_open and i.node}
    states, what = _states(snapshot, place, troubles)
    g = _levels(snapshot, place, forecasts, shade)
    over = _OVER[states]
    if covered := np.flatnonzero(over).tolist():
        g[covered] = over[covered, None]
    for i, indexes in place.hidden:
        g[i, [k for k in indexes if k < g.shape[1]]] = ord("x")
    np.copyto(g, np.uint8(ord("f")), where=_column(snapshot, place, "present") == 0.0)
    for name, incident in troubles.items():  # the one GPU that it is about
        row = place.row_of.get(name)
        if row is not None and incident.gpu is not None and incident.gpu < g.shape[1]:
            g[row, incident.gpu] = ord("f")
    low, high, unit = SCALE[shade]
    return FleetCells(
        key=place.layout.key,
        at=snapshot.at,
        shade=shade,
        low=low,
        high=high,
        unit=unit,
        s=states.tobytes().decode("ascii"),
        g=g[place.there].tobytes().decode("ascii"),
        what=what,
        simulated=bool(snapshot.frame.simulated.any()),
    )


def _states(
    snapshot: Snapshot, place: _Placed, troubles: Mapping[str, Incident]
) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """One letter for each node; of the worst, what is said."""
    count = len(place.nodes)
    ray = snapshot.sources.get("ray")
    if ray is None or ray.error or ray.age_s is None or ray.age_s > FRESH_S:
        return np.full(count, ord("u"), np.uint8), {}
    rows = _rows(snapshot, place)
    read_at = np.append(snapshot.frame.read_at, np.nan)[rows]
    silent = ~(snapshot.at.timestamp() - read_at <= FRESH_S)  # and what was never read
    states = np.where(silent, np.uint8(ord("q")), np.uint8(ord("h")))
    spoken_of = {n.name for n in snapshot.not_alive} | set(snapshot.fences) | set(troubles)
    spoken_of |= set(snapshot.state.checks)
    said: list[tuple[int, str, str]] = []
    for name in spoken_of:
        row = place.row_of.get(name)
        if row is not None:
            state, what = node_state(snapshot, place.nodes[row], troubles.get(name))
            states[row] = ord(NODE_STATES[state])
            said.append((RANK.index(state), name, what))
    words = {n: what[:WORDS_LONG] for _, n, what in sorted(said)[:WORDS] if what}
    return states, words


def _levels(
    snapshot: Snapshot, place: _Placed, forecasts: Mapping[str, Forecast], shade: Shade
) -> NDArray[np.uint8]:
    """Digits from 0 to 9, and a dot where nothing is known."""
    low, high, _ = SCALE[shade]
    match shade:
        case Shade.HEALTH:
            known = ~np.isnan(_column(snapshot, place, "present"))
            return np.where(known, np.uint8(ord("5")), np.uint8(ord("."))).astype(np.uint8)
        case Shade.UTILIZATION:
            values = _column(snapshot, place, "utilization_percent")
        case Shade.TEMPERATURE:
            values = _column(snapshot, place, "temperature_celsius")
        case Shade.POWER:
            limit = _column(snapshot, place, "power_limit_watts")
            limit = np.where(limit > 0, limit, np.nan)
            values = 100 * _column(snapshot, place, "power_watts") / limit
        case Shade.FORECAST:
            wanted = _wanted(snapshot, forecasts)
            column = [wanted.get(n.pool, np.nan) for n in place.nodes]
            values = np.repeat(np.array(column, np.float32)[:, None], place.there.shape[1], axis=1)
    return _digits(values, low, high)


def _digits(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """0 to 9 from low to high, and a dot for NaN. In place where it can be: this is most of what
    one reading of a large map costs."""
    level = values - np.float32(low)
    level *= np.float32(10 / (high - low))
    unknown = np.isnan(level)
    np.copyto(level, np.float32(0), where=unknown)
    np.minimum(np.maximum(level, 0, out=level), 9, out=level)
    drawn = level.astype(np.uint8)
    drawn += np.uint8(ord("0"))
    np.copyto(drawn, np.uint8(ord(".")), where=unknown)
    return drawn


def _wanted(snapshot: Snapshot, forecasts: Mapping[str, Forecast]) -> dict[str, float]:
    """What is expected of each pool in an hour, in percent of its GPUs."""
    found = {}
    for demand in snapshot.state.demand:
        forecast = forecasts.get(demand.pool)
        if forecast is None or not forecast.horizons_s or demand.total_gpus <= 0:
            continue
        if 0.5 not in forecast.quantiles:
            continue
        nearest = min(
            range(len(forecast.horizons_s)), key=lambda i: abs(forecast.horizons_s[i] - AHEAD_S)
        )
        middle = forecast.values[nearest][forecast.quantiles.index(0.5)]
        found[demand.pool] = 100 * middle / demand.total_gpus
    return found


def _rows(snapshot: Snapshot, place: _Placed) -> NDArray[np.intp]:
    """The frame's row of each node, -1 where it has none: the last, which is made of gaps."""
    row = snapshot.frame.row
    if place.rows and place.rows[0][0] is row:  # a fleet's rows are mostly those of the last turn
        return place.rows[0][1]
    found = np.array([row.get(n.name, -1) for n in place.nodes], np.intp)
    place.rows[:] = [(row, found)]
    return found


def _column(snapshot: Snapshot, place: _Placed, name: str) -> NDArray[np.float32]:
    """f4[nodes, GPUs of the widest], a copy; NaN where nothing was read."""
    gpu = snapshot.frame.gpu[:, :, _COLUMN[name]]
    wide, rows = place.there.shape[1], _rows(snapshot, place)
    if gpu.shape[1] == wide and rows.size and rows.min() >= 0:  # all were read at some time
        return gpu[rows].astype(np.float32, copy=False)
    values = np.full((gpu.shape[0] + 1, wide), np.nan, np.float32)
    values[:-1, : min(wide, gpu.shape[1])] = gpu[:, :wide]
    return values[rows]
