"""Model servers: a deployment as it runs, what policy promises for it, and the plan of both."""

from datetime import datetime
from math import ceil

from msgspec.structs import replace

from watchkeeper.core.forecast import Forecast
from watchkeeper.core.word import Word

SERVE = "serve:"
"""Before a deployment's name: the name of its series and of its forecast."""

PERCENTILES = (50, 95, 99)
"""Of latency, which are measured and which a goal may speak of."""


class Serving(Word, frozen=True):
    """One deployment of a model server, as its own metrics tell it.

    name: `application/deployment`. pool: where its replicas run; "" while none does. replicas:
    ready; wanted: as many as its server means to run. gpus: of one replica. rate: requests a
    second that came to all of them, over the last `span_s`; None until two looks were taken.
    latency_s: by percentile of `PERCENTILES`, of what was answered in that time; () where nothing
    was. whole: latency counts the wait for a replica too, as its callers see it.
    """

    name: str
    pool: str
    replicas: int
    wanted: int
    gpus: float
    read_at: datetime
    rate: float | None = None
    latency_s: tuple[float, ...] = ()
    span_s: float = 0.0
    whole: bool = False


class ServeOrder(Word, frozen=True):
    """What policy promises for one deployment, or (`default`) for every other. latency_s: of the
    percentile, at most. start_s: from asking for a node to the first answer of a replica there.
    least: replicas that always run. level: the quantile of the rate that is planned for."""

    name: str
    latency_s: float
    percentile: int = 95
    start_s: float = 600.0
    least: int = 1
    level: float = 0.95
    where: str = ""


class ServePlan(Word, frozen=True):
    """Replicas of one deployment for the rates to come.

    now: ready, or being started. replicas: wanted by the time a new one could answer; None where
    nothing can be said, and then `why` says why. carries: requests a second that one replica
    carried within the goal, over `measured` minutes; reached: more was seen to miss it. by_hour:
    (seconds ahead, replicas). act_now: waiting longer means missing the goal.
    """

    name: str
    pool: str
    at: datetime
    now: int
    gpus: float
    why: str
    goal: str = ""
    replicas: int | None = None
    carries: float | None = None
    reached: bool = False
    measured: int = 0
    start_s: float = 0.0
    by_hour: tuple[tuple[float, int], ...] = ()
    act_now: bool = False
    rate: float | None = None
    latency_s: float | None = None

    @property
    def more_gpus(self) -> float:
        """GPUs of the replicas that are wanted and not there."""
        return max(0, (self.replicas or 0) - self.now) * self.gpus


def in_gpus(rates: Forecast, plan: ServePlan) -> Forecast | None:
    """A forecast of a deployment's request rate as GPUs for its replicas, with the record that the
    rates have; None where nobody knows what one carries."""
    if not plan.carries:
        return None
    carries, gpus = plan.carries, plan.gpus
    return replace(
        rates,
        pool=plan.pool,
        values=tuple(tuple(ceil(v / carries - 1e-9) * gpus for v in row) for row in rates.values),
    )


def serve_order(orders: dict[str, ServeOrder], name: str) -> ServeOrder | None:
    """What policy says of a deployment; None where it says nothing."""
    return orders.get(name) or orders.get("default")
