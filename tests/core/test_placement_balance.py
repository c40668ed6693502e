"""What goes with one GPU: learned from asks, and from what is left once CPU is scarce."""

from __future__ import annotations

import pytest

from watchkeeper.placement import balance as room
from watchkeeper.placement.balance import Balance
from watchkeeper.placement.fleet import Fleet, Machine
from watchkeeper.placement.words import Piece


def fleet() -> Fleet:
    """Ten nodes of 8 GPUs and 80 CPUs: ten CPUs a GPU, which is 10 for a thousandth."""
    return Fleet(Machine(f"n{n}", gpus=8, cpu_milli=80_000, memory_mib=80_000) for n in range(10))


def heard(*asks: tuple[Piece, int]) -> tuple[Balance, Fleet]:
    held = fleet()
    balance = Balance(held)
    for piece, count in asks:
        balance.hear(piece, count)
    return balance, held


def test_before_any_work_is_seen_the_fleets_own_proportion_counts() -> None:
    balance, held = heard()
    own = pytest.approx(room.SHY * 10.0)
    assert balance.per_gpu(held) == (own, own, 0.0)


def test_work_with_gpus_teaches_the_proportion_and_work_without_does_not() -> None:
    small = Piece(gpus=1, cpu_milli=2_000, memory_mib=1_000)
    balance, held = heard((small, 80))
    assert balance.per_gpu(held).cpu == pytest.approx(room.SHY * 2.0, rel=0.05)
    before = balance.per_gpu(held).cpu
    balance.hear(Piece(cpu_milli=10_000), 2)
    assert balance.per_gpu(held).cpu == before


@pytest.mark.parametrize(
    ("cpu", "scarce"),
    [
        pytest.param(5_000, 0.0, id="half of what the fleet has"),
        pytest.param(10_000, 0.5, id="exactly what the fleet has"),
        pytest.param(12_000, 1.0, id="more than the fleet has"),
    ],
)
def test_cpu_is_scarce_when_work_asks_for_more_of_it_than_the_fleet_has(
    cpu: int, scarce: float
) -> None:
    balance, held = heard((Piece(gpus=1, cpu_milli=cpu), 40))
    assert balance.per_gpu(held).scarce == pytest.approx(scarce)


def test_while_cpu_is_scarce_what_is_left_decides() -> None:
    balance, held = heard((Piece(gpus=1, cpu_milli=20_000), 40))
    held.free_cpu, held.free_milli = 300_000, 10_000
    assert balance.per_gpu(held).cpu == pytest.approx(30.0)


def test_a_few_asks_do_not_make_scarcity() -> None:
    balance, held = heard((Piece(gpus=1, cpu_milli=80_000), 2))
    assert balance.per_gpu(held).scarce == 0.0


def test_work_of_last_year_counts_less_than_work_of_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "REMEMBERED", 100)
    old, new = Piece(gpus=1, cpu_milli=2_000), Piece(gpus=1, cpu_milli=8_000)
    balance, held = heard(*[(old, 1)] * 400, *[(new, 1)] * 200)
    assert balance.per_gpu(held).cpu > 6.0


def test_a_fleet_without_gpus_or_nodes_breaks_nothing() -> None:
    for held in (Fleet([]), Fleet([Machine("n0", gpus=0, cpu_milli=1000)])):
        balance = Balance(held)
        balance.hear(Piece(cpu_milli=10))
        assert balance.per_gpu(held).cpu >= 0
