"""The closed set of actions: what parses, what is refused, and how each is said."""

import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.core import action as a
from watchkeeper.core.action import (
    KINDS,
    TRAITS,
    Action,
    kind_of,
    node_of,
    parse_action,
    say,
    targets_of,
    traits_of,
)
from watchkeeper.core.errors import Malformed
from watchkeeper.core.word import canonical

N = {"node": "train-02", "incarnation": "3fae"}
J = {"job": "llm-7b", "attempt_id": "raysubmit_1"}
EACH: dict[str, tuple[Action, str, str]] = {
    "node.cordon": (a.NodeCordon(**N), "node:train-02", "Cordon train-02"),
    "node.uncordon": (a.NodeUncordon(**N), "node:train-02", "Uncordon train-02"),
    "node.drain": (
        a.NodeDrain(deadline_s=90, **N),
        "node:train-02",
        "Drain train-02 within 90 s",
    ),
    "node.restart": (a.NodeRestart(**N), "node:train-02", "Restart train-02"),
    "node.reboot": (a.NodeReboot(**N), "node:train-02", "Reboot train-02"),
    "node.replace": (a.NodeReplace(**N), "node:train-02", "Replace train-02"),
    "gpu.reset": (a.GpuReset(gpu=3, **N), "gpu:train-02/3", "Reset GPU 3 on train-02"),
    "gpu.quarantine": (
        a.GpuQuarantine(gpu=3, **N),
        "gpu:train-02/3",
        "Quarantine GPU 3 on train-02",
    ),
    "gpu.power_cap": (
        a.GpuPowerCap(gpu=3, watts=450.5, **N),
        "gpu:train-02/3",
        "Cap GPU 3 on train-02 at 450.5 W",
    ),
    "job.requeue": (a.JobRequeue(**J), "job:llm-7b", "Requeue llm-7b"),
    "job.preempt": (a.JobPreempt(**J), "job:llm-7b", "Preempt llm-7b"),
    "job.place": (a.JobPlace(nodes=("a", "b"), **J), "job:llm-7b", "Place llm-7b on a, b"),
    "pool.scale": (a.PoolScale(pool="train", add=1), "pool:train", "Add 1 node to train"),
    "pool.reserve": (
        a.PoolReserve(pool="train", nodes=2),
        "pool:train",
        "Reserve 2 nodes of train",
    ),
    "check.run": (a.CheckRun(**N), "node:train-02", "Check train-02"),
    "ticket.open": (
        a.TicketOpen(subject="node:train-02", title="Cable"),
        "node:train-02",
        "Open a ticket: Cable",
    ),
    "notify.page": (a.NotifyPage(subject="", title="Halted"), "cluster", "Page: Halted"),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def test_the_set_is_closed_and_every_kind_is_here() -> None:
    assert set(EACH) == set(KINDS) == set(TRAITS)
    union = {member.__struct_config__.tag for member in Action.__args__}
    assert union == set(KINDS)


@each_kind
def test_it_parses_from_what_it_is_written_as(kind: str) -> None:
    action = EACH[kind][0]
    assert kind_of(action) == kind
    assert parse_action(canonical(action)) == action
    assert parse_action(msgspec.to_builtins(action)) == action
    assert traits_of(action) is TRAITS[kind]


@each_kind
def test_it_names_its_target_and_says_itself_in_a_short_imperative(kind: str) -> None:
    action, target, said = EACH[kind]
    assert targets_of(action) == (target,)
    assert say(action) == said


def test_several_nodes_are_said_in_the_plural() -> None:
    assert say(a.PoolScale(pool="train", add=2)) == "Add 2 nodes to train"


@each_kind
def test_an_unknown_field_is_refused(kind: str) -> None:
    wrong = {**msgspec.to_builtins(EACH[kind][0]), "force": True}
    with pytest.raises(Malformed, match="force"):
        parse_action(wrong)


@each_kind
def test_a_missing_field_is_refused(kind: str) -> None:
    with pytest.raises(Malformed, match="missing required field"):
        parse_action({"kind": kind})


NO_NAMES = ["*", "", "train-*", "train-0?", "a,b", "a b", "../a", "a/b", "-a", "a-", "a\n", "ä"]
NOT_NAMES = [None, ["train-01"], {"name": "train-01"}, 7, True]
NAMED = {
    kind: key
    for kind in KINDS
    for key in ("node", "job", "pool")
    if key in {f.name for f in msgspec.structs.fields(type(EACH[kind][0]))}
}


@pytest.mark.parametrize("target", [*NO_NAMES, *NOT_NAMES], ids=repr)
@pytest.mark.parametrize("kind", sorted(NAMED))
def test_s1_only_one_explicit_name_is_a_target(kind: str, target: object) -> None:
    wrong = {**msgspec.to_builtins(EACH[kind][0]), NAMED[kind]: target}
    with pytest.raises(Malformed, match="not an action"):
        parse_action(wrong)


@pytest.mark.parametrize("target", NO_NAMES)
def test_s1_not_even_our_own_code_can_make_one_with_a_pattern(target: str) -> None:
    with pytest.raises(ValueError, match="one explicit name"):
        a.NodeDrain(node=target, incarnation="x")


@pytest.mark.parametrize("nodes", [(), ("*",), ("a", ""), ("a", "a")], ids=repr)
def test_s1_a_placement_names_each_node_once_and_at_least_one(nodes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="node"):
        a.JobPlace(nodes=nodes, **J)


@pytest.mark.parametrize(
    "text",
    [
        b'{"kind":"node.format","node":"a","incarnation":"b"}',
        b'{"kind":["node.drain"],"node":"a","incarnation":"b"}',
        b'{"kind":"NODE.DRAIN","node":"a","incarnation":"b"}',
        b'{"node":"a","incarnation":"b"}',
        b"null",
        b"[]",
        b"",
        b"\xff\xfe",
        b"rm -rf /",
        b"[" * 100_000,
    ],
    ids=lambda b: repr(b[:20]),
)
def test_what_is_no_action_is_refused_with_the_kinds_there_are(text: bytes) -> None:
    with pytest.raises(Malformed, match=r"not an action.*node\.cordon, node\.uncordon"):
        parse_action(text)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("node.drain", {"deadline_s": -1}),
        ("node.drain", {"deadline_s": 1e12}),
        ("gpu.quarantine", {"gpu": -1}),
        ("gpu.reset", {"gpu": 256}),
        ("gpu.reset", {"gpu": 1.5}),
        ("gpu.power_cap", {"gpu": -1}),
        ("gpu.power_cap", {"watts": 0}),
        ("gpu.power_cap", {"watts": -100}),
        ("pool.scale", {"add": 0}),
        ("pool.scale", {"add": 1001}),
        ("pool.scale", {"add": "4"}),
        ("pool.reserve", {"nodes": 0}),
        ("pool.reserve", {"nodes": -3}),
    ],
    ids=str,
)
def test_a_number_that_makes_no_sense_is_refused(kind: str, change: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        parse_action({**msgspec.to_builtins(EACH[kind][0]), **change})


def test_a_deadline_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="deadline_s"):
        a.NodeDrain(deadline_s=float("nan"), **N)


@pytest.mark.parametrize("kind", [k for k in KINDS if TRAITS[k].undo])
def test_an_undo_is_an_action_too(kind: str) -> None:
    assert TRAITS[kind].undo in KINDS
    assert TRAITS[kind].reversible


def test_only_words_to_people_leave_the_cluster_as_it_is() -> None:
    assert [k for k in KINDS if not TRAITS[k].changes] == ["ticket.open", "notify.page"]


def test_the_node_of_an_action_is_empty_where_there_is_none() -> None:
    assert node_of(EACH["gpu.reset"][0]) == "train-02"
    assert node_of(EACH["pool.scale"][0]) == ""


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_whatever_comes_in_is_an_action_or_malformed(text: bytes | str) -> None:
    with contextlib.suppress(Malformed):
        assert targets_of(parse_action(text))
