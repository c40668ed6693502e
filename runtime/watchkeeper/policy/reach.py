"""How far back does a policy count, for one kind of action? Asked by the gate, so that a verdict is
shown no more of the past than decides it; and by a replay, to tell where that is too little.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from watchkeeper.core.ledger import LedgerView
from watchkeeper.policy.limits import Looks, span, too_far
from watchkeeper.policy.model import CheckedPolicy


@functools.lru_cache(maxsize=256)
def counted_back(policy: CheckedPolicy, kind: str) -> Mapping[str, float]:
    """Domain kind (`fleet`, `pool`, `tenant`, ...) -> the seconds that its rates and budgets look
    back, the longest of each. Those in shadow count too. Bounds on what is under way need none."""
    found: dict[str, float] = {}
    for per, back_s, _ in _counts(policy, kind):
        found[per] = max(found.get(per, 0.0), back_s)
    return {per: back_s for per, back_s in found.items() if back_s > 0}


@functools.lru_cache(maxsize=256)
def counted_kinds(policy: CheckedPolicy, kind: str) -> frozenset[str]:
    """Kinds of action of which it counts, over the whole fleet, how often they were done."""
    return frozenset(
        action
        for per, back_s, actions in _counts(policy, kind)
        if per == "fleet" and back_s > 0
        for action in actions
    )


def _counts(policy: CheckedPolicy, kind: str) -> list[tuple[str, float, frozenset[str]]]:
    """What its rates and budgets count for this kind: per what, how far back, of which actions."""
    return [
        *((x.per, x.rate_per_s, frozenset(x.actions)) for x in policy.limits_for.get(kind, ())),
        *((x.per, x.every_s, frozenset(x.actions)) for x in policy.budgets_for.get(kind, ())),
    ]


def too_short(policy: CheckedPolicy, kind: str, ledger: LedgerView) -> str:
    """Of what the policy counts for this kind, what the ledger was not kept for; "" where it was
    kept for all."""
    looks, lacks = Looks.of(ledger), dict[str, float]()
    for per, back_s, actions in _counts(policy, kind):
        if back_s > 0 and too_far(per, back_s, looks, actions):
            lacks[per] = max(lacks.get(per, 0.0), back_s)
    told = [f"{span(back_s)} of its {per}" for per, back_s in sorted(lacks.items())]
    return f"the last {', '.join(told)}" if told else ""
