"""The library of standing orders: each folder alone, beside the starting orders, and together."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from watchkeeper.adapters.policy_files import read_policy_dir, read_test_dir
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.proof.prove import Outcome, prove
from watchkeeper.policy.proof.question import parse
from watchkeeper.policy.trial.cases import Results, run

POLICIES = Path(__file__).parents[2] / "policies"
LIBRARY = POLICIES / "library"
NAMES = tuple(sorted(folder.name for folder in LIBRARY.iterdir() if folder.is_dir()))
BEFORE = datetime(2026, 3, 18, 2, 30, tzinfo=UTC)
"""Before the freeze: nothing in the library is over then."""

WIDENS = {"spot-pools"}
"""Those that let something happen without a person; their header says so."""

CONTRADICT: dict[frozenset[str], str] = {}
"""Pairs whose tests cannot both pass, with the reason. None today; a new one is named here."""

FILES = sorted(POLICIES.rglob("*.yaml"))


def orders_of(names: Iterable[str]) -> dict[str, str]:
    """The starting orders and these of the library, as an owner has them side by side: without
    the people that each folder of the library brings along to stand alone."""
    files = read_policy_dir(POLICIES)
    for name in names:
        files[f"policies/{name}.yaml"] = (LIBRARY / name / f"{name}.yaml").read_text()
    return files


def cases_of(names: Iterable[str]) -> dict[str, str]:
    files = read_test_dir(POLICIES)
    for name in names:
        files[f"policies/{name}_test.yaml"] = (LIBRARY / name / f"{name}_test.yaml").read_text()
    return files


@functools.cache
def beside(*names: str) -> tuple[CheckedPolicy, Results]:
    policy = load(orders_of(names), BEFORE)
    return policy, run(policy, cases_of(names))


def failed(results: Results) -> list[str]:
    lines = [
        f"{r.case.file}:{r.case.line} {r.case.name}: {r.differences}" for r in results.failures
    ]
    return [*map(str, results.problems), *lines]


def test_the_library_holds_what_its_page_lists() -> None:
    page = (POLICIES / "README.md").read_text()
    assert NAMES
    assert set(re.findall(r"^\| \[`(.+?)`\]\(library/", page, re.MULTILINE)) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_stands_alone_without_a_warning_and_every_rule_is_covered(name: str) -> None:
    policy = load(read_policy_dir(LIBRARY / name), BEFORE)
    results = run(policy, read_test_dir(LIBRARY / name))
    assert not policy.warnings
    assert not policy.over
    assert not failed(results)
    assert results.coverage.percent == 100.0
    assert all(bound.times for bound in results.coverage.bounds), "a bound refuses in no test"


def test_the_starting_orders_are_covered_by_their_own_tests() -> None:
    _, results = beside()
    assert not failed(results)
    assert results.coverage.percent == 100.0
    assert all(bound.times for bound in results.coverage.bounds), "a bound refuses in no test"


@pytest.mark.parametrize("name", NAMES)
def test_it_may_be_copied_beside_the_starting_orders(name: str) -> None:
    policy, results = beside(name)
    odd = [str(w) for w in policy.warnings if "no group 'break-glass'" not in w.message]
    assert not odd
    assert not failed(results)
    assert results.coverage.percent == 100.0


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(NAMES, 2)))
def test_two_of_them_agree_or_are_known_to_contradict_each_other(one: str, other: str) -> None:
    _, results = beside(one, other)
    why = CONTRADICT.get(frozenset((one, other)), "")
    assert bool(failed(results)) is bool(why), f"{one} and {other}: {failed(results) or why}"


def test_all_of_them_hold_together_with_the_starting_orders() -> None:
    policy, results = beside(*NAMES)
    assert [str(w) for w in policy.warnings] == []
    assert not failed(results)
    assert results.coverage.percent == 100.0


TOGETHER = """
apiVersion: watchkeeper/v1
kind: PolicyTest
metadata: {name: together}
at: 2026-12-24T02:30 Europe/Berlin
tests:
  - name: in the freeze a dead node still comes back by itself
    given: {proposal: {action: node.restart}, node: {ray_state: dead, process_gone: true}}
    expect: {verdict: allow, rules: bring-back-a-dead-node}
  - name: and its gang goes on
    given: {proposal: {action: job.requeue}}
    expect: {verdict: allow, rules: requeue-a-stopped-gang}
  - name: a repair on thin evidence is held, and break-glass could lift that
    given: {proposal: {action: node.drain}, incident: {confidence: 0.8}}
    expect: {verdict: deny, rules: freeze-holds-repairs, liftable: freeze-holds-repairs}
  - name: lifted, the question of the night remains
    given:
      proposal: {action: node.drain}
      incident: {confidence: 0.8}
      ledger: {lifted: freeze-holds-repairs}
    expect: {verdict: ask, rules: ask-when-unsure, excepted: freeze-holds-repairs}
  - name: a replacement nobody can lift, whatever is gone
    given:
      proposal: {action: node.replace}
      node: {ray_state: dead, process_gone: true, labels: {lifecycle: spot}}
      impact: {money: 5}
      ledger: {lifted: freeze-replaces-nothing}
    expect: {verdict: deny, rules: freeze-replaces-nothing, liftable: none, excepted: none}
  - name: an emergency that stops the bank's important gang adds up to the strictest question
    given:
      proposal: {action: node.drain}
      incident: {confidence: 0.97}
      evidence: {independent_sources: 2}
      job: {tenant: bank, priority: 100, checkpoint_age: 1h}
    expect:
      verdict: ask
      rules:
        - ask-before-a-kept-tenant-stops
        - freeze-asks-two-in-an-emergency
        - gang-is-important
        - gang-saved-too-long-ago
      obligations: {quorum: 2, groups: [oncall], expires: 15m}
