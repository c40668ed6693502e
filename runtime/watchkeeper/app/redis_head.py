"""The journal's head as Redis last saw it, for `journal verify`."""

from __future__ import annotations

import json

from watchkeeper.adapters.redis_mirror import RedisMirror
from watchkeeper.app.settings import Home, Settings
from watchkeeper.core.errors import WatchkeeperError


def mirrored_head(home: Home) -> tuple[int, str] | None:
    """(sequence, hash), or None where there is no Redis to ask: then only the file speaks."""
    try:
        note = json.loads((home.run / "cluster.json").read_text())
        settings = Settings.load(home.run / "watch.json")
        copy = RedisMirror(settings.redis, note["cluster"]).copy_of("journal_head")
        head = json.loads(copy) if copy else None
        return (int(head["seq"]), str(head["hash"])) if head else None
    except (OSError, ValueError, KeyError, WatchkeeperError):
        return None
