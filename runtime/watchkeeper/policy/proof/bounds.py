"""Limits and budgets as atoms: which of them are reached, and which is reached whenever another
one is. `policy check --prove` asks, to compare two policies.

How much is used is not followed. Two bounds that mean the same are one atom, whatever they are
called; a tighter bound is reached whenever the looser one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from watchkeeper.policy.budgets import bound_of, unit_of
from watchkeeper.policy.limits import bounds_out
from watchkeeper.policy.model import Budget, CheckedPolicy, Limit
from watchkeeper.policy.proof.formula import Atom, Either, Formula, Is

_NEVER = float("inf")


class Bound(NamedTuple):
    """One bound. sort: `out`, `rate`, `concurrency`, or what a budget counts. most: by count and
    by percent; a bound that is not set is infinite. actions and over_s: what is counted, and
    how far back. prices: those that a budget of money is counted by."""

    sort: str
    per: str
    most: tuple[float, float]
    actions: frozenset[str] = frozenset()
    over_s: float = 0.0
    prices: tuple[tuple[str, float], ...] = ()

    def reached_whenever(self, other: Bound) -> bool:
        """Is this one reached in every case in which the other one is?"""
        if self == other:
            return True
        if (self.sort, self.per, self.prices) != (other.sort, other.per, other.prices):
            return False
        tighter = all(mine <= theirs for mine, theirs in zip(self.most, other.most, strict=True))
        if self.sort in ("out", "rate", "concurrency"):
            return tighter and self.actions >= other.actions and self.over_s >= other.over_s
        # A budget lets a disruption go on that it has counted, so more is not always stricter.
        return tighter and self.actions == other.actions and self.over_s == other.over_s


class Stop(NamedTuple):
    """A limit or budget: what it is called, whether break-glass may lift it, and its bounds."""

    id: str
    where: str
    soft: bool
    bounds: tuple[Bound, ...]


def stops(policy: CheckedPolicy, kind: str) -> tuple[Stop, ...]:
    """Every limit and budget that binds this kind of action."""
    orders: tuple[Limit | Budget, ...]
    orders = (*policy.limits_for[kind], *policy.budgets_for[kind])
    return tuple(
        Stop(order.id, order.where, order.enforcement == "soft", tuple(_bounds(order, policy)))
        for order in orders
        if not order.shadow and order.enforcement != "advisory"
    )


def _bounds(order: Limit | Budget, policy: CheckedPolicy) -> Iterator[Bound]:
    if isinstance(order, Budget):
        prices = tuple(sorted(policy.prices.gpu_hour.items())) if order.money is not None else ()
        most = (bound_of(order), _NEVER)
        yield Bound(unit_of(order), order.per, most, order.actions, order.every_s, prices)
        return
    if bounds_out(order):  # counts nodes, whatever took them out
        yield Bound("out", order.per, (_or_never(order.max_count), _or_never(order.max_percent)))
    if order.rate_count is not None:
        most = (float(order.rate_count), _NEVER)
        yield Bound("rate", order.per, most, order.actions, order.rate_per_s)
    if order.concurrency is not None:
        yield Bound("concurrency", order.per, (float(order.concurrency), _NEVER), order.actions)


def _or_never(bound: float | None) -> float:
    return _NEVER if bound is None else float(bound)


def reached(stop: Stop, known: Iterable[Stop]) -> Formula:
    """Is it reached? Also where a looser bound is, among those of all `known` orders."""
    causes: dict[Bound, Stop] = {}
    for bound in stop.bounds:
        causes.setdefault(bound, stop)
        for other in known:
            for theirs in other.bounds:
                if bound.reached_whenever(theirs):
                    causes.setdefault(theirs, other)
    return Either(tuple(Is(_atom(bound, owner)) for bound, owner in causes.items()))


def _atom(bound: Bound, owner: Stop) -> Atom:
    name = f"{owner.id} ({owner.where})"
    return Atom("free", bound, None, f"{name} is reached", f"{name} is not reached")
