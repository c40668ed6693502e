"""The ports of one cluster: who reads it, who acts on it, and, in the lab, who breaks it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from watchkeeper.adapters.command import CommandProvider, read_config
from watchkeeper.adapters.effect_file import Effects
from watchkeeper.adapters.ray_actuator import RayActuator
from watchkeeper.adapters.ray_admission import Admission
from watchkeeper.adapters.ray_cluster import RayCluster
from watchkeeper.adapters.ray_collectors import RayCollectors
from watchkeeper.adapters.ray_door import RayDoor
from watchkeeper.adapters.ray_gcs import Gcs
from watchkeeper.adapters.ray_jobs import JobApi
from watchkeeper.adapters.ray_lab_client import LabClient, LabProvider, read_lab
from watchkeeper.adapters.ray_serve import RayServe
from watchkeeper.adapters.ray_token import meet_a_cluster, meet_the_lab
from watchkeeper.app.settings import Home, Settings
from watchkeeper.app.twin_live import DAYS, LiveTwin, TwinTime
from watchkeeper.app.twin_spec import spec_of
from watchkeeper.core.clock import Clock
from watchkeeper.core.cluster import ClusterState, World
from watchkeeper.core.errors import ClusterUnavailable, WatchkeeperError
from watchkeeper.core.ports import Actuator, ClusterReader, TelemetrySource

log = logging.getLogger("watchkeeper.cluster")
TEND_S = 30.0
"""How often pinned collectors are looked after."""
TIDY_S = 3.0
"""How often seats of ended gangs are looked for: two calls to the GCS, of about a millisecond."""


@dataclass(frozen=True)
class ClusterPorts:
    """One cluster as the watch meets it. inject breaks something on purpose: lab and twin only.
    telemetry: where it does not come from Redis. admission: takes in gangs that wait before Ray."""

    world: World
    cluster: str
    reader: ClusterReader
    actuators: tuple[Actuator, ...]
    close: Callable[[], None]
    inject: Callable[..., str] | None = None
    telemetry: TelemetrySource | None = None
    admission: Admission | None = None


class LastRead:
    """Remembers the last reading for those that need one fact of it."""

    def __init__(self, reader: ClusterReader) -> None:
        self._reader = reader
        self._state: ClusterState | None = None

    def read(self) -> ClusterState:
        self._state = self._reader.read()
        return self._state

    def session(self) -> str:
        """The GCS session now. Raises ClusterUnavailable."""
        return self.read().session

    def hidden(self, node: str) -> tuple[int, ...]:
        """GPUs of a node that are quarantined, as last read."""
        found = self._state.nodes.get(node) if self._state else None
        return found.hidden_gpus if found else ()

    def any_worker(self) -> str:
        """A node to break when none is named: the last worker that is alive."""
        workers = [
            n.name
            for n in (self._state.nodes.values() if self._state else ())
            if n.gpus and n.ray_state.value == "alive"
        ]
        if not workers:
            raise ClusterUnavailable("No worker node is alive: there is nothing to break.")
        return sorted(workers)[-1]


class Tended:
    """A reader beside which a chore is done: from time to time, off its thread, and one at a time.
    name: of that thread. waits: to close is to wait for a chore that has begun."""

    def __init__(
        self,
        reader: ClusterReader,
        chore: Callable[[ClusterState], None],
        every_s: float,
        clock: Clock,
        *,
        name: str,
        waits: bool = False,
    ) -> None:
        self._reader, self._chore, self._every_s, self._clock = reader, chore, every_s, clock
        self._waits = waits
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._due = 0.0
        self._running: Future[None] | None = None

    def read(self) -> ClusterState:
        state = self._reader.read()
        idle = self._running is None or self._running.done()
        if idle and self._clock.steady() >= self._due:
            self._due = self._clock.steady() + self._every_s
            self._running = self._pool.submit(self._chore, state)
        return state

    def close(self) -> None:
        self._pool.shutdown(wait=self._waits, cancel_futures=True)


def tidied(reader: ClusterReader, admission: Admission, clock: Clock) -> Tended:
    """Has the seats of ended gangs given back. They are ours, and hold nothing that runs."""

    def tidy(_: ClusterState) -> None:
        try:
            admission.tidy()
        except WatchkeeperError as err:
            log.warning("seats cannot be given back: %s", err)

    return Tended(reader, tidy, TIDY_S, clock, name="seats", waits=True)


def collected(reader: ClusterReader, collectors: RayCollectors, clock: Clock) -> Tended:
    """Keeps pinned collectors on every node."""

    def tend(state: ClusterState) -> None:
        try:
            for node, why in collectors.ensure_collectors(state.nodes).items():
                log.warning("no collector on %s: %s", node, why)
        except WatchkeeperError as err:
            log.warning("collectors cannot be pinned: %s", err)

    return Tended(reader, tend, TEND_S, clock, name="collectors")


SERVE_S = 15.0
"""How often model servers are looked at: their metrics are exported every 10 s."""


def serves(address: str, job_api: str, clock: Clock) -> RayServe:
    """What tells of model servers on this cluster."""
    return RayServe(Gcs(address), JobApi(job_api, timeout_s=5.0), clock)


class Served:
    """A reader that shows what serves beside each reading. Meets `ports.ClusterReader`."""

    def __init__(self, reader: ClusterReader, serve: RayServe, clock: Clock) -> None:
        def look(state: ClusterState) -> None:
            try:
                serve.look(state)
            except WatchkeeperError as err:
                log.info("model servers are not read: %s", err)

        self._serve = serve
        self._tended = Tended(reader, look, SERVE_S, clock, name="serve", waits=True)

    def read(self) -> ClusterState:
        """Raises ClusterUnavailable."""
        state = self._tended.read()
        serving = self._serve.latest
        return msgspec.structs.replace(state, serving=serving) if serving else state

    def close(self) -> None:
        self._tended.close()
        self._serve.close()


def lab_ports(settings: Settings, clock: Clock) -> ClusterPorts:
    """The lab that the supervisor started. Raises ClusterUnavailable when there is none."""
    info = read_lab(Path(settings.lab_dir))
    if info is None:
        raise ClusterUnavailable(f"There is no lab in {settings.lab_dir}. Start it with `up`.")
    meet_the_lab()
    client = LabClient(info)
    ray = RayCluster(
        info.address,
        world=World.LAB,
        cluster=info.cluster,
        job_api=info.job_api,
        progress_root=Path(info.progress_root),
        processes=client.processes,
        clock=clock,
    )
    actuator = RayActuator(
        info.address,
        cluster=info.cluster,
        job_api=info.job_api,
        terminate=lambda order: provider.terminate(order),  # noqa: PLW0108  bound late
        check_gpus=1,  # they are made up: eight processes would show no more, on a small machine
    )
    tidy = tidied(ray, actuator.admission, clock) if actuator.admission else None
    served = Served(tidy or ray, serves(info.address, info.job_api, clock), clock)
    reader = LastRead(served)
    provider = LabProvider(client, fence=actuator.fences, hidden=reader.hidden)

    def inject(fault: str, node: str, gpu: int, code: int) -> str:
        return client.inject(fault, node or reader.any_worker(), gpu, code)

    def close() -> None:
        served.close()
        if tidy is not None:
            tidy.close()
        actuator.close()
        ray.close()

    return ClusterPorts(
        world=World.LAB,
        cluster=info.cluster,
        reader=reader,
        actuators=(provider, actuator),
        close=close,
        inject=inject,
        admission=actuator.admission,
    )


def twin_ports(settings: Settings, clock: TwinTime) -> ClusterPorts:
    """A simulated cluster in this process. Raises UsageError for a size that cannot be built."""
    spec = spec_of(settings.twin_nodes, settings.twin_seed, DAYS, gpus=settings.twin_gpus)
    twin = LiveTwin(spec, clock)
    return ClusterPorts(
        world=World.TWIN,
        cluster=twin.cluster_id,
        reader=twin,
        actuators=(twin,),
        close=lambda: None,
        inject=twin.inject,
        telemetry=twin.telemetry(),
    )


def real_ports(settings: Settings, clock: Clock) -> ClusterPorts:
    """A running cluster at --ray-address, and the site's own commands if there are any."""
    cluster = f"real-{hashlib.sha256(settings.ray_address.encode()).hexdigest()[:8]}"
    log.info("Ray at %s is met %s", settings.ray_address, meet_a_cluster())
    ray = RayCluster(
        settings.ray_address,
        world=World.REAL,
        cluster=cluster,
        job_api=settings.job_api or None,
        progress_root=None,
        clock=clock,
    )
    door = RayDoor(settings.ray_address)
    tended = None
    if settings.redis.startswith(("redis://", "rediss://")):  # a unix socket reaches no other host
        collectors = RayCollectors(door, redis_url=settings.redis, cluster=cluster)
        tended = collected(ray, collectors, clock)
    commands: list[CommandProvider] = []
    actuator = RayActuator(
        settings.ray_address,
        cluster=cluster,
        job_api=settings.job_api or None,
        door=door,
        terminate=(lambda o: commands[0].terminate(o)) if settings.provider else None,  # noqa: PLW0108
    )
    tidy = tidied(tended or ray, actuator.admission, clock) if actuator.admission else None
    served = None
    if settings.job_api:
        serve = serves(settings.ray_address, settings.job_api, clock)
        served = Served(tidy or tended or ray, serve, clock)
    reader = LastRead(served or tidy or tended or ray)
    if settings.provider:
        commands.append(
            CommandProvider(
                read_config(Path(settings.provider)),
                cluster=cluster,
                session=reader.session,
                memory=Effects(Home.find().path / "command-effects.jsonl"),
                fence=actuator.fences,
            )
        )

    def close() -> None:
        if served is not None:
            served.close()
        if tidy is not None:
            tidy.close()
        if tended is not None:
            tended.close()
        actuator.close()
        ray.close()

    return ClusterPorts(
        world=World.REAL,
        cluster=cluster,
        reader=reader,
        actuators=(*commands, actuator),
        close=close,
        admission=actuator.admission,
    )
