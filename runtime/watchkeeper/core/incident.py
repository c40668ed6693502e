"""Typed facts about faults, and the stories they make."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from watchkeeper.core.cluster import World
from watchkeeper.core.word import Word


class Trust(StrEnum):
    """Who vouches for a fact. Labels join downwards: a plan is as trusted as its weakest input."""

    DRIVER = "driver"
    KERNEL = "kernel"
    BMC = "bmc"
    PROVIDER = "provider"
    RAY = "ray"
    SCHEDULER = "scheduler"
    JOB_LOG = "job_log"
    USER_CHAT = "user_chat"
    FORECAST = "forecast"


ATTACKER_WRITABLE = frozenset({Trust.JOB_LOG, Trust.USER_CHAT})
"""Sources that a tenant can write to; they may raise a question, never carry an action."""

LABELS: tuple[Trust, ...] = (
    Trust.DRIVER,
    Trust.KERNEL,
    Trust.BMC,
    Trust.PROVIDER,
    Trust.RAY,
    Trust.SCHEDULER,
    Trust.FORECAST,
    Trust.JOB_LOG,
    Trust.USER_CHAT,
)
"""From the most to the least trusted. What a tenant can write comes last."""


def lowest(labels: Iterable[Trust]) -> str:
    """The label of what rests on all of these; "" where it rests on nothing."""
    found = set(labels)
    return next((label.value for label in reversed(LABELS) if label in found), "")


class Signal(Word, frozen=True):
    """A typed fact from a fixed parser.

    code: `xid.79`, `gpu.lost`, `node.dead`, `node.silent`, `job.stopped`, `source.lost`,
    `capacity.short`, … target: `node:NAME`, `gpu:NAME/INDEX`, `job:NAME`, `pool:NAME`, or
    `cluster`. source: the instrument (`kernel-log`, `nvml`, `ray`, `provider`, `telemetry`).
    raw: the original text, capped, for people's eyes only; nothing decides on it.
    """

    id: str
    code: str
    target: str
    at: datetime
    source: str
    trust: Trust
    world: World
    value: float | None = None
    incarnation: str = ""
    simulated: bool = False
    raw: str = ""

    @property
    def instrument(self) -> str:
        """What vouches for it independently of others: all that is read through the GPU's driver is
        one instrument, by whatever name it comes. "" for a tenant's words, which are none."""
        if self.trust in ATTACKER_WRITABLE:
            return ""
        return self.trust.value if self.trust is Trust.DRIVER else self.source


class HypothesisStatus(StrEnum):
    """How far a hypothesis has come."""

    PROPOSED = "proposed"
    SUPPORTED = "supported"
    REFUTED = "refuted"


class Hypothesis(Word, frozen=True):
    """One possible cause, with the signals that speak for or against it."""

    claim: str
    status: HypothesisStatus
    confidence: float
    evidence: tuple[str, ...] = ()
    why: str = ""


class IncidentState(StrEnum):
    """The life of an incident."""

    OPEN = "open"
    ACTING = "acting"
    VERIFYING = "verifying"
    RESOLVED = "resolved"
    ESCALATED = "escalated"


class Incident(Word, frozen=True):
    """Signals about one target that belong together.

    fault: the class of fault (`node_lost`, `gpu_off_bus`, `gpu_memory`, `job_stopped`, …).
    node is "" for incidents that have none. incarnation: the one the evidence speaks about; a
    node that came back under another incarnation is a different patient. sick_gpus: the GPUs, as
    targets, that the fault itself is about; those that only a companion names are left out. lemon:
    how surely its node fails again and again, by its history, where that is sure enough to say;
    else 0. It is no evidence of a fault. ended: attempts of gangs that our own steps on its node
    end; their end is told seconds later, and is this incident's.
    """

    id: str
    target: str
    fault: str
    title: str
    state: IncidentState
    opened_at: datetime
    updated_at: datetime
    world: World
    confidence: float
    node: str = ""
    gpu: int | None = None
    incarnation: str = ""
    jobs: tuple[str, ...] = ()
    sick_gpus: tuple[str, ...] = ()
    signals: tuple[Signal, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()
    closed_because: str = ""
    lemon: float = 0.0
    ended: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.state not in (IncidentState.RESOLVED, IncidentState.ESCALATED)

    @property
    def independent_sources(self) -> int:
        """How many different instruments support this, tenants' own words not counted."""
        return instruments(self.signals)


def instruments(signals: Iterable[Signal]) -> int:
    """How many instruments these are, seen independently of one another."""
    return len({s.instrument for s in signals} - {""})


def target_node(target: str) -> str:
    """The node a target lies on: `gpu:a/3` and `node:a` give `a`; others give an empty string."""
    kind, _, rest = target.partition(":")
    if kind == "node":
        return rest
    if kind == "gpu":
        return rest.rpartition("/")[0]
    return ""
