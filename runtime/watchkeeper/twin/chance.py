"""Where the twin's chance comes from: one stream for each purpose, all from the seed.

Streams hang on a fixed tree, so that switching noise off does not move the faults, and a draw
for one fault or one question does not depend on what was drawn before it.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream is for. Numbers are part of every run's trace: never renumber, only add."""

    NODES = 0
    FAULTS = 1
    RELAPSE = 2
    NOISE = 3
    PEOPLE = 4
    REPAIR = 5
    WORK = 6
    SYMPTOMS = 7
    EFFECTS = 8
    SENSORS = 9


def stream(seed: int, purpose: Stream, *keys: int) -> np.random.Generator:
    """The generator of this purpose (and, with keys, of this one thing); the same every time."""
    tree = np.random.SeedSequence(seed, spawn_key=(int(purpose), *keys))
    return np.random.Generator(np.random.PCG64(tree))


def uniform(seed: int, purpose: Stream, *keys: int) -> float:
    """One number in [0, 1) for this one thing, about 15 µs."""
    return float(stream(seed, purpose, *keys).random())
