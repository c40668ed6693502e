"""May this happen? One pure, total function: the same inputs give the same Verdict, for ever.

First what no policy can switch off, then the rules (deny > ask > allow, default deny), then the
limits, then the operator's dial. Anything unexpected denies; nothing here ever raises.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec import structs

from watchkeeper.core.action import kind_of, traits_of
from watchkeeper.core.facts import Facts
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Autonomy, Decision, Obligations, Orders, Reason, Verdict
from watchkeeper.policy.budgets import overspent
from watchkeeper.policy.hear import Heard, State, hear
from watchkeeper.policy.invariants import Case, Invariant, refusals
from watchkeeper.policy.limits import Touched, exceeded
from watchkeeper.policy.model import Budget, CheckedPolicy, Limit, Rule
from watchkeeper.policy.obligations import obligations_of, unanswerable
from watchkeeper.policy.windows import stand_at

# A member of an Enum is looked up through its class each time that it is named; these are not.
_ALLOW, _ASK, _DENY = Decision.ALLOW, Decision.ASK, Decision.DENY
_MATCHED, _UNMET, _LIFTED, _ERROR = State.MATCHED, State.UNMET, State.LIFTED, State.ERROR


def judge(
    proposal: Proposal,
    impact: Impact,
    facts: Facts,
    policy: CheckedPolicy | None,
    ledger: LedgerView,
    orders: Orders,
    now: datetime,
) -> Verdict:
    """Allow, ask or deny, with everything that said so. `now` is the policy's time.

    Pure and total. An error of any kind denies, and its `alert` wakes a person. `input_digest`
    is left to the caller, who journals the inputs.
    """
    try:
        return _judge(proposal, impact, facts, policy, ledger, orders, now)
    except Exception as err:  # total by contract: whatever went wrong, the answer is no
        text = f"the judge failed on this proposal: {type(err).__name__}: {err}"[:400]
        return Verdict(
            decision=_DENY,
            reasons=(Reason(kind="error", id="judge", says=_DENY, text=text),),
            policy_version=str(getattr(policy, "version", "")),
            refused_by="error",
            alert=f"The judge itself failed ({type(err).__name__}); the proposal was denied.",
        )


def _judge(
    proposal: Proposal,
    impact: Impact,
    facts: Facts,
    policy: CheckedPolicy | None,
    ledger: LedgerView,
    orders: Orders,
    now: datetime,
) -> Verdict:
    traits, kind = traits_of(proposal.action), kind_of(proposal.action)
    if not traits.changes:
        text = "tickets and pages change nothing and are always allowed"
        reason = Reason(kind="rule", id="built-in", says=_ALLOW, text=text)
        version = policy.version if policy is not None else ""
        return Verdict(decision=_ALLOW, reasons=(reason,), policy_version=version)

    past = tuple([e for e in ledger.effects if e.proposal != proposal.id])
    refused = refusals(Case(proposal, impact, facts, ledger, orders, past, traits, kind))
    if policy is None:
        return _without_policy(refused)
    heard = hear(policy, kind, facts, ledger, now)
    touched = Touched(proposal, impact, past, ledger.reaches_s)
    broken = _broken(policy, kind, touched, ledger) if _any_grants(heard) else []
    votes = _Votes.of((h for h in heard if _counts(h)), broken)
    settled = _settle(votes, policy, facts, orders, refused=bool(refused))
    reasons = [reason for _, reason in refused]
    reasons += [_reason(h) for h in heard]
    if votes.silent:
        reasons.append(_default(kind, policy, now))
    reasons += [b.reason for b in broken if votes.may_grant or b.order.shadow]
    reasons += settled.reasons
    return Verdict(
        decision=settled.decision,
        reasons=tuple(reasons),
        policy_version=policy.version,
        obligations=settled.obligations,
        verify_within_s=None if settled.decision is _DENY else votes.verify_within_s,
        refused_by=settled.refused_by,
        halts=any(invariant.halts for invariant, _ in refused),
        alert=_alert(refused, votes),
        window=_windows_said(policy, kind, heard, now),
        liftable=_liftable(votes, settled, facts, orders),
        would_be=_would_be(heard, broken, settled, policy, facts, orders, refused=bool(refused)),
    )


class _Settled(NamedTuple):
    """A decision once the votes, the dial and the people who could answer have been counted.
    reasons: what the dial, or the lack of people, added."""

    decision: Decision
    refused_by: str
    obligations: Obligations | None = None
    reasons: tuple[Reason, ...] = ()


def _settle(
    votes: _Votes, policy: CheckedPolicy, facts: Facts, orders: Orders, *, refused: bool
) -> _Settled:
    """From votes to the decision. The enforced policy and its shadow both go this one way."""
    decision, refused_by = votes.decide(refused=refused)
    decision, refused_by, capped = _under_the_dial(decision, refused_by, facts, orders)
    if decision is not _ASK:
        return _Settled(decision, refused_by, reasons=capped)
    obligations = obligations_of(votes.asks, policy)
    if nobody := unanswerable(obligations, policy):
        reason = Reason(kind="refusal", id="nobody-to-ask", says=_DENY, text=nobody)
        return _Settled(_DENY, "policy", reasons=(*capped, reason))
    return _Settled(_ASK, "", obligations, capped)


def _liftable(votes: _Votes, settled: _Settled, facts: Facts, orders: Orders) -> tuple[str, ...]:
    """What break-glass may lift; nothing where the dial, too, stands in the way of the act."""
    at_best, _, _ = _under_the_dial(_ALLOW, "", facts, orders)
    if at_best.strictness >= settled.decision.strictness:
        return ()
    if settled.decision is _ASK:
        return votes.liftable_asks
    return votes.liftable_denies if settled.refused_by in ("policy", "limit", "budget") else ()


def _without_policy(refused: tuple[tuple[Invariant, Reason], ...]) -> Verdict:
    text = "there is no policy, and without one nothing may be done"
    reasons = [reason for _, reason in refused]
    return Verdict(
        decision=_DENY,
        reasons=(*reasons, Reason(kind="default", id="no-policy", says=_DENY, text=text)),
        policy_version="",
        refused_by="invariant" if refused else "default",
        halts=any(invariant.halts for invariant, _ in refused),
        alert=" ".join(f"{i.id}: {i.says} {r.text}." for i, r in refused if i.wakes),
    )


class _Broken(NamedTuple):
    """A limit or budget that this action would break. lifted: a person lifted it."""

    order: Limit | Budget
    reason: Reason

    @property
    def binds(self) -> bool:
        return self.reason.binds


def _broken(
    policy: CheckedPolicy, kind: str, touched: Touched, ledger: LedgerView
) -> list[_Broken]:
    found = []
    beyond: list[tuple[Limit | Budget, str]] = [*exceeded(policy.limits_for[kind], touched)]
    beyond += overspent(policy.budgets_for[kind], touched)
    for order, said in beyond:
        what = "limit" if isinstance(order, Limit) else "budget"
        if order.enforcement == "advisory":
            what = "advice"
        elif order.enforcement == "soft" and order.id in ledger.lifted:
            what = "lifted"
        text = f"{said}. {order.reason}" if order.reason else said
        reason = Reason(
            kind=what, id=order.id, says=_DENY, text=text, where=order.where, shadow=order.shadow
        )
        found.append(_Broken(order, reason))
    return found


class _Votes(NamedTuple):
    """What was heard, by what it does to the decision. lifted: asks that break-glass answered."""

    allows: tuple[Rule, ...]
    asks: tuple[Rule, ...]
    denies: tuple[Rule, ...]
    unmet_asks: tuple[Rule, ...]
    lifted: tuple[Rule, ...]
    errors: tuple[Heard, ...]
    broken: tuple[_Broken, ...]

    @classmethod
    def of(cls, heard: Iterable[Heard], broken: Iterable[_Broken]) -> _Votes:
        """Sort what was heard. An allow that lacks what it requires grants nothing; an ask that
        does must not be stepped over by another rule's allow, so it denies."""
        matched: dict[Decision, list[Rule]] = {_ALLOW: [], _ASK: [], _DENY: []}
        unmet_asks, lifted, errors = [], [], []
        for h in heard:
            if h.state is _MATCHED:
                matched[h.rule.effect].append(h.rule)
            elif h.state is _ERROR:
                errors.append(h)
            elif h.rule.effect is _ASK and h.state is _UNMET:
                unmet_asks.append(h.rule)
            elif h.rule.effect is _ASK and h.state is _LIFTED:
                lifted.append(h.rule)
        return cls(
            allows=tuple(matched[_ALLOW]),
            asks=tuple(matched[_ASK]),
            denies=tuple(matched[_DENY]),
            unmet_asks=tuple(unmet_asks),
            lifted=tuple(lifted),
            errors=tuple(errors),
            broken=tuple([b for b in broken if b.binds]),
        )

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
        return _ids(self.asks) if all(rule.soft for rule in self.asks) else ()

    @property
    def liftable_denies(self) -> tuple[str, ...]:
        """What refuses, where all of it is soft and something would be allowed or asked then."""
        if self.unmet_asks or not self.may_grant:
            return ()
        orders = (*self.denies, *(b.order for b in self.broken))
        return _ids(orders) if all(o.enforcement == "soft" for o in orders) else ()

    @property
    def verify_within_s(self) -> float | None:
        said = (*self.allows, *self.asks, *self.lifted)
        spoken = [r.verify_within_s for r in said if r.verify_within_s]
        return min(spoken) if spoken else None


