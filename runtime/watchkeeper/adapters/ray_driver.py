"""The child process that is a Ray driver, so that the watch need not be one.

`python -m watchkeeper.adapters.ray_driver ADDRESS` answers one JSON line on stdout for each JSON
line on stdin, and dies with its parent. What it creates for longer is detached and outlives it.
A core worker ends its process when the GCS goes; then only this child is lost, and started anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from watchkeeper.adapters.ray_names import NAMESPACE

_CHECK_SIZE = 384


def create_groups(names: list[str], selector: dict[str, str]) -> dict[str, Any]:
    """Create one-GPU detached placement groups. They claim GPUs as these come free, on whatever
    raylet the selector meets, also one that is not born yet."""
    from ray.util.placement_group import placement_group

    for name in names:
        try:
            placement_group(
                [{"GPU": 1}],
                name=name,
                lifetime="detached",
                bundle_label_selector=[dict(selector)],
            )
        except ValueError as err:
            if "already" not in str(err) and "name" not in str(err).lower():
                raise
    return {}


def take_seats(
    name: str, gpus: list[float], selectors: list[dict[str, str]], spread: bool, timeout_s: float
) -> dict[str, Any]:
    """Take a gang's seats: one bundle a worker, each on a node that its selector names. All of
    them or none: what is not whole in time is given back.

    Returns {group_id} as hex, or {} when they were not free together.
    """
    from ray.util.placement_group import (
        get_placement_group,
        placement_group,
        remove_placement_group,
    )

    try:
        group = get_placement_group(name)  # an earlier try that was cut off
    except ValueError:
        group = placement_group(
            [{"GPU": each, "CPU": 0.1} for each in gpus],
            strategy="STRICT_SPREAD" if spread else "PACK",
            name=name,
            lifetime="detached",
            bundle_label_selector=selectors,
        )
    if group.wait(timeout_s):
        return {"group_id": group.id.hex()}
    remove_placement_group(group)
    return {}


def run_check(
    groups: list[str], timeout_s: float, node_id: str = "", gpus: int = 1
) -> dict[str, Any]:
    """Run a short real workload inside the fence, on GPUs nobody else can get: one for each group.
    Without groups: one workload on so many free GPUs of the raylet `node_id`, all at once, which
    Ray gives to nobody else meanwhile.

    Returns {passed, detail, node_id}. Real GPUs are exercised through torch where the cluster has
    it; the detail says what was and what was not exercised.
    """
    import ray
    from ray.util.placement_group import get_placement_group
    from ray.util.scheduling_strategies import (
        NodeAffinitySchedulingStrategy,
        PlacementGroupSchedulingStrategy,
    )

    def work(size: int) -> dict[str, Any]:
        import time

        import numpy as np
        import ray

        rng = np.random.default_rng(7)
        left = rng.standard_normal((size, size))
        inverse_error = 0.0
        begun = time.perf_counter()
        for _ in range(4):
            product = left @ np.linalg.inv(left)
            inverse_error = max(inverse_error, float(np.abs(product - np.eye(size)).max()))
        cpu_ms = (time.perf_counter() - begun) * 1000
        gpu = "GPU arithmetic not exercised: no CUDA runtime here"
        try:
            import torch  # type: ignore[import-not-found, unused-ignore]

            if torch.cuda.is_available():
                wrong = []
                for device in range(torch.cuda.device_count()):  # those that Ray gave, no others
                    ones = torch.ones((2048, 2048), device=f"cuda:{device}")
                    if not bool(((ones @ ones) == 2048).all()):
                        wrong.append(ray.get_gpu_ids()[device])
                gpu = f"GPU arithmetic WRONG on {wrong}" if wrong else "GPU arithmetic right"
        except ImportError:
            pass
        except RuntimeError as err:
            gpu = f"GPU arithmetic WRONG: {err}"
        return {
            "gpu_ids": [int(i) for i in ray.get_gpu_ids()],
            "error": inverse_error,
            "cpu_ms": cpu_ms,
            "gpu": gpu,
            "node_id": ray.get_runtime_context().get_node_id(),
        }

    each = 1 if groups else gpus
    task = ray.remote(num_gpus=each, num_cpus=0, max_retries=0)(work)
    where: list[Any] = [
        PlacementGroupSchedulingStrategy(get_placement_group(name)) for name in groups
    ] or [NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)]
    refs = [task.options(scheduling_strategy=place).remote(_CHECK_SIZE) for place in where]
    try:
        found = ray.get(refs, timeout=timeout_s)
    except ray.exceptions.GetTimeoutError:
        for ref in refs:
            ray.cancel(ref, force=True)
        return {"passed": False, "detail": f"The workload did not end in {timeout_s:g} s."}
    except ray.exceptions.RayError as err:
        return {"passed": False, "detail": f"The workload failed: {type(err).__name__}."}
    ids = [i for row in found for i in row["gpu_ids"]]
    wrong = [row for row in found if row["error"] > 1e-6 or "WRONG" in row["gpu"]]
    twice = len(ids) != len(set(ids)) or len(ids) != len(refs) * each
    slowest = max(row["cpu_ms"] for row in found)
    detail = (
        f"{len(found)} workload{'s' if len(found) != 1 else ''} on GPU "
        f"{', '.join(str(i) for i in sorted(ids))}: matrices right, slowest {slowest:.0f} ms; "
        f"{found[0]['gpu']}."
    )
    if wrong:
        detail = f"Wrong arithmetic: error {wrong[0]['error']:.3g}; {wrong[0]['gpu']}."
    elif twice:
        detail = f"GPU ids handed out twice or not at all: {ids}."
    return {
        "passed": not wrong and not twice,
        "detail": detail,
        "node_id": found[0]["node_id"],
    }


class _Holder:
    """Sits on one GPU and does nothing."""

    def gpus(self) -> list[int]:
        import ray

        return [int(i) for i in ray.get_gpu_ids()]

    def actor_id(self) -> str:
        import ray

        return str(ray.get_runtime_context().get_actor_id())


def hold_gpu(
    gpu: int, free: int, names: list[str], selector: dict[str, str], timeout_s: float
) -> dict[str, Any]:
    """Take one-GPU detached actors until one of them holds index `gpu`; let the others go.

    Returns {actor_id} of the one that stays, or {} when the index is in somebody's use.
    """
    import ray

    held: list[tuple[Any, list[int], str]] = []
    keep = ""
    actor = ray.remote(num_gpus=1, num_cpus=0, max_restarts=0)(_Holder)
    deadline = time.monotonic() + timeout_s
    waiting: list[Any] = []
    try:
        waiting = [
            actor.options(name=name, lifetime="detached", label_selector=dict(selector)).remote()
            for name in names[:free]
        ]
        for handle in list(waiting):
            left = max(0.1, deadline - time.monotonic())
            try:
                ids, ident = ray.get([handle.gpus.remote(), handle.actor_id.remote()], timeout=left)
            except ray.exceptions.RayError:
                continue
            held.append((handle, ids, ident))
            if gpu in ids:
                keep = ident
                break
    finally:
        kept = {ident for _, _, ident in held if ident == keep}
        spare = [h for h, _, ident in held if ident not in kept]
        asked = {id(h) for h, _, _ in held}
        spare += [h for h in waiting if id(h) not in asked]
        for handle in spare:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(handle)
    return {"actor_id": keep} if keep else {}


def release(names: list[str]) -> dict[str, Any]:
    """End our named detached actors; those that are gone already are no error."""
    import ray

    for name in names:
        with contextlib.suppress(ValueError):
            ray.kill(ray.get_actor(name, namespace=NAMESPACE))
    return {}


OPERATIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "create_groups": create_groups,
    "take_seats": take_seats,
    "run_check": run_check,
    "hold_gpu": hold_gpu,
    "release": release,
}


def _requests() -> Iterator[dict[str, Any]]:
    """Requests as they come. The end of stdin ends this process at once, also in mid-work: stdin
    is the parent's hand, and the kernel's own death signal would follow the thread that started
    us, not the process."""
    lines: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield json.loads(lines.get())


def main(argv: list[str]) -> int:
    """Connect, say so, then serve until stdin ends."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever Ray prints must not mix with our answers
    import ray

    from watchkeeper.adapters import ray_collectors

    operations = {**OPERATIONS, "ensure_collectors": ray_collectors.ensure_in_driver}
    os.environ.pop("RAY_ADDRESS", None)
    ray.init(
        address=argv[0],
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level="ERROR",
        configure_logging=False,
    )
    requests = _requests()
    out.write(json.dumps({"ready": True}) + "\n")
    for request in requests:
        try:
            operation = operations[request.pop("op")]
            answer = {"ok": True, **operation(**request)}
        except Exception as err:
            # Whatever happened is the parent's to judge; this loop must answer every line.
            answer = {"ok": False, "error": f"{type(err).__name__}: {err}"}
        out.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
