"""A quantile forest: what came after past moments that look like this one.

Extremely randomised trees; each leaf keeps a few of the changes that fell into it, and the pooled
changes of all trees are the distribution (Meinshausen 2006, with the leaves sampled). Much faster
than one boosted model for each quantile, and its bands are honest. A door to scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from watchkeeper.demand.past import Ints, Past
from watchkeeper.demand.rows import asked, training
from watchkeeper.demand.series import Floats


@dataclass(frozen=True)
class Forest:
    """seed: handed in, so that the same series gives the same forecast."""

    seed: int
    trees: int = 100
    leaf: int = 15
    per_origin: int = 4
    keep: int = 5
    name: str = "forest"
    needs_s: float = 10 * 86400.0
    refit_s: float = 7 * 86400.0

    def fit(self, past: Past, until: int, steps: Sequence[int], levels: Floats) -> _Grown:
        from sklearn.ensemble import ExtraTreesRegressor

        x, y = training(past, until, steps, self.per_origin, self.seed)
        x = np.nan_to_num(x)
        trees = ExtraTreesRegressor(
            self.trees,
            min_samples_leaf=self.leaf,
            max_features=0.4,
            bootstrap=True,
            max_samples=0.5,
            random_state=self.seed,
            n_jobs=1,
        ).fit(x, y)
        leaves = trees.apply(x)
        chance = np.random.default_rng(self.seed)
        kept = tuple(self._sample(leaves[:, t], y, chance) for t in range(self.trees))
        return _Grown(trees, kept, tuple(steps), levels)

    def _sample(self, leaf: Ints, y: Floats, chance: np.random.Generator) -> Floats:
        """f8[node, keep]: changes drawn from each leaf, in turn again where it holds fewer."""
        order = chance.permutation(len(y))
        order = order[np.argsort(leaf[order], kind="stable")]
        begin = np.searchsorted(leaf[order], np.arange(leaf.max() + 2))
        count = np.maximum(np.diff(begin), 1)
        turn = np.arange(self.keep)[None, :] % count[:, None]
        rows = np.minimum(begin[:-1, None] + turn, len(y) - 1)
        return np.asarray(y[order][rows])


@dataclass(frozen=True, eq=False)
class _Grown:
    trees: Any
    kept: tuple[Floats, ...]
    steps: tuple[int, ...]
    levels: Floats

    def at(self, past: Past, origins: Ints) -> Floats:
        origin, ahead = asked(origins, self.steps)
        leaves = self.trees.apply(np.nan_to_num(past.features(origin, ahead)))
        pooled = np.concatenate([k[leaves[:, t]] for t, k in enumerate(self.kept)], axis=1)
        change = np.quantile(pooled, self.levels, axis=1).T
        said: Floats = past.base[origin][:, None] + change * np.sqrt(ahead)[:, None]
        return said.reshape(len(origins), len(self.steps), len(self.levels))
