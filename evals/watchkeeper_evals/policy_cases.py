"""Proposals for evals of the policy: every kind of action, on a simulated fleet, with its facts.

Each case is built afresh, as the watch builds it: a new dict of facts, a new impact, a new ledger.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from watchkeeper.control.look import Looker
from watchkeeper.core.action import (
    Action,
    CheckRun,
    GpuPowerCap,
    GpuQuarantine,
    GpuReset,
    JobPlace,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeReboot,
    NodeReplace,
    NodeRestart,
    NodeUncordon,
    PoolReserve,
    PoolScale,
    kind_of,
)
from watchkeeper.core.cluster import World
from watchkeeper.core.facts import Facts, facts_for
from watchkeeper.core.impact import out_by_domain, simulate
from watchkeeper.core.incident import Incident, IncidentState, Signal, Trust
from watchkeeper.core.ledger import LedgerView, PastEffect
from watchkeeper.core.proposal import Effect, Impact, Proposal
from watchkeeper.twin.memory import ManualClock, MemoryCluster

POOLS = {"train": 96, "serve": 32}
"""Nodes of the simulated fleet, by pool; eight GPUs each."""

PAST = 12
"""Effects in the ledger of each case."""


class Case(NamedTuple):
    """What one verdict is asked about."""

    proposal: Proposal
    impact: Impact
    facts: Facts
    ledger: LedgerView

    @property
    def kind(self) -> str:
        return kind_of(self.proposal.action)


class Cases:
    """Draws cases by a seed. Not for threads: it draws from one stream."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311  (a draw, no secret)
        clock = ManualClock()
        cluster = MemoryCluster.of(clock, POOLS, world=World.TWIN)
        names = [name for name, node in cluster.nodes.items() if not node.control_path]
        for i in range(12):
            cluster.run(f"gang-{i}", tuple(names[4 * i : 4 * i + 4]), tenant=f"tenant-{i % 4}")
        clock.pass_s(60.0)
        snapshot = Looker(cluster, cluster.telemetry(), clock).look()
        if snapshot is None:
            raise RuntimeError("the simulated fleet gave no snapshot")
        self._snapshot = snapshot
        self._names = names
        self._drawn = 0

    def draw(self, kind: str) -> Case:
        """A new proposal of this kind, with everything that its verdict sees."""
        rng, snapshot = self._rng, self._snapshot
        self._drawn += 1
        node = snapshot.nodes[rng.choice(self._names)]
        action = self._action(kind, node.name, node.incarnation)
        incident = self._incident(node.name)
        proposal = Proposal(
            id=f"P-{self._drawn}",
            action=action,
            by=rng.choice(("agent:remediation", "agent:scheduler", "person:ann")),
            reason="drawn by the eval",
            at=snapshot.at,
            world=World.TWIN,
            effect=Effect(predicate="none", within_s=60.0),
            generation="",
            confidence=round(rng.uniform(0.4, 1.0), 3),
            incident=incident.id,
            evidence=tuple(signal.id for signal in incident.signals),
        )
        impact = simulate(snapshot, action)
        out, size = out_by_domain(snapshot)
        past = tuple(self._past(i) for i in range(PAST))
        ledger = LedgerView(effects=past, out=dict(out), size=dict(size))
        facts = facts_for(proposal, impact, snapshot, ledger, incident=incident, approved=False)
        return Case(proposal, impact, facts, ledger)

    def _action(self, kind: str, node: str, incarnation: str) -> Action:
        on: dict[str, Any] = {"node": node, "incarnation": incarnation}
        gpu, job = self._rng.randrange(8), f"gang-{self._rng.randrange(12)}"
        of: dict[str, Any] = {"job": job, "attempt_id": f"{job}-a1"}
        make: dict[str, Callable[[], Action]] = {
            "node.cordon": lambda: NodeCordon(**on),
            "node.uncordon": lambda: NodeUncordon(**on),
            "node.drain": lambda: NodeDrain(**on),
            "node.restart": lambda: NodeRestart(**on),
            "node.reboot": lambda: NodeReboot(**on),
            "node.replace": lambda: NodeReplace(**on),
            "gpu.reset": lambda: GpuReset(**on, gpu=gpu),
            "gpu.quarantine": lambda: GpuQuarantine(**on, gpu=gpu),
            "gpu.power_cap": lambda: GpuPowerCap(**on, gpu=gpu, watts=400.0),
            "job.requeue": lambda: JobRequeue(**of),
            "job.preempt": lambda: JobPreempt(**of),
            "job.place": lambda: JobPlace(**of, nodes=(node,)),
            "pool.scale": lambda: PoolScale(pool="train", add=1 + gpu),
            "pool.reserve": lambda: PoolReserve(pool="train", nodes=1 + gpu),
            "check.run": lambda: CheckRun(**on),
        }
        return make[kind]()

    def _incident(self, node: str) -> Incident:
        at = self._snapshot.at - timedelta(seconds=self._rng.uniform(1, 120))
        signals = tuple(
            Signal(
                id=f"S-{self._drawn}-{i}",
                code="xid.79",
                target=f"node:{node}",
                at=at,
                source=f"source-{i}",
                trust=Trust.KERNEL,
                world=World.TWIN,
            )
            for i in range(2)
        )
        return Incident(
            id=f"INC-{self._drawn}",
            target=f"node:{node}",
            fault=self._rng.choice(("gpu_off_bus", "node_silent", "ecc_errors")),
            title="drawn by the eval",
            state=IncidentState.OPEN,
            opened_at=at,
            updated_at=at,
            world=World.TWIN,
            confidence=round(self._rng.uniform(0.4, 1.0), 3),
            signals=signals,
        )

    def _past(self, nth: int) -> PastEffect:
        node = self._snapshot.nodes[self._rng.choice(self._names)]
        return PastEffect(
            action=self._rng.choice(("node.drain", "node.restart", "check.run", "node.uncordon")),
            target=f"node:{node.name}",
            age_s=self._rng.uniform(60, 86400),
            node=node.name,
            incident=f"INC-past-{nth}",
            domains=("fleet", *(f"{k}:{v}" for k, v in node.domains().items())),
            proposal=f"P-past-{nth}",
            gpu_hours=round(self._rng.uniform(0, 4), 2),
        )
