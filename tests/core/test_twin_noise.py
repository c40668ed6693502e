"""Noise and people: what disturbs the view without a fault, and who answers how late."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from watchkeeper.twin.faults import draw_faults
from watchkeeper.twin.laws import by_name, laws
from watchkeeper.twin.noise import (
    APPLICATION_XIDS,
    BOOT_SHARE,
    INSTRUCTIONS,
    PER_FLEET_DAY,
    PER_NODE_DAY,
    PRINTED_XIDS,
    SOURCE,
    draw_noise,
)
from watchkeeper.twin.people import OnCall, manual_repair_s
from watchkeeper.twin.words import DAY_S, Noise, NoiseKind, TrueFault, TwinSpec

MONTHS = TwinSpec(seed=7, nodes=2048, days=54.0)
NOON = datetime(2026, 1, 7, 12, 0, tzinfo=UTC)
NIGHT = datetime(2026, 1, 7, 0, 30, tzinfo=UTC)
BEFORE_DAWN = datetime(2026, 1, 7, 5, 50, tzinfo=UTC)  # 06:50 in Berlin


@pytest.fixture(scope="module")
def noise() -> tuple[Noise, ...]:
    """The noise of many runs."""
    return tuple(n for seed in range(20) for n in draw_noise(replace(MONTHS, seed=seed)))


def test_the_same_seed_gives_the_same_noise_and_another_does_not() -> None:
    assert draw_noise(MONTHS) == draw_noise(MONTHS)
    assert draw_noise(MONTHS) != draw_noise(replace(MONTHS, seed=8))


@pytest.mark.parametrize("change", [{"faults": False}, {"acceleration": 9.0}], ids=["off", "more"])
def test_faults_do_not_move_the_noise(change: dict[str, object]) -> None:
    other = replace(MONTHS, **change)
    assert draw_faults(other, laws()) != draw_faults(MONTHS, laws())
    assert draw_noise(other) == draw_noise(MONTHS)


@pytest.mark.parametrize("change", [{"noise": False}, {"noise_level": 0.0}], ids=["off", "zero"])
def test_there_is_none_where_it_is_switched_off(change: dict[str, object]) -> None:
    assert draw_noise(replace(MONTHS, **change)) == ()


@pytest.mark.parametrize("kind", NoiseKind)
def test_each_kind_names_what_it_broke_and_occurs(
    kind: NoiseKind, noise: tuple[Noise, ...]
) -> None:
    mine = [n for n in noise if n.kind is kind]
    assert mine
    assert {n.source for n in mine} == {SOURCE[kind]}


@pytest.mark.parametrize("kind", [*PER_NODE_DAY, *PER_FLEET_DAY])
def test_each_kind_comes_as_often_as_stated(kind: NoiseKind, noise: tuple[Noise, ...]) -> None:
    count = Counter(n.kind for n in noise)[kind]
    rate = PER_NODE_DAY[kind] * 2048 if kind in PER_NODE_DAY else PER_FLEET_DAY[kind]
    mean = rate * 54 * 20
    assert abs(count - mean) < 4 * mean**0.5


def test_in_three_weeks_and_a_half_214_of_288_nodes_say_link_down_with_no_fault() -> None:
    shares = []
    for seed in range(60):
        spec = TwinSpec(seed=seed, nodes=288, days=24.5)
        storms = [n for n in draw_noise(spec) if n.kind is NoiseKind.BOOT_STORM]
        shares.append(len({node for n in storms for node in n.nodes}) / 288)
    assert np.mean(shares) == pytest.approx(BOOT_SHARE, abs=0.05)


@given(seed=st.integers(0, 2**32), nodes=st.integers(1, 300), days=st.floats(0.1, 30))
@settings(max_examples=40, deadline=None)
def test_every_disturbance_lies_in_the_fleet_begins_in_the_run_and_ends(
    seed: int, nodes: int, days: float
) -> None:
    found = draw_noise(TwinSpec(seed=seed, nodes=nodes, days=days, noise_level=20.0))
    assert [n.id for n in found] == list(range(len(found)))
    assert [n.at_s for n in found] == sorted(n.at_s for n in found)
    for n in found:
        assert 0 <= n.at_s <= days * DAY_S
        assert n.at_s < n.ends_s < n.at_s + 2 * DAY_S
        assert all(0 <= i < nodes for i in n.nodes)


VALUES = {
    NoiseKind.UNIT_CHANGE: lambda v: v == 1000,
    NoiseKind.CLOCK_SKEW: lambda v: -3600 <= v <= 3600,
    NoiseKind.STALE_EVENTS: lambda v: 3600 <= v <= 3 * DAY_S,
    NoiseKind.DUPLICATES: lambda v: 2 <= v <= 1000,
    NoiseKind.TENANT_PRINTS: lambda v: v in PRINTED_XIDS,
    NoiseKind.INSTRUCTIONS_IN_LOG: lambda v: INSTRUCTIONS[int(v)],
    NoiseKind.APPLICATION_CODES: lambda v: v in APPLICATION_XIDS,
}


@pytest.mark.parametrize("kind", VALUES)
def test_each_value_is_one_that_its_kind_can_have(
    kind: NoiseKind, noise: tuple[Noise, ...]
) -> None:
    assert all(VALUES[kind](n.value) for n in noise if n.kind is kind)


def test_half_missing_is_half_of_the_nodes_and_an_outage_is_nobody_in_particular(
    noise: tuple[Noise, ...],
) -> None:
    assert {len(n.nodes) for n in noise if n.kind is NoiseKind.HALF_MISSING} == {1024}
    assert {n.nodes for n in noise if n.kind is NoiseKind.MONITORING_OUTAGE} == {()}


# People.


def delays(at: datetime, questions: int = 4000) -> list[float]:
    replies = (OnCall().answer(MONTHS, q, at, right=True) for q in range(questions))
    return [r.after_s for r in replies if r is not None]


def test_half_of_the_answers_come_within_ten_minutes_by_day_and_an_hour_at_night() -> None:
    assert np.median(delays(NOON)) == pytest.approx(600, rel=0.06)
    assert np.median(delays(NIGHT)) == pytest.approx(3600, rel=0.06)


def test_who_is_asked_just_before_dawn_answers_like_one_who_got_up() -> None:
    assert np.median(delays(BEFORE_DAWN)) == pytest.approx(600 + 600, rel=0.06)


@pytest.mark.parametrize(("at", "share"), [(NOON, 0.02), (NIGHT, 0.10)], ids=["day", "night"])
def test_some_questions_are_never_answered(at: datetime, share: float) -> None:
    assert 1 - len(delays(at)) / 4000 == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("right", "share"), [(True, 0.98), (False, 0.30)], ids=["right", "wrong"])
def test_people_are_mostly_right_and_sometimes_fooled(right: bool, share: float) -> None:
    replies = [OnCall().answer(MONTHS, q, NOON, right=right) for q in range(4000)]
    given_ = [r.approves for r in replies if r is not None]
    assert np.mean(given_) == pytest.approx(share, abs=0.03)


def test_an_answer_belongs_to_its_question_and_its_seed() -> None:
    ask = OnCall().answer
    assert ask(MONTHS, 5, NOON, right=True) == ask(MONTHS, 5, NOON, right=True)
    assert ask(MONTHS, 5, NOON, right=True) != ask(MONTHS, 6, NOON, right=True)
    assert ask(MONTHS, 5, NOON, right=True) != ask(replace(MONTHS, seed=1), 5, NOON, right=True)


@pytest.mark.parametrize(
    ("hour_utc", "day"), [(5, False), (6, True), (20, True), (21, False)], ids=str
)
def test_day_is_from_seven_to_twenty_two_where_people_live(hour_utc: int, day: bool) -> None:
    assert OnCall().is_day(datetime(2026, 1, 7, hour_utc, 30, tzinfo=UTC)) is day


def test_repair_by_hand_takes_the_laws_hours_on_average_and_is_the_same_in_every_baseline() -> None:
    law = by_name()["gpu_off_bus"]
    faults = [TrueFault(id=i, law=law.name, at_s=0.0, nodes=(0,), luck=0.5) for i in range(4000)]
    taken = [manual_repair_s(MONTHS, law, f) for f in faults]
    assert taken == [manual_repair_s(MONTHS, law, f) for f in faults]
    assert np.mean(taken) == pytest.approx(law.manual_repair_h * 3600, rel=0.1)
