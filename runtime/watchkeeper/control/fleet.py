"""The fleet as it is drawn: nodes worst first, gangs, pools. Pure, from one snapshot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from watchkeeper.control.look import FRESH_S
from watchkeeper.core.cluster import Job, JobState, Node, RayState
from watchkeeper.core.desk import GpuView, JobView, NodeView, PoolView
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.impact import out_by_domain
from watchkeeper.core.incident import Incident
from watchkeeper.core.regret import Regret, total_says
from watchkeeper.core.telemetry import GPU_FIELDS, HOST_FIELDS, Snapshot

NONE: Mapping[str, Any] = MappingProxyType({})

RANK = (
    "dead",
    "failed",
    "silent",
    "unknown",
    "draining",
    "suspect",
    "checking",
    "cordoned",
    "healthy",
)
"""Worst first: the order of the table beside the map."""


def node_views(snapshot: Snapshot, incidents: Iterable[Incident]) -> tuple[NodeView, ...]:
    """Every node, worst first, then by name."""
    troubles = {i.node: i for i in incidents if i.is_open and i.node}
    views = [_node(snapshot, n, troubles.get(n.name)) for n in snapshot.nodes.values()]
    return tuple(sorted(views, key=lambda v: (v.rank, v.name)))


def _node(snapshot: Snapshot, node: Node, incident: Incident | None) -> NodeView:
    state, what = node_state(snapshot, node, incident)
    row = snapshot.frame.row.get(node.name)
    host: dict[str, float | None] = dict.fromkeys(HOST_FIELDS)
    if row is not None:
        host = dict(zip(HOST_FIELDS, map(_known, snapshot.frame.host[row].tolist()), strict=True))
    return NodeView(
        name=node.name,
        pool=node.pool,
        rack=node.rack,
        nvlink_domain=node.nvlink_domain,
        state=state,
        what=what,
        rank=RANK.index(state),
        incarnation=node.incarnation[:12],
        control_path=node.control_path,
        silent_s=snapshot.silence_s(node.name),
        jobs=tuple(j.name for j in snapshot.jobs_on(node.name) if j.state is JobState.RUNNING),
        gpus=_gpus(snapshot, node, state, row),
        simulated=bool(row is not None and snapshot.frame.simulated[row]),
        gpu_source=snapshot.frame.vendor[row] if row is not None else "",
        cpu_percent=host["cpu_percent"],
        memory_percent=host["memory_used_percent"],
        incident=incident.id if incident else "",
    )


def node_state(snapshot: Snapshot, node: Node, incident: Incident | None) -> tuple[str, str]:
    """One word and one sentence; the worst fact wins."""
    ray = snapshot.sources.get("ray")
    if ray is None or ray.error or ray.age_s is None or ray.age_s > FRESH_S:
        return "unknown", "Ray does not answer. Unknown, not healthy"
    fence = snapshot.fences.get(node.name)
    check = snapshot.state.checks.get(node.name)
    silence = snapshot.silence_s(node.name)
    title = incident.title if incident else ""
    if node.ray_state is RayState.DEAD:
        gone = "; its process is gone" if node.process_gone else ""
        return "dead", title or f"Ray declared it dead{gone}"
    if node.ray_state is RayState.UNKNOWN:
        return "unknown", "Ray cannot say. Unknown, not healthy"
    if incident is not None and incident.gpu is not None:
        return "failed", title
    if silence is None or silence > FRESH_S:
        since = "never spoke" if silence is None else f"silent for {silence:.0f} s"
        return "silent", f"{since.capitalize()}. Unknown, not healthy"
    if node.ray_state is RayState.DRAINING:
        return "draining", "Draining: work may finish, nothing new starts"
    if check is not None and check.passed is None and check.incarnation == node.incarnation:
        return "checking", "A check runs before it returns to service"
    if fence is not None:
        return "cordoned", f"Cordoned: the fence holds {fence.held} of {fence.wanted} GPUs"
    if incident is not None:
        return "suspect", title
    return "healthy", ""


def _gpus(snapshot: Snapshot, node: Node, state: str, row: int | None) -> tuple[GpuView, ...]:
    count = node.gpus + len(node.hidden_gpus)
    columns = snapshot.frame.gpu[row] if row is not None else None
    incidents_state = {"dead": "silent", "silent": "silent", "unknown": "silent"}
    fenced = node.name in snapshot.fences
    views = []
    for index in range(count):
        values: dict[str, float | None] = dict.fromkeys(GPU_FIELDS)
        if columns is not None and index < columns.shape[0]:
            values = dict(zip(GPU_FIELDS, map(_known, columns[index].tolist()), strict=True))
        gpu_state = incidents_state.get(state, "cordoned" if fenced else "ok")
        if values["present"] == 0.0:
            gpu_state = "failed"
        elif index in node.hidden_gpus:
            gpu_state = "hidden"
        views.append(
            GpuView(
                index=index,
                state=gpu_state,
                utilization=values["utilization_percent"],
                temperature=values["temperature_celsius"],
                memory_used_mib=values["memory_used_mib"],
                memory_total_mib=values["memory_total_mib"],
                power_watts=values["power_watts"],
                ecc_uncorrected=values["ecc_uncorrected_total"],
            )
        )
    return tuple(views)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 2)


def job_views(snapshot: Snapshot, whys: Mapping[str, str] = NONE) -> tuple[JobView, ...]:
    """Gangs, those that do not run first. whys: why those that wait do."""
    order = {"stopped": 0, "waiting": 1, "running": 2}
    jobs = sorted(snapshot.jobs.values(), key=lambda j: (order.get(j.state.value, 3), j.name))
    return tuple(_job(snapshot, job, whys.get(job.name, "")) for job in jobs)


def _job(snapshot: Snapshot, job: Job, why_waits: str) -> JobView:
    age = None
    if job.checkpoint_at is not None:
        age = max(0.0, (snapshot.at - job.checkpoint_at).total_seconds())
    return JobView(
        name=job.name,
        state=job.state.value,
        tenant=job.tenant,
        gpus=job.gpus,
        nodes=job.nodes,
        attempt=job.attempt,
        step=job.step,
        checkpoint_step=job.checkpoint_step,
        checkpoint_age_s=age,
        requeue=job.requeue_blocked or "can be requeued",
        why_waits=why_waits,
        held=job.held,
    )


def pool_views(
    snapshot: Snapshot,
    forecasts: Mapping[str, Forecast],
    history: Mapping[str, list[tuple[float, float, float]]],
    regrets: Mapping[str, tuple[Regret, ...]] = NONE,
) -> tuple[PoolView, ...]:
    """Demand now, its history, its forecast, and what earlier plans were worth, for each pool."""
    out, size = out_by_domain(snapshot)
    views = []
    for demand in snapshot.state.demand:
        forecast = forecasts.get(demand.pool)
        views.append(
            PoolView(
                pool=demand.pool,
                nodes=size.get(f"pool:{demand.pool}", 0),
                out=out.get(f"pool:{demand.pool}", 0),
                total_gpus=demand.total_gpus,
                running_gpus=demand.running_gpus,
                pending_gpus=demand.pending_gpus,
                waiting_jobs=demand.waiting_jobs,
                forecast_method=forecast.method if forecast else "",
                forecast_why=forecast.why if forecast else "No forecast yet.",
                horizons_s=forecast.horizons_s if forecast else (),
                p10=_column(forecast, 0.1),
                p50=_column(forecast, 0.5),
                p90=_column(forecast, 0.9),
                history=tuple(history.get(demand.pool, ())[-400:]),
                looked_back=_looked_back(regrets.get(demand.pool, ())),
            )
        )
    return tuple(views)


def _looked_back(regrets: tuple[Regret, ...]) -> tuple[str, ...]:
    if not regrets:
        return ()
    total = total_says(regrets)
    return (regrets[-1].says(), *((total,) if total else ()))


def _column(forecast: Forecast | None, level: float) -> tuple[float, ...]:
    if forecast is None or level not in forecast.quantiles:
        return ()
    index = forecast.quantiles.index(level)
    return tuple(row[index] for row in forecast.values)
