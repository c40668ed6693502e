"""S11: what the orders declare to be kept of pools, quorums and classes is left after each action.

Declared nothing, nothing is as it was not before: the half of S2 stays the floor.
"""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.policy_case import DEAD, DRAIN, NIGHT, Given, gang, nodes, policy

from watchkeeper.app.twin_kept import not_kept
from watchkeeper.core.action import (
    Action,
    JobPlace,
    JobPreempt,
    NodeCordon,
    NodeRestart,
    NodeUncordon,
)
from watchkeeper.core.cluster import JobState
from watchkeeper.core.errors import PolicyError
from watchkeeper.core.floors import counted
from watchkeeper.core.verdict import Verdict
from watchkeeper.policy.judge import judge
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy

ALLOW = '  - {id: anything, effect: allow, actions: ["*"]}\n'
N = {"node": "train-01", "incarnation": "inc-1"}
FREE = {"gpus_free": 8.0}
EMPTY = {f"train_{i:02d}": FREE for i in range(1, 5)}
ON_ONE = {"g": gang("g", "train-01")}
PROD = {"g": gang("g", "train-01", priority=10), "h": gang("h", "train-02", priority=20)}
STOP_G = JobPreempt(job="g", attempt_id="g-a1")
PLACE = JobPlace(job="w", attempt_id="w-a1", nodes=("train-02", "train-03"))
WAITS = {"w": gang("w", state=JobState.WAITING)}


def orders(declared: str) -> CheckedPolicy:
    return policy(ALLOW, rest=declared)


def judged(case: Given, declared: CheckedPolicy) -> Verdict:
    """As the gate does it: what the floors need is counted from the very snapshot."""
    proposal, impact, facts, ledger = case.inputs()
    out, size = counted(declared.floors, case._snapshot(), case.action)
    ledger = msgspec.structs.replace(ledger, out=ledger.out | out, size=ledger.size | size)
    return judge(proposal, impact, facts, declared, ledger, case.orders, NIGHT)


def refusals(case: Given, declared: str) -> set[str]:
    verdict = judged(case, orders(declared))
    return {r.id for r in verdict.reasons if r.kind == "invariant"}


