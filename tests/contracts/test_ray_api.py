"""Everything private that we use of Ray, named one by one.

When this fails after an upgrade of Ray, look first at `adapters/ray_gcs.py` (messages and
services), then at `adapters/ray_lab_cluster.py` (`Cluster`, `Node`), then at `adapters/ray_jobs.py`
(the job API's stored record). The integration tests show the same calls at work.
"""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

PINNED = "2.60.0"

FIELDS = [
    (
        "gcs_pb2",
        "GcsNodeInfo",
        "node_id state state_snapshot is_head_node node_manager_address node_manager_hostname "
        "start_time_ms end_time_ms resources_total labels death_info metrics_export_port",
    ),
    ("gcs_pb2", "NodeSnapshot", "state"),
    (
        "gcs_pb2",
        "ActorTableData",
        "actor_id name ray_namespace job_id node_id is_detached placement_group_id "
        "required_resources resource_mapping death_cause",
    ),
    (
        "gcs_pb2",
        "PlacementGroupTableData",
        "placement_group_id name ray_namespace state strategy creator_job_id bundles "
        "placement_group_creation_timestamp_ms",
    ),
    (
        "gcs_pb2",
        "JobTableData",
        "job_id is_dead start_time end_time entrypoint config",
    ),
    ("common_pb2", "JobConfig", "ray_namespace metadata"),
    ("common_pb2", "Bundle", "unit_resources node_id label_selector"),
    ("common_pb2", "ActorDiedErrorContext", "reason"),
    (
        "autoscaler_pb2",
        "ClusterResourceState",
        "node_states pending_resource_requests",
    ),
    (
        "autoscaler_pb2",
        "NodeState",
        "node_id total_resources available_resources ray_node_type_name",
    ),
    ("autoscaler_pb2", "ResourceRequestByCount", "request count"),
    ("autoscaler_pb2", "ResourceRequest", "resources_bundle label_selectors"),
    (
        "autoscaler_pb2",
        "DrainNodeRequest",
        "node_id reason reason_message deadline_timestamp_ms",
    ),
    ("autoscaler_pb2", "DrainNodeReply", "is_accepted rejection_reason_message"),
    ("gcs_service_pb2", "GetAllActorInfoRequest", "show_dead_jobs limit filters"),
    (
        "gcs_service_pb2",
        "GetAllJobInfoRequest",
        "skip_submission_job_info_field skip_is_running_tasks_field",
    ),
    ("gcs_service_pb2", "GetDrainingNodesReply", "draining_nodes"),
    ("gcs_service_pb2", "InternalKVPutRequest", "namespace key value overwrite"),
    ("gcs_service_pb2", "InternalKVPutReply", "added"),
    ("gcs_service_pb2", "InternalKVMultiGetRequest", "namespace keys"),
    ("gcs_service_pb2", "InternalKVMultiGetReply", "results"),
    ("gcs_service_pb2", "InternalKVKeysRequest", "namespace prefix"),
    ("gcs_service_pb2", "InternalKVDelRequest", "namespace key"),
    ("gcs_service_pb2", "RemovePlacementGroupRequest", "placement_group_id"),
]

METHODS = [
    ("gcs_service_pb2", "NodeInfoGcsService", "GetAllNodeInfo"),
    ("gcs_service_pb2", "NodeResourceInfoGcsService", "GetDrainingNodes"),
    ("gcs_service_pb2", "ActorInfoGcsService", "GetAllActorInfo"),
    ("gcs_service_pb2", "PlacementGroupInfoGcsService", "GetAllPlacementGroup"),
    ("gcs_service_pb2", "PlacementGroupInfoGcsService", "RemovePlacementGroup"),
    ("gcs_service_pb2", "JobInfoGcsService", "GetAllJobInfo"),
    ("gcs_service_pb2", "InternalKVGcsService", "InternalKVPut"),
    ("gcs_service_pb2", "InternalKVGcsService", "InternalKVMultiGet"),
    ("gcs_service_pb2", "InternalKVGcsService", "InternalKVKeys"),
    ("gcs_service_pb2", "InternalKVGcsService", "InternalKVDel"),
    ("autoscaler_pb2", "AutoscalerStateService", "GetClusterResourceState"),
    ("autoscaler_pb2", "AutoscalerStateService", "DrainNode"),
]


def _pb2(module: str):  # type: ignore[no-untyped-def]
    return importlib.import_module(f"ray.core.generated.{module}")


def test_ray_is_the_version_this_contract_was_read_from() -> None:
    assert version("ray") == PINNED, (
        "Ray was upgraded: run the integration tests, read this file's first lines, then change "
        "PINNED here and in pyproject.toml together."
    )


@pytest.mark.parametrize(("module", "message", "fields"), FIELDS, ids=[f[1] for f in FIELDS])
def test_the_message_still_has_the_fields_we_read(module: str, message: str, fields: str) -> None:
    have = set(getattr(_pb2(module), message).DESCRIPTOR.fields_by_name)
    assert set(fields.split()) <= have, f"{message} changed: mend adapters/ray_gcs.py"


@pytest.mark.parametrize(("module", "service", "method"), METHODS, ids=[m[2] for m in METHODS])
def test_the_service_still_has_the_method_we_call(module: str, service: str, method: str) -> None:
    services = _pb2(module).DESCRIPTOR.services_by_name
    assert method in services[service].methods_by_name, "mend adapters/ray_gcs.py"
    assert hasattr(importlib.import_module(f"ray.core.generated.{module}_grpc"), f"{service}Stub")


