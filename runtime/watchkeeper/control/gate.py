"""The gate: put a Proposal, what it would touch and what was done before in front of the judge.

Computes, never acts. What `weigh` hands to the judge is exactly what is journalled with the
verdict, so that yesterday's verdict can be replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from watchkeeper.control.books import LEDGER_S, Books, Effect, File
from watchkeeper.control.concerns import concerns
from watchkeeper.control.life import State
from watchkeeper.core.action import Action, PoolScale, kind_of, node_of, targets_of
from watchkeeper.core.amend import as_shown, no_harsher
from watchkeeper.core.clock import Clock
from watchkeeper.core.facts import Facts, facts_for, gpus_per_node
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.impact import out_by_domain, simulate
from watchkeeper.core.incident import Incident
from watchkeeper.core.ledger import LedgerView, PastEffect
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.verdict import Answer, Verdict
from watchkeeper.core.word import digest, plain
from watchkeeper.health.illness import ILL_WINDOW_S, newly_unhealthy
from watchkeeper.policy.judge import judge
from watchkeeper.policy.model import CheckedPolicy, Prices

CONSENT_S = 3600.0
"""How long a person's yes carries the steps that they were shown with it."""

ELSEWHERE = 300
"""Most past effects that have nothing in common with a proposal and are still shown to its
verdict, for what is counted over the fleet. Beyond them the fleet's past counts as used."""


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
    prices = policy.prices if policy else Prices()
    impact = priced(simulate(snapshot, proposal.action), proposal.action, snapshot, prices)
    ledger = ledger_of(books, snapshot, proposal, impact)
    incident = books.incidents.get(proposal.incident)
    if incident is not None and not concerns(incident, proposal.action, snapshot):
        incident = None  # evidence against another target is none against this one
    facts = facts_for(
        proposal,
        impact,
        snapshot,
        ledger,
        incident=incident,
        approved=consented(books, proposal, impact, snapshot.steady),
        forecast=_forecast_for(books.forecasts, proposal),
    )
    now = clock.policy_now()
    inputs = {
        "proposal": plain(proposal),
        "impact": plain(impact),
        "facts": facts,
        "ledger": plain(ledger),
        "orders": plain(books.orders),
        "policy_version": policy.version if policy else "",
        "now": now.isoformat(),
    }
    verdict = judge(proposal, impact, facts, policy, ledger, books.orders, now)
    verdict = msgspec.structs.replace(verdict, input_digest=digest(inputs))
    return Weighed(proposal, impact, facts, ledger, verdict, inputs)


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
    wanted = (kind_of(proposal.action), targets_of(proposal.action))
    return any(
        _was_approved(file, steady)
        and file.question is not None
        and any(no_harsher(shown, proposal.action) for shown in _shown_steps(file))
        and impact.within(file.question.shown.impact)
        for file in books.of_incident(proposal.incident)
    )


def lifted_for(books: Books, proposal: Proposal, impact: Impact, steady: float) -> tuple[str, ...]:
    """The soft rules that break-glass has lifted for this step: for an hour, for the proposal
    itself and the steps of the plan that was seen with it, as long as they touch no more."""
    found: list[str] = []
    for lift in books.lifts.values():
        file = books.files.get(lift.proposal)
        if file is None or steady - lift.steady > CONSENT_S or not impact.within(lift.bound):
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


def priced(impact: Impact, action: Action, snapshot: Snapshot, prices: Prices) -> Impact:
    """The impact with what it costs: GPU-hours lost, and the first day of nodes that are added."""
    if prices.of(impact.pool) is None:
        return impact  # most policies have no prices, and counting GPUs walks the fleet
    added = (
        action.add * gpus_per_node(snapshot, action.pool) if isinstance(action, PoolScale) else 0
    )
    money = prices.cost(impact.pool, impact.gpu_hours, added)
    return msgspec.structs.replace(impact, money=money)


def ledger_of(books: Books, snapshot: Snapshot, proposal: Proposal, impact: Impact) -> LedgerView:
    """The ledger as the verdict on one proposal sees it: everything that has to do with it, and
    the newest of the rest, with a word on how far back that goes.

    Its own *started*, in the books at its second judgement, is left out.
    """
    whole = ledger_view(books, snapshot)
    mine = set(domains_of(proposal, impact, snapshot))
    targets, incident = set(targets_of(proposal.action)), proposal.incident
    related: list[PastEffect] = []
    elsewhere: list[PastEffect] = []
    for e in whole.effects:
        if e.proposal == proposal.id:
            continue
        near = e.open or e.target in targets or (incident and e.incident == incident)
        (related if near or not mine.isdisjoint(e.domains) else elsewhere).append(e)
    shown = elsewhere[:ELSEWHERE]
    kept = sorted((*related, *shown), key=lambda e: e.age_s)
    # A fleet has thousands of domains; what is judged, and journalled with it, are these.
    keys = {"fleet", *impact.domain_size, *mine, *(f"pool:{p}" for p in whole.newly_unhealthy)}
    keys |= {f"pool:{p}" for p in (impact.pool, str(getattr(proposal.action, "pool", "")))}
    return msgspec.structs.replace(
        whole,
        out={key: whole.out[key] for key in sorted(keys & whole.out.keys())},
        size={key: whole.size[key] for key in sorted(keys & whole.size.keys())},
        effects=tuple(kept),
        reaches_s=shown[-1].age_s if len(elsewhere) > len(shown) else None,
        lifted=lifted_for(books, proposal, impact, snapshot.steady),
    )


