"""Budgets: what may be spent over a time that moves along, counted from the ledger.

An action that would go beyond its budget is refused whole. A budget is never refilled early: the
ledger is a fold of the journal on a clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from watchkeeper.core.action import TRAITS, kind_of
from watchkeeper.core.ledger import PastEffect
from watchkeeper.policy.limits import Touched, in_domain, keys_of, span, unseen
from watchkeeper.policy.model import Budget


def overspent(budgets: Iterable[Budget], touched: Touched) -> Iterator[tuple[Budget, str]]:
    """Each budget that this action would go beyond, and how."""
    for budget in budgets:
        if said := _overspent(budget, touched):
            yield budget, said


def _overspent(budget: Budget, touched: Touched) -> str:
    keys = keys_of(budget.per, touched.proposal, touched.impact)
    if not keys and budget.per not in ("tenant", "job"):
        return f"the {budget.per} of this action is not known, so it cannot be counted"
    if not keys:
        return ""  # it touches no tenant or job
    if why := unseen(budget.per, budget.every_s, touched, budget.actions):
        return why
    cost, bound = _cost(budget, touched), bound_of(budget)
    if cost is None:
        return "what this costs is not known: its pool has no price"
    if cost <= 0:
        return ""
    for key in keys:
        counted = in_domain(touched.past, key)
        used = spent(budget, counted)
        if budget.disruptions is not None and _goes_on(budget, touched, counted):
            continue
        total = round(used + cost, 6)
        if not total <= bound:  # what is not a number is beyond it
            unit = unit_of(budget)
            place = "" if key == "fleet" else f" in {key}"
            return (
                f"{used:g} {unit} used{place} within {span(budget.every_s)}, this would add "
                f"{cost:g}, and at most {bound:g} may be used"
            )
    return ""


def spent(budget: Budget, effects: Iterable[PastEffect]) -> float:
    """How much of a budget these effects have used, in its own unit."""
    counted = [e for e in effects if e.action in budget.actions and e.age_s < budget.every_s]
    if budget.gpu_hours is not None:
        return round(sum(e.gpu_hours for e in counted), 3)
    if budget.money is not None:
        return round(sum(e.money for e in counted), 2)
    # The steps of one incident are one disruption.
    return float(len({e.incident or e.proposal for e in counted if TRAITS[e.action].disruptive}))


def bound_of(budget: Budget) -> float:
    """The budget itself, in its own unit."""
    if budget.gpu_hours is not None:
        return budget.gpu_hours
    return budget.money if budget.money is not None else float(budget.disruptions or 0)


def unit_of(budget: Budget) -> str:
    """What it counts."""
    if budget.gpu_hours is not None:
        return "GPU-hours"
    return budget.currency if budget.money is not None else "disruptions"


def _cost(budget: Budget, touched: Touched) -> float | None:
    if budget.gpu_hours is not None:
        return touched.impact.gpu_hours
    if budget.money is not None:
        return touched.impact.money
    return 1.0 if TRAITS[kind_of(touched.proposal.action)].disruptive else 0.0


def _goes_on(budget: Budget, touched: Touched, counted: Sequence[PastEffect]) -> bool:
    """Is this the next step of a disruption that is counted already?"""
    own = touched.proposal.incident
    return bool(own) and spent(budget, [e for e in counted if e.incident == own]) > 0
