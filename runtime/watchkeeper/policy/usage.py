"""How much of each limit and budget is used now, for the page and `status`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from watchkeeper.core.ledger import LedgerView, PastEffect
from watchkeeper.policy.budgets import bound_of, spent, unit_of
from watchkeeper.policy.limits import allowed_out, bounds_out, in_key, span
from watchkeeper.policy.model import Budget, CheckedPolicy, Limit


class Usage(NamedTuple):
    """How much of one limit is used, in the domain where least is left."""

    id: str
    text: str
    used: float
    limit: float
    where: str


def usage(policy: CheckedPolicy, ledger: LedgerView) -> tuple[Usage, ...]:
    """Every bound of every limit and budget, with how much of it is used now."""
    found = []
    for limit in policy.limits:
        if bounds_out(limit):
            bare = float(limit.max_count or 0)
            found.append(_worst(limit, "out at once", _out_by_key(limit, ledger), bare))
        if limit.rate_count is not None:
            recent = [e for e in ledger.effects if e.age_s < limit.rate_per_s]
            what = f"started within {span(limit.rate_per_s)}"
            by_key = _counted(limit, recent, limit.rate_count)
            found.append(_worst(limit, what, by_key, limit.rate_count))
        if limit.concurrency is not None:
            busy = [e for e in ledger.effects if e.open]
            by_key = _counted(limit, busy, limit.concurrency)
            found.append(_worst(limit, "under way at once", by_key, limit.concurrency))
    for budget in policy.budgets:
        what = f"{unit_of(budget)} within {span(budget.every_s)}"
        found.append(_worst(budget, what, _spent_by_key(budget, ledger), bound_of(budget)))
    return tuple(found)


def _out_by_key(limit: Limit, ledger: LedgerView) -> dict[str, tuple[float, float]]:
    if limit.per in ("tenant", "job"):
        busy: dict[str, set[str]] = {}
        for e in ledger.effects:
            for key in _keys(limit.per, [e]) if e.open else ():
                busy.setdefault(key, set()).add(e.node)
        return {key: (len(nodes), allowed_out(limit, 0)) for key, nodes in busy.items()}
    return {
        key: (ledger.out.get(key, 0), allowed_out(limit, size))
        for key, size in ledger.size.items()
        if key == limit.per or key.startswith(f"{limit.per}:")
    }


def _counted(limit: Limit, effects: list[PastEffect], most: int) -> dict[str, tuple[float, float]]:
    own = [e for e in effects if e.action in limit.actions]
    return {
        key: (float(sum(in_key(e, key) for e in own)), float(most)) for key in _keys(limit.per, own)
    }


def _spent_by_key(budget: Budget, ledger: LedgerView) -> dict[str, tuple[float, float]]:
    return {
        key: (spent(budget, [e for e in ledger.effects if in_key(e, key)]), bound_of(budget))
        for key in _keys(budget.per, ledger.effects)
    }


def _keys(per: str, effects: Iterable[PastEffect]) -> list[str]:
    """The domains of one kind that these effects touched; the fleet is always there."""
    if per == "fleet":
        return ["fleet"]
    return sorted({k for e in effects for k in e.domains if k.startswith(f"{per}:")})


def _worst(
    bound: Limit | Budget, what: str, by_key: dict[str, tuple[float, float]], bare: float
) -> Usage:
    """The domain with the least left; with none in use, the bare bound."""
    key, (used, most) = min(
        by_key.items(),
        key=lambda item: (item[1][1] - item[1][0], item[0]),
        default=("", (0.0, float(bare))),
    )
    place = f" in {key}" if key and key != "fleet" else ""
    return Usage(bound.id, f"{bound.id}: {what}{place}", float(used), float(most), bound.where)
