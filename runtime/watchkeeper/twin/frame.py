"""What the collectors read, as columns: what each GPU does, what ails it, and a little drift.

Every value is a function of the seed, the minute and what has happened, so that a run that skips
quiet minutes reads the same as one that does not. Arrays that were handed out never change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS, FleetFrame
from watchkeeper.twin.ailment import Ailment, Ailments
from watchkeeper.twin.chance import Stream, stream
from watchkeeper.twin.clock import TwinClock
from watchkeeper.twin.machines import NEVER, Machines
from watchkeeper.twin.words import Hurt, Scope, TwinSpec
from watchkeeper.twin.work import FULL_WATTS, STARVED, WORKING, Work

SAMPLE_S = 5.0
"""Collectors read this often."""
DRIFT_S = 60.0
"""Values drift from minute to minute."""
DRIFTS = 61
THERMAL_BITS, BRAKE_BITS = float(0x20 | 0x40), float(0x80)
"""NVML's clock-event bits: thermal slowdown (software, hardware); hardware power brake."""
HOT = 94.0

_COL = {name: i for i, name in enumerate(GPU_FIELDS)}
_UTIL, _TEMP, _WATTS = (
    _COL["utilization_percent"],
    _COL["temperature_celsius"],
    _COL["power_watts"],
)
_CLOCK, _THROTTLE, _PRESENT = _COL["sm_clock_mhz"], _COL["throttle_reasons"], _COL["present"]
_RX, _TRICKLE = HOST_FIELDS.index("network_rx_bytes_per_s"), 3e7
_LINKS, _DBE = _COL["nvlink_links_up"], _COL["ecc_uncorrected_total"]

_STATES = (
    # util, mem used, temp, watts, clock; in the order of work.IDLE ... STARVED
    (0.0, 600.0, 32.0, 75.0, 345.0),
    (96.0, 71000.0, 63.0, 640.0, 1755.0),
    (4.0, 30000.0, 38.0, 120.0, 1980.0),
    (100.0, 71000.0, 45.0, 190.0, 1980.0),
    (82.0, 71000.0, 55.0, 420.0, 1800.0),
    (3.0, 71000.0, 36.0, 110.0, 1980.0),
)
"""A hung collective spins: full utilisation, little power. A starved loader leaves GPUs idle."""
_HOST = (
    # cpu, memory, disk, load, rx, tx
    (2.0, 8.0, 40.0, 2.0, 1e5, 1e5),
    (35.0, 55.0, 40.0, 60.0, 2.2e9, 1.4e9),
    (20.0, 40.0, 40.0, 40.0, 4.0e9, 2.0e8),
    (12.0, 55.0, 40.0, 30.0, 1e6, 1e6),
    (28.0, 55.0, 40.0, 50.0, 1.5e9, 1.0e9),
    (6.0, 55.0, 40.0, 90.0, 3e7, 2e7),
)


def _levels() -> NDArray[np.float32]:
    table = np.zeros((len(_STATES), len(GPU_FIELDS)), np.float32)
    for code, (util, memory, temp, watts, clock) in enumerate(_STATES):
        table[code] = (util, memory, 81559.0, temp, watts, FULL_WATTS, 0, 0, clock, 0, 18, 1)
    return table


LEVELS = _levels()
HOSTS: NDArray[np.float32] = np.array(_HOST, np.float32)


