"""Does Ray's own autoscaler add and remove nodes here? Read from what it reports; pure.

A pool has one owner of its size: two would undo each other's work. On every head Ray runs a
monitor that only reports; one that scales knows node types of its own, and that tells them apart.
"""

from __future__ import annotations

import msgspec

from watchkeeper.adapters.ray_gcs import Usage

AUTOSCALER_STATUS = b"__autoscaling_status"
"""Where the monitor of the first version writes its report."""

ONLY_REPORTS = "node_"
"""How a monitor that cannot scale names its node types: by the node."""

RAYS = "Ray's autoscaler"


class _Summary(msgspec.Struct):
    active_nodes: dict[str, int] = {}
    pending_nodes: list[tuple[str, str, str]] = []


class _Report(msgspec.Struct):
    autoscaler_report: _Summary | None = None


def fold_scaler(usage: Usage, report: bytes | None) -> str:
    """Who else scales this cluster; "" where nobody does.

    usage: node types as the second version (and KubeRay) gives them to raylets. report: what the
    first version wrote, if anything.
    """
    types = {row.node_type for row in usage.nodes.values()}
    if report:
        try:
            summary = msgspec.json.decode(report, type=_Report).autoscaler_report
        except msgspec.MsgspecError:
            summary = None  # another version's report: what the raylets say must do
        types |= set(summary.active_nodes) if summary is not None else set()
    return RAYS if any(t and not t.startswith(ONLY_REPORTS) for t in types) else ""
