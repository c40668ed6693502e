"""Rules and exceptions, from YAML to their checked form."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from watchkeeper.core.verdict import Decision
from watchkeeper.policy.conditions import Conditions
from watchkeeper.policy.model import Approvals, Exemption, Require, Rule, Window
from watchkeeper.policy.reader import At, Reader
from watchkeeper.policy.sections import Documents, kinds_of

LONGEST_EXCEPTION_S = 366 * 86400.0
"""How long an exception may last where `exceptions_at_most` does not say less."""


def rules_in(
    documents: Documents,
    windows: dict[str, Window],
    people: dict[str, tuple[str, ...]],
    conditions: Conditions,
) -> list[Rule]:
    rules: dict[str, Rule] = {}
    for reader, top in documents:
        for spec in top.each("rules"):
            ident = spec.of("id", f"{reader.file}:{spec.mark.line}")
            if ident in rules:
                said = f"the rule {ident!r} is defined twice; first at {rules[ident].where}"
                reader.problem(spec.mark, said, ident)
                continue
            if spec.get("effect") and spec.get("actions"):
                rules[ident] = _rule(reader, spec, windows, people, conditions)
    return list(rules.values())


def _rule(
    reader: Reader,
    spec: At,
    windows: dict[str, Window],
    people: dict[str, tuple[str, ...]],
    conditions: Conditions,
) -> Rule:
    effect = Decision(spec.of("effect"))
    for name in spec.each("during"):
        if name.value not in windows:
            reader.unknown(name.mark, f"no window is called {name.value!r}", name.value, windows)
    require, asks = spec.get("require"), spec.get("approvals")
    if require is not None and effect is Decision.DENY:
        said = "a deny rule takes no `require`: unmet, it would let more happen"
        reader.problem(require.mark, said, "require")
    if asks is not None and effect is not Decision.ASK:
        reader.problem(asks.mark, "`approvals` belongs to `effect: ask`", "approvals")
    enforcement = spec.get("enforcement")
    if enforcement is not None and effect is Decision.ALLOW:
        said = "`enforcement` belongs to an ask or a deny: an allow forbids nothing"
        reader.problem(enforcement.mark, said, enforcement.value)
    need = require or At({}, spec.mark)
    actions = kinds_of(spec)
    return Rule(
        id=spec.of("id", ""),
        effect=effect,
        actions=actions,
        where=f"{reader.file}:{spec.mark.line}",
        during=tuple(dict.fromkeys(name.value for name in spec.each("during"))),
        when=conditions.of(reader, spec.get("when"), actions),
        require=Require(
            checkpoint_age_s=need.of("checkpoint_age"),
            confidence=need.of("confidence"),
            independent_sources=need.of("independent_sources"),
        ),
        approvals=_approvals(reader, asks, people) if asks else Approvals(),
        verify_within_s=need.of("verify_within"),
        shadow=spec.of("mode") == "shadow",
        until=_end_of(spec.get("until")),
        reason=spec.of("reason", ""),
        enforcement=enforcement.value if enforcement else "hard",
    )


def _end_of(day: At | None) -> datetime | None:
    """The moment after the last moment of a day (UTC)."""
    return datetime.combine(day.value + timedelta(days=1), time(), UTC) if day else None


def exemptions_in(
    documents: Documents, rules: list[Rule], conditions: Conditions, at: datetime
) -> list[Exemption]:
    by_id = {rule.id: rule for rule in rules}
    at_most = min(
        (t.value["exceptions_at_most"].value for _, t in documents if t.get("exceptions_at_most")),
        default=LONGEST_EXCEPTION_S,
    )
    found: dict[str, Exemption] = {}
    for reader, top in documents:
        for spec in top.each("exceptions"):
            ident = spec.of("id", f"{reader.file}:{spec.mark.line}")
            if ident in found:
                said = f"the exception {ident!r} is defined twice; first at {found[ident].where}"
                reader.problem(spec.mark, said, ident)
                continue
            named, until = spec.get("rule"), spec.get("until")
            rule = by_id.get(named.value) if named else None
            if named and rule is None:
                said = f"the exception {ident!r} points to no rule: {named.value!r}"
                reader.unknown(named.mark, said, named.value, by_id)
            end = _end_of(until)
            if rule is None or until is None or end is None:
                continue
            if rule.effect is Decision.ALLOW:
                said = f"{rule.id!r} allows; an exception lifts an ask or a deny"
                reader.problem(named.mark if named else spec.mark, said, rule.id)
            if (end - at).total_seconds() > at_most + 86400.0:
                said = f"an exception may last {at_most / 86400:g} days from now at most"
                reader.problem(until.mark, said, str(until.value))
            actions = kinds_of(spec) or rule.actions
            if beyond := sorted(actions - rule.actions):
                said = f"the rule {rule.id!r} does not name {', '.join(beyond)}"
                reader.problem(spec.mark, said, ident)
            found[ident] = Exemption(
                id=ident,
                rule=rule.id,
                actions=actions & rule.actions,
                where=f"{reader.file}:{spec.mark.line}",
                owner=spec.of("owner", ""),
                ticket=spec.of("ticket", ""),
                until=end,
                reason=spec.of("reason", ""),
                when=conditions.of(reader, spec.get("when"), actions & rule.actions),
            )
    return list(found.values())


def _approvals(reader: Reader, asks: At, people: dict[str, tuple[str, ...]]) -> Approvals:
    expires_s, escalate = asks.of("expires", 900.0), asks.get("escalate")
    if escalate and escalate.of("after", 0.0) >= expires_s:
        said = f"`escalate` comes after the question has expired ({expires_s:g} s)"
        reader.problem(escalate.mark, said, "escalate")
    return Approvals(
        quorum=asks.of("quorum", 1),
        groups=_groups(reader, asks.each("from"), people),
        expires_s=expires_s,
        on_timeout=asks.of("on_timeout", "escalate"),
        escalate_after_s=escalate.of("after") if escalate else None,
        escalate_to=_groups(reader, escalate.each("to"), people) if escalate else (),
    )


def _groups(reader: Reader, named: list[At], people: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    groups = []
    for group in named:
        name = group.value.removeprefix("group:")
        if name not in people:
            reader.unknown(group.mark, f"no group is called {name!r}", name, people)
        groups.append(name)
    return tuple(sorted(set(groups)))
