"""Conditions: what compiles, what holds, and that an error never does."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.policy_case import NIGHT, Given

from watchkeeper.core.facts import FACTS
from watchkeeper.policy.expr import (
    MAX_LENGTH,
    Answer,
    Condition,
    activate,
    compile_condition,
    evaluate,
)
from watchkeeper.policy.guards import flaws_of
from watchkeeper.policy.syntax import tree_of


def compiled(text: str) -> Condition:
    condition = compile_condition(text)
    assert isinstance(condition, Condition), condition
    return condition


def ask(text: str, **changes: Any) -> Answer:
    _, _, facts, _ = Given().inputs()
    facts |= changes
    condition = compiled(text)
    return evaluate(condition, activate(facts, condition.names, NIGHT))


def test_an_error_of_cel_is_truthy_and_still_never_holds() -> None:
    condition = compiled('node.labels["absent"] == "x"')
    activation = activate({"node.labels": {}}, condition.names, NIGHT)
    raw = condition.program.eval(activation)
    assert bool(raw.plain_value()) is True  # the trap: the error's plain value is a text
    answer = evaluate(condition, activation)
    assert answer.holds is False
    assert "absent" in answer.error


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("node.gpus / 0 == 1", {}),
        ("node.gpus > 1", {"node.gpus": "eight"}),
        ("node.gpus > 1", {"node.gpus": 2**80}),
        ("9223372036854775807 + node.gpus > 0", {}),
        ('node.labels["a"] == "b"', {"node.labels": {"a": 1}}),
        ("node.pool.matches('[')", {}),
    ],
    ids=["division", "wrong type", "too big", "overflow", "wrong map value", "bad pattern"],
)
def test_what_goes_wrong_at_night_is_an_error_and_not_a_yes(
    text: str, changes: dict[str, Any]
) -> None:
    answer = ask(text, **changes)
    assert answer.holds is False
    assert answer.error


def test_a_fact_that_is_missing_is_an_error_and_not_false() -> None:
    condition = compiled("node.fenced")
    assert evaluate(condition, activate({}, condition.names, NIGHT)).error


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('node.silent_for < duration("5m")', True),
        ('node.silent_for > duration("1m")', False),
        ("evidence.independent_sources >= 2 && incident.confidence >= 0.9", True),
        ('node.name.startsWith("train-") && node.rack in ["r1", "r9"]', True),
        ('"a" in node.labels && node.labels["a"] == "b"', False),
        ('now.getHours("Europe/Berlin") == 2', True),
        ('now < timestamp("2027-01-01T00:00:00Z")', True),
        ("double(node.gpus) > 7.5", True),
        ("node.labels.exists(k, k == 'a')", False),
        ("size(node.name) == 8", True),
    ],
)
def test_conditions_that_people_write(text: str, wanted: bool) -> None:
    assert ask(text) == Answer(wanted)


def test_nan_is_neither_large_nor_small() -> None:
    nan = float("nan")
    assert not ask("incident.confidence > 0.5", **{"incident.confidence": nan}).holds
    assert not ask("incident.confidence <= 0.5", **{"incident.confidence": nan}).holds


@pytest.mark.parametrize(
    "text",
    [
        "(" * 3000 + "true" + ")" * 3000,
        " + ".join(["1"] * 400) + " > 0",
        "x" * (MAX_LENGTH + 1),
        "   ",
    ],
    ids=["parentheses", "chain", "length", "blank"],
)
def test_hostile_text_is_refused_when_loaded(text: str) -> None:
    assert not isinstance(compile_condition(text), Condition)


def test_hostile_loops_run_into_a_budget_and_count_as_errors() -> None:
    ten = "[1,2,3,4,5,6,7,8,9,10]"
    text = "true"
    for variable in "abcdef":
        text = f"{ten}.all({variable}, {text})"
    assert ask(text).error


def test_the_names_that_a_condition_reads_come_from_its_tree() -> None:
    text = '"node.rack" == node.name || node.labels.exists(now_, now_ == node.pool) && now > now'
    assert compiled(text).names == {"node.name", "node.labels", "node.pool"}


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ('node.labels["a"] == "b"', False),
        ('"a" in node.labels && node.labels["a"] == "b"', True),
        ('node.labels["a"] == "b" && "a" in node.labels', True),
        ('"a" in node.labels || node.labels["a"] == "b"', False),
        ('!("a" in node.labels) || node.labels["a"] == "b"', True),
        ('"b" in node.labels && node.labels["a"] == "b"', False),
        ('has(node.labels.a) && node.labels.a == "b"', True),
        ('node.labels.a == "b"', False),
        ('"a" in node.labels ? node.labels["a"] == "b" : false', True),
        ('"a" in node.labels ? false : node.labels["a"] == "b"', False),
        ('!("a" in node.labels) ? false : node.labels["a"] == "b"', True),
        ('node.fenced && (node.gpus > 1 && "a" in node.labels) && node.labels["a"] == "b"', True),
        ('(node.fenced || "a" in node.labels) && node.labels["a"] == "b"', False),
        ('node.labels.exists(k, node.labels[k] == "b")', True),
        ('(!("a" in node.labels) && node.fenced) || node.labels["a"] == "b"', False),
        ('node.labels[node.name] == "b"', False),
        ('["a"].exists(k, node.labels[k] == "b")', False),
    ],
)
def test_an_index_needs_a_guard_on_every_way_to_it(text: str, sound: bool) -> None:
    assert (flaws_of(compiled(text)) == ()) is sound


def test_a_tree_that_is_cut_off_is_refused() -> None:
    data = compiled("node.gpus > 1").program.serialize()
    for length in range(len(data)):
        with pytest.raises((ValueError, KeyError, IndexError, StopIteration, UnicodeDecodeError)):
            tree_of(data[:length])


def test_every_declared_fact_can_be_used_in_a_condition() -> None:
    texts = {
        "bool": "{0}",
        "int": "{0} > 1",
        "double": "{0} > 1.0",
        "string": '{0} == "x"',
        "duration": '{0} > duration("1s")',
        "map": '"x" in {0}',
        "list": '"x" in {0}',
    }
    for name, fact in FACTS.items():
        condition = compiled(texts[fact.type].format(name))
        assert condition.names == {name}
        assert not evaluate(condition, activate({name: fact.unknown}, {name}, NIGHT)).error
