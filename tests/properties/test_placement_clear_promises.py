"""Choosing victims fast gives the same answer as choosing them the plain way, on fleets, gangs and
checkpoints that nobody chose."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties.slow_clear import slow_clear
from tests.properties.test_placement_promises import columns, fleets, gangs

from watchkeeper.placement import defragment as moving
from watchkeeper.placement.clear import Clearing, clear
from watchkeeper.placement.defragment import defragment
from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Fleet, Machine
from watchkeeper.placement.preempt import victims
from watchkeeper.placement.room import Room, parts
from watchkeeper.placement.running import Running, Terms
from watchkeeper.placement.words import Gang

NOW = 100_000.0

times = st.lists(
    st.tuples(st.floats(0.0, NOW), st.one_of(st.none(), st.floats(0.0, NOW))),
    min_size=12,
    max_size=12,
)


def loaded(
    machines: list[Machine], asks: list[Gang], saved: object
) -> tuple[Engine, list[Running]]:
    engine = Engine(Fleet(machines))
    for gang in asks[1:]:
        engine.place(gang)
    drawn = zip(engine.placed.values(), saved, strict=False)  # type: ignore[call-overload]
    return engine, [Running(placed, since, at) for placed, (since, at) in drawn]


def told(found: Clearing | None) -> object:
    return found and (
        found.domain,
        [(v.name, v.keeps, v.price) for v in found.victims],
        found.placement,
        found.price,
    )


@given(machines=fleets, asks=gangs(), saved=times, priority=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_the_same_victims_in_the_same_domain_at_the_same_price_as_the_plain_way(
    machines: list[Machine], asks: list[Gang], saved: object, priority: int
) -> None:
    engine, running = loaded(machines, asks, saved)
    one = asks[0]
    asked = Gang(
        "urgent", one.piece, one.count, one.least, one.within, one.near, one.tenant, one.sole,
        zones=one.zones, priority=priority,
    )  # fmt: skip
    if engine.fits(asked):
        return  # nobody asks
    may = victims(asked, running, NOW, Terms(), lambda _: False)
    state = columns(engine)
    for shrink in (True, False):
        found = clear(engine, asked, may, NOW, Terms(), shrink=shrink)
        assert told(found) == told(slow_clear(engine, asked, may, NOW, Terms(), shrink=shrink))
    assert columns(engine) == state, "a question changed the answer"


@given(machines=fleets, asks=gangs(), saved=times)
@settings(max_examples=60, deadline=None)
def test_the_same_moves_as_the_plain_way(
    machines: list[Machine], asks: list[Gang], saved: object
) -> None:
    engine, running = loaded(machines, asks, saved)
    fast = defragment(engine, asks[0], running, NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moving, "clear", slow_clear)
        assert fast == defragment(engine, asks[0], running, NOW)


@given(machines=fleets, asks=gangs(), leaves=st.lists(st.integers(1, 9), max_size=8))
@settings(max_examples=60, deadline=None)
def test_room_counts_what_a_trial_engine_counts_whoever_leaves_and_comes_back(
    machines: list[Machine], asks: list[Gang], leaves: list[int]
) -> None:
    engine, _ = loaded(machines, asks, [(0.0, None)] * 12)
    gang, trial = asks[0], engine.copy()
    room = Room(engine.fleet, gang)
    everywhere = engine.fleet.milli >= 0
    if gang.within:  # one domain is looked at, as `clear` does
        everywhere = engine.fleet.domains[gang.within] == 0
    room.look_at(everywhere)
    for nth in leaves:
        placed = engine.placed.get(f"g{nth}")
        if placed is None:
            continue
        if placed.gang.name in trial.placed:
            room.leave(placed.gang, parts(placed.seats))
            trial.release(placed.gang.name)
        else:
            room.come_back(placed.gang, parts(placed.seats))
            trial.adopt(placed)
        assert room.fits is trial.fits(gang, avoid=~everywhere)


@given(machines=fleets, asks=gangs(), saved=times)
@settings(max_examples=30, deadline=None)
def test_prices_asked_for_together_are_those_asked_one_by_one(
    machines: list[Machine], asks: list[Gang], saved: object
) -> None:
    _, running = loaded(machines, asks, saved)
    terms = Terms()
    assert terms.stop_each(running, NOW).tolist() == [terms.stop(run, NOW) for run in running]
