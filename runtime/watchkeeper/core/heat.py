"""Are a node's clocks cut, and for how long have they not been? A level that the driver tells with
each reading. Asked by health, by the ladder of heat and before a question about it is kept open."""

from __future__ import annotations

import numpy as np

from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot

SW_THERMAL, HW_THERMAL, POWER_BRAKE = 0x20, 0x40, 0x80
"""The driver's bits of why clocks are cut (NVML's clock-event reasons). SwPowerCap (0x4) is the
effect of a cap, ours or the site's: no fault. HwSlowdown (0x8) says "cut" and not why; the other
bits say why."""
MASK: dict[str, int] = {
    Fault.GPU_THERMAL: SW_THERMAL | HW_THERMAL,
    Fault.GPU_POWER_BRAKE: POWER_BRAKE,
}
_REASONS = GPU_FIELDS.index("throttle_reasons")
_WORDS = frozenset({"gpu.thermal", "gpu.power_brake", "gang.slow", "gang.hang", "gang.suspect"})
_OLD_S = 60.0


def cut_now(incident: Incident, snapshot: Snapshot) -> bool | None:
    """Whether a GPU of the incident's node has its clocks cut for the incident's reason; None where
    no reading of the last minute says."""
    row, silence = snapshot.frame.row.get(incident.node), snapshot.silence_s(incident.node)
    if row is None or silence is None or silence > _OLD_S or incident.fault not in MASK:
        return None
    reasons = snapshot.frame.gpu[row, :, _REASONS]
    if bool((np.nan_to_num(reasons).astype(np.int64) & MASK[incident.fault]).any()):
        return True
    own = reasons if incident.gpu is None else reasons[incident.gpu : incident.gpu + 1]
    return None if np.isnan(own).any() else False


def cool_for_s(incident: Incident, snapshot: Snapshot) -> float | None:
    """Seconds since heat or its harm was last told of, where no clock is cut now; else None."""
    if cut_now(incident, snapshot) is not False:
        return None
    told = [s.at for s in incident.signals if s.code in _WORDS]
    return (snapshot.at - max(told)).total_seconds() if told else None
