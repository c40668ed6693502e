"""Demand to come, with the method that says so."""

from datetime import datetime

from watchkeeper.core.word import Word


class Forecast(Word, frozen=True):
    """GPUs wanted in one pool, as quantiles over horizons.

    horizons_s: seconds ahead. quantiles: levels in (0, 1). values[h][q] in GPUs. method: the
    model that made it (`persistence`, `seasonal_naive_24h`, `gradient_boosting`). why: why this
    method and no better one. history_s: length of history seen. score: backtest WQL as a ratio
    to persistence, None before there is enough history. coverage80: share of what came that lay
    in the 80 % band, in the same backtest; origins: the past moments it was made at. drifted: the
    errors of late are unlike those of the backtest, so score and band are not to be trusted.
    shares: what each model has in a method that averages several. made_over: forecasts of this
    kind that were made ahead, unused, and then compared with what came (the shadow record), with
    their own score and coverage.
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
    origins: int = 0
    drifted: bool = False
    shares: tuple[tuple[str, float], ...] = ()
    made_over: int = 0
    made_score: float | None = None
    made_coverage80: float | None = None