@pytest.mark.parametrize(
    ("declared", "case", "fine"),
    [
        ("floors: {train: {nodes_at_least: 3}}\n", Given(), True),
        ("floors: {train: {nodes_at_least: 4}}\n", Given(), False),
        ("floors: {serve: {nodes_at_least: 4}}\n", Given(), True),
        ("floors: {default: {nodes_at_least: 4}}\n", Given(), False),
        ("floors: {train: {nodes_at_least: 3}}\n", Given(nodes=nodes(train_03=DEAD)), False),
        (
            "floors: {train: {nodes_at_least: 4}}\n",
            Given(action=NodeRestart(**N), nodes=nodes(train_01=DEAD)),
            True,
        ),
        (
            "floors: {train: {nodes_at_least: 4}}\n",
            Given(action=NodeUncordon(**N), fenced=("train-01",)),
            True,
        ),
        ("floors: {train: {nodes_at_least: 4}}\n", Given(by="person:ann"), False),
        ("floors: {train: {spares_at_least: 3}}\n", Given(nodes=nodes(**EMPTY)), True),
        ("floors: {train: {spares_at_least: 4}}\n", Given(nodes=nodes(**EMPTY)), False),
        (  # its gang moves to the one node that is free
            "floors: {train: {spares_at_least: 1}}\n",
            Given(jobs=ON_ONE, nodes=nodes(train_02=FREE)),
            False,
        ),
        (  # a fence moves nobody
            "floors: {train: {spares_at_least: 1}}\n",
            Given(action=NodeCordon(**N), jobs=ON_ONE, nodes=nodes(train_02=FREE)),
            True,
        ),
        (
            "floors: {train: {spares_at_least: 1}}\n",
            Given(action=PLACE, jobs=WAITS, nodes=nodes(train_02=FREE, train_03=FREE)),
            False,
        ),
        (
            "floors: {train: {spares_at_least: 2}}\n",
            Given(action=PLACE, jobs=WAITS, nodes=nodes(**EMPTY)),
            True,
        ),
        ("quorums: {etcd: [train-01, train-02, train-03]}\n", Given(), True),
        (
            "quorums: {etcd: [train-01, train-02, train-03]}\n",
            Given(nodes=nodes(train_03=DEAD)),
            False,
        ),
        (
            "quorums: {etcd: [train-01, train-02, train-03]}\n",
            Given(fenced=("train-02",)),
            False,
        ),
        ("quorums: {etcd: [train-01, train-02, gone-01]}\n", Given(), False),
        (
            "quorums: {etcd: [train-02, train-03, train-04]}\n",
            Given(nodes=nodes(train_03=DEAD)),
            True,
        ),
        (
            "classes: {p: {priority_at_least: 10, gpus_at_least: 8}}\n",
            Given(STOP_G, jobs=PROD),
            True,
        ),
        (
            "classes: {p: {priority_at_least: 10, gpus_at_least: 9}}\n",
            Given(STOP_G, jobs=PROD),
            False,
        ),
        (
            "classes: {p: {priority_at_least: 20, gpus_at_least: 8}}\n",
            Given(STOP_G, jobs=PROD),
            True,
        ),
    ],
    ids=[
        "above the floor",
        "below the floor",
        "another pool's",
        "the floor of every pool",
        "what is out already counts",
        "what is dead may be recovered",
        "what is given back is fine",
        "whoever asks",
        "spares are left",
        "a spare is taken",
        "work needs a spare to move to",
        "a fence moves no work",
        "a gang would fill the spares",
        "a gang leaves spares",
        "a majority is left",
        "one of three is out already",
        "a fenced member is out",
        "a member that is not there is out",
        "another's quorum",
        "the class keeps enough",
        "the class would fall below",
        "a gang below the class",
    ],
)
def test_s11_what_is_declared_is_left_after_the_action(
    declared: str, case: Given, fine: bool
) -> None:
    assert ("S11" not in refusals(case, declared)) is fine


def test_s11_a_refusal_says_how_many_where_and_by_which_line() -> None:
    verdict = judged(Given(), orders("floors: {train: {nodes_at_least: 4}}\n"))
    assert "3 of the 4 nodes of train would be in service, and 4 are kept (policies/t.yaml:" in (
        verdict.because
    )
    assert verdict.refused_by == "invariant"


@pytest.mark.parametrize(
    ("declared", "case"),
    [
        ("floors: {train: {spares_at_least: 1}}\n", Given(nodes=nodes(**EMPTY))),
        ("quorums: {etcd: [train-01, train-02, train-03]}\n", Given()),
        ("classes: {p: {priority_at_least: 1, gpus_at_least: 1}}\n", Given(STOP_G, jobs=PROD)),
    ],
    ids=["spares", "quorum", "class"],
)
def test_s11_what_was_not_counted_is_not_taken_for_kept(declared: str, case: Given) -> None:
    verdict = case.judged(orders(declared))
    assert {r.id for r in verdict.reasons if r.kind == "invariant"} == {"S11"}
    assert "is not known" in verdict.because or "is free is not" in verdict.because


def test_s11_with_nothing_declared_nothing_is_counted_and_no_verdict_is_another() -> None:
    bare = policy(ALLOW)
    assert counted(bare.floors, Given()._snapshot(), DRAIN) == ({}, {})
    elsewhere = orders("floors: {serve: {nodes_at_least: 9}}\n")
    ours, theirs = judged(Given(), bare), judged(Given(), elsewhere)
    assert [(r.kind, r.id, r.text) for r in ours.reasons] == [
        (r.kind, r.id, r.text) for r in theirs.reasons
    ]


