"""Demand to come, with the method that says so."""

from datetime import datetime

from watchkeeper.core.word import Word


class Forecast(Word, frozen=True):
    """GPUs wanted in one pool, as quantiles over horizons.

    horizons_s: seconds ahead. quantiles: levels in (0, 1). values[h][q] in GPUs. method: the
    model that made it (`persistence`, `seasonal_naive_24h`, `gradient_boosting`). why: why this
    method and no better one. history_s: length of history seen. score: backtest WQL as a ratio
    to persistence, None before there is enough history.
    """

    pool: str
    made_at: datetime
    method: str
    why: str
    horizons_s: tuple[float, ...]
    quantiles: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    history_s: float
    score: float | None = None
    coverage80: float | None = None
