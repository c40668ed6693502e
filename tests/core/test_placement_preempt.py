"""Who goes for whom: the domain first, then the cheapest victims in it, and moves before stops."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from watchkeeper.placement.defragment import defragment
from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Fleet, Machine
from watchkeeper.placement.preempt import preempt
from watchkeeper.placement.running import Running, Terms
from watchkeeper.placement.words import Gang, Piece

NOW = 100_000.0
GPU8 = Piece(gpus=8)
TERMS = Terms(least_runtime_s=900.0, restart_s=300.0)


def racks(count: int, each: int) -> Engine:
    return Engine(
        Fleet(
            Machine(f"r{r}-n{n}", gpus=8, rack=f"r{r}") for r in range(count) for n in range(each)
        )
    )


def on(engine: Engine, gang: Gang, *rows: int) -> Gang:
    """Put a gang on exactly these rows."""
    avoid = engine.fleet.milli < 0
    avoid[:] = True
    avoid[list(rows)] = False
    placed = engine.place(gang, avoid=avoid)
    assert placed is not None
    return gang


def runs(
    engine: Engine, since: Callable[[str], float] = lambda _: 0.0, **saved: float
) -> list[Running]:
    """Everything placed, running; saved: seconds since its last checkpoint, by name."""
    return [
        Running(p, since(name), NOW - saved[name] if name in saved else NOW - 3600.0)
        for name, p in engine.placed.items()
    ]


def names(found: object) -> list[str]:
    return sorted(v.name for v in found.victims) if found else []  # type: ignore[attr-defined]


def test_the_cheapest_victims_over_the_fleet_are_no_use_so_one_domain_is_cleared() -> None:
    engine = racks(2, 2)
    on(engine, Gang("cheap0", GPU8), 0)
    on(engine, Gang("dear0", GPU8), 1)
    on(engine, Gang("cheap1", GPU8), 2)
    on(engine, Gang("fair1", GPU8), 3)
    all_ = runs(engine, cheap0=60, dear0=7200, cheap1=60, fair1=1800)
    found = preempt(engine, Gang("a", GPU8, 2, within="rack", priority=1), all_, NOW, TERMS)
    assert names(found) == ["cheap1", "fair1"]
    assert found is not None
    assert found.domain == "rack:r1"
    assert found.price == 8 * (60 + 300) + 8 * (1800 + 300)


@pytest.mark.parametrize(
    ("gang", "since", "gone"),
    [
        pytest.param(Gang("v", GPU8), 0.0, True, id="lower priority, long running"),
        pytest.param(Gang("v", GPU8, priority=1), 0.0, False, id="same priority"),
        pytest.param(Gang("v", GPU8, priority=2), 0.0, False, id="higher priority"),
        pytest.param(Gang("v", GPU8, preemptible=False), 0.0, False, id="never preemptible"),
        pytest.param(Gang("v", GPU8), NOW - 60, False, id="started a minute ago"),
        pytest.param(Gang("v", GPU8), NOW - 900, True, id="ran for the least time"),
    ],
)
def test_who_may_be_displaced(gang: Gang, since: float, gone: bool) -> None:
    engine = racks(1, 1)
    engine.place(gang)
    found = preempt(engine, Gang("a", GPU8, priority=1), runs(engine, lambda _: since), NOW, TERMS)
    assert (found is not None) is gone


def test_borrowed_quota_is_claimed_back_at_the_same_priority() -> None:
    engine = racks(1, 1)
    engine.place(Gang("v", GPU8, tenant="borrower"))
    asked = Gang("a", GPU8, tenant="owner")
    assert preempt(engine, asked, runs(engine), NOW, TERMS) is None
    found = preempt(engine, asked, runs(engine), NOW, TERMS, reclaims=lambda _: True)
    assert names(found) == ["v"]


def test_lost_work_since_the_checkpoint_decides_between_equals() -> None:
    engine = racks(1, 2)
    on(engine, Gang("saved", GPU8), 0)
    on(engine, Gang("unsaved", GPU8), 1)
    found = preempt(
        engine, Gang("a", GPU8, priority=1), runs(engine, saved=60, unsaved=3000), NOW, TERMS
    )
    assert names(found) == ["saved"]


def test_a_gang_that_wants_nodes_to_itself_may_clear_shared_ones() -> None:
    engine = racks(1, 1)
    on(engine, Gang("v", Piece(gpus=1), tenant="blue"), 0)
    asked = Gang("a", Piece(gpus=1), tenant="red", sole=True, priority=1)
    assert not engine.fits(asked)
    assert names(preempt(engine, asked, runs(engine), NOW, TERMS)) == ["v"]


def test_a_preferred_domain_is_worth_a_little_more_lost_work() -> None:
    for far, domain in ((1400, "rack:r0"), (60, "")):
        engine = racks(2, 2)
        for row, name in enumerate(("near0", "near1", "far0", "far1")):
            on(engine, Gang(name, GPU8), row)
        saved = {"near0": 1300.0, "near1": 1600.0, "far0": float(far), "far1": 9000.0}
        asked = Gang("a", GPU8, 2, near="rack", priority=1)
        found = preempt(engine, asked, runs(engine, **saved), NOW, TERMS)
        assert found is not None
        assert found.domain == domain


def test_nobody_goes_in_vain() -> None:
    engine = racks(1, 2)
    on(engine, Gang("half", Piece(gpus=4)), 0)
    on(engine, Gang("whole", GPU8), 1)
    found = preempt(
        engine, Gang("a", GPU8, priority=1), runs(engine, half=300, whole=60), NOW, TERMS
    )
    assert len(names(found)) == 1


def test_an_elastic_gang_shrinks_before_anybody_stops() -> None:
    engine = racks(1, 4)
    on(engine, Gang("elastic", GPU8, 2, least=1), 0, 1)
    on(engine, Gang("rigid", GPU8, 2), 2, 3)
    found = preempt(
        engine, Gang("a", GPU8, priority=1), runs(engine, elastic=3600, rigid=3600), NOW, TERMS
    )
    assert found is not None
    assert [(v.name, v.keeps) for v in found.victims] == [("elastic", 1)]
    assert found.price == 16 * 300


def test_what_fits_displaces_nobody_and_what_can_never_fit_neither() -> None:
    engine = racks(1, 2)
    on(engine, Gang("v", GPU8), 0)
    assert preempt(engine, Gang("a", GPU8, priority=1), runs(engine), NOW, TERMS) is None
    assert preempt(engine, Gang("b", GPU8, 3, priority=1), runs(engine), NOW, TERMS) is None


def test_small_work_is_moved_out_of_the_way() -> None:
    engine = racks(2, 2)
    on(engine, Gang("small", Piece(gpus=1)), 0)
    on(engine, Gang("long", GPU8), 2)
    asked = Gang("a", GPU8, 2, within="rack")
    assert not engine.fits(asked)
    moves = defragment(engine, asked, runs(engine, small=60, long=7200), NOW, TERMS)
    assert moves is not None
    assert [run.name for run, _ in moves.moved] == ["small"]
    assert moves.price == 360
    assert set(moves.placement.rows) == {0, 1}
    assert moves.moved[0][1].rows == (3,), "it lands where the gang does not"


@pytest.mark.parametrize(
    ("wait_s", "worth"),
    [
        pytest.param(None, True, id="nobody knows how long it would wait"),
        pytest.param(3600.0, True, id="an hour of sixteen GPUs for a small restart"),
        pytest.param(10.0, False, id="it would start in ten seconds anyway"),
    ],
)
def test_moves_must_cost_less_than_the_wait(wait_s: float | None, worth: bool) -> None:
    engine = racks(2, 2)
    on(engine, Gang("small", Piece(gpus=1)), 0)
    on(engine, Gang("long", GPU8), 2)
    asked = Gang("a", GPU8, 2, within="rack")
    found = defragment(engine, asked, runs(engine, small=60), NOW, TERMS, wait_s)
    assert (found is not None) is worth


@pytest.mark.parametrize(
    "gang",
    [
        pytest.param(Gang("v", Piece(gpus=1), priority=3), id="of higher priority"),
        pytest.param(Gang("v", Piece(gpus=1), preemptible=False), id="not to be stopped"),
    ],
)
def test_what_may_not_be_stopped_is_not_moved(gang: Gang) -> None:
    engine = racks(1, 2)
    on(engine, gang, 0)
    assert defragment(engine, Gang("a", GPU8, 2), runs(engine), NOW, TERMS) is None


def test_nothing_is_moved_that_has_nowhere_to_go() -> None:
    engine = racks(1, 2)
    on(engine, Gang("v", Piece(gpus=1)), 0)
    assert defragment(engine, Gang("a", GPU8, 2), runs(engine), NOW, TERMS) is None
    assert list(engine.placed) == ["v"]
