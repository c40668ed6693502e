"""Enforcement and mode: what is only said, what a person may lift, what nobody may, and what a
rule in shadow would have done."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.policy_case import Given, nodes, past, policy

from watchkeeper.core.errors import PolicyError
from watchkeeper.core.verdict import Autonomy, Decision, Orders, Verdict

ALLOW = "  - {id: yes, effect: allow, actions: [node.drain]}\n"
ERRS = "when: node.gpus / (node.gpus - 8) > 0"  # a division by zero on our nodes, which have 8


def rule(ident: str, effect: str, tail: str = "") -> str:
    more = f", {tail}" if tail else ""
    return f"  - {{id: {ident}, effect: {effect}, actions: [node.drain]{more}}}\n"


def bound(what: str, ident: str, tail: str = "") -> str:
    more = f", {tail}" if tail else ""
    if what == "limit":
        return (
            f"limits:\n  - {{id: {ident}, actions: [node.drain], per: fleet,"
            f" rate: {{count: 0, per: 1h}}{more}}}\n"
        )
    return f"budgets:\n  - {{id: {ident}, every: 1d, disruptions: 0{more}}}\n"


def judged(
    rules: str, given: Given | None = None, *, lifted: tuple[str, ...] = (), rest: str = ""
) -> Verdict:
    case = given or Given()
    return case.but(ledger={**case.ledger, "lifted": lifted}).judged(policy(rules, rest=rest))


def kinds(verdict: Verdict, ident: str) -> set[str]:
    return {r.kind for r in verdict.reasons if r.id == ident}


BOUNDS = pytest.mark.parametrize("what", ["limit", "budget"])


# Advisory.


@pytest.mark.parametrize("effect", ["ask", "deny"])
def test_an_advisory_rule_is_said_and_changes_nothing(effect: str) -> None:
    plain = judged(ALLOW)
    advised = judged(ALLOW + rule("word", effect, "enforcement: advisory, reason: Better not."))
    assert (advised.decision, advised.obligations) == (plain.decision, plain.obligations)
    (said,) = [r for r in advised.reasons if r.id == "word"]
    assert (said.kind, said.says.value, said.text) == ("advice", effect, "Better not.")
    assert not said.binds
    assert advised.alert == ""


def test_an_advisory_ask_alone_lets_nothing_happen() -> None:
    verdict = judged(rule("word", "ask", "enforcement: advisory"))
    assert (verdict.decision, verdict.refused_by) == (Decision.DENY, "default")


@pytest.mark.parametrize("effect", ["ask", "deny"])
def test_an_advisory_rule_that_cannot_be_decided_denies_and_wakes_a_person(effect: str) -> None:
    verdict = judged(ALLOW + rule("word", effect, f"enforcement: advisory, {ERRS}"))
    assert (verdict.decision, verdict.refused_by) == (Decision.DENY, "error")
    assert "word at policies/t.yaml" in verdict.alert
    assert verdict.liftable == ()


def test_an_advisory_ask_whose_requirement_is_not_met_is_advice_too() -> None:
    asks = rule("word", "ask", "enforcement: advisory, require: {confidence: 0.99}")
    verdict = judged(ALLOW + asks)
    assert verdict.decision is Decision.ALLOW
    assert kinds(verdict, "word") == {"advice"}


@BOUNDS
def test_an_advisory_bound_that_is_reached_is_said_and_changes_nothing(what: str) -> None:
    verdict = judged(ALLOW, rest=bound(what, "word", "enforcement: advisory, reason: Enough."))
    assert (verdict.decision, verdict.alert) == (Decision.ALLOW, "")
    (said,) = [r for r in verdict.reasons if r.id == "word"]
    assert said.kind == "advice"
    assert said.text.endswith("Enough.")


# Soft and hard.


@pytest.mark.parametrize(
    ("rules", "rest", "liftable"),
    [
        (ALLOW + rule("no", "deny", "enforcement: soft, when: node.gpus > 1"), "", ("no",)),
        (ALLOW + rule("no", "deny", "when: node.gpus > 1"), "", ()),
        (
            ALLOW
            + rule("no", "deny", "enforcement: soft, when: node.gpus > 1")
            + rule("never", "deny", "when: node.gpus > 2"),
            "",
            (),
        ),
        (rule("no", "deny", "enforcement: soft"), "", ()),
        (
            ALLOW + rule("no", "deny", "enforcement: soft, when: node.gpus > 1"),
            bound("limit", "cap", "enforcement: soft"),
            ("cap", "no"),
        ),
        (
            ALLOW + rule("no", "deny", "enforcement: soft, when: node.gpus > 1"),
            bound("limit", "cap"),
            (),
        ),
        (ALLOW, bound("limit", "cap", "enforcement: soft"), ("cap",)),
        (ALLOW, bound("budget", "cap", "enforcement: soft"), ("cap",)),
        (ALLOW, bound("budget", "cap"), ()),
        (rule("q", "ask", "enforcement: soft"), "", ("q",)),
        (rule("q", "ask"), "", ()),
        (rule("q", "ask", "enforcement: soft") + rule("p", "ask", "when: node.gpus > 1"), "", ()),
        (
            ALLOW
            + rule("q", "ask", "enforcement: soft, require: {confidence: 0.99}")
            + rule("no", "deny", "enforcement: soft, when: node.gpus > 1"),
            "",
            (),
        ),
        (
            rule("q", "ask") + rule("no", "deny", "enforcement: soft, when: node.gpus > 1"),
            "",
            ("no",),
        ),
        (ALLOW, "", ()),
    ],
    ids=[
        "a soft deny",
        "a hard deny",
        "a soft and a hard deny",
        "a soft deny, and nothing that would allow it then",
        "a soft deny and a soft limit behind it",
        "a soft deny and a hard limit behind it",
        "a soft limit",
        "a soft budget",
        "a hard budget",
        "a soft ask",
        "a hard ask",
        "a soft and a hard ask",
        "a question whose requirement is not met",
        "a soft deny before a question",
        "nothing",
    ],
)
def test_liftable_is_what_alone_stands_in_the_way_and_is_soft(
    rules: str, rest: str, liftable: tuple[str, ...]
) -> None:
    verdict = judged(rules, rest=rest)
    assert verdict.liftable == liftable
    if liftable:
        after = judged(rules, rest=rest, lifted=liftable)
        assert after.decision.strictness < verdict.decision.strictness


def test_what_was_lifted_is_said_and_does_not_bind() -> None:
    rules = ALLOW + rule("no", "deny", "enforcement: soft, when: node.gpus > 1")
    verdict = judged(rules, lifted=("no",))
    assert verdict.decision is Decision.ALLOW
    assert kinds(verdict, "no") == {"lifted"}
    assert not next(r for r in verdict.reasons if r.id == "no").binds


@BOUNDS
def test_a_soft_bound_that_was_lifted_is_said_and_does_not_bind(what: str) -> None:
    verdict = judged(ALLOW, rest=bound(what, "cap", "enforcement: soft"), lifted=("cap",))
    assert (verdict.decision, verdict.alert) == (Decision.ALLOW, "")
    assert kinds(verdict, "cap") == {"lifted"}


@BOUNDS
def test_what_is_hard_nobody_lifts_whatever_the_ledger_says(what: str) -> None:
    deny = ALLOW + rule("no", "deny", "when: node.gpus > 1")
    assert judged(deny, lifted=("no",)) == judged(deny)
    capped = judged(ALLOW, rest=bound(what, "cap"), lifted=("cap",))
    assert (capped.decision, capped.refused_by) == (Decision.DENY, what)


def test_a_soft_question_that_was_lifted_is_answered() -> None:
    asks = rule("q", "ask", "enforcement: soft, approvals: {quorum: 2, from: [oncall]}")
    verdict = judged(asks, lifted=("q",))
    assert (verdict.decision, verdict.obligations) == (Decision.ALLOW, None)


def test_a_lifted_question_still_requires_what_it_requires() -> None:
    asks = rule("q", "ask", "enforcement: soft, require: {confidence: 0.99}")
    verdict = judged(ALLOW + asks, lifted=("q",))
    assert (verdict.decision, verdict.refused_by) == (Decision.DENY, "policy")
    assert kinds(verdict, "q") == {"requirement"}


def test_a_lifted_question_still_says_how_soon_to_verify() -> None:
    asks = rule("q", "ask", "enforcement: soft, require: {verify_within: 3m}")
    assert judged(asks, lifted=("q",)).verify_within_s == 180.0


@BOUNDS
def test_what_stands_behind_a_lifted_question_may_be_lifted_as_well(what: str) -> None:
    asks = rule("q", "ask", "enforcement: soft")
    verdict = judged(asks, rest=bound(what, "cap", "enforcement: soft"), lifted=("q",))
    assert (verdict.refused_by, verdict.liftable) == (what, ("cap",))
    assert f"The {what} cap" in verdict.alert


def test_lifting_one_of_two_leaves_the_other() -> None:
    rules = ALLOW + "".join(
        rule(name, "deny", f"enforcement: soft, when: node.gpus > {i}")
        for i, name in enumerate(("no", "never"))
    )
    assert judged(rules, lifted=("no",)).liftable == ("never",)


@pytest.mark.parametrize(
    ("given", "refused_by"),
    [
        (Given(nodes=nodes(train_01={"control_path": True})), "invariant"),
        (Given(ledger={"halted": "half of the pool is ill"}), "invariant"),
    ],
    ids=["the control path", "a halted watch"],
)
def test_s13_what_an_invariant_refuses_no_break_glass_lifts(given: Given, refused_by: str) -> None:
    rules = ALLOW + rule("no", "deny", "enforcement: soft, when: node.gpus > 1")
    verdict = judged(rules, given)
    assert (verdict.refused_by, verdict.liftable) == (refused_by, ())
    assert judged(rules, given, lifted=("no",)).refused_by == refused_by


@pytest.mark.parametrize(
    ("level", "rules", "liftable"),
    [
        (Autonomy.OBSERVE, rule("q", "ask", "enforcement: soft"), ()),
        (
            Autonomy.OBSERVE,
            ALLOW + rule("no", "deny", "enforcement: soft, when: node.gpus > 1"),
            (),
        ),
        (Autonomy.ASK, rule("q", "ask", "enforcement: soft"), ()),
        (Autonomy.ASK, ALLOW, ()),
        (
            Autonomy.ASK,
            ALLOW + rule("no", "deny", "enforcement: soft, when: node.gpus > 1"),
            ("no",),
        ),
    ],
    ids=[
        "at observe nothing is done, whoever answers",
        "at observe nothing is done, whoever lifts",
        "at ask a question stays a question",
        "at ask what is allowed is asked",
        "at ask a soft deny may become a question",
    ],
)
def test_the_dial_is_no_soft_rule(level: Autonomy, rules: str, liftable: tuple[str, ...]) -> None:
    verdict = judged(rules, Given(orders=Orders(autonomy=level)))
    assert verdict.liftable == liftable


def test_an_allow_has_no_enforcement() -> None:
    with pytest.raises(PolicyError, match="an allow forbids nothing"):
        policy(rule("yes", "allow", "enforcement: soft"))


@BOUNDS
def test_two_orders_of_one_name_may_not_be_soft(what: str) -> None:
    rules = ALLOW + rule("one", "deny", "enforcement: soft, when: node.gpus > 1")
    with pytest.raises(PolicyError, match="break-glass could not tell them apart"):
        policy(rules, rest=bound(what, "one"))
    policy(rules.replace("enforcement: soft, ", ""), rest=bound(what, "one"))


# Shadow.


def shadowed(
    rules: str, *, rest: str = "", level: Autonomy = Autonomy.AUTO, **more: Any
) -> Decision | None:
    return judged(rules, Given(orders=Orders(autonomy=level), **more), rest=rest).would_be


@pytest.mark.parametrize(
    ("rules", "rest", "would_be"),
    [
        (ALLOW, "", None),
        (ALLOW + rule("s", "deny", "mode: shadow"), "", Decision.DENY),
        (ALLOW + rule("s", "ask", "mode: shadow"), "", Decision.ASK),
        (rule("s", "allow", "mode: shadow"), "", Decision.ALLOW),
        (rule("s", "allow", "mode: shadow") + rule("q", "ask"), "", None),
        (ALLOW + rule("s", "deny", "mode: shadow, when: node.gpus > 99"), "", None),
        (ALLOW + rule("s", "deny", f"mode: shadow, {ERRS}"), "", Decision.DENY),
        (ALLOW + rule("s", "deny", "mode: shadow, enforcement: advisory"), "", None),
        (ALLOW, bound("limit", "s", "mode: shadow"), Decision.DENY),
        (ALLOW, bound("budget", "s", "mode: shadow"), Decision.DENY),
        (ALLOW, bound("limit", "s", "mode: shadow, enforcement: advisory"), None),
        (rule("s", "allow", "mode: shadow"), bound("limit", "cap"), None),
        (
            ALLOW + "  - {id: s, effect: ask, actions: [node.drain], mode: shadow,"
            " approvals: {from: [oncall]}}\n"
            + "  - {id: t, effect: ask, actions: [node.drain], mode: shadow,"
            " approvals: {from: [platform]}}\n",
            "",
            Decision.DENY,
        ),
    ],
    ids=[
        "nothing in shadow",
        "a deny",
        "an ask",
        "an allow",
        "an allow behind a question",
        "a rule that does not match",
        "a rule that cannot be decided",
        "advice in shadow is still advice",
        "a limit",
        "a budget",
        "an advisory limit",
        "an allow, and a limit that refuses it",
        "questions that nobody could answer",
    ],
)
def test_the_would_be_decision_is_told_where_it_differs(
    rules: str, rest: str, would_be: Decision | None
) -> None:
    assert shadowed(rules, rest=rest) == would_be


@pytest.mark.parametrize(
    ("level", "would_be"),
    [(Autonomy.AUTO, Decision.DENY), (Autonomy.ASK, Decision.DENY), (Autonomy.OBSERVE, None)],
)
def test_the_would_be_decision_is_under_the_dial_as_well(
    level: Autonomy, would_be: Decision | None
) -> None:
    assert shadowed(ALLOW + rule("s", "deny", "mode: shadow"), level=level) == would_be
    asks = shadowed(ALLOW + rule("s", "ask", "mode: shadow"), level=level)
    assert asks == (Decision.ASK if level is Autonomy.AUTO else None)


def test_what_an_invariant_refuses_no_shadow_would_allow() -> None:
    rules = rule("s", "allow", "mode: shadow")
    assert shadowed(rules, nodes=nodes(train_01={"control_path": True})) is None


def test_a_shadow_allow_wakes_nobody_for_a_limit_that_nothing_real_reaches() -> None:
    verdict = judged(rule("s", "allow", "mode: shadow"), rest=bound("limit", "cap"))
    assert (verdict.refused_by, verdict.alert) == ("default", "")
    assert not kinds(verdict, "cap")
    assert "cap" not in verdict.because


def test_a_shadow_rule_that_cannot_be_decided_denies_nothing_and_wakes_nobody() -> None:
    verdict = judged(ALLOW + rule("s", "deny", f"mode: shadow, {ERRS}"))
    assert (verdict.decision, verdict.alert) == (Decision.ALLOW, "")


def test_a_shadow_bound_counts_what_real_effects_used() -> None:
    cap = bound("limit", "s", "mode: shadow").replace("count: 0", "count: 1")
    assert shadowed(ALLOW, rest=cap) is None
    assert shadowed(ALLOW, rest=cap, effects=(past("node.drain"),)) is Decision.DENY


# The words of an alert.


def test_an_alert_says_the_same_whatever_the_order_of_the_limits() -> None:
    one, two = (bound("limit", name).removeprefix("limits:\n") for name in ("a", "b"))
    alerts = [judged(ALLOW, rest=f"limits:\n{x}{y}").alert for x, y in ((one, two), (two, one))]
    told = [[alert.index(f"The limit {name}") for name in ("a", "b")] for alert in alerts]
    assert all(a < b for a, b in told)


def test_an_alert_names_the_same_rule_whatever_the_order_of_the_files() -> None:
    one = rule("a", "deny", ERRS)
    two = rule("b", "ask", ERRS)
    assert "a at policies/t.yaml:7" in judged(two + one).alert
    assert "a at policies/t.yaml:6" in judged(one + two).alert
