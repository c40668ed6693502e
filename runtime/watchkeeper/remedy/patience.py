"""Drain now, or wait for the gang's next checkpoint? Asked before a drain that is not urgent.

Compares expected losses in GPU-seconds. Whoever waits saves the work since the last checkpoint,
and pays for a slow gang and for the chance that the fault ends it first. Pure; the figures that
are assumptions say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import exp, isfinite

from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.fault import Fault

HAZARD_PER_H: dict[str, float] = {
    Fault.NODE_SUSPECT: 1 / 24,
    Fault.GPU_THERMAL: 1 / 24,
    Fault.GPU_POWER_BRAKE: 1 / 6,
    Fault.GPU_RMA: 1 / 6,
    Fault.PCIE: 1 / 6,
    Fault.NETWORK_LINK: 1.0,
}
"""How often, per hour, such a fault ends a gang that goes on with it (assumptions). A class that
is not here is never waited with: its error may already be in the work."""
SLOW_PACE = 0.7
"""Pace of a gang with a straggler, against its own (assumption, where it is not measured)."""


@dataclass(frozen=True, slots=True)
class Stake:
    """What is at stake. gpus: of the gang. unsaved_s: since its last checkpoint. every_s: its
    checkpoint interval. pace: its speed now, 1 for its usual one. hazard_per_s: chance per second
    that the fault ends it. restart_s: what a restart costs either way."""

    gpus: float
    unsaved_s: float
    every_s: float
    pace: float = 1.0
    hazard_per_s: float = 0.0
    restart_s: float = 600.0

    @property
    def until_s(self) -> float:
        """Seconds to the next checkpoint. A slower gang that saves every so many steps takes
        longer; one that saves by the clock does not. We take the longer."""
        return max(0.0, self.every_s - self.unsaved_s) / min(1.0, max(self.pace, 0.05))


def loss_now(stake: Stake) -> float:
    """GPU-seconds lost by ending the gang now: what was not saved, and the restart."""
    return stake.gpus * (stake.unsaved_s + stake.restart_s)


def loss_waiting(stake: Stake) -> float:
    """Expected GPU-seconds lost by waiting for the checkpoint: the slowness until then, the
    restart, and, where the fault ends the gang first, all that was not saved by that time."""
    wait, rate = stake.until_s, stake.hazard_per_s
    slow = (1.0 - min(1.0, stake.pace)) * wait
    if rate <= 0.0:
        return stake.gpus * (slow + stake.restart_s)
    fails = 1.0 - exp(-rate * wait)
    # Integral of rate e^(-rate u) (unsaved + u) du over 0..wait.
    redo = stake.unsaved_s * fails + fails / rate - wait * exp(-rate * wait)
    return stake.gpus * (slow + redo + stake.restart_s)


def worth_waiting_s(stake: Stake) -> float:
    """Seconds to wait for the checkpoint; 0 when acting now loses no more."""
    known = all(map(isfinite, (stake.gpus, stake.unsaved_s, stake.every_s)))
    if not known or stake.every_s <= 0:
        return 0.0
    return stake.until_s if loss_waiting(stake) < loss_now(stake) else 0.0


def stake_of(job: Job, fault: str, now: datetime, every_s: float, *, slow: bool) -> Stake | None:
    """The stake of a running gang on an ill node; None when the class is not one to wait with, or
    when nobody knows how old its checkpoint is."""
    if fault not in HAZARD_PER_H or job.state is not JobState.RUNNING or job.checkpoint_at is None:
        return None
    return Stake(
        gpus=job.gpus,
        unsaved_s=max(0.0, (now - job.checkpoint_at).total_seconds()),
        every_s=every_s,
        pace=SLOW_PACE if slow else 1.0,
        hazard_per_s=HAZARD_PER_H[fault] / 3600.0,
    )
