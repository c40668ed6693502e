"""What several questions demand together, and whether anybody could ever answer them.

Asked by the judge when the answer is ask. Together they are never easier than each one alone.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from watchkeeper.core.verdict import Obligations
from watchkeeper.policy.model import Approvals, CheckedPolicy, Rule


def demanded(asks: Sequence[Rule], policy: CheckedPolicy) -> tuple[Obligations, str]:
    """What these asks demand together, and why nobody could ever answer it, or ""."""
    return _demanded(tuple(asks), policy)


@functools.lru_cache(maxsize=256)
def _demanded(asks: tuple[Rule, ...], policy: CheckedPolicy) -> tuple[Obligations, str]:
    obligations = obligations_of(asks, policy)
    return obligations, unanswerable(obligations, policy)


def obligations_of(asks: tuple[Rule, ...], policy: CheckedPolicy) -> Obligations:
    """What all matching asks demand together: the largest quorum, the shortest expiry, the groups
    that every one of them would ask, and the earliest call for others. The dial alone asks one
    person of any group."""
    everyone = tuple(sorted(policy.people))
    if not asks:
        return Obligations(groups=everyone)
    demands = [rule.approvals for rule in asks]
    groups = _who_may(demands, everyone, 0.0)
    after, called = _called_later(demands, everyone, groups)
    return Obligations(
        quorum=max(d.quorum for d in demands),
        groups=tuple(sorted(groups)),
        expires_s=min(d.expires_s for d in demands),
        on_timeout="escalate" if any(d.on_timeout == "escalate" for d in demands) else "deny",
        escalate_after_s=after,
        escalate_to=tuple(sorted(called)),
    )


def _who_may(demands: list[Approvals], everyone: tuple[str, ...], waited_s: float) -> set[str]:
    """The groups that every ask lets answer after this time."""
    may = set(everyone)
    for d in demands:
        later = d.escalate_after_s is not None and waited_s >= d.escalate_after_s
        may &= {*(d.groups or everyone), *(d.escalate_to if later else ())}
    return may


def _called_later(
    demands: list[Approvals], everyone: tuple[str, ...], groups: set[str]
) -> tuple[float | None, set[str]]:
    """(after how long, who else): the first time at which all asks together let others answer."""
    for waited_s in sorted({d.escalate_after_s for d in demands if d.escalate_after_s is not None}):
        if called := _who_may(demands, everyone, waited_s) - groups:
            return waited_s, called
    return None, set()


def unanswerable(obligations: Obligations, policy: CheckedPolicy) -> str:
    """Why no answer could ever be enough: a question that nobody can answer is a no."""
    who = {person for group in obligations.groups for person in policy.people.get(group, ())}
    if len(who) >= obligations.quorum:
        return ""
    groups = ", ".join(obligations.groups) or "no group that every matching rule asks"
    wanted = "1 person" if obligations.quorum == 1 else f"{obligations.quorum} people"
    return f"{wanted} must approve, and nobody can: {groups} has {len(who)}"
