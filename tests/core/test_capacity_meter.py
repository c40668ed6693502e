"""The meter: each GPU of a pool is in exactly one use, and what nobody saw is nobody's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.capacity_case import fence, gang, node, seen

from watchkeeper.capacity.meter import MOST_TENANTS, OTHERS, Meter, read
from watchkeeper.core.cluster import Fence, Job, JobState, Node, RayState, World
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.usage import UsageRecord

Thing = Node | Job | Fence


def uses(*things: Thing, **more: object) -> dict[str, float]:
    reading = read(seen(0, *things, **more))  # type: ignore[arg-type]
    assert reading is not None
    return {use: gpus for (_, use), gpus in reading.gpus.items()}


WAITS = gang("w", "b", 0.0, state=JobState.WAITING, pending_gpus=8.0, pending_bundle_gpus=4.0)


@pytest.mark.parametrize(
    ("things", "expected"),
    [
        pytest.param((node("a"),), {"idle": 8}, id="a free node is idle"),
        pytest.param(
            (node("a", free=0), gang("g", "t", 8, "a")), {"held": 8}, id="a gang holds its GPUs"
        ),
        pytest.param(
            (node("a", free=2), gang("g", "t", 4, "a")),
            {"held": 4, "unnamed": 2, "idle": 2},
            id="work that is no gang is told apart",
        ),
        pytest.param(
            (node("a", free=4), gang("g", "t", 16, "a")),
            {"held": 4, "idle": 4},
            id="a gang holds no more than Ray says is in use",
        ),
        pytest.param(
            (node("a", free=3), node("b", free=4), gang("g", "t", 9, "a", "b"), WAITS),
            {"held": 9, "idle": 4, "fragment": 3},
            id="free GPUs that what waits does not fit on are fragments",
        ),
        pytest.param(
            (node("a", free=3), gang("g", "t", 5, "a")),
            {"held": 5, "idle": 3},
            id="and while nothing waits they are idle",
        ),
        pytest.param(
            (node("a", free=1), fence("a", 3), gang("g", "t", 4, "a")),
            {"held": 4, "fenced": 4},
            id="behind a fence what is free serves nobody",
        ),
        pytest.param(
            (node("a", free=7, hidden_gpus=(3,)),),
            {"idle": 7, "fenced": 1},
            id="a quarantined GPU is fenced",
        ),
        pytest.param((node("a", free=0, state=RayState.DEAD),), {"out": 8}, id="a dead node"),
        pytest.param(
            (node("a", free=6, state=RayState.DRAINING), gang("g", "t", 2, "a")),
            {"held": 2, "out": 6},
            id="a draining node takes nothing new",
        ),
        pytest.param(
            (node("a", free=5, state=RayState.UNKNOWN),), {"unknown": 8}, id="an unknown node"
        ),
        pytest.param((node("a", control_path=True),), {}, id="the head is no worker"),
    ],
)
def test_each_gpu_is_in_one_use(things: tuple[Thing, ...], expected: dict[str, float]) -> None:
    assert uses(*things) == expected


def test_a_node_of_the_twin_does_not_count_what_it_hides() -> None:
    hiding = node("a", gpus=7, free=7, hidden_gpus=(3,))
    assert uses(hiding, world=World.TWIN) == {"idle": 7, "fenced": 1}


def test_gpus_are_divided_among_tenants_as_their_gangs_ask() -> None:
    gangs = (gang("g", "red", 6, "a"), gang("h", "blue", 2, "a"), gang("i", "", 8, "b"))
    reading = read(seen(0, node("a", free=0), node("b", free=0), *gangs))
    assert reading is not None
    told = {("train", "red"): 6.0, ("train", "blue"): 2.0, ("train", ""): 8.0}
    assert reading.tenants == told


states = st.sampled_from(list(RayState))


@settings(max_examples=60, deadline=None)
@given(
    nodes=st.lists(
        st.tuples(st.integers(0, 8), states, st.integers(0, 8), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    gangs=st.lists(st.tuples(st.sampled_from(["red", "blue", ""]), st.floats(0.5, 40)), max_size=4),
    waits=st.booleans(),
)
def test_all_uses_add_up_to_all_gpus_whatever_ray_says(
    nodes: list[tuple[int, RayState, int, bool]], gangs: list[tuple[str, float]], waits: bool
) -> None:
    things: list[Thing] = [WAITS] if waits else []
    for i, (free, state, held, fenced) in enumerate(nodes):
        things.append(node(f"n{i}", free=float(free), state=state))
        things += [fence(f"n{i}", held)] if fenced else []
    things += [gang(f"g{i}", tenant, gpus, "n0") for i, (tenant, gpus) in enumerate(gangs)]
    reading = read(seen(0, *things))
    assert reading is not None
    assert sum(reading.gpus.values()) == pytest.approx(8.0 * len(nodes))
    held = reading.gpus.get(("train", "held"), 0.0)
    assert sum(reading.tenants.values()) == pytest.approx(held)


BUSY = (node("a", free=4), gang("g", "red", 4, "a"))


def metered(*looks: Snapshot) -> list[UsageRecord]:
    meter = Meter()
    return [r for look in looks if (r := meter.look(look)) is not None]


def test_a_quarter_of_an_hour_makes_one_record() -> None:
    looks = [seen(float(s), *BUSY, watts=500.0) for s in range(0, 901, 60)]
    (record,) = metered(*looks)
    assert (record.last - record.first).total_seconds() == record.known_s == 900
    assert record.gpu_hours == {"train": {"held": 1.0, "idle": 1.0}}
    assert record.tenants == {"train": {"red": 1.0}}
    assert record.energy_kwh == {"train": 1.0}  # 8 GPUs of 500 W for a quarter of an hour


def test_the_next_record_begins_where_the_last_one_ended() -> None:
    looks = [seen(float(s), *BUSY) for s in range(0, 1801, 60)]
    first, second = metered(*looks)
    assert first.last == second.first
    assert first.gpu_hours == second.gpu_hours


def test_looks_that_follow_too_soon_change_nothing() -> None:
    few = metered(*[seen(float(s), *BUSY) for s in range(0, 901, 30)])
    many = metered(*[seen(float(s), *BUSY) for s in range(0, 901, 1)])
    assert few == many


def test_time_that_nobody_watched_is_unknown_and_nobodys() -> None:
    (record,) = metered(seen(0, *BUSY), seen(60, *BUSY), seen(840, *BUSY), seen(900, *BUSY))
    assert record.known_s == 120
    assert record.gpu_hours["train"]["held"] == pytest.approx(4 * 120 / 3600, abs=1e-6)


def test_while_ray_is_silent_nothing_is_counted() -> None:
    stale = [seen(float(s), *BUSY, ray_age_s=300.0) for s in range(60, 841, 60)]
    (record,) = metered(seen(0, *BUSY), *stale, seen(900, *BUSY))
    assert record.known_s == 60


def test_energy_is_unknown_where_gpus_were_silent_once() -> None:
    looks = [seen(float(s), *BUSY, watts=None if s == 300 else 500.0) for s in range(0, 901, 60)]
    (record,) = metered(*looks)
    assert record.energy_kwh == {"train": None}
    assert record.gpu_hours["train"]["held"] == 1.0


def test_a_clock_that_is_put_back_counts_nothing_twice() -> None:
    meter = Meter()
    meter.look(seen(0, *BUSY))
    meter.look(seen(60, *BUSY))
    record = meter.close(seen(60, *BUSY))
    assert record is not None
    assert record.known_s == 60
    assert meter.close(seen(60, *BUSY)) is None


def test_many_tenants_make_no_long_line() -> None:
    gangs = [gang(f"g{i}", f"t{i:03}", 1.0 + i / 1000, "a") for i in range(MOST_TENANTS + 50)]
    wide = node("a", gpus=256, free=0)
    looks = [seen(float(s), wide, *gangs) for s in (0, 60, 120, 180, 240)]
    meter = Meter()
    for look in looks:
        meter.look(look)
    record = meter.close(looks[-1])
    assert record is not None
    told = record.tenants["train"]
    assert len(told) == MOST_TENANTS + 1
    assert sum(told.values()) == pytest.approx(record.gpu_hours["train"]["held"], abs=1e-3)
    assert told[OTHERS] > 0
    assert "t149" in told  # the largest
