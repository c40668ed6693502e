"""The fleet as a picture: where each node stands, one character for each GPU, and its last hour."""

from datetime import datetime
from enum import StrEnum

from watchkeeper.core.word import Word

NODE_STATES = {
    "healthy": "h",
    "suspect": "s",
    "failed": "f",
    "dead": "d",
    "draining": "r",
    "cordoned": "c",
    "checking": "k",
    "silent": "q",
    "unknown": "u",
}
"""How a node stands -> its character on every map."""


class Shade(StrEnum):
    """What the colour of a cell may stand for."""

    HEALTH = "health"
    UTILIZATION = "utilization"
    TEMPERATURE = "temperature"
    POWER = "power"
    FORECAST = "forecast"


class Grouping(StrEnum):
    """What one block of the map may be."""

    RACK = "rack"
    NVLINK = "nvlink"
    POOL = "pool"


class Block(Word, frozen=True):
    """One domain. r: its name ("" = none known). n: its nodes, in order. g: GPUs of each."""

    r: str
    n: tuple[str, ...]
    g: tuple[int, ...]


class FleetLayout(Word, frozen=True):
    """Where everything stands. key: changes when a node comes, goes, moves or has other GPUs."""

    key: str
    by: Grouping
    blocks: tuple[Block, ...]


class FleetCells(Word, frozen=True):
    """One reading of all cells, in the order of the layout of the same key.

    s: one character for each node: h healthy, s suspect, f failed, d dead, r draining, c cordoned,
    k checking, q silent, u unknown. g: one for each GPU: a digit for one that is well (0 to 9 from
    `low` to `high`, in `unit`), `.` where that is not known, f failed, c cordoned, x hidden,
    q silent. what: of the worst nodes, what is said.
    """

    key: str
    at: datetime
    shade: Shade
    low: float
    high: float
    unit: str
    s: str
    g: str
    what: dict[str, str]
    simulated: bool


class Trace(Word, frozen=True):
    """The last hour of one node. ago_s: seconds before now, oldest first. Each of utilization
    (percent), temperature (degrees C) and power (W) has a row for each GPU; None is not known."""

    node: str
    ago_s: tuple[float, ...]
    utilization: tuple[tuple[float | None, ...], ...]
    temperature: tuple[tuple[float | None, ...], ...]
    power: tuple[tuple[float | None, ...], ...]
    since: datetime | None = None
