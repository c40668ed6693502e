"""`watchkeeper collect`: telemetry of one host, as a process of its own.

Run as its own user with a credential that can only add, it is the one source of `driver` and
`kernel` trust; inside Ray (`--inside-ray`) it is trusted no more than Ray. Acts on nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from platformdirs import user_state_path

from watchkeeper.adapters.gpu_simulated import NoGpus, SimulatedGpus
from watchkeeper.adapters.host_psutil import PsutilHost
from watchkeeper.adapters.kernel_log import KernelLog
from watchkeeper.adapters.nvml import NvmlSource
from watchkeeper.adapters.parent_bound import end_with_parent
from watchkeeper.adapters.port_counters import PortCounters
from watchkeeper.adapters.redis_sink import RedisSink
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.control.collect import Collector
from watchkeeper.core.cluster import World
from watchkeeper.core.errors import ClusterUnavailable, UsageError, WatchkeeperError
from watchkeeper.core.sources import GpuSource, SignalSource

INTERVAL_S = 5.0
PATIENCE_S = 5.0
SIM_KMSG = "kmsg"
"""The simulated kernel log in a lab's directory: lines as /dev/kmsg gives them."""


def build(
    *,
    redis_url: str,
    cluster: str,
    node: str,
    world: World,
    gpus: str = "auto",
    sim_dir: Path | None = None,
    sim_gpus: int = 8,
    kernel_log: Path | None = None,
    state_dir: Path | None = None,
    interval_s: float = INTERVAL_S,
    inside_ray: bool = False,
    incarnation: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> Collector:
    """A collector ready to `run`. gpus: nvml, simulated, none, or auto (NVML where it answers,
    else simulated when there is a sim_dir, else none).

    sim_dir: the lab's directory for this node; its file `kmsg` is followed as the kernel log.
    kernel_log: /dev/kmsg or a file. state_dir: where the log's cursor is kept (made if missing).
    Raises UsageError, and ClusterUnavailable when NVML or Redis does not answer.
    """
    if sim_dir is not None and world is World.REAL:
        raise UsageError("--sim-dir belongs to a lab: a real cluster has no simulated GPUs.")
    clock = SystemClock()
    source, events = _gpus(gpus, sim_dir, sim_gpus, clock)
    if state_dir is not None:
        with contextlib.suppress(OSError):  # without a cursor a line may be told twice: harmless
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in _logs(kernel_log, sim_dir):
        simulated = sim_dir is not None and sim_dir in path.parents
        kept = sim_dir if simulated else state_dir
        cursor = None if kept is None else kept / f"{path.name}.cursor"
        events.append(KernelLog(path, cursor, clock, simulated=simulated))
    if world is World.REAL:
        events.append(PortCounters(clock))
    sink = RedisSink(redis_url, cluster, inside_ray=inside_ray, clock=clock)
    _wait_for(sink)
    return Collector(
        source,
        PsutilHost(clock),
        events,
        sink,
        clock,
        node,
        interval_s,
        world=world,
        incarnation=incarnation,
        say=say,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Process entry. Returns an exit code of core.errors."""
    args = _arguments().parse_args(argv)
    if args.with_parent is not None:
        end_with_parent(args.with_parent or None)
    try:
        if args.interval <= 0:
            raise UsageError("--interval must be more than 0 seconds.")
        collector = build(
            redis_url=args.redis,
            cluster=args.cluster,
            node=args.node,
            world=World(args.world),
            gpus=args.gpus,
            sim_dir=args.sim_dir,
            sim_gpus=args.sim_gpus,
            kernel_log=args.kernel_log,
            state_dir=args.state_dir,
            interval_s=args.interval,
            inside_ray=args.inside_ray,
            incarnation=args.incarnation,
            say=_say,
        )
    except WatchkeeperError as err:
        _say(str(err))
        return err.exit_code
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: collector.stop())
    _say(f"collecting for {args.node} ({args.world}) every {args.interval:g} s.")
    collector.run()
    return 0


def _gpus(
    kind: str, sim_dir: Path | None, count: int, clock: SystemClock
) -> tuple[GpuSource, list[SignalSource]]:
    if kind in ("nvml", "auto"):
        try:
            nvml = NvmlSource(clock)
            return nvml, [nvml]
        except ClusterUnavailable:
            if kind == "nvml":
                raise
    if kind == "simulated" or (kind == "auto" and sim_dir is not None):
        if sim_dir is None:
            raise UsageError("--gpus simulated needs --sim-dir DIR: the lab's directory.")
        simulated = SimulatedGpus(sim_dir, count, clock)
        return simulated, [simulated]
    return NoGpus(), []


def _logs(kernel_log: Path | None, sim_dir: Path | None) -> list[Path]:
    """The logs to follow, each once: a lab may name its simulated one both ways."""
    logs = [kernel_log] if kernel_log is not None else []
    if sim_dir is not None and sim_dir / SIM_KMSG not in logs:
        logs.append(sim_dir / SIM_KMSG)
    return logs


def _wait_for(sink: RedisSink) -> None:
    """Redis may be starting beside us: a few seconds of patience, then one sentence."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            sink.check()
            return
        except ClusterUnavailable:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.25)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="watchkeeper collect",
        description="Telemetry of one host into Redis.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--redis", required=True, metavar="URL", help="redis://HOST:PORT/0 or unix:///PATH")
    add("--cluster", required=True, help="the cluster id that the watch shows")
    add("--node", default=socket.gethostname(), help="stable name of this node (hostname)")
    add("--world", choices=[w.value for w in World], default=World.REAL.value)
    add("--gpus", choices=["auto", "nvml", "simulated", "none"], default="auto")
    add("--sim-dir", type=Path, metavar="DIR", help="lab only: steers the simulated GPUs")
    add("--sim-gpus", type=int, default=8, metavar="N")
    add("--kernel-log", type=Path, metavar="FILE", help="/dev/kmsg, or a file of kernel lines")
    add(
        "--state-dir",
        type=Path,
        metavar="DIR",
        default=user_state_path("watchkeeper") / "collect",
        help="where the position in the log is kept (%(default)s)",
    )
    add("--interval", type=float, default=INTERVAL_S, metavar="SECONDS")
    add("--inside-ray", action="store_true", help="this process runs inside Ray: trust is capped")
    add("--incarnation", default="", help="Ray NodeID of the raylet on this host")
    add(
        "--with-parent",
        type=int,
        nargs="?",
        const=0,
        metavar="PID",
        help="end when the parent does",
    )
    return parser


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"watchkeeper collect: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
