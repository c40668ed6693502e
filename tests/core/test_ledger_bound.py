"""A verdict is shown no more of the past than decides it, and says how far back it was shown. So
its record stays small in a large pool, and a replay under orders that look farther is refused."""

# ruff: noqa: E501  (tables read best one case a line)

from __future__ import annotations

from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.policy_case import Given, policy
from tests.core.replay_case import changed, verdict_event
from tests.core.test_ledger import HEAD, OPEN, Past, far
from tests.core.test_policy_compare import held

from watchkeeper.control import past
from watchkeeper.control.gate import Weighed, weigh
from watchkeeper.control.past import ledger_of
from watchkeeper.core.action import CheckRun, NodeDrain
from watchkeeper.core.impact import simulate
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy

HOUR_S, DAY_S = 3600.0, 86400.0
NEAR = NodeDrain(node="train-01", incarnation="x")
POOL, TENANT, RACK = "pool:train", "tenant:blue", "rack:train-r1"


def orders(past: Past, rest: str = "") -> CheckedPolicy:
    return load({"policies/p.yaml": HEAD + rest + OPEN}, past.clock.policy_now())


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Past:
    past = Past(monkeypatch, elsewhere=50)
    past.cluster.run("llm", ("train-01",), tenant="blue")
    return past


def seen(told: Past, policy: CheckedPolicy | None, action: Any = NEAR) -> LedgerView:
    snapshot, proposal = told.snapshot(), told.proposal(action)
    return ledger_of(told.books, snapshot, proposal, simulate(snapshot, action), policy)


def names(view: LedgerView) -> list[str]:
    return [e.target for e in view.effects]


BUDGET = "budgets: [{{id: b, actions: [node.drain], per: {}, every: {}, disruptions: 9}}]\n"


@pytest.mark.parametrize(
    ("rest", "shown", "near_s", "reaches_s"),
    [
        ("", [], {"pool": DAY_S}, DAY_S),
        (BUDGET.format("pool", "7d"), ["node:far-01"], {}, None),
        (BUDGET.format("rack", "7d"), [], {"pool": DAY_S}, DAY_S),
        (BUDGET.format("fleet", "7d"), ["node:far-01"], {}, None),
        (BUDGET.format("pool", "2d"), [], {"pool": 2 * DAY_S}, DAY_S),
        (BUDGET.format("pool", "7d").replace("drain", "reboot"), [], {"pool": DAY_S}, DAY_S),
    ],
    ids=["nothing counts", "its pool does", "its rack does", "the fleet does", "not so far", "for another kind"],
)  # fmt: skip
def test_what_only_shares_a_domain_is_shown_as_far_back_as_it_is_counted(
    told: Past, rest: str, shown: list[str], near_s: dict[str, float], reaches_s: float | None
) -> None:
    told.effect(far(1), domains=(POOL,))
    told.clock.pass_s(3 * DAY_S)
    view = seen(told, orders(told, rest))
    assert (names(view), view.near_s, view.reaches_s) == (shown, near_s, reaches_s)


COUNTS_CHECKS = (
    "limits: [{id: few, actions: [node.drain, check.run], per: fleet, rate: {count: 9, per: 7d}}]\n"
)


@pytest.mark.parametrize(
    ("rest", "shown", "reaches_s", "thin_s"),
    [("", 3, DAY_S, {"check.run": 120.0}), (COUNTS_CHECKS, 6, None, {})],
    ids=["nobody counts checks", "the orders count checks"],
)
def test_what_nobody_counts_takes_no_place_of_what_is_counted(
    told: Past,
    monkeypatch: pytest.MonkeyPatch,
    rest: str,
    shown: int,
    reaches_s: float | None,
    thin_s: dict[str, float],
) -> None:
    monkeypatch.setattr(past, "ELSEWHERE", 6)
    monkeypatch.setattr(past, "UNCOUNTED", 2)
    told.effect(far(1))
    told.clock.pass_s(2 * DAY_S)
    told.effect(far(2))
    for i in range(3, 7):
        told.effect(CheckRun(node=f"far-{i:02d}", incarnation="x"))
    view = seen(told, orders(told, rest))
    assert (len(view.effects), view.reaches_s, view.thin_s) == (shown, reaches_s, thin_s)
    assert "node:far-02" in names(view), "the drain is older than all the checks"


@pytest.mark.parametrize(
    "old",
    [{"action": NEAR}, {"action": far(9), "incident": "INC-7"}, {"action": far(9), "ends": ""}],
    ids=["of its node", "of its incident", "still under way"],
)
def test_what_is_its_own_is_shown_for_the_whole_month(told: Past, old: dict[str, Any]) -> None:
    told.effect(**{"domains": (POOL,), **old})
    told.clock.pass_s(30 * DAY_S)
    snapshot, proposal = told.snapshot(), told.proposal(NEAR, incident="INC-7")
    view = ledger_of(told.books, snapshot, proposal, simulate(snapshot, NEAR), orders(told))
    assert len(view.effects) == 1
    assert (view.near_s, view.reaches_s) == ({}, None)


def test_the_last_day_is_there_even_where_nothing_counts_it(told: Past) -> None:
    told.effect(far(1), domains=(POOL,))
    told.effect(far(2))
    told.clock.pass_s(DAY_S - HOUR_S)
    assert names(seen(told, None)) == ["node:far-02", "node:far-01"]


