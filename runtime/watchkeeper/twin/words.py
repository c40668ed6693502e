"""The words of the twin: what is built, what breaks, what disturbs the view, how it is counted.

Times are seconds since the twin's beginning. Everything here is data; who draws it and who plays
it are other modules. Nothing of it is seen by the watch, which sees only the ports.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from watchkeeper.core.word import Word

HOUR_S = 3600.0
DAY_S = 86400.0


class TwinSpec(Word, frozen=True):
    """One twin, wholly: the same spec and commit give the same run to the byte.

    nodes are workers; the head is not counted. spares: share of nodes that run no gang at first.
    racks, leaves and feeds are filled in order. gang_nodes: nodes of each gang, largest first; the
    rest of the pool runs small gangs of one node. tick_s: the watch's cadence. faults and noise
    switch either off. acceleration multiplies every fault rate (1 is as published), noise_level
    every rate of noise.
    """

    seed: int
    nodes: int = 256
    gpus_per_node: int = 8
    days: float = 1.0
    start: datetime = datetime(2026, 1, 5, tzinfo=UTC)
    spares: float = 0.02
    nodes_per_rack: int = 16
    nodes_per_leaf: int = 32
    nodes_per_feed: int = 64
    nodes_per_zone: int = 1024
    gang_nodes: tuple[int, ...] = ()
    checkpoint_every_s: float = 1800.0
    checkpoint_cost_s: float = 30.0
    restart_s: float = 600.0
    step_s: float = 10.0
    tick_s: float = 10.0
    faults: bool = True
    noise: bool = True
    acceleration: float = 1.0
    noise_level: float = 1.0
    world_name: str = "twin"


class Scope(StrEnum):
    """How much one fault takes with it."""

    GPU = "gpu"
    NODE = "node"
    JOB = "job"
    RACK = "rack"
    LEAF = "leaf"
    FEED = "feed"
    STORAGE = "storage"
    FLEET = "fleet"


class Hurt(StrEnum):
    """What a fault does to the work on its targets while it lasts."""

    STOPS = "stops"
    """The gang ends at once."""
    HANGS = "hangs"
    """The gang makes no steps and does not end by itself until its own watchdog ends it."""
    SLOWS = "slows"
    """The gang steps at `slowdown` of its pace: one straggler holds all back."""
    TAINTS = "taints"
    """Steps go on and are worth nothing: silent corruption, since the fault began."""
    NOTHING = "nothing"
    """Seen and harmless; an action on it is a false action."""


class FaultLaw(Word, frozen=True):
    """One class of true fault.

    rate_per_node_day: as published (`source`) or assumed (`assumed`); the faults of a class that
    are expected are always rate * nodes * days, also where one of them takes a rack. shows: signal
    codes that the instruments then say, in order; `misleads`: chance that one of `misleading`
    comes before them all. silent: no driver code at all. cured_by:
    the kinds of action that end it, cheapest first; `person` where only hands do. transient:
    chance that it ends by itself or with the gang's restart; relapse: chance that a cured one
    comes back within 7 days. manual_repair_h: hours until people mend it unasked (baseline
    `none`). published: the row of the published table that it is counted under, "" where it is
    beyond that table. transient_s: median seconds after which a transient one ends by itself.
    """

    name: str
    scope: Scope
    rate_per_node_day: float
    hurts: Hurt
    shows: tuple[str, ...]
    cured_by: tuple[str, ...]
    source: str
    silent: bool = False
    assumed: str = ""
    misleads: float = 0.0
    misleading: tuple[str, ...] = ()
    transient: float = 0.0
    relapse: float = 0.0
    slowdown: float = 1.0
    co_shows: tuple[str, ...] = ()
    co_chance: float = 0.0
    watchdog_s: float = 1800.0
    manual_repair_h: float = 24.0
    kills_raylet: bool = False
    published: str = ""
    transient_s: float = 222.0


class TrueFault(Word, frozen=True):
    """One fault that really happens. nodes: indexes that it touches; gpu: the index of the GPU
    within the first of them, or -1. ends_s: when it ends by itself; inf when it does not.
    first: the symptom shown first (misleading or not). relapse_of: the id of the fault it
    repeats, or -1. blames: the index of the innocent GPU of the same node that the first symptom
    speaks of, or -1. luck: drawn once in [0, 1); it decides whether and when a cured one comes
    back."""

    id: int
    law: str
    at_s: float
    nodes: tuple[int, ...]
    gpu: int = -1
    ends_s: float = float("inf")
    first: str = ""
    also: tuple[str, ...] = ()
    relapse_of: int = -1
    blames: int = -1
    luck: float = 1.0


class NoiseKind(StrEnum):
    """What disturbs the view while nothing is broken."""

    BOOT_STORM = "boot_storm"
    STALE_EVENTS = "stale_events"
    DUPLICATES = "duplicates"
    FROZEN_SENSOR = "frozen_sensor"
    UNIT_CHANGE = "unit_change"
    CLOCK_SKEW = "clock_skew"
    HALF_MISSING = "half_missing"
    MONITORING_OUTAGE = "monitoring_outage"
    TENANT_PRINTS = "tenant_prints"
    INSTRUCTIONS_IN_LOG = "instructions_in_log"
    APPLICATION_CODES = "application_codes"


class Noise(Word, frozen=True):
    """One disturbance from at_s to ends_s over these nodes (all of them where empty)."""

    id: int
    kind: NoiseKind
    at_s: float
    ends_s: float
    nodes: tuple[int, ...] = ()
    value: float = 0.0
    source: str = ""


class Tally(Word, frozen=True):
    """What a run was worth, in GPU-hours of gangs. useful: steps that were kept. lost: by cause
    (`gangs.CAUSES`); useful and all of lost add up to allocated. allocated: GPU-hours for which
    gangs held (or, killed, were owed) their GPUs: the denominator of ETTR = useful / allocated.
    kwh and money: energy drawn, and what was paid for nodes."""

    useful: float
    allocated: float
    lost: dict[str, float]
    kwh: float = 0.0
    money: float = 0.0

    @property
    def ettr(self) -> float:
        """Useful over allocated GPU-hours; 1.0 when nothing was allocated."""
        return self.useful / self.allocated if self.allocated > 0 else 1.0
