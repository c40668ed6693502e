"""The price book: what is read is what was written, and what is wrong is told with its place."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from watchkeeper.core.errors import PolicyError
from watchkeeper.policy.price_book import load_prices, price_schema

PRICES = Path(__file__).parents[2] / "prices"
HEAD = """\
apiVersion: watchkeeper/v1
kind: PriceBook
metadata: {name: b, description: made up for this test}
valid: {first: 2026-01-01, last: 2026-12-31}
"""
POOLS = "pools:\n  train: {gpus_per_node: 8, gpu_hour: 2 USD}\n"


def test_the_shipped_example_loads_and_says_that_it_is_one() -> None:
    file = PRICES / "example.yaml"
    book = load_prices("prices/example.yaml", file.read_text())
    assert "not a price list" in book.description
    assert "EXAMPLE FIGURES, NOT A PRICE LIST" in file.read_text()
    train = book.pools["train"]
    assert (train.gpus_per_node, train.gpu_hour, book.currency) == (8, 1.5, "USD")
    assert list(train.offers) == ["reserved", "on_demand", "spot", "burst"]
    assert train.offers["reserved"].term_h == 7 * 24
    assert train.offers["on_demand"].at_least_h == 4
    assert train.offers["spot"].holds == 0.85


def test_what_is_not_written_is_unknown_and_not_zero() -> None:
    book = load_prices(
        "p.yaml",
        f"{HEAD}pools:\n  a: {{gpus_per_node: 8, gpu_hour: 2 USD}}\n  b: {{gpus_per_node: 8}}\n",
    )
    assert book.of("b").gpu_hour is None  # type: ignore[union-attr]
    assert book.of("another") is None
    assert book.kwh is None


def test_prices_hold_from_their_first_day_to_their_last() -> None:
    book = load_prices("p.yaml", HEAD + POOLS)
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 12, 31), date(2027, 1, 1)]
    assert [book.holds_on(day) for day in days] == [False, True, True, False]


def test_a_comment_changes_no_version_and_a_price_does() -> None:
    first = load_prices("p.yaml", HEAD + POOLS).version
    assert load_prices("q.yaml", f"# said\n{HEAD}{POOLS}").version == first
    assert load_prices("p.yaml", HEAD + POOLS.replace("2 USD", "3 USD")).version != first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(HEAD, "p.yaml:1:1: the file lacks the key 'pools'", id="no pools"),
        pytest.param(
            HEAD + POOLS.replace("gpu_hour", "gpu_hours"),
            "p.yaml:6:29: 'pools' 'train' has no key 'gpu_hours'; it has: gpus_per_node, gpu_hour, "
            "offers. Did you mean 'gpu_hour'?",
            id="a key that is not",
        ),
        pytest.param(
            HEAD + POOLS.replace("2 USD", "2"),
            "p.yaml:6:39: 'gpu_hour' must be an amount and a currency, such as 500 USD, not '2'",
            id="no currency",
        ),
        pytest.param(
            f"{HEAD}{POOLS}energy: {{kwh: 0.2 EUR}}\n",
            "p.yaml:7:15: all prices are in one currency, and the first is in USD",
            id="two currencies",
        ),
        pytest.param(
            HEAD + "pools:\n  train: {gpus_per_node: 8}\n",
            "p.yaml:1:1: the book holds no price at all",
            id="no price",
        ),
        pytest.param(
            HEAD.replace("2026-12-31", "2025-12-31") + POOLS,
            "p.yaml:4:8: these prices never hold: `last` is before `first`",
            id="ends before it begins",
        ),
        pytest.param(
            HEAD + "pools:\n  train:\n    gpus_per_node: 8\n    offers:\n"
            "      reserved: {gpu_hour: 1 USD, nodes_at_most: 2, term: 90m}\n",
            "p.yaml:9:59: must be whole hours, such as 4h or 7d",
            id="half an hour",
        ),
        pytest.param(
            HEAD + "pools:\n  train:\n    gpus_per_node: 8\n    offers:\n"
            "      spot: {gpu_hour: 1 USD, nodes_at_most: 2}\n",
            "p.yaml:9:13: 'spot' lacks the key 'holds'",
            id="spot that says not how long it holds",
        ),
        pytest.param(
            f"{HEAD}{POOLS}pools: {{}}\n",
            "p.yaml:7:1: the key 'pools' stands twice; first on line 5",
            id="a key twice",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as refused:
        load_prices("p.yaml", text)
    assert said in str(refused.value)


def test_the_committed_json_schema_is_the_one_the_loader_reads_by() -> None:
    committed = json.loads((PRICES / "price-book.schema.json").read_text())
    assert committed == price_schema(), (
        "run: python -m watchkeeper.policy.price_book > prices/price-book.schema.json"
    )
