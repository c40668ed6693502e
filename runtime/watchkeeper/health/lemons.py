"""Which nodes are lemons? A logistic score of each node's history. Asked of each incident that is
opened on a node, and by the evals; nothing acts on a score alone.

The features are those of published lemon detection at Meta (user exclusions, Xid count, tickets,
times out, failures of jobs on one node and on many, and the failure rate), each over the last 28
days. The model ships as coefficients with their provenance and is scored in numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from watchkeeper.core.errors import Malformed
from watchkeeper.core.fault import REPAIRED_ON_NODE, Fault
from watchkeeper.core.incident import ATTACKER_WRITABLE, Incident, IncidentState
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import Word
from watchkeeper.health.claims import of_history

WINDOW = timedelta(days=28)
RECENT = timedelta(days=7)

FEATURES: tuple[str, ...] = (
    "xids",
    "kinds",
    "tickets",
    "outs",
    "repeats",
    "single_node_failures",
    "multi_node_failures",
    "suspected",
    "excluded",
    "recent",
)
"""The vector, in this order, each a count over 28 days, taken as log(1 + count):

xids: coalesced Xid and SXid events on the node. kinds: different codes among them. tickets:
incidents that went to a person. outs: repairs that took the node out. repeats: incidents of a class
that this node had before within the window. single_node_failures: gangs of one node that stopped in
an incident here. multi_node_failures: the same for gangs of more. suspected: times that it stood
out in a gang without a code. excluded: times that users kept it out of their jobs. recent: its
incidents of the last 7 days.
"""


class Model(Word, frozen=True):
    """Coefficients and where they came from. weights: one for each of `features`, on
    log(1 + count); mean, scale: what each is standardised by. threshold: the score from which a
    node is called a lemon."""

    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    threshold: float
    provenance: dict[str, str]

    def __post_init__(self) -> None:
        if self.features != FEATURES:
            raise ValueError(f"features must be {', '.join(FEATURES)}, in this order")
        if any(len(x) != len(FEATURES) for x in (self.weights, self.mean, self.scale)):
            raise ValueError("weights, mean and scale need one number for each feature")
        if any(not s > 0 for s in self.scale) or not 0 < self.threshold < 1:
            raise ValueError("scale must be above 0, and threshold between 0 and 1")


class History(Word, frozen=True):
    """One node's counts over the window; the fields are FEATURES."""

    node: str
    xids: int = 0
    kinds: int = 0
    tickets: int = 0
    outs: int = 0
    repeats: int = 0
    single_node_failures: int = 0
    multi_node_failures: int = 0
    suspected: int = 0
    excluded: int = 0
    recent: int = 0


class Lemon(Word, frozen=True):
    """A node's score, 0 to 1, and what weighs most in it, heaviest first."""

    node: str
    score: float
    is_lemon: bool
    because: tuple[str, ...] = ()


def parse_model(data: bytes) -> Model:
    """A model's JSON. Raises Malformed."""
    try:
        return msgspec.json.decode(data, type=Model)
    except (ValueError, msgspec.MsgspecError) as err:
        raise Malformed(f"the lemon model is not valid: {err}") from err


@cache
def shipped() -> Model:
    """The model that comes with the product; its provenance says how far it is to be trusted."""
    return parse_model(files("watchkeeper.health").joinpath("data", "lemons.json").read_bytes())


def vectors(histories: Sequence[History]) -> NDArray[np.float64]:
    """f8[N, len(FEATURES)]: log(1 + count). What a trainer fits and `score` reads."""
    counts = [[getattr(h, name) for name in FEATURES] for h in histories]
    return np.log1p(np.asarray(counts, np.float64).reshape(len(histories), len(FEATURES)))


def score(histories: Sequence[History], model: Model | None = None) -> tuple[Lemon, ...]:
    """Every node's score, the highest first."""
    model = model or shipped()
    if not histories:
        return ()
    parts = (vectors(histories) - np.asarray(model.mean)) / np.asarray(model.scale)
    parts = parts * np.asarray(model.weights)
    scores = 1.0 / (1.0 + np.exp(-(parts.sum(axis=1) + model.bias)))
    found = [
        Lemon(
            node=history.node,
            score=round(float(value), 4),
            is_lemon=bool(value >= model.threshold),
            because=_because(history, row),
        )
        for history, value, row in zip(histories, scores.tolist(), parts, strict=True)
    ]
    return tuple(sorted(found, key=lambda lemon: (-lemon.score, lemon.node)))


