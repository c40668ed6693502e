"""Power feeds: nobody is slowed on a guess, and those first whom it harms least."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.capacity_case import gang, node, seen

from watchkeeper.capacity.power import STEP_W, _cap, _Group, loads, release, shed
from watchkeeper.core.action import GpuPowerCap
from watchkeeper.core.cluster import Job, Node
from watchkeeper.core.money import FeedOrder
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot

FEED = FeedOrder(feed="f", limit_w=10_000.0, act_share=0.9, least_w=300.0)
POWER = GPU_FIELDS.index("power_watts")


def on_feed(watts: dict[str, float], *gangs: Job, free: float = 0.0) -> Snapshot:
    """Nodes of 8 GPUs on feed f, each GPU drawing so much; NaN is silent."""
    nodes = [node(name, free=free, power_feed="f") for name in watts]
    found = seen(0, *nodes, *gangs, watts=0.0)
    for name, each in watts.items():
        found.frame.gpu[found.frame.row[name], :, POWER] = each
    return found


def test_a_feed_carries_what_its_gpus_draw() -> None:
    (load,) = loads(on_feed({"a": 600.0, "b": 500.0}), {"f": FEED})
    assert (load.draw_w, load.over_w, load.silent) == (8800.0, 0.0, ())


def test_one_silent_node_makes_the_draw_unknown_and_nothing_is_capped() -> None:
    snapshot = on_feed({"a": 700.0, "b": float("nan")})
    (load,) = loads(snapshot, {"f": FEED})
    assert (load.draw_w, load.over_w, load.silent) == (None, 0.0, ("b",))
    assert shed(snapshot, FEED) is None


def test_a_feed_without_nodes_is_unknown() -> None:
    (load,) = loads(seen(0, node("a"), watts=700.0), {"f": FEED})
    assert load.draw_w is None


def test_below_its_mark_nothing_is_capped() -> None:
    assert shed(on_feed({"a": 600.0, "b": 500.0}), FEED) is None


def test_the_least_important_gang_is_slowed_first_and_no_deeper_than_needed() -> None:
    gangs = (gang("vip", "t", 8, "a", priority=9), gang("low", "t", 8, "b", priority=1))
    found = shed(on_feed({"a": 600.0, "b": 600.0}, *gangs), FEED)
    assert found is not None
    assert {(c.node, c.gang) for c in found.caps} == {("b", "low")}
    assert len(found.caps) == 8  # a gang goes at the pace of its slowest, so all of it alike
    # 9,600 W, to 9,000 W and 200 W more: 800 W of 8 GPUs.
    assert {c.watts for c in found.caps} == {500.0}
    assert found.enough
    assert found.sheds_w == 800.0
    assert found.says == (
        "The feed f carries 9,600 W of 10,000 W; policy acts at 90%. Capping 8 GPUs sheds 800 W. "
        "This slows low."
    )


def test_gpus_of_nobody_come_before_every_gang() -> None:
    snapshot = on_feed({"a": 700.0, "b": 500.0}, gang("g", "t", 8, "a"))
    nodes = {**snapshot.nodes, "b": msgspec.structs.replace(snapshot.nodes["b"], gpus_free=8.0)}
    state = msgspec.structs.replace(snapshot.state, nodes=nodes)
    found = shed(_with(snapshot, state), FEED)
    assert found is not None
    assert {c.node for c in found.caps} == {"b"}
    assert "No gang is slowed." in found.says


def _with(snapshot: Snapshot, state: object) -> Snapshot:
    from dataclasses import replace

    return replace(snapshot, state=state)  # type: ignore[arg-type]


def test_no_gpu_is_capped_below_the_least_and_what_remains_is_told() -> None:
    tight = FeedOrder(feed="f", limit_w=4000.0, act_share=0.9, least_w=300.0)
    found = shed(on_feed({"a": 500.0, "b": 500.0}), tight)
    assert found is not None
    assert {c.watts for c in found.caps} == {300.0}
    assert not found.enough
    assert "That is not enough: 1,200 W remain." in found.says


def test_gpus_that_are_capped_already_are_not_capped_again() -> None:
    snapshot = on_feed({"a": 700.0, "b": 700.0})
    limit = GPU_FIELDS.index("power_limit_watts")
    snapshot.frame.gpu[snapshot.frame.row["a"], :, limit] = 300.0
    found = shed(snapshot, FEED)
    assert found is not None
    assert {c.node for c in found.caps} == {"b"}


def test_each_cap_is_an_action_that_can_be_asked_for() -> None:
    found = shed(on_feed({"a": 700.0, "b": 700.0}), FEED)
    assert found is not None
    for cap in found.caps:
        GpuPowerCap(node=cap.node, incarnation=cap.incarnation, gpu=cap.gpu, watts=cap.watts)


@settings(max_examples=60, deadline=None)
@given(
    watts=st.lists(st.floats(301, 700), min_size=1, max_size=12),
    wanted=st.floats(1, 3000),
)
def test_one_cap_for_all_sheds_what_is_wanted_or_all_that_can_be(
    watts: list[float], wanted: float
) -> None:
    some: Node = node("a", gpus=len(watts))
    group = _Group("g", tuple((some, i) for i in range(len(watts))), np.array(watts))
    caps, saved = _cap(group, 300.0, wanted)
    possible = sum(w - 300.0 for w in watts)
    assert saved >= min(wanted, possible) - 1e-6
    assert saved <= wanted + STEP_W * len(watts) + 1e-6
    assert {c.watts for c in caps} <= {next(iter(caps)).watts} if caps else wanted < 1e-6
    assert saved == pytest.approx(sum(c.draws_w - c.watts for c in caps), abs=0.1 * len(watts))


# Caps that are taken back.

CALM = msgspec.structs.replace(FEED, full_w=600.0)
OURS = frozenset(("a", gpu) for gpu in range(8))


def capped(watts: float, *, others: float = 300.0) -> Snapshot:
    """Node a is capped to and draws so much; node b draws `others`."""
    snapshot = on_feed({"a": watts, "b": others}, gang("g", "t", 8, "a"))
    snapshot.frame.gpu[snapshot.frame.row["a"], :, LIMIT] = watts
    snapshot.frame.gpu[snapshot.frame.row["b"], :, LIMIT] = 700.0
    return snapshot


LIMIT = GPU_FIELDS.index("power_limit_watts")


def test_caps_of_ours_are_taken_back_when_all_they_may_draw_has_room() -> None:
    found = release(capped(400.0), CALM, OURS)  # 5,600 W; 1,600 more are 7,200 of 8,500
    assert [(c.node, c.gpu, c.watts) for c in found] == [("a", gpu, 600.0) for gpu in range(8)]


def test_as_many_as_there_is_room_for_and_no_more() -> None:
    found = release(capped(400.0, others=600.0), CALM, OURS)  # 8,000 W: room for two times 200
    assert len(found) == 2
    assert release(capped(400.0, others=650.0), CALM, OURS) == ()


@pytest.mark.parametrize(
    ("snapshot", "order", "ours"),
    [
        pytest.param(capped(400.0), FEED, OURS, id="policy names no full power"),
        pytest.param(capped(400.0), CALM, frozenset(), id="somebody else set the cap"),
        pytest.param(capped(400.0, others=float("nan")), CALM, OURS, id="the load is unknown"),
        pytest.param(capped(600.0), CALM, OURS, id="it is not capped any more"),
    ],
)
def test_a_cap_stays_where(
    snapshot: Snapshot, order: FeedOrder, ours: frozenset[tuple[str, int]]
) -> None:
    assert release(snapshot, order, ours) == ()


@settings(max_examples=40, deadline=None)
@given(low=st.floats(200, 600), others=st.floats(100, 700))
def test_what_is_given_back_never_calls_for_a_new_cap(low: float, others: float) -> None:
    back = release(capped(low, others=others), CALM, OURS)
    after = capped(low, others=others)
    for each in back:
        row = after.frame.row[each.node]
        after.frame.gpu[row, each.gpu, POWER] = each.watts
        after.frame.gpu[row, each.gpu, LIMIT] = each.watts
    if back:
        assert shed(after, CALM) is None
