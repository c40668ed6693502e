"""How many workers go to which node, so that a gang lies close together.

First the tightest domain that holds it, then the same one level down: whole domains are left
whole for those who need them. Where no one domain holds it, as few as can be.
"""

from __future__ import annotations

import numpy as np

from watchkeeper.placement.fleet import Fleet, Ints
from watchkeeper.placement.words import LEVELS


def share_out(
    fleet: Fleet, slots: Ints, count: int, within: str = "", near: str = "", least: int = 0
) -> Ints | None:
    """Workers for each node, i8[N], summing to at most `count` and at least `least` (0: all).

    slots: how many each node holds. within: a level, one domain of which must hold them all.
    near: the level to try first, wider ones after it, and at last any nodes.
    None: there is no such way.
    """
    least = least or count
    if int(slots.sum()) < least:
        return None
    if within:
        return _within(fleet, slots, count, least, within)
    for level in _from(near):
        found = _within(fleet, slots, count, count, level)
        if found is not None:
            return found
    count = min(count, int(slots.sum()))
    levels = tuple(reversed(_from(near))) if near else ()
    return _descend(fleet, slots, count, levels) if near else _loose(fleet, slots, count)


def capacity(fleet: Fleet, slots: Ints, level: str) -> Ints:
    """Slots of each domain of a level, by its number."""
    ids = fleet.domains[level]
    named = ids >= 0
    sums = np.bincount(ids[named], slots[named], minlength=len(fleet.domain_names[level]))
    return sums.astype(np.int64)


def _from(near: str) -> tuple[str, ...]:
    return LEVELS[LEVELS.index(near) :] if near else ()


def _within(fleet: Fleet, slots: Ints, count: int, least: int, level: str) -> Ints | None:
    """In the tightest domain that holds all; an elastic gang else in the one that holds most."""
    room = capacity(fleet, slots, level)
    if not room.size or int(room.max()) < least:
        return None
    whole = room >= count
    best = int(
        np.where(whole, room, np.iinfo(np.int64).max).argmin() if whole.any() else room.argmax()
    )
    inside = np.where(fleet.domains[level] == best, slots, 0)
    narrower = tuple(reversed(LEVELS[: LEVELS.index(level)]))
    return _descend(fleet, inside, min(count, int(room[best])), narrower)


def _descend(fleet: Fleet, slots: Ints, count: int, levels: tuple[str, ...]) -> Ints:
    """Fill as few domains of each level as can be, widest level first. slots holds them all."""
    for at, level in enumerate(levels):
        room = capacity(fleet, slots, level)
        if not room.any():
            continue  # these nodes have no domain of this level
        taken, left = np.zeros_like(slots), count
        ids = fleet.domains[level]
        open_ = room.copy()
        while left:
            best = _next(open_, left)
            if best is None:  # the rest lies outside every domain of this level
                rest = np.where(taken > 0, 0, slots)
                return taken + _loose(fleet, rest, left)
            inside, part = np.where(ids == best, slots, 0), min(left, int(open_[best]))
            taken += _descend(fleet, inside, part, levels[at + 1 :])
            left -= part
            open_[best] = 0
        return taken
    return _loose(fleet, slots, count)


def _next(room: Ints, left: int) -> int | None:
    """The tightest domain that holds what is left, or else the largest."""
    if not room.any():
        return None
    holds = room >= left
    if holds.any():
        return int(np.where(holds, room, np.iinfo(np.int64).max).argmin())
    return int(room.argmax())


def _loose(fleet: Fleet, slots: Ints, count: int) -> Ints:
    """Fewest nodes: the largest first, and the last one tight. Among equals, nodes whose rack has
    the least left, so that other racks stay whole; then in row order."""
    taken = np.zeros_like(slots)
    if count <= 0:
        return taken
    rack = fleet.domains["rack"]
    busy = np.where(rack >= 0, capacity(fleet, slots, "rack")[rack], 0) if rack.max() >= 0 else rack
    order = np.lexsort((busy, -slots))
    held = slots[order]
    before = np.cumsum(held) - held
    full = before + held <= count
    taken[order[full]] = held[full]
    left = count - int(held[full].sum())
    if left:
        rest = np.flatnonzero((slots >= left) & (taken == 0))
        tight = rest[np.lexsort((busy[rest], slots[rest]))[0]]
        taken[tight] = left
    return taken