def _because(history: History, row: NDArray[np.float64]) -> tuple[str, ...]:
    heavy = sorted(zip(row.tolist(), FEATURES, strict=True), reverse=True)
    named = [(name, getattr(history, name)) for part, name in heavy if part > 0]
    return tuple(f"{name.replace('_', ' ')}: {count}" for name, count in named[:3] if count)


def histories(
    incidents: Iterable[Incident],
    now: datetime,
    *,
    gang_nodes: Mapping[str, int] | None = None,
    outs: Mapping[str, int] | None = None,
    excluded: Mapping[str, int] | None = None,
    nodes: Iterable[str] = (),
) -> tuple[History, ...]:
    """Counts per node from incidents of the window. gang_nodes: gang -> its nodes (unknown ones
    count as gangs of many). outs, excluded: per node, from the ledger and the jobs. nodes: those
    without any incident, who must be scored too. A domain's incident is nobody's own."""
    since, by_node = now - WINDOW, {name: list[Incident]() for name in nodes}
    for incident in incidents:
        if incident.node and incident.opened_at >= since and not _explained(incident):
            by_node.setdefault(incident.node, []).append(incident)
    gangs, out, kept = gang_nodes or {}, outs or {}, excluded or {}
    return tuple(
        _history(name, by_node[name], now, gangs, out.get(name), kept.get(name, 0))
        for name in sorted(by_node)
    )


def _explained(incident: Incident) -> bool:
    return incident.closed_because.startswith("It is part of ")


def _history(
    name: str,
    own: list[Incident],
    now: datetime,
    gangs: Mapping[str, int],
    outs: int | None,
    excluded: int,
) -> History:
    events = [
        s
        for i in own
        for s in i.signals
        if s.code.startswith(("xid.", "sxid.")) and s.trust not in ATTACKER_WRITABLE
    ]
    faults = [i.fault for i in own if i.fault != Fault.APPLICATION]
    stopped = [gangs.get(job, 2) for i in own if i.fault != Fault.APPLICATION for job in i.jobs]
    repaired = sum(i.fault in REPAIRED_ON_NODE for i in own)
    return History(
        node=name,
        xids=len(events),
        kinds=len({s.code for s in events}),
        tickets=sum(i.state is IncidentState.ESCALATED for i in own),
        outs=repaired if outs is None else outs,
        repeats=len(faults) - len(set(faults)),
        single_node_failures=sum(size == 1 for size in stopped),
        multi_node_failures=sum(size > 1 for size in stopped),
        suspected=sum(i.fault == Fault.NODE_SUSPECT for i in own),
        excluded=excluded,
        recent=sum(i.fault != Fault.APPLICATION and i.opened_at >= now - RECENT for i in own),
    )


def with_history(
    opened: Iterable[Incident],
    known: Iterable[Incident],
    snapshot: Snapshot,
    replaced: frozenset[str] = frozenset(),
) -> tuple[Incident, ...]:
    """The incidents that were opened this turn on a node whose history calls a lemon, saying so.

    known: all that the record holds, these included. A node is scored when something new is said
    of it: its score rises at no other time. replaced: ids of incidents that ended with another
    machine under the node's name: they and what was before them speak of the one that is gone.
    """
    opened = [i for i in opened if i.node and i.fault in REPAIRED_ON_NODE]
    if not opened:
        return ()
    names = {i.node for i in opened}
    widths = {job.name: len(job.nodes) for job in snapshot.jobs.values()}
    past = [i for i in known if i.node in names]
    new_since = {i.node: i.opened_at for i in past if i.id in replaced}
    past = [i for i in past if i.node not in new_since or i.opened_at > new_since[i.node]]
    own = histories(past, snapshot.at, gang_nodes=widths)
    sure = {lemon.node: lemon for lemon in score(own) if lemon.is_lemon}
    return tuple(_told(i, sure[i.node]) for i in opened if i.node in sure)


def _told(incident: Incident, lemon: Lemon) -> Incident:
    cause = of_history(lemon.score, "; ".join(lemon.because))
    return replace(incident, lemon=lemon.score, hypotheses=(*incident.hypotheses, cause))
