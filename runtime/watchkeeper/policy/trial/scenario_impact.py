"""What the action of a test touches: the real simulation of a small cluster, made of what the test
gives, with the counts of its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from watchkeeper.core.action import TRAITS, Action, PoolScale, kind_of, node_of
from watchkeeper.core.cluster import ClusterState, Fence, Job, JobState, Node, RayState, World
from watchkeeper.core.facts import FACTS, NEVER_S
from watchkeeper.core.impact import simulate
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Impact
from watchkeeper.core.telemetry import FleetFrame, Snapshot
from watchkeeper.policy.model import Prices

Given = Mapping[str, Any]
"""Dotted name to value: declared facts, and what case_schema names beside them."""

INCARNATION = "incarnation-1"


def is_out(base: Given) -> bool:
    """Is the target out already? As core.impact counts: the control path counts in nothing."""
    alive = base["node.ray_state"] == "alive" and base.get("node.fenced") is not True
    return not alive and base["node.control_path"] is not True


def touched(
    action: Action, base: Given, given: Given, ledger: LedgerView, prices: Prices, at: datetime
) -> Impact:
    """What the real simulation says of a cluster of this node and this gang, with the counts of
    the ledger; and over it what the test gives."""
    found = simulate(_snapshot(action, base, given, at), action)
    pool = f"pool:{base['pool.name']}"
    size, out = ledger.size.get(pool, 0), ledger.out.get(pool, 0)
    changes: dict[str, Any] = {"pool": base["pool.name"]}
    if node_of(action):
        already = int(is_out(base))
        taken = found.pool_out_after - found.pool_out_before
        keys = ("fleet", *domains_of(action, base, at))
        changes |= {
            "pool_size": size,
            "pool_out_before": out,
            "pool_out_after": out + taken,
            "domain_out": {key: ledger.out.get(key, 0) - already for key in keys},
            "domain_size": {key: ledger.size.get(key, 0) for key in keys},
        }
    elif TRAITS[kind_of(action)].scope == "pool":
        changes["pool_size"] = size
    changes |= _stopped(found, base, given)
    nodes = getattr(action, "nodes", None)
    if isinstance(nodes, tuple):
        changes["nodes"] = nodes
    impact = msgspec.structs.replace(found, **changes)
    return msgspec.structs.replace(impact, money=_money(action, impact, base, given, prices))


def _stopped(found: Impact, base: Given, given: Given) -> dict[str, Any]:
    """The gangs that are stopped, by name; `impact.jobs` gives their number."""
    changes: dict[str, Any] = {}
    jobs = found.jobs
    if (number := given.get("impact.jobs")) is not None:
        names = (str(base["job.name"]), *(f"job-{i}" for i in range(2, min(number, 1000) + 1)))
        jobs = names[:number]
        tenant = tenant_of(given)
        changes |= {"jobs": jobs, "tenants": (tenant,) if jobs and tenant else ()}
    if "impact.tenants" in given:
        changes["tenants"] = tuple(tenant for tenant in given["impact.tenants"] if tenant)
    same = jobs == found.jobs  # of gangs that the test only counts, nothing more is known
    age = given.get("impact.checkpoint_age", found.checkpoint_age_s if same else None)
    changes["checkpoint_age_s"] = age if jobs and age is not None and age < NEVER_S else None
    if "impact.gpus" in given:
        changes["gpus"] = given["impact.gpus"]
    if "impact.gpu_hours" in given:
        changes["gpu_hours"] = given["impact.gpu_hours"]
    elif jobs and not (same and given.get("job.checkpoint_age") is not None):
        changes["gpu_hours"] = float(FACTS["impact.gpu_hours"].unknown)  # type: ignore[arg-type]
    return changes


def _money(
    action: Action, impact: Impact, base: Given, given: Given, prices: Prices
) -> float | None:
    """What it costs: given, or the GPU-hours at the policy's price; added nodes for a day."""
    if "impact.money" in given:
        return float(given["impact.money"])
    added = gpus_added(base) if isinstance(action, PoolScale) else 0
    return prices.cost(impact.pool, impact.gpu_hours, added)


def gpus_added(base: Given) -> int:
    """GPUs that a pool grows by; its nodes have as many as those it has, where not given."""
    return int(base.get("scale.gpus", base.get("scale.add", 0) * base["node.gpus"]))


def _snapshot(action: Action, base: Given, given: Given, at: datetime) -> Snapshot:
    """A cluster of one node, and of one gang where a test gives one (or an action names it)."""
    kind = kind_of(action)
    gang = any(key.startswith("job.") for key in given) or "tenant.name" in given
    there = TRAITS[kind].scope == "job" or gang
    node = node_from(base, at)
    jobs = {}
    if there:
        age = given.get("job.checkpoint_age")
        jobs[str(base["job.name"])] = Job(
            name=str(base["job.name"]),
            attempt_id="attempt-1",
            state=JobState.STOPPED if kind == "job.requeue" else JobState.RUNNING,
            state_since=at,
            tenant=tenant_of(given),
            priority=int(given.get("job.priority", 0)),
            pool=node.pool,
            gpus=float(base["job.gpus"]),
            nodes=(node.name,),
            checkpoint_at=at - timedelta(seconds=age) if age is not None else None,
        )
    fences = {}
    if base.get("node.fenced") is True:
        fence = Fence(name="wk-fence", node=node.name, token=1, held=1, wanted=1)
        fences[node.name] = fence
    state = ClusterState(
        session="test",
        cluster="test",
        world=World.LAB,
        read_at=at,
        nodes={node.name: node},
        jobs=jobs,
        fences=fences,
    )
    return Snapshot(at=at, steady=0.0, state=state, frame=FleetFrame.empty(), sources={})


def node_from(base: Given, at: datetime) -> Node:
    """The target node."""
    return Node(
        name=str(base["node.name"]),
        incarnation=INCARNATION,
        pool=str(base["node.pool"]),
        ray_state=RayState(base["node.ray_state"]),
        ray_state_since=at,
        gpus=int(base["node.gpus"]),
        control_path=base["node.control_path"] is True,
        rack=str(base["node.rack"]),
        leaf=str(base["node.leaf"]),
        power_feed=str(base.get("node.power_feed", "")),
        nvlink_domain=str(base.get("node.nvlink_domain", "")),
        zone=str(base.get("node.zone", "")),
    )


def domains_of(action: Action, base: Given, at: datetime) -> tuple[str, ...]:
    """The domain keys that the target is part of."""
    if not node_of(action):
        return (f"pool:{base['pool.name']}",)
    named = node_from(base, at).domains()
    return tuple(f"{kind}:{name}" for kind, name in named.items())


def tenant_of(given: Given) -> str:
    """Whose job it is, by either of its names; "" where neither is given."""
    return str(given.get("tenant.name") or given.get("job.tenant") or "")
