"""Where a watch gets its orders from: a folder, or a folder that must be signed."""

from __future__ import annotations

from pathlib import Path

from watchkeeper.adapters.policy_files import fingerprint, read_policy_dir, read_test_dir
from watchkeeper.adapters.policy_signature import signed_fingerprint, verified_reader
from watchkeeper.app.settings import Settings
from watchkeeper.control.policy_shelf import Source


def policy_source(settings: Settings) -> Source | None:
    """Where the orders come from; None where none were given. Raises UsageError for a key that is
    none."""
    if not settings.policies:
        return None
    folder = Path(settings.policies)
    if settings.policy_key:
        signed = verified_reader(folder, Path(settings.policy_key))
        return Source(lambda: (signed(), read_test_dir(folder)), lambda: signed_fingerprint(folder))
    return Source(
        lambda: (read_policy_dir(folder), read_test_dir(folder)), lambda: fingerprint(folder)
    )
