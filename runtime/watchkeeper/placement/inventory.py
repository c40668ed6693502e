"""A snapshot as an engine: the nodes with what is free, the gangs that run, the gangs that wait.

Ray tells GPUs and names of nodes; what it does not tell (CPU and memory in use, which GPU of a
node a job holds) is taken as ample, or as the first that are free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from watchkeeper.core.cluster import Job, JobState, Node, RayState
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.placement.engine import Engine, seat_on
from watchkeeper.placement.explain import OTHER_WORK
from watchkeeper.placement.fit import bundles_of
from watchkeeper.placement.fleet import Fleet, Machine
from watchkeeper.placement.running import Running
from watchkeeper.placement.words import LEVELS, WHOLE, Gang, Piece, Placement, Seat

MODEL_LABEL = "ray.io/accelerator-type"
"""Ray's own label for a node's GPU model."""

TENANT_LABEL = "tenant"
"""Nodes with this label take no other tenant's work."""


class Inventory(NamedTuple):
    """What a snapshot holds, ready to be asked. waiting: by name."""

    engine: Engine
    running: dict[str, Running]
    waiting: dict[str, Gang]


def take_stock(
    snapshot: Snapshot,
    suspects: Iterable[str] = (),
    spares: Iterable[str] = (),
    estimates: Mapping[str, float] | None = None,
) -> Inventory:
    """Worker nodes, and the gangs on them.

    suspects: nodes under an open incident. spares: nodes kept for repairs. estimates: expected
    runtime in seconds by job name, where somebody told. Names that are no nodes are passed over.
    """
    nodes = [n for _, n in sorted(snapshot.nodes.items()) if not n.control_path]
    engine = Engine(Fleet(map(_machine, nodes)))
    fleet = engine.fleet
    for node in nodes:
        out = node.ray_state is not RayState.ALIVE or node.name in snapshot.fences
        if out or node.name in set(suspects) or node.name in set(spares):
            fleet.mark(
                node.name, closed=out, suspect=node.name in set(suspects),
                spare=node.name in set(spares),
            )  # fmt: skip
    told = estimates or {}
    running: dict[str, Running] = {}
    waiting: dict[str, Gang] = {}
    for name, job in sorted(snapshot.jobs.items()):
        if job.state is JobState.RUNNING:
            placement = _seated(engine, job, told.get(name))
            if placement is not None:
                saved = job.checkpoint_at.timestamp() if job.checkpoint_at else None
                running[name] = Running(placement, job.state_since.timestamp(), saved)
        elif job.state is JobState.WAITING or job.pending_gpus:
            waiting[name] = gang_of(job, told.get(name))
    for node in nodes:
        _hold_the_rest(engine, node)
    return Inventory(engine, running, waiting)


def gang_of(job: Job, runtime_s: float | None = None) -> Gang:
    """What a waiting job asks for, as far as the source says."""
    size, count = bundles_of(job)
    return _gang(job, _piece(size), max(1, count), runtime_s)


def _gang(job: Job, piece: Piece, count: int, runtime_s: float | None) -> Gang:
    """What its submitter says of its shape counts; a level that we do not know is passed over."""
    wanted = max(job.workers, count)
    return Gang(
        name=job.name,
        piece=piece,
        count=wanted,
        least=job.least if 0 < job.least < wanted else 0,
        within=job.within if job.within in LEVELS else "",
        near=job.near if job.near in LEVELS else "",
        tenant=job.tenant,
        pool=job.pool,
        priority=job.priority,
        preemptible=job.preemptible,
        runtime_s=job.runtime_s if runtime_s is None else runtime_s,
    )


def _machine(node: Node) -> Machine:
    return Machine(
        name=node.name,
        gpus=node.gpus,
        model=node.labels.get(MODEL_LABEL, ""),
        pool=node.pool,
        tenant=node.labels.get(TENANT_LABEL, ""),
        nvlink_domain=node.nvlink_domain,
        rack=node.rack,
        leaf=node.leaf,
        zone=node.zone,
    )


def _piece(gpus: float) -> Piece:
    if 0 < gpus < 1:
        return Piece(gpus=1, milli=max(1, round(gpus * WHOLE)))
    return Piece(gpus=round(gpus))


def _seated(engine: Engine, job: Job, runtime_s: float | None) -> Placement | None:
    """A running job, one worker on each of its nodes, with its GPUs spread over them."""
    fleet = engine.fleet
    rows = [fleet.row[node] for node in job.nodes if node in fleet.row]
    if not rows:
        return None
    share = job.gpus / len(job.nodes)
    gang = _gang(job, _piece(share), len(rows), runtime_s)
    seats = tuple(seat for row in rows if (seat := _sit(fleet, gang.piece, row)) is not None)
    if not seats:
        return None
    placement = Placement(gang=gang, seats=seats)
    engine.adopt(placement)
    return placement


def _sit(fleet: Fleet, piece: Piece, row: int) -> Seat | None:
    """None where the node has not that much left: the source counted somebody twice."""
    fits = fleet.widest[row] >= piece.milli if piece.is_slice else fleet.whole[row] >= piece.gpus
    return seat_on(fleet, piece, row) if fits else None


def _hold_the_rest(engine: Engine, node: Node) -> None:
    """GPUs that Ray says are in use and no gang holds."""
    fleet, row = engine.fleet, engine.fleet.row[node.name]
    over = int(fleet.milli[row]) - round(node.gpus_free * WHOLE)
    seats: list[Seat] = []
    for gpu, free in enumerate(fleet.slices[row].tolist()):
        if over <= 0:
            break
        held = min(free, over)
        if held:
            seats.append(Seat(row=row, gpus=(gpu,), milli=held, cpu_milli=0, memory_mib=0))
            over -= held
    if seats:
        gang = Gang(
            name=f"{OTHER_WORK}@{node.name}", piece=Piece(gpus=1), count=len(seats),
            preemptible=False,
        )  # fmt: skip
        engine.adopt(Placement(gang=gang, seats=tuple(seats)))
