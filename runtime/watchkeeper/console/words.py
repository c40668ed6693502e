"""What the HTTP interface says and hears that is not already a core word."""

from __future__ import annotations

from watchkeeper.core.desk import Health, NodeView
from watchkeeper.core.verdict import Answer, Autonomy, Orders
from watchkeeper.core.word import Word


class Status(Word, frozen=True):
    """The watch in a few facts. stale: why Approve is off ("" = it is on). csrf: what a client
    that signs in by cookie sends back as X-CSRF-Token."""

    health: Health
    orders: Orders
    window: str
    waiting: int
    incidents_open: int
    stale: str
    person: str
    csrf: str


class FleetNode(Word, frozen=True):
    """One node for the map. n: name, r: rack, s: state, w: what, in words; g: one
    [state, utilization in percent or null] for each GPU, in order of index."""

    n: str
    r: str
    s: str
    w: str
    g: tuple[tuple[str, float | None], ...]


class FleetMap(Word, frozen=True):
    """The fleet, worst node first, as small as the map needs."""

    nodes: tuple[FleetNode, ...]


class Explanation(Word, frozen=True):
    """Why, in plain text, from the journal."""

    id: str
    text: str


class Trouble(Word, frozen=True):
    """Why a request was not served."""

    code: int
    headline: str
    text: str


class AnswerGiven(Word, frozen=True):
    """An answer to one question: digest and nonce as shown, and the name typed where asked."""

    answer: Answer
    digest: str
    nonce: str
    reason: str = ""
    typed: str = ""


class ReasonGiven(Word, frozen=True):
    """Why a person stops or resumes the watch."""

    reason: str = ""


class LevelGiven(Word, frozen=True):
    """Where the dial is turned to."""

    level: Autonomy


def fleet_map(nodes: tuple[NodeView, ...]) -> FleetMap:
    """The nodes of a board as the map reads them."""
    return FleetMap(
        nodes=tuple(
            FleetNode(
                n=node.name,
                r=node.rack,
                s=node.state,
                w=node.what,
                g=tuple((gpu.state, gpu.utilization) for gpu in node.gpus),
            )
            for node in sorted(nodes, key=lambda node: (node.rank, node.name))
        )
    )