class Panel:
    """The fleet's readings. skew: seconds by node index; deaf: f8[N], when the store ceased to
    hear a node (inf: it hears); scale: factor on power by node index; frozen: rows that stand
    still."""

    def __init__(
        self, spec: TwinSpec, clock: TwinClock, machines: Machines, work: Work, ailments: Ailments
    ) -> None:
        self.clock, self.machines, self.work, self.ailments = clock, machines, work, ailments
        n = len(machines)
        chance = stream(spec.seed, Stream.SENSORS)
        shape = (DRIFTS, n, spec.gpus_per_node)
        self._drift: NDArray[np.float32] = chance.standard_normal(shape, np.float32)
        self._own: NDArray[np.float32] = chance.standard_normal(shape[1:], np.float32)
        self.skew: dict[int, float] = {}
        self.deaf: NDArray[np.float64] = np.full(n, NEVER)
        self.scale: dict[int, float] = {}
        self.frozen: dict[int, NDArray[np.float32]] = {}
        self.stamp = 0
        self._key = (-1, 0, 0, 0, 0)
        self._gpu = np.empty((0, 0, len(GPU_FIELDS)), np.float32)
        self._host = np.empty((0, len(HOST_FIELDS)), np.float32)
        self._names: tuple[str, ...] = ()
        self._row: dict[str, int] = {}
        self._simulated = np.empty(0, np.bool_)
        self._vendor: tuple[str, ...] = ()

    def frame(self) -> FleetFrame:
        """The latest reading of every node."""
        self._refresh()
        return FleetFrame(
            nodes=self._names,
            read_at=self._read_at(),
            gpu=self._gpu,
            host=self._host,
            simulated=self._simulated,
            vendor=self._vendor,
            row=self._row,
        )

    def freeze(self, i: int) -> None:
        """The columns of this node stand still from here on."""
        self._refresh()
        self.frozen[i] = self._gpu[i].copy()
        self.stamp += 1

    def changed(self) -> None:
        """A disturbance was switched on or off."""
        self.stamp += 1

    def _read_at(self) -> NDArray[np.float64]:
        """Epoch seconds of each node's last sample, by the node's own clock."""
        begin = self.clock.start.timestamp()
        latest = self.clock.s // SAMPLE_S * SAMPLE_S
        n = len(self.machines)
        if len(self.deaf) < n:
            self.deaf = np.append(self.deaf, np.full(n - len(self.deaf), NEVER))
        read = np.minimum(np.minimum(self.machines.silent_s, self.deaf), latest) + begin
        for i, seconds in self.skew.items():
            read[i] += seconds
        return read

    def _refresh(self) -> None:
        minute = int(self.clock.s // DRIFT_S)
        key = (minute, self.work.stamp, self.machines.stamp, self.ailments.stamp, self.stamp)
        if self._key != key:
            self._key = key
            self._rebuild(minute)

    def _rebuild(self, minute: int) -> None:
        if len(self._names) != len(self.machines):
            self._names = tuple(self.machines.names)
            self._row = dict(self.machines.index)
            self._simulated = np.ones(len(self._names), np.bool_)
            self._vendor = ("simulated",) * len(self._names)
        self._gpu = self._compute(minute)
        self._host = HOSTS[self.work.activity]
        if (self.work.activity == STARVED).any():
            self._starve()

    def _starve(self) -> None:
        """What the loaders of a starved gang read: as much as its storage gives."""
        for gang in self.work.gangs.values():
            if gang.running and gang.pace.cause == "starved" and gang.pace.share < 1.0:
                self._host[gang.nodes, _RX] = max(_TRICKLE, gang.pace.share * HOSTS[WORKING, _RX])

    def _compute(self, minute: int) -> NDArray[np.float32]:
        code = self.work.activity
        n, gpus = len(code), self.machines.gpus
        # Field by field in memory: whoever reads a column of the fleet reads it in one piece.
        gpu = np.empty((len(GPU_FIELDS), n, gpus), np.float32).transpose(1, 2, 0)
        for field, levels in enumerate(LEVELS.T):
            gpu[:, :, field] = levels[code][:, None]
        drift, own = self._drift[minute * 7919 % DRIFTS], self._own
        if n > len(drift):  # nodes that came later drift like the first ones
            drift, own = np.resize(drift, (n, gpus)), np.resize(own, (n, gpus))
        gpu[:, :, _UTIL] = np.clip(gpu[:, :, _UTIL] + drift * (gpu[:, :, _UTIL] > 1.0), 0.0, 100.0)
        gpu[:, :, _TEMP] += drift + 2.0 * own
        gpu[:, :, _WATTS] *= 1.0 + 0.02 * drift + 0.01 * own
        for (i, g), watts in self.work.caps.items():
            gpu[i, g, _COL["power_limit_watts"]] = watts
            gpu[i, g, _WATTS] = min(float(gpu[i, g, _WATTS]), watts)
        for ailment in self.ailments.now.values():
            self._ail(gpu, ailment)
        for i, row in self.frozen.items():
            gpu[i] = row
        for i, factor in self.scale.items():
            gpu[i, :, _WATTS] *= factor
        gpu[self.machines.silent_s < NEVER] = np.nan
        return gpu

    def _ail(self, gpu: NDArray[np.float32], ailment: Ailment) -> None:
        """What shows in the columns of the nodes that it holds."""
        law, one = ailment.law, ailment.fault.gpu
        if law.scope in (Scope.JOB, Scope.STORAGE) or not ailment.left:
            return
        rows = sorted(ailment.left)
        view = gpu[rows] if one < 0 else gpu[rows, one : one + 1]
        if law.hurts is Hurt.SLOWS:
            view[..., _CLOCK] *= law.slowdown
            view[..., _WATTS] *= law.slowdown
        elif law.hurts is Hurt.HANGS:
            view[..., _UTIL] = 0.0
            view[..., _WATTS] = 80.0
        if "gpu.thermal" in law.shows:
            view[..., _TEMP], view[..., _THROTTLE] = HOT, THERMAL_BITS
        if "gpu.power_brake" in law.shows:
            view[..., _THROTTLE] = BRAKE_BITS
        if "ecc.dbe" in law.shows:
            view[..., _DBE] += 1.0
        if "nvlink.errors" in law.shows:
            view[..., _LINKS] -= 1.0
        if "gpu.lost" in law.shows:
            view[...] = np.nan
            view[..., _PRESENT] = 0.0
        if one < 0:
            gpu[rows] = view
        else:
            gpu[rows, one : one + 1] = view
