"""Lines about the host in, typed events out: its network, slots, mounts, memory and services.

Asked by `diagnose`, and of the kernel's lines by the kernel-log collector.

Kernel words are believed as in `kernel_lines`: only where the kernel wrote the line, and only at
the start of its message. A service's end is believed of systemd's first process and of nobody
else; what the kubelet says, of the kubelet. Limit: in a text file a tag can be imitated.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec.structs import replace

from watchkeeper.core.incident import Trust
from watchkeeper.health.kernel_lines import (
    MAX_LINE,
    Ignored,
    clean,
    kernel_message,
    normal_pci,
)
from watchkeeper.health.node_lines import JOURNAL, NodeEvent, journal_time

KERNEL, SYSTEMD, KUBELET = "kernel-log", "systemd", "kubelet"
TRUST = {KERNEL: Trust.KERNEL, SYSTEMD: Trust.PROVIDER, KUBELET: Trust.PROVIDER}

MOST_COUNTED = 64
"""Corrected errors that are remembered: far more than make a fault."""
_LOOKS = re.compile(
    r"Link down|Port module event|AER: |health compromised|available PCIe bandwidth|I/O error"
    r"|not responding|was lost; in progress|controller is down|Killed process|Machine Check"
    r"|\.service: |Node became not ready|PLEG is not healthy"
)
_PCI = r"([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])"
_WIDTH = re.compile(
    rf"nvidia {_PCI}: ([0-9.]{{1,12}}) Gb/s available PCIe bandwidth, limited by .{{1,120}}"
    r"\(capable of ([0-9.]{1,12}) Gb/s",
    re.ASCII,
)
_AER = re.compile(
    r"[a-z0-9_]{1,32} [0-9a-f:.]{7,16}: AER: (?:Multiple )?(Correct|Uncorrect)(?:ed|able)"
    r"(?: \((?:Fatal|Non-Fatal)\))? error (?:message )?received",
    re.ASCII,
)
_KERNEL_SAYS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(says, re.ASCII), code)
    for says, code in (
        (rf"mlx5_core {_PCI}(?: [A-Za-z0-9_.-]{{1,32}})?: Link down", "nic.down"),
        (rf"mlx5_core {_PCI}: Port module event\[error\]: module \d", "nic.down"),
        (rf"mlx5_core {_PCI}: .{{0,80}}device's health compromised", "nic.down"),
        (r"nfs: server \S{1,255} (?:not responding|timed out)", "storage.stall"),
        (r"Lustre: .{1,200}: Connection to \S{1,200} .{0,80}was lost; in prog", "storage.stall"),
        (r"nvme nvme\d{1,3}: controller is down; will reset", "storage.stall"),
        (r"(?:blk_update_request: )?I/O error, dev [a-z0-9]{1,32}, sector", "storage.stall"),
        (r"(?:Memory cgroup out|Out) of memory: Killed process \d", "node.oom"),
        (r"mce: \[Hardware Error\]: CPU \d{1,5}: Machine Check", "host.mce"),
    )
)
_ENDED = re.compile(
    r"([A-Za-z0-9@:_.-]{1,128})\.service: "
    r"(?:Main process exited, code=(?:killed|dumped|exited), status=(?!0/)"
    r"|Failed with result '(?!success))",
    re.ASCII,
)
_SERVICES: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda unit: unit == "nvidia-fabricmanager", "fabric.down"),
    (lambda unit: unit == "nvidia-imex", "imex.down"),
    (lambda unit: unit in ("ray", "raylet") or unit.startswith(("ray-", "ray@")), "raylet"),
)
_NOT_READY = re.compile(
    r"[EIW]\d{4} \d\d:\d\d:\d\d\.\d{1,6} {1,8}\d{1,10} [a-z_]{1,60}\.go:\d{1,6}\] "
    r'(?:"?Node became not ready"?|skipping pod synchronization - \[.{0,200}PLEG is not healthy'
    r'|"Skipping pod synchronization" err="\[?.{0,200}PLEG is not healthy)',
    re.ASCII,
)


def parse_host_line(
    line: str, *, now: datetime | None = None, boot_at: datetime | None = None
) -> NodeEvent | Ignored | None:
    """One line of the kernel, of systemd or of the kubelet; None where it says nothing of a fault
    of the host. Stamps are dated as by `kernel_lines.parse_line`."""
    text = line[:MAX_LINE].rstrip("\r\n")
    if _LOOKS.search(text) is None:
        return None
    journal = JOURNAL.match(text)
    if journal is not None and journal["pid"]:
        at = journal_time(journal, now, boot_at)
        return _of_service(journal, text[journal.end() :], clean(line), at)
    return parse_kernel_host_line(line, now=now, boot_at=boot_at)


def parse_kernel_host_line(
    line: str, *, now: datetime | None = None, boot_at: datetime | None = None
) -> NodeEvent | None:
    """The same, of the kernel alone."""
    text = line[:MAX_LINE].rstrip("\r\n")
    if _LOOKS.search(text) is None:
        return None
    said = kernel_message(text, now, boot_at)
    if isinstance(said, str):
        return None  # many programs write such words: they are nobody's imitation
    message, at = said
    code, pci, value = _kernel_code(message)
    if not code:
        return None
    return NodeEvent(
        code=code,
        source=KERNEL,
        pci=pci,
        value=value,
        text=clean(message),
        at=at,
        line=clean(line),
    )


class AerCount:
    """Corrected PCIe errors of one host in the last minute: each is one line, and only their rate
    says anything. Counts in the order in which it is told."""

    def __init__(self) -> None:
        self._at: deque[datetime] = deque(maxlen=MOST_COUNTED)

    def counted(self, event: NodeEvent) -> NodeEvent:
        """The same event; where it is a corrected error with a time, `value` is how many there
        were in the minute up to it."""
        if event.code != "pcie.aer" or event.value is None or event.at is None:
            return event
        self._at.append(event.at)
        minute = timedelta(minutes=1)
        return replace(event, value=float(sum(abs(event.at - t) < minute for t in self._at)))


def _kernel_code(message: str) -> tuple[str, str, float | None]:
    """(code, address of the GPU where it is about one, value)."""
    if found := _WIDTH.match(message):
        now, most = _number(found[2]), _number(found[3])
        return "pcie.width", normal_pci(found[1]), min(1.0, now / most) if most else None
    if found := _AER.match(message):
        # A corrected one is ordinary; more than eight in a minute are a fault: see `AerCount`.
        return "pcie.aer", "", 1.0 if found[1] == "Correct" else None
    for says, code in _KERNEL_SAYS:
        if says.match(message):
            return code, "", None
    return "", "", None


def _of_service(
    journal: re.Match[str], message: str, line: str, at: datetime | None
) -> NodeEvent | Ignored | None:
    tag, code, source = journal["tag"], "", SYSTEMD
    if (ended := _ENDED.match(message)) is not None:
        code = next((code for is_it, code in _SERVICES if is_it(ended[1])), "")
        if code and (tag, journal["pid"]) != ("systemd", "1"):
            author = clean(f"{tag}[{journal['pid']}]", 80)
            return Ignored(reason=f"written by {author!r}, not by systemd[1]", line=line)
        code = "node.raylet_exit" if code == "raylet" else code
    elif tag == "kubelet" and _NOT_READY.match(message):
        code, source = "kubelet.not_ready", KUBELET
    if not code:
        return None
    return NodeEvent(
        code=code, source=source, host=journal["host"], text=clean(message), at=at, line=line
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
