"""Is a power feed near its limit, and which GPUs to cap so that least work is slowed?

A gang goes at the pace of its slowest GPU: capping one slows all. So GPUs without a gang are capped
first, then whole gangs, least important and smallest first, no deeper than is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.capacity import FeedLoad, PowerCap, Shedding
from watchkeeper.core.cluster import JobState, Node, RayState
from watchkeeper.core.money import FeedOrder
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot, node_power

STEP_W = 5.0
"""Caps are whole steps, rounded down."""
ROOM_SHARE = 0.05
"""Of the limit: caps are taken back only where so much stays free below the mark."""
CALM_SHARE = 0.02
"""Of the limit: shed so much more than needed, so that the feed does not hover at its mark."""
_POWER, _LIMIT = GPU_FIELDS.index("power_watts"), GPU_FIELDS.index("power_limit_watts")


def loads(snapshot: Snapshot, feeds: Mapping[str, FeedOrder]) -> tuple[FeedLoad, ...]:
    """Every feed that policy names, with what its GPUs draw. One silent node makes it unknown, and
    so is a feed that no node names."""
    found = _by_feed(snapshot)
    return tuple(
        _load(order, *found.get(feed, (None, (), False))) for feed, order in sorted(feeds.items())
    )


def shed(snapshot: Snapshot, order: FeedOrder) -> Shedding | None:
    """The caps that bring a feed below the share at which policy acts; None where it is below, and
    where its draw is unknown: nobody is slowed on a guess."""
    (load,) = loads(snapshot, {order.feed: order})
    if load.draw_w is None or load.over_w <= 0:
        return None
    left = load.over_w + CALM_SHARE * order.limit_w
    caps: list[PowerCap] = []
    sheds = 0.0
    for group in _groups(snapshot, order, order.least_w):
        if left - sheds <= 0:
            break
        taken, saved = _cap(group, order.least_w, left - sheds)
        caps += taken
        sheds += saved
    enough = sheds >= load.over_w
    gangs = sorted({cap.gang for cap in caps if cap.gang})
    whom = f" This slows {', '.join(gangs)}." if gangs else " No gang is slowed."
    short = "" if enough else f" That is not enough: {load.over_w - sheds:,.0f} W remain."
    done = f"Capping {len(caps)} GPUs sheds {sheds:,.0f} W.{whom}{short}"
    says = (
        f"The feed {order.feed} carries {load.draw_w:,.0f} W of {order.limit_w:,.0f} W; policy "
        f"acts at {order.act_share:.0%}. {done}"
    )
    return Shedding(load=load, caps=tuple(caps), sheds_w=round(sheds, 1), enough=enough, says=says)


def release(
    snapshot: Snapshot, order: FeedOrder, ours: frozenset[tuple[str, int]]
) -> tuple[PowerCap, ...]:
    """Caps of ours to take back, the most important work first: as many as the feed can carry if
    each of those GPUs then draws all it may. Nothing while the load is unknown, or policy does not
    say what an uncapped GPU may draw."""
    (load,) = loads(snapshot, {order.feed: order})
    if order.full_w is None or load.draw_w is None or not ours:
        return ()
    room = (order.act_share - ROOM_SHARE) * order.limit_w - load.draw_w
    found: list[PowerCap] = []
    for group in reversed(_groups(snapshot, order, lowest_w=0.0)):
        for (node, gpu), draws in zip(group.where, group.watts.tolist(), strict=True):
            limit = float(snapshot.frame.gpu[snapshot.frame.row[node.name], gpu, _LIMIT])
            if (node.name, gpu) not in ours or not limit < order.full_w:
                continue
            room -= order.full_w - draws
            if room < 0:
                return tuple(found)
            found.append(_told(node, gpu, order.full_w, draws, group.gang))
    return tuple(found)


def _told(node: Node, gpu: int, watts: float, draws: float, gang: str) -> PowerCap:
    return PowerCap(
        node=node.name,
        incarnation=node.incarnation,
        gpu=gpu,
        watts=watts,
        draws_w=round(draws, 1),
        gang=gang,
    )


def _load(
    order: FeedOrder, drawn: float | None, silent: tuple[str, ...], simulated: bool
) -> FeedLoad:
    over = 0.0 if drawn is None else max(0.0, drawn - order.act_share * order.limit_w)
    return FeedLoad(
        feed=order.feed,
        limit_w=order.limit_w,
        draw_w=None if drawn is None else round(drawn, 1),
        over_w=round(over, 1),
        silent=silent,
        simulated=simulated,
    )


@lru_cache(maxsize=2)
def _by_feed(snapshot: Snapshot) -> dict[str, tuple[float | None, tuple[str, ...], bool]]:
    """(watts or None, silent nodes, simulated) by feed, once for each snapshot. A node that is dead
    and unheard draws nothing."""
    power = node_power(snapshot)
    on = np.array([bool(n.power_feed) and not n.control_path for n in power.words], np.bool_)
    nodes = [power.words[at] for at in np.flatnonzero(on).tolist()]
    codes: dict[str, int] = {}
    feed = np.array([codes.setdefault(n.power_feed, len(codes)) for n in nodes], np.intp)
    known = power.known[on]
    off = np.array([n.ray_state is RayState.DEAD for n in nodes], np.bool_) & ~power.fresh[on]
    drawn = np.bincount(feed[known], power.watts[on][known], len(codes))
    simulated = np.bincount(feed, power.simulated[on], len(codes)) > 0
    silent: dict[int, list[str]] = {}
    for at in np.flatnonzero(~known & ~off).tolist():
        silent.setdefault(int(feed[at]), []).append(nodes[at].name)
    return {
        name: (
            None if i in silent else float(drawn[i]),
            tuple(silent.get(i, ())),
            bool(simulated[i]),
        )
        for name, i in codes.items()
    }


@dataclass(frozen=True, eq=False, slots=True)
class _Group:
    """GPUs that are slowed together. where: (node, GPU) of each. watts: what each draws."""

    gang: str
    where: tuple[tuple[Node, int], ...]
    watts: NDArray[np.float64]


def _groups(snapshot: Snapshot, order: FeedOrder, lowest_w: float) -> list[_Group]:
    """The feed's GPUs by the most important gang on their node, in the order in which they are
    capped; only those that draw more than `lowest_w`, and may. Ray does not say which of a node's
    GPUs a gang holds: a node is slowed as a whole."""
    rank: dict[str, tuple[float, float, str]] = {"": (-math.inf, 0.0, "")}
    found: dict[str, list[tuple[Node, int, float]]] = {}
    for node in snapshot.nodes.values():
        row = snapshot.frame.row.get(node.name)
        if node.power_feed != order.feed or node.control_path or row is None:
            continue
        gangs = [j for j in snapshot.jobs_on(node.name) if j.state is JobState.RUNNING]
        first = max(gangs, key=lambda j: (j.priority, j.gpus, j.name), default=None)
        if first is not None:
            rank[first.name] = (float(first.priority), first.gpus, first.name)
        name = first.name if first else ""
        if name == "" and node.gpus_free < node.gpus and node.name not in snapshot.fences:
            name = f"work on {node.name}"  # no gang, and not nobody: before every gang
            rank[name] = (-math.inf, 1.0, name)
        power, limit = snapshot.frame.gpu[row, :, _POWER], snapshot.frame.gpu[row, :, _LIMIT]
        for gpu, watts in enumerate(power.tolist()):
            if watts > lowest_w and not limit[gpu] <= lowest_w:
                found.setdefault(name, []).append((node, gpu, watts))
    return [
        _Group(
            gang=name,
            where=tuple((node, gpu) for node, gpu, _ in found[name]),
            watts=np.array([w for _, _, w in found[name]]),
        )
        for name in sorted(found, key=lambda name: rank[name])
    ]


def _cap(group: _Group, least_w: float, wanted: float) -> tuple[list[PowerCap], float]:
    """One cap for the whole group, as high as sheds what is wanted; (caps, watts saved)."""
    watts = np.sort(group.watts)[::-1]
    saved = np.cumsum(watts) - watts * np.arange(1, len(watts) + 1)
    above = max(1, int(np.searchsorted(saved, wanted)))  # GPUs that draw more than the cap
    level = (float(watts[:above].sum()) - wanted) / above
    cap = max(least_w, math.floor(level / STEP_W) * STEP_W)
    caps = [
        _told(node, gpu, cap, draws, group.gang)
        for (node, gpu), draws in zip(group.where, group.watts.tolist(), strict=True)
        if draws > cap
    ]
    return caps, float(np.maximum(group.watts - cap, 0.0).sum())
