"""Why a verdict is what it is: every rule on one line, with the values that it saw filled in.

Asked by `policy explain` for a journalled decision or for a file of facts. Everything is computed
by the judge's own functions from the decision's exact inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from watchkeeper.core.action import kind_of, say
from watchkeeper.core.facts import FACTS, Facts
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Orders, Reason, Verdict
from watchkeeper.policy import windows
from watchkeeper.policy.judge import judge
from watchkeeper.policy.limits import span
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.trace import RuleTrace, trace

WIDTH = 100
_SIGN = {"matched": "+", "unmet": "!", "error": "!", "excepted": "~", "lifted": "~"}
_TEXT_OR_NAME = re.compile(
    r"""[rRbB]{0,2}(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?<![\w.])[a-z]+\.[a-z_0-9]+|\bnow\b"""
)


class Explained(NamedTuple):
    """A verdict and how every rule stood towards it."""

    proposal: Proposal
    policy: CheckedPolicy
    verdict: Verdict
    rules: tuple[RuleTrace, ...]
    facts: Facts
    now: datetime


def explain(
    proposal: Proposal,
    impact: Impact,
    facts: Facts,
    ledger: LedgerView,
    orders: Orders,
    policy: CheckedPolicy,
    now: datetime,
) -> Explained:
    """Judge these inputs, and keep what each rule said."""
    verdict = judge(proposal, impact, facts, policy, ledger, orders, now)
    rules = trace(policy, kind_of(proposal.action), facts, ledger, now)
    return Explained(proposal, policy, verdict, rules, facts, now)


def told(found: Explained, recorded: Verdict | None = None, *, lab_time: bool = False) -> str:
    """The whole explanation as text, `WIDTH` columns wide. `recorded` is the verdict that was
    given at the time; where it differs, that is said first.
    lab_time: the policy's clock was shifted when it judged."""
    verdict = found.verdict
    by = f" (refused by {verdict.refused_by})" if verdict.refused_by else ""
    at = f"{found.now.astimezone(UTC):%a %Y-%m-%d %H:%M}Z{' lab time' if lab_time else ''}"
    lines = [
        f"{verdict.decision.value.upper()}{by}: {say(found.proposal.action)}",
        f"  {at}, policy {found.policy.version}, asked by {found.proposal.by}",
    ]
    if recorded is not None and recorded.decision is not verdict.decision:
        when = f"policy {recorded.policy_version}"
        lines.append(f"  Recorded at the time: {recorded.decision.value}, under {when}.")
    lines += _section("Windows", _window_lines(found))
    lines += _section("Built in", _lines(verdict.reasons, ("invariant",)))
    lines += _section(f"Rules for {kind_of(found.proposal.action)}", _rule_lines(found))
    lines += _section("Limits and budgets", _bound_lines(found))
    lines += _section("Then", _lines(verdict.reasons, ("dial", "default", "refusal")))
    lines += _section("So", _outcome(verdict))
    return "\n".join(line[: WIDTH * 4] for line in lines)


def as_value(found: Explained) -> dict[str, Any]:
    """The same as plain values."""
    verdict = found.verdict
    return {
        "decision": verdict.decision.value,
        "refused_by": verdict.refused_by,
        "action": say(found.proposal.action),
        "at": found.now.isoformat(),
        "policy_version": found.policy.version,
        "windows": _window_lines(found),
        "rules": [
            {
                "id": t.rule.id,
                "where": t.rule.where,
                "effect": t.rule.effect.value,
                "state": t.state,
                "why": t.why,
                "when": filled_in(t.rule.when.text, found.facts, found.now) if t.rule.when else "",
            }
            for t in found.rules
        ],
        "reasons": [
            {"kind": r.kind, "id": r.id, "says": r.says.value, "where": r.where, "text": r.text}
            for r in verdict.reasons
        ],
        "liftable": list(verdict.liftable),
        "facts": found.facts,
    }


def filled_in(text: str, facts: Mapping[str, Any], now: datetime) -> str:
    """A condition with the value of each fact beside its name: `impact.jobs[2] == 0`."""

    def with_value(match: re.Match[str]) -> str:
        name = match[0]
        if name == "now":
            return f"now[{now.astimezone(UTC):%a %H:%M}Z]"
        if name not in FACTS:
            return name
        return f"{name}[{_shown(name, facts[name]) if name in facts else 'unbound'}]"

    return " ".join(_TEXT_OR_NAME.sub(with_value, text).split())


