"""Limits: how much may be out at once, how often, and how much at the same time, counted over
nodes and the ledger.

An action beyond a limit is refused whole, never trimmed. Nodes already out count; an action on a
node that is out already takes nothing out, so no `max_out` forbids its recovery.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from watchkeeper.core.ledger import LedgerView, PastEffect
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.policy.model import Limit


class Looks(NamedTuple):
    """How far back a ledger is complete, as `LedgerView` says it: for the whole fleet, for the
    domains of the action by their kind, and for single kinds of action of the whole fleet. None,
    and a kind that is not named: all the way."""

    reaches_s: float | None = None
    near_s: Mapping[str, float] = {}
    thin_s: Mapping[str, float] = {}

    @classmethod
    def of(cls, ledger: LedgerView) -> Looks:
        """As the ledger says it."""
        return cls(ledger.reaches_s, ledger.near_s, ledger.thin_s)

    def back_s(self, per: str, actions: Iterable[str]) -> float | None:
        """How far back a count of these kinds of action is complete; None: all the way."""
        if per != "fleet":
            return self.near_s.get(per)
        found = [self.thin_s[a] for a in actions if a in self.thin_s] if self.thin_s else []
        if self.reaches_s is not None:
            found.append(self.reaches_s)
        return min(found, default=None)


class Touched(Struct, frozen=True):
    """What a limit or budget is held against. past: the ledger's effects without this proposal's
    own. looks: how far back it is complete."""

    proposal: Proposal
    impact: Impact
    past: tuple[PastEffect, ...]
    looks: Looks = Looks()


def exceeded(limits: Iterable[Limit], touched: Touched) -> Iterator[tuple[Limit, str]]:
    """Each limit that this action would break, and how. One limit may hold several bounds."""
    takes = takes_out(touched.impact)
    for limit in limits:
        if takes and bounds_out(limit) and (said := _out(limit, touched)):
            yield limit, said
        if limit.rate_count is not None and (said := _rate(limit, limit.rate_count, touched)):
            yield limit, said
        if limit.concurrency is not None and (
            said := _concurrency(limit, limit.concurrency, touched)
        ):
            yield limit, said


def keys_of(per: str, proposal: Proposal, impact: Impact) -> list[str]:
    """The domains, as ledger keys, in which this action counts for `per`."""
    match per:
        case "fleet":
            return ["fleet"]
        case "pool":
            return [f"pool:{impact.pool}"] if impact.pool else []
        case "tenant":
            return [f"tenant:{tenant}" for tenant in impact.tenants]
        case "job":
            own = str(getattr(proposal.action, "job", ""))
            return [f"job:{name}" for name in dict.fromkeys((*impact.jobs, own)) if name]
        case _:
            return [key for key in impact.domain_size if key.startswith(f"{per}:")]


def too_far(per: str, span_s: float, looks: Looks, actions: Iterable[str]) -> bool:
    """Does a count over this time look back farther than the ledger is complete?"""
    reaches = looks.back_s(per, actions)
    return reaches is not None and not span_s <= reaches


def unseen(per: str, span_s: float, touched: Touched, actions: Iterable[str]) -> str:
    """Why the ledger cannot answer so far back, or ""."""
    reaches = touched.looks.back_s(per, actions)
    if reaches is None or span_s <= reaches:
        return ""
    whose = "the fleet's" if per == "fleet" else f"its {per}'s"
    return (
        f"the ledger shows {whose} last {span(reaches)} only, and this counts "
        f"{span(span_s)}; what is not known counts as used"
    )


def takes_out(impact: Impact) -> bool:
    """Would one more node be out than is out now?"""
    return impact.pool_out_after > impact.pool_out_before


def allowed_out(limit: Limit, size: int) -> int:
    """Nodes that may be out of a domain of this size; the smaller of count and percent wins.

    A percentage rounds down, but to at least 1 unless it is written 0.
    """
    bounds = []
    if limit.max_count is not None:
        bounds.append(limit.max_count)
    if limit.max_percent is not None:
        bounds.append(max(1, int(size * limit.max_percent / 100)) if limit.max_percent else 0)
    return min(bounds)


def bounds_out(limit: Limit) -> bool:
    """Does the limit bound the nodes that are out at once?"""
    return limit.max_count is not None or limit.max_percent is not None


def _nowhere(limit: Limit, touched: Touched) -> str:
    """Why an action without a domain of this limit's cannot be counted; tenants and jobs that are
    not touched need no counting."""
    if limit.per in ("tenant", "job"):
        return ""
    what = ", ".join(touched.impact.nodes) or "this action"
    return f"the {limit.per} of {what} is not known, so it cannot be counted"


def _out(limit: Limit, touched: Touched) -> str:
    impact = touched.impact
    keys = keys_of(limit.per, touched.proposal, impact)
    if not keys:
        return _nowhere(limit, touched)
    for key in keys:
        if limit.per in ("tenant", "job"):
            # Tenants and jobs have no inventory: what counts is what we are at work on.
            busy = {e.node for e in touched.past if e.open and key in e.domains}
            out = len(busy - set(impact.nodes))
        else:
            out = impact.domain_out.get(key, impact.pool_out_before)
        size = impact.domain_size.get(key, impact.pool_size)
        most = allowed_out(limit, size)
        if out + 1 > most:
            return f"{out + 1} of {key} would be out, and at most {most} may be"
    return ""


def _rate(limit: Limit, most: int, touched: Touched) -> str:
    keys = keys_of(limit.per, touched.proposal, touched.impact)
    if not keys:
        return _nowhere(limit, touched)
    within_s, actions = limit.rate_per_s, limit.actions
    if why := unseen(limit.per, within_s, touched, actions):
        return why
    recent = [e for e in touched.past if e.age_s < within_s and e.action in actions]
    for key in keys:
        started = len(in_domain(recent, key))
        if started + 1 > most:
            within = span(within_s)
            return f"{started} started in {key} within {within}, and at most {most} may"
    return ""


def _concurrency(limit: Limit, most: int, touched: Touched) -> str:
    keys = keys_of(limit.per, touched.proposal, touched.impact)
    if not keys:
        return _nowhere(limit, touched)
    under_way = [e for e in touched.past if e.open and e.action in limit.actions]
    for key in keys:
        busy = len(in_domain(under_way, key))
        if busy + 1 > most:
            return f"{busy} under way in {key}, and at most {most} may be at once"
    return ""


def in_domain(effects: Sequence[PastEffect], key: str) -> Sequence[PastEffect]:
    """The effects that count in this domain; in the fleet all of them do."""
    return effects if key == "fleet" else [e for e in effects if key in e.domains]


def in_key(effect: PastEffect, key: str) -> bool:
    """Did an effect count in this domain?"""
    return key == "fleet" or key in effect.domains


def span(seconds: float) -> str:
    """A time as people say it: `6 h`, `7 d`, `90 s`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:.0f} s"
