"""What making room would cost in each domain: who is there, what each would free, in columns.

Asked by `clear`. It names steps, cheapest first, and a bound that no set of them goes below;
whether the gang then fits is not looked at here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np

from watchkeeper.placement.fleet import Bools, Fleet, Ints
from watchkeeper.placement.running import Floats, Running, Terms
from watchkeeper.placement.words import WHOLE, Gang

APART = 1.25
"""A gang that would rather lie in one domain: clearing nodes apart counts as so much dearer."""


@dataclass(frozen=True, slots=True)
class Victim:
    """One gang that makes room. keeps: workers it goes on with; 0 means it stops.
    price: GPU-seconds of work lost."""

    run: Running
    keeps: int
    price: float

    @property
    def name(self) -> str:
        return self.run.name


NEARLY = 1.0 - 1e-9
"""A bound that was summed in another order must not pass the price by its last digit."""

Step = tuple[Victim, int]
"""Who, and thousandths of GPUs that it frees here."""


class Domain(NamedTuple):
    """One place to make room in. need: thousandths of GPUs that must come free; at_least: no set
    of victims costs less, by the GPUs that it lacks in all; one_more: the same, by the node that
    would be cheapest to clear for one more worker; worth: what the price counts, since lying apart
    costs too. of: (domain of each row, its own number). begin: the steps, from the first."""

    name: str
    need: int
    at_least: float
    one_more: float
    worth: float
    of: tuple[Ints, int]
    begin: Callable[[], Iterator[Step]]

    @property
    def rows(self) -> Bools:
        """Its nodes, bool[N]."""
        ids, number = self.of
        inside: Bools = ids == number
        return inside

    def steps(self) -> Iterator[Step]:
        """Victims, the cheapest for each GPU that they free here first."""
        return self.begin()


def domains(
    fleet: Fleet, gang: Gang, candidates: Sequence[Running], now: float, terms: Terms, shrink: bool
) -> Iterator[Domain]:
    """The domains of the gang's level that could hold it; the whole fleet where it has no level
    or does not insist on it."""
    toll = _Toll(candidates, now, terms, shrink)
    may, wanted = fleet.suits(gang), gang.floor * gang.piece.gpu_milli
    level, one_more = gang.within or gang.near, toll.one_more(fleet, gang, may)
    if level:
        names, of = fleet.domain_names[level], fleet.domains[level]
        ids = np.where(may, of, -1)
        free = np.bincount(ids[ids >= 0], fleet.milli[ids >= 0], minlength=len(names))
        needs = [wanted - int(milli) for milli in free.tolist()]
        least = np.full(len(names), np.inf)
        np.minimum.at(least, ids[ids >= 0], one_more[ids >= 0])
        more = least.tolist()
        for at, bound, steps in toll.by_domain(ids, needs):
            yield Domain(f"{level}:{names[at]}", needs[at], bound, more[at], 1.0, (of, at), steps)
    if not gang.within:
        need = wanted - int(fleet.milli[may].sum())
        worth, all_ = APART if gang.near else 1.0, np.zeros(len(fleet), np.int64)
        for _, bound, steps in toll.by_domain(np.where(may, 0, -1), [need]):
            cheapest = worth * float(one_more.min())
            yield Domain("", need, worth * bound, cheapest, worth, (all_, 0), steps)


class _Toll:
    """The candidates as columns, one entry a seat, and what stopping or shrinking each costs."""

    def __init__(
        self, candidates: Sequence[Running], now: float, terms: Terms, shrink: bool
    ) -> None:
        self._runs = candidates
        placed = [run.placement for run in candidates]
        gangs = [p.gang for p in placed]
        rows = [p.seat_rows for p in placed]
        held = np.array([len(each) for each in rows])
        self._who = np.repeat(np.arange(len(placed)), held)
        self._row = np.fromiter(chain.from_iterable(rows), np.int64)
        milli = chain.from_iterable([p.seat_milli for p in placed])
        self._milli = np.fromiter(milli, np.int64)
        self._stop = terms.stop_each(candidates, now)
        floor = np.array([gang.least or gang.count for gang in gangs])
        self._elastic = (held > floor) if shrink else np.zeros(len(placed), np.bool_)
        self._less, self._spare = np.zeros(len(placed)), np.zeros(len(placed), np.int64)
        for at in np.flatnonzero(self._elastic).tolist():
            self._less[at] = terms.shrink(candidates[at])
            self._spare[at] = (held[at] - floor[at]) * gangs[at].piece.gpu_milli
        self._priority = np.array([gang.priority for gang in gangs])
        order = sorted(range(len(placed)), key=[gang.name for gang in gangs].__getitem__)
        self._by_name = np.empty(len(placed), np.int64)
        self._by_name[order] = np.arange(len(placed))

    def by_domain(
        self, ids: Ints, needs: Sequence[int]
    ) -> Iterator[tuple[int, float, Callable[[], Iterator[Step]]]]:
        """(domain, bound, steps) of each in which stopping everybody would free enough. ids:
        i8[N], the domain of each row, -1 for none; needs: by domain."""
        who, at, here = self._present(ids, len(needs))
        freed = np.bincount(at, here, minlength=len(needs))
        wide = (freed >= needs)[at]
        who, at, here = who[wide], at[wide], here[wide]
        stop = self._stop[who] * WHOLE / np.maximum(here, 1)
        less = np.flatnonzero(self._elastic[who])
        share = np.minimum(here[less], self._spare[who[less]])
        first = self._less[who[less]] * WHOLE / np.maximum(share, 1)
        rate = np.concatenate([stop, np.minimum(first, stop[less])])
        one, place = np.concatenate([who, who[less]]), np.concatenate([at, at[less]])
        frees, shrinks = np.concatenate([here, share]), np.arange(len(one)) >= len(who)
        # A gang's shrinking comes before its stop.
        order = np.lexsort((self._by_name[one], self._priority[one] - shrinks, rate, place))
        table = _Table(*(column[order].tolist() for column in (rate, one, shrinks, frees)))
        begins = np.searchsorted(place[order], np.arange(len(needs) + 1)).tolist()
        for nth, (begin, end) in enumerate(pairwise(begins)):
            if begin < end:
                steps = partial(self._steps, table, begin, end)
                yield nth, table.bound(begin, end, needs[nth]), steps

    def one_more(self, fleet: Fleet, gang: Gang, may: Bools) -> Floats:
        """No set of victims makes a node hold one more worker for less: f8[N]. Victims are taken
        in part, and GPUs that are shared count as free as far as they are."""
        piece, size = gang.piece, len(fleet)
        if not piece.gpus or piece.is_slice:
            return np.zeros(size)
        need = piece.gpu_milli * (fleet.whole // piece.gpus + 1) - fleet.milli
        who, row, here = self._present(np.where(may, np.arange(size), -1), size)
        rate = self._stop[who] / np.maximum(here, 1)
        less = np.flatnonzero(self._elastic[who])
        share = np.maximum(np.minimum(here[less], self._spare[who[less]]), 1)
        rate[less] = np.minimum(rate[less], self._less[who[less]] / share)
        order = np.lexsort((rate, row))
        row, here, rate = row[order], here[order], rate[order]
        freed = np.cumsum(here)
        total = np.bincount(row, here, minlength=size)
        before = freed - here - (np.cumsum(total) - total)[row]
        cost = np.bincount(row, rate * np.clip(need[row] - before, 0, here), minlength=size)
        return np.where(total >= need, cost * NEARLY, np.inf)

    def _present(self, ids: Ints, size: int) -> tuple[Ints, Ints, Ints]:
        """(candidate, domain, thousandths of GPUs that it holds there), each pair once."""
        lies = ids[self._row]
        named = lies >= 0
        pair = self._who[named] * size + lies[named]
        if not pair.size:
            return pair, pair, pair
        order = np.argsort(pair, kind="stable")
        pair = pair[order]
        first = np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]]))
        here = np.add.reduceat(self._milli[named][order], first)
        return pair[first] // size, pair[first] % size, here

    def _steps(self, table: _Table, first: int, end: int) -> Iterator[Step]:
        for nth in range(first, end):
            at = table.who[nth]
            run = self._runs[at]
            if table.shrinks[nth]:
                less = Victim(run, run.placement.gang.floor, float(self._less[at]))
                yield less, table.frees[nth]
            else:
                yield Victim(run, 0, float(self._stop[at])), table.frees[nth]


class _Table(NamedTuple):
    """Steps of every domain, domain by domain. rate: GPU-seconds lost for each GPU freed."""

    rate: list[float]
    who: list[int]
    shrinks: list[bool]
    frees: list[int]

    def bound(self, first: int, end: int, need: int) -> float:
        """What the need would cost if every victim could be taken in part."""
        cost = 0.0
        for nth in range(first, end):
            if need <= 0:
                break
            here = self.frees[nth]
            cost += self.rate[nth] * min(here, need) / WHOLE
            need -= here
        return cost
