"""When was each node last heard, by our own clock? Asked by `look`, once a look, before anything
thinks.

A reading carries its node's own time. Where that time cannot be true (it lies before our last look
or ahead of now, and yet the reading is new) the node's clock is off, and the time of our looking
counts. A clock that runs behind must not look like silence, nor one that runs ahead like life.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

import msgspec
import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.incident import Signal, target_node
from watchkeeper.core.telemetry import FleetFrame

SLACK_S = 60.0
"""A reading may be so long on its way; clocks that differ by less are left as they are (ours)."""


@dataclass(frozen=True, eq=False, slots=True)
class Hearing:
    """nodes: whose rows. at: epoch seconds of the look. told: f8[N], the time that each newest
    reading names. heard: f8[N], when it came, by our clock; NaN for who never spoke. doubt:
    bool[N], the reading is new and names an old time, so that the next look decides: a clock that
    is behind goes on, a node that fell silent does not. off: node -> seconds that its clock is
    ahead (negative: behind), for those that are off."""

    nodes: tuple[str, ...]
    at: float
    told: NDArray[np.float64]
    heard: NDArray[np.float64]
    doubt: NDArray[np.bool_]
    off: dict[str, float]


def listen(frame: FleetFrame, before: Hearing | None, now_s: float) -> Hearing:
    """Hold this frame against the last look's. now_s: epoch seconds of our clock.

    On the first look a reading's own time is believed, no later than now.
    """
    told = frame.read_at
    if before is None:
        none = np.zeros(len(told), np.bool_)
        return Hearing(frame.nodes, now_s, told, np.minimum(told, now_s), none, {})
    if before.nodes != frame.nodes:
        before = _aligned(frame, before)
    with np.errstate(invalid="ignore"):
        moved = (told != before.told) & ~np.isnan(told)
        true = (told >= min(before.at, now_s) - SLACK_S) & (told <= now_s + SLACK_S)
        doubt = moved & true & (told < now_s - SLACK_S)
    stood = np.where(before.doubt, told, before.heard)
    came = np.where(moved, np.where(true & ~doubt, told, now_s), stood)
    heard = np.minimum(came, now_s)  # our own clock may have been set back
    off = {name: by for name, by in before.off.items() if name in frame.row}
    wrong = np.flatnonzero(moved & ~true)
    if off or wrong.size:
        for row in np.flatnonzero(moved & true).tolist() if off else ():
            off.pop(frame.nodes[row], None)
        off.update((frame.nodes[row], float(told[row]) - now_s) for row in wrong.tolist())
    return Hearing(frame.nodes, now_s, told, heard, doubt, off)


def _aligned(frame: FleetFrame, before: Hearing) -> Hearing:
    """The last look in the rows of this frame: nodes came or went."""
    row = {name: i for i, name in enumerate(before.nodes)}
    at = [row.get(name, -1) for name in frame.nodes]
    told, heard = np.append(before.told, np.nan)[at], np.append(before.heard, np.nan)[at]
    doubt = np.append(before.doubt, False)[at]
    return replace(before, nodes=frame.nodes, told=told, heard=heard, doubt=doubt)


def by_our_clock(frame: FleetFrame, hearing: Hearing) -> FleetFrame:
    """The frame with the times at which its readings were heard."""
    if not hearing.off and np.array_equal(frame.read_at, hearing.heard, equal_nan=True):
        return frame
    return replace(frame, read_at=hearing.heard)


def put_right(signals: Iterable[Signal], hearing: Hearing) -> tuple[Signal, ...]:
    """The same signals, those of a node whose clock is off at the time that we would have read."""
    if not hearing.off:
        return tuple(signals)
    return tuple(_shifted(s, hearing.off.get(target_node(s.target), 0.0)) for s in signals)


def _shifted(signal: Signal, off_s: float) -> Signal:
    if not off_s:
        return signal
    return msgspec.structs.replace(signal, at=signal.at - timedelta(seconds=off_s))
