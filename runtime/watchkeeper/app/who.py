"""Who types a command, as far as the system knows."""

from __future__ import annotations

import getpass
import os


def me() -> str:
    """The name of who types this; a user id where the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
