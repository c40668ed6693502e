"""What was heard, sorted by what it does to a decision. Counted by the judge, for the policy that
is in force and once more for what stands in shadow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from watchkeeper.core.verdict import Decision, Reason
from watchkeeper.policy.hear import Heard, State
from watchkeeper.policy.model import Budget, Limit, Rule

# A member of an Enum is looked up through its class each time that it is named; these are not.
_ALLOW, _ASK, _DENY = Decision.ALLOW, Decision.ASK, Decision.DENY
_MATCHED, _UNMET, _LIFTED, _ERROR = State.MATCHED, State.UNMET, State.LIFTED, State.ERROR


class Broken(NamedTuple):
    """A limit or budget that the action would break, and how it is told."""

    order: Limit | Budget
    reason: Reason

    @property
    def binds(self) -> bool:
        return self.reason.binds


class Votes(Struct, frozen=True):
    """Rules by what they do to the decision. unmet_asks: asks that lack what they require.
    lifted: asks that break-glass answered. errors: rules that could not be decided."""

    allows: Sequence[Rule]
    asks: Sequence[Rule]
    denies: Sequence[Rule]
    unmet_asks: Sequence[Rule]
    lifted: Sequence[Rule]
    errors: Sequence[Heard]
    broken: Sequence[Broken]

    @classmethod
    def of(cls, heard: Iterable[Heard], broken: Iterable[Broken]) -> Votes:
        """Sort what was heard. An allow that lacks what it requires grants nothing; an ask that
        does must not be stepped over by another rule's allow, so it denies."""
        allows: list[Rule] = []
        asks: list[Rule] = []
        denies: list[Rule] = []
        unmet_asks: list[Rule] = []
        lifted: list[Rule] = []
        errors: list[Heard] = []
        for h in heard:
            rule, state, effect = h.rule, h.state, h.rule.effect
            if state is _MATCHED:  # no dict by effect: to hash a member of an Enum is slow
                (denies if effect is _DENY else asks if effect is _ASK else allows).append(rule)
            elif state is _ERROR:
                errors.append(h)
            elif effect is _ASK and state is _UNMET:
                unmet_asks.append(rule)
            elif effect is _ASK and state is _LIFTED:
                lifted.append(rule)
        binding = [b for b in broken if b.binds]
        return cls(allows, asks, denies, unmet_asks, lifted, errors, binding)

    @property
    def silent(self) -> bool:
        """Did no rule say anything?"""
        spoken = self.allows or self.asks or self.denies or self.unmet_asks or self.lifted
        return not spoken and not self.errors

    def decide(self, *, refused: bool) -> tuple[Decision, str]:
        """Strictest first. refused_by names the first that said no, in the order of judging."""
        if refused:
            return _DENY, "invariant"
        if self.errors:
            return _DENY, "error"
        if self.denies or self.unmet_asks:
            return _DENY, "policy"
        if self.silent:
            return _DENY, "default"
        if self.broken:
            return _DENY, self.broken[0].reason.kind
        return (_ASK, "") if self.asks else (_ALLOW, "")

    @property
    def may_grant(self) -> bool:
        """Would anything be allowed or asked if nothing forbade it?"""
        return bool(self.allows or self.asks or self.lifted)

    @property
    def liftable_asks(self) -> tuple[str, ...]:
        """The asks, where all of them are soft: one person may answer them by break-glass."""
        return _ids_if_soft(self.asks)

    @property
    def liftable_denies(self) -> tuple[str, ...]:
        """What refuses, where all of it is soft and something would be allowed or asked then."""
        if self.unmet_asks or not self.may_grant:
            return ()
        return _ids_if_soft([*self.denies, *[b.order for b in self.broken]])

    @property
    def verify_within_s(self) -> float | None:
        """The shortest time within which what is granted must be seen to have worked."""
        said = (*self.allows, *self.asks, *self.lifted)
        return min([r.verify_within_s for r in said if r.verify_within_s], default=None)


def counts(heard: Heard) -> bool:
    """Does it decide? An advisory rule only informs, but one that cannot be decided denies, as
    any rule does; a shadow rule never counts."""
    rule = heard.rule
    return not rule.shadow and (rule.enforcement != "advisory" or heard.state is _ERROR)


def _ids_if_soft(orders: Sequence[Rule | Limit | Budget]) -> tuple[str, ...]:
    for order in orders:
        if order.enforcement != "soft":
            return ()
    return tuple(sorted({order.id for order in orders}))
