"""The columns of gangs say what one gang, looked at minute by minute, would say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.health.paces import RECENT, USUAL, Gangs, _measured, _one_by_one
from watchkeeper.health.robust import medians
from watchkeeper.health.sense import REAL

PACES = st.lists(
    st.sampled_from([9.5, 10.0, 10.5, 12.0, 13.5, 15.0, 30.0]), max_size=USUAL + RECENT
)


def _row(paces: list[float]) -> np.ndarray:
    return np.array([np.nan] * (USUAL + RECENT - len(paces)) + paces)


@given(PACES, st.sampled_from([9.5, 10.0, 12.0, 14.0, 40.0]), st.integers(1, 45))
def test_many_minutes_alike_at_once_are_the_same_as_one_by_one(
    paces: list[float], pace: float, minutes: int
) -> None:
    steps = 6 * minutes
    took = pace * steps
    one = np.zeros(1)
    gangs = replace(
        Gangs(),
        names=("g",),
        attempts=("g-a1",),
        row={"g": 0},
        step=np.array([steps]),
        at=np.array([took]),
        mark_step=np.array([0]),
        mark_at=one,
        limit_s=one,
        paces=_row(paces)[None, :],
        usual_pace=one,
        pause_s=one,
        slow_since=np.array([np.nan]),
    )
    measured = _measured(gangs, np.array([0]), np.array([], np.int64), REAL)
    times = min(USUAL + RECENT, max(1, int(took / 60.0)))
    wanted = _one_by_one(_row(paces), pace, times, REAL)
    np.testing.assert_allclose(measured.paces[0], wanted)


@given(st.lists(PACES, min_size=1, max_size=5))
def test_the_median_of_a_row_leaves_out_what_is_not_known(rows: list[list[float]]) -> None:
    found = medians(np.array([_row(paces) for paces in rows]))
    wanted = [np.median(paces) if paces else np.nan for paces in rows]
    np.testing.assert_allclose(found, wanted)
