"""The stop latch as a file, so that it holds with Redis, web and the watch itself down (S4)."""

import json
from pathlib import Path

from watchkeeper.core.clock import Clock


class FileStop:
    """Meets `core.ports.StopFile`: the file `STOP` in the home directory."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def is_set(self) -> bool:
        """True when the latch is set, and also when that cannot be told."""
        try:
            return self._path.exists()
        except OSError:
            return True

    def who(self) -> tuple[str, str]:
        """(by, reason) as written; ("unknown", "") when the file says nothing readable."""
        try:
            note = json.loads(self._path.read_text())
            return str(note.get("by", "unknown")), str(note.get("reason", ""))
        except (OSError, ValueError, AttributeError):
            return "unknown", ""

    def set(self, by: str, reason: str) -> None:
        note = {"by": by, "reason": reason, "at": self._clock.now().isoformat()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(note) + "\n")

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)
