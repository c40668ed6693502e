"""The exact words and fields of verdicts whose parts nothing else pins: people and replays read
them, and a slip in them would be seen by nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.core.policy_case import AUTO, NIGHT, Given, gang, past, policy

from watchkeeper.core.action import CheckRun, JobPreempt, NodeDrain
from watchkeeper.core.cluster import JobState
from watchkeeper.core.verdict import Autonomy, Decision, Orders, Reason, Verdict
from watchkeeper.policy.trace import trace

NO_POLICY = Reason(
    kind="default",
    id="no-policy",
    says=Decision.DENY,
    text="there is no policy, and without one nothing may be done",
)
ALLOW = "  - {id: a, effect: allow, actions: [node.drain, job.preempt, check.run]}\n"
WINDOWS = (
    "windows:\n"
    '  day: {days: [mon, tue, wed, thu, fri], from: "06:00", to: "22:00", tz: Europe/Berlin}\n'
    '  late: {days: [sat], from: "22:00", to: "23:00", tz: Europe/Berlin}\n'
)


def test_without_a_policy_the_verdict_is_exactly_a_no() -> None:
    assert Given().judged(None) == Verdict(
        decision=Decision.DENY, reasons=(NO_POLICY,), policy_version="", refused_by="default"
    )


def test_without_a_policy_what_is_built_in_is_still_said_first_and_still_wakes() -> None:
    stopped = Orders(autonomy=Autonomy.AUTO, stopped=True, stopped_by="ann")
    verdict = Given(orders=stopped).judged(None)
    assert [r.id for r in verdict.reasons] == ["S4", "no-policy"]
    assert (verdict.refused_by, verdict.alert, verdict.halts) == ("invariant", "", False)
    ill = Given(orders=AUTO, ledger={"newly_unhealthy": {"train": 3}}).judged(None)
    assert ill.halts
    assert ill.alert.startswith("S9: Too many unhealthy at once halts the watch. 3 of 4 nodes")


def test_a_default_deny_names_the_kind_and_every_window_that_is_shut() -> None:
    rules = "  - {id: a, effect: allow, actions: [node.drain], during: [day, late]}\n"
    verdict = Given().judged(policy(rules, rest=WINDOWS))
    assert verdict.reasons == (
        Reason(
            kind="default",
            id="default-deny",
            says=Decision.DENY,
            text="no rule allows node.drain here and now (shut: day, late)",
        ),
    )


@pytest.mark.parametrize(
    ("during", "why"), [("day", "day is shut"), ("[day, late]", "day and late are shut")]
)
def test_a_shut_rule_says_which_of_its_windows_are_shut(during: str, why: str) -> None:
    rules = f"  - {{id: a, effect: allow, actions: [node.drain], during: {during}}}\n"
    rest = WINDOWS if "late" in during else WINDOWS.split("  late")[0]
    _, _, facts, ledger = Given().inputs()
    (found,) = trace(policy(rules, rest=rest), "node.drain", facts, ledger, NIGHT)
    assert (found.state, found.why) == ("shut", why)


def test_a_lapsed_rule_says_since_when() -> None:
    rules = "  - {id: a, effect: allow, actions: [node.drain], until: 2026-03-10}\n"
    _, _, facts, ledger = Given().inputs()
    (found,) = trace(policy(rules, at=NIGHT), "node.drain", facts, ledger, NIGHT)
    assert (found.state, found.why) == ("lapsed", "it lapsed at 2026-03-11 00:00Z")


def budget(**keys: object) -> str:
    said = ", ".join(f"{key}: {value}" for key, value in {"id": "b", "every": "7d", **keys}.items())
    return f"budgets:\n  - {{{said}}}\n"


def test_a_budget_for_each_job_counts_the_job_that_the_action_names() -> None:
    waiting = gang("g", state=JobState.WAITING)
    preempt = Given(action=JobPreempt(job="g", attempt_id="g-a1"), jobs={"g": waiting})
    checked = policy(ALLOW, rest=budget(per="job", disruptions=0))
    assert preempt.judged(checked).refused_by == "budget"
    assert Given().judged(checked).decision is Decision.ALLOW, "no gang: no job to count for"


def test_a_budget_of_disruptions_costs_what_disrupts_nothing_nothing() -> None:
    checked = policy(ALLOW, rest=budget(disruptions=0))
    check = Given(action=CheckRun(node="train-01", incarnation="inc-1"))
    assert check.judged(checked).decision is Decision.ALLOW
    assert Given().judged(checked).refused_by == "budget"


def test_going_on_for_one_tenant_does_not_excuse_another() -> None:
    jobs = {
        "a": gang("a", "train-01", tenant="acme", gpus=4.0),
        "z": gang("z", "train-01", tenant="zeta", gpus=4.0),
    }
    done = (
        past("node.drain", "train-01", incident="INC-1", domains=("tenant:acme",)),
        past("node.drain", "train-03", incident="INC-7", domains=("tenant:zeta",)),
    )
    given = Given(action=NodeDrain(node="train-01", incarnation="inc-1"), jobs=jobs, effects=done)
    verdict = given.judged(policy(ALLOW, rest=budget(per="tenant", disruptions=1)))
    assert verdict.refused_by == "budget"
    (said,) = [r.text for r in verdict.reasons if r.kind == "budget"]
    assert said == (
        "1 disruptions used in tenant:zeta within 7 d, this would add 1, and at most 1 may be used"
    )


def test_a_budget_of_money_says_that_a_pool_has_no_price() -> None:
    rest = "prices: {other: 2 USD}\n" + budget(money="5 USD")
    verdict = Given().judged(policy(ALLOW, rest=rest))
    (said,) = [r for r in verdict.reasons if r.kind == "budget"]
    assert said.text == "what this costs is not known: its pool has no price"


def test_a_rule_lapses_at_midnight_after_its_last_day_and_not_a_moment_earlier() -> None:
    rules = "  - {id: a, effect: allow, actions: [node.drain], until: 2026-03-18}\n"
    checked = policy(rules, at=NIGHT)
    last = NIGHT.replace(hour=23, minute=59, second=59)
    assert Given().judged(checked, last).decision is Decision.ALLOW
    assert Given().judged(checked, last + timedelta(seconds=1)).refused_by == "default"
