"""Which checkpoints may hold what a fault left in them? Asked when a gang is requeued.

An uncontained memory error (Xid 95) may have changed any process on the GPU, and a loss that is no
number was wrong before it was seen. What was saved before that is good; what was saved since is
not trusted. A contained error (Xid 94) reached nothing that was saved.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from watchkeeper.core.cluster import Job
from watchkeeper.core.incident import ATTACKER_WRITABLE, Incident

_TAINTS = frozenset({"xid.95"})
_TAINTS_ITS_GANG = frozenset({"gang.nan"})
MARGIN = timedelta(seconds=5)
"""The line is written after the error: companions come within about 5 s (the Delta study's
window), so a checkpoint so close before it is not trusted either."""


def tainted_since(incident: Incident) -> datetime | None:
    """Since when checkpoints of the gangs on this node (or of this gang) are not trusted; None
    when nothing taints them. The earliest such word counts."""
    times = [
        s.at
        for s in incident.signals
        if s.code in _TAINTS_ITS_GANG or (s.code in _TAINTS and s.trust not in ATTACKER_WRITABLE)
    ]
    return min(times) - MARGIN if times else None


def newest_is_tainted(job: Job, since: datetime | None) -> bool:
    """Whether the gang's newest checkpoint must not be used. One whose time is Unknown must not;
    a gang that never wrote one begins anew, which is safe."""
    if since is None or (job.checkpoint_step is None and job.checkpoint_at is None):
        return False
    return job.checkpoint_at is None or job.checkpoint_at >= since
