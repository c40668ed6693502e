"""What would some nodes more, or fewer, change? Forecast and prices to both outcomes beside each
other."""

from __future__ import annotations

import itertools
import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from watchkeeper.capacity.ahead import Ahead
from watchkeeper.core.capacity import Price, WhatIf
from watchkeeper.core.facts import SERVICE_LEVEL
from watchkeeper.core.money import KINDS_OF_CAPACITY, Offer, PriceBook


def what_if(
    demand: Ahead,
    add: int,
    have: int,
    gpus_per_node: int,
    book: PriceBook | None,
    *,
    first: int = 0,
    hours: int | None = None,
    service_level: float = SERVICE_LEVEL,
) -> WhatIf:
    """`add` nodes for `hours` hours, from `first` hours ahead on (by default all that is forecast).

    Hours beyond the forecast are told and not counted. The demand beyond the highest level that is
    forecast counts as that level, so a rare rush is understated.
    """
    wanted = demand.hours - first if hours is None else hours
    span = slice(first, min(first + wanted, demand.hours))
    gpus = demand.gpus[span]
    weight = _weights(demand.levels)
    there, then = float(have * gpus_per_node), float(max(0, have + add) * gpus_per_node)
    top = demand.at(min(service_level, demand.levels[-1]))
    assert top is not None  # the level was bounded by the highest
    before, after = _short(gpus, weight, there), _short(gpus, weight, then)
    notes = []
    if service_level > demand.levels[-1]:
        notes.append(f"The forecast knows nothing above {demand.levels[-1]:.0%}; that is shown.")
    missing = max(0, wanted - len(gpus))
    if missing:
        notes.append(f"{missing} h of this lie beyond the forecast: what they need is unknown.")
    prices: tuple[Price, ...] = ()
    if add > 0:
        if book is None:
            notes.append("There is no price book, so the cost is unknown. Name one with --prices.")
        else:
            prices = _prices(book, demand.pool, add, gpus_per_node, wanted)
    found = WhatIf(
        pool=demand.pool,
        add=add,
        gpus_per_node=gpus_per_node,
        have=have,
        hours=len(gpus),
        not_forecast=missing,
        service_level=min(service_level, demand.levels[-1]),
        short_before=round(before, 3),
        short_after=round(after, 3),
        full_before=int((top[span] > there).sum()),
        full_after=int((top[span] > then).sum()),
        unused=round(max(0.0, (then - there) * len(gpus) - (before - after)), 3),
        currency=book.currency if book else "",
        prices=prices,
        notes=tuple(notes),
    )
    return _said(found)


def _weights(levels: tuple[float, ...]) -> NDArray[np.float64]:
    """The chance that each level stands for; the outer two take what lies beyond them."""
    inner = [(a + b) / 2 for a, b in itertools.pairwise(levels)]
    return np.diff(np.array([0.0, *inner, 1.0]))


def _short(gpus: NDArray[np.float64], weight: NDArray[np.float64], there: float) -> float:
    """Expected GPU-hours that do not fit on so many GPUs."""
    return float((np.maximum(gpus - there, 0.0) @ weight).sum())


def _prices(book: PriceBook, pool: str, add: int, gpus: int, hours: int) -> tuple[Price, ...]:
    """What each kind of capacity asks for these nodes over these hours, cheapest first."""
    price = book.of(pool)
    offers = price.offers if price else {}
    found = [_price(kind, offers.get(kind), add, gpus, hours) for kind in KINDS_OF_CAPACITY]
    return tuple(sorted(found, key=lambda p: (p.money is None, p.money or 0.0)))


def _price(kind: str, offer: Offer | None, add: int, gpus: int, hours: int) -> Price:
    if offer is None:
        return Price(kind=kind, money=None, why="the price book has no such offer for this pool")
    if add > offer.nodes_at_most:
        return Price(kind=kind, money=None, why=f"at most {offer.nodes_at_most} can be had")
    paid = float(max(hours, offer.at_least_h))
    why = f"paid for at least {offer.at_least_h} h" if offer.at_least_h > hours else ""
    if offer.term_h:
        paid = math.ceil(hours / offer.term_h) * offer.term_h
        why = f"paid for its term of {offer.term_h:g} h"
    if offer.holds < 1:
        why = f"there {offer.holds:.0%} of the time"
    return Price(kind=kind, money=round(add * gpus * paid * offer.gpu_hour, 2), why=why)


def _said(found: WhatIf) -> WhatIf:
    many = abs(found.add)
    what = f"{many} node{'' if many == 1 else 's'} {'more' if found.add > 0 else 'fewer'}"
    said = (
        f"{what} in {found.pool} for {found.hours} h: {found.short_before:,.1f} GPU-hours are "
        f"expected to fit nowhere as it is, {found.short_after:,.1f} then. At "
        f"{found.service_level:.0%}, {found.full_before} of {found.hours} hours are too full as it "
        f"is, {found.full_after} then"
    )
    if found.add > 0:
        said += f". Of what is added, {found.unused:,.1f} GPU-hours would stand idle"
        best = next((p for p in found.prices if p.money is not None), None)
        if best is not None:
            kind = best.kind.replace("_", "-")
            said += f". The cheapest is {kind}, {best.money:,.2f} {found.currency}"
    return msgspec.structs.replace(found, says=f"{said}.")
