"""The fleet in two strings: each character says what the node's own view says, and no more than was
read (S10)."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from tests.core.policy_case import DEAD, UNKNOWN, Given, nodes

from watchkeeper.control.cells import cells_of, layout_of
from watchkeeper.control.fleet import node_views
from watchkeeper.control.traces import COLUMNS, FINE_S, KEPT_S, Traces
from watchkeeper.core.cells import NODE_STATES, Grouping, Shade
from watchkeeper.core.cluster import RayState
from watchkeeper.core.telemetry import GPU_FIELDS, Snapshot, SourceState

DRAINING = {"ray_state": RayState.DRAINING}
HIDDEN = {"hidden_gpus": (1,), "gpus": 7}


def seen(**given: object) -> Snapshot:
    """All GPUs answer, but for what is given."""
    snapshot = Given(**given)._snapshot()
    table = snapshot.frame.gpu.copy()
    table[:, :, GPU_FIELDS.index("present")] = 1.0
    return replace(snapshot, frame=replace(snapshot.frame, gpu=table))


def read(snapshot: Snapshot, name: str, value: float, node: int = 0, gpu: int = 0) -> Snapshot:
    """The same, where one GPU reads another value."""
    table = snapshot.frame.gpu.copy()
    table[node, gpu, GPU_FIELDS.index(name)] = value
    return replace(snapshot, frame=replace(snapshot.frame, gpu=table))


def cells(snapshot: Snapshot, shade: Shade = Shade.HEALTH, by: Grouping = Grouping.RACK):  # type: ignore[no-untyped-def]
    return cells_of(snapshot, (), {}, shade, by)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"nodes": nodes(train_01=DEAD)},
        {"nodes": nodes(train_01=UNKNOWN)},
        {"silent_s": 600.0},
        {"silent_s": float("nan")},
        {"nodes": nodes(train_01=DRAINING)},
        {"fenced": ("train-01",)},
        {"nodes": nodes(train_01=HIDDEN)},
    ],
    ids=["healthy", "dead", "unknown", "silent", "never", "draining", "cordoned", "hidden"],
)
@pytest.mark.parametrize("by", list(Grouping))
def test_s10_every_character_says_what_the_view_of_its_node_says(
    given: dict[str, object], by: Grouping
) -> None:
    snapshot = seen(**given)
    layout, drawn = layout_of(snapshot, by), cells(snapshot, by=by)
    assert drawn.key == layout.key
    names = [n for block in layout.blocks for n in block.n]
    counts = [g for block in layout.blocks for g in block.g]
    views = {v.name: v for v in node_views(snapshot, ())}
    assert sorted(names) == sorted(views)
    assert [NODE_STATES[views[n].state] for n in names] == list(drawn.s)
    assert sum(counts) == len(drawn.g)
    at = 0
    letters = {"failed": "f", "cordoned": "c", "hidden": "x", "silent": "q"}
    for name, count in zip(names, counts, strict=True):
        for gpu, c in zip(views[name].gpus, drawn.g[at : at + count], strict=True):
            shut = views[name].state in ("draining", "checking")
            expected = letters.get("cordoned" if shut and gpu.state == "ok" else gpu.state, "")
            assert c == expected if expected else c.isdigit() or c == "."
        at += count


def test_s10_without_ray_no_node_is_drawn_as_healthy() -> None:
    now = seen()
    blind = replace(now, sources={"ray": SourceState("ray", 60.0)})
    assert set(cells(blind).s) == {"u"}
    assert set(cells(blind).g) == {"q"}


@pytest.mark.parametrize(
    ("shade", "field", "value", "drawn"),
    [
        (Shade.UTILIZATION, "utilization_percent", 0.0, "0"),
        (Shade.UTILIZATION, "utilization_percent", 99.0, "9"),
        (Shade.UTILIZATION, "utilization_percent", float("nan"), "."),
        (Shade.UTILIZATION, "utilization_percent", 1e30, "9"),
        (Shade.TEMPERATURE, "temperature_celsius", 20.0, "0"),
        (Shade.TEMPERATURE, "temperature_celsius", 62.5, "5"),
        (Shade.TEMPERATURE, "temperature_celsius", float("nan"), "."),
        (Shade.POWER, "power_limit_watts", 0.0, "."),
        (Shade.HEALTH, "present", 0.0, "f"),
    ],
)
def test_a_cell_is_a_digit_where_something_was_read_and_a_dot_where_not(
    shade: Shade, field: str, value: float, drawn: str
) -> None:
    snapshot = read(seen(), field, value)
    names = [n for block in layout_of(snapshot, Grouping.RACK).blocks for n in block.n]
    first = names.index(snapshot.frame.nodes[0])
    assert cells(snapshot, shade).g[first * 8] == drawn


def test_a_forecast_that_was_not_made_is_drawn_as_not_known() -> None:
    assert set(cells(seen(), Shade.FORECAST).g) == {"."}


def test_the_key_changes_when_a_node_moves_and_not_when_it_falls_ill() -> None:
    now = seen()
    moved = dict(now.nodes)
    name = next(iter(moved))
    moved[name] = msgspec.structs.replace(moved[name], rack="r99")
    there = replace(now, state=msgspec.structs.replace(now.state, nodes=moved))
    assert layout_of(there, Grouping.RACK).key != layout_of(now, Grouping.RACK).key
    ill = seen(nodes=nodes(train_01=DEAD))
    assert layout_of(ill, Grouping.RACK).key == layout_of(now, Grouping.RACK).key


def test_an_hour_is_kept_and_no_more_and_what_was_not_read_is_none() -> None:
    traces, now = Traces(), seen()
    node = now.frame.nodes[0]
    for i in range(int(2 * KEPT_S / FINE_S)):
        traces.take(replace(now, steady=i * FINE_S))
        traces.take(replace(now, steady=i * FINE_S + 1))  # too soon: not kept
    last = i * FINE_S
    hour = traces.of(node, 9, last)
    assert len(hour.ago_s) == KEPT_S / FINE_S + 1
    assert hour.ago_s[0] == KEPT_S
    row = now.frame.gpu[0, 0, COLUMNS]
    for kept, value in zip((hour.utilization, hour.temperature, hour.power), row, strict=True):
        newest = kept[0][-1]
        assert (newest is None) if np.isnan(value) else newest == pytest.approx(value, rel=0.01)
    assert set(hour.power[8]) == {None}, "there is no ninth GPU"
    assert set(traces.of("nobody", 1, last).power[0]) == {None}
