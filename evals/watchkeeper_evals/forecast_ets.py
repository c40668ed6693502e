"""AutoETS as a baseline, where statsforecast is installed (extra `forecast-bench`); else nothing.

Season of a day, a window of 21 days, fitted anew at each origin, as in its users' own examples.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchkeeper.demand.past import Past
from watchkeeper.demand.series import Floats

WINDOW_D = 21


def auto_ets(
    past: Past, origins: NDArray[np.int64], steps: int, tell: Callable[[str], None]
) -> Floats | None:
    """f8[origins, steps, 5] at levels .05 .1 .5 .9 .95; None without statsforecast."""
    if find_spec("statsforecast") is None or past.day > MOST_SEASON:
        return None
    from statsforecast.models import AutoETS  # type: ignore[import-not-found]

    out = np.empty((len(origins), steps, 5))
    for i, origin in enumerate(origins):
        known = past.filled[max(0, int(origin) + 1 - WINDOW_D * past.day) : int(origin) + 1]
        said: dict[str, Any] = AutoETS(season_length=past.day).forecast(
            y=known[~np.isnan(known)], h=steps, level=[80, 90]
        )
        columns = [said[k] for k in ("lo-90", "lo-80", "mean", "hi-80", "hi-90")]
        out[i] = np.clip(np.sort(np.stack(columns, axis=1), axis=1), 0.0, None)
    tell("  auto_ets")
    return out


MOST_SEASON = 24
"""ETS takes no longer season."""
