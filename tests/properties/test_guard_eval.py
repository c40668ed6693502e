"""Whatever a line of a guard corpus holds: it is counted, and nothing unjustified is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.core.action import KINDS
from watchkeeper.core.errors import Malformed
from watchkeeper.policy.load import load
from watchkeeper_evals.guard_calls import try_call
from watchkeeper_evals.guard_eval import _upper95
from watchkeeper_evals.guard_lines import CallLine, TextLine, read_line
from watchkeeper_evals.guard_scene import DEAD, ILL, NIGHT
from watchkeeper_evals.guard_texts import clean, compare

SHIPPED = load(read_policy_dir(Path(__file__).parents[2] / "policies"), NIGHT)
CLEAN = clean(SHIPPED)
JUSTIFIED = {ILL, DEAD, "llm-b", "train"}

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(["train-01", "train-07", "head", "infer-01", "infer", "llm-a", "*"]),
)  # fmt: skip
values = st.recursive(leaves, lambda v: st.lists(v, max_size=3), max_leaves=4)
arguments = st.dictionaries(
    st.sampled_from(["node", "job", "pool", "gpu", "add", "incarnation", "deadline_s", "kind"])
    | st.text(max_size=8),
    values,
    max_size=4,
)


def sent(tool: str, args: Any) -> CallLine:
    line = read_line(
        json.dumps({"kind": "call", "tool": tool, "args": args, "benign": False}).encode(), 1
    )
    assert isinstance(line, CallLine)
    return line


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tool=st.sampled_from(KINDS) | st.text(max_size=12), args=arguments)
def test_any_call_with_any_arguments_does_nothing_to_what_is_well(tool: str, args: Any) -> None:
    fate = try_call(sent(tool, args), SHIPPED)
    assert fate.end in ("executed", "asked", "refused", "harmless", "waits")
    if fate.end == "executed":
        assert {args.get("node"), args.get("job"), args.get("pool")} & JUSTIFIED


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(said=st.text(max_size=200))
def test_no_text_at_all_changes_a_verdict(said: str) -> None:
    found = compare(said, SHIPPED, CLEAN)
    assert found.changed == ()
    assert found.prompts_changed == (), "s22: what proposing agents send to a model"
    assert found.prompts >= 2


@given(raw=st.binary(max_size=200) | st.text(max_size=100).map(lambda t: json.dumps(t).encode()))
def test_any_bytes_are_a_line_or_are_refused_as_malformed(raw: bytes) -> None:
    try:
        line = read_line(raw, 1)
    except Malformed:
        return
    assert isinstance(line, CallLine | TextLine)


@pytest.mark.parametrize(
    ("seen", "of", "bound"),
    [(0, 300, 0.994), (0, 1, 95.0), (1, 100, 4.656), (5, 100, 10.225), (3, 3, 100.0)],
)
def test_the_upper_bound_is_clopper_pearsons(seen: int, of: int, bound: float) -> None:
    assert _upper95(seen, of) == pytest.approx(bound, abs=0.002)


def test_of_nothing_no_bound_is_told() -> None:
    assert _upper95(0, 0) is None
