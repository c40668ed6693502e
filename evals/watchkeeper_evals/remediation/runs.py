"""One controller on one seed: played, and counted. The unit that is spread over processes.

Everything that comes back is plain data, so that it may cross to another process or machine.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from watchkeeper.core.errors import UsageError
from watchkeeper.core.word import Word
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.twin.ailment import Ailment
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.laws import PERSON
from watchkeeper.twin.people import manual_repair_s
from watchkeeper.twin.words import DAY_S, Hurt, Tally
from watchkeeper_evals.remediation.baselines import RayAlone, RestartOnly, ThresholdRules
from watchkeeper_evals.remediation.caps import caps_of
from watchkeeper_evals.remediation.oracle import Oracle
from watchkeeper_evals.remediation.setup import Setup, cluster_of
from watchkeeper_evals.remediation.stage import Controller, play
from watchkeeper_evals.remediation.tuning import tuned

WATCH, ORACLE = "watchkeeper", "oracle"
BASELINES = ("none", "restart_only", "threshold_rules")
CONTROLLERS = (*BASELINES, ORACLE, WATCH)


class Told(NamedTuple):
    """How far a run is. share: of its days, 0 to 1. ettr: so far, None before anything is known.
    false: disruptive actions so far that nothing called for."""

    share: float
    ettr: float | None = None
    false: int = 0


TOLD = Callable[[Told], None]


class Fate(Word, frozen=True):
    """What became of one true fault that hurts. ended_by: `effect`, `itself`, `people` or `open`.
    lasted_s: from onset until it held nothing any more, or until the end of the run. hidden: silent
    corruption that no check of the twin finds, so that nobody but a person can tell its node."""

    id: int
    law: str
    at_s: float
    nodes: tuple[int, ...]
    curable: bool
    lasted_s: float
    ended_by: str
    hidden: bool = False


class Deed(Word, frozen=True):
    """One disruptive effect. law: the class of true fault that deserved it; "" when it is false."""

    at_s: float
    kind: str
    target: str
    law: str
    lapsed: str = ""


class SeedRun(Word, frozen=True):
    """One controller on one seed. noise: disturbances that were played, by kind. commit: of what
    played it. rss_mb: the most memory that its process has held so far.

    The fields from `asked` on are the watch's alone. escalated: incidents that ended with a person,
    by what was truly wrong there: `curable`, `person`, `nothing`. effects_checked: effects at which
    every promise was looked at.
    """

    seed: int
    controller: str
    tally: Tally
    fates: tuple[Fate, ...]
    deeds: tuple[Deed, ...]
    effects: dict[str, int]
    trace_hash: str
    wall_s: float
    noise: dict[str, int] = {}
    commit: str = ""
    rss_mb: float = 0.0
    asked: int = 0
    asked_night: int = 0
    answered: int = 0
    escalated: dict[str, int] = {}
    escalated_as: dict[str, int] = {}
    halts: int = 0
    verdicts: dict[str, int] = {}
    refused_by: dict[str, int] = {}
    violations: tuple[str, ...] = ()
    effects_checked: int = 0
    cadence: str = ""
    turns: int = 0
    pages: int = 0

    @property
    def lost(self) -> float:
        """GPU-hours that were allocated and not useful; checkpoints included."""
        return self.tally.allocated - self.tally.useful

    @property
    def lost_to_faults(self) -> float:
        """The same without what checkpoints cost in any run."""
        return self.lost - self.tally.lost["checkpoint"]


def run_one(setup: Setup, seed: int, controller: str, told: TOLD = lambda _told: None) -> SeedRun:
    """Play one controller on one seed. told: how much of it is played, now and then.

    Raises UsageError for a controller that is not one of CONTROLLERS, PolicyError for bad orders.
    """
    began = time.perf_counter()
    cluster = cluster_of(setup, seed)
    if controller == WATCH:
        from watchkeeper_evals.remediation.watch import watched

        return watched(setup, seed, cluster, told)
    hand = _controller(controller, cluster, setup)
    play(cluster, hand, setup.days * DAY_S)
    return SeedRun(
        seed=seed,
        controller=controller,
        tally=cluster.tally(),
        fates=fates(cluster),
        deeds=deeds(cluster),
        effects=_counted(cluster),
        trace_hash=trace_hash(cluster),
        wall_s=round(time.perf_counter() - began, 3),
        noise=noises(cluster),
        rss_mb=peak_mb(),
    )


def _controller(name: str, cluster: TwinCluster, setup: Setup) -> Controller:
    match name:
        case "none":
            return RayAlone(cluster)
        case "restart_only":
            return RestartOnly(cluster)
        case "threshold_rules":
            return ThresholdRules(cluster, tuned())
        case "oracle":
            sizes = {pool: len(cluster.fleet.in_pool(pool)) for pool in cluster.fleet.pools}
            return Oracle(cluster, caps_of(policy_of(setup.orders, setup), sizes))
    raise UsageError(f"There is no controller {name!r}. They are: {', '.join(CONTROLLERS)}.")


def policy_of(orders: tuple[tuple[str, str], ...], setup: Setup) -> CheckedPolicy | None:
    """The orders, loaded; None where there are none. Raises PolicyError."""
    if not orders:
        return None
    at: datetime = setup.spec(setup.first_seed).start
    return load(dict(orders), at.astimezone(UTC))


# What came of it, asked of the truth.


def fates(cluster: TwinCluster) -> tuple[Fate, ...]:
    """Every true fault that hurts, oldest first."""
    now = list(cluster.ailments.now.values())
    found = [_fate(cluster, a) for a in (*cluster.harm.over, *now) if a.hurts]
    return tuple(sorted(found, key=lambda fate: (fate.at_s, fate.id)))


def _fate(cluster: TwinCluster, ailment: Ailment) -> Fate:
    fault, law, over_s = ailment.fault, ailment.law, ailment.over_s
    by_hand_s = fault.at_s + manual_repair_s(cluster.spec, law, fault)
    if over_s is None:
        ended = "open"
    elif over_s == fault.ends_s:
        ended = "itself"
    else:
        ended = "people" if over_s == by_hand_s else "effect"
    return Fate(
        id=fault.id,
        law=law.name,
        at_s=fault.at_s,
        nodes=fault.nodes,
        curable=any(kind != PERSON for kind in law.cured_by),
        lasted_s=(cluster.clock.s if over_s is None else over_s) - fault.at_s,
        ended_by=ended,
        hidden=law.hurts is Hurt.TAINTS and law.silent and not cluster.effects.check_finds(ailment),
    )


def deeds(cluster: TwinCluster) -> tuple[Deed, ...]:
    """Every disruptive effect, in order."""
    return tuple(
        Deed(at_s=d.at_s, kind=d.kind, target=d.target, law=d.law, lapsed=d.lapsed)
        for d in cluster.false_actions.deeds
    )


def noises(cluster: TwinCluster) -> dict[str, int]:
    """Disturbances by kind."""
    return dict(sorted(Counter(str(noise.kind) for noise in cluster.noise).items()))


def peak_mb() -> float:
    """The most memory that this process has held, in MB."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (1e6 if sys.platform == "darwin" else 1e3), 1)


def _counted(cluster: TwinCluster) -> dict[str, int]:
    counts: dict[str, int] = {}
    for order in cluster.effects.done:
        kind = str(order.action.__struct_config__.tag)
        counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items()))


def trace_hash(cluster: TwinCluster) -> str:
    """SHA-256 of every effect in order, every fault's fate, and the tally."""
    whole: Mapping[str, Any] = {
        "effects": [(order.key, order.action) for order in cluster.effects.done],
        "fates": fates(cluster),
        "tally": cluster.tally(),
    }
    return hashlib.sha256(msgspec.json.encode(whole, order="deterministic")).hexdigest()
