"""Where a gang goes: what fits, which node, which domain, and who may use it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Fleet, Machine
from watchkeeper.placement.words import Gang, Piece

GPU8 = Piece(gpus=8)


def machine(name: str, gpus: int = 8, **at: object) -> Machine:
    return Machine(name=name, gpus=gpus, cpu_milli=96_000, memory_mib=786_432, **at)  # type: ignore[arg-type]


def racks(count: int, each: int) -> Fleet:
    """Racks of nodes of 8 GPUs, two nodes an NVLink domain: r0-n0, r0-n1, ..."""
    return Fleet(
        machine(f"r{r}-n{n}", rack=f"r{r}", nvlink_domain=f"r{r}-d{n // 2}", leaf="l0")
        for r in range(count)
        for n in range(each)
    )


def names(engine: Engine, gang: Gang) -> list[str] | None:
    placed = engine.place(gang)
    return placed and [engine.fleet.names[row] for row in placed.rows]


@pytest.mark.parametrize(
    ("gang", "nodes"),
    [
        pytest.param(Gang("a", GPU8, 2), 2, id="two nodes of any kind"),
        pytest.param(Gang("a", GPU8, 4, within="rack"), 4, id="a whole rack"),
        pytest.param(Gang("a", GPU8, 5, within="rack"), None, id="more than a rack, one demanded"),
        pytest.param(Gang("a", GPU8, 5, near="rack"), 5, id="more than a rack, one preferred"),
        pytest.param(Gang("a", GPU8, 9), None, id="more than the fleet"),
        pytest.param(Gang("a", Piece(gpus=9)), None, id="a worker larger than a node"),
        pytest.param(Gang("a", Piece(gpus=4), 16), 8, id="two workers on each node"),
        pytest.param(Gang("a", Piece(gpus=1, milli=300), 3), 1, id="slices share a GPU"),
        pytest.param(Gang("a", Piece(gpus=1, cpu_milli=97_000)), None, id="too much CPU"),
        pytest.param(Gang("a", Piece(gpus=1, memory_mib=800_000)), None, id="too much memory"),
        pytest.param(Gang("a", Piece(gpus=1, models=frozenset({"H100"}))), None, id="no such GPU"),
        pytest.param(Gang("a", Piece(cpu_milli=48_000), 3), 2, id="work without GPUs"),
        pytest.param(Gang("a", GPU8, 9, least=3), 8, id="elastic: as many as there are"),
        pytest.param(Gang("a", GPU8, 9, least=3, within="rack"), 4, id="elastic, in one rack"),
    ],
)
def test_a_gang_is_placed_whole_or_not_at_all(gang: Gang, nodes: int | None) -> None:
    engine = Engine(racks(2, 4))
    found = names(engine, gang)
    assert (found and len(found)) == nodes
    if nodes is None:
        assert engine.fleet.free_milli == engine.fleet.capacity_milli


def test_a_gang_takes_the_tightest_domain_that_holds_it() -> None:
    engine = Engine(racks(3, 4))
    engine.place(Gang("one", GPU8, within="rack"))  # r0 has three nodes left
    assert names(engine, Gang("three", GPU8, 3, within="rack")) == ["r0-n1", "r0-n2", "r0-n3"]


def test_a_preferred_domain_is_kept_where_one_is_free_and_widened_where_none_is() -> None:
    engine = Engine(racks(2, 4))
    pair = names(engine, Gang("pair", GPU8, 2, near="nvlink_domain"))
    assert pair is not None
    assert len({engine.fleet.domains["nvlink_domain"][engine.fleet.row[n]] for n in pair}) == 1
    four = names(engine, Gang("four", GPU8, 4, near="nvlink_domain"))
    assert four is not None
    assert len({name[:2] for name in four}) == 1  # wider than NVLink, yet one rack


def test_a_node_without_the_demanded_domain_is_not_used() -> None:
    engine = Engine(Fleet([machine("bare"), machine("racked", rack="r0")]))
    assert names(engine, Gang("a", GPU8, within="rack")) == ["racked"]
    assert engine.place(Gang("b", GPU8, within="rack")) is None


def test_ranks_that_follow_one_another_lie_in_one_domain_while_they_can() -> None:
    """Node names do not stand in the order of racks."""
    fleet = Fleet(machine(f"n{n}", rack=f"r{n % 2}", nvlink_domain=f"d{n % 4}") for n in range(8))
    placed = Engine(fleet).place(Gang("a", GPU8, 8))
    assert placed is not None
    racks_of = [fleet.machines[seat.row].rack for seat in placed.seats]
    domains_of = [fleet.machines[seat.row].nvlink_domain for seat in placed.seats]
    assert racks_of == sorted(racks_of)
    assert sum(a != b for a, b in pairwise(domains_of)) == 3


@pytest.mark.parametrize(
    ("how", "gang", "used"),
    [
        pytest.param({"closed": True}, Gang("a", GPU8), False, id="a fenced node takes nothing"),
        pytest.param({"closed": True}, Gang("a", GPU8, suspects_ok=True, spares_ok=True), False,
                     id="however much is allowed"),
        pytest.param({"suspect": True}, Gang("a", GPU8), False, id="suspects are avoided"),
        pytest.param({"suspect": True}, Gang("a", GPU8, suspects_ok=True), True,
                     id="unless the gang takes the risk"),
        pytest.param({"spare": True}, Gang("a", GPU8), False, id="spares are kept"),
        pytest.param({"spare": True}, Gang("a", GPU8, spares_ok=True), True, id="unless lent"),
    ],
)  # fmt: skip
def test_health_decides_who_may_use_a_node(how: dict[str, bool], gang: Gang, used: bool) -> None:
    engine = Engine(Fleet([machine("n0")]))
    engine.fleet.mark("n0", **how)
    assert (engine.place(gang) is not None) is used


def test_a_mark_that_is_lifted_gives_the_node_back() -> None:
    engine = Engine(Fleet([machine("n0")]))
    engine.fleet.mark("n0", closed=True)
    assert engine.place(Gang("a", GPU8)) is None
    engine.fleet.mark("n0", closed=False)
    assert engine.place(Gang("a", GPU8)) is not None


@pytest.mark.parametrize(
    ("node", "gang", "used"),
    [
        pytest.param({"tenant": "red"}, {"tenant": "red"}, True, id="its own tenant"),
        pytest.param({"tenant": "red"}, {"tenant": "blue"}, False, id="another tenant"),
        pytest.param({"zone": "eu"}, {"zones": frozenset({"eu"})}, True, id="data may lie there"),
        pytest.param({"zone": "us"}, {"zones": frozenset({"eu"})}, False, id="data may not"),
        pytest.param({}, {"zones": frozenset({"eu"})}, False, id="a place unknown is not there"),
        pytest.param({"pool": "train"}, {"pool": "serve"}, False, id="another pool"),
    ],
)  # fmt: skip
def test_tenants_and_residency_are_kept_apart(
    node: dict[str, str], gang: dict[str, object], used: bool
) -> None:
    engine = Engine(Fleet([machine("n0", **node)]))
    asked = Gang("a", Piece(gpus=1), **gang)  # type: ignore[arg-type]
    assert (engine.place(asked) is not None) is used


def test_a_gang_that_wants_nodes_to_itself_shares_them_with_no_other_tenant() -> None:
    engine = Engine(Fleet([machine("n0"), machine("n1")]))
    one = Piece(gpus=1)
    assert engine.place(Gang("red", one, tenant="red", sole=True)) is not None
    home = engine.placed["red"].rows[0]
    assert engine.place(Gang("blue", one, tenant="blue")) is not None
    assert engine.placed["blue"].rows[0] != home
    assert engine.place(Gang("blue8", GPU8, tenant="blue")) is None
    more = engine.place(Gang("red2", Piece(gpus=7), tenant="red"))
    assert more is not None
    assert more.rows == (home,)
    engine.release("red")
    engine.release("red2")
    assert engine.place(Gang("blue8", GPU8, tenant="blue")) is not None


def test_slices_go_to_the_tightest_slice() -> None:
    engine = Engine(Fleet([machine("n0"), machine("n1")]))
    engine.place(Gang("big", Piece(gpus=1, milli=800, cpu_milli=8_000)))
    placed = engine.place(Gang("small", Piece(gpus=1, milli=200, cpu_milli=2_000)))
    assert placed is not None
    assert placed.seats[0].row == engine.placed["big"].seats[0].row
    assert placed.seats[0].gpus == engine.placed["big"].seats[0].gpus


def test_work_is_put_where_what_is_left_stays_in_proportion() -> None:
    lean = Machine("lean", gpus=2, cpu_milli=8_000, memory_mib=65_536)
    rich = Machine("rich", gpus=2, cpu_milli=64_000, memory_mib=65_536)
    engine = Engine(Fleet([lean, rich]))
    asks = [Gang(f"g{n}", Piece(gpus=1, cpu_milli=4_000 if n % 2 else 30_000)) for n in range(4)]
    for gang in asks:
        engine.hear(gang)
        assert engine.place(gang) is not None, "hungry work on the lean node would strand a GPU"


def test_an_elastic_gang_shrinks_within_its_bounds_and_grows_back() -> None:
    engine = Engine(racks(1, 4))
    engine.place(Gang("e", GPU8, 4, least=2))
    engine.shrink("e", 2)
    assert len(engine.placed["e"].seats) == 2
    with pytest.raises(ValueError, match="2 to 2"):
        engine.shrink("e", 1)
    assert engine.place(Gang("guest", GPU8)) is not None
    assert len(engine.grow("e").seats) == 3
    engine.release("guest")
    assert len(engine.grow("e").seats) == 4
    assert engine.grow("e") is engine.placed["e"]


def test_an_elastic_gang_grows_only_inside_its_domain() -> None:
    engine = Engine(racks(2, 2))
    engine.place(Gang("e", GPU8, 2, least=1, within="rack"))
    engine.shrink("e", 1)
    home = engine.placed["e"].rows[0]
    other = next(r for r in range(4) if r // 2 == home // 2 and r != home)
    engine.fleet.mark(engine.fleet.names[other], closed=True)
    assert len(engine.grow("e").seats) == 1


def test_a_copy_is_another_world() -> None:
    engine = Engine(racks(1, 2))
    trial = engine.copy()
    trial.place(Gang("a", GPU8, 2))
    trial.fleet.mark("r0-n0", closed=True)
    assert engine.fleet.free_milli == engine.fleet.capacity_milli
    assert not engine.placed
    assert names(engine, Gang("b", GPU8, 2)) == ["r0-n0", "r0-n1"]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: Piece(gpus=-1), id="fewer than no GPUs"),
        pytest.param(lambda: Piece(gpus=2, milli=500), id="slices of two GPUs"),
        pytest.param(lambda: Piece(gpus=1, milli=0), id="an empty slice"),
        pytest.param(lambda: Gang("a", GPU8, 0), id="a gang of nobody"),
        pytest.param(lambda: Gang("a", GPU8, 2, least=3), id="at least more than all"),
        pytest.param(lambda: Gang("a", GPU8, within="row"), id="no such level"),
        pytest.param(lambda: Fleet([machine("n0"), machine("n0")]), id="two nodes of one name"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        wrong()  # type: ignore[operator]


def test_nothing_is_placed_twice() -> None:
    engine = Engine(racks(1, 2))
    engine.place(Gang("a", GPU8))
    with pytest.raises(ValueError, match="placed already"):
        engine.place(Gang("a", GPU8))
