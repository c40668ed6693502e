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
from watchkeeper.policy.hear import Heard, State, hear, shut_windows
from watchkeeper.policy.invariants import Case, Invariant, refusals
from watchkeeper.policy.limits import Touched, exceeded
from watchkeeper.policy.model import Budget, CheckedPolicy, Limit, Rule
from watchkeeper.policy.windows import say

_ALLOW, _ASK, _DENY = Decision.ALLOW, Decision.ASK, Decision.DENY


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

    past = tuple(e for e in ledger.effects if e.proposal != proposal.id)
    refused = refusals(Case(proposal, impact, facts, ledger, orders, past, traits, kind))
    if policy is None:
        return _without_policy(refused)
    heard = hear(policy, kind, facts, ledger, now)
    touched = Touched(proposal, impact, past, ledger.reaches_s)
    broken = _broken(policy, kind, touched, ledger) if _any_grants(heard) else []
    binding = _Votes.of((h for h in heard if _counts(h)), broken)
    decision, refused_by = binding.decide(refused=bool(refused))
    reasons = [reason for _, reason in refused]
    reasons += [_reason(h) for h in heard]
    if binding.silent:
        reasons.append(_default(kind, policy, now))
    reasons += [b.reason for b in broken]
    liftable = binding.liftable(decision, refused_by)
    would_be = _would_be(heard, broken, decision, refused=bool(refused))
    decision, refused_by, capped = _under_the_dial(decision, refused_by, facts, orders)
    reasons += capped
    obligations = _obligations(binding.asks, policy) if decision is _ASK else None
    if obligations is not None and (nobody := _unanswerable(obligations, policy)):
        reasons.append(Reason(kind="refusal", id="nobody-to-ask", says=_DENY, text=nobody))
        decision, refused_by, obligations, liftable = _DENY, "policy", None, ()
    return Verdict(
        decision=decision,
        reasons=tuple(reasons),
        policy_version=policy.version,
        obligations=obligations,
        verify_within_s=None if decision is _DENY else binding.verify_within_s,
        refused_by=refused_by,
        halts=any(invariant.halts for invariant, _ in refused),
        alert=_alert(refused, binding),
        window=_windows_said(policy, kind, heard, now),
        liftable=liftable,
        would_be=would_be,
    )


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
        votes: dict[tuple[State, Decision], list[Rule]] = {}
        errors = []
        for h in heard:
            if h.state is State.ERROR:
                errors.append(h)
            else:
                votes.setdefault((h.state, h.rule.effect), []).append(h.rule)
        return cls(
            allows=tuple(votes.get((State.MATCHED, _ALLOW), ())),
            asks=tuple(votes.get((State.MATCHED, _ASK), ())),
            denies=tuple(votes.get((State.MATCHED, _DENY), ())),
            unmet_asks=tuple(votes.get((State.UNMET, _ASK), ())),
            lifted=tuple(votes.get((State.LIFTED, _ASK), ())),
            errors=tuple(errors),
            broken=tuple(b for b in broken if b.binds),
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

    def liftable(self, decision: Decision, refused_by: str) -> tuple[str, ...]:
        """What break-glass may lift, where lifting it would let the action happen or be asked."""
        if decision is _ASK:
            soft = all(rule.soft for rule in self.asks)
            return tuple(rule.id for rule in self.asks) if soft else ()
        if refused_by not in ("policy", "limit", "budget") or self.unmet_asks:
            return ()
        if not (self.allows or self.asks or self.lifted):
            return ()
        orders: tuple[Rule | Limit | Budget, ...]
        orders = (*self.denies, *(b.order for b in self.broken))
        return tuple(o.id for o in orders) if all(o.enforcement == "soft" for o in orders) else ()

    @property
    def verify_within_s(self) -> float | None:
        said = (*self.allows, *self.asks, *self.lifted)
        spoken = [r.verify_within_s for r in said if r.verify_within_s]
        return min(spoken) if spoken else None


def _counts(heard: Heard) -> bool:
    """Does it decide? An advisory rule only informs, but one that cannot be decided denies, as
    any rule does; a shadow rule never counts."""
    return heard.rule.binds or (heard.state is State.ERROR and not heard.rule.shadow)


def _any_grants(heard: Iterable[Heard]) -> bool:
    """Could any rule let it happen? Else no limit needs to be counted."""
    return any(
        h.rule.effect is not _DENY and h.state in (State.MATCHED, State.LIFTED) for h in heard
    )


def _would_be(
    heard: list[Heard], broken: list[_Broken], decision: Decision, *, refused: bool
) -> Decision | None:
    """The decision if what is in shadow were enforced; None where that changes nothing."""
    if not any(h.rule.shadow for h in heard) and not any(b.order.shadow for b in broken):
        return None
    enforced = [b._replace(reason=structs.replace(b.reason, shadow=False)) for b in broken]
    strict = (h for h in heard if h.rule.shadow or _counts(h))
    would_be, _ = _Votes.of(strict, enforced).decide(refused=refused)
    return would_be if would_be is not decision else None


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


def _obligations(asks: tuple[Rule, ...], policy: CheckedPolicy | None) -> Obligations:
    """What all matching asks demand together: the largest quorum, the shortest expiry, the groups
    that every one of them would ask, and the earliest call for others. The dial alone asks one
    person of any group."""
    everyone = tuple(sorted(policy.people)) if policy else ()
    if not asks:
        return Obligations(groups=everyone)
    demands = [rule.approvals for rule in asks]
    groups = set(everyone)
    for demand in demands:
        groups &= set(demand.groups or everyone)
    after = [d.escalate_after_s for d in demands if d.escalate_after_s is not None]
    return Obligations(
        quorum=max(d.quorum for d in demands),
        groups=tuple(sorted(groups)),
        expires_s=min(d.expires_s for d in demands),
        on_timeout="escalate" if any(d.on_timeout == "escalate" for d in demands) else "deny",
        escalate_after_s=min(after) if after else None,
        escalate_to=tuple(sorted({group for d in demands for group in d.escalate_to})),
    )


def _unanswerable(obligations: Obligations, policy: CheckedPolicy | None) -> str:
    """Why no answer could ever be enough: a question that nobody can answer is a no."""
    people = policy.people if policy is not None else {}
    who = {person for group in obligations.groups for person in people.get(group, ())}
    if len(who) >= obligations.quorum:
        return ""
    groups = ", ".join(obligations.groups) or "no group that every matching rule asks"
    wanted = "1 person" if obligations.quorum == 1 else f"{obligations.quorum} people"
    return f"{wanted} must approve, and nobody can: {groups} has {len(who)}"


def _default(kind: str, policy: CheckedPolicy, now: datetime) -> Reason:
    shut = shut_windows(policy, now)
    waiting = sorted({n for r in policy.rules_for[kind] for n in r.during if n in shut})
    text = f"no rule allows {kind} here and now"
    if waiting:
        text += f" (shut: {', '.join(waiting)})"
    return Reason(kind="default", id="default-deny", says=_DENY, text=text)


_KIND_OF_REASON = {
    State.MATCHED: "rule",
    State.UNMET: "requirement",
    State.ERROR: "error",
    State.EXCEPTED: "exception",
    State.LIFTED: "lifted",
}


def _reason(heard: Heard) -> Reason:
    rule, state = heard.rule, heard.state
    kind = _KIND_OF_REASON[state]
    if rule.enforcement == "advisory" and state in (State.MATCHED, State.UNMET):
        kind = "advice"
    says = _DENY if state in (State.UNMET, State.ERROR) else rule.effect
    return Reason(
        kind=kind, id=rule.id, says=says, text=heard.why, where=rule.where, shadow=rule.shadow
    )


def _alert(refused: tuple[tuple[Invariant, Reason], ...], votes: _Votes) -> str:
    """What must wake a person, in words that stay the same while the cause does."""
    said = [f"{i.id}: {i.says} {reason.text}." for i, reason in refused if i.wakes]
    if votes.errors:
        rule = votes.errors[0].rule
        said.append(
            "A policy rule could not be decided, so everything it covers is denied: "
            f"{rule.id} at {rule.where}."
        )
    if not refused and not votes.denies and not votes.unmet_asks:
        said.extend(
            f"The {b.reason.kind} {b.order.id} ({b.order.where}) is reached: "
            f"{b.reason.text.rstrip('.')}."
            for b in votes.broken
        )
    return " ".join(said)


def _windows_said(policy: CheckedPolicy, kind: str, heard: list[Heard], now: datetime) -> str:
    """The windows that mattered: those that let a rule speak, or else those it waits for."""
    shut = shut_windows(policy, now)
    binding = [h.rule for h in heard if h.rule.binds]
    spoke = dict.fromkeys(n for r in binding for n in r.during if n not in shut)
    waited = dict.fromkeys(n for r in policy.rules_for[kind] for n in r.during)
    return "; ".join(say(policy.windows[name], now) for name in (spoke or waited))
