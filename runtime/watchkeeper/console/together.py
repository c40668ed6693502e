"""Which questions are alike: one class (same steps, same rule) of one incident. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from watchkeeper.core.action import kind_of
from watchkeeper.core.amend import steps_of
from watchkeeper.core.desk import Ask

MOST = 11
"""Others that may be decided with one: more would be a rule, and rules are written elsewhere."""


class Class(NamedTuple):
    """What makes two questions the same but for their target."""

    incident: str
    steps: tuple[str, ...]
    rule: str
    where: str
    by: str

    @property
    def says(self) -> str:
        """`node.cordon, node.drain in INC-2`."""
        return f"{', '.join(self.steps)} in {self.incident}"


def class_of(ask: Ask) -> Class:
    """The class of one question; one of no incident is alike to none."""
    proposal = ask.shown.proposal
    steps = tuple(kind_of(step) for step in steps_of(proposal))
    return Class(proposal.incident, steps, ask.rule, ask.rule_where, proposal.by)


def alike(ask: Ask, waiting: Iterable[Ask]) -> tuple[Ask, ...]:
    """The other waiting questions of its class and incident, oldest first, MOST at most."""
    if not ask.shown.proposal.incident or ask.status.state != "waiting":
        return ()
    same = class_of(ask)
    return tuple(a for a in waiting if a.id != ask.id and class_of(a) == same)[:MOST]
