"""Limits: how much may be out at once, and how often, counted over nodes and the ledger.

An action beyond a limit is refused whole, never trimmed. Nodes already out count; an action on a
node that is out already takes nothing out, so no `max_out` forbids its recovery.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from watchkeeper.core.ledger import LedgerView, PastEffect
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Decision, Reason
from watchkeeper.policy.model import CheckedPolicy, Limit


class Usage(NamedTuple):
    """How much of one limit is used, in the domain where least is left."""

    id: str
    text: str
    used: float
    limit: float
    where: str


def exceeded(
    limits: Iterable[Limit], proposal: Proposal, impact: Impact, past: tuple[PastEffect, ...]
) -> Iterator[Reason]:
    """A reason for each bound that this action would break. `past` holds no effect of its own."""
    for limit in limits:
        for said in (_out(limit, proposal, impact, past), _rate(limit, proposal, impact, past)):
            if said:
                text = f"{said}. {limit.reason}" if limit.reason else said
                yield Reason(
                    kind="limit", id=limit.id, says=Decision.DENY, text=text, where=limit.where
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


def usage(policy: CheckedPolicy, ledger: LedgerView) -> tuple[Usage, ...]:
    """Every bound with how much of it is used now, for the page and `status`."""
    found = []
    for limit in policy.limits:
        if _bounds_out(limit):
            found.append(_worst(limit, "out at once", _out_by_key(limit, ledger)))
        if limit.rate_count is not None:
            counts = _rate_by_key(limit, ledger)
            used = {key: (n, float(limit.rate_count)) for key, n in counts.items()}
            found.append(_worst(limit, f"started within {_span(limit.rate_per_s)}", used))
    return tuple(found)


def _bounds_out(limit: Limit) -> bool:
    return limit.max_count is not None or limit.max_percent is not None


def _keys(limit: Limit, proposal: Proposal, impact: Impact) -> list[str]:
    """The domains of this action that the limit counts apart; [] when they are not known."""
    match limit.per:
        case "fleet":
            return ["fleet"]
        case "tenant":
            return [f"tenant:{name}" for name in impact.tenants]
        case "job":
            own = str(getattr(proposal.action, "job", ""))
            return [f"job:{name}" for name in dict.fromkeys((*impact.jobs, own)) if name]
        case "pool":
            return [f"pool:{impact.pool}"] if impact.pool else []
    return [key for key in impact.domain_size if key.startswith(f"{limit.per}:")]


def _out(limit: Limit, proposal: Proposal, impact: Impact, past: tuple[PastEffect, ...]) -> str:
    if not _bounds_out(limit) or not takes_out(impact):
        return ""
    keys = _keys(limit, proposal, impact)
    if not keys and limit.per not in ("tenant", "job"):
        return f"the {limit.per} of {', '.join(impact.nodes)} is not known, so it cannot be counted"
    for key in keys:
        if limit.per in ("tenant", "job"):
            # Tenants and jobs have no inventory: what counts is what we are at work on.
            out = len({e.node for e in past if e.open and key in e.domains} - set(impact.nodes))
        else:
            out = impact.domain_out.get(key, impact.pool_out_before)
        size = impact.domain_size.get(key, impact.pool_size)
        most = allowed_out(limit, size)
        if out + 1 > most:
            return f"{out + 1} of {key} would be out, and at most {most} may be"
    return ""


def _rate(limit: Limit, proposal: Proposal, impact: Impact, past: tuple[PastEffect, ...]) -> str:
    if limit.rate_count is None:
        return ""
    recent = [e for e in past if e.action in limit.actions and e.age_s < limit.rate_per_s]
    keys = _keys(limit, proposal, impact)
    if not keys and limit.per not in ("tenant", "job"):
        return f"the {limit.per} of this action is not known, so it cannot be counted"
    for key in keys:
        started = sum(key == "fleet" or key in e.domains for e in recent)
        if started + 1 > limit.rate_count:
            span = _span(limit.rate_per_s)
            return f"{started} started in {key} within {span}, and at most {limit.rate_count} may"
    return ""


def _out_by_key(limit: Limit, ledger: LedgerView) -> dict[str, tuple[float, float]]:
    if limit.per in ("tenant", "job"):
        busy: dict[str, set[str]] = {}
        for e in ledger.effects:
            for key in e.domains:
                if e.open and key.startswith(f"{limit.per}:"):
                    busy.setdefault(key, set()).add(e.node)
        return {key: (len(nodes), allowed_out(limit, 0)) for key, nodes in busy.items()}
    return {
        key: (ledger.out.get(key, 0), allowed_out(limit, size))
        for key, size in ledger.size.items()
        if key == limit.per or key.startswith(f"{limit.per}:")
    }


def _rate_by_key(limit: Limit, ledger: LedgerView) -> dict[str, float]:
    counts: dict[str, float] = {"fleet": 0.0} if limit.per == "fleet" else {}
    for e in ledger.effects:
        if e.action not in limit.actions or e.age_s >= limit.rate_per_s:
            continue
        own = [k for k in e.domains if k.startswith(f"{limit.per}:")]
        for key in ["fleet"] if limit.per == "fleet" else own:
            counts[key] = counts.get(key, 0.0) + 1
    return counts


def _worst(limit: Limit, what: str, by_key: dict[str, tuple[float, float]]) -> Usage:
    """The domain with the least left; with none in use, the bare bound."""
    key, (used, most) = min(
        by_key.items(), key=lambda item: (item[1][1] - item[1][0], item[0]), default=("", (0, 0))
    )
    if not key:
        most = float((limit.max_count if "out" in what else limit.rate_count) or 0)
    place = f" in {key}" if key and key != "fleet" else ""
    return Usage(limit.id, f"{limit.id}: {what}{place}", float(used), float(most), limit.where)


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
