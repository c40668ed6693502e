"""Who held which GPUs for how long, as it was metered, and what that came to.

What was not seen is not filled in: hours that nobody watched are told as unknown hours.
"""

from datetime import date, datetime

from watchkeeper.core.cluster import World
from watchkeeper.core.word import Word

HELD, UNNAMED, IDLE, FRAGMENT, FENCED, OUT, UNKNOWN = (
    "held",
    "unnamed",
    "idle",
    "fragment",
    "fenced",
    "out",
    "unknown",
)
USES: dict[str, str] = {
    HELD: "held by gangs, told by tenant",
    UNNAMED: "in use by work that is no gang",
    IDLE: "free, on nodes open to work",
    FRAGMENT: "free, while what waits in the pool fits nowhere on its node",
    FENCED: "behind our fence, or quarantined",
    OUT: "on nodes that are dead or draining",
    UNKNOWN: "on nodes of which Ray says nothing",
}
"""Each GPU of a pool is in exactly one of these at any moment."""

STRANDED = (FRAGMENT, FENCED, OUT)
"""Paid for, and of no use to anybody."""


class UsageRecord(Word, frozen=True):
    """One stretch of metering, as the journal keeps it.

    first, last: wall time. known_s: seconds of it that were really watched. gpu_hours: pool ->
    use (of `USES`) -> GPU-hours. tenants: pool -> tenant -> GPU-hours held; they add up to
    `held`. energy_kwh: pool -> drawn by its GPUs; None where some of them were silent.
    """

    first: datetime
    last: datetime
    known_s: float
    gpu_hours: dict[str, dict[str, float]]
    tenants: dict[str, dict[str, float]]
    energy_kwh: dict[str, float | None] = {}
    world: World = World.REAL
    simulated: bool = False


class CostLine(Word, frozen=True):
    """One line of a bill. tenant: for what is held; "" elsewhere, and for gangs that name none.
    money: None where it has no price."""

    pool: str
    use: str
    tenant: str
    gpu_hours: float
    money: float | None = None


class Bill(Word, frozen=True):
    """What a time came to. lines: by pool, use and tenant; together every GPU-hour that was seen.

    known_h, unknown_h: hours watched, and not. money: of all lines; None where a line has no
    price. energy_kwh, energy_money: None where unknown or, for money, not paid for apart.
    notes: what a reader must know, such as why a cost is unknown.
    """

    first: datetime
    last: datetime
    known_h: float
    unknown_h: float
    currency: str
    lines: tuple[CostLine, ...]
    money: float | None = None
    energy_kwh: float | None = None
    energy_money: float | None = None
    notes: tuple[str, ...] = ()


class Burn(Word, frozen=True):
    """How far one allowance is used up in its month, and where the month will end.

    used: so far; None where a cost is unknown. projected, low, high: for the whole month; None
    where too little is known to say. runs_out: when it is used up at this pace, if in this month.
    days: (day, used on it, hours of it that were watched). says: all of it in a sentence or two.
    """

    id: str
    unit: str
    amount: float
    first: date
    last: date
    used: float | None
    known_h: float
    unknown_h: float
    projected: float | None = None
    low: float | None = None
    high: float | None = None
    runs_out: datetime | None = None
    warns: bool = False
    days: tuple[tuple[date, float, float], ...] = ()
    says: str = ""
    where: str = ""
    tenant: str = ""
    pool: str = ""


class Costs(Word, frozen=True):
    """What the page and the command show: a bill, the allowances, and whose figures they are."""

    at: datetime
    world: str
    simulated: bool
    prices: str
    bill: Bill
    burns: tuple[Burn, ...] = ()
