"""Choosing victims the plain way: every release on a copy of the engine, every question of room a
pass over its fleet. The reference that `placement.clear` must agree with, victim by victim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from watchkeeper.placement.clear import Accept, Clearing
from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Bools
from watchkeeper.placement.running import Running, Terms
from watchkeeper.placement.tolls import APART, Victim
from watchkeeper.placement.words import WHOLE, Gang, Placement

_Here = tuple[Running, int]


def slow_clear(
    engine: Engine,
    gang: Gang,
    candidates: Sequence[Running],
    now: float,
    terms: Terms,
    *,
    shrink: bool = True,
    accept: Accept = lambda _engine, _victims: True,
) -> Clearing | None:
    if not candidates:
        return None
    trial, best = engine.copy(), None
    domains = _domains(engine, gang, candidates, now, terms, shrink)
    for domain in sorted(domains, key=lambda d: (d.at_least, d.name)):
        if best is not None and domain.at_least >= best[0]:
            break
        found = _in_domain(trial, gang, domain, accept)
        if found is None:
            continue
        clearing = Clearing(gang, domain.name, *found)
        if best is None or clearing.price * domain.worth < best[0]:
            best = clearing.price * domain.worth, clearing
    return best and best[1]


@dataclass(frozen=True, slots=True)
class _Domain:
    """One place to make room in. need: thousandths of GPUs that must come free; steps: victims,
    cheapest for each GPU first, with what each frees here; at_least: no set costs less; worth:
    what the price counts, since lying apart costs too."""

    name: str
    rows: Bools
    need: int
    steps: tuple[tuple[float, Victim, int], ...]
    at_least: float
    worth: float


def _domains(
    engine: Engine,
    gang: Gang,
    candidates: Sequence[Running],
    now: float,
    terms: Terms,
    shrink: bool,
) -> Iterator[_Domain]:
    """The domains of the gang's level that could hold it; the whole fleet where it has no level
    or does not insist on it."""
    fleet, level = engine.fleet, gang.within or gang.near
    may, wanted = fleet.suits(gang), gang.floor * gang.piece.gpu_milli
    places: list[tuple[str, Bools, float, list[_Here]]] = []
    if level:
        names, ids = fleet.domain_names[level], fleet.domains[level]
        lies_in = _by_domain(candidates, np.where(may, ids, -1).tolist(), len(names))
        places += [(f"{level}:{n}", ids == at, 1.0, lies_in[at]) for at, n in enumerate(names)]
    if not gang.within:
        everywhere = _by_domain(candidates, np.where(may, 0, -1).tolist(), 1)[0]
        worth = APART if gang.near else 1.0
        places.append(("", np.ones(len(fleet), np.bool_), worth, everywhere))
    for name, rows, worth, here in places:
        steps = _steps(here, now, terms, shrink)
        need = wanted - int(fleet.milli[rows & may].sum())
        if need <= _freed(steps):
            yield _Domain(name, rows, need, steps, worth * _bound(need, steps), worth)


def _by_domain(candidates: Sequence[Running], ids: list[int], size: int) -> list[list[_Here]]:
    """For each domain: who is there, with the thousandths of GPUs it holds there."""
    found: list[list[_Here]] = [[] for _ in range(size)]
    for run in candidates:
        held: dict[int, int] = {}
        for seat in run.placement.seats:
            at = ids[seat.row]
            held[at] = held.get(at, 0) + seat.milli * len(seat.gpus)
        for at, milli in held.items():
            if at >= 0:
                found[at].append((run, milli))
    return found


def _freed(steps: Sequence[tuple[float, Victim, int]]) -> int:
    return sum(here for _, victim, here in steps if not victim.keeps)


def _bound(need: int, steps: Sequence[tuple[float, Victim, int]]) -> float:
    """What the need would cost if every victim could be taken in part."""
    cost = 0.0
    for rate, _, here in steps:
        if need <= 0:
            break
        cost += rate * min(here, need) / WHOLE
        need -= here
    return cost


def _in_domain(
    trial: Engine, gang: Gang, domain: _Domain, accept: Accept
) -> tuple[tuple[Victim, ...], Placement] | None:
    """Victims in one domain, and where the gang would go. Leaves `trial` as it was."""
    avoid, before, need = ~domain.rows, dict(trial.placed), domain.need
    gone: dict[str, tuple[Victim, int]] = {}
    for _, victim, here in domain.steps:
        if need <= 0 and trial.fits(gang, avoid=avoid):
            break
        _apply(trial, victim, domain.rows)
        need += gone[victim.name][1] if victim.name in gone else 0
        gone[victim.name] = (victim, here)
        need -= here
    kept = _pruned(trial, gang, domain, [victim for victim, _ in gone.values()], before)
    placement = trial.place(gang, avoid=avoid)
    agreed = placement is not None and accept(trial, kept)
    _restore(trial, before)
    return (tuple(kept), placement) if agreed and placement is not None else None


def _steps(
    present: Sequence[_Here], now: float, terms: Terms, shrink: bool
) -> tuple[tuple[float, Victim, int], ...]:
    """(GPU-seconds lost for each GPU freed, victim, thousandths freed), cheapest first; a gang's
    shrinking comes before its stop."""
    steps: list[tuple[float, int, str, Victim, int]] = []
    for run, here in present:
        gang, held = run.placement.gang, len(run.placement.seats)
        stop = Victim(run, 0, terms.stop(run, now))
        rate = stop.price * WHOLE / max(here, 1)
        steps.append((rate, gang.priority, run.name, stop, here))
        if shrink and held > gang.floor:
            less = Victim(run, gang.floor, terms.shrink(run))
            share = min(here, (held - gang.floor) * gang.piece.gpu_milli)
            first = min(less.price * WHOLE / max(share, 1), rate)
            steps.append((first, gang.priority - 1, run.name, less, share))
    steps.sort(key=lambda step: step[:3])
    return tuple((rate, victim, here) for rate, _, _, victim, here in steps)


def _pruned(
    trial: Engine,
    gang: Gang,
    domain: _Domain,
    gone: list[Victim],
    before: dict[str, Placement],
) -> list[Victim]:
    """Without those whose leaving was not needed after all, the dearest looked at first."""
    kept = list(gone)
    for victim in sorted(gone, key=lambda v: -v.price):
        _put_back(trial, victim.name, before)
        if trial.fits(gang, avoid=~domain.rows):
            kept.remove(victim)
        else:
            _apply(trial, victim, domain.rows)
    return kept


def _apply(trial: Engine, victim: Victim, rows: Bools) -> None:
    if victim.keeps:
        trial.shrink(victim.name, victim.keeps, first=rows)
    else:
        trial.release(victim.name)


def _put_back(trial: Engine, name: str, before: dict[str, Placement]) -> None:
    """Exactly as it was. Only where its seats are still free: nothing was placed since."""
    if name in trial.placed:
        trial.release(name)
    trial.adopt(before[name])


def _restore(trial: Engine, before: dict[str, Placement]) -> None:
    changed = [n for n, p in trial.placed.items() if before.get(n) is not p]
    for name in changed:
        trial.release(name)
    for name, placement in before.items():
        if name not in trial.placed:
            trial.adopt(placement)
