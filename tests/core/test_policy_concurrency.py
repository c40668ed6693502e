"""Limits on how much may be under way at once: open effects count, finished ones do not."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.policy_case import Given, gang, past, policy

from watchkeeper.core.action import JobRequeue
from watchkeeper.core.cluster import JobState
from watchkeeper.core.ledger import LedgerView
from watchkeeper.policy.usage import usage

ALLOW = '  - {id: anything, effect: allow, actions: ["*"]}\n'


def cap(tail: str) -> str:
    return f"limits:\n  - {{id: cap, actions: [node.drain, job.requeue], {tail}}}\n"


def refused(given: Given, tail: str) -> str:
    verdict = given.judged(policy(ALLOW, rest=cap(tail)))
    if verdict.decision.value == "allow":
        return ""
    assert verdict.refused_by == "limit", verdict.because
    return verdict.reasons[-1].text


def under_way(node: str = "train-03", **more: Any) -> Any:
    domains = ("pool:train", "rack:far", "tenant:blue", "job:h")
    return past("node.drain", node, open=True, domains=domains, **more)


def in_another_rack(*effects: Any) -> Given:
    return Given(effects=effects)


@pytest.mark.parametrize(
    ("given", "tail", "over"),
    [
        (in_another_rack(), "per: fleet, concurrency: 0", True),
        (in_another_rack(), "per: fleet, concurrency: 1", False),
        (in_another_rack(under_way()), "per: fleet, concurrency: 1", True),
        (in_another_rack(under_way()), "per: fleet, concurrency: 2", False),
        (in_another_rack(under_way()), "per: pool, concurrency: 1", True),
        (in_another_rack(under_way()), "per: rack, concurrency: 1", False),
        (in_another_rack(past("node.drain")), "per: fleet, concurrency: 1", False),
        (in_another_rack(past("check.run", open=True)), "per: fleet, concurrency: 1", False),
        (in_another_rack(under_way(age_s=9e6)), "per: fleet, concurrency: 1", True),
        (in_another_rack(under_way(proposal="P-1")), "per: fleet, concurrency: 1", False),
        (
            Given(effects=(under_way(),), ledger={"reaches_s": 7200.0}),
            "per: fleet, concurrency: 1",
            True,
        ),
    ],
    ids=[
        "none at all",
        "the first",
        "the second of one",
        "the second of two",
        "of one pool",
        "in another rack",
        "what has ended",
        "what the limit does not name",
        "however long it takes",
        "its own start",
        "open effects are always in the ledger",
    ],
)
def test_what_is_under_way_counts_until_it_ends(given: Given, tail: str, over: bool) -> None:
    assert bool(refused(given, tail)) is over


def test_it_says_how_many_are_under_way_and_where() -> None:
    said = refused(Given(effects=(under_way(),)), "per: pool, concurrency: 1")
    assert said == "1 under way in pool:train, and at most 1 may be at once"


def test_a_reason_of_the_author_follows() -> None:
    said = refused(Given(effects=(under_way(),)), "per: pool, concurrency: 1, reason: One by one.")
    assert said.endswith("at once. One by one.")


def test_a_tenant_or_job_is_counted_by_itself_and_an_action_that_touches_none_is_free() -> None:
    blue = {"g": gang("g", "train-01", tenant="blue")}
    red = {"g": gang("g", "train-01", tenant="red")}
    tail = "per: tenant, concurrency: 1"
    assert refused(Given(jobs=blue, effects=(under_way(),)), tail)
    assert not refused(Given(jobs=red, effects=(under_way(),)), tail)
    assert not refused(Given(effects=(under_way(),)), tail)
    jobs = {n: gang(n, state=JobState.STOPPED) for n in ("g", "h")}
    again = Given(action=JobRequeue(job="h", attempt_id="a"), jobs=jobs, effects=(under_way(),))
    assert refused(again, "per: job, concurrency: 1")
    other = again.but(action=JobRequeue(job="g", attempt_id="a"))
    assert not refused(other, "per: job, concurrency: 1")


def test_a_leaf_that_is_not_known_cannot_be_counted() -> None:
    assert "the leaf of train-01 is not known" in refused(Given(), "per: leaf, concurrency: 9")


def test_of_several_bounds_of_one_limit_each_holds() -> None:
    tail = "per: fleet, concurrency: 2, rate: {count: 1, per: 1h}"
    assert "started in fleet within 1 h" in refused(Given(effects=(past("node.drain"),)), tail)
    old = (under_way(age_s=7200), under_way("train-04", age_s=7200, proposal="P-9"))
    assert "2 under way in fleet" in refused(Given(effects=old), tail)


def test_a_rate_over_more_than_the_ledger_shows_of_the_fleet_is_reached() -> None:
    given = Given(ledger={"reaches_s": 7200.0})
    assert "the fleet's last 2 h only" in refused(given, "per: fleet, rate: {count: 9, per: 3h}")
    assert not refused(given, "per: fleet, rate: {count: 9, per: 2h}")
    assert not refused(given, "per: pool, rate: {count: 9, per: 3h}")


def test_the_page_shows_what_is_under_way() -> None:
    checked = policy(ALLOW, rest=cap("per: pool, concurrency: 3"))
    ledger = LedgerView(effects=(under_way(), past("node.drain")))
    (used,) = usage(checked, ledger)
    assert (used.text, used.used, used.limit) == (
        "cap: under way at once in pool:train",
        1.0,
        3.0,
    )
