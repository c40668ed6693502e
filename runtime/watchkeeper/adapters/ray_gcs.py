"""The one file that knows Ray's private protocol: plain gRPC calls to the GCS, answered as rows.

No core worker and no Ray client library stand behind these calls, on purpose: both end the whole
process when the GCS stays away, and the watch must outlive the cluster it watches. Every private
symbol used here is exercised by `tests/contracts/test_ray_api.py` against the pinned Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from watchkeeper.core.errors import ClusterUnavailable

MARKS = b"watchkeeper"
"""Our namespace in the GCS key-value store."""

_SESSION = b"session"
_JOBS = b"job"
_JOB_PREFIX = b"_ray_internal_job_info_"
_NIL = b"\xff"


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One raylet, alive or dead, as the GCS lists it. Times are epoch seconds, 0.0 = not yet.
    metrics_port: where it tells its metrics as Prometheus text."""

    node_id: str
    alive: bool
    draining: bool
    head: bool
    address: str
    hostname: str
    started: float
    ended: float
    total: Mapping[str, float]
    labels: Mapping[str, str]
    death: str = ""
    metrics_port: int = 0


@dataclass(frozen=True, slots=True)
class ActorRow:
    """One living actor: whose, where, and which resource instances it holds."""

    actor_id: str
    name: str
    namespace: str
    job_id: str
    node_id: str
    detached: bool
    group_id: str
    required: Mapping[str, float]
    gpu_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BundleRow:
    """One bundle of a placement group; `node_id` is empty until it is placed."""

    gpus: float
    node_id: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One placement group. state: pending, prepared, created, removed, rescheduling."""

    group_id: str
    raw_id: bytes
    name: str
    namespace: str
    state: str
    strategy: str
    job_id: str
    created: float
    bundles: tuple[BundleRow, ...]


@dataclass(frozen=True, slots=True)
class DriverRow:
    """One driver known to the GCS; `submission_id` is empty where no job API stands behind it."""

    job_id: str
    dead: bool
    started: float
    ended: float
    namespace: str
    entrypoint: str
    metadata: Mapping[str, str]
    submission_id: str


@dataclass(frozen=True, slots=True)
class WaitRow:
    """Work that asks for resources outside any placement group: `count` times `gpus`."""

    gpus: float
    count: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UseRow:
    """Resources of one living raylet. node_type: as an autoscaler that started it calls it."""

    total: Mapping[str, float]
    available: Mapping[str, float]
    node_type: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Use per raylet and the work that waits, as the autoscaler would see it."""

    nodes: Mapping[str, UseRow] = field(default_factory=dict)
    waiting: tuple[WaitRow, ...] = ()


def _hex(raw: bytes) -> str:
    """An id as hex; Ray writes "none" as all ones."""
    return "" if not raw or raw == _NIL * len(raw) else raw.hex()


