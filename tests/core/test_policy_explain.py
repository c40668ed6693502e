"""Why was this decided so? One screen, rule by rule, with the values that each condition saw."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.core.policy_case import NIGHT, Given, policy, shipped

from watchkeeper.app.policy_explain import explain_it
from watchkeeper.core.errors import UsageError
from watchkeeper.policy.explain import Explained, as_value, explain, filled_in, told
from watchkeeper.policy.model import CheckedPolicy

GOLDEN = Path(__file__).parents[1] / "golden" / "policy_explain"


def explained(given: Given, by: CheckedPolicy, now: datetime = NIGHT) -> Explained:
    proposal, impact, facts, ledger = given.inputs()
    return explain(proposal, impact, facts, ledger, given.orders, by, now)


CASES = {
    "thin_evidence_at_night": Given(sources=1),
    "a_dead_node_with_another_out": Given(
        ledger={"out": {"pool:train": 2}, "newly_unhealthy": {"train": 3}}
    ),
    "a_reserved_node": Given(),
}


@pytest.mark.parametrize("name", CASES)
def test_the_screen_reads_as_in_the_golden_file(name: str) -> None:
    given = CASES[name]
    if name == "a_reserved_node":
        given.nodes["train-01"].labels["reserved-for"] = "demo"
    text = told(explained(given, shipped())).replace(shipped().version, "VERSION")
    assert text + "\n" == (GOLDEN / f"{name}.txt").read_text()


def test_a_condition_shows_the_value_of_each_fact_and_leaves_texts_alone() -> None:
    facts = {"incident.confidence": 0.5, "node.labels": {"a": "b"}, "evidence.age": 90.0}
    text = (
        'incident.confidence < 0.8 && "node.pool" in node.labels || evidence.age > duration("1m")'
    )
    assert filled_in(text, facts, NIGHT) == (
        'incident.confidence[0.5] < 0.8 && "node.pool" in node.labels[a: b] || '
        'evidence.age[90 s] > duration("1m")'
    )


def test_a_fact_that_is_not_known_is_called_unknown_and_never_shown_as_its_stand_in() -> None:
    assert filled_in("impact.jobs == 0", {"impact.jobs": 1_000_000}, NIGHT) == (
        "impact.jobs[unknown] == 0"
    )


def test_windows_are_printed_with_their_zone_and_utc() -> None:
    assert "night: open until 06:00 Europe/Berlin (05:00Z)" in told(explained(Given(), shipped()))


def test_every_rule_that_names_the_kind_is_listed_with_its_state() -> None:
    found = explained(Given(), shipped())
    listed = {rule["id"] for rule in as_value(found)["rules"]}
    assert listed == {rule.id for rule in shipped().rules_for["node.drain"]}


def test_what_was_recorded_is_shown_where_it_differs() -> None:
    found = explained(Given(), policy("  - {id: a, effect: allow, actions: [node.drain]}\n"))
    recorded = Given(sources=1).judged(shipped())
    assert f"Recorded at the time: ask, under policy {recorded.policy_version}" in told(
        found, recorded
    )


def test_a_file_of_facts_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    facts = {"incident.confidence": 0.95, "evidence.independent_sources": 2}
    file.write_text(
        json.dumps({"action": "node.drain", "at": "2026-03-18T02:30 Europe/Berlin", "facts": facts})
    )
    found = explain_it(
        str(file),
        policies=Path("policies"),
        journal=tmp_path / "none",
        test="",
        at=datetime(2026, 3, 18, tzinfo=UTC),
    )
    assert found.value["decision"] == "allow"
    assert "take-out-what-is-surely-broken" in found.text


def test_what_is_neither_file_nor_decision_says_what_to_name(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text("")
    with pytest.raises(UsageError, match="Name a proposal such as P-12"):
        explain_it(
            "P-99", policies=None, journal=journal, test="", at=datetime(2026, 3, 18, tzinfo=UTC)
        )
