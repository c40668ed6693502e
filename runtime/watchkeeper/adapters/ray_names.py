"""The names and labels by which Watchkeeper recognises its own things in a Ray cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAMESPACE = "watchkeeper"
"""Ray namespace of everything we create; never counted as somebody's work."""

PREFIX = "watchkeeper.io/"
NODE = PREFIX + "node"
POOL = PREFIX + "pool"
RACK = PREFIX + "rack"
LEAF = PREFIX + "leaf"
POWER_FEED = PREFIX + "power-feed"
NVLINK = PREFIX + "nvlink-domain"
ZONE = PREFIX + "zone"
LAB_ID = PREFIX + "lab-id"
ROLE = PREFIX + "role"
HIDDEN = PREFIX + "hidden-gpus"
RAY_NODE_ID = "ray.io/node-id"

_FENCE = re.compile(r"wk-fence-(?P<node>.+)-(?P<token>\d+)-(?P<index>\d+)")
_SEATS = re.compile(r"wk-seats-(?P<attempt>(?P<job>.+)-a\d+)")
COLLECTOR = "wk-collect-"


def fence_name(node: str, token: int, index: int) -> str:
    """The name of one of a fence's placement groups."""
    return f"wk-fence-{node}-{token}-{index}"


def parse_fence(name: str) -> tuple[str, int] | None:
    """(node, token) of a fence's placement group, or None for anybody else's."""
    match = _FENCE.fullmatch(name)
    return (match["node"], int(match["token"])) if match else None


def seats_name(attempt: str) -> str:
    """The name of the placement group that one attempt of a gang sits in."""
    return f"wk-seats-{attempt}"


def parse_seats(name: str) -> tuple[str, str] | None:
    """(job, attempt) of a gang's seats, or None for anybody else's group."""
    match = _SEATS.fullmatch(name)
    return (match["job"], match["attempt"]) if match else None


def hold_name(node: str, key: str, index: int) -> str:
    """The name of an actor that sits on one GPU so that nobody else gets it."""
    return f"wk-hold-{node}-{key}-{index}"


def stable_name(labels: Mapping[str, str], hostname: str, address: str, node_id: str) -> str:
    """The name that stays when the raylet behind it changes.

    The label wins; a cluster without labels is named by host and address, which a new raylet on
    the same host inherits; the NodeID is the last resort.
    """
    if labels.get(NODE):
        return labels[NODE]
    if hostname and address:
        return f"{hostname}-{address}".replace(":", ".")
    return node_id[:12]


def selector_for(labels: Mapping[str, str], node: str, node_id: str) -> dict[str, str]:
    """The label selector that means this node: by name, so that it also meets the next raylet
    behind the name; by NodeID where the cluster carries no names of ours."""
    return {NODE: node} if labels.get(NODE) == node else {RAY_NODE_ID: node_id}
