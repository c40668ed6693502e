"""May this happen? One pure, total function: the same inputs give the same Verdict, for ever.

First what no policy can switch off, then the rules (deny > ask > allow, default deny), then the
limits, then the operator's dial. Anything unexpected denies; nothing here ever raises.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct, structs

from watchkeeper.core.action import TRAITS, kind_of
from watchkeeper.core.facts import Facts
from watchkeeper.core.floors import Floors
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Autonomy, Decision, Obligations, Orders, Reason, Verdict
from watchkeeper.policy.budgets import overspent
from watchkeeper.policy.hear import Heard, Hearing, State, hear
from watchkeeper.policy.invariants import Case, Invariant, refusals
from watchkeeper.policy.limits import Looks, Touched, exceeded
from watchkeeper.policy.model import Budget, CheckedPolicy, Limit
from watchkeeper.policy.obligations import demanded
from watchkeeper.policy.votes import Broken, Votes, counts
from watchkeeper.policy.windows import Stand

# A member of an Enum is looked up through its class each time that it is named; these are not.
_ALLOW, _ASK, _DENY = Decision.ALLOW, Decision.ASK, Decision.DENY
_MATCHED, _UNMET, _LIFTED, _ERROR = State.MATCHED, State.UNMET, State.LIFTED, State.ERROR
_AUTO = Autonomy.AUTO


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
    kind = kind_of(proposal.action)
    traits = TRAITS[kind]
    if not traits.changes:
        text = "tickets and pages change nothing and are always allowed"
        reason = Reason(kind="rule", id="built-in", says=_ALLOW, text=text)
        version = policy.version if policy is not None else ""
        return Verdict(decision=_ALLOW, reasons=(reason,), policy_version=version)

    own = proposal.id
    past = tuple([e for e in ledger.effects if e.proposal != own])
    floors = policy.floors if policy is not None else Floors()
    refused = refusals(Case(proposal, impact, facts, ledger, orders, past, traits, kind, floors))
    if policy is None:
        return _without_policy(refused)
    hearing = Hearing(policy, kind, facts, ledger, now)
    heard = hear(hearing)
    touched = Touched(proposal, impact, past, Looks.of(ledger))
    broken = _broken(policy, kind, touched, ledger) if _any_grants(heard) else []
    votes = Votes.of([h for h in heard if counts(h)], broken)
    settled = _settle(votes, policy, facts, orders, refused=bool(refused))
    reasons = [reason for _, reason in refused] if refused else []
    reasons += [_reason(h) for h in heard]
    if votes.silent:
        reasons.append(_default(kind, policy.dockets[kind].waits, hearing.stand))
    if broken:
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
        window=_windows_said(policy.dockets[kind].waits, heard, hearing.stand),
        liftable=_liftable(votes, settled, facts, orders),
        would_be=_would_be(heard, broken, settled, policy, facts, orders, refused=bool(refused)),
    )


class _Settled(Struct, frozen=True):
    """A decision once the votes, the dial and the people who could answer have been counted.
    reasons: what the dial, or the lack of people, added."""

    decision: Decision
    refused_by: str
    obligations: Obligations | None = None
    reasons: tuple[Reason, ...] = ()


def _settle(
    votes: Votes, policy: CheckedPolicy, facts: Facts, orders: Orders, *, refused: bool
) -> _Settled:
    """From votes to the decision. The enforced policy and its shadow both go this one way."""
    decision, refused_by = votes.decide(refused=refused)
    decision, refused_by, capped = _under_the_dial(decision, refused_by, facts, orders)
    if decision is not _ASK:
        return _Settled(decision, refused_by, reasons=capped)
    obligations, nobody = demanded(votes.asks, policy)
    if nobody:
        reason = Reason(kind="refusal", id="nobody-to-ask", says=_DENY, text=nobody)
        return _Settled(_DENY, "policy", reasons=(*capped, reason))
    return _Settled(_ASK, "", obligations, capped)


def _liftable(votes: Votes, settled: _Settled, facts: Facts, orders: Orders) -> tuple[str, ...]:
    """What break-glass may lift; nothing where the dial, too, stands in the way of the act."""
    if settled.decision is _ALLOW:
        return ()
    if settled.decision is _ASK:
        lifts = votes.liftable_asks
    else:
        by_policy = settled.refused_by in ("policy", "limit", "budget")
        lifts = votes.liftable_denies if by_policy else ()
    if not lifts:
        return ()
    at_best, _, _ = _under_the_dial(_ALLOW, "", facts, orders)
    return lifts if at_best.strictness < settled.decision.strictness else ()


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


def _broken(policy: CheckedPolicy, kind: str, touched: Touched, ledger: LedgerView) -> list[Broken]:
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
        found.append(Broken(order, reason))
    return found


def _any_grants(heard: Iterable[Heard]) -> bool:
    """Could any rule let it happen? Else no limit needs to be counted."""
    for h in heard:
        if h.rule.effect is not _DENY and (h.state is _MATCHED or h.state is _LIFTED):
            return True
    return False


def _would_be(
    heard: list[Heard],
    broken: list[Broken],
    settled: _Settled,
    policy: CheckedPolicy,
    facts: Facts,
    orders: Orders,
    *,
    refused: bool,
) -> Decision | None:
    """The decision if what is in shadow were enforced; None where that changes nothing."""
    if not _any_in_shadow(heard, broken):
        return None
    enforced = [b._replace(reason=structs.replace(b.reason, shadow=False)) for b in broken]
    strict = [h for h in heard if h.rule.enforcement != "advisory" or h.state is _ERROR]
    would_be = _settle(Votes.of(strict, enforced), policy, facts, orders, refused=refused)
    return would_be.decision if would_be.decision is not settled.decision else None


def _any_in_shadow(heard: list[Heard], broken: list[Broken]) -> bool:
    for h in heard:
        if h.rule.shadow:
            return True
    return any(b.order.shadow for b in broken) if broken else False


def _under_the_dial(
    decision: Decision, refused_by: str, facts: Facts, orders: Orders
) -> tuple[Decision, str, tuple[Reason, ...]]:
    """The operator's dial caps from above; it never loosens."""
    if decision is _DENY:
        return decision, refused_by, ()
    if orders.autonomy is _AUTO:
        return decision, refused_by, ()
    if orders.autonomy is Autonomy.ASK:
        # A person who approved the plan that held this step has been asked already.
        if decision is _ASK or facts.get("incident.approved") is True:
            return decision, refused_by, ()
        text = orders.capped or "the dial stands at ask: what the policy allows is asked"
        return _ASK, "", (Reason(kind="dial", id="ask", says=_ASK, text=text),)
    text = f"the dial stands at observe: the policy says {decision.value}, nothing is done"
    return _DENY, "dial", (Reason(kind="dial", id="observe", says=_DENY, text=text),)


