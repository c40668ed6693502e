"""What an agent makes of a refusal: what only a person can change goes to a person."""

from __future__ import annotations

import pytest
from tests.core.policy_case import DRAIN

from watchkeeper.core.crew import StepResult
from watchkeeper_agents.hearing import _refused, hear
from watchkeeper_agents.words import CrewSettings, Memory


@pytest.mark.parametrize(
    ("refused_by", "escalates"),
    [("limit", True), ("budget", True), ("error", True), ("policy", False), ("default", False)],
)
def test_a_spent_limit_or_budget_escalates_and_a_rule_is_waited_out(
    refused_by: str, escalates: bool
) -> None:
    result = StepResult(
        thread="INC-1",
        proposal="P-1",
        action=DRAIN,
        kind="verdict",
        value="deny",
        says="no",
        refused_by=refused_by,
    )
    memory, move = _refused(Memory(), result, "Drain train-01", 0.0, "looks", CrewSettings())
    assert (move is not None and move.end == "escalated") is escalates
    assert (memory.quiet_until is not None) is not escalates


def test_what_a_halt_refused_is_no_answer_and_the_thread_thinks_on() -> None:
    told = StepResult(
        thread="INC-1",
        proposal="P-1",
        action=DRAIN,
        kind="verdict",
        value="halted",
        refused_by="invariant",
        reason_ids=("S9",),
    )
    memory, move = hear(Memory(), told, 0.0, "looks", CrewSettings())
    assert move is None
    assert memory.quiet_until is None
    assert memory.attempts == (told,)