def _ids(orders: Iterable[Rule | Limit | Budget]) -> tuple[str, ...]:
    return tuple(sorted({order.id for order in orders}))


def _counts(heard: Heard) -> bool:
    """Does it decide? An advisory rule only informs, but one that cannot be decided denies, as
    any rule does; a shadow rule never counts."""
    return heard.rule.binds or (heard.state is _ERROR and not heard.rule.shadow)


def _any_grants(heard: Iterable[Heard]) -> bool:
    """Could any rule let it happen? Else no limit needs to be counted."""
    return any(h.rule.effect is not _DENY and h.state in (_MATCHED, _LIFTED) for h in heard)


def _would_be(
    heard: list[Heard],
    broken: list[_Broken],
    settled: _Settled,
    policy: CheckedPolicy,
    facts: Facts,
    orders: Orders,
    *,
    refused: bool,
) -> Decision | None:
    """The decision if what is in shadow were enforced; None where that changes nothing."""
    if not any(h.rule.shadow for h in heard) and not any(b.order.shadow for b in broken):
        return None
    enforced = [b._replace(reason=structs.replace(b.reason, shadow=False)) for b in broken]
    strict = (h for h in heard if h.rule.enforcement != "advisory" or h.state is _ERROR)
    would_be = _settle(_Votes.of(strict, enforced), policy, facts, orders, refused=refused)
    return would_be.decision if would_be.decision is not settled.decision else None


