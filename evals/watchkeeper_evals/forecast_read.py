"""Reads a series for `watchkeeper eval forecast`: CSV, gzipped or not, to means on a regular grid.

What is wrong is said with file, line and column. A gap stays unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchkeeper.core.errors import Malformed, UsageError
from watchkeeper.demand.series import Series, on_grid
from watchkeeper_evals.csv_rows import rows_of

Floats = NDArray[np.float64]


class Columns(NamedTuple):
    """Which columns make the series. value: a column, or A-B, A+B. where: (column, text) that a
    row must have. cumulate: the values are flows; their running sum is the series, lifted so that
    its lowest hour is zero."""

    time: str
    value: str
    where: tuple[tuple[str, str], ...] = ()
    cumulate: bool = False


def read_series(path: Path, columns: Columns, step_s: float) -> Series:
    """The series on a grid whose steps end at whole multiples of step_s (UTC), so that an origin
    at 00:00 sees whole steps. Raises UsageError or Malformed."""
    parts, signs = _terms(columns.value)
    wanted = (columns.time, *parts, *(name for name, _ in columns.where))
    times, values = [], []
    for line, row in rows_of(path, wanted):
        if any((row[name] or "").strip() != text for name, text in columns.where):
            continue
        if not (row[columns.time] or "").strip():
            raise Malformed(f"{path}:{line}: {columns.time} is empty.")
        times.append(_time(path, line, columns.time, row[columns.time]))
        values.append(
            sum(s * _number(path, line, n, row[n]) for n, s in zip(parts, signs, strict=True))
        )
    if not times:
        raise Malformed(f"{path}: no row to read. Look at the columns and at --where.")
    return series_of(np.asarray(times), np.asarray(values), step_s, cumulate=columns.cumulate)


def series_of(times: Floats, values: Floats, step_s: float, *, cumulate: bool) -> Series:
    """Readings (epoch seconds, value) as a Series of whole steps. A value stands from its time on,
    as those of a sampled column do."""
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    if (np.diff(times) == 0).any():
        raise Malformed("several rows have the same time: choose one series with --where.")
    if cumulate and np.isnan(values).any():
        raise Malformed("a running sum cannot be made of values that are missing.")
    values = np.cumsum(values) if cumulate else values
    gap = min(float(np.median(np.diff(times))), step_s) if len(times) > 1 else step_s
    begin, end = (np.ceil(times[0] / step_s), np.floor((times[-1] + gap) / step_s))
    begin, end = float(begin * step_s), float(end * step_s)
    inside = (times >= begin) & (times < end) & ~np.isnan(values)
    if not inside.any():
        raise Malformed(f"the series is shorter than one step of {step_s:g} s.")
    made = on_grid(times[inside] + gap / 2, values[inside], begin, end, step_s)
    if not cumulate:
        return made
    lift = float(np.nanmin(made.values))
    return Series(
        made.times, made.values - lift, step_s, made.history_s, made.last_s, made.tail - lift
    )


def where_of(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`vc=vc3sl` as (column, text). Raises UsageError."""
    pairs = [text.partition("=") for text in texts]
    if any(not mid or not name for name, mid, _ in pairs):
        raise UsageError("--where wants COLUMN=TEXT.")
    return tuple((name.strip(), text.strip()) for name, _, text in pairs)


def _terms(value: str) -> tuple[list[str], list[float]]:
    parts, signs = [""], [1.0]
    for letter in value:
        if letter in "+-":
            parts.append("")
            signs.append(1.0 if letter == "+" else -1.0)
        else:
            parts[-1] += letter
    parts = [part.strip() for part in parts]
    if not all(parts):
        raise UsageError(f"--value {value!r} is not a column, or columns joined by + and -.")
    return parts, signs


def _time(path: Path, line: int, column: str, text: str | None) -> float:
    text = (text or "").strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        # Sub-microsecond digits, as some traces have, are more than a datetime holds.
        head, dot, tail = text.partition(".")
        when = datetime.fromisoformat(head + dot + tail[:6] if tail.isdigit() else text)
    except ValueError:
        raise Malformed(
            f"{path}:{line}: {column} must be a time like 2020-04-01 00:10:00 or epoch seconds, "
            f"not {text!r}."
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _number(path: Path, line: int, column: str, text: str | None) -> float:
    text = (text or "").strip()
    if not text:
        return float("nan")
    try:
        found = float(text)
    except ValueError:
        found = float("inf")
    if abs(found) == float("inf"):
        raise Malformed(f"{path}:{line}: {column} must be a number, not {text!r}.")
    return found