def test_the_states_still_mean_what_we_take_them_for() -> None:
    gcs, common, scaler = _pb2("gcs_pb2"), _pb2("common_pb2"), _pb2("autoscaler_pb2")
    assert dict(gcs.GcsNodeInfo.GcsNodeState.items()) == {"ALIVE": 0, "DEAD": 1}
    assert gcs.NodeSnapshot.DRAINING == 3
    assert gcs.ActorTableData.ActorState.Value("ALIVE") == 2
    assert set(gcs.PlacementGroupTableData.PlacementGroupState.keys()) == {
        "PENDING",
        "PREPARED",
        "CREATED",
        "REMOVED",
        "RESCHEDULING",
    }
    assert {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"} == set(
        common.PlacementStrategy.keys()
    )
    assert common.ActorDiedErrorContext.Reason.Value("NODE_DIED") == 3
    assert common.LabelSelectorOperator.Value("LABEL_OPERATOR_IN") == 1
    assert scaler.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION") == 2


def test_the_job_apis_stored_record_is_still_where_and_what_we_read() -> None:
    from ray._private.ray_constants import KV_NAMESPACE_JOB
    from ray.dashboard.modules.job.common import JobInfo, JobInfoStorageClient, JobStatus

    from watchkeeper.adapters import ray_gcs
    from watchkeeper.adapters.ray_jobs import Submission

    assert JobInfoStorageClient.JOB_DATA_KEY_PREFIX.encode() == ray_gcs._JOB_PREFIX
    assert KV_NAMESPACE_JOB == ray_gcs._JOBS
    record = JobInfo(
        status=JobStatus.FAILED,
        entrypoint="python train.py",
        metadata={"a": "b"},
        runtime_env={"env_vars": {"X": "1"}},
        entrypoint_num_gpus=2,
        start_time=1000,
        end_time=2000,
    )
    stored = msgspec.convert(record.to_json(), Submission)
    stored = msgspec.structs.replace(stored, id="train")
    body = stored.request(2)
    assert stored.state.value == "stopped"
    assert body["entrypoint"] == "python train.py"
    assert body["runtime_env"] == {"env_vars": {"X": "1"}}
    assert body["submission_id"] == "train-a2"
    assert body["metadata"] == {
        "a": "b",
        "watchkeeper.job": "train",
        "watchkeeper.attempt": "2",
    }
    assert body["entrypoint_num_gpus"] == 2


def test_rays_local_cluster_and_channel_still_take_what_the_lab_gives() -> None:
    from ray._private.grpc_utils import init_grpc_channel
    from ray._private.node import Node
    from ray._private.parameter import RayParams
    from ray.cluster_utils import Cluster

    used = {
        "node_ip_address",
        "num_cpus",
        "num_gpus",
        "include_dashboard",
        "dashboard_host",
        "dashboard_port",
        "dashboard_agent_listen_port",
        "object_store_memory",
        "temp_dir",
        "labels",
        "env_vars",
    }
    assert used <= set(inspect.signature(RayParams.__init__).parameters)
    assert {"wait"} <= set(inspect.signature(Cluster.add_node).parameters)
    assert hasattr(Node, "session_name")
    assert hasattr(Node, "kill_all_processes")
    assert list(inspect.signature(init_grpc_channel).parameters)[:2] == ["address", "options"]


def test_ray_still_takes_loopback_for_this_hosts_address_when_told_to() -> None:
    """The lab listens on 127.0.0.1 only because of this switch."""
    import subprocess
    import sys

    from watchkeeper.adapters.ray_door import LOOPBACK_ENVIRONMENT

    script = "from ray._private import services; print(services.get_node_ip_address())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=LOOPBACK_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "127.0.0.1"


def test_what_the_line_before_ray_rests_on_is_still_called_so() -> None:
    """Where an autoscaler reports, how long a stopped job may save, and seats by their id."""
    import ray
    from ray._private import ray_constants
    from ray.dashboard.modules.job import job_supervisor
    from ray.util.placement_group import PlacementGroup

    from watchkeeper.adapters.ray_queue import STOP_WAIT_ENV
    from watchkeeper.adapters.ray_scaler import AUTOSCALER_STATUS, ONLY_REPORTS

    assert ray_constants.DEBUG_AUTOSCALING_STATUS.encode() == AUTOSCALER_STATUS
    from ray.autoscaler._private.util import format_readonly_node_type

    assert format_readonly_node_type("ab").startswith(ONLY_REPORTS)
    assert STOP_WAIT_ENV in inspect.getsource(job_supervisor)
    ident = ray.PlacementGroupID.from_random()
    assert PlacementGroup(ray.PlacementGroupID(bytes.fromhex(ident.hex()))).id == ident


@pytest.mark.parametrize(
    ("asked", "token", "met"),
    [
        (None, True, "with a token (RAY_AUTH_MODE is not set, and a token was found)"),
        (None, False, "without a token (RAY_AUTH_MODE is not set, and no token was found)"),
        ("disabled", True, "without a token (RAY_AUTH_MODE=disabled)"),
    ],
)
def test_a_cluster_is_met_with_the_token_that_rays_own_programs_would_use(
    asked: str | None, token: bool, met: str, tmp_path: Path
) -> None:
    if token:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("a" * 64)
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env |= {"HOME": str(tmp_path), **({"RAY_AUTH_MODE": asked} if asked else {})}
    program = (
        "from watchkeeper.adapters.ray_token import meet_a_cluster\n"
        "print(meet_a_cluster())\n"
        "from ray._private.grpc_utils import init_grpc_channel\n"
        "print(type(init_grpc_channel('127.0.0.1:1', ())).__module__)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    said, channel = ran.stdout.strip().splitlines()
    assert said == met
    # With a token Ray wraps the channel, so that each call carries it.
    assert (channel == "grpc._interceptor") is met.startswith("with ")
