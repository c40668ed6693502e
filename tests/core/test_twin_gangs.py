"""A gang's arithmetic: every second is booked once, and reading changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.core.cluster import JobState
from watchkeeper.twin.gangs import FULL, Gang, Pace, cycle


def gang(every_s: float = 100.0, cost_s: float = 10.0, restart_s: float = 50.0) -> Gang:
    return Gang(
        name="g",
        pool="train",
        width=1,
        gpus=8.0,
        every_s=every_s,
        cost_s=cost_s,
        restart_s=restart_s,
        step_s=1.0,
    )


def booked(g: Gang) -> float:
    return g.useful + sum(g.lost.values())


@pytest.mark.parametrize(
    ("phase", "dt", "worked", "count", "rest"),
    [
        (0.0, 60.0, 60.0, 0, 60.0),
        (0.0, 105.0, 100.0, 0, 105.0),
        (0.0, 110.0, 100.0, 1, 0.0),
        (90.0, 30.0, 20.0, 1, 10.0),
        (105.0, 5.0, 0.0, 1, 0.0),
        (0.0, 1105.0, 1005.0, 10, 5.0),
    ],
    ids=["works", "writes", "one-whole", "over-the-end", "writes-on", "ten"],
)
def test_the_rhythm_of_work_and_checkpoint(
    phase: float, dt: float, worked: float, count: int, rest: float
) -> None:
    assert cycle(phase, dt, 100.0, 10.0) == pytest.approx((worked, count, rest))


def test_a_stop_loses_what_came_since_the_checkpoint_and_a_restart_costs_its_time() -> None:
    g = gang()
    g.stop(240.0, JobState.STOPPED)  # two cycles of 110 s, then 20 s of work
    assert (g.useful, g.lost["redo"], g.lost["checkpoint"]) == pytest.approx((200.0, 20.0, 20.0))
    g.start(300.0)
    g.settle(400.0)
    assert (g.lost["stopped"], g.lost["restart"]) == pytest.approx((60.0, 50.0))
    assert (g.useful, g.attempt, g.done) == (pytest.approx(250.0), 2, pytest.approx(250.0))


def test_a_checkpoint_that_was_not_whole_saves_nothing() -> None:
    g = gang()
    g.stop(109.0, JobState.STOPPED)
    assert g.lost["redo"] == pytest.approx(100.0)
    assert g.useful == 0.0


def test_a_hang_makes_no_steps_and_goes_on_where_it_stood() -> None:
    g = gang()
    g.set_pace(Pace(0.0, "hang"), 50.0)
    assert g.seen(80.0)[:2] == (50.0, 50.0)
    g.set_pace(FULL, 80.0)
    g.settle(100.0)
    assert (g.done, g.lost["hang"], g.useful) == pytest.approx((70.0, 30.0, 70.0))


def test_a_straggler_holds_all_back() -> None:
    g = gang()
    g.set_pace(Pace(0.6, "slow"), 0.0)
    g.settle(50.0)
    assert (g.done, g.lost["slow"]) == pytest.approx((30.0, 20.0))


def test_steps_on_a_corrupt_state_are_worthless_until_it_goes_back_to_before() -> None:
    g = gang()
    g.taint(150.0)  # the checkpoint at 110 is clean; 40 s of work came after it
    g.settle(400.0)
    assert g.kept > g.clean
    g.known = True
    g.stop(400.0, JobState.STOPPED)
    g.start(400.0)
    assert (g.useful, g.lost["redo"], g.kept) == pytest.approx((100.0, 40.0, 100.0))
    assert g.lost["taint"] > 0
    assert not g.tainted
    assert booked(g) == pytest.approx(400.0)


def test_a_corrupt_state_that_nobody_noticed_goes_on_from_its_corrupt_checkpoint() -> None:
    g = gang()
    g.taint(150.0)
    g.stop(400.0, JobState.STOPPED)
    g.start(400.0)
    assert g.tainted
    assert g.kept > g.clean
    useful = g.useful
    g.settle(600.0)
    assert g.useful == useful


def test_asked_for_a_checkpoint_before_a_time_it_takes_none_later() -> None:
    g = gang()
    g.stop(345.0, JobState.STOPPED)  # checkpoints at 110, 220, 330
    g.go_back(before_s=220.0)
    assert g.kept_s == pytest.approx(110.0)
    g.start(345.0)
    assert (g.useful, g.done) == pytest.approx((100.0, 100.0))
    assert booked(g) == pytest.approx(345.0)


def test_a_checkpoint_asked_for_is_whole_after_its_cost() -> None:
    g = gang()
    whole = g.begin_checkpoint(40.0)
    assert whole == pytest.approx(50.0)
    g.stop(whole + 0.001, JobState.WAITING)
    assert g.useful == pytest.approx(40.0)
    assert g.lost["redo"] == pytest.approx(0.0, abs=0.01)


EVENTS = st.sampled_from(["stop", "start", "wait", "hang", "slow", "full", "taint", "know", "back"])


@given(
    events=st.lists(st.tuples(EVENTS, st.floats(0.0, 500.0)), max_size=40),
    looks=st.lists(st.floats(0.0, 500.0), max_size=5),
)
def test_every_second_is_booked_once_whatever_happens_and_looking_changes_nothing(
    events: list[tuple[str, float]], looks: list[float]
) -> None:
    g, now = gang(), 0.0
    for what, after in events:
        for look in looks:
            done, _, kept, _ = g.seen(now + look)
            assert kept <= done + 1e-6 or not g.running
            later = g.copy()
            later.settle(now + look)
            assert later.done == pytest.approx(done)
        now += after
        _happen(g, what, now)
        assert booked(g) == pytest.approx(now, abs=1e-6)
        assert g.useful >= -1e-6
        assert g.unsaved <= g.useful + 1e-6


def _happen(g: Gang, what: str, now: float) -> None:
    g.settle(now)
    if what == "stop" and g.running:
        g.stop(now, JobState.STOPPED)
    elif what == "start" and not g.running:
        g.start(now)
    elif what == "wait" and g.state is JobState.STOPPED:
        g.wait(now)
    elif what in ("hang", "slow", "full") and g.running:
        g.set_pace({"hang": Pace(0.0, "hang"), "slow": Pace(0.5), "full": FULL}[what], now)
    elif what == "taint" and g.running:
        g.taint(now)
    elif what == "know" and g.tainted:
        g.known = True
    elif what == "back" and g.state is JobState.STOPPED:
        g.go_back(now / 2)


@pytest.mark.parametrize(
    ("from_s", "to_s", "nodes"),
    [
        (0.0, 99.0, {1, 2}),
        (50.0, 100.0, {1, 2, 3}),
        (100.0, 100.0, {2, 3}),
        (150.0, 900.0, {2, 3, 4}),
        (200.0, 900.0, {3, 4}),
    ],
    ids=["before", "across", "from-the-move-on", "the-second-move", "the-last"],
)
def test_where_a_gang_stood_is_told_of_any_span(
    from_s: float, to_s: float, nodes: set[int]
) -> None:
    g = gang()
    for at_s, there in ((0.0, [1, 2]), (100.0, [2, 3]), (150.0, [2, 3]), (200.0, [3, 4])):
        g.move(there, at_s)
    assert g.stood_on(from_s, to_s) == nodes
    assert g.nodes == [3, 4]
