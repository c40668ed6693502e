"""Why a gang waits, word for word: one page of sentences, kept in tests/golden/placement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from watchkeeper.placement.engine import Engine
from watchkeeper.placement.explain import why
from watchkeeper.placement.fleet import Fleet, Machine
from watchkeeper.placement.reserve import Reservation, reserve
from watchkeeper.placement.running import Running
from watchkeeper.placement.words import Gang, Piece

GOLDEN = Path(__file__).parents[1] / "golden" / "placement" / "why.txt"
AT = datetime(2026, 11, 20, 1, 10, tzinfo=UTC)
NOW = AT.timestamp()
BERLIN = timezone(timedelta(hours=1))
GPU8 = Piece(gpus=8)
FOUR = Gang("bert-7", GPU8, 4, within="nvlink_domain")


def domains() -> Engine:
    """Two NVLink domains of four nodes; two nodes of the first are held."""
    engine = Engine(
        Fleet(
            Machine(f"d{d}-n{n}", gpus=8, nvlink_domain=f"nvl-{d}", rack=f"r{d}")
            for d in range(2)
            for n in range(4)
        )
    )
    engine.place(Gang("llama", GPU8, 2, within="nvlink_domain", runtime_s=5400.0))
    engine.place(Gang("whisper", GPU8, 3, within="nvlink_domain", runtime_s=9000.0))
    return engine


def holding(engine: Engine, gang: Gang) -> Reservation | None:
    return reserve(engine, gang, [Running(p, NOW) for p in engine.placed.values()], NOW)


def gang_in_a_full_domain() -> str:
    engine = domains()
    return why(engine, FOUR, NOW, BERLIN, holding(engine, FOUR))


def nobody_says_when_it_ends() -> str:
    return why(domains(), FOUR, NOW, BERLIN)


def fenced_and_doubted() -> str:
    engine = domains()
    engine.fleet.mark("d1-n3", closed=True)
    engine.fleet.mark("d0-n3", suspect=True)
    engine.fleet.mark("d0-n2", suspect=True)
    return why(engine, Gang("b", GPU8, 3), NOW, BERLIN)


def larger_than_the_fleet() -> str:
    return why(domains(), Gang("huge", GPU8, 9), NOW)


def larger_than_what_is_healthy() -> str:
    engine = domains()
    engine.fleet.mark("d0-n0", suspect=True)
    engine.fleet.mark("d1-n0", spare=True)
    return why(engine, FOUR, NOW)


def beside_spent_cpu() -> str:
    engine = Engine(Fleet([Machine("n0", gpus=8, cpu_milli=64_000, memory_mib=4096)]))
    engine.place(Gang("prep", Piece(cpu_milli=60_000), runtime_s=86_400.0))
    gang = Gang("train", Piece(gpus=1, cpu_milli=8_000))
    return why(engine, gang, NOW, UTC, holding(engine, gang))


def a_slice_and_a_model() -> str:
    engine = Engine(Fleet([Machine("n0", gpus=1, model="A10"), Machine("n1", gpus=4)]))
    engine.place(Gang("infer", Piece(gpus=1, milli=700, models=frozenset({"A10"}))))
    return why(engine, Gang("s", Piece(gpus=1, milli=500, models=frozenset({"A10"}))), NOW)


def many_holders() -> str:
    engine = Engine(Fleet([Machine("n0", gpus=8)]))
    for n in range(8):
        engine.place(Gang(f"j{n}", Piece(gpus=1)))
    return why(engine, Gang("a", Piece(gpus=1)), NOW)


def kept_for_another() -> str:
    engine = domains()
    first = Gang("first", GPU8, 8)
    return why(engine, Gang("b", GPU8), NOW, UTC, holding(engine, first))


def over_its_quota() -> str:
    limit = "tenant red holds 64 GPUs and may hold 64"
    return why(domains(), Gang("b", GPU8), NOW, limit=limit)


def room_now() -> str:
    return why(domains(), Gang("b", GPU8), NOW)


CASES: tuple[Callable[[], str], ...] = (
    gang_in_a_full_domain,
    nobody_says_when_it_ends,
    fenced_and_doubted,
    larger_than_the_fleet,
    larger_than_what_is_healthy,
    beside_spent_cpu,
    a_slice_and_a_model,
    many_holders,
    kept_for_another,
    over_its_quota,
    room_now,
)


def page() -> dict[str, str]:
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_gang_is_told_why_it_waits(case: Callable[[], str]) -> None:
    assert case() == page()[case.__name__]


def test_the_page_holds_no_other_sentences() -> None:
    assert sorted(page()) == sorted(case.__name__ for case in CASES)
