"""How much CPU and memory goes with one GPU, learned from the asks so far and from nothing else.

It keeps each node's leftovers in the proportion that work comes in, so that no GPU is left behind
spent CPU. While CPU is ample the proportion is that of the GPU work seen; once everything asked
for (work without GPUs too) needs more CPU per GPU than the fleet has, it is what the fleet has
left, since then the scarce CPU decides. The same holds for memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from watchkeeper.placement.fleet import Fleet
from watchkeeper.placement.words import Piece

PRIOR = 0.005
"""Before work is seen: as if so much of the fleet had been asked for in the fleet's own
proportion. Keeps the first asks from deciding."""

SHY = 0.9
"""Of the CPU seen with a GPU, so much is kept beside a free one. Keeping too little costs next to
nothing over a wide range; keeping a tenth too much fills nodes in the wrong order (development
seeds: 0.8 to 1.0 alike within 0.03 points, 1.1 worse by 0.15, 1.25 by 0.3)."""

WARM = 0.08
"""Scarcity is judged once so much of the fleet's GPUs was asked for."""

EASY, SCARCE = 0.97, 1.03
"""Asked per GPU over owned per GPU: below EASY what was seen counts, above SCARCE what is left,
and a mean of both between."""

REMEMBERED = 50_000
"""Asks after which all earlier ones count half: work changes over the months."""


class Proportion(NamedTuple):
    """What goes with one thousandth of a GPU. scarce: 0 while CPU is ample, 1 when it decides."""

    cpu: float
    memory: float
    scarce: float


@dataclass(slots=True)
class _Sums:
    """Asked for so far. `beside` counts only work with GPUs; `asked` all work."""

    total: float
    beside: float
    asked: float = 0.0


class Balance:
    """CPU and memory per GPU, learned online. Holds no names and no list of what is to come."""

    def __init__(self, fleet: Fleet) -> None:
        self._milli = float(fleet.capacity_milli) or 1.0
        self._beside = PRIOR * self._milli
        self._asked = 0.0
        self._cpu = _sums(float(fleet.cpu_total.sum()))
        self._memory = _sums(float(fleet.memory_total.sum()))
        self._heard = 0

    def hear(self, piece: Piece, count: int = 1) -> None:
        """Learn from one ask, when it arrives, whether or not it finds a place. Each ask once."""
        milli, cpu = count * piece.gpu_milli, count * piece.cpu_milli
        memory = count * piece.memory_mib
        self._asked += milli
        self._cpu.asked += cpu
        self._memory.asked += memory
        if milli:
            self._beside += milli
            self._cpu.beside += cpu
            self._memory.beside += memory
        self._heard += 1
        if self._heard >= REMEMBERED:
            self._halve()

    def per_gpu(self, fleet: Fleet) -> Proportion:
        """As things stand."""
        left = max(fleet.free_milli, 1)
        scarce, memory = self._scarce(self._cpu), self._scarce(self._memory)
        return Proportion(
            cpu=self._ratio(self._cpu, fleet.free_cpu / left, scarce),
            memory=self._ratio(self._memory, fleet.free_memory / left, memory),
            scarce=scarce,
        )

    def _ratio(self, sums: _Sums, left: float, scarce: float) -> float:
        return scarce * left + (1.0 - scarce) * SHY * sums.beside / self._beside

    def _scarce(self, sums: _Sums) -> float:
        if self._asked < WARM * self._milli or not sums.total:
            return 0.0
        pressure = (sums.asked / self._asked) / (sums.total / self._milli)
        return min(max((pressure - EASY) / (SCARCE - EASY), 0.0), 1.0)

    def _halve(self) -> None:
        self._heard = REMEMBERED // 2
        self._asked /= 2
        self._beside /= 2
        for sums in (self._cpu, self._memory):
            sums.asked /= 2
            sums.beside /= 2


def _sums(total: float) -> _Sums:
    return _Sums(total=total, beside=PRIOR * total)
