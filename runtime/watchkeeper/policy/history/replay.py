"""A journalled verdict back to the judge's exact arguments. Asked by diff, explain and reload.

Honest or not at all: an input that does not decode, was altered, or lacks what a policy reads is
said to be so; nothing is filled in by guess. Reads no journal; events are handed in.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from watchkeeper.core.action import kind_of
from watchkeeper.core.errors import Malformed
from watchkeeper.core.event import Event
from watchkeeper.core.facts import FACTS, Facts
from watchkeeper.core.floors import keys
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Orders, Verdict
from watchkeeper.core.word import Word, digest, parse
from watchkeeper.policy.judge import judge
from watchkeeper.policy.model import CheckedPolicy, Prices, Rule
from watchkeeper.policy.reach import too_short


class VerdictInput(Word, frozen=True):
    """The input as `control.gate.weigh` writes it. A field that is not here is refused: a later
    version's judge read it, and this one would judge without it."""

    proposal: Proposal
    impact: Impact
    facts: Facts
    ledger: LedgerView
    orders: Orders
    policy_version: str
    now: datetime


_OLD_REACH_S = 7 * 86400.0
"""How far back the ledger went in lines that do not say how far."""

_GROWS: tuple[tuple[str, type[Word]], ...] = (("impact", Impact), ("ledger", LedgerView))
"""The parts of an input that gained fields over time, which older lines lack."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one verdict was given for. now: the policy's time then. policy_version: of the set
    that judged. absent: fields that came later and this line lacks, such as `ledger.lifted`."""

    proposal: Proposal
    impact: Impact
    facts: Facts
    ledger: LedgerView
    orders: Orders
    policy_version: str
    now: datetime
    absent: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of action, such as `node.drain`."""
        return kind_of(self.proposal.action)

    def judge(self, policy: CheckedPolicy | None) -> Verdict:
        """The verdict under another policy (or the same). Total, as the judge is."""
        return judge(
            self.proposal, self.impact, self.facts, policy, self.ledger, self.orders, self.now
        )

    def missing(self, policy: CheckedPolicy, prices: Prices | None = None) -> tuple[str, ...]:
        """What the policy reads for this kind of action and this input does not hold, sorted.

        A fact declared since, or declared with another type since, is missing; so is money that
        was not reckoned at the policy's own prices, and a past too short for its rates and
        budgets: a verdict keeps what its own policy counted. Judged all the same, it would be
        denied: a difference of the record, not of the policies.
        `prices` are those that the input was reckoned at; None when they are not known, and then
        only the version that judged is known to have the same.
        """
        lacks = [name for name in reads(policy, self.kind) if not self._holds(name)]
        same = policy.version == self.policy_version or policy.prices == prices
        if not same and spends_money(policy, self.kind):
            lacks.append("money at its prices")
        if "ledger.reaches_s" in self.absent and looks_back_s(policy, self.kind) > _OLD_REACH_S:
            lacks.append("the costs and the past that budgets count")
        if policy.version != self.policy_version and (
            past := too_short(policy, self.kind, self.ledger)
        ):
            lacks.append(past)
        needed = keys(policy.floors, self.proposal.action, self.impact.pool)
        if not needed <= self.ledger.size.keys():
            lacks.append("what its floors count")
        return tuple(sorted(lacks))

    def _holds(self, name: str) -> bool:
        return name in self.facts and is_of(FACTS[name].type, self.facts[name])


class Recorded(NamedTuple):
    """One verdict event. problem: why it cannot be replayed, or ""; then inputs and verdict are
    there."""

    seq: int
    at: datetime
    proposal: str
    inputs: Inputs | None
    verdict: Verdict | None
    problem: str = ""


def inputs_of(data: Mapping[str, Any]) -> Inputs:
    """The judge's arguments from a verdict event's data, or from its `input` alone.

    Raises Malformed, saying which part does not decode.
    """
    found = data.get("input", data) if isinstance(data, Mapping) else None
    if not isinstance(found, Mapping):
        raise Malformed("the input of this verdict is not a record")
    written = parse(dict(found), VerdictInput, "the recorded input")
    if written.now.tzinfo is None:
        raise Malformed("the input of this verdict has a time without a zone")
    absent = tuple(
        f"{part}.{name}"
        for part, word in _GROWS
        for name in word.__struct_fields__
        if name not in found[part]
    )
    return Inputs(
        proposal=written.proposal,
        impact=written.impact,
        facts=written.facts,
        ledger=written.ledger,
        orders=written.orders,
        policy_version=written.policy_version,
        now=written.now,
        absent=absent,
    )


def recorded(event: Event) -> Recorded:
    """A verdict event as something to replay. Never raises: what does not decode says why."""
    proposal = str(event.data.get("proposal", ""))
    try:
        verdict = parse(dict(event.data["verdict"]), Verdict, "the recorded verdict")
        inputs = inputs_of({"input": event.data["input"]})
    except KeyError as err:
        problem = f"the line holds no {err.args[0]}"
        return Recorded(event.seq, event.at, proposal, None, None, problem)
    except (Malformed, TypeError, ValueError) as err:
        return Recorded(event.seq, event.at, proposal, None, None, str(err))
    if verdict.input_digest and verdict.input_digest != digest(event.data["input"]):
        problem = "the input is not the one that the verdict was given for (its digest differs)"
        return Recorded(event.seq, event.at, proposal, None, None, problem)
    return Recorded(event.seq, event.at, proposal, inputs, verdict)


@functools.lru_cache(maxsize=256)
def reads(policy: CheckedPolicy, kind: str) -> frozenset[str]:
    """The facts that a policy's rules for a kind of action read, requirements included."""
    required = {name for rule in policy.rules_for[kind] for name in _required(rule)}
    return policy.reads[kind] | required


@functools.lru_cache(maxsize=256)
def spends_money(policy: CheckedPolicy, kind: str) -> bool:
    """Does money decide about this kind of action?"""
    budgets = policy.budgets_for.get(kind, ())
    return "impact.money" in policy.reads[kind] or any(b.money is not None for b in budgets)


@functools.lru_cache(maxsize=256)
def looks_back_s(policy: CheckedPolicy, kind: str) -> float:
    """How far back the policy counts for this kind; without end where it counts costs, which
    older lines do not hold."""
    budgets = policy.budgets_for.get(kind, ())
    spans = [b.every_s if b.disruptions is not None else math.inf for b in budgets]
    return max([*spans, *(limit.rate_per_s for limit in policy.limits_for[kind])], default=0.0)


def is_of(kind: str, value: object) -> bool:
    """Is a value of the declared type of a fact? A whole number may stand for a double."""
    match kind:
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "double" | "duration":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "map":
            return isinstance(value, dict)
        case "list":
            return isinstance(value, list)
    return isinstance(value, str)


def _required(rule: Rule) -> tuple[str, ...]:
    need = rule.require
    wanted = (
        ("incident.confidence", need.confidence),
        ("evidence.independent_sources", need.independent_sources),
        ("impact.checkpoint_age", need.checkpoint_age_s),
    )
    return tuple(name for name, value in wanted if value is not None)
