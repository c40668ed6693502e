"""Whose turn it is: priority, quotas with borrowing, fair share, reservations and backfill."""

from __future__ import annotations

import pytest

from watchkeeper.placement.engine import Engine
from watchkeeper.placement.fleet import Fleet, Machine
from watchkeeper.placement.queue import Queue
from watchkeeper.placement.reserve import reserve
from watchkeeper.placement.running import Running
from watchkeeper.placement.share import Quota, Shares
from watchkeeper.placement.words import Gang, Piece

GPU8 = Piece(gpus=8)
HOUR = 3600.0


def engine(nodes: int) -> Engine:
    return Engine(Fleet(Machine(f"n{n}", gpus=8, rack="r0") for n in range(nodes)))


def started(queue: Queue, now: float) -> list[str]:
    return [placement.gang.name for placement in queue.admit(now)]


def test_priority_goes_first_and_then_who_came_first() -> None:
    queue = Queue(engine(2))
    for name, priority in (("early", 0), ("late", 0), ("urgent", 5)):
        queue.add(Gang(name, GPU8, priority=priority), 0.0)
    assert started(queue, 0.0) == ["urgent", "early"]
    assert list(queue.waiting) == ["late"]


def test_a_tenant_within_its_quota_goes_before_one_that_borrows() -> None:
    shares = Shares([Quota("owner", 16.0), Quota("guest", 0.0)])
    queue = Queue(engine(1), shares)
    queue.add(Gang("g", GPU8, tenant="guest"), 0.0)
    queue.add(Gang("o", GPU8, tenant="owner"), 1.0)
    assert started(queue, 1.0) == ["o"]


def test_idle_quota_may_be_borrowed_up_to_the_most_that_is_allowed() -> None:
    shares = Shares([Quota("guest", 8.0, most=16.0)])
    queue = Queue(engine(4), shares)
    for n in range(4):
        queue.add(Gang(f"g{n}", GPU8, tenant="guest"), 0.0)
    assert started(queue, 0.0) == ["g0", "g1"]
    assert shares.borrowed("guest") == 8.0


def test_what_comes_free_in_one_go_is_shared_between_tenants() -> None:
    queue = Queue(engine(4))
    for n in range(4):
        queue.add(Gang(f"red{n}", GPU8, tenant="red"), 0.0)
    for n in range(4):
        queue.add(Gang(f"blue{n}", GPU8, tenant="blue"), 1.0)
    assert sorted(name[:-1] for name in started(queue, 2.0)) == ["blue", "blue", "red", "red"]


def test_use_long_ago_counts_less_than_use_of_late() -> None:
    shares = Shares(half_life_s=HOUR)
    queue = Queue(engine(1), shares)
    queue.add(Gang("old", GPU8, tenant="red"), 0.0)
    queue.admit(0.0)
    queue.finish("old", 2 * HOUR)
    queue.add(Gang("new", GPU8, tenant="blue"), 10 * HOUR)
    queue.admit(10 * HOUR)
    queue.finish("new", 11 * HOUR)
    assert shares.used("red", 11 * HOUR) < shares.used("blue", 11 * HOUR)
    queue.add(Gang("b", GPU8, tenant="blue"), 11 * HOUR)
    queue.add(Gang("r", GPU8, tenant="red"), 11 * HOUR + 1)
    assert started(queue, 11 * HOUR + 1) == ["r"]


def test_the_share_of_a_heavier_tenant_counts_less() -> None:
    shares = Shares([Quota("big", 0.0, weight=4.0), Quota("small", 0.0)])
    queue = Queue(engine(5), shares)
    for n in range(5):
        queue.add(Gang(f"small{n}", GPU8, tenant="small"), 0.0)
        queue.add(Gang(f"big{n}", GPU8, tenant="big"), 0.0)
    assert sorted(name[:-1] for name in started(queue, 0.0)).count("big") == 4


def test_only_work_that_ends_in_time_passes_a_gang_with_a_reservation() -> None:
    queue = Queue(engine(2))
    queue.add(Gang("first", GPU8, runtime_s=2 * HOUR), 0.0)
    assert started(queue, 0.0) == ["first"]
    queue.add(Gang("large", GPU8, 2, runtime_s=HOUR), 1.0)
    assert started(queue, 1.0) == []
    assert queue.reservation is not None
    assert queue.reservation.at == 2 * HOUR
    queue.add(Gang("long", GPU8, runtime_s=3 * HOUR), 2.0)
    queue.add(Gang("unknown", GPU8), 2.0)
    queue.add(Gang("short", GPU8, runtime_s=HOUR), 2.0)
    assert started(queue, 2.0) == ["short"]
    queue.finish("short", HOUR)
    queue.finish("first", 2 * HOUR)
    assert started(queue, 2 * HOUR) == ["large"]


def test_an_elastic_gang_grows_back_when_nobody_waits() -> None:
    queue = Queue(engine(3))
    queue.add(Gang("e", GPU8, 3, least=1), 0.0)
    queue.admit(0.0)
    queue.shrink("e", 2, 10.0)
    queue.add(Gang("guest", GPU8), 20.0)
    assert started(queue, 20.0) == ["guest"]
    queue.finish("guest", 30.0)
    queue.admit(30.0)
    assert len(queue.running["e"].placement.seats) == 3
    assert queue.shares.held("") == 24.0