def ledger_view(books: Books, snapshot: Snapshot) -> LedgerView:
    """All that is known of the past and of the fleet's health."""
    out, size = out_by_domain(snapshot)
    return LedgerView(
        effects=past_effects(books, snapshot.steady),
        out=out,
        size=size,
        newly_unhealthy=fell_ill(books, snapshot),
        closed=tuple(sorted(books.closed_kinds)),
        halted=books.halted,
        reconciled=books.reconciled and books.session == snapshot.state.session,
    )


def fell_ill(books: Books, snapshot: Snapshot) -> dict[str, int]:
    """Nodes of each pool that fell ill of late. Counted once for a snapshot, until an incident
    changes: each of 750 verdicts asks."""
    held = books.ill_counted
    if held is None or held[0] is not snapshot or held[1] != books.incidents_changed:
        since = snapshot.at - timedelta(seconds=ILL_WINDOW_S)
        newest = _newest_opened(books)
        told = since_resumed(books) if newest is not None and newest >= since else ()
        counted = newly_unhealthy(told, snapshot, ILL_WINDOW_S) if told else {}
        held = books.ill_counted = (snapshot, books.incidents_changed, counted)
    return held[2]


def _newest_opened(books: Books) -> datetime | None:
    """When the newest incident opened: most turns are long after it, and need count nothing."""
    changed, newest = books.newest_opened
    if changed != books.incidents_changed:
        newest = max((i.opened_at for i in books.incidents.values()), default=None)
        books.newest_opened = (books.incidents_changed, newest)
    return newest


def since_resumed(books: Books) -> tuple[Incident, ...]:
    """A person who resumes after a halt has seen what was ill then; it does not halt again."""
    resumed = books.resumed_at
    found = books.incidents.values()
    return tuple(i for i in found if resumed is None or i.opened_at > resumed)


def past_effects(books: Books, steady: float) -> tuple[PastEffect, ...]:
    """What was done before, newest first, as rates and budgets count it at this moment. Only the
    ages are new: the rest is made once for each state of a file."""
    known, kept = books.past_words, dict[str, tuple[File, PastEffect]]()
    found = []
    for file in books.past():
        effect = file.effect
        if effect is None or file.state is State.REFUSED:
            continue  # stopped by the second look: nothing was done
        age = _age_of(effect, steady)
        if age > LEDGER_S and not file.in_hand:
            continue
        word = known.get(file.proposal.id)
        if word is None or word[0] is not file:
            word = (file, _past_effect(file, effect))
        kept[file.proposal.id] = word
        found.append(msgspec.structs.replace(word[1], age_s=round(age, 3)))
    books.past_words = kept
    return tuple(found)


def _age_of(effect: Effect, steady: float) -> float:
    """By the steady clock alone: a wall clock that is set refills no budget (S28)."""
    return max(0.0, steady - effect.started_steady)


def _past_effect(file: File, effect: Effect) -> PastEffect:
    return PastEffect(
        action=kind_of(file.action),
        target=targets_of(file.action)[0],
        age_s=0.0,
        node=node_of(file.action),
        incident=file.proposal.incident,
        domains=effect.domains,
        open=file.in_hand,
        proposal=file.proposal.id,
        gpu_hours=file.impact.gpu_hours,
        money=file.impact.money or 0.0,
    )


def domains_of(proposal: Proposal, impact: Impact, snapshot: Snapshot) -> tuple[str, ...]:
    """The domain keys that an effect disturbs, as the ledger keeps them."""
    node = snapshot.nodes.get(node_of(proposal.action))
    keys = [f"{kind}:{name}" for kind, name in node.domains().items()] if node else []
    if node is None and impact.pool:
        keys.append(f"pool:{impact.pool}")
    keys += [f"tenant:{t}" for t in impact.tenants]
    job = str(getattr(proposal.action, "job", ""))
    keys += [f"job:{j}" for j in (*impact.jobs, *((job,) if job else ()))]
    return tuple(dict.fromkeys(keys))


def _forecast_for(forecasts: Mapping[str, Forecast], proposal: Proposal) -> Forecast | None:
    return forecasts.get(str(getattr(proposal.action, "pool", "")))
