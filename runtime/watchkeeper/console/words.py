"""What the HTTP interface says and hears that is not already a core word."""

from __future__ import annotations

from watchkeeper.core.cells import NODE_STATES
from watchkeeper.core.desk import GpuView, Health, NodeView
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


class FleetRack(Word, frozen=True):
    """One rack for the map. r: its name ("" = none known). n: names of its nodes. s: one character
    for each node: h healthy, s suspect, f failed, d dead, r draining, c cordoned, k checking,
    q silent, u unknown. g: for each node one character for each GPU, in order of index: a digit
    for one that is well (its load in tens of percent, rounded down; 9 = 90 % and more), `.` for
    one that is well and whose load is not known, f failed, s suspect, c cordoned, x hidden,
    q silent."""

    r: str
    n: tuple[str, ...]
    s: str
    g: tuple[str, ...]


class FleetMap(Word, frozen=True):
    """The fleet, as small as the map needs: about 30 bytes for a node of 8 GPUs. what: for the
    worst nodes that are not healthy, worst first and FLEET_WORDS at most, what is said of them."""

    racks: tuple[FleetRack, ...]
    what: dict[str, str]


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


GPU_STATES = {"failed": "f", "suspect": "s", "cordoned": "c", "hidden": "x", "silent": "q"}
FLEET_WORDS = 40
FLEET_WORDS_LONG = 120


def fleet_map(nodes: tuple[NodeView, ...]) -> FleetMap:
    """The nodes of a board as the map reads them."""
    racks: dict[str, list[NodeView]] = {}
    for node in nodes:
        racks.setdefault(node.rack, []).append(node)
    ill = sorted((n for n in nodes if n.state != "healthy"), key=lambda n: (n.rank, n.name))
    return FleetMap(
        racks=tuple(
            FleetRack(
                r=rack,
                n=tuple(node.name for node in here),
                s="".join(NODE_STATES.get(node.state, "u") for node in here),
                g=tuple("".join(_gpu(gpu) for gpu in node.gpus) for node in here),
            )
            for rack, here in racks.items()
        ),
        what={n.name: n.what[:FLEET_WORDS_LONG] for n in ill[:FLEET_WORDS]},
    )


def _gpu(gpu: GpuView) -> str:
    """One character; a state that has none is drawn as silent, never as well."""
    if gpu.state != "ok":
        return GPU_STATES.get(gpu.state, "q")
    load = gpu.utilization
    return "." if load is None else str(min(9, max(0, int(load // 10))))