def _default(kind: str, waits: tuple[str, ...], stand: Stand) -> Reason:
    waiting = [name for name in waits if name in stand.shut]
    text = f"no rule allows {kind} here and now"
    if waiting:
        text += f" (shut: {', '.join(waiting)})"
    return Reason(kind="default", id="default-deny", says=_DENY, text=text)


def _reason(heard: Heard) -> Reason:
    rule, state = heard.rule, heard.state
    if rule.enforcement == "advisory" and state in (_MATCHED, _UNMET):
        kind = "advice"
    else:
        kind = "rule" if state is _MATCHED else _KIND_OF_REASON[state]
    says = _DENY if state in (_UNMET, _ERROR) else rule.effect
    return Reason(
        kind=kind, id=rule.id, says=says, text=heard.why, where=rule.where, shadow=rule.shadow
    )


_KIND_OF_REASON = {
    State.UNMET: "requirement",
    State.ERROR: "error",
    State.EXCEPTED: "exception",
    State.LIFTED: "lifted",
}


def _alert(refused: tuple[tuple[Invariant, Reason], ...], votes: Votes) -> str:
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


def _windows_said(waits: tuple[str, ...], heard: list[Heard], stand: Stand) -> str:
    """The windows that mattered: those that let a rule speak, or else those that one waits for."""
    if not waits:
        return ""
    spoke: set[str] = set()
    for h in heard:
        if h.rule.during and h.rule.binds:
            spoke.update(h.rule.during)
    return "; ".join([stand.says[name] for name in (sorted(spoke - stand.shut) or waits)])
