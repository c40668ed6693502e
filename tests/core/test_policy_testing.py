"""Tests of a policy: what is read, what is compared, what counts as covered."""

# ruff: noqa: E501  (the tables read best one case a line)

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.policy_case import HEAD, NIGHT, PEOPLE, policy

from watchkeeper.adapters.policy_files import read_test_dir
from watchkeeper.core.errors import Problem, UsageError
from watchkeeper.core.facts import FACTS
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.trial import case_schema, case_text
from watchkeeper.policy.trial.cases import Results, run
from watchkeeper.policy.trial.junit import junit

SCHEMA = Path(__file__).parents[2] / "policies" / "policy-test.schema.json"
TOP = (
    "apiVersion: watchkeeper/v1\n"
    "kind: PolicyTest\n"
    "metadata: {name: t}\n"
    "at: 2026-03-18T02:30 Europe/Berlin\n"
)
REST = (
    'windows: {night: {days: [mon, tue, wed, thu, fri, sat, sun], from: "22:00", to: "06:00", tz: Europe/Berlin}}\n'
    "limits:\n"
    "  - {id: few, actions: [node.drain], per: pool, max_out: {count: 2}, reason: Wait.}\n"
    "  - {id: slow, actions: [node.drain], per: fleet, rate: {count: 2, per: 1h}}\n"
)
RULES = """\
  - {id: sure, effect: allow, actions: [node.drain], during: night, require: {confidence: 0.8, verify_within: 5m}}
  - {id: unsure, effect: ask, actions: [node.drain], when: incident.confidence < 0.8, approvals: {quorum: 2, from: [oncall], expires: 15m}}
  - {id: reserved, effect: deny, actions: [node.drain, node.reboot], when: '"reserved-for" in node.labels'}
  - {id: always, effect: allow, actions: [check.run]}
  - {id: dry, effect: deny, mode: shadow, actions: [node.drain], when: node.rack == "r9"}
"""
SURE = "given: {proposal: {action: node.drain}, incident: {confidence: 0.9}}"


def orders() -> CheckedPolicy:
    return policy(RULES, rest=REST)


def ran(tests: str, *, top: str = TOP, checked: CheckedPolicy | None = None) -> Results:
    """The results of the YAML below `tests:`."""
    return run(checked or orders(), {"policies/t_test.yaml": f"{top}tests:\n{tests}"})