@pytest.mark.parametrize(
    ("waits", "grows"),
    [
        pytest.param(Gang("w", GPU8, 9), True, id="one that fits nowhere stands in nobody's way"),
        pytest.param(Gang("w", GPU8, tenant="red"), True, id="nor one at its tenant's limit"),
        pytest.param(Gang("w", GPU8, 3), False, id="one that could start when others end does"),
    ],
)
def test_room_is_left_only_for_those_who_could_use_it(waits: Gang, grows: bool) -> None:
    queue = Queue(engine(3), Shares([Quota("red", 0.0, most=0.0)]))
    queue.add(Gang("e", GPU8, 3, least=1), 0.0)
    queue.admit(0.0)
    queue.shrink("e", 2, 10.0)
    queue.add(waits, 20.0)
    assert started(queue, 20.0) == []
    assert (len(queue.running["e"].placement.seats) == 3) is grows


def test_a_failed_shape_is_tried_again_only_when_something_was_given_back() -> None:
    queue = Queue(engine(1))
    queue.add(Gang("a", GPU8), 0.0)
    queue.admit(0.0)
    queue.add(Gang("b", GPU8), 1.0)
    assert started(queue, 1.0) == []
    assert started(queue, 2.0) == []
    queue.finish("a", 3.0)
    assert started(queue, 3.0) == ["b"]
    assert not queue.waiting


def test_a_node_that_comes_back_is_noticed() -> None:
    only = engine(1)
    only.fleet.mark("n0", closed=True)
    queue = Queue(only)
    queue.add(Gang("a", GPU8), 0.0)
    assert started(queue, 0.0) == []
    only.fleet.mark("n0", closed=False)
    assert started(queue, 1.0) == ["a"]


def test_a_gang_that_gives_up_holds_no_reservation() -> None:
    queue = Queue(engine(2))
    queue.add(Gang("run", GPU8, runtime_s=HOUR), 0.0)
    queue.admit(0.0)
    queue.add(Gang("large", GPU8, 2), 0.0)
    queue.admit(0.0)
    assert queue.reservation is not None
    queue.cancel("large")
    queue.add(Gang("long", GPU8, runtime_s=100 * HOUR), 1.0)
    assert started(queue, 1.0) == ["long"]


def test_the_queue_says_why_each_gang_waits() -> None:
    queue = Queue(engine(2), Shares([Quota("red", 0.0, most=8.0)]))
    queue.add(Gang("run", GPU8, tenant="red", runtime_s=HOUR), 0.0)
    queue.admit(0.0)
    queue.add(Gang("large", GPU8, 2, priority=1), 0.0)
    queue.add(Gang("red", GPU8, tenant="red"), 0.0)
    queue.add(Gang("next", GPU8, runtime_s=2 * HOUR), 0.0)
    queue.admit(0.0)
    assert queue.why("large", 0.0).endswith("earliest 01:00, when run ends.")
    assert queue.why("red", 0.0).endswith("tenant red holds 8 GPUs and may hold 8.")
    assert queue.why("next", 0.0).endswith("the room there is, is kept for large.")


def test_a_gang_that_can_never_start_keeps_nothing_from_the_next() -> None:
    queue = Queue(engine(2))
    queue.add(Gang("run", GPU8, runtime_s=HOUR), 0.0)
    queue.admit(0.0)
    queue.add(Gang("never", GPU8, 9), 0.0)
    queue.add(Gang("large", GPU8, 2), 0.0)
    queue.admit(0.0)
    assert queue.reservation is not None
    assert queue.reservation.gang.name == "large"


@pytest.mark.parametrize(
    ("count", "at", "after"),
    [
        pytest.param(1, 1000.0, "g0", id="the first to end is enough"),
        pytest.param(2, 2000.0, "g1", id="the second makes two"),
        pytest.param(3, 3000.0, "g2", id="all three"),
        pytest.param(4, None, "", id="the fourth runs without an estimate"),
    ],
)
def test_the_earliest_start_is_when_enough_has_ended(
    count: int, at: float | None, after: str
) -> None:
    full = engine(4)
    running = []
    for n in range(4):
        gang = Gang(f"g{n}", GPU8, runtime_s=1000.0 * (n + 1) if n < 3 else None)
        placed = full.place(gang)
        assert placed is not None
        running.append(Running(placed, 0.0))
    found = reserve(full, Gang("a", GPU8, count), running, 0.0)
    assert (found and found.at) == at
    if found:
        assert found.after == after
        assert int(found.rows.sum()) == count


def test_work_that_outlives_its_estimate_is_expected_to_go_on() -> None:
    full = engine(1)
    placed = full.place(Gang("g", GPU8, runtime_s=1000.0))
    assert placed is not None
    assert Running(placed, 0.0).ends(5000.0) == 5100.0


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"gpus": -1.0}, id="fewer than none"),
        pytest.param({"gpus": 8.0, "most": 4.0}, id="most below its own"),
        pytest.param({"gpus": 8.0, "weight": 0.0}, id="no weight"),
    ],
)
def test_quotas_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="t:"):
        Quota("t", **wrong)
