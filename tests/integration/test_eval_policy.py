"""`watchkeeper eval policy`: what it prints, what it draws, and that speed changes no verdict."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from watchkeeper.app.cli import app
from watchkeeper.core.facts import FACTS
from watchkeeper.policy import judge as judge_module
from watchkeeper.policy.hear import Hearing, State, hear, hear_all
from watchkeeper.policy.judge import judge
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper_evals.policy_cases import Case, Cases
from watchkeeper_evals.policy_eval import AUTO, NOON, Figures, budgets_of, policy_eval, table
from watchkeeper_evals.policy_rules import KINDS, candidates_of, rules_of

NIGHT = NOON + timedelta(hours=12)

ERRS = (
    "  - {id: errs, effect: ask, actions: [node.drain], "
    "when: '1 / (impact.jobs - impact.jobs) > 0'}\n"
    "  - {id: errs-at-night, effect: deny, actions: [node.restart], during: night, "
    "when: '1 / (impact.jobs - impact.jobs) > 0 && node.gpus > 0'}\n"
    "  - {id: only-cel-can-tell, effect: deny, actions: ['*'], when: 'size(proposal.by) > 16'}\n"
)


@pytest.fixture(scope="module")
def figures() -> Figures:
    return policy_eval(rules=400, seed=3, verdicts=30)


def whole(open_by_day: int | None = None) -> CheckedPolicy:
    """The policy of the eval, and with it rules that err and that no index can tell."""
    return load({"eval.yaml": rules_of(500, 1, open_by_day) + ERRS}, NOON)


def cases(count: int = 150) -> list[Case]:
    drawn = Cases(1)
    return [drawn.draw(KINDS[i % len(KINDS)]) for i in range(count)]


def test_the_command_prints_one_json_object_and_its_progress_apart() -> None:
    done = CliRunner().invoke(app, ["eval", "policy", "--rules", "60", "--json"])
    found = json.loads(done.stdout)
    assert found["rules"] == 60
    assert found["load_ms"] > 0
    assert 0 < found["verdict_us"]["p50"] <= found["verdict_us"]["p99"]
    assert found["candidates"] == {"p50": 10, "max": 10}
    assert found["us_per_further_candidate"] is None  # there are none beyond 32
    assert "judging with 10 candidates" in done.stderr


def test_people_see_each_figure_beside_its_budget(figures: Figures) -> None:
    lines = table(figures).splitlines()
    assert sum(bool(re.search(r"  (met|NOT MET)$", line)) for line in lines) == 6
    assert any("seed 3" in line for line in lines)


def test_cold_and_warm_and_few_candidates_are_told_apart(figures: Figures) -> None:
    assert figures["candidates"]["max"] == 64
    assert figures["at_most_32"]["candidates"] == {"p50": 32, "max": 32}
    assert figures["verdict_us"]["p50"] > figures["warm_us"]["p50"]
    assert sum(figures["decisions"].values()) == figures["verdicts"]
    assert figures["spoke"]["max"] > 0


def test_a_budget_counts_each_candidate_beyond_32() -> None:
    cold = {"p50": 140.0, "p99": 10.0}
    few = {"candidates": {"max": 32}, "cold_us": {"p50": 51.0, "p99": 10.0}}
    rows = budgets_of(
        {
            "rules": 500,
            "load_ms": 299.0,
            "verdict_us": cold,
            "candidates": {"max": 80},
            "at_most_32": few,
            "us_per_further_candidate": 2.1,
        }
    )
    assert [(row.budget, row.met) for row in rows] == [
        (300.0, True),
        (50.0, False),
        (300.0, True),
        (146.0, True),
        (396.0, True),
        (2.0, False),
    ]


def test_a_tenth_of_the_rules_match_every_kind_and_the_rest_are_spread_evenly() -> None:
    policy = load({"eval.yaml": rules_of(500, 1)}, NOON)
    assert sum(len(rule.actions) == len(KINDS) for rule in policy.rules) == 50
    own = Counter(kind for r in policy.rules if len(r.actions) == 1 for kind in r.actions)
    assert own == dict.fromkeys(KINDS, 30)
    assert {len(policy.rules_for[kind]) for kind in KINDS} == {candidates_of(500)} == {80}


def test_half_of_the_rules_share_no_atom_with_another() -> None:
    text = re.compile(r"when: '(.*)', reason")
    atoms = [re.split(r" && | \|\| ", when) for when in text.findall(rules_of(500, 1))]
    plain = [[atom.strip("()") if "in [" not in atom else atom for atom in row] for row in atoms]
    assert {len(row) for row in plain} == {3}
    count = Counter(atom for row in plain for atom in row)
    alone = sum(all(count[atom] == 1 for atom in row) for row in plain)
    assert 250 <= alone <= 260


def test_the_same_seed_draws_the_same_rules_and_another_draws_others() -> None:
    assert rules_of(100, 7) == rules_of(100, 7) != rules_of(100, 8)


@pytest.mark.parametrize("at", [NOON, NIGHT], ids=["by day", "by night"])
@pytest.mark.parametrize("open_by_day", [None, 32], ids=["no windows", "windows"])
def test_the_quick_way_hears_what_asking_cel_rule_by_rule_hears(
    open_by_day: int | None, at: object
) -> None:
    policy = whole(open_by_day)
    spoken = 0
    for case in cases():
        heard = hear(Hearing(policy, case.kind, case.facts, case.ledger, at))  # type: ignore[arg-type]
        every = hear_all(Hearing(policy, case.kind, case.facts, case.ledger, at))  # type: ignore[arg-type]
        assert heard == [h for h in every if h.state.speaks]
        assert any(h.state is State.ERROR for h in heard) >= (case.kind == "node.drain")
        spoken += len(heard)
    assert spoken > 250


def test_the_quick_way_gives_the_same_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, given = whole(32), cases()

    def verdicts() -> list[object]:
        return [
            judge(c.proposal, c.impact, c.facts, policy, c.ledger, AUTO, at)
            for c in given
            for at in (NOON, NIGHT)
        ]

    quick = verdicts()
    monkeypatch.setattr(
        judge_module, "hear", lambda hearing: [h for h in hear_all(hearing) if h.state.speaks]
    )
    assert verdicts() == quick
    assert len({v.decision for v in quick}) > 1  # type: ignore[attr-defined]


STRANGE = {
    "bool": [None, 1, "true"],
    "int": [None, True, 2**53, 2**70, 1.0, "1"],
    "double": [None, float("nan"), float("inf"), 3, True, "1.5"],
    "duration": [None, -1.0, 5, 1e300, float("inf")],
    "string": [None, "x" * 300, "x" * 1100, "agent:remediation\0", "ß", 7],
    "map": [None, {"label-1": "\0"}, {f"k{i}": "v" for i in range(70)}, {"a": 1}],
    "list": [None, ["\0"], ["x"] * 70, [1]],
}


def test_a_fact_that_is_missing_or_strange_is_judged_as_cel_judges_it() -> None:
    policy = whole()
    case = Cases(2).draw("node.drain")
    for name in sorted(policy.reads["node.drain"]):
        for value in STRANGE[FACTS[name].type]:
            facts = {**case.facts, name: value}
            if value is None:
                del facts[name]
            assert said(hear, policy, case, facts) == said(hear_all, policy, case, facts), (
                name,
                value,
            )


def said(how: object, policy: CheckedPolicy, case: Case, facts: object) -> object:
    """What is heard, or that nothing could be."""
    try:
        heard = how(policy, case.kind, facts, case.ledger, NOON)  # type: ignore[operator]
    except Exception as err:
        return type(err)
    return [h for h in heard if h.state.speaks]
