"""`watchkeeper stop` answers at once: what starts the command line loads no heavy room."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    *("numpy", "sklearn", "ray", "langgraph", "langchain_core", "fastapi", "redis", "ortools"),
    *("watchkeeper.control", "watchkeeper.policy.model", "watchkeeper.health", "watchkeeper.twin"),
)


def test_the_command_line_starts_without_the_rooms_that_decide() -> None:
    """Each of them costs tenths of a second before the first word is printed."""
    found = subprocess.run(
        [sys.executable, "-c", "import sys, watchkeeper.app.cli; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "watchkeeper.app.policy_cli" in found
    assert [name for name in HEAVY if name in found] == []
