"""Reads a folder of policy files as text, and tells cheaply whether it changed.

Checks nothing inside the files: that is `policy.load`, which never opens one.
"""

from __future__ import annotations

import re
from pathlib import Path

from watchkeeper.core.errors import UsageError

MAX_BYTES = 4_000_000
"""Largest file that is read at all; `policy.load` has a smaller limit and says so by file."""


def read_policy_dir(path: Path) -> dict[str, str]:
    """Every `*.yaml` of a folder but tests, as `policies/night-orders.yaml` -> text.

    Raises UsageError when the folder is missing, empty or unreadable, or holds a file that is
    named like orders and would not be read: no folder is no policy, and half of one is none.
    """
    try:
        refuse_misnamed(path)
        found = _policy_files(path)
        if not found:
            raise UsageError(
                f"There are no policy files (*.yaml) in {path}. Put standing orders there, or "
                "name another folder with --policies."
            )
        return {f"{path.name or 'policies'}/{file.name}": _text(file) for file in found}
    except OSError as err:
        raise UsageError(_why(path, err)) from err


def read_test_dir(path: Path) -> dict[str, str]:
    """Every `*_test.yaml` of a folder, as `policies/night_test.yaml` -> text; may be none.

    Raises UsageError when the folder is missing or unreadable, or as `refuse_misnamed` does.
    """
    try:
        refuse_misnamed(path)
        found = _test_files(path)
        return {f"{path.name or 'policies'}/{file.name}": _text(file) for file in found}
    except OSError as err:
        raise UsageError(_why(path, err)) from err


def fingerprint(path: Path) -> str:
    """Changes whenever a policy file or a test is added, removed, renamed or written, one with a
    wrong name included; "" when the folder cannot be listed. Costs one stat per file, so it may
    be asked every turn."""
    try:
        wrong = [path / name for name, _ in misnamed(path)]
        stats = [(f.name, f.stat()) for f in (*_policy_files(path), *_test_files(path), *wrong)]
    except OSError:
        return ""
    return ";".join(f"{name}:{s.st_ino}:{s.st_size}:{s.st_mtime_ns}" for name, s in stats)


def refuse_misnamed(path: Path) -> None:
    """Raises UsageError for files that an author took for orders or tests, by the names they have:
    passed over in silence, a deny in one of them would simply not be there."""
    if wrong := misnamed(path):
        said = "; ".join(f"{path / name} is not read: call it {right}" for name, right in wrong)
        raise UsageError(f"{said}. Orders are in files called NAME.yaml, tests in NAME_test.yaml.")


def misnamed(path: Path) -> list[tuple[str, str]]:
    """(name, the name that would be read) of each such file, sorted."""
    found = []
    for name in sorted(entry.name for entry in path.iterdir()):
        match = _LIKE_ORDERS.fullmatch(name)
        if match is None or name.startswith("."):
            continue
        right = f"{match['stem']}{'_test' if match['test'] else ''}.yaml"
        if right != name:
            found.append((name, right))
    return found


_LIKE_ORDERS = re.compile(r"(?P<stem>.+?)(?P<test>_tests?)?\.ya?ml", re.IGNORECASE)


def _policy_files(path: Path) -> list[Path]:
    names = sorted(entry.name for entry in path.iterdir())
    return [
        path / name
        for name in names
        if name.endswith(".yaml") and not name.endswith("_test.yaml") and not name.startswith(".")
    ]


def _test_files(path: Path) -> list[Path]:
    names = sorted(entry.name for entry in path.iterdir())
    return [path / n for n in names if n.endswith("_test.yaml") and not n.startswith(".")]


def _text(file: Path) -> str:
    with file.open("rb") as handle:
        data = handle.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{file} is larger than {MAX_BYTES} bytes. A policy file is not that big.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data[: err.start].count(b"\n") + 1
        raise UsageError(f"{file}, line {line}, is not UTF-8 text. Save it as UTF-8.") from err


def _why(path: Path, err: OSError) -> str:
    if isinstance(err, FileNotFoundError) and not path.exists():
        return f"There is no policy folder at {path}. Make one, or name another with --policies."
    if isinstance(err, NotADirectoryError):
        return f"{path} is a file; --policies wants the folder that holds the policy files."
    return f"The policy folder {path} cannot be read: {err.strerror or err} ({err.filename})."
