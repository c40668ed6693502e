"""Who held which GPUs for how long, written to the record each quarter of an hour.

A watch without a meter counts nothing and pays nothing.
"""

from __future__ import annotations

from watchkeeper.control.watch import Watch
from watchkeeper.core.event import Kind
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.usage import UsageRecord
from watchkeeper.core.word import plain


def meter(watch: Watch, snapshot: Snapshot) -> None:
    """Count the time since the last look; write what a quarter of an hour came to."""
    if watch.meter is not None:
        _write(watch, watch.meter.look(snapshot))


def end_metering(watch: Watch) -> None:
    """Write what was counted since the last record, before the watch ends."""
    if watch.meter is not None and watch.latest is not None:
        _write(watch, watch.meter.close(watch.latest))


def _write(watch: Watch, found: UsageRecord | None) -> None:
    if found is not None:
        watch.record.write(Kind.METERED, ("usage",), usage=plain(found))
