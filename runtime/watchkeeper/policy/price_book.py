"""A price book's YAML text to a PriceBook, or every mistake of it at once.

Asked by `cost`, `capacity` and `what-if`. Reads no file, and fills in no price that is not written.
"""

from __future__ import annotations

import hashlib
from datetime import date
from typing import Any

import msgspec

from watchkeeper.core.errors import PolicyError, Problem
from watchkeeper.core.money import KINDS_OF_CAPACITY, Offer, PoolPrice, PriceBook
from watchkeeper.policy.reader import At, Reader, plain
from watchkeeper.policy.schema import API_VERSION, NAME, POOL, Leaf, Named, Record, Spec
from watchkeeper.policy.schema import _schema_of as schema_of
from watchkeeper.policy.yaml_text import compose

_MONEY = "an amount and a currency, such as 2.10 USD"
_OFFER: dict[str, Spec] = {
    "gpu_hour": Leaf(f"what one GPU costs for an hour: {_MONEY}", kind="money"),
    "nodes_at_most": Leaf("how many nodes can be had", kind="whole", least=0, most=100_000),
}
_AT_LEAST = Leaf("once taken, paid for at least this long; whole hours", kind="duration")
_OFFERS = Record(
    "ways to get more nodes of the pool",
    {
        "reserved": Record(
            "paid for its whole term, used or not",
            {**_OFFER, "term": Leaf("how long it is paid for; whole hours", kind="duration")},
            required=("gpu_hour", "nodes_at_most", "term"),
        ),
        "on_demand": Record(
            "taken ahead, for some hours",
            {**_OFFER, "at_least": _AT_LEAST},
            required=("gpu_hour", "nodes_at_most"),
        ),
        "spot": Record(
            "taken ahead, for some hours; the owner may take it away",
            {
                **_OFFER,
                "at_least": _AT_LEAST,
                "holds": Leaf(
                    "share of the time that a node taken is really there, by your own records",
                    kind="number",
                    least=0.01,
                    most=1,
                ),
            },
            required=("gpu_hour", "nodes_at_most", "holds"),
        ),
        "burst": Record(
            "taken only in the hour that needs it",
            _OFFER,
            required=("gpu_hour", "nodes_at_most"),
        ),
    },
)
BOOK = Record(
    "what capacity costs",
    {
        "apiVersion": Leaf("the version of this language", choices=(API_VERSION,)),
        "kind": Leaf("what the file holds", choices=("PriceBook",)),
        "metadata": Record(
            "what the file is",
            {
                "name": Leaf("its name", pattern=NAME),
                "owner": Leaf("who answers for it"),
                "description": Leaf("where the figures come from"),
            },
            required=("name", "description"),
        ),
        "valid": Record(
            "the days on which these prices hold; before and after them, costs are unknown",
            {
                "first": Leaf("the first day", kind="date"),
                "last": Leaf("the last day", kind="date"),
            },
            required=("first", "last"),
        ),
        "energy": Record(
            "leave it out where energy is part of the price of a GPU-hour",
            {
                "kwh": Leaf(f"what a kilowatt-hour costs: {_MONEY}", kind="money"),
                "overhead": Leaf(
                    "kWh bought for each kWh that a GPU draws (PUE)",
                    kind="number",
                    least=1,
                    most=5,
                ),
            },
            required=("kwh",),
        ),
        "pools": Named(
            "prices by pool",
            Record(
                "what the pool costs",
                {
                    "gpus_per_node": Leaf("GPUs of one node", kind="whole", least=1, most=256),
                    "gpu_hour": Leaf(
                        f"a GPU-hour of the nodes that are there, used or not: {_MONEY}",
                        kind="money",
                    ),
                    "offers": _OFFERS,
                },
                required=("gpus_per_node",),
            ),
            key=POOL,
        ),
    },
    required=("apiVersion", "kind", "metadata", "valid", "pools"),
)


def load_prices(file: str, text: str) -> PriceBook:
    """One price book, checked. Raises PolicyError with every problem, ordered by place."""
    problems: list[Problem] = []
    tree, found = compose(file, text)
    problems.extend(found)
    reader = Reader(file, problems)
    top = reader.read(tree, BOOK, "the file") if tree is not None else None
    book = _book(reader, top) if top is not None and not problems else None
    if problems or book is None:
        raise PolicyError(tuple(sorted(set(problems), key=lambda p: (p.line, p.column))))
    return book


def _book(reader: Reader, top: At) -> PriceBook:
    """The record as a word; reports what only shows when two places are held together."""
    currency: list[str] = []

    def amount(at: At | None) -> float | None:
        if at is None:
            return None
        if currency and at.value.currency != currency[0]:
            said = f"all prices are in one currency, and the first is in {currency[0]}"
            reader.problem(at.mark, said, at.value.currency)
        currency.append(at.value.currency)
        return float(at.value.amount)

    pools = {name: _pool(reader, spec, amount) for name, spec in top.of("pools", {}).items()}
    energy, valid, about = top.get("energy"), top.get("valid"), top.get("metadata")
    kwh = amount(energy.get("kwh")) if energy else None
    first = valid.of("first") if valid else date.min
    last = valid.of("last") if valid else date.max
    if valid and last < first:
        reader.problem(valid.mark, "these prices never hold: `last` is before `first`")
    if not currency:
        reader.problem(top.mark, "the book holds no price at all")
    means = msgspec.json.encode(plain(top), order="sorted")
    return PriceBook(
        name=about.of("name", "") if about else "",
        description=about.of("description", "") if about else "",
        currency=currency[0] if currency else "",
        pools=pools,
        first=first,
        last=last,
        kwh=kwh,
        overhead=energy.of("overhead", 1.0) if energy else 1.0,
        version=hashlib.sha256(means).hexdigest()[:12],
    )


def _pool(reader: Reader, spec: At, amount: Any) -> PoolPrice:
    offers = spec.get("offers")
    found: dict[str, Offer] = {}
    for kind in KINDS_OF_CAPACITY:
        offer = offers.get(kind) if offers else None
        if offer is not None:
            found[kind] = Offer(
                gpu_hour=amount(offer.get("gpu_hour")),
                nodes_at_most=offer.of("nodes_at_most", 0),
                at_least_h=int(_hours(reader, offer.get("at_least")) or 1),
                term_h=_hours(reader, offer.get("term")),
                holds=offer.of("holds", 1.0),
            )
    return PoolPrice(
        gpus_per_node=spec.of("gpus_per_node", 0),
        gpu_hour=amount(spec.get("gpu_hour")),
        offers=found,
    )


def _hours(reader: Reader, at: At | None) -> float:
    if at is None:
        return 0.0
    if at.value % 3600:
        reader.problem(at.mark, "must be whole hours, such as 4h or 7d")
    return float(at.value) / 3600


def price_schema() -> dict[str, Any]:
    """The declarations as JSON Schema (draft 2020-12), for completion in editors."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Watchkeeper price book",
    }
    return {**head, **schema_of(BOOK)}


if __name__ == "__main__":
    import json
    import sys

    # python -m watchkeeper.policy.price_book > prices/price-book.schema.json
    sys.stdout.write(json.dumps(price_schema(), indent=2) + "\n")