class Gcs:
    """Calls to one GCS. Every call has a deadline and raises ClusterUnavailable when it is missed.

    address: `host:port` of the GCS. timeout_s: per call.
    """

    def __init__(self, address: str, timeout_s: float = 1.5) -> None:
        from ray._private.grpc_utils import init_grpc_channel
        from ray.core.generated import autoscaler_pb2_grpc as scaler
        from ray.core.generated import gcs_service_pb2_grpc as gcs

        self.address = address.removeprefix("ray://")
        self._timeout = timeout_s
        # A short reconnect backoff: after a GCS restart the next turn should see it.
        self._channel = init_grpc_channel(
            self.address,
            (
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_receive_message_length", 256 * 2**20),
                ("grpc.max_reconnect_backoff_ms", 2000),
            ),
        )
        self._nodes = gcs.NodeInfoGcsServiceStub(self._channel)
        self._actors = gcs.ActorInfoGcsServiceStub(self._channel)
        self._groups = gcs.PlacementGroupInfoGcsServiceStub(self._channel)
        self._jobs = gcs.JobInfoGcsServiceStub(self._channel)
        self._resources = gcs.NodeResourceInfoGcsServiceStub(self._channel)
        self._kv = gcs.InternalKVGcsServiceStub(self._channel)
        self._scaler = scaler.AutoscalerStateServiceStub(self._channel)

    def close(self) -> None:
        """Give the connection back."""
        self._channel.close()

    def _call(
        self, method: Callable[..., Any], request: Any, timeout_s: float | None = None
    ) -> Any:
        import grpc  # type: ignore[import-untyped]

        try:
            return method(request, timeout=timeout_s or self._timeout)
        except grpc.RpcError as err:
            code = getattr(err, "code", lambda: None)()
            raise ClusterUnavailable(
                f"Ray's GCS at {self.address} did not answer ({getattr(code, 'name', code)}). "
                "Check that the head node runs and that this address is right."
            ) from err

    # --- what exists -------------------------------------------------------------------------

    def nodes(self) -> list[NodeRow]:
        """Every raylet the GCS remembers, dead ones included."""
        from ray.core.generated import gcs_pb2, gcs_service_pb2

        reply = self._call(self._nodes.GetAllNodeInfo, gcs_service_pb2.GetAllNodeInfoRequest())
        alive = gcs_pb2.GcsNodeInfo.GcsNodeState.Value("ALIVE")
        draining = gcs_pb2.NodeSnapshot.DRAINING
        return [
            NodeRow(
                node_id=row.node_id.hex(),
                alive=row.state == alive,
                draining=row.state_snapshot.state == draining,
                head=row.is_head_node,
                address=row.node_manager_address,
                hostname=row.node_manager_hostname,
                started=row.start_time_ms / 1000,
                ended=row.end_time_ms / 1000,
                total=dict(row.resources_total),
                labels=dict(row.labels),
                death=row.death_info.reason_message,
                metrics_port=row.metrics_export_port,
            )
            for row in reply.node_info_list
        ]

    def draining(self) -> frozenset[str]:
        """Ids of the raylets that accepted a drain; known at once, before any heartbeat."""
        from ray.core.generated import gcs_service_pb2

        request = gcs_service_pb2.GetDrainingNodesRequest()
        reply = self._call(self._resources.GetDrainingNodes, request)
        return frozenset(row.node_id.hex() for row in reply.draining_nodes)

    def usage(self) -> Usage:
        """Total and available resources per living raylet, and what waits outside groups."""
        from ray.core.generated import autoscaler_pb2

        reply = self._call(
            self._scaler.GetClusterResourceState, autoscaler_pb2.GetClusterResourceStateRequest()
        )
        state = reply.cluster_resource_state
        return Usage(
            nodes={
                row.node_id.hex(): UseRow(
                    dict(row.total_resources), dict(row.available_resources), row.ray_node_type_name
                )
                for row in state.node_states
            },
            waiting=tuple(
                WaitRow(
                    gpus=row.request.resources_bundle.get("GPU", 0.0),
                    count=row.count,
                    labels=_selected(row.request.label_selectors),
                )
                for row in state.pending_resource_requests
            ),
        )

    def actors(self) -> list[ActorRow]:
        """Living actors of every namespace."""
        from ray.core.generated import gcs_pb2, gcs_service_pb2

        request = gcs_service_pb2.GetAllActorInfoRequest(show_dead_jobs=False)
        request.filters.state = gcs_pb2.ActorTableData.ActorState.Value("ALIVE")
        reply = self._call(self._actors.GetAllActorInfo, request)
        return [
            ActorRow(
                actor_id=row.actor_id.hex(),
                name=row.name,
                namespace=row.ray_namespace,
                job_id=row.job_id.hex(),
                node_id=_hex(row.node_id),
                detached=row.is_detached,
                group_id=_hex(row.placement_group_id),
                required=dict(row.required_resources),
                gpu_ids=tuple(
                    int(held.index)
                    for entry in row.resource_mapping
                    if entry.name == "GPU"
                    for held in entry.resource_ids
                ),
            )
            for row in reply.actor_table_data
        ]

    def died_with_its_node(self, job_id: str) -> bool:
        """An actor of this (ended) driver job died because its node did."""
        from ray.core.generated import common_pb2, gcs_pb2, gcs_service_pb2

        request = gcs_service_pb2.GetAllActorInfoRequest(show_dead_jobs=True, limit=1000)
        request.filters.job_id = bytes.fromhex(job_id)
        request.filters.state = gcs_pb2.ActorTableData.ActorState.Value("DEAD")
        reply = self._call(self._actors.GetAllActorInfo, request)
        node_died = common_pb2.ActorDiedErrorContext.Reason.Value("NODE_DIED")
        return any(
            row.death_cause.actor_died_error_context.reason == node_died
            for row in reply.actor_table_data
        )

    def groups(self) -> list[GroupRow]:
        """Placement groups that were not removed."""
        from ray.core.generated import common_pb2, gcs_pb2, gcs_service_pb2

        reply = self._call(
            self._groups.GetAllPlacementGroup, gcs_service_pb2.GetAllPlacementGroupRequest()
        )
        states = gcs_pb2.PlacementGroupTableData.PlacementGroupState
        rows = []
        for row in reply.placement_group_table_data:
            state = states.Name(row.state).lower()
            if state == "removed":
                continue
            rows.append(
                GroupRow(
                    group_id=row.placement_group_id.hex(),
                    raw_id=row.placement_group_id,
                    name=row.name,
                    namespace=row.ray_namespace,
                    state=state,
                    strategy=common_pb2.PlacementStrategy.Name(row.strategy),
                    job_id=row.creator_job_id.hex(),
                    created=row.placement_group_creation_timestamp_ms / 1000,
                    bundles=tuple(
                        BundleRow(
                            gpus=bundle.unit_resources.get("GPU", 0.0),
                            node_id=_hex(bundle.node_id),
                            labels=dict(bundle.label_selector),
                        )
                        for bundle in row.bundles
                    ),
                )
            )
        return rows

    def drivers(self) -> list[DriverRow]:
        """Every driver, living or ended, with what the job API wrote into its metadata."""
        from ray.core.generated import gcs_service_pb2

        request = gcs_service_pb2.GetAllJobInfoRequest(
            skip_submission_job_info_field=True, skip_is_running_tasks_field=True
        )
        reply = self._call(self._jobs.GetAllJobInfo, request)
        return [
            DriverRow(
                job_id=row.job_id.hex(),
                dead=row.is_dead,
                started=row.start_time / 1000,
                ended=row.end_time / 1000,
                namespace=row.config.ray_namespace,
                entrypoint=row.entrypoint,
                metadata=dict(row.config.metadata),
                submission_id=row.config.metadata.get("job_submission_id", ""),
            )
            for row in reply.job_info_list
        ]

    def submissions(self) -> dict[str, bytes]:
        """What the job API keeps of each submission: submission id -> its JSON record."""
        records = self.kv_all(_JOBS, _JOB_PREFIX)
        cut = len(_JOB_PREFIX)
        return {key[cut:].decode(): value for key, value in records.items()}

    def session(self) -> str:
        """The GCS session's name; another name means another cluster."""
        raw = self.kv_get(_SESSION, b"session_name")
        if not raw:
            raise ClusterUnavailable(f"Ray's GCS at {self.address} has no session name yet.")
        return raw.decode()

    # --- the key-value store -----------------------------------------------------------------

    def kv_get(self, namespace: bytes, key: bytes) -> bytes | None:
        """One value, or None."""
        from ray.core.generated import gcs_service_pb2

        found = self.kv_many(namespace, [key], gcs_service_pb2)
        return found.get(key)

    def kv_many(self, namespace: bytes, keys: Iterable[bytes], pb2: Any) -> dict[bytes, bytes]:
        """The values of those keys that exist."""
        request = pb2.InternalKVMultiGetRequest(namespace=namespace, keys=list(keys))
        reply = self._call(self._kv.InternalKVMultiGet, request)
        return {row.key: row.value for row in reply.results}

    def kv_all(self, namespace: bytes, prefix: bytes) -> dict[bytes, bytes]:
        """Every key with this prefix, and its value."""
        from ray.core.generated import gcs_service_pb2

        request = gcs_service_pb2.InternalKVKeysRequest(namespace=namespace, prefix=prefix)
        keys = list(self._call(self._kv.InternalKVKeys, request).results)
        return self.kv_many(namespace, keys, gcs_service_pb2) if keys else {}

    def kv_put(self, namespace: bytes, key: bytes, value: bytes, *, overwrite: bool = True) -> bool:
        """Store one value; True when the key is new. With overwrite=False this is the atomic
        "first one wins" that idempotency rests on."""
        from ray.core.generated import gcs_service_pb2

        request = gcs_service_pb2.InternalKVPutRequest(
            namespace=namespace, key=key, value=value, overwrite=overwrite
        )
        return bool(self._call(self._kv.InternalKVPut, request).added)

    def kv_del(self, namespace: bytes, key: bytes) -> None:
        """Forget one key."""
        from ray.core.generated import gcs_service_pb2

        request = gcs_service_pb2.InternalKVDelRequest(namespace=namespace, key=key)
        self._call(self._kv.InternalKVDel, request)

    # --- the two effects that need no driver -------------------------------------------------

    def drain(self, node_id: str, message: str, deadline_at: float) -> str:
        """Ask a raylet to finish and die. deadline_at: epoch seconds. Returns why it was refused,
        or an empty string: accepted. IDLE_TERMINATION is refused on a busy node, so PREEMPTION."""
        from ray.core.generated import autoscaler_pb2

        request = autoscaler_pb2.DrainNodeRequest(
            node_id=bytes.fromhex(node_id),
            reason=autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
            reason_message=message,
            deadline_timestamp_ms=int(deadline_at * 1000),
        )
        reply = self._call(self._scaler.DrainNode, request, 10.0)
        return "" if reply.is_accepted else reply.rejection_reason_message or "no reason given"

    def remove_group(self, group: GroupRow) -> None:
        """Remove one placement group and give its resources back."""
        from ray.core.generated import gcs_service_pb2

        request = gcs_service_pb2.RemovePlacementGroupRequest(placement_group_id=group.raw_id)
        self._call(self._groups.RemovePlacementGroup, request, 5.0)


def _selected(selectors: Iterable[Any]) -> dict[str, str]:
    """Label selectors as label -> the one value they ask for; richer selectors are left out."""
    found: dict[str, str] = {}
    for selector in selectors:
        for constraint in selector.label_constraints:
            values = list(constraint.label_values)
            if len(values) == 1 and constraint.operator == 1:
                found[constraint.label_key] = values[0]
    return found
