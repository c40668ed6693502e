"""How much may be out, and how fast may a pool grow? The oracle's bounds, taken from the orders.

Only the bounds that one size of repair meets are taken: nodes out of a pool, and growth. Rates of
an hour and people's answers are left out, which makes the oracle stronger, never weaker.
"""

from __future__ import annotations

from watchkeeper.core.word import Word
from watchkeeper.policy.limits import allowed_out
from watchkeeper.policy.model import CheckedPolicy

MOST_SHARE = 0.5
"""Built in (S2): never more than half of a pool."""


class Caps(Word, frozen=True):
    """out: pool -> nodes that may be out of it by our own doing. growths: of one pool in an hour;
    each may add `growth` nodes."""

    out: dict[str, int]
    growths: int = 1_000_000
    growth: int = 1000


def caps_of(policy: CheckedPolicy | None, pools: dict[str, int]) -> Caps:
    """The caps that these orders set. pools: name -> nodes. None: only what is built in."""
    out = {pool: max(1, int(size * MOST_SHARE)) for pool, size in pools.items()}
    growths = Caps(out={}).growths
    for limit in policy.limits if policy is not None else ():
        if limit.shadow:
            continue
        bounds_out = limit.max_count is not None or limit.max_percent is not None
        if bounds_out and limit.per == "pool" and limit.actions & {"node.reboot", "node.replace"}:
            out = {pool: min(most, allowed_out(limit, pools[pool])) for pool, most in out.items()}
        if limit.rate_count is not None and "pool.scale" in limit.actions and limit.rate_per_s > 0:
            growths = min(growths, int(limit.rate_count * 3600 / limit.rate_per_s) or 1)
    return Caps(out=out, growths=growths)
