"""The judge: strictness, defaults, requirements, obligations, the dial, and never raising."""

# ruff: noqa: E501  (tables read best one case a line)

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from tests.core.policy_case import DAY, DEAD, NIGHT, Given, gang, nodes, policy

from watchkeeper.core.action import NodeRestart
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.verdict import Autonomy, Orders, Verdict
from watchkeeper.policy.judge import judge

ALLOW = "  - {id: yes, effect: allow, actions: [node.drain]}\n"
ASK = "  - {id: maybe, effect: ask, actions: [node.drain]}\n"
DENY = "  - {id: no, effect: deny, actions: [node.drain], when: node.gpus > 1}\n"
WINDOWS = (
    "windows:\n"
    '  night: {days: [wed], from: "00:00", to: "06:00", tz: Europe/Berlin}\n'
    '  noon: {days: [wed], from: "12:00", to: "16:00", tz: Europe/Berlin}\n'
)


def said(rules: str, given: Given = Given(), *, rest: str = "", now: datetime = NIGHT) -> Verdict:  # noqa: B008
    return given.judged(policy(rules, rest=rest), now)


@pytest.mark.parametrize(
    ("rules", "decision", "refused_by"),
    [
        ("", "deny", "default"),
        ("  - {id: x, effect: allow, actions: [node.cordon]}\n", "deny", "default"),
        (ALLOW, "allow", ""),
        (ASK, "ask", ""),
        (DENY, "deny", "policy"),
        (ALLOW + ASK, "ask", ""),
        (ASK + ALLOW, "ask", ""),
        (ALLOW + ASK + DENY, "deny", "policy"),
        (
            ALLOW + "  - {id: z, effect: ask, actions: [node.drain], when: node.gpus > 99}\n",
            "allow",
            "",
        ),
        (ALLOW + "  - {id: z, effect: deny, actions: [node.cordon]}\n", "allow", ""),
        (
            ALLOW + "  - {id: z, effect: deny, actions: [node.drain], until: 2026-01-01}\n",
            "allow",
            "",
        ),
        (
            "  - {id: z, effect: allow, actions: [node.drain], until: 2026-01-01}\n",
            "deny",
            "default",
        ),
    ],
    ids=[
        "nothing is written",
        "nothing is written for this",
        "allow",
        "ask",
        "deny",
        "ask beats allow",
        "in any order",
        "deny beats both",
        "an ask that does not match",
        "a deny for something else",
        "a deny that is over",
        "an allow that is over",
    ],
)
def test_the_strictest_matching_rule_decides_and_nothing_is_denied(
    rules: str, decision: str, refused_by: str
) -> None:
    verdict = said(rules)
    assert (verdict.decision.value, verdict.refused_by) == (decision, refused_by)
    assert verdict.alert == ""


def test_without_a_policy_nothing_that_changes_the_cluster_is_done() -> None:
    verdict = Given().judged(None)
    assert (verdict.decision.value, verdict.refused_by) == ("deny", "default")
    assert verdict.policy_version == ""


def test_an_error_in_any_rule_denies_and_wakes_a_person() -> None:
    broken = "  - {id: bad, effect: allow, actions: [node.drain], when: node.gpus / 0 > 1}\n"
    verdict = said(ALLOW + broken)
    assert (verdict.decision.value, verdict.refused_by) == ("deny", "error")
    assert "bad at policies/t.yaml:7" in verdict.alert
    (reason,) = [r for r in verdict.reasons if r.kind == "error"]
    assert (reason.id, reason.where) == ("bad", "policies/t.yaml:7")


def test_an_error_in_a_rule_whose_window_is_shut_or_that_is_shadow_harms_nobody() -> None:
    bad = "when: node.gpus / 0 > 1}\n"
    shut = "  - {id: bad, effect: deny, actions: [node.drain], during: noon, " + bad
    shadow = "  - {id: worse, effect: deny, actions: [node.drain], mode: shadow, " + bad
    assert said(ALLOW + shut + shadow, rest=WINDOWS).decision.value == "allow"
    assert said(ALLOW + shut, rest=WINDOWS, now=DAY).refused_by == "error"


