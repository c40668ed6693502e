"""The gate: put a Proposal, what it would touch and what was done before in front of the judge.

Computes, never acts. What `weigh` hands to the judge is exactly what is journalled with the
verdict, so that yesterday's verdict can be replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from watchkeeper.control.books import Books
from watchkeeper.control.concerns import concerns
from watchkeeper.control.holding import bearing, in_force
from watchkeeper.control.life import State
from watchkeeper.control.papers import File
from watchkeeper.control.past import ledger_of
from watchkeeper.core.action import Action, PoolReserve, PoolScale, kind_of, targets_of
from watchkeeper.core.amend import as_shown, no_harsher
from watchkeeper.core.clock import Clock
from watchkeeper.core.facts import Facts, facts_for, gpus_per_node
from watchkeeper.core.floors import counted
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.impact import simulate
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.serving import SERVE, in_gpus
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Answer, Autonomy, Orders, Verdict
from watchkeeper.core.word import digest, plain
from watchkeeper.policy.judge import judge
from watchkeeper.policy.model import CheckedPolicy, Prices

CONSENT_S = 3600.0
"""How long a person's yes carries the steps that they were shown with it."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """One judgement with the exact inputs that gave it."""

    proposal: Proposal
    impact: Impact
    facts: Facts
    ledger: LedgerView
    verdict: Verdict
    inputs: dict[str, Any]


def weigh(
    proposal: Proposal,
    snapshot: Snapshot,
    books: Books,
    policy: CheckedPolicy | None,
    clock: Clock,
) -> Weighed:
    """Simulate the impact, gather facts and ledger, judge. Never raises: the judge fails closed."""
    impact = impact_of(proposal, snapshot, policy)
    ledger = msgspec.structs.replace(
        ledger_of(books, snapshot, proposal, impact, policy),
        lifted=lifted_for(books, proposal, impact, snapshot.steady),
    )
    if policy is not None and policy.floors.declared:
        out, size = counted(policy.floors, snapshot, proposal.action)
        ledger = msgspec.structs.replace(ledger, out=ledger.out | out, size=ledger.size | size)
    incident = books.incidents.get(proposal.incident)
    if incident is not None and not concerns(incident, proposal.action, snapshot):
        incident = None  # evidence against another target is none against this one
    facts = facts_for(
        proposal,
        impact,
        snapshot,
        ledger,
        incident=incident,
        approved=not by_hand(proposal) and consented(books, proposal, impact, snapshot.steady),
        forecast=_forecast_for(books, proposal),
    )
    now = clock.policy_now()
    orders = orders_for(proposal, books.orders)
    if holds := bearing(in_force(books, clock), proposal, impact, snapshot):
        orders = msgspec.structs.replace(orders, holds=holds)
    inputs = {
        "proposal": plain(proposal),
        "impact": plain(impact),
        "facts": facts,
        "ledger": plain(ledger),
        "orders": plain(orders),
        "policy_version": policy.version if policy else "",
        "now": now.isoformat(),
    }
    verdict = judge(proposal, impact, facts, policy, ledger, orders, now)
    verdict = msgspec.structs.replace(verdict, input_digest=digest(inputs))
    return Weighed(proposal, impact, facts, ledger, verdict, inputs)


EXTERNAL = "agent:mcp/"
"""How an assistant from outside signs: it comes through a door, and is no agent of the crew."""


BY_HAND = "by hand: "
"""How the rung of a step begins that a person typed, and no ladder led to."""


def by_hand(proposal: Proposal) -> bool:
    """Did a person ask for this very step? Nobody's earlier yes carries it."""
    return proposal.rung.startswith(BY_HAND)


def orders_for(proposal: Proposal, orders: Orders) -> Orders:
    """The operator's orders as they bear on this proposal: what an assistant from outside suggests
    is never done without a person, wherever the dial stands, nor what a person types without
    another."""
    outside = proposal.by.startswith(EXTERNAL)
    if orders.autonomy is not Autonomy.AUTO or not (outside or by_hand(proposal)):
        return orders
    why = (
        "an assistant from outside suggested it: what the policy allows is asked of a person"
        if outside
        else "a person typed it: what the policy allows is asked of another"
    )
    return msgspec.structs.replace(orders, autonomy=Autonomy.ASK, capped=why)


