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
    looks = [
        *((limit.per, limit.rate_per_s) for limit in policy.limits_for.get(kind, ())),
        *((budget.per, budget.every_s) for budget in policy.budgets_for.get(kind, ())),
    ]
    found: dict[str, float] = {}
    for per, back_s in looks:
        found[per] = max(found.get(per, 0.0), back_s)
    return {per: back_s for per, back_s in found.items() if back_s > 0}


def too_short(policy: CheckedPolicy, kind: str, ledger: LedgerView) -> str:
    """Of what the policy counts for this kind, what the ledger was not kept for; "" where it was
    kept for all."""
    looks = Looks(ledger.reaches_s, ledger.near_s)
    lacks = [
        f"{span(back_s)} of its {per}"
        for per, back_s in sorted(counted_back(policy, kind).items())
        if too_far(per, back_s, looks)
    ]
    return f"the last {', '.join(lacks)}" if lacks else ""
