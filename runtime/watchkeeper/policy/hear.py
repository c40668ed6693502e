"""What does each rule say? Asked by the judge for the rules that speak, and by `trace` for all.

There is one way to hear a rule, so that a verdict, its explanation, its test and its replay can
never disagree.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from operator import itemgetter
from typing import Any

from msgspec import Struct

from watchkeeper.core.facts import Facts
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.expr import Answer, activate, evaluate, not_silent
from watchkeeper.policy.model import CheckedPolicy, Exemption, Rule
from watchkeeper.policy.windows import stand_at


class State(Enum):
    """How a rule stands towards one proposal."""

    LAPSED = "lapsed"
    SHUT = "shut"
    ERROR = "error"
    FALSE = "false"
    EXCEPTED = "excepted"
    LIFTED = "lifted"
    UNMET = "unmet"
    MATCHED = "matched"

    @property
    def speaks(self) -> bool:
        """Does the verdict mention it?"""
        return self not in _SILENT


_SILENT = (State.LAPSED, State.SHUT, State.FALSE)


class Heard(Struct, frozen=True):
    """One rule, how it stands, and why in a sentence."""

    rule: Rule
    state: State
    why: str


class Hearing:
    """What all rules are held against: one proposal's facts, and the hour. Made once a verdict."""

    __slots__ = ("_activation", "facts", "kind", "ledger", "now", "policy", "stand")

    def __init__(
        self, policy: CheckedPolicy, kind: str, facts: Facts, ledger: LedgerView, now: datetime
    ) -> None:
        self.policy, self.kind, self.facts, self.ledger, self.now = policy, kind, facts, ledger, now
        self.stand = stand_at(policy, now)
        self._activation: Any = None

    @property
    def activation(self) -> Any:
        """What CEL is given, made once a verdict, and only when CEL is asked: making it costs
        more than most conditions do."""
        if self._activation is None:
            self._activation = activate(self.facts, self.policy.reads[self.kind], self.now)
        return self._activation

    def answer(self, rule: Rule) -> Answer:
        """What CEL says of one rule's condition."""
        return _YES if rule.when is None else evaluate(rule.when, self.activation)


_YES = Answer(True)
_PLACE = itemgetter(0)


def hear(hearing: Hearing) -> list[Heard]:
    """The rules for this kind of action that speak, in the order of the files.

    Gives what `hear_all` gives of those, and touches no silent rule: first the windows, then the
    index, and CEL for what the index cannot tell.
    """
    facts, shut = hearing.facts, hearing.stand.shut
    heard: list[tuple[int, Heard]] = []
    for part in hearing.policy.dockets[hearing.kind].parts:
        if part.during and shut.issuperset(part.during):
            continue
        for place, rule in part.plain:
            heard.append((place, _heard(rule, _YES, hearing)))
        held = part.index.holding(facts)
        if held is None:
            for place, rule in part.indexed:
                heard.append((place, _heard(rule, hearing.answer(rule), hearing)))
        else:
            for at in held:
                place, rule = part.indexed[at]
                heard.append((place, _heard(rule, _YES, hearing)))
        if part.asked:
            for at, answer in not_silent(part.batch, hearing.activation):
                place, rule = part.asked[at]
                heard.append((place, _heard(rule, answer, hearing)))
    heard.sort(key=_PLACE)
    return [h for _, h in heard if h.state not in _SILENT]


def hear_all(hearing: Hearing) -> list[Heard]:
    """Every rule for this kind of action, the silent ones too, each asked by itself."""
    rules = hearing.policy.rules_for[hearing.kind]
    return [_heard(rule, hearing.answer(rule), hearing) for rule in rules]


def _heard(rule: Rule, answer: Answer, hearing: Hearing) -> Heard:
    """The one place where it is decided how a rule stands."""
    if rule.until is not None and hearing.now >= rule.until:
        return Heard(rule, State.LAPSED, f"it lapsed at {rule.until:%Y-%m-%d} 00:00Z")
    if rule.during and hearing.stand.shut.issuperset(rule.during):
        return Heard(rule, State.SHUT, f"{' and '.join(rule.during)} {_is(rule.during)} shut")
    if answer.error:
        why = f"the rule {rule.id} could not be decided: {answer.error}"
        return Heard(rule, State.ERROR, why)
    if not answer.holds:
        return Heard(rule, State.FALSE, "its condition is false")
    for exemption in hearing.policy.exempt[rule.id]:
        if (stands := _exempted(exemption, rule, hearing)) is not None:
            return stands
    if unmet := _unmet(rule, hearing.facts):
        return Heard(rule, State.UNMET, f"{rule.id} requires {unmet}")
    if rule.soft and rule.id in hearing.ledger.lifted:  # a question is answered; no more than that
        return Heard(rule, State.LIFTED, f"{rule.id} was lifted by break-glass")
    return Heard(rule, State.MATCHED, rule.reason or _sentence(rule))


def _exempted(exemption: Exemption, rule: Rule, hearing: Hearing) -> Heard | None:
    """What a written exception makes of its rule; None where it does not apply."""
    if hearing.kind not in exemption.actions or hearing.now >= exemption.until:
        return None
    if exemption.when is not None:
        answer = evaluate(exemption.when, hearing.activation)
        if answer.error:
            why = f"the exception {exemption.id} could not be decided: {answer.error}"
            return Heard(rule, State.ERROR, why)
        if not answer.holds:
            return None
    last = exemption.until - timedelta(days=1)
    why = (
        f"{exemption.id} lifts {rule.id} until {last:%Y-%m-%d} ({exemption.owner}, "
        f"{exemption.ticket}, {exemption.where}): {exemption.reason}"
    )
    return Heard(rule, State.EXCEPTED, why)


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


def _sentence(rule: Rule) -> str:
    verbs = {Decision.ALLOW: "allows", Decision.ASK: "asks about", Decision.DENY: "denies"}
    return f"the rule {rule.id} {verbs[rule.effect]} it"


def _is(names: tuple[str, ...]) -> str:
    return "is" if len(names) == 1 else "are"
