"""Where costs and plans get their figures: the journal's usage and forecasts, a price book, orders.

Reads files only; asks no running watch, so that it answers as well when none runs.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np

from watchkeeper.capacity.ahead import Ahead, from_quantiles
from watchkeeper.control.spending import ahead_now, metered
from watchkeeper.core.errors import UsageError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.money import PriceBook
from watchkeeper.core.usage import FRAGMENT, HELD, IDLE, UNNAMED, UsageRecord
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.price_book import load_prices

IN_SERVICE = (HELD, UNNAMED, IDLE, FRAGMENT)
"""Uses of GPUs that work can have."""
MAX_BYTES = 1_000_000


@dataclass
class Read:
    """What a journal holds about money. policy: the files of the orders loaded last."""

    usage: list[UsageRecord] = field(default_factory=list)
    forecasts: dict[str, Forecast] = field(default_factory=dict)
    policy: dict[str, str] = field(default_factory=dict)
    world: str = ""

    def now(self, now: datetime) -> datetime:
        """As of when to answer: a twin's clock may be ahead of ours."""
        return max(now, self.usage[-1].last) if self.usage else now


def from_events(events: Iterable[Event]) -> Read:
    """One pass over the record."""
    found = Read()
    for event in events:
        match event.kind:
            case Kind.METERED:
                found.usage += [record] if (record := metered(event)) else []
            case Kind.FORECAST:
                made = msgspec.convert(event.data["forecast"], Forecast)
                found.forecasts[made.pool] = made
            case Kind.POLICY_LOADED:
                found.policy = dict(event.data.get("files", {}))
            case Kind.WATCH_STARTED:
                found.world = str(event.data.get("world", ""))
    return found


def read_journal(path: Path) -> Read:
    """The journal at a path. Raises UsageError where there is none, JournalBroken."""
    from watchkeeper.adapters.journal_file import read_events

    if not path.exists():
        raise UsageError(
            f"There is no journal at {path}. Start a watch with `watchkeeper up`, or name a "
            "journal or an export with --journal."
        )
    return from_events(read_events(path))


def read_prices(path: Path | None) -> PriceBook | None:
    """A price book; None where none is named. Raises UsageError, PolicyError."""
    if path is None:
        return None
    try:
        data = path.read_bytes()[: MAX_BYTES + 1]
        if len(data) > MAX_BYTES:
            raise UsageError(f"{path} is larger than {MAX_BYTES} bytes. A price book is not.")
        return load_prices(str(path), data.decode("utf-8-sig"))
    except OSError as err:
        raise UsageError(f"The price book {path} cannot be read: {err.strerror}.") from err
    except UnicodeDecodeError as err:
        raise UsageError(f"{path} is not UTF-8 text. Save it as UTF-8.") from err


def orders(path: Path | None, read: Read | None, at: datetime) -> CheckedPolicy | None:
    """The orders in a folder; else those that the journal's watch loaded last; else none."""
    from watchkeeper.adapters.policy_files import read_policy_dir

    if path is not None:
        return load(read_policy_dir(path), at)
    return load(read.policy, at) if read is not None and read.policy else None


def nodes_there(read: Read, pool: str, gpus_per_node: int) -> int | None:
    """Nodes of a pool that could take work, by the last usage record; None where unknown."""
    for record in reversed(read.usage):
        uses = record.gpu_hours.get(pool)
        if uses and record.known_s > 0:
            gpus = sum(uses.get(use, 0.0) for use in IN_SERVICE) / (record.known_s / 3600)
            return round(gpus / gpus_per_node)
    return None


def ahead_of(read: Read, pool: str, now: datetime) -> Ahead:
    """The newest forecast of a pool from now on. Raises UsageError where none reaches so far."""
    made = read.forecasts.get(pool)
    if made is None:
        known = ", ".join(sorted(read.forecasts)) or "none"
        raise UsageError(
            f"The journal has no forecast for {pool} (pools with one: {known}). Let the watch "
            "run for a while, or name a file with --forecast."
        )
    found = ahead_now(made, now)
    if isinstance(found, str):
        raise UsageError(found)
    return found


def ahead_in(path: Path, pool: str) -> Ahead:
    """Quantiles from a CSV file with the columns `pool`, `hour` (0, 1, ...) and one for each
    level, such as `0.5` and `0.95`. Raises UsageError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.DictReader(file) if row.get("pool") == pool]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise UsageError(f"The forecast {path} cannot be read: {err}.") from err
    names = [name for name in (rows[0] if rows else {}) if name not in ("pool", "hour")]
    try:
        levels = [float(name) for name in names]
        hours = [int(row["hour"]) for row in rows]
        gpus = np.array([[float(row[name]) for name in names] for row in rows])
    except (KeyError, TypeError, ValueError) as err:
        raise UsageError(
            f"{path} is not a forecast: {err}. Its columns are pool, hour, and one for each level "
            "in (0, 1), such as 0.5 and 0.95; every cell is a number."
        ) from err
    if not rows or hours != list(range(len(rows))):
        raise UsageError(f"{path} must hold the hours 0, 1, 2, ... of {pool}, in this order.")
    if not levels or not all(0 < level < 1 for level in levels) or not np.isfinite(gpus).all():
        raise UsageError(f"The levels of {path} must lie in (0, 1), and its cells be finite.")
    return from_quantiles(pool, levels, gpus, path.name)
