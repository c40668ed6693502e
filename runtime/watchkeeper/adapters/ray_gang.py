"""The lab's workload: a gang that does real arithmetic, keeps a barrier, writes checkpoints.

Run by `ray job submit` as `python -m watchkeeper.adapters.ray_gang --job NAME ...`: one actor per
node share, never one per GPU. It ends with exit code 1 when a worker is lost, saves before it stops
when it is told to, and goes on from its last checkpoint when it is submitted again. Seats that were
taken for it are its place; without them it asks Ray for its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.adapters.gang_progress import Progress, write_atomically
from watchkeeper.adapters.ray_names import NODE, POOL
from watchkeeper.adapters.ray_queue import SEATS_ENV, WORKERS_ENV

_SIZE = 96


class Share:
    """One node's share of the gang: it holds all its GPUs there in one process."""

    def __init__(self, rank: int, weights: list[float] | None) -> None:
        import numpy as np

        self._rng = np.random.default_rng(rank)
        start = np.zeros(_SIZE) if weights is None else np.asarray(weights)
        self._weights = start

    def where(self) -> tuple[str, list[int]]:
        """(stable node name or NodeID, GPU indexes held)."""
        import ray

        labels = ray.get_runtime_context().get_node_labels()
        name = labels.get(NODE) or ray.get_runtime_context().get_node_id()[:12]
        return name, [int(i) for i in ray.get_gpu_ids()]

    def step(self, number: int) -> list[float]:
        """One step of least squares on fresh data: a few milliseconds of real work."""
        import numpy as np

        left = self._rng.standard_normal((_SIZE, _SIZE))
        target = left @ np.ones(_SIZE)
        gradient = left.T @ (left @ self._weights - target) / _SIZE
        self._weights = self._weights - 0.05 / (1 + number / 200) * gradient / 4
        return [float(x) for x in self._weights]


def parse(argv: list[str]) -> argparse.Namespace:
    """The gang's shape."""
    parser = argparse.ArgumentParser(prog="ray_gang")
    parser.add_argument("--job", required=True)
    parser.add_argument("--root", type=Path, required=True, help="folder of the progress files")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=8, help="GPUs on each node")
    parser.add_argument("--pool", default="", help="only nodes of this pool")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--step-seconds", type=float, default=0.5)
    parser.add_argument("--checkpoint-every", type=int, default=10)
    parser.add_argument("--attempt", type=int, default=0)
    return parser.parse_args(argv)


def _attempt(given: int) -> int:
    """The attempt's number, as the job API hands our metadata to the driver."""
    if given:
        return given
    try:
        config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
        return int(config.get("metadata", {}).get("watchkeeper.attempt", 1))
    except (ValueError, AttributeError):
        return 1


def _load(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {"step": 0, "weights": None}
    return found


def train(args: argparse.Namespace) -> int:
    """Take the placement group, then step until done. Returns the exit code."""
    import ray
    from ray.util.placement_group import PlacementGroup, placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    folder = args.root / args.job
    folder.mkdir(parents=True, exist_ok=True)
    ray.init(log_to_driver=False, logging_level="WARNING")
    args.nodes = int(os.environ.get(WORKERS_ENV, args.nodes))
    if seats := os.environ.get(SEATS_ENV, ""):
        group = PlacementGroup(ray.PlacementGroupID(bytes.fromhex(seats)))
    else:
        selector = {POOL: args.pool} if args.pool else {}
        group = placement_group(
            [{"GPU": args.gpus, "CPU": 0.1}] * args.nodes,
            strategy="STRICT_SPREAD",
            name=args.job,
            bundle_label_selector=[selector] * args.nodes if selector else None,
        )
    while not group.wait(3600):
        pass  # waits for its turn: nothing is lost by it
    told = _listen()
    saved = _load(folder / "checkpoint.json")
    actor = ray.remote(num_gpus=args.gpus, num_cpus=0.1, max_restarts=0)(Share)
    shares = [
        actor.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank)).remote(
            rank, saved["weights"]
        )
        for rank in range(args.nodes)
    ]
    try:
        return _steps(args, folder, shares, int(saved["step"]), told)
    except ray.exceptions.RayActorError as err:
        print(f"{args.job}: a worker was lost, so the gang stops: {err}", file=sys.stderr)
        return 1


def _listen() -> threading.Event:
    """Set when somebody asks it to stop: Ray's job API sends SIGTERM. After Ray's own handler was
    put up, since the last one counts."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: told.set())
    return told


def _steps(
    args: argparse.Namespace,
    folder: Path,
    shares: list[Any],
    first: int,
    told: threading.Event,
) -> int:
    import ray

    nodes = {name: tuple(ids) for name, ids in ray.get([s.where.remote() for s in shares])}
    report = Progress(
        job=args.job,
        step=first,
        step_at=time.time(),
        checkpoint_step=first or None,
        checkpoint_at=time.time() if first else None,
        nodes=nodes,
        attempt=_attempt(args.attempt),
        resumed_from=first,
    )
    for number in range(first + 1, args.steps + 1):
        begun = time.monotonic()
        weights = ray.get([share.step.remote(number) for share in shares])[0]
        report = msgspec.structs.replace(report, step=number, step_at=time.time())
        stops = told.is_set()
        if number % args.checkpoint_every == 0 or number == args.steps or stops:
            state = {"step": number, "weights": weights}
            write_atomically(folder / "checkpoint.json", json.dumps(state).encode())
            report = msgspec.structs.replace(
                report, checkpoint_step=number, checkpoint_at=time.time()
            )
        report = msgspec.structs.replace(report, done=number == args.steps)
        write_atomically(folder / "progress.json", msgspec.json.encode(report))
        if stops:
            return 0
        told.wait(max(0.0, args.step_seconds - (time.monotonic() - begun)))
    return 0


if __name__ == "__main__":
    sys.exit(train(parse(sys.argv[1:])))
