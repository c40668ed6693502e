"""Rows of a CSV file, gzipped or not, for the evals that read one. What is wrong is said with file
and line."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from watchkeeper.core.errors import Malformed, UsageError

Row = dict[str, str | None]


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """(line, values by column) of each row that holds anything. Raises UsageError where there is
    no such file, Malformed where it is no CSV or lacks one of these columns."""
    if not path.is_file():
        raise UsageError(f"{path} is not a file. Give a .csv or .csv.gz with {', '.join(columns)}.")
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            missing = [c for c in columns if c not in names]
            if missing:
                raise Malformed(
                    f"{path}:1: no column {', '.join(missing)}. There are {', '.join(names)}."
                )
            for values in reader:
                if any(values.values()):
                    yield reader.line_num, values
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as err:
        raise Malformed(f"{path} cannot be read as CSV: {err}") from err
