"""Would a gang fit, and why does it wait?"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.core.cluster import ClusterState, Fence, Job, JobState, Node, RayState, World
from watchkeeper.core.telemetry import FleetFrame, Snapshot
from watchkeeper.placement.fit import Strategy, fits, nodes_needed, room, why_waits

AT = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)
PACK, SPREAD = Strategy.PACK, Strategy.SPREAD
STRICT_PACK, STRICT_SPREAD = Strategy.STRICT_PACK, Strategy.STRICT_SPREAD


@pytest.mark.parametrize(
    ("bundle", "free", "strategy", "count", "fit", "add"),
    [
        pytest.param(8, [8, 8], PACK, 2, True, 0, id="two whole nodes are free"),
        pytest.param(8, [8, 7], PACK, 2, False, 1, id="seven GPUs are not eight"),
        pytest.param(4, [8], PACK, 2, True, 0, id="two bundles share a node"),
        pytest.param(4, [8], STRICT_SPREAD, 2, False, 1, id="strictly spread, they may not"),
        pytest.param(4, [4, 4], STRICT_PACK, 2, False, 1, id="strictly packed, two halves fail"),
        pytest.param(4, [4, 4], STRICT_PACK, 3, False, None, id="larger than any node"),
        pytest.param(9, [8, 8], PACK, 1, False, None, id="one bundle larger than a node"),
        pytest.param(0.5, [1], SPREAD, 2, True, 0, id="halves of a GPU"),
        pytest.param(0.1, [0.3], PACK, 3, True, 0, id="floating point does not lose a slot"),
        pytest.param(2, [], SPREAD, 10, False, 3, id="an empty pool needs three nodes of eight"),
    ],
)
def test_what_fits_and_what_would_make_it_fit(
    bundle: float, free: list[float], strategy: Strategy, count: int, fit: bool, add: int | None
) -> None:
    assert fits(bundle, free, strategy, count) is fit
    assert nodes_needed(bundle, free, strategy, count, 8) == add


@given(
    bundle=st.sampled_from([0.5, 1, 2, 3, 4, 8]),
    free=st.lists(st.integers(0, 8), max_size=6),
    strategy=st.sampled_from(list(Strategy)),
    count=st.integers(1, 12),
)
def test_the_nodes_it_asks_for_are_enough_and_one_fewer_is_not(
    bundle: float, free: list[float], strategy: Strategy, count: int
) -> None:
    add = nodes_needed(bundle, free, strategy, count, 8)
    if add is None:
        assert not fits(bundle, [*free, *[8] * 50], strategy, count)
        return
    assert fits(bundle, [*free, *[8] * add], strategy, count)
    if add:
        assert not fits(bundle, [*free, *[8] * (add - 1)], strategy, count)


def node(name: str, free: float = 8, state: RayState = RayState.ALIVE, pool: str = "train") -> Node:
    return Node(
        name=name, incarnation=f"i-{name}", pool=pool, ray_state=state, ray_state_since=AT,
        gpus=8, gpus_free=free, control_path=name == "head",
    )  # fmt: skip


def waiting(gpus: float, bundle: float = 0.0) -> Job:
    return Job(
        name="llm", attempt_id="a1", state=JobState.WAITING, state_since=AT, pool="train",
        gpus=gpus, pending_gpus=gpus, pending_bundle_gpus=bundle,
    )  # fmt: skip


def snapshot(*nodes: Node, fenced: tuple[str, ...] = ()) -> Snapshot:
    fences = {n: Fence(name=f"wk-fence-{n}-1", node=n, token=1, held=8, wanted=8) for n in fenced}
    state = ClusterState(
        session="s", cluster="lab-x", world=World.LAB, read_at=AT,
        nodes={n.name: n for n in nodes}, fences=fences,
    )  # fmt: skip
    return Snapshot(at=AT, steady=0.0, state=state, frame=FleetFrame.empty(), sources={})


def test_a_waiting_gang_hears_what_is_free_and_which_node_is_out() -> None:
    seen = snapshot(node("train-01"), node("train-02"), fenced=("train-02",))
    assert why_waits(waiting(16, 8), seen) == (
        "llm needs 2 places with 8 free GPUs; 1 is free; train-02 is cordoned."
    )


def test_a_gang_larger_than_any_node_hears_that_it_can_never_start() -> None:
    assert why_waits(waiting(16), snapshot(node("train-01"))) == (
        "llm needs a place with 16 free GPUs; no node of train has more than 8 GPUs, "
        "so it can never start there."
    )


def test_a_gang_that_fits_hears_that_ray_should_start_it() -> None:
    assert why_waits(waiting(8, 4), snapshot(node("train-01"))).endswith(
        "2 are free, so Ray should start it soon."
    )


def test_a_long_list_of_nodes_that_are_out_is_cut_short() -> None:
    dead = [node(f"n-{i}", state=RayState.DEAD) for i in range(9)]
    said = why_waits(waiting(8, 8), snapshot(*dead))
    assert "none is free" in said
    assert "n-3 is dead; 5 more nodes are out." in said


def test_only_alive_unfenced_workers_of_the_pool_give_room() -> None:
    seen = snapshot(
        node("a", 3), node("b", state=RayState.UNKNOWN), node("c"), node("head"),
        node("d", pool="infer"), fenced=("c",),
    )  # fmt: skip
    assert room(seen, "train") == {"a": 3}
    assert room(seen, "") == {"a": 3, "d": 8}