@settings(max_examples=60, deadline=None)
@given(
    floor=st.integers(0, 4),
    spares=st.integers(0, 4),
    asked=st.lists(st.sampled_from(["train-01", "train-02", "train-03", "train-04"]), max_size=30),
)
def test_s11_however_many_are_asked_for_the_floor_is_never_broken(
    floor: int, spares: int, asked: list[str]
) -> None:
    """One mistyped count took out too much of a storage fleet at once in 2017: here any number of
    removals, one after the other, stops at what was declared."""
    declared = orders(
        f"floors: {{train: {{nodes_at_least: {floor}, spares_at_least: {spares}}}}}\n"
        "quorums: {etcd: [train-01, train-02, train-03]}\n"
    )
    there, fenced = nodes(**EMPTY), list[str]()
    for i, name in enumerate(asked):
        action: Action = NodeCordon(node=name, incarnation=there[name].incarnation)
        case = Given(action=action, nodes=there, fenced=tuple(fenced))
        allowed = judged(case, declared).decision.value == "allow"
        if allowed and name not in fenced:
            # The guard of the twin counts for itself, and has nothing against it.
            assert not list(not_kept(declared.floors, action, case._snapshot().state)), i
            fenced.append(name)
    left = 4 - len(fenced)
    assert left >= min(4, max(floor, spares, 2)), "and never below the half of S2"
    assert sum(n not in fenced for n in ("train-01", "train-02", "train-03")) >= 2


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("floors: {train: {}}\n", "nodes_at_least"),
        ("floors: {train: {nodes_at_least: -1}}\n", "whole number from 0 to 100000"),
        ("floors: {train: {nodes: 3}}\n", "has no key 'nodes'"),
        (
            "capacity: {train: {service_level: 95, nodes_at_most: 8}}\n"
            "floors: {train: {nodes_at_least: 9}}\n",
            "9 nodes can never be kept in 'train': `capacity` lets it have 8 at most",
        ),
        (
            "capacity: {default: {service_level: 95, nodes_at_most: 8}}\n"
            "floors: {train: {spares_at_least: 12}}\n",
            "12 nodes can never be kept",
        ),
        ("quorums: {etcd: [a, b]}\n", "a quorum has 3 members or more: of 2 none could ever"),
        ("quorums: {etcd: [a, b, a]}\n", "names a node twice"),
        ("classes: {p: {priority_at_least: 3}}\n", "lacks the key 'gpus_at_least'"),
    ],
    ids=[
        "nothing in it",
        "below nothing",
        "no such key",
        "more than the pool may have",
        "more spares than any pool may have",
        "a quorum of two",
        "a member twice",
        "a class without its minimum",
    ],
)
def test_s11_a_floor_that_can_never_be_kept_is_a_mistake_of_the_orders(
    declared: str, said: str
) -> None:
    with pytest.raises(PolicyError) as wrong:
        orders(declared)
    assert said in str(wrong.value)


def test_s11_a_floor_that_is_told_twice_names_the_first() -> None:
    head = "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: NAME}\n"
    one = head + "floors: {train: {nodes_at_least: 1}}\n"
    with pytest.raises(PolicyError, match=r"told twice; first at a\.yaml:4"):
        load({"a.yaml": one + f"rules:\n{ALLOW}", "b.yaml": one}, NIGHT)


def test_s11_a_count_that_is_no_number_is_not_known() -> None:
    declared = orders("classes: {p: {priority_at_least: 1, gpus_at_least: 1}}\n")
    proposal, impact, facts, ledger = Given(STOP_G, jobs=PROD).inputs()
    ledger = msgspec.structs.replace(ledger, size={**ledger.size, "class:p": 16})
    facts = {**facts, "job.gpus": math.nan}
    verdict = judge(proposal, impact, facts, declared, ledger, Given().orders, NIGHT)
    assert verdict.decision.value == "deny"
