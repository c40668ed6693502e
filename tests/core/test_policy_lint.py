"""What `policy check` finds odd in a whole policy although every line of it is well formed: errors
for what can never have been meant, warnings for what is likely a slip."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.core.policy_case import HEAD, NIGHT, policy, shipped

from watchkeeper.core.errors import PolicyError
from watchkeeper.policy.check import report
from watchkeeper.policy.load import load

BODY = HEAD + "people: {oncall: [ann, bob], platform: [cid], break-glass: [ann]}\n"
ALLOW = "  - {id: yes, effect: allow, actions: [node.drain, node.cordon]}\n"
NIGHTS = (
    "windows:\n"
    '  night: {days: [mon, tue], from: "22:00", to: "06:00", tz: UTC}\n'
    '  noon: {days: [mon, tue], from: "12:00", to: "13:00", tz: UTC}\n'
)


def warnings(rules: str, rest: str = "") -> list[str]:
    checked = load({"policies/t.yaml": BODY + rest + "rules:\n" + rules}, NIGHT)
    return [str(p) for p in checked.warnings]


def errors(rules: str, rest: str = "") -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load({"policies/t.yaml": BODY + rest + "rules:\n" + rules}, NIGHT)
    return [str(p) for p in caught.value.problems]


def rule(ident: str, effect: str, tail: str = "", actions: str = "node.drain") -> str:
    more = f", {tail}" if tail else ""
    return f"  - {{id: {ident}, effect: {effect}, actions: [{actions}]{more}}}\n"


def test_the_shipped_orders_are_without_a_warning() -> None:
    assert [str(p) for p in shipped().warnings] == []


def test_a_policy_with_every_word_of_the_language_may_be_without_a_warning() -> None:
    rest = (
        NIGHTS
        + "variables: {big: node.gpus > 4}\n"
        + "lists: {ours: [train]}\n"
        + "prices: {default: 2 USD}\n"
        + "limits:\n  - {id: l, actions: [node.drain], per: pool, max_out: {count: 1, percent: 50},"
        + " rate: {count: 2, per: 1h}, concurrency: 1, enforcement: soft}\n"
        + "budgets: [{id: b, every: 7d, per: tenant, disruptions: 3}]\n"
        + "exceptions:\n  - {id: e, rule: no, owner: o, ticket: t, until: 2026-04-01, reason: r}\n"
    )
    rules = (
        ALLOW
        + rule("no", "deny", "during: [night, noon], when: var.big && node.pool in list.ours")
        + rule("q", "ask", "enforcement: soft, when: impact.jobs > 1, mode: shadow")
    )
    assert warnings(rules, rest) == []


# Rules behind a wall.


@pytest.mark.parametrize(
    ("wall", "behind"),
    [
        (rule("w", "deny"), rule("b", "allow")),
        (rule("w", "deny"), rule("b", "ask")),
        (rule("w", "deny"), rule("b", "allow", "when: node.gpus > 4, during: night")),
        (rule("w", "deny", "when: node.fenced"), rule("b", "allow", "when: node.fenced")),
        (
            rule("w", "deny", "when: node.pool == 'x'"),
            rule("b", "allow", 'when: (node.fenced) && (node.pool=="x")'),
        ),
        (
            rule("w", "deny", "when: node.pool == 'x' && node.fenced"),
            rule("b", "allow", "when: node.fenced && impact.jobs == 0 && node.pool == 'x'"),
        ),
        (rule("w", "deny", "during: night"), rule("b", "allow", "during: night")),
        (rule("w", "deny", "during: [night, noon]"), rule("b", "allow", "during: noon")),
        (
            rule("w", "deny") + rule("v", "deny", actions="node.cordon"),
            rule("b", "allow", actions="node.drain, node.cordon"),
        ),
    ],
    ids=[
        "an allow behind a deny",
        "an ask behind a deny",
        "whatever else it wants",
        "the same condition",
        "a part of its condition, written another way",
        "parts in any order",
        "the same window",
        "one of its windows",
        "two walls together",
    ],
)
def test_what_a_stricter_rule_always_overtakes_is_an_error(wall: str, behind: str) -> None:
    other = rule("c", "allow", actions="check.run")
    for rules in (wall + behind + other, behind + wall + other):
        assert any(
            "the rule 'b' can never decide: 'w' always denies" in e for e in errors(rules, NIGHTS)
        )


def test_an_allow_behind_a_question_is_a_warning_since_it_still_says_when_to_verify() -> None:
    said = warnings(rule("w", "ask") + rule("b", "allow", "require: {verify_within: 3m}"))
    assert any("'b' can never decide: 'w' always asks" in w for w in said)
    both = (
        rule("v", "deny", actions="node.cordon")
        + rule("w", "ask")
        + rule("b", "allow", actions="node.drain, node.cordon")
    )
    assert any("'w' always asks" in w for w in warnings(both))


@pytest.mark.parametrize(
    ("wall", "behind"),
    [
        (rule("w", "deny", "enforcement: soft"), rule("b", "allow")),
        (rule("w", "deny", "enforcement: advisory"), rule("b", "allow")),
        (rule("w", "deny", "mode: shadow"), rule("b", "allow")),
        (rule("w", "deny", "until: 2026-12-01"), rule("b", "allow")),
        (rule("w", "deny", "during: night"), rule("b", "allow")),
        (rule("w", "deny", "during: night"), rule("b", "allow", "during: [night, noon]")),
        (rule("w", "deny", "when: node.gpus > 4"), rule("b", "allow")),
        (rule("w", "deny", "when: node.gpus > 4"), rule("b", "allow", "when: node.gpus > 3")),
        (
            rule("w", "deny", "when: node.gpus > 4"),
            rule("b", "allow", "when: node.gpus > 4 || node.fenced"),
        ),
        (rule("w", "deny", actions="node.cordon"), rule("b", "allow")),
        (rule("w", "allow"), rule("b", "deny", "when: node.gpus > 4")),
        (rule("w", "deny"), rule("b", "allow", "mode: shadow")),
        (rule("w", "deny"), rule("b", "ask", "enforcement: advisory")),
    ],
    ids=[
        "break-glass may lift the wall",
        "the wall is advice",
        "the wall is in shadow",
        "the wall has an end",
        "the wall has a window",
        "the wall has one window of two",
        "the wall has a condition",
        "another condition",
        "a condition in an or",
        "another action",
        "the looser one",
        "it is in shadow: it decides nothing anyway",
        "it is advice",
    ],
)
def test_what_may_be_reached_at_times_is_left_alone(wall: str, behind: str) -> None:
    rest = NIGHTS if "during" in wall + behind else ""
    other = rule("c", "allow", actions="check.run")
    said = warnings(wall + behind + other, rest)
    assert not any("can never decide" in w for w in said)


def test_an_exception_opens_the_wall() -> None:
    rest = "exceptions:\n  - {id: e, rule: w, owner: o, ticket: t, until: 2026-04-01, reason: r}\n"
    rules = rule("w", "deny") + rule("b", "allow")
    assert warnings(rules, rest) == []
    assert errors(rules)


def test_two_rules_that_say_the_same_are_an_error_and_differ_by_any_word() -> None:
    one = rule("a", "ask", "when: node.gpus > 4")
    assert "says the same as 'a'" in errors(one + rule("b", "ask", "when: 'node.gpus > 4 '"))[0]
    for tail in (
        "when: node.gpus > 4, mode: shadow",
        "when: node.gpus > 4, enforcement: soft",
        "when: node.gpus > 4, until: 2026-12-01",
        "when: node.gpus > 4, approvals: {quorum: 2}",
        "when: node.gpus > 4, require: {confidence: 0.5}",
        "when: node.gpus > 5",
    ):
        assert not any("says the same" in w for w in warnings(one + rule("b", "ask", tail)))


# People.


def test_a_question_that_nobody_can_answer_is_an_error() -> None:
    said = errors(rule("q", "ask", "approvals: {quorum: 3, from: [oncall]}"))
    assert said == ["policies/t.yaml:6:1: the rule 'q' asks 3 of 2 people"]
    alone = HEAD + "rules:\n" + rule("q", "ask")
    with pytest.raises(PolicyError, match="asks 1 of 0 people; name them under `people`"):
        load({"policies/t.yaml": alone}, NIGHT)


def test_two_questions_without_a_group_in_common_are_a_warning() -> None:
    oncall = rule("q", "ask", "approvals: {from: [oncall]}")
    platform = rule("p", "ask", "approvals: {from: [platform]}, when: node.gpus > 1")
    assert any("ask different groups" in w for w in warnings(oncall + platform))
    both = platform.replace("[platform]", "[platform, oncall]")
    assert not any("different groups" in w for w in warnings(oncall + both))


@pytest.mark.parametrize(
    ("rules", "rest"),
    [
        (ALLOW + rule("s", "deny", "enforcement: soft, when: node.gpus > 1"), ""),
        (
            ALLOW,
            "limits:\n  - {id: s, actions: [node.drain], per: pool, concurrency: 1,"
            " enforcement: soft}\n",
        ),
        (ALLOW, "budgets: [{id: s, every: 1d, disruptions: 1, enforcement: soft}]\n"),
    ],
    ids=["a rule", "a limit", "a budget"],
)
def test_what_is_soft_where_nobody_may_break_the_glass_is_a_warning(rules: str, rest: str) -> None:
    assert not any("soft" in w for w in warnings(rules, rest))
    said = [str(w) for w in policy(rules, rest=rest).warnings]  # no group break-glass there
    assert any("'s' is soft, and nobody may lift it: no group 'break-glass'" in w for w in said)


# Limits and budgets that never bind.


@pytest.mark.parametrize(
    ("limit", "piece"),
    [
        ("actions: [job.requeue], per: pool, max_out: {count: 1}", "none of its actions takes"),
        ("actions: [node.drain], per: rack, max_out: {percent: 51}", "half of a rack is built in"),
        ("actions: [node.drain], per: pool, rate: {count: 40, per: 1h}", "20 an hour is built in"),
        ("actions: [node.drain], per: pool, max_out: {count: 1}", ""),
        ("actions: [job.requeue, node.drain], per: pool, max_out: {count: 1}", ""),
        ("actions: [node.drain], per: rack, max_out: {percent: 50}", ""),
        ("actions: [node.drain], per: fleet, max_out: {percent: 51}", ""),
        ("actions: [node.drain], per: pool, rate: {count: 39, per: 1h}", ""),
        ("actions: [check.run], per: pool, rate: {count: 40, per: 1h}", ""),
        ("actions: [node.drain], per: pool, rate: {count: 0, per: 1h}", ""),
    ],
)
def test_a_limit_that_can_never_bind_is_a_warning(limit: str, piece: str) -> None:
    said = warnings(ALLOW, f"limits:\n  - {{id: l, {limit}}}\n")
    assert any(piece in w for w in said) if piece else not any("never bind" in w for w in said)


@pytest.mark.parametrize(
    ("budget", "idle"),
    [
        ("actions: [check.run], disruptions: 1", True),
        ("actions: [check.run, node.drain], disruptions: 1", False),
        ("actions: [check.run], gpu_hours: 1", False),
    ],
)
def test_a_budget_that_can_never_bind_is_a_warning(budget: str, idle: bool) -> None:
    said = warnings(ALLOW, f"budgets: [{{id: b, every: 1d, {budget}}}]\n")
    assert any("the budget 'b' can never bind" in w for w in said) is idle


# What is over, and what nothing uses.


def test_a_window_that_is_over_is_told_apart_from_one_that_never_opens() -> None:
    over = NIGHTS.replace("tz: UTC}", "tz: UTC, last: 2026-03-01}", 1)
    rules = ALLOW + rule("n", "deny", "during: [night, noon], when: node.gpus > 1")
    checked = load({"policies/t.yaml": BODY + over + "rules:\n" + rules}, NIGHT)
    assert [p.message for p in checked.over] == ["the window 'night' is over since 2026-03-01"]
    never = NIGHTS.replace("tz: UTC}", "tz: UTC, first: 2026-03-18, last: 2026-03-19}", 1)
    assert any("the window 'night' never opens" in e for e in errors(rules, never))


def test_a_window_a_variable_or_a_list_that_nothing_uses_is_a_warning() -> None:
    rest = NIGHTS + "variables: {a: var.b, b: node.gpus > 1}\nlists: {l: [x]}\n"
    said = warnings(ALLOW, rest)
    assert [w.partition(": ")[2] for w in said] == [
        "no rule uses the window 'night'",
        "no rule uses the window 'noon'",
        "nothing uses the variable 'a'",
        "nothing uses the list 'l'",
    ]
    assert said[2].startswith("policies/t.yaml:8:1: ")


def test_a_variable_that_only_an_exception_uses_is_used() -> None:
    rest = (
        "variables: {a: node.gpus > 1}\n"
        "exceptions:\n  - {id: e, rule: w, owner: o, ticket: t, until: 2026-04-01, reason: r,"
        " when: var.a}\n"
    )
    assert warnings(ALLOW + rule("w", "deny", "when: node.fenced"), rest) == []


@pytest.mark.parametrize(
    "rules",
    [
        rule("d", "deny"),
        rule("s", "allow", "mode: shadow"),
        rule("a", "ask", "enforcement: advisory"),
    ],
    ids=["only denies", "only shadow", "only advice"],
)
def test_a_policy_that_lets_nothing_happen_is_a_warning(rules: str) -> None:
    assert any("no rule allows or asks anything" in w for w in warnings(rules))
    assert not any("no rule allows" in w for w in warnings(ALLOW))


def test_a_warning_leaves_the_policy_sound_and_is_printed_with_its_line() -> None:
    text, sound = report(
        {"policies/t.yaml": BODY + "lists: {l: [x]}\nrules:\n" + ALLOW},
        datetime(2026, 3, 18, tzinfo=UTC),
    )
    assert sound
    assert "policies/t.yaml:5:1: warning: nothing uses the list 'l'\n    lists: {l: [x]}" in text
    assert "1 warning" in text


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("var.train && !var.train", "can never be true"),
        ("node.pool == 'a' && node.pool == 'b'", "can never be true"),
        ("node.gpus > 4 && node.gpus < 5", "can never be true"),
        ("node.gpus > 4 ? false : node.gpus > 6", "can never be true"),
        ("action.kind == 'node.reboot'", "can never be true"),
        ("node.gpus > 4 || node.gpus <= 4", "is always true"),
        ("node.pool in ['a'] || node.pool != 'a'", "is always true"),
        ("node.pool == 'a' || node.pool == 'b'", ""),
        ("node.gpus > 4 && var.train", ""),
        ("'a' in node.labels && node.labels['a'] == 'b'", ""),
        ("impact.tenants.exists(t, t == 'x') && impact.tenants.exists(t, t == 'y')", ""),
    ],
)
def test_check_finds_a_condition_that_is_the_same_in_every_case(when: str, said: str) -> None:
    rest = "variables: {train: node.pool == 'train'}\n"
    text = BODY + rest + "rules:\n" + rule("r", "allow", f'when: "{when}"')
    text += rule("s", "allow", "when: var.train")
    told, sound = report({"policies/t.yaml": text}, NIGHT)
    assert sound == (said != "can never be true")
    assert (f"the condition of the rule 'r' {said}" in told) == bool(said)
    load({"policies/t.yaml": text}, NIGHT)  # a load, which must be fast, does not search


def test_check_passes_over_a_condition_of_too_many_parts() -> None:
    when = (
        " || ".join(f"node.name == 'n' && node.gpus > {i}" for i in range(20))
        + " && world != world"
    )
    assert report(
        {"policies/t.yaml": BODY + "rules:\n" + rule("r", "allow", f'when: "{when}"')}, NIGHT
    )[1]


def test_check_reads_the_tests_beside_the_orders_and_tells_what_is_wrong_with_them() -> None:
    orders = {"policies/t.yaml": BODY + "rules:\n" + ALLOW}
    told, sound = report(orders, NIGHT, {"policies/t_test.yaml": "garbage: [\n"})
    assert not sound
    assert "policies/t_test.yaml:" in told
    assert "1 problem in 2 files." in told
    told, sound = report(
        {"policies/t.yaml": "also: garbage\n"}, NIGHT, {"policies/t_test.yaml": "x"}
    )
    assert "policies/t.yaml:" in told
    assert "policies/t_test.yaml:" in told
