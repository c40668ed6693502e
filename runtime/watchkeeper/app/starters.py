"""`init`: copy the starting orders to where their author will keep them."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

from watchkeeper.core.errors import UsageError


def starters() -> Path:
    """The installed starting orders, or those of the checkout. Raises UsageError."""
    installed = Path(sysconfig.get_path("data")) / "share" / "watchkeeper" / "policies"
    checkout = Path(__file__).resolve().parents[3] / "policies"
    for place in (checkout, installed):
        if (place / "policy.schema.json").exists():
            return place
    raise UsageError(f"The starting orders are not installed: {installed} is missing.")


def copy_starters(to: Path) -> str:
    """Copy every starter; never over a file that exists. Raises UsageError."""
    source = starters()
    files = sorted(p for p in source.iterdir() if p.is_file())
    taken = [p.name for p in files if (to / p.name).exists()]
    if taken:
        raise UsageError(
            f"{to} holds {', '.join(taken)} already. Name another directory, or move them."
        )
    try:
        to.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, to / file.name)
    except OSError as err:
        raise UsageError(f"The orders cannot be copied to {to}: {err.strerror}.") from err
    return (
        f"{len(files)} files in {to}. Next: watchkeeper policy check --policies {to}, "
        f"then watchkeeper up --policies {to}"
    )
