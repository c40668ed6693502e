"""May this happen? One pure, total function: the same inputs give the same Verdict, for ever.

First what no policy can switch off, then the rules (deny > ask > allow, default deny), then the
limits, then the operator's dial. Anything unexpected denies; nothing here ever raises.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from watchkeeper.core.action import kind_of, traits_of
from watchkeeper.core.facts import Facts
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Autonomy, Decision, Obligations, Orders, Reason, Verdict
from watchkeeper.policy import limits
from watchkeeper.policy.expr import activate, evaluate
from watchkeeper.policy.invariants import Case, refusals
from watchkeeper.policy.model import CheckedPolicy, Rule
from watchkeeper.policy.windows import is_open, say

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
    version = policy.version if policy is not None else ""
    if not traits.changes:
        text = "tickets and pages change nothing and are always allowed"
        reason = Reason(kind="rule", id="built-in", says=_ALLOW, text=text)
        return Verdict(decision=_ALLOW, reasons=(reason,), policy_version=version)

    past = tuple(e for e in ledger.effects if e.proposal != proposal.id)
    case = Case(proposal, impact, facts, ledger, orders, past, traits, kind)
    refused = refusals(case)
    heard = _hear(policy, kind, facts, now)
    granted = bool(heard.allows or heard.asks)
    broken: tuple[Reason, ...] = ()
    if policy is not None and granted:
        broken = tuple(limits.exceeded(policy.limits_for[kind], proposal, impact, past))
    decision, refused_by = _decide(bool(refused), heard, bool(broken))
    reasons = [*(reason for _, reason in refused), *heard.reasons, *broken]
    decision, refused_by, capped = _under_the_dial(decision, refused_by, facts, orders)
    reasons.extend(capped)
    obligations = _obligations(heard.asks, policy) if decision is _ASK else None
    if obligations is not None and (nobody := _unanswerable(obligations, policy)):
        reasons.append(Reason(kind="refusal", id="nobody-to-ask", says=_DENY, text=nobody))
        decision, refused_by, obligations = _DENY, "policy", None
    return Verdict(
        decision=decision,
        reasons=tuple(reasons),
        policy_version=version,
        obligations=obligations,
        verify_within_s=None if decision is _DENY else _verify_within(heard),
        refused_by=refused_by,
        halts=any(invariant.halts for invariant, _ in refused),
        alert=_alert(refused, heard, broken),
        window=_windows_said(policy, heard, now),
    )


class _Heard(NamedTuple):
    """What the rules said: those that matched, by what they say, and a reason for each that
    spoke. error: at least one could not be decided. windows: the names that mattered."""

    allows: tuple[Rule, ...]
    asks: tuple[Rule, ...]
    denies: bool
    error: str
    reasons: tuple[Reason, ...]
    windows: tuple[str, ...]


def _hear(policy: CheckedPolicy | None, kind: str, facts: Facts, now: datetime) -> _Heard:
    """Ask every rule for this kind of action: window first, then condition, then requirement."""
    if policy is None:
        text = "there is no policy, and without one nothing may be done"
        reason = Reason(kind="default", id="no-policy", says=_DENY, text=text)
        return _Heard((), (), False, "", (reason,), ())
    candidates = policy.rules_for[kind]
    shut = _shut_windows(policy, candidates, now)
    in_force = [r for r in candidates if _in_force(r, shut, now)]
    conditional = any(rule.when is not None for rule in in_force)
    activation = activate(facts, policy.reads[kind], now) if conditional else None
    spoken = [
        (r, *said) for r in in_force if (said := _spoken_by(r, facts, activation)) is not None
    ]
    reasons = tuple(_reason(rule, how, text) for rule, how, text in spoken)
    binding = [(rule, how) for rule, how, _ in spoken if not rule.shadow]
    matched = [rule for rule, how in binding if how == "rule"]
    heard = _Heard(
        allows=tuple(r for r in matched if r.effect is _ALLOW),
        asks=tuple(r for r in matched if r.effect is _ASK),
        # An allow that lacks what it requires grants nothing. An ask that does must not be
        # stepped over by another rule's allow, so it denies.
        denies=any(
            rule.effect is (_DENY if how == "rule" else _ASK)
            for rule, how in binding
            if how != "error"
        ),
        error=next((f"{r.id} at {r.where}" for r, how in binding if how == "error"), ""),
        reasons=reasons,
        windows=tuple(dict.fromkeys(n for r, _ in binding for n in r.during if n not in shut)),
    )
    if heard.allows or heard.asks or heard.denies or heard.error:
        return heard
    return heard._replace(
        reasons=(*reasons, _default(kind, candidates, shut)),
        windows=tuple(dict.fromkeys(name for rule in candidates for name in rule.during)),
    )


def _in_force(rule: Rule, shut: frozenset[str], now: datetime) -> bool:
    """Has the rule not lapsed, and is any of its windows open?"""
    if rule.until is not None and now >= rule.until:
        return False
    return not (rule.during and shut.issuperset(rule.during))


def _spoken_by(rule: Rule, facts: Facts, activation: Any) -> tuple[str, str] | None:
    """(kind of reason, sentence), or None when the rule does not match."""
    if rule.when is not None:
        answer = evaluate(rule.when, activation)
        if answer.error:
            return "error", f"the rule {rule.id} could not be decided: {answer.error}"
        if not answer.holds:
            return None
    if unmet := _unmet(rule, facts):
        return "requirement", f"{rule.id} requires {unmet}"
    return "rule", rule.reason or _sentence(rule)


def _shut_windows(
    policy: CheckedPolicy, candidates: Iterable[Rule], now: datetime
) -> frozenset[str]:
    names = {name for rule in candidates for name in rule.during}
    return frozenset(name for name in names if not is_open(policy.windows[name], now))


def _unmet(rule: Rule, facts: Facts) -> str:
    """The first requirement that does not hold, in words; "" when all do."""
    need = rule.require
    if need.confidence is not None:
        confidence = facts.get("incident.confidence")
        if not _at_least(confidence, need.confidence):
            return f"confidence {need.confidence:g}, and it is {_shown(confidence)}"
    if need.independent_sources is not None:
        sources = facts.get("evidence.independent_sources")
        if not _at_least(sources, need.independent_sources):
            wanted = need.independent_sources
            return f"{wanted} independent sources, and there are {_shown(sources)}"
    if need.checkpoint_age_s is not None:
        age = facts.get("impact.checkpoint_age")
        if not isinstance(age, int | float) or not age <= need.checkpoint_age_s:
            return f"a checkpoint younger than {need.checkpoint_age_s:g} s of every job it stops"
    return ""


def _at_least(value: object, least: float) -> bool:
    return isinstance(value, int | float) and value >= least


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else "not known"


def _decide(refused: bool, heard: _Heard, broken: bool) -> tuple[Decision, str]:
    """Strictest first. refused_by names the first that said no, in the order of judging."""
    if refused:
        return _DENY, "invariant"
    if heard.error:
        return _DENY, "error"
    if heard.denies:
        return _DENY, "policy"
    if not heard.allows and not heard.asks:
        return _DENY, "default"
    if broken:
        return _DENY, "limit"
    return (_ASK, "") if heard.asks else (_ALLOW, "")


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
    """What all matching asks demand together: the largest quorum, the shortest expiry, and the
    groups that every one of them would ask. The dial alone asks one person of any group."""
    everyone = tuple(sorted(policy.people)) if policy else ()
    if not asks:
        return Obligations(groups=everyone)
    demands = [rule.approvals for rule in asks]
    groups = set(everyone)
    for demand in demands:
        groups &= set(demand.groups or everyone)
    return Obligations(
        quorum=max(d.quorum for d in demands),
        groups=tuple(sorted(groups)),
        expires_s=min(d.expires_s for d in demands),
        on_timeout="escalate" if any(d.on_timeout == "escalate" for d in demands) else "deny",
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


def _verify_within(heard: _Heard) -> float | None:
    spoken = [r.verify_within_s for r in (*heard.allows, *heard.asks) if r.verify_within_s]
    return min(spoken) if spoken else None


def _default(kind: str, candidates: Iterable[Rule], shut: frozenset[str]) -> Reason:
    waiting = sorted({n for r in candidates for n in r.during if n in shut})
    text = f"no rule allows {kind} here and now"
    if waiting:
        text += f" (shut: {', '.join(waiting)})"
    return Reason(kind="default", id="default-deny", says=_DENY, text=text)


def _reason(rule: Rule, kind: str, text: str) -> Reason:
    says = rule.effect if kind == "rule" else _DENY
    return Reason(kind=kind, id=rule.id, says=says, text=text, where=rule.where, shadow=rule.shadow)


def _sentence(rule: Rule) -> str:
    verb = {_ALLOW: "allows", _ASK: "asks about", _DENY: "denies"}[rule.effect]
    return f"the rule {rule.id} {verb} it"


def _alert(refused: tuple[Any, ...], heard: _Heard, broken: tuple[Reason, ...]) -> str:
    """What must wake a person, in words that stay the same while the cause does."""
    said = [f"{i.id}: {i.says} {reason.text}." for i, reason in refused if i.wakes]
    if heard.error:
        said.append(
            f"A policy rule could not be decided, so everything it covers is denied: {heard.error}."
        )
    if not refused and not heard.denies:
        said.extend(
            f"The limit {r.id} ({r.where}) is reached: {r.text.rstrip('.')}." for r in broken
        )
    return " ".join(said)


def _windows_said(policy: CheckedPolicy | None, heard: _Heard, now: datetime) -> str:
    if policy is None:
        return ""
    return "; ".join(say(policy.windows[name], now) for name in heard.windows)
