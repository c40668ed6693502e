"""The rules of one kind of action, laid out at load so that a verdict asks few of them.

Rules that wait for the same windows stand together: while those are shut, the judge passes them
by without a look at their conditions, and those of the others go to CEL in one program each part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from watchkeeper.policy.expr import batch
from watchkeeper.policy.model import Docket, Exemption, Listed, Part, Rule


def docket(kind: str, rules: Iterable[Rule], exemptions: Iterable[Exemption]) -> Docket:
    """The docket of one kind, from the rules and exceptions of a whole policy."""
    own = [rule for rule in rules if kind in rule.actions]
    by_windows: dict[frozenset[str], list[Listed]] = {}
    for place, rule in enumerate(own):
        by_windows.setdefault(frozenset(rule.during), []).append(Listed(place, rule))
    orders: list[Rule | Exemption] = [*own, *(x for x in exemptions if kind in x.actions)]
    return Docket(
        parts=tuple(_part(listed) for listed in by_windows.values()),
        waits=tuple(dict.fromkeys(name for rule in own for name in rule.during)),
        conditional=any(order.when is not None for order in orders),
    )


def _part(listed: Sequence[Listed]) -> Part:
    asked = tuple(x for x in listed if x.rule.when is not None)
    return Part(
        during=listed[0].rule.during,
        asked=asked,
        unasked=tuple(x for x in listed if x.rule.when is None),
        batch=batch(tuple(x.rule.when for x in asked if x.rule.when is not None)),
    )
