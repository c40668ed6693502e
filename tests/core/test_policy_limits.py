"""Limits: counts, percentages, rates, and what they are counted over."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.policy_case import DEAD, Given, gang, nodes, past, policy

from watchkeeper.core.action import JobRequeue, NodeDrain, NodeRestart, PoolScale
from watchkeeper.core.cluster import JobState
from watchkeeper.core.ledger import LedgerView
from watchkeeper.policy.limits import allowed_out
from watchkeeper.policy.model import Limit
from watchkeeper.policy.usage import usage

ALLOW = '  - {id: anything, effect: allow, actions: ["*"]}\n'
NO_DRAINS = "limits:\n  - {id: cap, actions: [node.drain], per: fleet, rate: {count: 0, per: 1h}}\n"


def limited(tail: str) -> Any:
    return policy(ALLOW, rest=f'limits:\n  - {{id: cap, actions: ["*"], {tail}}}\n')


def refused(given: Given, tail: str) -> bool:
    verdict = given.judged(limited(tail))
    if verdict.decision.value == "allow":
        return False
    assert verdict.refused_by == "limit", verdict.because
    assert verdict.reasons[-1].where == "policies/t.yaml:6"
    assert "cap" in verdict.alert
    return True


@pytest.mark.parametrize(
    ("count", "percent", "size", "most"),
    [
        (8, 5, 1000, 8),
        (8, 5, 100, 5),
        (8, 5, 39, 1),
        (8, 5, 4, 1),
        (None, 5, 19, 1),
        (None, 5, 40, 2),
        (None, 33.4, 3, 1),
        (None, 100, 7, 7),
        (None, 0, 1000, 0),
        (0, 50, 10, 0),
        (3, None, 1000, 3),
        (None, 5, 0, 1),
    ],
)
def test_percent_rounds_down_to_at_least_one_unless_written_zero(
    count: int | None, percent: float | None, size: int, most: int
) -> None:
    limit = Limit("x", frozenset(), "pool", "f:1", max_count=count, max_percent=percent)
    assert allowed_out(limit, size) == most


one_dead = Given(nodes=nodes(train_03=DEAD))


@pytest.mark.parametrize(
    ("given", "tail", "over"),
    [
        (Given(), "per: pool, max_out: {count: 1}", False),
        (one_dead, "per: pool, max_out: {count: 1}", True),
        (one_dead, "per: pool, max_out: {count: 2}", False),
        (one_dead, "per: pool, max_out: {percent: 49}", True),
        (one_dead, "per: pool, max_out: {percent: 50}", False),
        (one_dead, "per: rack, max_out: {count: 1}", False),
        (one_dead, "per: fleet, max_out: {count: 1}", True),
        (Given(), "per: pool, max_out: {count: 0}", True),
        (
            Given(
                nodes=nodes(train_01=DEAD, train_03=DEAD),
                action=NodeRestart(node="train-01", incarnation="inc-1"),
            ),
            "per: pool, max_out: {count: 0}",
            False,
        ),
        (Given(), "per: leaf, max_out: {count: 1}", True),
    ],
    ids=[
        "the first",
        "the second of one",
        "the second of two",
        "two of four over 49 %",
        "two of four within 50 %",
        "the first of its rack",
        "the second of the fleet",
        "none at all",
        "the dead may come back",
        "a leaf that nobody knows cannot be counted",
    ],
)
def test_max_out_counts_nodes_already_out(given: Given, tail: str, over: bool) -> None:
    assert refused(given, tail) is over


def test_a_node_behind_our_fence_is_out_already_and_its_drain_takes_no_more() -> None:
    assert not refused(Given(fenced=("train-01",)), "per: pool, max_out: {count: 1}")


def test_a_tenant_is_counted_by_what_we_are_at_work_on() -> None:
    jobs = {"g": gang("g", "train-01", "train-03", tenant="blue")}
    at_work = past("node.drain", "train-04", open=True, domains=("tenant:blue",))
    done = past("node.drain", "train-04", open=False, domains=("tenant:blue",))
    given = Given(jobs=jobs, effects=(at_work,))
    same = past("check.run", "train-01", incident="INC-1", open=True, domains=("tenant:blue",))
    assert not refused(given.but(effects=(same,)), "per: tenant, max_out: {count: 1}")
    assert refused(given, "per: tenant, max_out: {count: 1}")
    assert not refused(given, "per: tenant, max_out: {count: 2}")
    assert not refused(given.but(effects=(done,)), "per: tenant, max_out: {count: 1}")


@pytest.mark.parametrize(
    ("effects", "tail", "over"),
    [
        ((), "per: fleet, rate: {count: 0, per: 1h}", True),
        ((past("node.drain"),), "per: fleet, rate: {count: 1, per: 1h}", True),
        ((past("node.drain"),), "per: fleet, rate: {count: 2, per: 1h}", False),
        ((past("node.drain", age_s=3600.0),), "per: fleet, rate: {count: 1, per: 1h}", False),
        ((past("node.drain", age_s=3599.9),), "per: fleet, rate: {count: 1, per: 1h}", True),
        ((past("node.drain"),), "per: rack, rate: {count: 1, per: 1h}", False),
        ((past("node.drain"),), "per: pool, rate: {count: 1, per: 1h}", True),
        ((past("ticket.open"),), "per: fleet, rate: {count: 1, per: 1h}", False),
        ((past("node.drain", proposal="P-1"),), "per: fleet, rate: {count: 1, per: 1h}", False),
    ],
    ids=[
        "none",
        "reached",
        "not yet",
        "just over",
        "just within",
        "other rack",
        "same pool",
        "other kind",
        "its own start",
    ],
)
def test_a_rate_counts_what_started_within_its_time(
    effects: tuple[Any, ...], tail: str, over: bool
) -> None:
    assert refused(Given(effects=effects), tail) is over


def test_a_rate_per_job_counts_that_job_alone() -> None:
    jobs = {n: gang(n, state=JobState.STOPPED) for n in ("g", "h")}
    done = past("job.requeue", "", target="job:g", domains=("job:g",))
    again = Given(action=JobRequeue(job="g", attempt_id="a"), jobs=jobs, effects=(done,))
    other = again.but(action=JobRequeue(job="h", attempt_id="a"))
    assert refused(again, "per: job, rate: {count: 1, per: 1d}")
    assert not refused(other, "per: job, rate: {count: 1, per: 1d}")


def test_a_limit_binds_only_the_actions_that_it_names() -> None:
    checked = policy(
        ALLOW,
        rest=NO_DRAINS,
    )
    assert Given().judged(checked).refused_by == "limit"
    scale = Given(action=PoolScale(pool="train", add=1)).judged(checked)
    assert scale.decision.value == "allow"


def test_a_limit_refuses_the_whole_action_and_never_an_ask_less_than_a_deny() -> None:
    checked = policy(
        "  - {id: q, effect: ask, actions: [node.drain]}\n",
        rest=NO_DRAINS,
    )
    verdict = Given().judged(checked)
    assert (verdict.decision.value, verdict.obligations) == ("deny", None)


def test_what_no_rule_allows_is_denied_by_default_and_wakes_nobody_for_the_limit() -> None:
    checked = policy(
        "  - {id: q, effect: allow, actions: [node.cordon]}\n",
        rest=NO_DRAINS,
    )
    verdict = Given().judged(checked)
    assert (verdict.refused_by, verdict.alert) == ("default", "")


def test_the_page_shows_the_domain_where_least_is_left() -> None:
    checked = policy(
        ALLOW,
        rest=(
            "limits:\n"
            "  - {id: out, actions: [node.drain], per: pool, max_out: {count: 8, percent: 50}}\n"
            "  - {id: often, actions: [node.drain], per: rack, rate: {count: 3, per: 2h}}\n"
            "  - {id: rest, actions: [node.drain], per: tenant, max_out: {count: 2}}\n"
        ),
    )
    ledger = LedgerView(
        out={"pool:a": 1, "pool:b": 2},
        size={"pool:a": 10, "pool:b": 4, "fleet": 14},
        effects=(past("node.drain"), past("node.drain", age_s=7300)),
    )
    assert [(u.id, u.text, u.used, u.limit) for u in usage(checked, ledger)] == [
        ("out", "out: out at once in pool:b", 2.0, 2.0),
        ("often", "often: started within 2 h in rack:r2", 1.0, 3.0),
        ("rest", "rest: out at once", 0.0, 2.0),
    ]


def test_nodes_out_are_seen_where_their_drain_is_asked() -> None:
    given = Given(
        action=NodeDrain(node="train-04", incarnation="inc-4"), nodes=nodes(train_03=DEAD)
    )
    assert refused(given.but(nodes=nodes(train_02=DEAD)), "per: pool, max_out: {count: 1}")
