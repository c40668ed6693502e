"""What was done before and how ill the fleet is, as a verdict sees it: the books into a LedgerView.

Asked by the gate for each verdict, and by whoever shows how much of a bound is used. Computes,
never acts. A verdict is journalled with all that it was shown, so it is shown what may decide it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import msgspec
import numpy as np
import numpy.typing as npt

from watchkeeper.control.acted import Acted, of_incident, of_node, of_target
from watchkeeper.control.books import Books
from watchkeeper.control.folding import LEDGER_S
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
    effects, looks = _cut(books, proposal, mine, back_s, counted, snapshot.steady)
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
    books: Books,
    proposal: Proposal,
    mine: set[str],
    back_s: Callable[[str], float],
    counted: frozenset[str],
    steady: float,
) -> tuple[tuple[PastEffect, ...], Looks]:
    """What of the past a verdict is shown, newest first, and how far back that is complete.
    counted: kinds of action that are counted over the fleet."""
    with books.effects.lock:
        past, ages, counting = _counting(books, steady)
        counting[past.row_of(proposal.id)] = False
        related = past.open.copy()
        related[past.sharing(_own_keys(proposal))] = True
        shares = np.zeros(len(ages), dtype=bool)
        sharing = [(_kind(key), past.sharing((key,))) for key in sorted(mine)]
        for per, rows in sharing:
            shares[rows] = True
            related[rows] |= ages[rows] < back_s(per)
        rest = counting & ~related
        near = {per: back_s(per) for per, rows in sharing if rest[rows].any()}
        fleet_s = back_s("fleet")
        elsewhere = rest & ~shares & (ages < fleet_s)
        shown, cut_s, thin = _newest(past.words(_newest_first(elsewhere), steady), counted)
        reaches_s = fleet_s if cut_s is None and (rest & ~elsewhere).any() else cut_s
        near_by = past.words(_newest_first(counting & related), steady)
    kept = sorted((*near_by, *shown), key=lambda word: word.age_s)
    return tuple(kept), Looks(reaches_s, near, thin)


def _own_keys(proposal: Proposal) -> list[str]:
    """What makes an effect of the past bear on a proposal, however long ago it was."""
    keys = [of_target(target) for target in targets_of(proposal.action)]
    if node := node_of(proposal.action):
        keys.append(of_node(node))
    if proposal.incident:
        keys.append(of_incident(proposal.incident))
    return keys


def _kind(key: str) -> str:
    return key.partition(":")[0]


def _newest_first(wanted: npt.NDArray[np.bool_]) -> list[int]:
    rows: list[int] = np.flatnonzero(wanted)[::-1].tolist()
    return rows


def _newest(
    elsewhere: Iterable[PastEffect], counted: frozenset[str]
) -> tuple[list[PastEffect], float | None, dict[str, float]]:
    """The newest of what has nothing in common with a proposal; how far back that is complete, or
    None where nothing was cut; and the same for each uncounted kind that was cut."""
    shown, places = list[PastEffect](), Counter[str]()
    last, full = dict[str, float](), set[str]()
    for word in elsewhere:
        kind = word.action
        firm = kind in counted or TRAITS[kind].disruptive
        bucket, most = ("", ELSEWHERE) if firm else (kind, UNCOUNTED)
        if places[bucket] < most:
            places[bucket] += 1
            shown.append(word)
            last[bucket] = word.age_s
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


def past_effects(books: Books, steady: float) -> tuple[PastEffect, ...]:
    """What was done before, newest first, as rates and budgets count it at this moment."""
    with books.effects.lock:
        past, _, counting = _counting(books, steady)
        return tuple(past.words(_newest_first(counting), steady))


def _counting(
    books: Books, steady: float
) -> tuple[Acted, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The effects of the past, their ages, and which of them rates and budgets may count."""
    past = books.effects
    past.catch_up(books)
    ages = past.ages(steady)
    return past, ages, ~past.void & (past.open | (ages <= LEDGER_S))


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