# The verdict is the one that the whole past would give.

SPANS = st.sampled_from(["6h", "3d", "8d", "30d"])
PERS = st.sampled_from(["fleet", "pool", "rack", "tenant", "job"])
DEEDS = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.sampled_from([(POOL,), (POOL, RACK), (POOL, TENANT, "job:llm"), ("pool:far",)]),
        st.sampled_from([HOUR_S, 20 * HOUR_S, 2 * DAY_S]),
        st.sampled_from(["", "INC-7", "INC-8"]),
    ),
    min_size=3,
    max_size=9,
)
"""(node, or the proposal's own as 0; domains; time until the next; incident) of each past effect."""


@st.composite
def bounds(draw: st.DrawFn) -> str:
    count = st.integers(1, 4)
    found = [
        f"{{id: l{i}, actions: [node.drain], per: {draw(PERS)}, "
        f"rate: {{count: {draw(count)}, per: {draw(SPANS)}}}}}"
        for i in range(draw(st.integers(1, 2)))
    ]
    spent = [
        f"{{id: b{i}, actions: [node.drain], per: {draw(PERS)}, every: {draw(SPANS)}, "
        f"{draw(st.sampled_from(['disruptions: 2', 'gpu_hours: 4', 'gpu_hours: 7.6']))}}}"
        for i in range(draw(st.integers(0, 2)))
    ]
    text = f"limits: [{', '.join(found)}]\n" if found else ""
    return text + (f"budgets: [{', '.join(spent)}]\n" if spent else "")


def weighed(told: Past, policy: CheckedPolicy) -> Weighed:
    proposal = told.proposal(NEAR, incident="INC-7")
    return weigh(proposal, told.snapshot(), told.books, policy, told.clock)


@settings(max_examples=60, deadline=None)
@given(rest=bounds(), deeds=DEEDS, elsewhere=st.sampled_from([2, 50]))
def test_the_verdict_is_that_of_the_whole_past(
    rest: str, deeds: list[tuple[int, tuple[str, ...], float, str]], elsewhere: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        told = Past(patch, elsewhere=elsewhere)
        told.cluster.run("llm", ("train-01",), tenant="blue")
        for number, domains, then_s, incident in deeds:
            told.effect(far(number) if number else NEAR, domains=domains, incident=incident)
            told.clock.pass_s(then_s)
        told.books.reconciled, told.books.session = True, told.snapshot().state.session
        policy = orders(told, rest)
        bound = weighed(told, policy)
        with mock.patch.object(past, "LEAST_BACK_S", float("inf")):
            whole = weighed(told, policy)
    assert bound.facts == whole.facts
    assert msgspec.structs.replace(bound.verdict, input_digest="") == msgspec.structs.replace(
        whole.verdict, input_digest=""
    )
    assert len(bound.ledger.effects) <= len(whole.ledger.effects)


# A replay under other orders.

ALLOWS = "  - {id: yes, effect: allow, actions: [node.drain]}\n"
SHORT = Given(ledger={"near_s": {"pool": DAY_S}, "reaches_s": DAY_S})


@pytest.mark.parametrize(
    ("per", "every", "lacks"),
    [("pool", "7d", "7 d of its pool"), ("fleet", "2d", "2 d of its fleet"), ("pool", "24h", ""), ("rack", "30d", "")],
)  # fmt: skip
def test_orders_that_look_farther_back_than_the_record_are_not_replayed_on_it(
    per: str, every: str, lacks: str
) -> None:
    old, new = policy(ALLOWS), policy(ALLOWS, rest=BUDGET.format(per, every))
    found = held([verdict_event(SHORT, old)], old, new)
    assert found.replayed == (0 if lacks else 1)
    if lacks:
        assert found.unreplayed[0].why == f"lack the last {lacks}, which NEW reads"


@pytest.mark.parametrize(
    ("counted", "refused"),
    [("node.drain, check.run", True), ("node.drain", False), ("node.drain, job.requeue", False)],
)
def test_a_count_of_checks_goes_no_farther_back_than_the_checks_that_were_kept(
    counted: str, refused: bool
) -> None:
    rate = f"limits: [{{id: few, actions: [{counted}], per: fleet, rate: {{count: 9, per: 2h}}}}]\n"
    old, new, short = (
        policy(ALLOWS),
        policy(ALLOWS, rest=rate),
        Given(ledger={"thin_s": {"check.run": 60.0}}),
    )
    verdict = short.judged(new)
    assert verdict.decision is (Decision.DENY if refused else Decision.ALLOW)
    assert held([verdict_event(short, old)], old, new).replayed == (0 if refused else 1)


def test_judged_all_the_same_what_is_not_known_counts_as_used() -> None:
    new = policy(ALLOWS, rest=BUDGET.format("pool", "7d"))
    verdict = SHORT.judged(new)
    assert (verdict.decision, verdict.refused_by) == (Decision.DENY, "budget")
    assert "the ledger shows its pool's last 1 d only, and this counts 7 d" in verdict.because


def test_a_line_of_before_holds_all_that_shares_a_domain() -> None:
    old, new = policy(ALLOWS), policy(ALLOWS, rest=BUDGET.format("pool", "7d"))
    event = verdict_event(Given(), old)
    ledger = {k: v for k, v in event.data["input"]["ledger"].items() if k != "near_s"}
    assert held([changed(event, ledger=ledger)], old, new).replayed == 1