@pytest.mark.parametrize(
    ("during", "now", "decision"),
    [
        ("night", NIGHT, "allow"),
        ("night", DAY, "deny"),
        ("noon", DAY, "allow"),
        ("[night, noon]", NIGHT, "allow"),
        ("[night, noon]", DAY, "allow"),
        ("[noon, night]", DAY.replace(hour=19), "deny"),
    ],
)
def test_several_windows_are_a_union(during: str, now: datetime, decision: str) -> None:
    rule = f"  - {{id: w, effect: allow, actions: [node.drain], during: {during}}}\n"
    assert said(rule, rest=WINDOWS, now=now).decision.value == decision


def test_a_deny_window_that_is_shut_denies_nothing_and_open_it_wins() -> None:
    freeze = "  - {id: freeze, effect: deny, actions: [node.drain], during: noon}\n"
    assert said(ALLOW + freeze, rest=WINDOWS, now=NIGHT).decision.value == "allow"
    assert said(ALLOW + freeze, rest=WINDOWS, now=DAY).decision.value == "deny"


def test_the_verdict_says_which_window_mattered_and_until_when() -> None:
    rule = "  - {id: w, effect: allow, actions: [node.drain], during: night}\n"
    assert said(rule, rest=WINDOWS).window == "night: open until 06:00 Europe/Berlin (05:00Z)"
    denied = said(rule, rest=WINDOWS, now=DAY)
    assert denied.window == "night: shut until Wed 25 Mar 00:00 Europe/Berlin (23:00Z)"
    assert "shut: night" in denied.because


def test_a_shadow_rule_is_recorded_and_decides_nothing() -> None:
    shadow = "  - {id: s, effect: deny, actions: [node.drain], mode: shadow}\n"
    verdict = said(ALLOW + shadow)
    assert verdict.decision.value == "allow"
    (seen,) = [r for r in verdict.reasons if r.shadow]
    assert (seen.id, seen.says.value) == ("s", "deny")
    assert seen.text not in verdict.because


@pytest.mark.parametrize(
    ("require", "given", "decision"),
    [
        ("confidence: 0.9", Given(confidence=0.9), "allow"),
        ("confidence: 0.9", Given(confidence=0.89), "deny"),
        ("independent_sources: 2", Given(sources=2), "allow"),
        ("independent_sources: 2", Given(sources=1), "deny"),
        ("checkpoint_age: 2m", Given(), "allow"),
        ("checkpoint_age: 2m", Given(jobs={"g": gang("g", "train-01")}), "allow"),
        ("checkpoint_age: 30s", Given(jobs={"g": gang("g", "train-01")}), "deny"),
        (
            "checkpoint_age: 52w",
            Given(jobs={"g": gang("g", "train-01", checkpoint_at=None)}),
            "deny",
        ),
        ("verify_within: 5m", Given(), "allow"),
    ],
)
def test_an_allow_grants_only_what_meets_its_requirement(
    require: str, given: Given, decision: str
) -> None:
    rule = f"  - {{id: r, effect: allow, actions: [node.drain], require: {{{require}}}}}\n"
    verdict = said(rule, given)
    assert verdict.decision.value == decision
    if decision == "deny":
        assert verdict.refused_by == "default"
        (unmet,) = [r for r in verdict.reasons if r.kind == "requirement"]
        assert (unmet.id, unmet.where) == ("r", "policies/t.yaml:6")
        assert "requires" in verdict.because


def test_an_ask_that_lacks_its_requirement_is_not_stepped_over_by_an_allow() -> None:
    ask = "  - {id: q, effect: ask, actions: [node.drain], require: {confidence: 0.99}}\n"
    assert said(ASK + ask).decision.value == "deny"
    assert said(ALLOW + ask).decision.value == "deny"
    assert said(ALLOW + ask, Given(confidence=1.0)).decision.value == "ask"


