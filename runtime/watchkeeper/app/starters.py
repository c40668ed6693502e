"""`init`: copy the starting orders to where their author will keep them."""

from __future__ import annotations

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


def library() -> tuple[str, ...]:
    """The names of the orders that may be copied beside the starting ones."""
    return tuple(sorted(p.name for p in (starters() / "library").iterdir() if p.is_dir()))


def copy_starters(to: Path, more: tuple[str, ...] = ()) -> str:
    """Copy the starters, where there are no orders yet, and `more` of the library with its tests;
    never over a file that exists. Raises UsageError."""
    source = starters()
    if unknown := [name for name in more if name not in library()]:
        raise UsageError(f"The library has no {unknown[0]!r}. It has: {', '.join(library())}.")
    begun = bool(more) and to.is_dir() and any(to.glob("*.yaml"))
    own = [] if begun else sorted(p for p in source.iterdir() if p.is_file())
    for name in more:
        own += [source / "library" / name / f"{name}{end}.yaml" for end in ("", "_test")]
    files = {file.name: file for file in own}
    taken = [name for name in files if (to / name).exists()]
    if taken:
        raise UsageError(
            f"{to} holds {', '.join(taken)} already. Name another directory, or move them."
        )
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, file in files.items():
            _copy(file, to / name)
    except OSError as err:
        raise UsageError(f"The orders cannot be copied to {to}: {err.strerror}.") from err
    return (
        f"{len(files)} files in {to}. Next: watchkeeper policy check --policies {to}, "
        f"then watchkeeper up --policies {to}"
    )


def _copy(file: Path, to: Path) -> None:
    """A copy lies beside its schema, and its first line says so to editors."""
    text = file.read_text(encoding="utf-8")
    to.write_text(text.replace("$schema=../../", "$schema=./", 1), encoding="utf-8")