def one(body: str, *, top: str = TOP, checked: CheckedPolicy | None = None) -> Results:
    """One test, its keys as flow YAML lines."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return ran(f"  - name: a test\n{lines}", top=top, checked=checked)


def problem(results: Results) -> Problem:
    assert len(results.problems) == 1, results.problems
    assert not results.results
    assert not results.passed
    return results.problems[0]


# ---- what is compared ----

PASSING: list[tuple[str, str, str]] = [
    ("allow, by its rule", SURE, "{verdict: allow, rules: [sure], verify_within: 5m}"),
    ("one rule without a list", SURE, "{verdict: allow, rules: sure, shadow: none, limits: none}"),
    ("ask, with all it demands", "given: {proposal: {action: node.drain}}", "{verdict: ask, rules: [unsure], obligations: {quorum: 2, groups: ['group:oncall'], expires: 15m, on_timeout: escalate}}"),
    ("deny by a rule", "given: {proposal: {action: node.drain}, node: {labels: {reserved-for: demo}}}", "{verdict: deny, rules: [reserved], refused_by: policy, by: reserved}"),
    ("a clock of its own", "at: 2026-03-18T14:00 Europe/Berlin\n" + SURE, "{verdict: deny, refused_by: default, rules: none, by: default-deny}"),
    ("an offset is a zone", "at: 2026-03-18T14:00+01:00\n" + SURE, "{verdict: deny}"),
    ("Z is a zone", "at: 2026-03-18 01:30:00Z\n" + SURE, "{verdict: allow}"),
    ("a limit, and the rule that would have allowed it", SURE[:-1] + ", ledger: {out: {'pool:workers': 2}}}", "{verdict: deny, rules: [sure], limits: [few], refused_by: limit, by: [few]}"),
    ("a rate", SURE[:-1] + ", ledger: {effects: [{action: node.drain, ago: 10m, times: 2}]}}", "{verdict: deny, limits: slow, refused_by: limit}"),
    ("an invariant by its number", SURE[:-1] + ", node: {repairs_7d: 3}}", "{verdict: deny, refused_by: invariant, by: S20, rules: sure, halts: false}"),
    ("the dial", SURE[:-1] + ", orders: {autonomy: ask}}", "{verdict: ask, rules: [sure], obligations: {quorum: 1}}"),
    ("the dial at observe", SURE[:-1] + ", orders: {autonomy: observe}}", "{verdict: deny, refused_by: dial, by: observe}"),
    ("a shadow rule", SURE[:-1] + ", node: {rack: r9}}", "{verdict: allow, shadow: [dry], would_be: deny}"),
    ("unknown stands for Unknown", SURE[:-1] + ", node: {silent_for: unknown}}", "{verdict: deny, by: S10}"),
    ("a page needs no rule", "given: {proposal: {action: notify.page}}", "{verdict: allow, rules: none}"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "body", "expect"), PASSING, ids=[p[0] for p in PASSING])
def test_a_test_passes_when_the_final_verdict_is_as_expected(
    what: str, body: str, expect: str
) -> None:
    results = one(f"{body}\nexpect: {expect}")
    assert not results.problems, [str(p) for p in results.problems]
    assert results.passed, case_text.text(results, coverage=False)


FAILING: list[tuple[str, str, str, list[tuple[str, str, str]]]] = [
    ("another verdict", SURE, "{verdict: ask}", [("verdict", "ask", "allow")]),
    ("another rule", SURE, "{verdict: allow, rules: [always]}", [("rules", "always", "sure")]),
    ("one rule too many", SURE, "{verdict: allow, rules: [sure, unsure]}", [("rules", "sure, unsure", "sure")]),
    ("none, and there is one", SURE, "{verdict: allow, rules: none}", [("rules", "none", "sure")]),
    ("a limit that did not refuse", SURE, "{verdict: allow, limits: [few]}", [("limits", "few", "none")]),
    ("a refusal of an allow", SURE, "{verdict: allow, refused_by: limit}", [("refused by", "limit", "none")]),
    ("who refused", SURE[:-1] + ", node: {repairs_7d: 3}}", "{verdict: deny, by: [S20, S3]}", [("by", "S20, S3", "S20")]),
    ("obligations of an allow", SURE, "{verdict: allow, obligations: {quorum: 1}}", [("obligations: quorum", "1", "none")]),
    ("obligations that differ", "given: {proposal: {action: node.drain}}", "{verdict: ask, obligations: {quorum: 1, groups: [platform], expires: 90s}}", [("obligations: quorum", "1", "2"), ("obligations: groups", "platform", "oncall"), ("obligations: expires", "90 s", "15 min")]),
    ("a halt that is none", SURE, "{verdict: allow, halts: true}", [("halts", "yes", "no")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "body", "expect", "differences"), FAILING, ids=[f[0] for f in FAILING]
)
def test_a_test_fails_with_each_part_that_differs(
    what: str, body: str, expect: str, differences: list[tuple[str, str, str]]
) -> None:
    results = one(f"{body}\nexpect: {expect}")
    assert not results.passed
    assert [tuple(d) for d in results.failures[0].differences] == differences


def test_only_what_is_named_is_compared() -> None:
    assert one(f"{SURE}\nexpect: {{verdict: allow}}").passed


def test_a_failure_shows_its_place_both_sides_the_clock_and_what_held_the_rule_back() -> None:
    results = one(
        "given: {proposal: {action: node.drain}, incident: {confidence: 0.9}, node: {labels: {reserved-for: x}}}\nexpect: {verdict: ask, rules: [unsure]}"
    )
    text = case_text.text(results, coverage=False)
    assert text.splitlines() == [
        "policies/t_test.yaml:6: FAILED: a test",
        "    verdict: expected ask, got deny",
        "    rules: expected unsure, got reserved",
        "    Drain node-01 within 60 s, at 2026-03-18 02:30 Europe/Berlin (01:30Z):",
        "      policies/t.yaml:10 sure says allow: the rule sure allows it",
        "      policies/t.yaml:12 reserved says deny: the rule reserved denies it",
        "      policies/t.yaml:11 unsure did not match: its condition is false (incident.confidence = 0.9)",
        "",
        "1 test in 1 file: 0 passed, 1 failed.",
    ]  # fmt: skip


def test_a_rule_that_does_not_name_the_action_is_said_to_not_name_it() -> None:
    results = one(f"{SURE}\nexpect: {{verdict: allow, rules: [always]}}")
    assert results.failures[0].why[-1] == "always does not name node.drain"


def test_defaults_of_the_file_lie_under_every_test_key_by_key() -> None:
    top = (
        TOP
        + "given: {proposal: {action: node.drain}, incident: {confidence: 0.9}, node: {rack: r1, labels: {reserved-for: x}}}\n"
    )
    results = ran(
        "  - {name: as given, expect: {verdict: deny, rules: [reserved]}}\n"
        "  - {name: one key changed, given: {node: {labels: {}}}, expect: {verdict: allow, rules: [sure]}}\n"
        "  - {name: of another scope, given: {proposal: {action: notify.page}}, expect: {verdict: allow}}\n",
        top=top,
    )
    assert results.passed, case_text.text(results, coverage=False)
    impact = results.results[1].scenario.impact
    assert "rack:r1" in impact.domain_size


# ---- what cannot be read ----

# what, body, line, column, a piece of the message, the nearest valid word
MISTAKES: list[tuple[str, str, int, int, str, str]] = [
    ("an unknown fact", "given: {proposal: {action: node.drain}, node: {rak: r1}}\nexpect: {verdict: allow}", 7, 52, "no key 'rak'", "rack"),
    ("an unknown group of facts", "given: {proposal: {action: node.drain}, nod: {rack: r1}}\nexpect: {verdict: allow}", 7, 45, "no key 'nod'", "node"),
    ("a fact that the action lacks", "given: {proposal: {action: node.drain}, pool: {pending_gpus: 3}}\nexpect: {verdict: allow}", 7, 52, "pool.pending_gpus is not a fact of node.drain", ""),
    ("a fact that the action lacks, with one like it", "given: {proposal: {action: pool.scale}, scale: {add: 1}, node: {name: a}}\nexpect: {verdict: allow}", 7, 69, "node.name is not a fact of pool.scale", "pool.name"),
    ("what follows from the action", "given: {proposal: {action: node.drain}, action: {kind: x}}\nexpect: {verdict: allow}", 7, 45, "no key 'action'", ""),
    ("a word for a number", "given: {proposal: {action: node.drain}, incident: {confidence: high}}\nexpect: {verdict: allow}", 7, 68, "must be a number from 0 to 1", ""),
    ("a word for a truth", "given: {proposal: {action: node.drain}, node: {fenced: yes}}\nexpect: {verdict: allow}", 7, 60, "one of true, false, not 'yes'", ""),
    ("a bare number for a duration", "given: {proposal: {action: node.drain}, node: {silent_for: 20}}\nexpect: {verdict: allow}", 7, 64, "a duration such as 15m", ""),
    ("a state that is none", "given: {proposal: {action: node.drain}, node: {ray_state: ded}}\nexpect: {verdict: allow}", 7, 63, "not 'ded'", "dead"),
    ("a kind that is none", "given: {proposal: {action: node.drian}}\nexpect: {verdict: allow}", 7, 32, "cannot be 'node.drian'", "node.drain"),
    ("a moment without a zone", "at: 2026-03-18T02:30\n" + SURE + "\nexpect: {verdict: allow}", 7, 9, "a moment and its zone", ""),
    ("a zone that is none", "at: 2026-03-18T02:30 Europe/Berln\n" + SURE + "\nexpect: {verdict: allow}", 7, 9, "'Europe/Berln' is not an IANA time zone", "Europe/Berlin"),
    ("a day that is none", "at: 2026-02-30T02:30Z\n" + SURE + "\nexpect: {verdict: allow}", 7, 9, "is no moment", ""),
    ("an hour that never comes", "at: 2026-03-29T02:30 Europe/Berlin\n" + SURE + "\nexpect: {verdict: allow}", 7, 9, "never comes: the clocks jump over it", ""),
    ("no verdict", SURE + "\nexpect: {rules: [sure]}", 8, 13, "lacks the key 'verdict'", ""),
    ("no expectation", SURE, 6, 5, "lacks the key 'expect'", ""),
    ("a moment that is none, and no other", "at: noon\n" + SURE + "\nexpect: {verdict: allow}", 7, 9, "a moment and its zone", ""),
    ("no action", "expect: {verdict: allow}", 6, 5, "what is asked for", ""),
    ("a rule that is none", SURE + "\nexpect: {verdict: allow, rules: [shure]}", 8, 37, "no 'shure' for `rules`", "sure"),
    ("a limit that is none", SURE + "\nexpect: {verdict: allow, limits: [fww]}", 8, 38, "no 'fww' for `limits`", "few"),
    ("an invariant that is none", SURE + "\nexpect: {verdict: deny, by: [S99]}", 8, 33, "no 'S99' for `by`", "S9"),
    ("a group that is none", SURE + "\nexpect: {verdict: ask, obligations: {groups: [onkall]}}", 8, 41, "no group 'onkall'", "oncall"),
    ("an unknown part", SURE + "\nexpect: {verdict: allow, refused-by: limit}", 8, 30, "no key 'refused-by'", "refused_by"),
    ("a refusal by nobody", SURE + "\nexpect: {verdict: deny, refused_by: limits}", 8, 41, "not 'limits'", "limit"),
    ("a case that contradicts itself", "given: {proposal: {action: node.drain}, pool: {out: 30}}\nexpect: {verdict: allow}", 7, 52, "30 nodes of pool:workers are out, and it has 20", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "body", "line", "column", "says", "hint"), MISTAKES, ids=[m[0] for m in MISTAKES]
)
def test_a_mistake_is_reported_with_its_place_and_the_right_word(
    what: str, body: str, line: int, column: int, says: str, hint: str
) -> None:
    found = problem(one(body))
    assert (found.file, found.line, found.column) == ("policies/t_test.yaml", line, column)
    assert says in found.message
    assert found.suggestion == hint


def test_a_default_that_no_test_can_use_is_a_mistake() -> None:
    found = problem(
        one(f"{SURE}\nexpect: {{verdict: allow}}", top=TOP + "given: {scale: {add: 1}}\n")
    )
    assert (found.line, found.offending) == (5, "scale.add")


def test_a_test_needs_a_moment() -> None:
    top = TOP.replace("at: 2026-03-18T02:30 Europe/Berlin\n", "")
    assert (
        "2026-03-18T02:30 Europe/Berlin"
        in problem(one(f"{SURE}\nexpect: {{verdict: allow}}", top=top)).message
    )


def test_two_tests_of_one_name_are_a_mistake() -> None:
    test = f"  - {{name: twice, {SURE}, expect: {{verdict: allow}}}}\n"
    assert "stands twice; first on line 6" in problem(ran(test + test)).message


def test_all_mistakes_of_all_files_are_reported_and_no_test_is_run() -> None:
    good = f"{TOP}tests:\n  - {{name: a, {SURE}, expect: {{verdict: allow}}}}\n"
    bad = good.replace("verdict: allow", "verdict: alow")
    results = run(
        orders(),
        {"policies/b_test.yaml": bad, "policies/a_test.yaml": bad, "policies/c_test.yaml": good},
    )
    assert [p.file for p in results.problems] == ["policies/a_test.yaml", "policies/b_test.yaml"]
    assert not results.results


@given(st.text(max_size=200))
def test_no_text_makes_the_runner_fail(text: str) -> None:
    assert run(_ORDERS, {"policies/t_test.yaml": TOP + text}).problems or not text.strip()


_ORDERS = policy(RULES, rest=REST)


# ---- coverage ----


def lacking(results: Results) -> dict[str, tuple[str, ...]]:
    return {decided.rule.id: decided.lacks for decided in results.coverage.rules}


TRUE_AND_FALSE = (
    f"  - {{name: sure, {SURE}, expect: {{verdict: allow}}}}\n"
    "  - {name: unsure, given: {proposal: {action: node.drain}}, expect: {verdict: ask}}\n"
    "  - {name: reserved, given: {proposal: {action: node.reboot}, node: {labels: {reserved-for: x}}}, expect: {verdict: deny}}\n"
    "  - {name: check, given: {proposal: {action: check.run}}, expect: {verdict: allow}}\n"
    "  - {name: dry, given: {proposal: {action: node.drain}, node: {rack: r9}}, expect: {verdict: ask}}\n"
)  # fmt: skip


def test_a_rule_is_covered_when_it_was_true_and_was_false() -> None:
    results = ran(TRUE_AND_FALSE)
    assert results.passed, case_text.text(results, coverage=False)
    assert set(lacking(results).values()) == {()}
    assert (results.coverage.covered, results.coverage.percent) == (5, 100.0)


def test_a_rule_that_holds_always_needs_only_true_and_one_that_no_test_asks_lacks_it() -> None:
    without_check = TRUE_AND_FALSE.replace("check.run", "notify.page")
    assert lacking(ran(without_check))["always"] == ("true",)
    assert lacking(ran(TRUE_AND_FALSE))["always"] == ()


def test_only_tests_of_an_action_that_the_rule_names_count() -> None:
    only_pages = (
        "  - {name: p, given: {proposal: {action: notify.page}}, expect: {verdict: allow}}\n"
    )
    assert lacking(ran(only_pages)) == {
        "sure": ("true", "false"),
        "unsure": ("true", "false"),
        "reserved": ("true", "false"),
        "always": ("true",),
        "dry": ("true", "false"),
    }


@pytest.mark.parametrize(
    ("what", "rules", "rest", "at"),
    [
        ("its window was shut", "  - {id: r, effect: allow, actions: [check.run], during: night}\n", REST, "2026-03-18T14:00Z"),
        ("a requirement was not met", "  - {id: r, effect: allow, actions: [check.run], require: {confidence: 0.5}}\n", "", "2026-03-18T14:00Z"),
        ("it was over", "  - {id: r, effect: allow, actions: [check.run], until: 2026-04-01}\n", "", "2026-04-02T00:00Z"),
        ("an exception lifted it", "  - {id: r, effect: deny, actions: [check.run]}\n  - {id: a, effect: ask, actions: [check.run, node.drain]}\n", "exceptions: [{id: E1, rule: r, owner: o, ticket: T-1, until: 2026-04-01, reason: why}]\n", "2026-03-18T14:00Z"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)  # fmt: skip
def test_a_decision_counts_as_false_when(what: str, rules: str, rest: str, at: str) -> None:
    checked = policy(rules, rest=rest, at=NIGHT)
    results = ran(
        f"  - {{name: x, at: {at}, given: {{proposal: {{action: check.run}}}}, expect: {{verdict: allow}}}}\n",
        checked=checked,
    )
    decided = next(d for d in results.coverage.rules if d.rule.id == "r")
    assert (decided.trues, decided.falses) == (0, 1)


def test_limits_say_in_how_many_tests_they_refused() -> None:
    full = SURE[:-1] + ", ledger: {out: {'pool:workers': 2}}}"
    results = ran(f"  - {{name: full, {full}, expect: {{verdict: deny}}}}\n")
    assert [(b.id, b.times) for b in results.coverage.bounds] == [("few", 1), ("slow", 0)]
    text = case_text.text(results, coverage=True)
    assert "policies/t.yaml:7: limit few: refused in 1 test" in text
    assert "policies/t.yaml:8: limit slow: bound in no test" in text
    assert "policies/t.yaml:11: unsure: never true (true 0, false 1)" in text
    assert "Coverage: 0 of 5 rules, 0 %." in text


def test_no_tests_cover_nothing_and_all_of_them_pass() -> None:
    results = run(orders(), {})
    assert results.passed
    assert results.coverage.percent == 0.0


# ---- the forms of the results ----


def test_junit_holds_every_test_and_survives_any_text() -> None:
    name = 'a < b & "c" ]]> \\u0007 \\u0000'
    results = ran(
        f'  - {{name: "{name}", {SURE}, expect: {{verdict: deny}}}}\n'
        f"  - {{name: good, {SURE}, expect: {{verdict: allow}}}}\n".replace('"c"', '\\"c\\"')
    )
    root = Xml.fromstring(junit(results))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "1", "0")
    bad, good = root.iter("testcase")
    assert bad.get("name") == 'a < b & "c" ]]> \ufffd \ufffd'
    assert (bad.get("file"), bad.get("line")) == ("policies/t_test.yaml", "6")
    failure = bad.find("failure")
    assert failure is not None
    assert failure.get("message") == "verdict: expected deny, got allow"
    assert "policies/t.yaml:10 sure" in (failure.text or "")
    assert good.find("failure") is None


def test_junit_shows_a_file_that_cannot_be_read_as_an_error() -> None:
    results = one(f"{SURE}\nexpect: {{verdict: alow}}")
    root = Xml.fromstring(junit(results))
    assert root.get("errors") == "1"
    error = root.find(".//error")
    assert error is not None
    assert "policies/t_test.yaml:8:" in (error.get("message") or "")


def test_the_plain_form_is_json() -> None:
    value = json.loads(json.dumps(case_text.value(one(f"{SURE}\nexpect: {{verdict: ask}}"))))
    assert (value["passed"], value["tests"], value["failed"]) == (False, 1, 1)
    assert value["results"][0]["differences"] == [
        {"part": "verdict", "expected": "ask", "got": "allow"}
    ]


def test_the_committed_json_schema_is_the_one_the_runner_reads_by() -> None:
    assert json.loads(SCHEMA.read_text()) == case_schema.test_schema(), (
        "run: python -m watchkeeper.policy.trial.case_schema > policies/policy-test.schema.json"
    )


def test_the_schema_takes_what_the_runner_takes() -> None:
    import jsonschema
    import yaml

    text = f"{TOP}given: {{node: {{silent_for: unknown, fenced: true}}}}\ntests:\n{TRUE_AND_FALSE}"
    assert not run(orders(), {"policies/t_test.yaml": text}).problems
    jsonschema.validate(yaml.safe_load(text), json.loads(SCHEMA.read_text()))
    wrong = text.replace("fenced: true", "fencd: true")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(wrong), json.loads(SCHEMA.read_text()))


def test_every_declared_fact_can_be_given() -> None:
    for name in FACTS:
        section, _, key = name.partition(".")
        if section == "action":
            continue
        spec = case_schema.GIVEN.fields[section]
        assert not key or key in getattr(spec, "fields", {}), name


def test_two_hundred_tests_run_in_one_go() -> None:
    tests = "".join(
        f"  - {{name: n{i}, given: {{proposal: {{action: node.drain}}, incident: {{class: gpu_off_bus, confidence: 0.9}}, evidence: {{independent_sources: 2, age: 30s}}, node: {{rack: r{i % 7}}}}}, expect: {{verdict: allow, rules: [sure]}}}}\n"
        for i in range(200)
    )
    checked = orders()
    results = ran(tests, checked=checked)
    assert results.passed
    assert len(results.results) == 200


def test_the_files_of_tests_are_those_that_the_orders_leave_out(tmp_path: Path) -> None:
    for name in ("a.yaml", "a_test.yaml", ".b_test.yaml", "a_test.md", "test.yaml"):
        (tmp_path / name).write_text("x")
    assert list(read_test_dir(tmp_path)) == [f"{tmp_path.name}/a_test.yaml"]
    with pytest.raises(UsageError, match="no policy folder"):
        read_test_dir(tmp_path / "nowhere")


def test_the_same_inputs_give_the_same_results_whatever_the_order_of_files() -> None:
    text = f"{TOP}tests:\n{TRUE_AND_FALSE}"
    files = {"policies/a_test.yaml": text, "policies/b_test.yaml": text}
    turned = dict(reversed(files.items()))
    assert case_text.value(run(orders(), files)) == case_text.value(run(orders(), turned))


def test_a_policy_with_budgets_and_prices_is_tested_like_any_other() -> None:
    text = (
        HEAD + PEOPLE + "prices: {default: 2 USD}\n"
        "budgets: [{id: spend, actions: [node.drain], money: 10 USD, every: 1d}]\n"
        "rules: [{id: a, effect: allow, actions: [node.drain]}]\n"
    )
    checked = load({"policies/t.yaml": text}, datetime.fromisoformat("2026-03-18T00:00Z"))
    spent = "given: {proposal: {action: node.drain}, ledger: {effects: [{action: node.drain, ago: 2h, money: 9.9}]}}"
    results = ran(
        "  - {name: free, given: {proposal: {action: node.drain}}, expect: {verdict: allow, budgets: none}}\n"
        f"  - {{name: spent, {spent}, expect: {{verdict: deny, refused_by: budget, budgets: [spend]}}}}\n",
        checked=checked,
    )
    assert results.passed, case_text.text(results, coverage=False)
    assert [(b.kind, b.id, b.times) for b in results.coverage.bounds] == [("budget", "spend", 1)]
