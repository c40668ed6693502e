"""Why was this decided so? One screen, rule by rule, with the values that each condition saw."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.core.policy_case import HEAD, NIGHT, PEOPLE, Given, policy, shipped
from tests.core.test_policy_docs import record_a_week

from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.app.policy_explain import Told, explain_it
from watchkeeper.core.errors import Malformed, PolicyError, UsageError
from watchkeeper.core.event import Kind
from watchkeeper.policy.explain import Explained, as_value, explain, filled_in, told
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.twin.memory import ManualClock

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


def test_the_policy_s_own_hour_in_the_lab_is_called_lab_time() -> None:
    assert "01:30Z lab time, policy" in told(explained(Given(), shipped()), lab_time=True)
    assert "lab time" not in told(explained(Given(), shipped()))


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


NOON = datetime(2026, 3, 18, 12, tzinfo=UTC)


def explained_file(file: Path, text: str, at: datetime = NOON) -> Told:
    file.write_text(text)
    return explain_it(
        str(file), policies=Path("policies"), journal=file.parent / "none", test="", at=at
    )


def test_a_file_of_facts_may_be_yaml_with_durations_in_words_or_in_seconds(tmp_path: Path) -> None:
    text = "action: node.drain\nat: 2026-03-18T02:30 Europe/Berlin\nfacts:\n  world: lab\n"
    text += "  incident.confidence: 0.95\n  evidence.independent_sources: 2\n"
    for age in ("90s", "90.0", "90"):
        found = explained_file(tmp_path / "facts.yaml", f"{text}  evidence.age: {age}\n")
        assert found.value["decision"] == "allow"
        assert found.value["facts"]["evidence.age"] == 90.0
    assert found.value["at"] == "2026-03-18T02:30:00+01:00"


def test_a_file_of_facts_without_a_moment_is_explained_as_of_the_command(tmp_path: Path) -> None:
    found = explained_file(tmp_path / "f.json", '{"action": "node.drain", "facts": {}}')
    assert datetime.fromisoformat(found.value["at"]) == NOON


def test_a_mistake_in_a_file_of_facts_is_told_where_it_stands(tmp_path: Path) -> None:
    text = "action: node.drain\nfacts:\n  node.rak: r1\n  incident.confidence: 7\n"
    with pytest.raises(PolicyError) as caught:
        explained_file(tmp_path / "f.yaml", text)
    assert [(p.line, p.suggestion) for p in caught.value.problems] == [(3, "rack"), (4, "")]
    with pytest.raises(PolicyError, match=r"no key 'fact'.*Did you mean 'facts'"):
        explained_file(tmp_path / "f.yaml", "action: node.drain\nfact: {}\n")


def test_a_test_file_is_explained_also_where_it_expects_nothing(tmp_path: Path) -> None:
    head = "apiVersion: watchkeeper/v1\nkind: PolicyTest\nmetadata: {name: t}\n"
    text = head + "at: 2026-03-18T02:30Z\ntests:\n  - name: one\n"
    text += "    given: {proposal: {action: node.drain}}\n"
    assert explained_file(tmp_path / "x_test.yaml", text).value["test"] == "one"


@pytest.mark.parametrize("text", ["- a\n", "rules: []\n", '{"a": 1}', "words\n"])
def test_any_other_file_is_refused_with_the_shapes_that_can_be_read(
    text: str, tmp_path: Path
) -> None:
    with pytest.raises(Malformed, match=r"Give a test file .*or a file of facts"):
        explained_file(tmp_path / "x.yaml", text)


@pytest.mark.parametrize("name", ["nowhere/facts", "facts.yaml", "./P-1"])
def test_a_path_to_no_file_is_not_looked_for_in_the_journal(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"There is no file {name}"):
        explain_it(name, policies=None, journal=tmp_path / "j", test="", at=NOON)
    with pytest.raises(UsageError, match="is a folder"):
        explain_it(str(tmp_path), policies=None, journal=tmp_path / "j", test="", at=NOON)


def test_a_record_that_lacks_what_the_orders_read_is_not_explained_as_a_denial(
    tmp_path: Path,
) -> None:
    record_a_week(tmp_path)
    orders = tmp_path / "priced"
    orders.mkdir()
    (orders / "t.yaml").write_text(
        HEAD + PEOPLE + "prices: {default: 2 USD}\nbudgets: [{id: b, every: 1d, money: 9 USD}]\n"
        "rules:\n  - {id: a, effect: allow, actions: [node.drain]}\n"
    )
    with pytest.raises(Malformed, match="by these orders: the record lacks money at its prices"):
        explain_it(
            "P-1", policies=orders, journal=tmp_path / "journal/journal.jsonl", test="", at=NOON
        )


def test_after_an_approval_it_says_who_gave_it_when_and_why(tmp_path: Path) -> None:
    record_a_week(tmp_path)
    clock = ManualClock(NOON)
    journal = FileJournal(tmp_path / "journal", clock)
    yes = {"id": "A-1", "proposal": "P-1", "answer": "approve", "person": "ann", "reason": "Go."}
    journal.append(Kind.ANSWERED, ("P-1", "INC-1"), {"approval": yes})
    journal.append(Kind.ANSWERED, ("P-2",), {"approval": {**yes, "proposal": "P-2"}})
    journal.close()
    answer = explain_it(
        "P-1", policies=None, journal=tmp_path / "journal/journal.jsonl", test="", at=NOON
    )
    assert answer.text.endswith("People\n  ann approved P-1 at 2026-03-18 12:00:00 UTC: Go.")
    assert [one["person"] for one in answer.value["people"]] == ["ann"]