def _shown(name: str, value: object) -> str:
    unknown = FACTS[name].unknown
    if value == unknown and unknown and not isinstance(value, bool):
        return "unknown"
    if FACTS[name].type == "duration" and isinstance(value, int | float):
        return span(value)
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
        case str():
            return f'"{value}"'
        case dict():
            return ", ".join(f"{k}: {v}" for k, v in sorted(value.items())) or "empty"
        case list():
            return ", ".join(map(str, value)) or "empty"
    return str(value)


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"  {line}" for line in lines]
    return [f"{title}:", *found] if found else []


def _window_lines(found: Explained) -> list[str]:
    names = dict.fromkeys(name for t in found.rules for name in t.rule.during)
    return [windows.say(found.policy.windows[name], found.now) for name in sorted(names)]


def _rule_lines(found: Explained) -> list[str]:
    if not found.rules:
        return ["none"]
    loudest = {"matched": 0, "error": 0, "unmet": 1, "lifted": 1, "excepted": 1, "false": 2}
    lines = []
    for t in sorted(
        found.rules, key=lambda t: (loudest.get(t.state, 3), -t.rule.effect.strictness)
    ):
        notes = [*(["in shadow"] if t.rule.shadow else [])]
        if t.rule.enforcement != "hard":
            notes.append(t.rule.enforcement)
        noted = f" ({', '.join(notes)})" if notes else ""
        lines.append(
            f"{_SIGN.get(t.state, '-')} {t.rule.effect.value:<5} {t.state:<8} {t.rule.id}{noted}"
            f"  {t.rule.where}"
        )
        if t.state in ("matched", "false", "error", "unmet") and t.rule.when is not None:
            lines += _wrapped(f"when {filled_in(t.rule.when.text, found.facts, found.now)}")
        if t.state not in ("matched", "false"):
            lines += _wrapped(t.why)
    return lines


def _wrapped(text: str) -> list[str]:
    """In lines that fit beside the indent, broken at blanks."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) + 1 > WIDTH - 12:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return [f"          {part}" for part in (*lines, line) if part]


def _bound_lines(found: Explained) -> list[str]:
    kind = kind_of(found.proposal.action)
    limits, budgets = found.policy.limits_for[kind], found.policy.budgets_for[kind]
    bounds = [*(limit.id for limit in limits), *(budget.id for budget in budgets)]
    spoken = [r for r in found.verdict.reasons if r.id in bounds and _of_bound(r)]
    lines = [f"! {_line(r)}" for r in spoken]
    if quiet := [ident for ident in bounds if ident not in {r.id for r in spoken}]:
        counted = any(t.state in ("matched", "lifted") for t in found.rules)
        word = "within" if counted else "not counted, since no rule grants anything"
        lines.append(f"- {word}: {', '.join(quiet)}")
    return lines


def _of_bound(reason: Reason) -> bool:
    return reason.kind in ("limit", "budget", "advice", "lifted")


def _lines(reasons: Iterable[Reason], kinds: tuple[str, ...]) -> list[str]:
    return [f"! {_line(r)}" for r in reasons if r.kind in kinds]


def _line(reason: Reason) -> str:
    shadow = " (in shadow)" if reason.shadow else ""
    place = f"  {reason.where}" if reason.where else ""
    return f"{reason.id}{shadow}{place}: {reason.text}"


def _outcome(verdict: Verdict) -> list[str]:
    lines = []
    if duty := verdict.obligations:
        groups = ", ".join(duty.groups) or "anyone"
        lines.append(f"{duty.quorum} of {groups} must approve within {span(duty.expires_s)}")
        if duty.escalate_after_s is not None:
            later = f"after {span(duty.escalate_after_s)} {', '.join(duty.escalate_to)} may too"
            lines.append(later)
    if verdict.verify_within_s is not None:
        lines.append(f"telemetry must show the effect within {span(verdict.verify_within_s)}")
    if verdict.liftable:
        lines.append(f"break-glass may lift {', '.join(verdict.liftable)}")
    if verdict.would_be is not None:
        lines.append(f"with the rules in shadow it would be: {verdict.would_be.value}")
    return lines
