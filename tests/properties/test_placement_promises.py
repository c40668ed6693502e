"""Promises of the engine, on fleets and asks that nobody chose: whole or not at all, never over
capacity, undone exactly, isolation kept, and the same answers as a plain slow reference."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.placement.balance import Balance
from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Fleet, Machine
from watchkeeper.placement.preempt import preempt
from watchkeeper.placement.rule import CRUMBS, MEMORY, ODD, TIE
from watchkeeper.placement.running import Running, Terms
from watchkeeper.placement.words import LEVELS, Gang, Piece

MODELS = ("A", "B")

machines = st.builds(
    dict,
    gpus=st.integers(0, 4),
    cpu_milli=st.integers(0, 16).map(lambda n: 1000 * n),
    memory_mib=st.integers(0, 16).map(lambda n: 1024 * n),
    model=st.sampled_from(MODELS),
    rack=st.sampled_from(("", "r0", "r1")),
    nvlink_domain=st.sampled_from(("", "d0", "d1", "d2")),
    zone=st.sampled_from(("", "eu", "us")),
    tenant=st.sampled_from(("", "", "", "red")),
)
fleets = st.lists(machines, min_size=1, max_size=6).map(
    lambda rows: [Machine(name=f"n{at}", **row) for at, row in enumerate(rows)]
)
whole = st.builds(
    Piece,
    gpus=st.integers(0, 4),
    cpu_milli=st.integers(0, 6).map(lambda n: 1000 * n),
    memory_mib=st.integers(0, 4).map(lambda n: 1024 * n),
    models=st.sampled_from((frozenset(), frozenset("A"), frozenset("AB"), frozenset("C"))),
)
slices = st.builds(
    Piece,
    gpus=st.just(1),
    milli=st.sampled_from((50, 190, 320, 470, 500, 810, 999)),
    cpu_milli=st.integers(0, 3).map(lambda n: 1000 * n),
)


@st.composite
def gangs(draw: st.DrawFn) -> list[Gang]:
    found = []
    for nth in range(draw(st.integers(1, 10))):
        count = draw(st.integers(1, 5))
        found.append(
            Gang(
                name=f"g{nth}",
                piece=draw(st.one_of(whole, slices)),
                count=count,
                least=draw(st.integers(0, count)),
                within=draw(st.sampled_from(("", "", "rack", "nvlink_domain"))),
                near=draw(st.sampled_from(("", "nvlink_domain", "rack"))),
                tenant=draw(st.sampled_from(("red", "blue", ""))),
                sole=draw(st.booleans()),
                zones=draw(st.sampled_from((frozenset(), frozenset({"eu"})))),
                priority=draw(st.integers(0, 2)),
            )
        )
    return found


def check(engine: Engine, machines: list[Machine]) -> None:
    """What must hold at any moment, worked out from the seats alone."""
    cpu = [m.cpu_milli for m in machines]
    memory = [m.memory_mib for m in machines]
    gpu = [[1000] * m.gpus for m in machines]
    lodgers: list[set[str]] = [set() for _ in machines]
    sole: list[set[str]] = [set() for _ in machines]
    for placement in engine.placed.values():
        gang = placement.gang
        assert gang.floor <= len(placement.seats) <= gang.count, "half placed"
        domains = {getattr(machines[s.row], gang.within) for s in placement.seats if gang.within}
        assert len(domains) <= 1
        assert "" not in domains
        for seat in placement.seats:
            home = machines[seat.row]
            assert len(seat.gpus) == gang.piece.gpus == len(set(seat.gpus))
            assert home.tenant in ("", gang.tenant)
            assert not gang.zones or home.zone in gang.zones
            assert not gang.piece.models or home.model in gang.piece.models
            cpu[seat.row] -= gang.piece.cpu_milli
            memory[seat.row] -= gang.piece.memory_mib
            for index in seat.gpus:
                gpu[seat.row][index] -= gang.piece.milli
            lodgers[seat.row].add(gang.tenant)
            if gang.sole:
                sole[seat.row].add(gang.tenant)
    assert min(cpu) >= 0
    assert min(memory) >= 0
    assert all(free >= 0 for row in gpu for free in row)
    assert all(not held or lodgers[row] == held for row, held in enumerate(sole)), "not alone"
    fleet = engine.fleet
    assert fleet.cpu.tolist() == cpu
    assert fleet.memory.tolist() == memory
    assert fleet.free_cpu == sum(cpu)
    assert fleet.free_memory == sum(memory)
    for row, free in enumerate(gpu):
        assert fleet.slices[row].tolist()[: len(free)] == free
        assert fleet.whole[row] == free.count(1000)
        assert fleet.widest[row] == max(free, default=0)
        assert fleet.milli[row] == sum(free)


def columns(engine: Engine) -> list[list[object]]:
    fleet = engine.fleet
    return [
        getattr(fleet, name).tolist()
        for name in ("cpu", "memory", "slices", "milli", "whole", "widest", "occupant", "sole")
    ] + [[fleet.free_cpu, fleet.free_memory, fleet.free_milli]]


@given(machines=fleets, asks=gangs(), out=st.lists(st.integers(0, 9), max_size=5))
@settings(max_examples=60, deadline=None)
def test_no_gang_is_half_placed_no_node_is_over_capacity_and_isolation_holds(
    machines: list[Machine], asks: list[Gang], out: list[int]
) -> None:
    engine = Engine(Fleet(machines))
    for nth, gang in enumerate(asks):
        engine.hear(gang)
        engine.place(gang)
        check(engine, machines)
        for name in [f"g{n}" for n in out if n == nth]:
            if name in engine.placed:
                engine.release(name)
        for name in list(engine.placed):
            engine.grow(name)
        check(engine, machines)


@given(machines=fleets, asks=gangs())
@settings(max_examples=60, deadline=None)
def test_release_undoes_place_exactly_in_any_order(
    machines: list[Machine], asks: list[Gang]
) -> None:
    engine = Engine(Fleet(machines))
    bare = columns(engine)
    before = [bare]
    placed = []
    for gang in asks:
        if engine.place(gang) is not None:
            placed.append(gang.name)
            before.append(columns(engine))
    for name, state in zip(reversed(placed), reversed(before[:-1]), strict=True):
        engine.release(name)
        assert columns(engine) == state
    for gang in asks:
        engine.place(gang)
    for name in sorted(engine.placed, key=lambda n: n[::-1]):
        engine.release(name)
    assert columns(engine) == bare


@given(machines=fleets, asks=gangs())
@settings(max_examples=60, deadline=None)
def test_fits_says_what_place_does(machines: list[Machine], asks: list[Gang]) -> None:
    engine = Engine(Fleet(machines))
    for gang in asks:
        expected = engine.fits(gang)
        state = columns(engine)
        assert (engine.place(gang) is not None) is expected
        if not expected:
            assert columns(engine) == state


def slow_costs(fleet: Fleet, gang: Gang, balance: Balance) -> dict[int, float]:
    """The rule, written down once more: a loop over nodes and GPUs, plain numbers."""
    cpu_per, memory_per, scarce = balance.per_gpu(fleet)
    mean = max(sum(m.cpu_milli for m in fleet.machines) / len(fleet), 1.0)
    piece = gang.piece
    found: dict[int, float] = {}
    for row, m in enumerate(fleet.machines):
        if piece.models and m.model not in piece.models:
            continue
        if m.tenant not in ("", gang.tenant) or (gang.zones and m.zone not in gang.zones):
            continue
        if gang.within and not getattr(m, gang.within):
            continue
        cpu, memory = int(fleet.cpu[row]), int(fleet.memory[row])
        gpus = fleet.slices[row].tolist()[: m.gpus]
        if cpu < piece.cpu_milli or memory < piece.memory_mib:
            continue
        holding = [free for free in gpus if free >= piece.milli] if piece.is_slice else []
        if piece.is_slice and not holding:
            continue
        if not piece.is_slice and gpus.count(1000) < piece.gpus:
            continue
        free, left = sum(gpus), sum(gpus) - piece.gpu_milli
        after, before = abs(cpu - piece.cpu_milli - cpu_per * left), abs(cpu - cpu_per * free)
        cost = (after - before) * (m.cpu_milli / mean) ** ((1 - scarce) / 2)
        odd = after / (cpu - piece.cpu_milli + cpu_per * left + 1)
        odd -= before / (cpu + cpu_per * free + 1)
        cost += ODD * scarce * 1000 * cpu_per * odd
        if memory_per:
            short = max(0.0, memory_per * left - (memory - piece.memory_mib))
            cost += MEMORY * cpu_per / memory_per * (short - max(0.0, memory_per * free - memory))
        if piece.is_slice:
            cost += CRUMBS * cpu_per * (min(holding) - piece.milli)
        found[row] = cost + TIE * free
    return found


@given(machines=fleets, asks=gangs())
@settings(max_examples=60, deadline=None)
def test_the_engine_chooses_the_node_that_a_plain_slow_reference_chooses(
    machines: list[Machine], asks: list[Gang]
) -> None:
    engine = Engine(Fleet(machines))
    for nth, asked in enumerate(asks):
        gang = Gang(
            f"s{nth}", asked.piece, tenant=asked.tenant, zones=asked.zones, within=asked.within
        )
        engine.hear(gang)
        expected = slow_costs(engine.fleet, gang, engine.balance)
        placed = engine.place(gang)
        assert (placed is not None) is bool(expected)
        if placed is not None:  # two sums in another order may differ in their last digit
            assert expected[placed.rows[0]] <= min(expected.values()) + 1e-6


@given(machines=fleets, asks=gangs())
@settings(max_examples=60, deadline=None)
def test_a_gang_waits_only_if_no_domain_holds_its_floor(
    machines: list[Machine], asks: list[Gang]
) -> None:
    """Against a count by hand of how many workers each node takes, one after the other."""
    engine = Engine(Fleet(machines))
    for gang in asks:
        trial = engine.copy()
        held: dict[str, int] = {}
        for row, m in enumerate(machines):
            domain = getattr(m, gang.within) if gang.within else "all"
            others = np.arange(len(machines)) != row
            nth = 0
            while domain and nth < gang.count:
                one = Gang(
                    f"{gang.name}-{row}-{nth}", gang.piece, tenant=gang.tenant, sole=gang.sole,
                    zones=gang.zones,
                )  # fmt: skip
                if trial.place(one, avoid=others) is None:
                    break
                nth += 1
            held[domain] = held.get(domain, 0) + nth
        able = max((n for domain, n in held.items() if domain), default=0) >= gang.floor
        assert (engine.place(gang) is not None) is able


@given(machines=fleets, asks=gangs(), priority=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_preemption_that_is_proposed_makes_room_and_needs_every_victim(
    machines: list[Machine], asks: list[Gang], priority: int
) -> None:
    engine = Engine(Fleet(machines))
    for gang in asks[1:]:
        engine.place(gang)
    running = [Running(placement=p, since=0.0) for p in engine.placed.values()]
    asked = Gang("urgent", asks[0].piece, asks[0].count, within=asks[0].within, priority=priority)
    state = columns(engine)
    found = preempt(engine, asked, running, 10_000.0, Terms())
    assert columns(engine) == state, "a question changed the answer"
    if found is None:
        return
    assert found.victims
    assert all(v.run.placement.gang.priority < priority for v in found.victims)

    def room(left_out: str) -> bool:
        trial = engine.copy()
        for victim in found.victims:
            if victim.name == left_out:
                continue
            if victim.keeps:
                assert victim.keeps >= victim.run.placement.gang.floor
                rows = np.zeros(len(machines), np.bool_)
                if found.domain:
                    level, _, name = found.domain.partition(":")
                    rows = np.array([getattr(m, level) == name for m in machines])
                else:
                    rows[:] = True
                trial.shrink(victim.name, victim.keeps, first=rows)
            else:
                trial.release(victim.name)
        return trial.place(asked) is not None

    assert room("")
    if not found.domain or len(found.victims) == 1:
        assert not any(room(victim.name) for victim in found.victims), "one of them too many"


def test_levels_are_fields_of_a_machine_narrowest_first() -> None:
    assert all(hasattr(Machine("n", 1), level) for level in LEVELS)
    assert all(a != b for a, b in pairwise(LEVELS))
