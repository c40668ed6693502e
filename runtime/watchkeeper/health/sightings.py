"""What health remembers from turn to turn. Held by the caller, never by health itself.

All of it may be lost at any time: a fresh `Sightings()` after a start costs some minutes until a
gang's pace or a stuck sensor is known again, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.incident import Signal
from watchkeeper.health.paces import Gangs


@dataclass(frozen=True, eq=False, slots=True)
class SensorPast:
    """Columns of the fleet at one time. nodes: whose rows. at: epoch seconds. seen: f4[N, G, C],
    the readings then. moved: f8[N, G, C], when each last changed. moves: i4[N, G, C], how often.
    stuck: (row, since when, how many sensors) of the nodes with one that stands still."""

    nodes: tuple[str, ...]
    at: float
    seen: NDArray[np.float32]
    moved: NDArray[np.float64]
    moves: NDArray[np.int32]
    stuck: tuple[tuple[int, float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Sightings:
    """seen: signal id -> time of the first reading, in epoch seconds, of facts that need two.
    looked: epoch seconds of the last look. gangs: by name. deaths: node -> (incarnation, time) of
    its last deaths that were not our doing. ours: node -> when our fence, or a drain, was last
    seen on it. cut: (code, gpu target) -> since when its clocks are cut. sensors: how readings
    move. held: (node, class of fault) -> lines that nothing bears out yet. deaf: when the store of
    telemetry last ceased to answer, and when it was last found so."""

    seen: Mapping[str, float] = field(default_factory=dict)
    looked: float = 0.0
    gangs: Gangs = field(default_factory=Gangs)
    deaths: Mapping[str, tuple[tuple[str, float], ...]] = field(default_factory=dict)
    ours: Mapping[str, float] = field(default_factory=dict)
    cut: Mapping[tuple[str, str], float] = field(default_factory=dict)
    sensors: SensorPast | None = None
    held: dict[tuple[str, str], tuple[Signal, ...]] = field(default_factory=dict)
    deaf: tuple[float, float] = (float("inf"), float("-inf"))
