"""What a person may do at the console, and from where they hold it. Asked by every door.

A role opens doors; it answers no question. Who may answer which question is the policy's word
alone: the groups that a rule asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum


class Role(StrEnum):
    """Each holds VIEWER too. None of the others holds another."""

    VIEWER = "viewer"
    """Reads everything, asks in the chat, stops the watch, and turns the dial down."""

    OPERATOR = "operator"
    """Resumes the watch, and turns the dial up."""

    APPROVER = "approver"
    """Answers the questions that ask a group of theirs."""

    POLICY_AUTHOR = "policy-author"
    """Says what of the report is right and wrong, and is who pages that try a change of the orders
    ask for. Nobody changes orders here: they are files, reviewed and signed."""

    BREAK_GLASS = "break-glass"
    """Lifts a soft rule for one proposal, and reviews what another lifted. Held by the policy's
    group of this name, and by nobody else."""


BINDABLE = (Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.POLICY_AUTHOR)
"""Roles that a file or a claim may give."""

EVERYDAY = (Role.VIEWER, Role.OPERATOR, Role.APPROVER)
"""What a group gives where nothing is said about it."""


def roles_of(groups: Iterable[str], bound: Mapping[str, tuple[str, ...]] | None = None) -> tuple[
    str, ...
]:  # fmt: skip
    """The roles that these groups give, in the order of `Role`.

    bound: role -> groups, as the policy's `roles` say. Where there is none, a group that is called
    like a role gives that role, and every other gives EVERYDAY. Who is named at all is a viewer.
    """
    held: set[Role] = set()
    for group in groups:
        held.add(Role.VIEWER)
        if group == Role.BREAK_GLASS:
            held.add(Role.BREAK_GLASS)
        elif bound:
            held.update(role for role in BINDABLE if group in bound.get(role, ()))
        elif group in BINDABLE:
            held.add(Role(group))
        else:
            held.update(EVERYDAY)
    return in_order(held)


def in_order(roles: Iterable[str]) -> tuple[str, ...]:
    """Each role once, in the order of `Role`, with VIEWER where there is any; what is no role is
    left out."""
    held = set(roles) & set(Role)
    if held:
        held.add(Role.VIEWER)
    return tuple(role.value for role in Role if role in held)
