"""A log in; signals and incidents out. Asked by `watchkeeper diagnose`, which adds what the ladder
would propose. Reads lines of the kernel, the fabric manager, IMEX, systemd, the kubelet and Ray,
mixed or apart. There is no cluster behind a log: each host in it stands as one node."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from watchkeeper.core.cluster import ClusterState, Node, RayState, World
from watchkeeper.core.errors import Bug
from watchkeeper.core.incident import Incident, Signal, Trust
from watchkeeper.core.telemetry import FleetFrame, Snapshot
from watchkeeper.core.word import utc
from watchkeeper.health.correlate import correlate
from watchkeeper.health.decode import value_of
from watchkeeper.health.doubt import weigh
from watchkeeper.health.host_lines import TRUST as HOST_TRUST
from watchkeeper.health.host_lines import AerCount, parse_host_line
from watchkeeper.health.kernel_lines import Ignored, KernelEvent, XidEvent, parse_line
from watchkeeper.health.node_lines import TRUST, NodeEvent, parse_node_line
from watchkeeper.health.sense import REAL, level_id
from watchkeeper.health.sightings import Sightings

THIS_HOST = "this-host"
"""The node's name where the log does not say which host wrote it."""
BOOT = utc(0)
"""Stands for the time of boot where lines count from it: such a time is a distance."""
_HOST = re.compile(
    r"(?:<\d{1,4}>)?"
    r"(?:\[\s*\d+\.\d+\]|\d{4}-\d\d-\d\d[T ][\d:.,+Z-]+|[A-Z][a-z]{2} {1,2}\d{1,2} [\d:.]+)"
    r" +([A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?) +kernel: "
)


@dataclass(frozen=True, eq=False, slots=True)
class Findings:
    """What a log says. times: signal id -> its time as the log tells it (ISO, `boot+12.3s`, or ""
    where the line has none). snapshot: the hosts of the log, as nodes that are alive
    unless Ray's own log says dead."""

    signals: tuple[Signal, ...]
    incidents: tuple[Incident, ...]
    ignored: tuple[Ignored, ...]
    times: Mapping[str, str]
    snapshot: Snapshot
    lines: int


class _Counted:
    """Ids that need no randomness: a log read twice gives the same findings."""

    def __init__(self) -> None:
        self._last = 0

    def new(self, prefix: str) -> str:
        self._last += 1
        return f"{prefix}-{self._last}"

    def secret(self) -> str:
        raise Bug("reading a log needs no secret")


def read_log(text: str, now: datetime | None = None) -> Findings:
    """Signals of the lines that the kernel or a daemon wrote, and the incidents they make. Never
    raises for what the text holds. now dates the stamps that carry no year."""
    lines = text.split("\n")  # see `kernel_lines.parse_log` on why not splitlines
    lines = lines[:-1] if lines[-1] == "" else lines
    signals: list[Signal] = []
    ignored: list[Ignored] = []
    times: dict[str, str] = {}
    aer: defaultdict[str, AerCount] = defaultdict(AerCount)
    for line in lines:
        event = (
            parse_line(line, now=now, boot_at=BOOT)
            or parse_node_line(line, now=now, boot_at=BOOT)
            or parse_host_line(line, now=now, boot_at=BOOT)
        )
        if event is None:
            continue
        if isinstance(event, Ignored):
            ignored.append(event)
            continue
        if isinstance(event, NodeEvent):
            event = aer[_node_of(event)].counted(event)
        signal = _signal(event, len(signals))
        signals.append(signal)
        times[signal.id] = _told(event.at)
    snapshot = _snapshot(signals)
    incidents = correlate((), _believed(signals, snapshot), snapshot, _Counted())
    return Findings(
        signals=tuple(signals),
        incidents=incidents,
        ignored=tuple(ignored),
        times=times,
        snapshot=snapshot,
        lines=len(lines),
    )


def _believed(signals: list[Signal], snapshot: Snapshot) -> tuple[Signal, ...]:
    """Those that the watch would believe, had it heard each line when it was written."""
    seen, passed = Sightings(), list[Signal]()
    for signal in sorted(signals, key=lambda s: s.at):
        then = replace(snapshot, at=signal.at)
        some, seen = weigh((signal,), (), then, seen, REAL)
        passed += some
    return tuple(dict.fromkeys(passed))


def _signal(event: KernelEvent | NodeEvent, number: int) -> Signal:
    if isinstance(event, NodeEvent):
        return _of_daemon(event, number)
    host = _HOST.match(event.line)
    node = host[1] if host else THIS_HOST
    # An SXid is of a switch, which every GPU of the host shares: its target is the node.
    if isinstance(event, XidEvent):
        code, target = f"xid.{event.code}", f"gpu:{node}/pci:{event.pci}"
    else:
        code, target = f"sxid.{event.code}", f"node:{node}"
    # Lines without a time keep their order, a tick apart.
    at = event.at or BOOT + timedelta(milliseconds=number)
    return Signal(
        id=level_id(code, target, str(number), at),
        code=code,
        target=target,
        at=at,
        source="kernel-log",
        trust=Trust.KERNEL,
        world=World.REAL,
        value=value_of(event),
        raw=event.line,
    )


def _node_of(event: NodeEvent) -> str:
    found = _HOST.match(event.line)
    return event.node or event.host or (found[1] if found else THIS_HOST)


def _of_daemon(event: NodeEvent, number: int) -> Signal:
    node = _node_of(event)
    target = f"gpu:{node}/pci:{event.pci}" if event.pci else f"node:{node}"
    at = event.at or BOOT + timedelta(milliseconds=number)
    return Signal(
        id=level_id(event.code, target, str(number), at),
        code=event.code,
        target=target,
        at=at,
        source=event.source,
        trust={**TRUST, **HOST_TRUST}[event.source],
        world=World.REAL,
        value=event.value,
        raw=event.line,
    )


def _told(at: datetime | None) -> str:
    if at is None:
        return ""
    since = (at - BOOT).total_seconds()
    year = 366 * 86400.0
    return f"boot+{since:.3f}s" if since < year else at.isoformat().replace("+00:00", "Z")


def _snapshot(signals: list[Signal]) -> Snapshot:
    first = min((s.at for s in signals), default=BOOT)
    last = max((s.at for s in signals), default=BOOT)
    names = sorted({s.target.partition(":")[2].partition("/")[0] for s in signals})
    before = first - timedelta(days=1)  # no line counts as one of boot
    dead = {s.target.partition(":")[2]: s.at for s in signals if s.code == "node.dead"}
    nodes = {
        name: Node(
            name=name,
            incarnation="",
            pool="",
            ray_state=RayState.DEAD if name in dead else RayState.ALIVE,
            ray_state_since=dead.get(name, before),
            gpus=0,
        )
        for name in names
    }
    state = ClusterState(session="", cluster="log", world=World.REAL, read_at=last, nodes=nodes)
    return Snapshot(at=last, steady=0.0, state=state, frame=FleetFrame.empty(), sources={})
