"""Roles in a file of people: who is let in to do what, and the mistakes that are told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from watchkeeper.core.errors import PolicyError
from watchkeeper.core.roles import roles_of
from watchkeeper.policy.load import load

AT = datetime(2026, 11, 1, tzinfo=UTC)
PEOPLE = """
apiVersion: watchkeeper/v1
kind: People
metadata: {name: people, owner: o, description: d}
people: {oncall: [ann], platform: [bob], readers: [eve], break-glass: [bob]}
"""
RULES = """
apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: p, owner: o, description: d}
rules:
  - id: asks
    effect: ask
    actions: [node.drain]
    approvals: {from: [oncall], escalate: {after: 5m, to: [platform]}}
    reason: r
"""
GOOD = "roles: {viewer: [readers], operator: [oncall], approver: [oncall, platform]}"


def loaded(roles: str) -> dict[str, tuple[str, ...]]:
    return dict(load({"people.yaml": PEOPLE + roles, "p.yaml": RULES}, AT).roles)


def test_groups_hold_the_roles_that_are_written_and_no_others() -> None:
    bound = loaded(GOOD)
    assert roles_of(("oncall",), bound) == ("viewer", "operator", "approver")
    assert roles_of(("platform", "break-glass"), bound) == ("viewer", "approver", "break-glass")
    assert roles_of(("readers",), bound) == ("viewer",)


def test_a_policy_that_says_nothing_of_roles_means_what_it_meant() -> None:
    assert loaded("") == {}
    without = load({"people.yaml": PEOPLE, "p.yaml": RULES}, AT).version
    assert load({"people.yaml": PEOPLE + GOOD, "p.yaml": RULES}, AT).version != without


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        ("roles: {approver: [oncall]}", "'platform', and `approver` does not name it"),
        ("roles: {viewer: [readers]}", "'oncall', and `approver` does not name it"),
        (GOOD.replace("readers", "reader"), "Did you mean 'readers'"),
        (GOOD.replace("viewer", "pilot"), "has no key 'pilot'"),
        (GOOD.replace("viewer", "break-glass"), "has no key 'break-glass'"),
        (GOOD.replace("[readers]", "readers"), "must be a list"),
    ],
)
def test_a_mistake_is_told_with_its_place(roles: str, why: str) -> None:
    with pytest.raises(PolicyError) as told:
        loaded(roles)
    assert why in str(told.value)
    assert "people.yaml:6:" in str(told.value)
