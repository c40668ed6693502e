"""The exact words and fields of verdicts whose parts nothing else pins: people and replays read
them, and a slip in them would be seen by nobody."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.core.policy_case import AUTO, NIGHT, Given, gang, past, policy

from watchkeeper.core.action import CheckRun, JobPreempt, NodeDrain, PoolScale, TicketOpen
from watchkeeper.core.cluster import JobState
from watchkeeper.core.proposal import Impact
from watchkeeper.core.verdict import Autonomy, Decision, Orders, Reason, Verdict
from watchkeeper.policy.judge import judge
from watchkeeper.policy.limits import Touched, exceeded
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.trace import RuleTrace, trace

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


@pytest.mark.parametrize("checked", [None, policy(ALLOW)], ids=["no policy", "a policy"])
def test_a_ticket_is_exactly_a_yes_that_no_rule_gives(checked: CheckedPolicy | None) -> None:
    ticket = TicketOpen(subject="node:train-01", title="t")
    assert Given(action=ticket, orders=Orders(autonomy=Autonomy.OBSERVE)).judged(checked) == (
        Verdict(
            decision=Decision.ALLOW,
            reasons=(
                Reason(
                    kind="rule",
                    id="built-in",
                    says=Decision.ALLOW,
                    text="tickets and pages change nothing and are always allowed",
                ),
            ),
            policy_version=checked.version if checked else "",
        )
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
    assert (found.rule.id, found.state) == ("a", "lapsed")
    assert found.why == "it lapsed at 2026-03-11 00:00Z"


def heard(rule: str, **facts: Any) -> RuleTrace:
    """How one rule for `node.drain` stands, these facts being as given."""
    _, _, known, ledger = Given().inputs()
    rules = f"  - {{id: a, actions: [node.drain], {rule}}}\n"
    (found,) = trace(policy(rules), "node.drain", {**known, **facts}, ledger, NIGHT)
    return found


def test_a_rule_that_is_false_says_so() -> None:
    found = heard("effect: allow, when: node.gpus > 8")
    assert (found.rule.id, found.state, found.why) == ("a", "false", "its condition is false")


@pytest.mark.parametrize(
    ("confidence", "why"),
    [
        (0.8, "a requires confidence 0.9, and it is 0.8"),
        (None, "a requires confidence 0.9, and it is not known"),
    ],
)
def test_a_requirement_that_is_not_met_says_what_there_is(confidence: object, why: str) -> None:
    found = heard(
        "effect: allow, require: {confidence: 0.9}", **{"incident.confidence": confidence}
    )
    assert (found.state, found.why) == ("unmet", why)


@pytest.mark.parametrize(("age_s", "state"), [(600.0, "matched"), (600.001, "unmet")])
def test_a_checkpoint_may_be_as_old_as_is_written_and_no_older(age_s: float, state: str) -> None:
    found = heard(
        "effect: allow, require: {checkpoint_age: 10m}", **{"impact.checkpoint_age": age_s}
    )
    assert found.state == state


def test_a_rule_that_cannot_be_decided_is_named_with_the_error() -> None:
    rules = ALLOW + "  - {id: e, effect: deny, actions: [node.drain], when: 1 / impact.jobs > 5}\n"
    (said,) = [r.text for r in Given().judged(policy(rules)).reasons if r.kind == "error"]
    assert said == "the rule e could not be decided: INVALID_ARGUMENT: divide by zero"


def test_a_question_that_break_glass_answered_says_so() -> None:
    rules = ALLOW + ASK.replace("approvals", "enforcement: soft, approvals")
    verdict = Given(ledger={"lifted": ("q",)}).judged(policy(rules))
    (said,) = [r.text for r in verdict.reasons if r.kind == "lifted"]
    assert said == "q was lifted by break-glass"


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


# What the dial, a failure and a lack of people add.

ASK = "  - {id: q, effect: ask, actions: [node.drain], approvals: {quorum: 1, from: [oncall]}}\n"
OTHERS = (
    "  - {id: o, effect: ask, actions: [node.drain], approvals: {quorum: 1, from: [platform]}}\n"
)


def test_the_dial_at_ask_adds_exactly_this() -> None:
    verdict = Given(orders=Orders(autonomy=Autonomy.ASK)).judged(policy(ALLOW))
    assert verdict.reasons[-1] == Reason(
        kind="dial",
        id="ask",
        says=Decision.ASK,
        text="the dial stands at ask: what the policy allows is asked",
    )


def test_the_dial_at_observe_adds_exactly_this() -> None:
    verdict = Given(orders=Orders(autonomy=Autonomy.OBSERVE)).judged(policy(ALLOW))
    assert verdict.refused_by == "dial"
    assert verdict.reasons[-1] == Reason(
        kind="dial",
        id="observe",
        says=Decision.DENY,
        text="the dial stands at observe: the policy says allow, nothing is done",
    )


def test_a_question_that_nobody_can_answer_is_exactly_this_no() -> None:
    verdict = Given().judged(policy(ASK + OTHERS))
    assert (verdict.decision, verdict.refused_by) == (Decision.DENY, "policy")
    assert verdict.reasons[-1] == Reason(
        kind="refusal",
        id="nobody-to-ask",
        says=Decision.DENY,
        text=(
            "1 person must approve, and nobody can: no group that every matching rule asks has 0"
        ),
    )


def test_a_judge_that_fails_says_exactly_what_failed() -> None:
    proposal, impact, _, ledger = Given().inputs()
    checked = policy(ALLOW)
    verdict = judge(proposal, impact, None, checked, ledger, AUTO, NIGHT)  # type: ignore[arg-type]
    assert verdict.decision is Decision.DENY
    (reason,) = verdict.reasons
    assert (reason.kind, reason.id, reason.says) == ("error", "judge", Decision.DENY)
    assert reason.text.startswith("the judge failed on this proposal: AttributeError: ")
    assert verdict.alert == "The judge itself failed (AttributeError); the proposal was denied."
    assert (verdict.policy_version, verdict.refused_by) == (checked.version, "error")


def test_a_judge_that_fails_without_a_policy_names_no_version() -> None:
    proposal, impact, _, ledger = Given().inputs()
    verdict = judge(proposal, impact, None, None, ledger, AUTO, NIGHT)  # type: ignore[arg-type]
    assert (verdict.refused_by, verdict.policy_version) == ("error", "")


def test_an_error_wakes_a_person_in_these_words() -> None:
    rules = ALLOW + "  - {id: e, effect: deny, actions: [node.drain], when: 1 / impact.jobs > 5}\n"
    assert Given().judged(policy(rules)).alert == (
        "A policy rule could not be decided, so everything it covers is denied: "
        "e at policies/t.yaml:7."
    )


def test_two_limits_reached_wake_a_person_in_two_sentences() -> None:
    rest = (
        "limits:\n"
        "  - {id: x, actions: [node.drain], per: fleet, rate: {count: 0, per: 1h}, reason: Wait.}\n"
        "  - {id: y, actions: [node.drain], per: fleet, concurrency: 0}\n"
    )
    assert Given().judged(policy(ALLOW, rest=rest)).alert == (
        "The limit x (policies/t.yaml:6) is reached: 0 started in fleet within 1 h, and at most "
        "0 may. Wait. "
        "The limit y (policies/t.yaml:7) is reached: 0 under way in fleet, and at most 0 may be "
        "at once."
    )


def test_a_rule_without_a_reason_says_what_it_does() -> None:
    rules = "  - {id: d, effect: deny, actions: [node.drain], when: node.gpus > 1}\n"
    said = {r.id: r.text for r in Given().judged(policy(ALLOW + rules)).reasons}
    assert said == {"a": "the rule a allows it", "d": "the rule d denies it"}
    asked = Given().judged(policy(ASK)).reasons
    assert [r.text for r in asked] == ["the rule q asks about it"]


def test_the_verdict_names_the_windows_that_let_a_rule_speak_and_no_other() -> None:
    rules = (
        "  - {id: a, effect: allow, actions: [node.drain], during: night}\n"
        "  - {id: b, effect: ask, actions: [node.drain], during: day}\n"
    )
    rest = (
        "windows:\n"
        '  day: {days: [mon, tue, wed], from: "06:00", to: "22:00", tz: Europe/Berlin}\n'
        '  night: {days: [mon, tue, wed], from: "22:00", to: "06:00", tz: Europe/Berlin}\n'
    )
    assert Given().judged(policy(rules, rest=rest)).window == (
        "night: open until 06:00 Europe/Berlin (05:00Z)"
    )


def test_a_verdict_without_windows_names_none_and_with_two_that_are_shut_names_both() -> None:
    assert Given().judged(policy(ALLOW)).window == ""
    rules = "  - {id: a, effect: allow, actions: [node.drain], during: [day, late]}\n"
    assert Given().judged(policy(rules, rest=WINDOWS)).window == (
        "day: shut until 06:00 Europe/Berlin (05:00Z); "
        "late: shut until Sat 21 Mar 22:00 Europe/Berlin (21:00Z)"
    )


def test_what_is_asked_is_refused_by_nothing() -> None:
    by_rule = Given().judged(policy(ASK))
    by_dial = Given(orders=Orders(autonomy=Autonomy.ASK)).judged(policy(ALLOW))
    assert (by_rule.decision, by_rule.refused_by) == (Decision.ASK, "")
    assert (by_dial.decision, by_dial.refused_by) == (Decision.ASK, "")


def test_more_people_wanted_than_may_answer_is_said_in_numbers() -> None:
    three = ASK.replace("quorum: 1, from: [oncall]", "quorum: 3, from: [oncall, platform]")
    both = three + ASK.replace("id: q", "id: r")
    (said,) = [r.text for r in Given().judged(policy(both)).reasons if r.kind == "refusal"]
    assert said == "3 people must approve, and nobody can: oncall has 2"


def test_those_who_are_called_a_second_later_are_not_among_those_who_are_asked_first() -> None:
    later = ASK.replace("from: [oncall]", "from: [oncall], escalate: {after: 1s, to: [platform]}")
    obligations = Given().judged(policy(later)).obligations
    assert obligations is not None
    assert (obligations.groups, obligations.escalate_to) == (("oncall",), ("platform",))


# What a limit counts where the domains are bare.


def limit(**keys: object) -> str:
    said = ", ".join(f"{key}: {value}" for key, value in {"id": "l", **keys}.items())
    return f"limits:\n  - {{{said}}}\n"


def test_a_bound_for_each_job_counts_nodes_under_way_for_it() -> None:
    jobs = {"g": gang("g", "train-01", "train-03")}
    busy = (past("node.drain", "train-03", open=True, domains=("job:g",)),)
    rest = limit(actions="[node.drain]", per="job", max_out="{count: 1}")
    assert Given(jobs=jobs).judged(policy(ALLOW, rest=rest)).decision is Decision.ALLOW
    over = Given(jobs=jobs, effects=busy).judged(policy(ALLOW, rest=rest))
    assert [r.text for r in over.reasons if r.kind == "limit"] == [
        "2 of job:g would be out, and at most 1 may be"
    ]


def test_a_domain_that_the_impact_does_not_count_is_counted_as_its_pool() -> None:
    touched = Touched(
        Given().inputs()[0],
        Impact(nodes=("n",), pool="p", pool_size=4, pool_out_before=1, pool_out_after=2),
        (),
    )
    rest = limit(actions="[node.drain]", per="pool", max_out="{percent: 25}")
    (over,) = exceeded(policy(ALLOW, rest=rest).limits, touched)
    assert over[1] == "2 of pool:p would be out, and at most 1 may be"


def test_a_past_that_is_not_known_counts_as_used_in_these_words() -> None:
    rest = limit(actions="[node.drain]", per="fleet", rate="{count: 9, per: 2h}")
    given = Given(ledger={"reaches_s": 4000.0})
    said = [r.text for r in given.judged(policy(ALLOW, rest=rest)).reasons if r.kind == "limit"]
    assert said == [
        "the ledger shows the fleet's last 4000 s only, and this counts 2 h; "
        "what is not known counts as used"
    ]


@pytest.mark.parametrize("per", ["tenant", "job"])
@pytest.mark.parametrize("bound", ["rate: {count: 0, per: 1h}", "concurrency: 0"])
def test_a_limit_for_each_tenant_or_job_lets_pass_what_touches_none(per: str, bound: str) -> None:
    rest = f"limits:\n  - {{id: l, actions: [node.drain], per: {per}, {bound}}}\n"
    assert Given().judged(policy(ALLOW, rest=rest)).decision is Decision.ALLOW


def test_what_lies_in_no_rack_cannot_be_counted_for_one_in_these_words() -> None:
    rules = "  - {id: a, effect: allow, actions: [pool.scale, node.drain]}\n"
    rest = limit(actions="[pool.scale, node.drain]", per="rack", rate="{count: 9, per: 1h}")
    scale = Given(action=PoolScale(pool="train", add=1)).judged(policy(rules, rest=rest))
    assert [r.text for r in scale.reasons if r.kind == "limit"] == [
        "the rack of this action is not known, so it cannot be counted"
    ]


def test_a_node_of_no_pool_cannot_be_counted_for_its_pool_in_these_words() -> None:
    touched = Touched(Given().inputs()[0], Impact(nodes=("n", "m"), pool_out_after=1), ())
    rest = limit(actions="[node.drain]", per="pool", max_out="{count: 4}")
    (over,) = exceeded(policy(ALLOW, rest=rest).limits, touched)
    assert over[1] == "the pool of n, m is not known, so it cannot be counted"