"""


def test_the_library_and_the_starting_orders_say_together_what_an_owner_expects() -> None:
    policy, _ = beside(*NAMES)
    results = run(policy, {"together_test.yaml": TOGETHER})
    assert not failed(results)


@pytest.mark.parametrize("name", NAMES)
def test_what_says_that_it_only_narrows_lets_nothing_happen_without_a_person(name: str) -> None:
    policy = load(read_policy_dir(LIBRARY / name), BEFORE)
    proved = prove(parse("* needs a person"), policy, BEFORE).outcome is Outcome.PROVED
    allows = any(rule.effect.value == "allow" for rule in policy.rules)
    text = (LIBRARY / name / f"{name}.yaml").read_text()
    assert proved is not allows
    assert allows is (name in WIDENS)
    assert ("It widens" in text) is (name in WIDENS)


@pytest.mark.parametrize("name", NAMES)
def test_the_lines_to_edit_are_marked_and_stand_above_the_rules(name: str) -> None:
    lines = (LIBRARY / name / f"{name}.yaml").read_text().splitlines()
    rules = lines.index("rules:")
    marked = [i for i, line in enumerate(lines) if re.search(r"# YOURS\b", line)]
    assert "# YOUR LINES:" in "\n".join(lines[:rules])
    assert 3 <= len(marked) <= 8
    assert max(marked) < rules


@pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(POLICIES)) for f in FILES])
def test_every_file_names_the_schema_that_an_editor_completes_by(file: Path) -> None:
    first = file.read_text().split("\n", 1)[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found, first
    wanted = "policy-test" if file.name.endswith("_test.yaml") else "policy"
    assert (file.parent / found[1]).resolve() == POLICIES / f"{wanted}.schema.json"


@pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(POLICIES)) for f in FILES])
def test_every_rule_and_bound_says_why(file: Path) -> None:
    if file.name.endswith("_test.yaml"):
        return
    import yaml

    whole = yaml.safe_load(file.read_text())
    for key in ("rules", "budgets"):
        for order in whole.get(key, ()):
            assert order.get("reason", "").endswith("."), order["id"]


def test_the_people_of_the_library_are_those_of_the_starting_orders() -> None:
    own = load(read_policy_dir(POLICIES), BEFORE).people
    for name in NAMES:
        there = load(read_policy_dir(LIBRARY / name), BEFORE).people
        assert {g: there[g] for g in own} == dict(own), name
        assert set(there) <= {*own, "break-glass"}


def test_init_copies_orders_of_the_library_with_their_tests_and_points_at_its_schema(
    tmp_path: Path,
) -> None:
    from watchkeeper.app.starters import copy_starters, library

    assert library() == NAMES
    copy_starters(tmp_path / "orders")
    copy_starters(tmp_path / "orders", ("change-freeze", "break-glass"))
    orders = tmp_path / "orders"
    assert run(load(read_policy_dir(orders), BEFORE), read_test_dir(orders)).passed
    for file in orders.glob("*.yaml"):
        found = re.search(r"\$schema=(\S+)", file.read_text())
        assert found
        assert (orders / found[1]).exists(), file.name


def test_init_names_the_library_where_it_has_no_such_orders_and_overwrites_nothing(
    tmp_path: Path,
) -> None:
    from watchkeeper.app.starters import copy_starters
    from watchkeeper.core.errors import UsageError

    with pytest.raises(UsageError, match="It has: break-glass, by-hand, change-freeze"):
        copy_starters(tmp_path, ("chang",))
    copy_starters(tmp_path, ("tenants",))
    with pytest.raises(UsageError, match=r"holds tenants\.yaml, tenants_test\.yaml already"):
        copy_starters(tmp_path, ("tenants",))
