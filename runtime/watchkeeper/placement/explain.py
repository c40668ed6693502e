"""Why a gang waits, in one sentence for people: what it needs, who holds it, when it could start.

Asked by the scheduler agent and the pages. Every figure is read off the engine at this moment.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, tzinfo

import numpy as np

from watchkeeper.core.word import utc
from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import AMPLE, Bools, Fleet
from watchkeeper.placement.keep import Hold
from watchkeeper.placement.reserve import Reservation
from watchkeeper.placement.rule import fitting, slots
from watchkeeper.placement.topology import capacity
from watchkeeper.placement.words import WHOLE, Gang, Piece

LEVEL_NAMES = {
    "nvlink_domain": "NVLink domain",
    "rack": "rack",
    "leaf": "leaf switch",
    "zone": "zone",
}

OTHER_WORK = "other-work"
"""Stands for GPUs in use that no job accounts for, such as single actors and fences."""

OTHER = "work that is no gang"

MOST_NAMED = 3
"""Holders named; the rest are counted."""


def why(
    engine: Engine,
    gang: Gang,
    now: float,
    zone: tzinfo = UTC,
    reservation: Reservation | None = None,
    limit: str = "",
) -> str:
    """One sentence. zone: the clock times are told in. limit: what a quota says, if it is that.

    reservation: as `reserve` gave it for this gang; None when nothing running has an end that
    would make room.
    """
    need = f"{gang.name} needs {_needs(engine.fleet, gang)}"
    if limit:
        return f"{need}; {limit}."
    if nowhere := _never(engine.fleet, gang):
        return f"{need}; {nowhere}."
    if engine.fits(gang):
        kept = reservation is not None and reservation.gang.name != gang.name
        held = (
            f"; the room there is, is kept for {reservation.gang.name}"
            if kept and reservation
            else ""
        )
        return f"{need}{held or '; there is room now, so it should start soon'}."
    parts = [need, *_short(engine, gang), _earliest(gang, reservation, now, zone)]
    return "; ".join(part for part in parts if part) + "."


def _needs(fleet: Fleet, gang: Gang) -> str:
    piece, count = gang.piece, gang.floor
    if piece.gpus > 1 and piece.gpus == fleet.gpus[fleet.may(gang)].max(initial=0):
        each, count = f"{count} whole node{'s' if count > 1 else ''}", 1
    elif piece.is_slice:
        each = f"{piece.milli / 10:g} % of a GPU"
    elif piece.gpus:
        each = f"{piece.gpus} GPU{'s' if piece.gpus > 1 else ''}"
    else:
        each = f"{piece.cpu_milli / 1000:g} CPUs"
    if piece.models:
        each += f" ({' or '.join(sorted(piece.models))})"
    many = each if count == 1 else f"{count} times {each}"
    return many + (f" in one {LEVEL_NAMES[gang.within]}" if gang.within else "")


def _never(fleet: Fleet, gang: Gang) -> str:
    """Why even an empty fleet could not hold it; empty when it could."""
    bare = Fleet(fleet.machines)
    for name in ("closed", "suspect", "spare"):
        setattr(bare, name, getattr(fleet, name))
    if Engine(bare).fits(gang):
        return ""
    whole = Engine(Fleet(fleet.machines))
    if whole.fits(gang):
        out = [
            n
            for n, c in (
                ("fenced", fleet.closed),
                ("under suspicion", fleet.suspect),
                ("kept as spares", fleet.spare),
            )
            if c.any()
        ]
        return f"without the nodes that are {_list(out)} it fits nowhere"
    return "this fleet could not hold it even if it were empty"


def _short(engine: Engine, gang: Gang) -> list[str]:
    """What is there now, and who holds the rest, in the domain that comes closest."""
    fleet = engine.fleet
    rows, where = _closest(fleet, gang)
    free = int(np.minimum(slots(fleet, gang.piece, fleet.may(gang) & rows), gang.count).sum())
    place = f" in {where}" if where else ""
    said = [f"{free or 'none'} {'are' if free > 1 else 'is'} free{place}"]
    holders: Counter[str] = Counter()
    for placement in engine.placed.values():
        held = sum(len(seat.gpus) * seat.milli for seat in placement.seats if rows[seat.row])
        if held:
            name = placement.gang.name
            holders[OTHER if name.startswith(f"{OTHER_WORK}@") else name] += held
    if holders:
        named = sorted(holders, key=lambda name: (-holders[name], name))
        told = [f"{name} ({_gpus(holders[name])})" for name in named[:MOST_NAMED]]
        if len(named) > MOST_NAMED:
            told.append(f"{len(named) - MOST_NAMED} more")
        said.append(f"the rest is held by {_list(told)}")
    said += _scarce(fleet, gang.piece, fleet.may(gang) & rows)
    said += _reserved(fleet, gang, rows)
    if out := _out(fleet, rows):
        said.append(out)
    return said


def _reserved(fleet: Fleet, gang: Gang, rows: Bools) -> list[str]:
    """Nodes that are kept for somebody else, by reservation."""
    told = []
    for kept in fleet.kept:
        count = int((kept.rows & rows).sum())
        if count and isinstance(kept, Hold) and not kept.lets(gang):
            begun = "" if kept.begins_s <= 0 else f" in {kept.begins_s / 3600:.1f} h"
            whom = kept.tenant or "nobody's work"
            nodes = f"{count} node{'s are' if count > 1 else ' is'}"
            told.append(f"{nodes} reserved for {whom}{begun} ({kept.name})")
    return told


def _closest(fleet: Fleet, gang: Gang) -> tuple[Bools, str]:
    """Rows of the domain with the most free slots, and its name; all rows without a level."""
    if not gang.within:
        return np.ones(len(fleet), np.bool_), ""
    free = np.minimum(slots(fleet, gang.piece, fleet.may(gang)), gang.count)
    at = int(capacity(fleet, free, gang.within).argmax())
    name = fleet.domain_names[gang.within][at]
    return fleet.domains[gang.within] == at, name


def _scarce(fleet: Fleet, piece: Piece, may: Bools) -> list[str]:
    """GPUs that are free beside spent CPU or memory."""
    if not piece.gpus:
        return []
    bare = Piece(gpus=piece.gpus, milli=piece.milli, models=piece.models)
    rows = fitting(fleet, bare, may)
    said = []
    for what, free, wanted in (
        ("CPU", fleet.cpu, piece.cpu_milli),
        ("memory", fleet.memory, piece.memory_mib),
    ):
        spent = int((free[rows] < wanted).sum()) if wanted else 0
        if spent and fleet.cpu_total.max() < AMPLE:
            nodes = f"{spent} node{'s have' if spent > 1 else ' has'}"
            said.append(f"{nodes} the GPUs but not the {what}")
    return said


def _out(fleet: Fleet, rows: Bools) -> str:
    counts = [
        (int((column & rows).sum()), word)
        for column, word in (
            (fleet.closed, "fenced"),
            (fleet.suspect, "under suspicion"),
            (fleet.spare, "kept as spare"),
        )
    ]
    told = [f"{n} node{'s are' if n > 1 else ' is'} {word}" for n, word in counts if n]
    return _list(told)


def _earliest(gang: Gang, reservation: Reservation | None, now: float, zone: tzinfo) -> str:
    if reservation is None or reservation.gang.name != gang.name:
        return "no runtime estimate says when that ends"
    at, today = utc(reservation.at).astimezone(zone), utc(now).astimezone(zone)
    day = "" if at.date() == today.date() else f" on {at:%Y-%m-%d}"
    after = f", when {reservation.after} ends" if reservation.after else ""
    return f"earliest {at:%H:%M}{day}{after}"


def _gpus(milli: int) -> str:
    return "1 GPU" if milli == WHOLE else f"{milli / WHOLE:g} GPUs"


def _list(words: list[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
