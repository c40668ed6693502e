"""What each rung would have said at past moments: rolling origins, learned only from before them.

The one table from which the gate, the calibration and the evaluation all read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from watchkeeper.demand.member import Member, tidy
from watchkeeper.demand.past import Ints, Past
from watchkeeper.demand.series import Floats


@dataclass(frozen=True, eq=False)
class Panel:
    """said[name]: f8[origins, steps, levels] in GPUs, NaN where that rung could not speak yet.
    came: f8[origins, steps], NaN where it is not known. origins: rows, oldest first."""

    origins: Ints
    steps: Ints
    levels: Floats
    came: Floats
    said: dict[str, Floats]


def roll(
    past: Past,
    members: Sequence[Member],
    origins: Ints,
    steps: Sequence[int],
    levels: Floats,
    tell: Callable[[str], None] = lambda _: None,
) -> Panel:
    """Every member at every origin. A member learns anew as often as it asks to; between two fits
    it is asked for all origins at once."""
    ahead = np.asarray(steps, dtype=np.int64)
    rows = origins[:, None] + ahead
    came = np.where(rows < len(past), past.values[np.minimum(rows, len(past) - 1)], np.nan)
    said: dict[str, Floats] = {}
    for member in members:
        told = np.full((len(origins), len(steps), len(levels)), np.nan)
        for block in _blocks(past, member, origins):
            fitted = member.fit(past, int(origins[block[0]]) + 1, steps, levels)
            told[block] = tidy(fitted.at(past, origins[block]))
        said[member.name] = told
        tell(member.name)
    return Panel(origins, ahead, levels, came, said)


def _blocks(past: Past, member: Member, origins: Ints) -> list[Ints]:
    """Which origins share a fit: those within `refit_s` of the first of them."""
    age = past.series.times - past.series.times[0]
    blocks: list[list[int]] = []
    begun = -np.inf
    for i, origin in enumerate(origins):
        now = float(age[origin])
        if now < member.needs_s:
            continue
        if not blocks or now - begun >= member.refit_s:
            blocks.append([])
            begun = now
        blocks[-1].append(i)
    return [np.asarray(block, dtype=np.int64) for block in blocks]
