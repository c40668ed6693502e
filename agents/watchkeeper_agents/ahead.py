"""What a forecast says of the time in which a node could come: will its pool be short, and may it
act on that?

A forecast acts only where its error was measured and is below persistence's; how far below, and
for how many nodes, is the policy's to say. One that is not proven is told, and that is all.
"""

from __future__ import annotations

from typing import NamedTuple

from watchkeeper.core.facts import level_for, quantile_at
from watchkeeper.core.forecast import Forecast
from watchkeeper_agents.tools import Tools, outlook

HORIZON_S = 3600.0
"""How far ahead is planned: far enough for a node to come and to be of use."""

SOONEST_S = 300.0
"""Sooner than this no node comes, so nothing is planned for it."""


class Ahead(NamedTuple):
    """A shortage that is foreseen. short_gpus: beyond what the pool has, at the service level that
    policy sets. node_gpus: of one node. says and proof: the figures, for people."""

    forecast: Forecast
    short_gpus: float
    node_gpus: int
    says: str
    proof: str

    @property
    def acts(self) -> bool:
        """Its error was measured, is below that of saying that all stays as it is, and was not
        another of late."""
        score = self.forecast.score
        return score is not None and score < 1.0 and not self.forecast.drifted


def ahead_of(tools: Tools, pool: str) -> Ahead | None:
    """The largest shortage within `HORIZON_S`; None where none is seen, or nobody can say."""
    demand, forecast = tools.demand(pool), tools.forecast(pool)
    if demand is None or forecast is None:
        return None
    level = level_for(forecast, tools.service_level(pool))
    if level is None:
        return None
    wanted = [
        (value, horizon)
        for horizon in forecast.horizons_s
        if SOONEST_S <= horizon <= HORIZON_S
        and (value := quantile_at(forecast, horizon, level)) is not None
    ]
    if not wanted or max(wanted)[0] <= demand.total_gpus:
        return None
    most, when = max(wanted)
    nodes = [n for n in tools.snapshot.nodes.values() if n.pool == pool and not n.control_path]
    says = (
        f"{most:.0f} GPUs are wanted in {when / 60:.0f} min at the {level:.0%} quantile; "
        f"{pool} has {demand.total_gpus:g}, {demand.running_gpus:g} in use and "
        f"{demand.pending_gpus:g} waited for."
    )
    return Ahead(
        forecast=forecast,
        short_gpus=most - demand.total_gpus,
        node_gpus=max((n.gpus for n in nodes), default=1) or 1,
        says=f"{says} {outlook(forecast, demand.total_gpus)}".strip(),
        proof=_proof(forecast),
    )


def _proof(forecast: Forecast) -> str:
    """How good the forecast was on the past."""
    if forecast.score is None:
        return "Its error was not measured yet."
    held = forecast.coverage80
    band = "" if held is None else f"; its 80 % interval held {held:.0%} of the time"
    return (
        f"In the backtest {forecast.method} lost {forecast.score:.2f} of what persistence "
        f"lost{band}."
    )
