"""A fault trace from outside, in place of drawn faults: CSV text -> rows -> TrueFaults.

Columns t_s,node,fault,duration_s. A bad row ends the command with its line; nothing is guessed.
"""

from __future__ import annotations

import csv
from difflib import get_close_matches
from io import StringIO
from math import isfinite

from watchkeeper.core.errors import Malformed
from watchkeeper.twin.laws import by_name
from watchkeeper.twin.topology import Fleet, build
from watchkeeper.twin.words import DAY_S, Scope, TrueFault, TwinSpec
from watchkeeper_evals.remediation.setup import FaultRow

COLUMNS = ("t_s", "node", "fault", "duration_s")
MOST_ROWS = 1_000_000


def read_trace(text: str, name: str, spec: TwinSpec) -> tuple[FaultRow, ...]:
    """The rows of a trace for a fleet like `spec`, oldest first.

    node: a name of the fleet (`train-0001`) or its number from 0. duration_s: seconds until it ends
    by itself; empty or `inf` when it does not. Raises Malformed with file and line.
    """
    rows = csv.DictReader(StringIO(text))
    missing = [c for c in COLUMNS if c not in (rows.fieldnames or ())]
    if missing:
        raise Malformed(
            f"{name}:1: the header lacks {', '.join(missing)}. It must be {','.join(COLUMNS)}."
        )
    fleet = build(spec)
    found: list[FaultRow] = []
    try:
        for row in rows:
            if len(found) == MOST_ROWS:
                raise ValueError(f"more than {MOST_ROWS} rows")
            found.append(_row(row, fleet, spec))
    except (ValueError, csv.Error) as err:
        raise Malformed(f"{name}:{rows.line_num}: {err}.") from err
    return tuple(sorted(found))


def _row(row: dict[str, str | None], fleet: Fleet, spec: TwinSpec) -> FaultRow:
    if None in row or any(row[c] is None for c in COLUMNS):
        raise ValueError(f"it must have {len(COLUMNS)} cells")
    cell = {c: (row[c] or "").strip() for c in COLUMNS}
    at_s = _number(cell["t_s"], "t_s")
    if at_s > spec.days * DAY_S:
        raise ValueError(f"t_s {at_s:g} lies beyond the run of {spec.days:g} days")
    lasts_s = float("inf")
    if cell["duration_s"] not in ("", "inf"):
        lasts_s = _number(cell["duration_s"], "duration_s")
    return FaultRow(at_s, _node(cell["node"], fleet), _law(cell["fault"]), lasts_s)


def _number(cell: str, what: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{what} must be a number of seconds, not {cell!r}") from None
    if not isfinite(value) or value < 0:
        raise ValueError(f"{what} must be a number of seconds from 0 on, not {cell!r}")
    return value


def _node(cell: str, fleet: Fleet) -> int:
    if cell in fleet.index:
        return fleet.index[cell]
    if cell.isascii() and cell.isdigit() and int(cell) < len(fleet):
        return int(cell)
    raise ValueError(
        f"there is no node {cell!r}: use {fleet.names[0]} to {fleet.names[-1]}, or 0 to"
        f" {len(fleet) - 1}"
    )


def _law(cell: str) -> str:
    if cell in by_name():
        return cell
    near = get_close_matches(cell, by_name(), 1)
    hint = f"Did you mean {near[0]!r}" if near else f"The classes are: {', '.join(by_name())}"
    raise ValueError(f"there is no fault {cell!r}. {hint}")


def faults_of(rows: tuple[FaultRow, ...], spec: TwinSpec) -> tuple[TrueFault, ...]:
    """What a trace makes happen: its first symptom never misleads, it never comes back, and it lies
    on the node's first GPU. A fault of a domain takes the whole domain of its node."""
    fleet = build(spec)
    faults = []
    for number, row in enumerate(rows):
        law = by_name()[row.law]
        alone = law.scope in (Scope.GPU, Scope.NODE, Scope.JOB)
        nodes = (
            (row.node,)
            if alone
            else fleet.members(law.scope, int(fleet.group(law.scope)[row.node]))
        )
        if law.scope is Scope.FLEET:
            nodes = fleet.members(Scope.RACK, int(fleet.rack[row.node]))
        faults.append(
            TrueFault(
                id=number,
                law=row.law,
                at_s=row.at_s,
                nodes=nodes,
                gpu=0 if law.scope is Scope.GPU else -1,
                ends_s=row.at_s + row.lasts_s,
                first=law.shows[0],
            )
        )
    return tuple(faults)