def _under_the_dial(
    decision: Decision, refused_by: str, facts: Facts, orders: Orders
) -> tuple[Decision, str, tuple[Reason, ...]]:
    """The operator's dial caps from above; it never loosens."""
    if decision is _DENY:
        return decision, refused_by, ()
    match orders.autonomy:
        case Autonomy.AUTO:
            return decision, refused_by, ()
        case Autonomy.ASK:
            # A person who approved the plan that held this step has been asked already.
            if decision is _ASK or facts.get("incident.approved") is True:
                return decision, refused_by, ()
            text = "the dial stands at ask: what the policy allows is asked"
            return _ASK, "", (Reason(kind="dial", id="ask", says=_ASK, text=text),)
        case _:
            text = f"the dial stands at observe: the policy says {decision.value}, nothing is done"
            return _DENY, "dial", (Reason(kind="dial", id="observe", says=_DENY, text=text),)


def _default(kind: str, policy: CheckedPolicy, now: datetime) -> Reason:
    shut = stand_at(policy, now).shut
    waiting = [name for name in policy.dockets[kind].waits if name in shut]
    text = f"no rule allows {kind} here and now"
    if waiting:
        text += f" (shut: {', '.join(waiting)})"
    return Reason(kind="default", id="default-deny", says=_DENY, text=text)


def _reason(heard: Heard) -> Reason:
    rule, state = heard.rule, heard.state
    if rule.enforcement == "advisory" and state in (_MATCHED, _UNMET):
        kind = "advice"
    else:
        kind = _KIND_OF_REASON[state.value]
    says = _DENY if state in (_UNMET, _ERROR) else rule.effect
    return Reason(
        kind=kind, id=rule.id, says=says, text=heard.why, where=rule.where, shadow=rule.shadow
    )


_KIND_OF_REASON = {
    "matched": "rule",
    "unmet": "requirement",
    "error": "error",
    "excepted": "exception",
    "lifted": "lifted",
}


def _alert(refused: tuple[tuple[Invariant, Reason], ...], votes: _Votes) -> str:
    """What must wake a person, in words that stay the same while the cause does."""
    if not refused and not votes.errors and not votes.broken:
        return ""
    said = [f"{i.id}: {i.says} {reason.text}." for i, reason in refused if i.wakes]
    if votes.errors:
        rule = min((h.rule for h in votes.errors), key=lambda r: r.id)  # in any order of files
        said.append(
            "A policy rule could not be decided, so everything it covers is denied: "
            f"{rule.id} at {rule.where}."
        )
    if not refused and not votes.denies and not votes.unmet_asks and votes.may_grant:
        said += sorted(
            f"The {b.reason.kind} {b.order.id} ({b.order.where}) is reached: "
            f"{b.reason.text.rstrip('.')}."
            for b in votes.broken
        )
    return " ".join(said)


def _windows_said(policy: CheckedPolicy, kind: str, heard: list[Heard], now: datetime) -> str:
    """The windows that mattered: those that let a rule speak, or else those it waits for."""
    waits = policy.dockets[kind].waits
    if not waits:
        return ""
    shut, says = stand_at(policy, now)
    spoke = {n for h in heard if h.rule.binds for n in h.rule.during if n not in shut}
    return "; ".join([says[name] for name in (sorted(spoke) or waits)])
