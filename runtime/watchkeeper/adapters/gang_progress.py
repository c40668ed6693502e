"""How a gang tells its progress: one small file, written atomically, read by the watch and the lab.

The file is the job's own word, so it has the trust of a job log: it shows steps on pages and in
tests, and no action rests on it alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_LIMIT = 64 * 1024


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One report. Times are epoch seconds; `nodes` is node name -> GPU indexes in use there."""

    job: str
    step: int
    step_at: float
    checkpoint_step: int | None = None
    checkpoint_at: float | None = None
    nodes: dict[str, tuple[int, ...]] = {}
    attempt: int = 1
    resumed_from: int = 0
    done: bool = False


@dataclass(frozen=True, slots=True)
class ProgressRoot:
    """The folder under which each job has its own: `<root>/<job>/progress.json`."""

    root: Path
    _seen: dict[str, tuple[float, Progress | None]] = field(default_factory=dict)

    def read(self, job: str) -> Progress | None:
        """The job's last report, or None when there is none that can be read."""
        path = self.root / job / "progress.json"
        try:
            changed = path.stat().st_mtime
            known = self._seen.get(job)
            if known is not None and known[0] == changed:
                return known[1]
            with path.open("rb") as file:
                report = msgspec.json.decode(file.read(_LIMIT), type=Progress)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None
        self._seen[job] = (changed, report)
        return report


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that a reader sees the old or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
