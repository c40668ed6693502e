"""Are the errors of late still those that a model was judged by? A one-sided CUSUM.

It adds up how far each forecast's loss is above what the backtest led to expect; a single odd
night does not alarm, several in a row do.
"""

from __future__ import annotations

import numpy as np

from watchkeeper.demand.series import Floats

ALLOWED = 1.5
"""A loss of so many times the expected one is still noise."""

MOST = 4.0
"""One forecast counts at most this much, so that one outage is no drift."""

ALARM = 9.0


def drifted(losses: Floats, expected: float) -> bool:
    """losses: of past forecasts, oldest first, in any unit; expected: their mean in the backtest.
    True while the sum stands above the alarm at the newest of them."""
    return bool(level(losses, expected) > ALARM)


def level(losses: Floats, expected: float) -> float:
    """The CUSUM at the newest loss; 0 when nothing is out of the ordinary."""
    unit = max(expected, 1e-9)
    stands = 0.0
    for loss in losses[np.isfinite(losses)]:
        stands = max(0.0, stands + min(float(loss) / unit - ALLOWED, MOST))
    return stands
