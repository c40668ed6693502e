"""Reads Ray's own view of the cluster, without ever being a driver in it.

Asked once a turn. One reading is a handful of GCS calls of about a millisecond each; it acts on
nothing and remembers only when it first saw a drain, which names exist, and where gangs last ran.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from watchkeeper.adapters.gang_progress import ProgressRoot
from watchkeeper.adapters.ray_fold import (
    CheckMark,
    Rows,
    fold_checks,
    fold_demand,
    fold_fences,
    fold_jobs,
    fold_nodes,
    ours,
)
from watchkeeper.adapters.ray_gcs import MARKS, DriverRow, Gcs
from watchkeeper.adapters.ray_jobs import parse_submissions
from watchkeeper.adapters.ray_queue import ENDED, Asked, read_queue
from watchkeeper.adapters.ray_scaler import AUTOSCALER_STATUS, fold_scaler
from watchkeeper.core.clock import Clock
from watchkeeper.core.cluster import ClusterState, Job, JobState, Node, RayState, World
from watchkeeper.core.errors import ClusterUnavailable

CHECK = b"check/"
KEPT = b"kept/"
_DRIVER_MEMORY_S = 3600.0
_SCALER_S = 30.0


class RayCluster:
    """A `ClusterReader` on a real Ray cluster or on the lab.

    address: `host:port` of the GCS. cluster: our id for it, the lab's id included. job_api: URL
    of the job REST API, or None: then nothing can be requeued, and every job says so.
    progress_root: folder of the gangs' progress files, if there is one. processes: the provider's
    word on which raylets' processes are alive.
    """

    def __init__(
        self,
        address: str,
        *,
        world: World,
        cluster: str,
        job_api: str | None,
        progress_root: Path | None,
        processes: Callable[[], Mapping[str, bool]] | None = None,
        clock: Clock,
    ) -> None:
        self._gcs = Gcs(address)
        self._world = world
        self._cluster = cluster
        self._job_api = job_api
        self._progress = ProgressRoot(progress_root) if progress_root else None
        self._processes = processes
        self._clock = clock
        self._since: dict[tuple[str, RayState], datetime] = {}
        self._known: dict[str, Node] = {}
        self._lost: dict[str, bool] = {}
        self._scaler = (0.0, "")
        self._ran_on: dict[tuple[str, str], tuple[str, ...]] = {}

    def read(self) -> ClusterState:
        """One reading. Raises ClusterUnavailable, in less than 3 s, when the GCS is gone."""
        gcs, now, gaps = self._gcs, self._clock.now(), []
        session = gcs.session()
        submissions, unread = parse_submissions(gcs.submissions())
        gaps += [f"job {ident}: its record could not be read" for ident in unread]
        processes: Mapping[str, bool] | None = None
        if self._processes is not None:
            try:
                processes = self._processes()
            except ClusterUnavailable as err:
                gaps.append(f"provider: {err}")
        drivers = gcs.drivers()
        rows = Rows(
            now=now,
            nodes=gcs.nodes(),
            draining=gcs.draining(),
            usage=gcs.usage(),
            actors=gcs.actors(),
            groups=gcs.groups(),
            drivers=drivers,
            submissions=submissions,
            kept=frozenset(key[len(KEPT) :].decode() for key in gcs.kv_all(MARKS, KEPT)),
            checks=self._checks(gaps),
            processes=processes,
            died_with_node=self._died(drivers, now),
            progress=self._progress.read if self._progress else lambda _: None,
            held=self._held(gaps),
            ended={
                key[len(ENDED) :].decode(): value.decode()
                for key, value in gcs.kv_all(MARKS, ENDED).items()
            },
        )
        nodes = fold_nodes(rows, lambda ident, state: self._since.setdefault((ident, state), now))
        for name, node in self._known.items():
            # The GCS forgets its oldest dead; a name that was ever part of the cluster stays.
            nodes.setdefault(name, msgspec.structs.replace(node, ray_state=RayState.DEAD))
        self._known = nodes
        fences = fold_fences(rows)
        jobs = self._where_they_ran(fold_jobs(rows, nodes))
        if self._job_api is None:
            blocked = "No job API address is known, so nothing can be submitted again."
            jobs = {
                name: msgspec.structs.replace(job, requeue_blocked=job.requeue_blocked or blocked)
                for name, job in jobs.items()
            }
        return ClusterState(
            session=session,
            cluster=self._cluster,
            world=self._world,
            read_at=now,
            nodes=nodes,
            jobs=jobs,
            fences=fences,
            checks=fold_checks(rows),
            demand=fold_demand(rows, nodes, fences, jobs),
            gaps=tuple(gaps),
            scaler=self._who_scales(rows),
        )

    def _where_they_ran(self, jobs: dict[str, Job]) -> dict[str, Job]:
        """A stopped gang has no workers any more; it keeps the nodes that it stopped on, so that
        it is seen together with what happened to them. What we saw ourselves comes first; after
        a restart of the watch the gang's own last report must do (it decides only which incident
        the gang belongs to)."""
        last = self._ran_on
        self._ran_on = {
            (name, job.attempt_id): job.nodes
            or last.get((name, job.attempt_id))
            or self._reported(name)
            for name, job in jobs.items()
        }
        return {
            name: msgspec.structs.replace(job, nodes=self._ran_on[name, job.attempt_id])
            if job.state is JobState.STOPPED
            else job
            for name, job in jobs.items()
        }

    def _reported(self, job: str) -> tuple[str, ...]:
        report = self._progress.read(job) if self._progress else None
        return tuple(sorted(n for n in report.nodes if n in self._known)) if report else ()

    def _held(self, gaps: list[str]) -> dict[str, Asked]:
        if self._job_api is None:
            return {}  # nobody could hand them to Ray
        found, bad = read_queue(self._gcs)
        gaps += [f"{key}: what was asked for could not be read" for key in bad]
        return found

    def _who_scales(self, rows: Rows) -> str:
        """Another owner of scaling, looked for from time to time."""
        now = rows.now.timestamp()
        if now - self._scaler[0] >= _SCALER_S:
            report = self._gcs.kv_get(b"", AUTOSCALER_STATUS)
            self._scaler = (now, fold_scaler(rows.usage, report))
        return self._scaler[1]

    def _checks(self, gaps: list[str]) -> tuple[CheckMark, ...]:
        marks = []
        for key, value in self._gcs.kv_all(MARKS, CHECK).items():
            try:
                marks.append(msgspec.json.decode(value, type=CheckMark))
            except msgspec.MsgspecError:
                gaps.append(f"{key.decode(errors='replace')}: its mark could not be read")
        return tuple(marks)

    def _died(self, drivers: list[DriverRow], now: datetime) -> frozenset[str]:
        """Plain drivers that ended of late because a node did. An ended driver does not change,
        so each is asked about once."""
        for row in drivers:
            recent = now.timestamp() - row.ended < _DRIVER_MEMORY_S
            plain = not row.submission_id and not ours(row.namespace)
            if row.dead and plain and recent and row.job_id not in self._lost:
                self._lost[row.job_id] = self._gcs.died_with_its_node(row.job_id)
        return frozenset(ident for ident, lost in self._lost.items() if lost)

    def close(self) -> None:
        """Give the connection back."""
        self._gcs.close()
