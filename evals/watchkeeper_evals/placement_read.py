"""Reads node lists and job lists for `watchkeeper eval placement`: CSV, gzipped or not.

The columns are those of the openb trace. What is wrong is said with file, line and column.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from watchkeeper.core.errors import Malformed
from watchkeeper.placement.fleet import Machine
from watchkeeper.placement.words import WHOLE, Piece
from watchkeeper_evals.csv_rows import Row, rows_of

NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
JOB_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
"""`gpu_spec` may be left out: then every job accepts every model."""

MOST = 2**40
"""Larger numbers than this are slips."""


def read_machines(path: Path) -> list[Machine]:
    """Nodes in file order. Raises UsageError or Malformed: unreadable, wrong columns or values,
    a name twice, no GPU at all."""
    machines: list[Machine] = []
    seen: set[str] = set()
    for row in _rows(path, NODE_COLUMNS):
        name = row.text("sn")
        if not name or name in seen:
            raise row.wrong("sn", "must be a name that no other node has")
        seen.add(name)
        machines.append(
            Machine(
                name=name,
                gpus=row.number("gpu", most=256),
                cpu_milli=row.number("cpu_milli"),
                memory_mib=row.number("memory_mib"),
                model=row.text("model"),
            )
        )
    if not any(m.gpus for m in machines):
        raise Malformed(f"{path}: no node has a GPU. Give a node list with GPUs in column `gpu`.")
    return machines


def read_pieces(path: Path) -> list[Piece]:
    """What each job asks for, in file order. Raises as `read_machines` does."""
    pieces = [_piece(row) for row in _rows(path, JOB_COLUMNS)]
    if not any(piece.gpus for piece in pieces):
        raise Malformed(f"{path}: no job asks for a GPU. Look at column `num_gpu`.")
    return pieces


def _piece(row: _Row) -> Piece:
    gpus, milli = row.number("num_gpu", most=256), row.number("gpu_milli", most=WHOLE)
    if gpus and not milli:
        raise row.wrong("gpu_milli", f"must be within 1..{WHOLE} for a job with GPUs")
    if gpus > 1 and milli != WHOLE:
        raise row.wrong("gpu_milli", f"must be {WHOLE} for a job with several GPUs")
    return Piece(
        gpus=gpus,
        milli=milli if gpus else WHOLE,
        cpu_milli=row.number("cpu_milli"),
        memory_mib=row.number("memory_mib"),
        models=frozenset(m for m in row.text("gpu_spec").split("|") if m),
    )


class _Row:
    """One line, which knows where it stands."""

    def __init__(self, path: Path, line: int, values: Row) -> None:
        self._path, self._line, self._values = path, line, values

    def text(self, column: str) -> str:
        return (self._values.get(column) or "").strip()

    def number(self, column: str, most: int = MOST) -> int:
        """A whole number within 0..most; `4.0` counts as one."""
        text = self.text(column)
        try:
            value = float(text)
        except ValueError:
            raise self.wrong(column, "must be a number") from None
        if not (0 <= value <= most and value == int(value)):
            raise self.wrong(column, f"must be a whole number within 0..{most}")
        return int(value)

    def wrong(self, column: str, why: str) -> Malformed:
        found = self._values.get(column)
        return Malformed(f"{self._path}:{self._line}: {column} {why}, not {found!r}.")


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[_Row]:
    return (_Row(path, line, values) for line, values in rows_of(path, columns))
