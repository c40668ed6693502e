"""Which code is this? The commit for people, and a digest of the files that decide what is played.

Runs that are kept are taken up again only under the same digest: a change to a page, a test or this
package's reports moves none of them, a change to the watch, the twin or a controller all of them.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

PACKAGES = ("watchkeeper", "watchkeeper_agents")
LEFT_OUT = ("console", "__pycache__")
"""Folders of these packages that decide nothing of a run."""
PLAYS = (
    "baselines.py",
    "caps.py",
    "oracle.py",
    "runs.py",
    "setup.py",
    "stage.py",
    "trace.py",
    "watch.py",
    "data",
)
"""Files of this package that do."""
KINDS = frozenset({".py", ".csv", ".json", ".md", ".yaml"})


def code_digest() -> str:
    """16 hex digits of SHA-256 over names and contents, in order of name."""
    whole = hashlib.sha256()
    for name, path in sorted(_files()):
        whole.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:16]


def _files() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        root = Path(str(import_module(package).__file__)).parent
        for path in root.rglob("*"):
            inside = path.relative_to(root)
            if path.suffix in KINDS and not set(inside.parts) & set(LEFT_OUT):
                yield f"{package}/{inside.as_posix()}", path
    here = Path(__file__).parent
    for name in PLAYS:
        found = (here / name).glob("*") if (here / name).is_dir() else (here / name,)
        for path in found:
            if path.is_file():
                yield f"evals/{path.relative_to(here).as_posix()}", path


def commit() -> str:
    """The commit that ran, with `+` where files differed from it; "" outside a checkout."""
    here = Path(__file__).parent
    try:
        told = [
            subprocess.run(
                ["git", "-C", str(here), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"])
        ]
    except (OSError, subprocess.SubprocessError):
        return ""
    return told[0] + ("+" if told[1] else "")
