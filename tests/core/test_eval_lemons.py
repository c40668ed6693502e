"""The trainer of the lemon model, on made-up histories whose truth is known."""

import numpy as np
import pytest

from watchkeeper.core.errors import UsageError
from watchkeeper.health.lemons import History, parse_model, score
from watchkeeper_evals.lemons import (
    LEAST_PRECISION,
    STRENGTH,
    Row,
    as_json,
    figures,
    fit,
    line,
    threshold,
)


def rows(seeds=(1, 2, 3, 4), nodes: int = 120, lemons: int = 6) -> list[Row]:
    """Lemons fail about four times in four weeks, others seldom."""
    made = []
    for seed in seeds:
        chance = np.random.default_rng(seed)
        for n in range(nodes):
            lemon = n < lemons
            outs = int(chance.poisson(4.0 if lemon else 0.15))
            kinds = int(min(outs, chance.poisson(1.5))) if outs else 0
            history = History(
                node=f"n{n}", xids=3 * outs, kinds=kinds, outs=outs, repeats=max(0, outs - kinds)
            )
            made.append(Row(seed, 28.0, history, lemon))
    return made


def test_the_coefficients_that_ship_say_what_scikit_learn_says():
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    chance = np.random.default_rng(7)
    z = chance.normal(size=(200, 3))
    y = z.sum(axis=1) + chance.normal(size=200) > 1.5
    seeds = np.repeat([1, 2, 3, 4], 50)
    folds = list(GroupKFold(n_splits=4).split(z, y, seeds))
    base = LogisticRegression(C=STRENGTH, max_iter=2000)
    theirs = CalibratedClassifierCV(base, method="sigmoid", cv=folds, ensemble=False).fit(z, y)
    assert np.allclose(line(z, y, seeds).of(z), theirs.predict_proba(z)[:, 1], atol=1e-9)


def test_more_trouble_never_makes_a_node_look_better():
    chance = np.random.default_rng(8)
    z = chance.normal(size=(200, 3))
    y = z[:, 0] - z[:, 1] + chance.normal(size=200) > 1.0
    fitted = line(z, y, np.repeat([1, 2, 3, 4], 50))
    assert (fitted.weights >= 0).all()
    assert fitted.weights[0] > 0 == fitted.weights[1]
    assert all(w >= 0 for w in fit(rows(), {}).weights)


def test_it_tells_lemons_from_bad_luck_on_seeds_that_it_never_saw():
    model = fit(rows(), {"world": "twin"})
    found = figures(rows(seeds=(8, 9)), model)
    assert (found["nodes"], found["lemons"]) == (240, 12)
    assert found["precision"]["rate"] >= 0.8
    assert found["recall"]["rate"] >= 0.6
    assert found["brier"] < found["brier_of_the_base_rate"] / 2


def test_it_is_calibrated_what_it_calls_likely_happens_as_often():
    model = fit(rows(seeds=range(1, 9)), {})
    bins = figures(rows(seeds=range(11, 21)), model)["reliability"]
    assert sum(b["nodes"] for b in bins) == 1200
    sure = [b for b in bins if b["nodes"] >= 20]
    assert all(abs(b["said"] - b["were"]) < 0.15 for b in sure)


def test_what_is_written_is_what_the_product_reads():
    model = fit(rows(), {"world": "twin", "commit": "abc"})
    again = parse_model(as_json(model))
    assert again == model
    histories = [r.history for r in rows(seeds=(5,))]
    assert score(histories, again) == score(histories, model)


def test_the_threshold_is_the_lowest_that_keeps_precision():
    sure = np.array([0.9, 0.8, 0.7, 0.6, 0.1])
    truth = np.array([True, True, True, False, False])
    assert threshold(sure, truth) == 0.7
    assert LEAST_PRECISION > 0.75
    assert threshold(np.array([0.4, 0.2]), np.array([False, False])) == 0.5


def test_too_few_seeds_with_lemons_are_refused():
    with pytest.raises(UsageError, match="seeds need a lemon"):
        fit(rows(seeds=(1, 2)), {})
