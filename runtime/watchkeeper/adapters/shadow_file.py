"""Shadow records of forecasts, one small file a series: what was promised, and whether it came.

Written at most once an hour for each series; replaced as a whole, so that a crash leaves the old
one or the new one. A record that cannot be read or written begins anew: it only ever lets less act.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import msgspec

from watchkeeper.demand.record import Kept

log = logging.getLogger("watchkeeper.forecast")

MOST_BYTES = 8 * 1024 * 1024
"""Of one file: many times what a record takes. What is larger is not ours."""


class ShadowFiles:
    """Meets `demand.record.Keeper`. cluster: records of another one are never taken up."""

    def __init__(self, folder: Path, cluster: str) -> None:
        self._folder, self._cluster = folder, cluster

    def load(self, pool: str) -> Kept | None:
        """What was saved last; None where nothing was, or it cannot be read."""
        path = self._path(pool)
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError("it is larger than any record")
            kept = msgspec.json.decode(path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as err:  # msgspec's own errors among them
            log.warning("the shadow record of %s begins anew: %s: %s", pool, path, err)
            return None
        return kept if kept.pool == pool else None

    def save(self, kept: Kept) -> None:
        """Replace what was saved before, durably."""
        path = self._path(kept.pool)
        fresh = path.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(fresh, "wb", opener=_private) as file:
                file.write(msgspec.json.encode(kept))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as err:
            log.warning("the shadow record of %s is not stored: %s: %s", kept.pool, path, err)

    def _path(self, pool: str) -> Path:
        """Tenants choose their names, so no name becomes a path."""
        digest = hashlib.sha256(f"{self._cluster}/{pool}".encode()).hexdigest()[:32]
        return self._folder / f"{digest}.json"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
