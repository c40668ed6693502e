"""Who would have to go, for a gang to fit: first the domain, then the cheapest victims in it.

Choosing victims over the whole fleet frees GPUs that lie apart, and the gang still waits. So each
domain is tried by itself, and the cheapest wins; what comes free is counted on the rows of those
who leave (`room`), and only the answer is tried on a copy of the engine. Nothing is stopped here:
`preempt` and `defragment` turn the answer into what may be proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Bools
from watchkeeper.placement.room import Part, Room, parts
from watchkeeper.placement.running import Running, Terms
from watchkeeper.placement.tolls import Domain, Victim, domains
from watchkeeper.placement.words import Gang, Placement

__all__ = ["Accept", "Clearing", "Victim", "clear"]


@dataclass(frozen=True, slots=True)
class Clearing:
    """The cheapest way found. domain: `rack:r7`, or empty for the whole fleet."""

    gang: Gang
    domain: str
    victims: tuple[Victim, ...]
    placement: Placement

    @property
    def price(self) -> float:
        """GPU-seconds of work lost in all."""
        return sum(victim.price for victim in self.victims)


Accept = Callable[[Engine, Sequence[Victim]], bool]
"""A last question to a trial engine in which the victims are gone and the gang is placed."""


def clear(
    engine: Engine,
    gang: Gang,
    candidates: Sequence[Running],
    now: float,
    terms: Terms,
    *,
    shrink: bool = True,
    accept: Accept | None = None,
) -> Clearing | None:
    """The cheapest victims out of `candidates`, all in one domain where the gang asks for that.
    Asked only where the gang does not fit as it is.

    shrink: elastic candidates may go on with fewer workers. None: no set of them makes room.
    """
    if not candidates:
        return None
    room, best = Room(engine.fleet, gang), None
    places = domains(engine.fleet, gang, candidates, now, terms, shrink)
    for domain in sorted(places, key=lambda d: (d.at_least, d.name)):
        if best is not None and domain.at_least >= best[0]:
            break
        if best is not None and domain.one_more >= best[0]:
            continue
        gone = _in_domain(room, domain)
        if gone is None:
            continue
        price = sum(victim.price for victim in gone) * domain.worth
        if best is not None and price >= best[0]:
            continue
        if accept is None or _agreed(engine, gang, domain, gone, accept):
            best = price, domain, gone
    if best is None:
        return None
    _, domain, gone = best
    _, placement = _tried(engine, gang, domain, gone)
    if placement is None:
        return None
    return Clearing(gang, domain.name, tuple(gone), placement)


def _in_domain(room: Room, domain: Domain) -> list[Victim] | None:
    """Victims in one domain: the cheapest until the gang fits, without those who were not needed
    after all. None where all of them are too few."""
    rows, need = domain.rows, domain.need
    room.look_at(rows)
    gone: dict[str, tuple[Victim, int, tuple[Part, ...]]] = {}
    for victim, here in domain.steps():
        if need <= 0 and room.fits:
            break
        before = gone.get(victim.name)
        if before is not None:  # it went on with fewer, and now it stops
            room.come_back(victim.run.placement.gang, before[2])
            need += before[1]
        gives = _gives(victim, rows)
        room.leave(victim.run.placement.gang, gives)
        gone[victim.name] = victim, here, gives
        need -= here
    if not room.fits:
        return None
    return _pruned(room, gone)


def _pruned(room: Room, gone: dict[str, tuple[Victim, int, tuple[Part, ...]]]) -> list[Victim]:
    """Without those whose leaving was not needed after all, the dearest looked at first."""
    kept = {name: victim for name, (victim, _, _) in gone.items()}
    for victim, _, gives in sorted(gone.values(), key=lambda one: -one[0].price):
        gang = victim.run.placement.gang
        room.come_back(gang, gives)
        if room.fits:
            del kept[victim.name]
        else:
            room.leave(gang, gives)
    return list(kept.values())


def _gives(victim: Victim, rows: Bools) -> tuple[Part, ...]:
    """What it gives up: all it has, or what `Engine.shrink` takes first."""
    placed = victim.run.placement
    if not victim.keeps:
        return parts(placed.seats)
    seats = placed.seats
    stays = sorted(range(len(seats)), key=lambda at: (bool(rows[seats[at].row]), at))
    return parts([seats[at] for at in stays[victim.keeps :]])


def _tried(
    engine: Engine, gang: Gang, domain: Domain, gone: Sequence[Victim]
) -> tuple[Engine, Placement | None]:
    """A copy of the engine in which they are gone and the gang is placed."""
    trial, rows = engine.copy(), domain.rows
    for victim in gone:
        if victim.keeps:
            trial.shrink(victim.name, victim.keeps, first=rows)
        else:
            trial.release(victim.name)
    return trial, trial.place(gang, avoid=~rows)


def _agreed(
    engine: Engine, gang: Gang, domain: Domain, gone: Sequence[Victim], accept: Accept
) -> bool:
    trial, placement = _tried(engine, gang, domain, gone)
    return placement is not None and accept(trial, gone)
