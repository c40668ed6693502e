"""How long each thing may last before it is a fact: the settings of everything that senses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from watchkeeper.core.incident import Trust


@dataclass(frozen=True, slots=True)
class SenseSettings:
    """How long each thing may last before it is a fact. Seconds.

    silent_after_s: without telemetry (several intervals). unknown_after_s: Ray not knowing a
    node. boot_grace_s: a raylet so young may still be without telemetry or GPUs.
    job_settle_s: a gang stops before Ray declares its node dead, so we wait and see which it was.
    capacity_after_s: a gang may wait this long; held_after_s: one that waits for our own admission,
    which is tried every turn. source_limit_s: age at which a source is lost.

    link_grace_s: links and ports of a node so young train and fall; that is noise (one fleet saw
    214 of 288 nodes with no fault do so). gang_grace_s: an attempt so young is not judged by its
    steps. hang_min_s: no gang hangs before that; hang_factor: times its own usual step. blind_s:
    the same for a gang whose usual step is not known. slow_factor: times its own pace.
    progress_trust: who vouches for a gang's steps; a job's own word unless the site's scheduler
    counts them. throttle_s, brake_s: how long clocks stay cut by heat, or by the power brake.
    flap_deaths within flap_window_s are flapping. domain_nodes within domain_window_s are one
    fault of what they share. frozen_s: a sensor that stands still while others move.

    confirm_apart_s: two readings so far apart are two, of a link or a port that may pass;
    confirm_s: the second must come within that. late_s: a line told so long after its time is old.
    """

    silent_after_s: float = 60.0
    unknown_after_s: float = 15.0
    boot_grace_s: float = 30.0
    job_settle_s: float = 15.0
    capacity_after_s: float = 300.0
    held_after_s: float = 30.0
    link_grace_s: float = 600.0
    gang_grace_s: float = 600.0
    hang_min_s: float = 120.0
    hang_factor: float = 6.0
    blind_s: float = 1800.0
    slow_factor: float = 1.3
    progress_trust: Trust = Trust.JOB_LOG
    throttle_s: float = 300.0
    brake_s: float = 60.0
    flap_deaths: int = 3
    flap_window_s: float = 86400.0
    domain_nodes: int = 5
    domain_window_s: float = 300.0
    frozen_s: float = 1800.0
    confirm_apart_s: float = 20.0
    confirm_s: float = 600.0
    late_s: float = 900.0
    source_limit_s: Mapping[str, float] = field(
        default_factory=lambda: {"ray": 30.0, "telemetry": 60.0, "redis": 30.0}
    )


REAL = SenseSettings()
LAB = SenseSettings(
    silent_after_s=15.0,
    unknown_after_s=10.0,
    boot_grace_s=10.0,
    job_settle_s=8.0,
    capacity_after_s=20.0,
    held_after_s=3.0,
    link_grace_s=10.0,
    gang_grace_s=60.0,
    hang_min_s=30.0,
    blind_s=300.0,
    flap_window_s=600.0,
    confirm_apart_s=5.0,
    source_limit_s={"ray": 15.0, "telemetry": 15.0, "redis": 15.0},
)
