"""Rates never stand alone: denominators and bounds, against published values."""

import pytest

from watchkeeper_evals.remediation import bounds


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        pytest.param(0, 300, 0.0, 0.012221, id="none of 300: about three in 300"),
        pytest.param(1, 10, 0.002529, 0.445016, id="one of ten"),
        pytest.param(5, 10, 0.187086, 0.812914, id="half of ten, symmetric"),
        pytest.param(10, 10, 0.691503, 1.0, id="all of ten"),
    ],
)
def test_a_share_has_the_exact_clopper_pearson_bound(count, of, low, high):
    told = bounds.share(count, of)
    assert (told["count"], told["of"], told["rate"]) == (count, of, count / of)
    assert told["low95"] == pytest.approx(low, abs=2e-6)
    assert told["high95"] == pytest.approx(high, abs=2e-6)


def test_a_share_of_nothing_has_no_rate_and_says_nothing():
    nothing = {"count": 0, "of": 0, "rate": None, "low95": 0.0, "high95": 1.0, "upper95": 1.0}
    assert bounds.share(0, 0) == nothing


def test_nothing_in_n_is_bounded_by_the_rule_of_three():
    assert bounds.share(0, 300)["upper95"] == pytest.approx(3 / 300, rel=0.01)
    assert bounds.per(0, 100_000.0, "node-day")["upper95"] == pytest.approx(3e-5, rel=0.01)


def test_nothing_in_100_000_node_days_still_leaves_a_rate_above_zero():
    told = bounds.per(0, 100_000.0, "node-day")
    assert told["rate"] == 0
    assert told["high95"] == pytest.approx(3.6889e-5, rel=1e-3)


def test_a_mean_over_seeds_has_a_bound_and_one_seed_has_none():
    told = bounds.mean([0.97, 0.98, 0.99])
    assert told["mean"] == pytest.approx(0.98)
    assert told["high95"] - told["mean"] == pytest.approx(4.30265 * 0.01 / 3**0.5, rel=1e-4)
    assert bounds.mean([0.97])["low95"] is None
