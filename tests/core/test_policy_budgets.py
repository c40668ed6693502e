"""Budgets: what may be spent in a time that moves along, and what counts as spent."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.policy_case import DEAD, NIGHT, Given, gang, nodes, past, policy

from watchkeeper.control.gate import priced
from watchkeeper.core.action import JobRequeue, NodeDrain, NodeRestart, PoolScale
from watchkeeper.core.cluster import JobState
from watchkeeper.core.errors import PolicyError
from watchkeeper.core.impact import simulate
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.proposal import Impact
from watchkeeper.core.verdict import Verdict
from watchkeeper.policy.budgets import overspent
from watchkeeper.policy.limits import Touched
from watchkeeper.policy.model import Prices
from watchkeeper.policy.usage import usage

ALLOW = '  - {id: anything, effect: allow, actions: ["*"]}\n'
PRICES = "prices: {train: 2 USD, default: 1.50 USD}\n"
DAY_S = 86400.0


def judged(given: Given, tail: str, rest: str = "") -> Verdict:
    return given.judged(policy(ALLOW, rest=f"{rest}budgets:\n  - {{id: pot, {tail}}}\n"))


def refused(given: Given, tail: str) -> str:
    """The words in which the budget refuses; "" where it does not."""
    verdict = judged(given, tail)
    if verdict.decision.value == "allow":
        return ""
    assert verdict.refused_by == "budget", verdict.because
    assert "The budget pot (policies/t.yaml:6) is reached" in verdict.alert
    return verdict.reasons[-1].text


def drained(n: int, **more: Any) -> Any:
    return past("node.drain", incident=f"INC-{n}", proposal=f"P-{n + 10}", **more)


BLUE = {"g": gang("g", "train-01", "train-03", tenant="blue")}


# Disruptions.


@pytest.mark.parametrize(
    ("effects", "tail", "over"),
    [
        ((), "disruptions: 0, every: 1d", True),
        ((), "disruptions: 1, every: 1d", False),
        ((drained(2),), "disruptions: 1, every: 1d", True),
        ((drained(2),), "disruptions: 2, every: 1d", False),
        ((drained(2, age_s=DAY_S),), "disruptions: 1, every: 1d", False),
        ((drained(2, age_s=DAY_S - 0.1),), "disruptions: 1, every: 1d", True),
        ((past("check.run", incident="INC-2"),), "disruptions: 1, every: 1d", False),
        ((drained(2),), "disruptions: 1, every: 1d, per: rack", False),
        ((drained(2),), "disruptions: 1, every: 1d, per: pool", True),
        ((drained(2),), "disruptions: 1, every: 1d, actions: [node.restart]", False),
    ],
    ids=[
        "none at all",
        "the first",
        "the second of one",
        "the second of two",
        "just out of its time",
        "just within it",
        "what disturbs nobody",
        "of another rack",
        "of the same pool",
        "another kind",
    ],
)
def test_disruptions_are_counted_over_their_time(
    effects: tuple[Any, ...], tail: str, over: bool
) -> None:
    assert bool(refused(Given(effects=effects), tail)) is over


def test_the_steps_of_one_incident_are_one_disruption() -> None:
    steps = tuple(
        past(kind, incident="INC-2", proposal=f"P-{i}")
        for i, kind in enumerate(("node.drain", "node.restart", "node.drain"))
    )
    assert refused(Given(effects=steps), "disruptions: 1, every: 1d")
    assert not refused(Given(effects=steps), "disruptions: 2, every: 1d")


def test_the_next_step_of_a_repair_that_is_counted_already_goes_on() -> None:
    own = past("node.drain", "train-03", incident="INC-1")
    assert not refused(Given(effects=(own,)), "disruptions: 1, every: 1d")
    assert not refused(Given(effects=(own, drained(2))), "disruptions: 1, every: 1d")
    old = past("node.drain", "train-03", incident="INC-1", age_s=2 * DAY_S)
    assert refused(Given(effects=(old, drained(2))), "disruptions: 1, every: 1d")


def test_without_an_incident_every_proposal_is_a_disruption_of_its_own() -> None:
    two = tuple(past("node.drain", incident="", proposal=p) for p in ("P-8", "P-9"))
    given = Given(effects=two, incident="")
    assert refused(given, "disruptions: 2, every: 1d")
    assert not refused(given, "disruptions: 3, every: 1d")


def test_a_tenants_budget_counts_that_tenant_alone() -> None:
    blue = drained(2, domains=("tenant:blue",))
    red = drained(3, domains=("tenant:red",))
    tail = "disruptions: 1, every: 7d, per: tenant"
    assert "in tenant:blue within 7 d" in refused(Given(jobs=BLUE, effects=(blue,)), tail)
    assert not refused(Given(jobs=BLUE, effects=(red,)), tail)
    assert not refused(Given(effects=(blue, red)), tail), "it touches no tenant"


def test_an_action_that_touches_two_tenants_needs_room_in_both() -> None:
    jobs = {**BLUE, "h": gang("h", "train-01", tenant="red")}
    red = drained(3, domains=("tenant:red",))
    assert "tenant:red" in refused(
        Given(jobs=jobs, effects=(red,)), "disruptions: 1, every: 7d, per: tenant"
    )


def test_its_own_start_does_not_count_at_the_second_look() -> None:
    own = past("node.drain", "train-03", incident="INC-9", proposal="P-1")
    assert not refused(Given(effects=(own,)), "disruptions: 1, every: 1d")


def test_what_is_not_known_cannot_be_counted() -> None:
    assert "the leaf of this action is not known" in refused(
        Given(), "disruptions: 9, every: 1d, per: leaf"
    )


# How far back the ledger reaches.


@pytest.mark.parametrize(
    ("tail", "over"),
    [
        ("disruptions: 99, every: 2h", True),
        ("disruptions: 99, every: 1h", False),
        ("disruptions: 99, every: 2h, per: pool", False),
        ("gpu_hours: 1000000, every: 2h", True),
    ],
    ids=["over more than it shows", "within", "of a pool it is complete", "of GPU-hours"],
)
def test_what_the_ledger_does_not_show_of_the_fleet_counts_as_used(tail: str, over: bool) -> None:
    said = refused(Given(ledger={"reaches_s": 3600.0}), tail)
    assert bool(said) is over
    assert not over or "the ledger shows the fleet's last 1 h only" in said


# GPU-hours.


def test_gpu_hours_add_up_to_exactly_the_budget_and_no_further() -> None:
    given = Given(effects=tuple(drained(n, gpu_hours=0.1) for n in range(2, 5)))
    cost = given.inputs()[1].gpu_hours
    assert cost == pytest.approx(0.267, abs=0.001)
    assert not refused(given, f"gpu_hours: {round(0.3 + cost, 3)}, every: 1d")
    said = refused(given, f"gpu_hours: {round(0.3 + cost - 0.001, 3)}, every: 1d")
    assert said.startswith("0.3 GPU-hours used within 1 d, this would add 0.267")


def test_what_costs_nothing_passes_an_empty_budget() -> None:
    jobs = {"g": gang("g", state=JobState.STOPPED)}
    requeue = Given(action=JobRequeue(job="g", attempt_id="a"), jobs=jobs)
    assert not refused(requeue, "gpu_hours: 0, every: 1d")
    spent = requeue.but(effects=(drained(2, gpu_hours=5.0),))
    assert not refused(spent, "gpu_hours: 1, every: 1d"), "nor one that is overdrawn"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_beyond_every_budget(bad: float) -> None:
    checked = policy(ALLOW, rest="budgets: [{id: pot, gpu_hours: 1000, every: 1d}]\n")
    proposal, impact, _, _ = Given().inputs()
    assert list(overspent(checked.budgets, Touched(proposal, Impact(gpu_hours=bad), ())))
    effects = (drained(2, gpu_hours=bad),)
    assert list(overspent(checked.budgets, Touched(proposal, impact, effects)))


# Money.


def spending(impact: Impact, tail: str, *effects: Any) -> bool:
    checked = policy(ALLOW, rest=f"{PRICES}budgets: [{{id: pot, {tail}}}]\n")
    proposal = Given().inputs()[0]
    return bool(list(overspent(checked.budgets, Touched(proposal, impact, effects))))


@pytest.mark.parametrize(
    ("money", "spent", "over"),
    [
        (100.0, (), False),
        (100.01, (), True),
        (60.0, (40.0,), False),
        (60.0, (40.0, 0.01), True),
        (None, (), True),
    ],
    ids=["all of it", "a cent more", "the rest of it", "a cent more than the rest", "not known"],
)
def test_money_adds_up_and_a_price_that_is_not_known_is_refused(
    money: float | None, spent: tuple[float, ...], over: bool
) -> None:
    effects = tuple(drained(i, money=m) for i, m in enumerate(spent))
    assert spending(Impact(money=money), "money: 100 USD, every: 1d", *effects) is over


def test_a_budget_may_be_used_up_to_its_last_cent() -> None:
    checked = policy(ALLOW, rest=f"{PRICES}budgets: [{{id: pot, money: 0.30 USD, every: 1d}}]\n")
    proposal, effects = Given().inputs()[0], (drained(2, money=0.1),)
    for money, over in ((0.2, False), (0.21, True)):
        touched = Touched(proposal, Impact(money=money), effects)
        assert bool(list(overspent(checked.budgets, touched))) is over


def test_a_pool_without_a_price_is_refused_in_words() -> None:
    verdict = judged(Given(), "money: 100 USD, every: 1d", rest="prices: {other: 2 USD}\n")
    assert "what this costs is not known: its pool has no price" in verdict.because


def test_what_touches_no_tenant_needs_no_price_for_a_tenants_budget() -> None:
    assert not spending(Impact(money=None), "money: 0 USD, every: 1d, per: tenant")


@pytest.mark.parametrize(
    ("pool", "price"), [("train", 2.0), ("spot", 1.5)], ids=["its own", "the default"]
)
def test_a_pool_has_its_own_price_or_the_default(pool: str, price: float) -> None:
    assert policy(ALLOW, rest=PRICES).prices.of(pool) == price
    assert policy(ALLOW, rest="prices: {train: 2 USD}\n").prices.of("spot") is None
    assert Prices().of("train") is None


def test_an_impact_costs_its_gpu_hours_and_added_nodes_their_first_day() -> None:
    prices = Prices("USD", {"train": 2.0})
    given = Given(jobs={"g": gang("g", "train-01", checkpoint_at=None, state_since=NIGHT)})
    snapshot = given._snapshot()
    drain, grow = given.action, PoolScale(pool="train", add=2)
    lost = simulate(snapshot, drain)
    assert priced(lost, drain, snapshot, prices).money == round(2.0 * lost.gpu_hours, 2)
    assert priced(simulate(snapshot, grow), grow, snapshot, prices).money == 2 * 8 * 24 * 2.0
    assert priced(lost, drain, snapshot, Prices()).money is None


# What the checker says, and what the page shows.


@pytest.mark.parametrize(
    ("rest", "piece"),
    [
        ("budgets: [{id: b, every: 1d}]\n", "has one of `disruptions`, `gpu_hours` and `money`"),
        ("budgets: [{id: b, every: 1d, disruptions: 1, gpu_hours: 1}]\n", "has one of"),
        ("budgets: [{id: b, every: 32d, disruptions: 1}]\n", "`every` is at most 31d"),
        ("budgets: [{id: b, every: 1d, money: 5 USD}]\n", "cannot be counted: no `prices`"),
        ("prices: {a: 1 EUR}\nbudgets: [{id: b, every: 1d, money: 5 USD}]\n", "are in EUR"),
        ("prices: {a: 1 EUR, b: 1 USD}\n", "all prices are in one currency"),
        ("prices: {a: free}\n", "must be an amount and a currency"),
        (
            "budgets: [{id: b, every: 1d, disruptions: 1}, {id: b, every: 2d, disruptions: 1}]\n",
            "the budget 'b' is defined twice",
        ),
    ],
    ids=[
        "of nothing",
        "of two things",
        "over more than the ledger",
        "money without prices",
        "money in another currency",
        "prices in two currencies",
        "a price that is none",
        "two of one name",
    ],
)
def test_a_budget_that_could_not_be_counted_is_refused(rest: str, piece: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy(ALLOW, rest=rest)
    assert any(piece in p.message for p in caught.value.problems), caught.value


def test_a_budget_names_every_changing_action_and_the_fleet_where_it_says_nothing() -> None:
    (budget,) = policy(ALLOW, rest="budgets: [{id: b, every: 1d, disruptions: 1}]\n").budgets
    assert budget.per == "fleet"
    assert {"node.drain", "pool.scale"} <= budget.actions
    assert "ticket.open" not in budget.actions


def test_the_page_shows_what_is_spent_where_least_is_left() -> None:
    rest = (
        f"{PRICES}budgets:\n"
        "  - {id: calm, every: 7d, disruptions: 3, per: tenant}\n"
        "  - {id: spend, every: 1d, money: 500 USD}\n"
        "  - {id: work, every: 1d, gpu_hours: 10, per: pool}\n"
    )
    ledger = LedgerView(
        effects=(
            drained(2, domains=("tenant:blue", "pool:a"), money=20.5, gpu_hours=4.0),
            drained(3, domains=("tenant:red", "pool:b"), money=1.0, gpu_hours=6.0),
            drained(4, domains=("tenant:red", "pool:b"), money=9.0, age_s=2 * DAY_S),
        )
    )
    assert [(u.text, u.used, u.limit) for u in usage(policy(ALLOW, rest=rest), ledger)] == [
        ("calm: disruptions within 7 d in tenant:red", 2.0, 3.0),
        ("spend: USD within 1 d", 21.5, 500.0),
        ("work: GPU-hours within 1 d in pool:b", 6.0, 10.0),
    ]


def test_a_budget_forbids_no_recovery_that_costs_nothing_more() -> None:
    back = Given(
        action=NodeRestart(node="train-01", incarnation="inc-1"),
        nodes=nodes(train_01=DEAD),
        effects=(past("node.drain", "train-01", incident="INC-1"), drained(2), drained(3)),
    )
    assert not refused(back, "disruptions: 1, every: 1d")
    other = back.but(action=NodeDrain(node="train-04", incarnation="inc-4"), incident="INC-8")
    assert refused(other, "disruptions: 1, every: 1d")
