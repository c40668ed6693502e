"""What was done before and how ill the fleet is, as a verdict sees it: the books into a LedgerView.

Asked by the gate for each verdict, and by whoever shows how much of a bound is used. Computes,
never acts. A verdict is journalled with all that it was shown, so it is shown what may decide it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from watchkeeper.control.books import Books
from watchkeeper.control.folding import LEDGER_S
from watchkeeper.control.life import State
from watchkeeper.control.papers import Effect, File
from watchkeeper.core.action import TRAITS, kind_of, node_of, targets_of
from watchkeeper.core.impact import out_by_domain
from watchkeeper.core.incident import Incident
from watchkeeper.core.ledger import LedgerView, PastEffect
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.health.illness import ILL_WINDOW_S, newly_unhealthy
from watchkeeper.policy.invariants import SLOW_S
from watchkeeper.policy.limits import Looks
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.reach import counted_back, counted_kinds

ELSEWHERE = 300
"""Most past effects that have nothing in common with a proposal and are still shown to its
verdict, for what is counted over the fleet. Beyond them the fleet's past counts as used."""

UNCOUNTED = 50
"""The same for each kind of action that neither disturbs nor is counted over the fleet (ours). A
gang of 256 nodes that computes nonsense is checked node by node: what nobody counts is not to
take the places of what is counted, or the next replacement is refused for it."""

LEAST_BACK_S = 86400.0
"""How far back a verdict is shown what only shares a domain with it, or nothing, if its policy
counts less: an invariant counts an hour, and other orders that count by the day can be tried on
the record (ours). In a pool of 2,048 nodes 31 days are half a megabyte for each verdict."""


def ledger_of(
    books: Books,
    snapshot: Snapshot,
    proposal: Proposal,
    impact: Impact,
    policy: CheckedPolicy | None = None,
) -> LedgerView:
    """The ledger as the verdict on one proposal sees it: everything of its target, node and
    incident; what shares a domain with it, as far back as the policy counts that; and the newest
    of the rest. It says how far back each is complete.

    Its own *started*, in the books at its second judgement, is left out.
    """
    mine = {*domains_of(proposal, impact, snapshot), *impact.domain_size} - {"fleet"}
    back_s = _back_s(policy, kind_of(proposal.action))
    kind = kind_of(proposal.action)
    counted = counted_kinds(policy, kind) if policy is not None else frozenset[str]()
    effects, looks = _cut(_past(books, snapshot.steady), proposal, mine, back_s, counted)
    whole = ledger_view(books, snapshot, effects)
    # A fleet has thousands of domains; what is judged, and journalled with it, are these.
    keys = {"fleet", *mine, *(f"pool:{p}" for p in whole.newly_unhealthy)}
    keys |= {f"pool:{p}" for p in (impact.pool, str(getattr(proposal.action, "pool", "")))}
    return msgspec.structs.replace(
        whole,
        out={key: whole.out[key] for key in sorted(keys & whole.out.keys())},
        size={key: whole.size[key] for key in sorted(keys & whole.size.keys())},
        reaches_s=looks.reaches_s,
        near_s=dict(looks.near_s),
        thin_s=dict(looks.thin_s),
    )


def _back_s(policy: CheckedPolicy | None, kind: str) -> Callable[[str], float]:
    """How far back what shares a domain of some kind is shown. What is counted over the fleet
    counts what shares a domain too."""
    counted = counted_back(policy, kind) if policy is not None else {}
    least = max(LEAST_BACK_S, counted.get("fleet", 0.0))
    return lambda per: max(least, counted.get(per, 0.0))


def _cut(
    past: Iterable[Aged],
    proposal: Proposal,
    mine: set[str],
    back_s: Callable[[str], float],
    counted: frozenset[str],
) -> tuple[tuple[PastEffect, ...], Looks]:
    """What of the past a verdict is shown, newest first, and how far back that is complete.
    counted: kinds of action that are counted over the fleet."""
    targets, node = set(targets_of(proposal.action)), node_of(proposal.action)
    incident, fleet_s = proposal.incident, back_s("fleet")
    kind_of_key = {key: key.partition(":")[0] for key in mine}
    back_of = {per: back_s(per) for per in kind_of_key.values()}
    related: list[Aged] = []
    elsewhere: list[Aged] = []
    near: dict[str, float] = {}
    too_old = False
    for aged in past:  # a month of them, for each verdict
        word, age_s = aged
        if word.proposal == proposal.id:
            continue
        shared = {kind_of_key[key] for key in word.domains if key in kind_of_key}
        if (
            word.open
            or word.target in targets
            or (node and word.node == node)
            or (incident and word.incident == incident)
            or any(age_s < back_of[per] for per in shared)
        ):
            related.append(aged)
        elif shared or age_s >= fleet_s:
            too_old = True
            for per in shared:
                near[per] = back_of[per]
        else:
            elsewhere.append(aged)
    shown, cut_s, thin = _newest(elsewhere, counted)
    reaches_s = fleet_s if too_old and cut_s is None else cut_s
    kept = sorted((*related, *shown), key=lambda aged: aged.age_s)
    return tuple(map(_word, kept)), Looks(reaches_s, near, thin)


def _newest(
    elsewhere: Iterable[Aged], counted: frozenset[str]
) -> tuple[list[Aged], float | None, dict[str, float]]:
    """The newest of what has nothing in common with a proposal; how far back that is complete, or
    None where nothing was cut; and the same for each uncounted kind that was cut."""
    shown, places = list[Aged](), Counter[str]()
    last, full = dict[str, float](), set[str]()
    for aged in elsewhere:
        kind = aged.word.action
        firm = kind in counted or TRAITS[kind].disruptive
        bucket, most = ("", ELSEWHERE) if firm else (kind, UNCOUNTED)
        if places[bucket] < most:
            places[bucket] += 1
            shown.append(aged)
            last[bucket] = aged.age_s
        else:
            full.add(bucket)
    cut = {bucket: last[bucket] for bucket in sorted(full)}
    return shown, cut.pop("", None), cut


def ledger_view(
    books: Books, snapshot: Snapshot, effects: tuple[PastEffect, ...] | None = None
) -> LedgerView:
    """All that is known of the fleet's health, and of the past, unless these effects will do."""
    out, size = out_by_domain(snapshot)
    return LedgerView(
        effects=past_effects(books, snapshot.steady) if effects is None else effects,
        out=out,
        size=size,
        newly_unhealthy=fell_ill(books, snapshot),
        closed=tuple(sorted(books.closed_kinds)),
        halted=books.halted,
        reconciled=books.reconciled and books.session == snapshot.state.session,
        back_s=_back_for(books, snapshot.steady),
    )


def _back_for(books: Books, steady: float) -> float | None:
    """Seconds since the last outage was over, as long as that is of any matter (S23)."""
    back = None if books.back_steady is None else steady - books.back_steady
    return back if back is not None and back < SLOW_S else None


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


class Aged(NamedTuple):
    """One effect of the past, and how old it is now; the age in the word itself is not told."""

    word: PastEffect
    age_s: float


def past_effects(books: Books, steady: float) -> tuple[PastEffect, ...]:
    """What was done before, newest first, as rates and budgets count it at this moment."""
    return tuple(map(_word, _past(books, steady)))


def _word(aged: Aged) -> PastEffect:
    return msgspec.structs.replace(aged.word, age_s=aged.age_s)


def _past(books: Books, steady: float) -> list[Aged]:
    """Only the ages are new each time: the rest is made once for each state of a file."""
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
        found.append(Aged(word[1], round(age, 3)))
    books.past_words = kept
    return found


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
