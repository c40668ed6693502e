"""A journalled input replays exactly, or says why it cannot."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.core.policy_case import DRAIN, Given, gang, policy, shipped
from tests.core.replay_case import changed, verdict_event, without_fact

from watchkeeper.core.action import JobRequeue
from watchkeeper.core.errors import Malformed
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.history.replay import inputs_of, is_of, reads, recorded

GIVEN = Given(action=DRAIN)


def test_a_replay_under_the_same_policy_gives_the_recorded_verdict() -> None:
    line = recorded(verdict_event(GIVEN, shipped()))
    assert line.problem == ""
    assert line.inputs is not None
    assert line.verdict is not None
    again = line.inputs.judge(shipped())
    assert msgspec.structs.replace(again, input_digest=line.verdict.input_digest) == line.verdict


def test_inputs_are_read_from_the_whole_event_or_from_its_input_alone() -> None:
    data = verdict_event(GIVEN, shipped()).data
    assert inputs_of(data) == inputs_of(data["input"])
    assert inputs_of(data).kind == "node.drain"


def test_another_policy_gives_its_own_verdict() -> None:
    inputs = inputs_of(verdict_event(GIVEN, shipped()).data)
    forbids = policy("  - {id: never, effect: deny, actions: [node.drain]}\n")
    assert inputs.judge(shipped()).decision is Decision.ALLOW
    assert inputs.judge(forbids).decision is Decision.DENY
    assert inputs.judge(None).refused_by == "default"


@pytest.mark.parametrize(
    ("part", "value", "says"),
    [
        ("proposal", {"id": "P-1"}, "missing required field"),
        ("facts", {"node.gpus": None}, "facts"),
        ("facts", [], "facts"),
        ("ledger", {"came_later": 1}, "came_later"),
        ("orders", {}, "autonomy"),
        ("now", "yesterday", "now"),
        ("now", "2026-03-18T01:30:00", "zone"),
        ("weather", "fine", "weather"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_an_input_that_does_not_decode_says_where(part: str, value: Any, says: str) -> None:
    event = changed(verdict_event(GIVEN, shipped()), **{part: value})
    with pytest.raises(Malformed, match=says):
        inputs_of(event.data)
    line = recorded(event)
    assert line.inputs is None
    assert says in line.problem


@pytest.mark.parametrize("part", ["input", "verdict"])
def test_a_line_without_its_input_or_verdict_says_so(part: str) -> None:
    event = verdict_event(GIVEN, shipped())
    left = {k: v for k, v in event.data.items() if k != part}
    assert part in recorded(msgspec.structs.replace(event, data=left)).problem


@pytest.mark.parametrize("junk", [None, 3, "text", [], {}], ids=str)
@pytest.mark.parametrize("part", ["input", "verdict"])
def test_junk_in_a_line_is_a_problem_and_never_an_exception(part: str, junk: object) -> None:
    event = verdict_event(GIVEN, shipped())
    line = recorded(msgspec.structs.replace(event, data={**event.data, part: junk}))
    assert line.inputs is None
    assert line.problem


def test_an_input_that_was_changed_after_the_verdict_is_not_replayed() -> None:
    event = verdict_event(GIVEN, shipped())
    facts = {**event.data["input"]["facts"], "incident.confidence": 0.1}
    event.data["input"]["facts"] = facts
    assert "digest" in recorded(event).problem


def test_missing_names_the_facts_that_the_rules_for_this_kind_read() -> None:
    by_label = policy(
        '  - {id: a, effect: allow, actions: [node.drain], when: node.rack == "r1"}\n'
        "  - {id: b, effect: allow, actions: [check.run], when: node.gpus > 1}\n"
    )
    event = without_fact(verdict_event(GIVEN, by_label), "node.rack", "node.gpus")
    assert inputs_of(event.data).missing(by_label) == ("node.rack",)
    assert inputs_of(verdict_event(GIVEN, by_label).data).missing(by_label) == ()


def test_what_a_requirement_reads_is_missing_too() -> None:
    strict = policy(
        "  - {id: a, effect: allow, actions: [node.drain], "
        "require: {confidence: 0.5, independent_sources: 2, checkpoint_age: 5m}}\n"
    )
    names = ("evidence.independent_sources", "impact.checkpoint_age", "incident.confidence")
    assert set(names) <= reads(strict, "node.drain")
    event = without_fact(verdict_event(GIVEN, strict), *names)
    assert inputs_of(event.data).missing(strict) == names


def test_a_fact_of_another_type_than_declared_now_is_missing() -> None:
    counts = policy("  - {id: a, effect: allow, actions: [node.drain], when: node.gpus > 1}\n")
    event = verdict_event(GIVEN, counts, node__gpus="eight")
    assert inputs_of(event.data).missing(counts) == ("node.gpus",)


@pytest.mark.parametrize(
    ("kind", "fits", "does_not"),
    [
        ("bool", True, 1),
        ("int", 1, True),
        ("int", 1, 1.0),
        ("double", 1.0, "1"),
        ("double", 1, False),
        ("duration", 3.5, "1m"),
        ("string", "a", 1),
        ("map", {"a": "b"}, "a"),
    ],
)
def test_a_value_is_of_its_declared_type_or_not(kind: str, fits: object, does_not: object) -> None:
    assert is_of(kind, fits)
    assert not is_of(kind, does_not)


def test_every_kind_of_situation_replays_as_it_was_judged() -> None:
    orders = shipped()
    cases = [
        GIVEN,
        GIVEN.but(approved=True),
        GIVEN.but(confidence=0.3),
        Given(action=JobRequeue(job="g", attempt_id="g-a1"), jobs={"g": gang("g", "train-02")}),
    ]
    for case in cases:
        line = recorded(verdict_event(case, orders))
        assert line.inputs is not None, line.problem
        assert line.verdict is not None
        assert line.inputs.judge(orders).reasons == line.verdict.reasons
