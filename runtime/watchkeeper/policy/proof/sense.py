"""Conditions that are never true, or always: what no load looks for, since it costs a search.

Asked by `policy check`. Each condition is held against every case of its own atoms; one of many
atoms is passed over. A condition that is called never true is so whatever the facts are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from watchkeeper.core.errors import Problem
from watchkeeper.policy.expr import Condition
from watchkeeper.policy.model import CheckedPolicy, Exemption, Rule
from watchkeeper.policy.proof.abstract import Space, weight
from watchkeeper.policy.proof.atoms import formula_of
from watchkeeper.policy.proof.formula import atoms_in

MOST_ATOMS = 12
"""Most atoms of a condition that is looked at: 4,096 cases, well under a millisecond."""

_OF_THE_KIND = frozenset({"action.kind", "action.disruptive", "action.recovers"})
"""Facts that the kind of action settles."""


class Sense(NamedTuple):
    """never: rules and exceptions that can never match. always: those whose condition says
    nothing."""

    never: tuple[Problem, ...]
    always: tuple[Problem, ...]


def sense_of(policy: CheckedPolicy) -> Sense:
    """Every rule and exception whose condition is the same in all cases, for all its actions."""
    found = list(_constant(policy))
    return Sense(
        tuple(problem for value, problem in found if not value),
        tuple(problem for value, problem in found if value),
    )


def _constant(policy: CheckedPolicy) -> Iterator[tuple[bool, Problem]]:
    orders: list[Rule | Exemption] = [*policy.rules, *policy.exemptions]
    for order in orders:
        value = None if order.when is None else _value_of(order.when, order.actions)
        if value is not None:
            yield value, _problem(order, value)


def _problem(order: Rule | Exemption, value: bool) -> Problem:
    what = "rule" if isinstance(order, Rule) else "exception"
    said = f"the condition of the {what} {order.id!r} " + (
        "is always true; leave `when` out" if value else "can never be true: parts of it exclude "
        "each other"
    )  # fmt: skip
    file, _, line = order.where.rpartition(":")
    return Problem(file, int(line), 1, said, order.id)


def _value_of(condition: Condition, actions: frozenset[str]) -> bool | None:
    """What the condition is in every case; None where it varies, or has too many atoms."""
    kinds = sorted(actions) if condition.names & _OF_THE_KIND else sorted(actions)[:1]
    values = {_value_for(condition, kind) for kind in kinds}
    return values.pop() if len(values) == 1 else None


def _value_for(condition: Condition, kind: str) -> bool | None:
    formula = formula_of(condition, kind, errors=False)
    atoms = tuple(dict.fromkeys(atoms_in(formula)))
    if weight(atoms) > MOST_ATOMS:
        return None
    truth = Space(atoms).truth(formula)
    if not truth.yes.any():
        return False
    return True if truth.yes.all() else None
