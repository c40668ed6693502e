"""The stop latch as a file, so that it holds with Redis, web and the watch itself down (S4)."""

import contextlib
import json
import os
from pathlib import Path

from watchkeeper.core.clock import Clock
from watchkeeper.core.errors import UsageError


class FileStop:
    """Meets `core.ports.StopFile`: the file `STOP` in the home directory."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def is_set(self) -> bool:
        """True when the latch is set, and also when that cannot be told."""
        try:
            self._path.lstat()  # not `exists`: that takes every odd failure for absence
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def who(self) -> tuple[str, str]:
        """(by, reason) as written; ("unknown", "") when the file says nothing readable."""
        try:
            note = json.loads(self._path.read_text())
            return str(note.get("by", "unknown")), str(note.get("reason", ""))
        except (OSError, ValueError, AttributeError):
            return "unknown", ""

    def set(self, by: str, reason: str) -> None:
        """Set the latch, durably. The file is the latch; what is in it only says who and why, so
        a full disk does not keep anyone from stopping. Raises UsageError when it cannot be made.
        """
        note = {"by": by, "reason": reason, "at": self._clock.now().isoformat()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as err:
            raise UsageError(
                f"The stop latch {self._path} cannot be set: {err.strerror}. End the watch with "
                "Ctrl-C where it runs, or make that directory writable."
            ) from err
        try:
            with contextlib.suppress(OSError):
                os.write(file, json.dumps(note).encode() + b"\n")
                os.fsync(file)
        finally:
            os.close(file)

    def clear(self) -> None:
        """Take the latch away. Raises UsageError when the file cannot be removed."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as err:
            raise UsageError(
                f"The stop latch {self._path} cannot be cleared: {err.strerror}. Remove it by hand."
            ) from err