def bound_of(action_and_plan: tuple[Any, ...], snapshot: Snapshot) -> Impact:
    """The impact of a step and of all that would follow it: what a person is shown and signs."""
    impacts = [simulate(snapshot, action) for action in action_and_plan]
    first = impacts[0]
    ages = [i.checkpoint_age_s for i in impacts if i.checkpoint_age_s is not None]
    return msgspec.structs.replace(
        first,
        jobs=tuple(sorted({j for i in impacts for j in i.jobs})),
        tenants=tuple(sorted({t for i in impacts for t in i.tenants})),
        nodes=tuple(sorted({n for i in impacts for n in i.nodes})),
        gpus=max(i.gpus for i in impacts),
        gpu_hours=round(max(i.gpu_hours for i in impacts), 3),
        pool_out_after=max(i.pool_out_after for i in impacts),
        checkpoint_age_s=max(ages) if ages else None,
    )


def consented(books: Books, proposal: Proposal, impact: Impact, steady: float) -> bool:
    """Did a person approve this repair, see this very step in its plan, and see an impact at
    least this large? The `incident.approved` fact; what follows from it is the policy's word."""
    if not proposal.incident:
        return False
    return any(
        _was_approved(file, steady)
        and file.question is not None
        and any(no_harsher(shown, proposal.action) for shown in _shown_steps(file))
        and impact.within(file.question.shown.impact)
        for file in books.of_incident(proposal.incident)
    )


def as_approved(books: Books, incident: str, action: Action, steady: float) -> Action:
    """The step with the arguments that people saw for it in a plan and approved, where they did:
    a crew drafts each step anew, and does not know what a person changed."""
    wanted = (kind_of(action), targets_of(action))
    for file in reversed(books.of_incident(incident) if incident else []):
        if file.question is None or not _was_approved(file, steady):
            continue
        for shown in _shown_steps(file):
            if (kind_of(shown), targets_of(shown)) == wanted:
                return as_shown(action, shown)
    return action


def lifted_for(books: Books, proposal: Proposal, impact: Impact, steady: float) -> tuple[str, ...]:
    """The soft rules that break-glass has lifted for this step: for an hour, for the proposal
    itself and the steps of the plan that was seen with it, as long as they touch no more."""
    wanted = (kind_of(proposal.action), targets_of(proposal.action))
    found: list[str] = []
    for lift in books.lifts.values():
        file = books.files.get(lift.proposal)
        if file is None or steady - lift.steady > CONSENT_S or not impact.within(lift.bound):
            continue
        same_repair = bool(proposal.incident) and lift.incident == proposal.incident
        same_repair = same_repair and file.state in _GOES_ON
        shown = any((kind_of(a), targets_of(a)) == wanted for a in _shown_steps(file))
        if lift.proposal == proposal.id or (same_repair and shown):
            found += lift.rules
    return tuple(dict.fromkeys(found))


_GOES_ON = frozenset({State.CLEARED, State.STARTED, State.ISSUED, State.RECOVERED})
"""States of a step after which the next may rest on what people said to it: nothing was turned
back."""


def _shown_steps(file: File) -> tuple[Any, ...]:
    return (file.action, *file.proposal.plan)


def _was_approved(file: File, steady: float) -> bool:
    """Its question ended with a quorum, and neither the answer nor the act was turned back."""
    yes = [a for a in file.approvals if a.answer is Answer.APPROVE]
    return (
        file.state in _GOES_ON
        and file.question is not None
        and len({a.person for a in yes}) >= file.question.needs
        and steady - file.changed_steady <= CONSENT_S
    )


def impact_of(proposal: Proposal, snapshot: Snapshot, policy: CheckedPolicy | None) -> Impact:
    """What it would touch, and cost by the prices of the orders."""
    prices = policy.prices if policy else Prices()
    return priced(simulate(snapshot, proposal.action), proposal.action, snapshot, prices)


def priced(impact: Impact, action: Action, snapshot: Snapshot, prices: Prices) -> Impact:
    """The impact with what it costs: GPU-hours lost, and the first day of nodes that are added."""
    if prices.of(impact.pool) is None:
        return impact  # most policies have no prices, and counting GPUs walks the fleet
    added = (
        action.add * gpus_per_node(snapshot, action.pool) if isinstance(action, PoolScale) else 0
    )
    money = prices.cost(impact.pool, impact.gpu_hours, added)
    return msgspec.structs.replace(impact, money=money)


def _forecast_for(books: Books, proposal: Proposal) -> Forecast | None:
    """Of the pool; where the proposal cites another, that one: of a deployment's requests, in GPUs,
    or of the tenant that nodes are kept for."""
    pool = str(getattr(proposal.action, "pool", ""))
    if isinstance(proposal.action, PoolReserve):
        mine = f"tenant:{proposal.action.tenant}"
        return books.forecasts.get(mine if mine in proposal.evidence else pool)
    for cited in proposal.evidence:
        name = cited.removeprefix(SERVE)
        if name != cited and (plan := books.serving.get(name)) is not None and plan.pool == pool:
            made = books.forecasts.get(cited)
            return None if made is None else in_gpus(made, plan)
    return books.forecasts.get(pool)