def test_obligations_of_all_matching_asks_add_up() -> None:
    verdict = said(
        "  - {id: a, effect: ask, actions: [node.drain], approvals: {quorum: 2, expires: 30m}}\n"
        "  - {id: b, effect: ask, actions: [node.drain], approvals: {expires: 5m, from: [oncall], on_timeout: deny}}\n"
        "  - {id: c, effect: ask, actions: [node.drain], approvals: {from: [oncall, platform]}, require: {verify_within: 9m}}\n"
        "  - {id: d, effect: allow, actions: [node.drain], require: {verify_within: 4m}}\n"
    )
    asks = verdict.obligations
    assert verdict.decision.value == "ask"
    assert asks is not None
    assert (asks.quorum, asks.expires_s, asks.groups) == (2, 300.0, ("oncall",))
    assert asks.on_timeout == "escalate"
    assert verdict.verify_within_s == 240.0


def test_a_question_that_nobody_can_answer_is_a_no() -> None:
    verdict = said(
        "  - {id: a, effect: ask, actions: [node.drain], approvals: {from: [oncall]}}\n"
        "  - {id: b, effect: ask, actions: [node.drain], approvals: {from: [platform]}}\n"
    )
    assert (verdict.decision.value, verdict.refused_by) == ("deny", "policy")
    assert "1 person must approve, and nobody can" in verdict.because


@pytest.mark.parametrize(
    ("dial", "rules", "approved", "decision", "refused_by"),
    [
        ("auto", ALLOW, False, "allow", ""),
        ("auto", ASK, False, "ask", ""),
        ("ask", ALLOW, False, "ask", ""),
        ("ask", ASK, False, "ask", ""),
        ("ask", ALLOW, True, "allow", ""),
        ("ask", ASK, True, "ask", ""),
        ("ask", DENY, True, "deny", "policy"),
        ("observe", ALLOW, True, "deny", "dial"),
        ("observe", ASK, False, "deny", "dial"),
        ("observe", DENY, False, "deny", "policy"),
    ],
)
def test_the_dial_caps_the_policy_and_never_loosens_it(
    dial: str, rules: str, approved: bool, decision: str, refused_by: str
) -> None:
    given = Given(orders=Orders(autonomy=Autonomy(dial)), approved=approved)
    verdict = said(rules, given)
    assert (verdict.decision.value, verdict.refused_by) == (decision, refused_by)


def test_the_dial_asks_one_person_of_any_group() -> None:
    verdict = said(ALLOW, Given(orders=Orders(autonomy=Autonomy.ASK)))
    assert verdict.obligations is not None
    assert (verdict.obligations.quorum, verdict.obligations.groups) == (1, ("oncall", "platform"))


def test_a_label_decides_only_where_it_is() -> None:
    deny = (
        "  - id: hands-off\n    effect: deny\n    actions: [node.drain]\n"
        '    when: \'"reserved-for" in node.labels && node.labels["reserved-for"] == "demo"\'\n'
    )
    for labels, decision in ({}, "allow"), ({"reserved-for": "demo"}, "deny"), ({"reserved-for": "x"}, "allow"):  # fmt: skip
        given = Given(nodes=nodes(train_01={"labels": labels}))
        assert said(ALLOW + deny, given).decision.value == decision


@pytest.mark.parametrize(
    "swap",
    [
        {"facts": None},
        {"facts": {"world": "lab", "node.control_path": False, "node.gpus": object()}},
        {"impact": None},
        {"ledger": None},
        {"orders": None},
        {"now": None},
        {"now": datetime(2026, 1, 1)},
        {"policy": object()},
        {"proposal": None},
        {"ledger": LedgerView(effects=(None,))},  # type: ignore[arg-type]
    ],
)
def test_whatever_is_handed_in_the_judge_answers_and_the_answer_is_no(swap: dict[str, Any]) -> None:
    proposal, impact, facts, ledger = Given().inputs()
    inputs: dict[str, Any] = {
        "proposal": proposal,
        "impact": impact,
        "facts": facts,
        "policy": policy(DENY + ALLOW, rest=WINDOWS),
        "ledger": ledger,
        "orders": Given().orders,
        "now": NIGHT,
    }
    verdict = judge(**{**inputs, **swap})
    assert verdict.decision.value == "deny"


def test_the_same_inputs_give_the_same_verdict() -> None:
    rules = policy(ALLOW + ASK, rest=WINDOWS)
    given = Given(
        action=NodeRestart(node="train-01", incarnation="inc-1"), nodes=nodes(train_01=DEAD)
    )
    assert given.judged(rules) == given.judged(rules)
