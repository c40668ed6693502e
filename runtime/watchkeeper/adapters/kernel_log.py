"""The kernel's own log, followed with a cursor that outlives the process. Asked by the collector.

Reads /dev/kmsg (records kept whole by the kernel, facility included) or a file of kernel lines,
which may be cut or replaced while it is read. What counts as the kernel's word is decided in
health.kernel_lines. Nothing in here acts.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from datetime import datetime
from enum import Enum
from pathlib import Path

from watchkeeper.adapters.system_clock import boot_id, booted_at
from watchkeeper.core.clock import Clock
from watchkeeper.core.incident import Trust
from watchkeeper.core.sources import Finding
from watchkeeper.health.decode import value_of
from watchkeeper.health.host_lines import AerCount, parse_kernel_host_line
from watchkeeper.health.kernel_lines import Ignored, KernelEvent, XidEvent, parse_line
from watchkeeper.health.node_lines import NodeEvent

SOURCE = "kernel-log"
DEBOUNCE_S = 5.0
OLDEST_S = 600.0
"""What was in the log before we first came counts only if its own stamp is younger than this."""
WEEK_S = 7 * 86400.0
MAX_READ = 4 * 1024 * 1024
_RECORD = 8192


class _Met(Enum):
    """When a line was written, as seen from us."""

    BEFORE = "before we first came"
    MISSED = "while we were away"
    LIVE = "while we watched"


class KernelLog:
    """Meets SignalSource: Findings `xid.N` and `sxid.N`, and those of `host_lines`, trust kernel.

    A log that cannot be read raises OSError from `drain`; the collector tells it once and goes on.
    """

    def __init__(
        self, path: Path, cursor_path: Path | None, clock: Clock, *, simulated: bool = False
    ) -> None:
        """cursor_path: where the position is kept over restarts (None: not kept)."""
        self._path = path
        self._cursor_path = cursor_path
        self._clock = clock
        self._simulated = simulated
        self._boot = boot_id()
        self._fd = -1
        self._offset = 0
        self._inode = 0
        self._sequence = -1
        self._aer = AerCount()
        self._before_to = 0
        self._missed_to = 0
        self._was_absent = False
        self._seen: dict[tuple[str, str], float] = {}
        self.ignored = 0
        """Lines that looked like a driver's report and were not believed."""
        self.repeated = 0
        self._resume()

    def drain(self) -> tuple[Finding, ...]:
        found: list[Finding] = []
        before = (self._inode, self._offset, self._sequence)
        if self._is_device():
            lines = self._records()
        else:
            lines = self._lines()
        for line, met in lines:
            self._take(line, met, found)
        if (self._inode, self._offset, self._sequence) != before:
            self._keep()
        return tuple(found)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _is_device(self) -> bool:
        try:
            return stat.S_ISCHR(self._path.stat().st_mode)
        except FileNotFoundError:
            return False

    def _take(self, line: bytes, met: _Met, found: list[Finding]) -> None:
        now = self._clock.now()
        text, boot = line.decode(errors="replace"), booted_at()
        event = parse_line(text, now=now, boot_at=boot) or parse_kernel_host_line(
            text, now=now, boot_at=boot
        )
        if event is None:
            return
        if isinstance(event, Ignored):
            self.ignored += 1
            return
        at = _when(event.at, now, met)
        if at is None:
            return
        if isinstance(event, NodeEvent):
            event = self._aer.counted(event)
        if not self._repeats(event):
            found.append(self._finding(event, at))

    def _repeats(self, event: KernelEvent | NodeEvent) -> bool:
        """The driver repeats itself in bursts: the same code on the same device within 5 s."""
        key, now = (_code(event), event.pci), self._clock.steady()
        last = self._seen.get(key)
        if last is not None and now - last < DEBOUNCE_S:
            self.repeated += 1
            return True
        self._seen = {k: t for k, t in self._seen.items() if now - t < DEBOUNCE_S}
        self._seen[key] = now
        return False

    def _finding(self, event: KernelEvent | NodeEvent, at: datetime) -> Finding:
        return Finding(
            code=_code(event),
            source=SOURCE,
            trust=Trust.KERNEL,
            pci=event.pci,
            at=at,
            value=event.value if isinstance(event, NodeEvent) else value_of(event),
            simulated=self._simulated,
            raw=event.line,
            key=f"{self._boot} {event.line}",
        )

    # -- /dev/kmsg: one record a read, each with a sequence number that only grows in one boot

    def _records(self) -> list[tuple[bytes, _Met]]:
        records: list[tuple[bytes, _Met]] = []
        met = _Met.LIVE
        if self._fd < 0:
            met = _Met.BEFORE if self._sequence < 0 else _Met.MISSED
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        size = 0
        while size < MAX_READ:
            try:
                record = os.read(self._fd, _RECORD)
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # records were overwritten before we came; reading goes on behind them
            if not record:
                break
            size += len(record)
            head = record.split(b",", 2)
            sequence = int(head[1]) if len(head) == 3 and head[1].isdigit() else None
            if sequence is None or sequence <= self._sequence:
                continue
            self._sequence = sequence
            records.append((record.partition(b"\n")[0], met))
        return records

    # -- a file: whole lines only; cut or replaced, it is read from its beginning

    def _lines(self) -> list[tuple[bytes, _Met]]:
        lines = self._read_on()
        try:
            there = self._path.stat()
        except FileNotFoundError:
            self._was_absent = True
            return lines
        known = os.fstat(self._fd) if self._fd >= 0 else None
        if known is not None and (known.st_dev, known.st_ino) == (there.st_dev, there.st_ino):
            if there.st_size >= self._offset:
                return lines
            self._begin(0, before_to=0, missed_to=0)  # cut: all that it holds now is new
        else:
            self.close()
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            if known is not None or self._was_absent:
                self._begin(0, before_to=0, missed_to=0)  # rotated, or made before our eyes
            elif there.st_ino == self._inode and there.st_size >= self._offset:
                self._begin(self._offset, before_to=0, missed_to=there.st_size)
            else:
                self._begin(0, before_to=there.st_size, missed_to=0)
            self._inode = os.fstat(self._fd).st_ino
        return lines + self._read_on()

    def _begin(self, offset: int, *, before_to: int, missed_to: int) -> None:
        self._offset, self._before_to, self._missed_to = offset, before_to, missed_to

    def _read_on(self) -> list[tuple[bytes, _Met]]:
        if self._fd < 0:
            return []
        data = os.pread(self._fd, MAX_READ, self._offset)
        start = self._offset
        whole, newline, _ = data.rpartition(b"\n")
        if not newline:
            # No line ended. One without end is skipped, so that it cannot fill memory.
            self._offset += len(data) if len(data) == MAX_READ else 0
            return []
        lines = []
        for line in whole.split(b"\n"):
            met = _Met.LIVE
            if start < self._before_to:
                met = _Met.BEFORE
            elif start < self._missed_to:
                met = _Met.MISSED
            lines.append((line, met))
            start += len(line) + 1
        self._offset = start
        return lines

    # -- the cursor

    def _resume(self) -> None:
        if self._cursor_path is None:
            return
        try:
            kept = json.loads(self._cursor_path.read_text())
            if kept["path"] == str(self._path):
                self._inode, self._offset = int(kept["inode"]), int(kept["offset"])
                if kept["boot"] == boot_id():
                    self._sequence = int(kept["sequence"])
        except (OSError, ValueError, KeyError, TypeError):
            self._inode, self._offset, self._sequence = 0, 0, -1

    def _keep(self) -> None:
        if self._cursor_path is None:
            return
        note = {
            "path": str(self._path),
            "inode": self._inode,
            "offset": self._offset,
            "sequence": self._sequence,
            "boot": boot_id(),
        }
        fresh = self._cursor_path.with_name(self._cursor_path.name + ".new")
        # A disk that is full must cost a repeat after the next start, never a finding.
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(note))
            fresh.replace(self._cursor_path)


def _code(event: KernelEvent | NodeEvent) -> str:
    if isinstance(event, NodeEvent):
        return event.code
    return f"{'xid' if isinstance(event, XidEvent) else 'sxid'}.{event.code}"


def _when(stamp: datetime | None, now: datetime, met: _Met) -> datetime | None:
    """The time of a line; None when it is an old story that must not count."""
    age_s = None if stamp is None else (now - stamp).total_seconds()
    match met:
        case _Met.BEFORE:
            return stamp if age_s is not None and abs(age_s) <= OLDEST_S else None
        case _Met.MISSED:
            return stamp if age_s is not None and -OLDEST_S <= age_s <= WEEK_S else now
        case _Met.LIVE:
            return stamp if age_s is not None and abs(age_s) <= OLDEST_S else now
