"""How every rule stood towards one proposal, whether or not it spoke.

Asked by explain, by test coverage and by the replay. It hears the rules exactly as the judge does.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from watchkeeper.core.facts import Facts
from watchkeeper.core.ledger import LedgerView
from watchkeeper.policy.hear import Hearing, hear_all
from watchkeeper.policy.model import CheckedPolicy, Rule


class RuleTrace(NamedTuple):
    """One rule. state: `matched`, `false`, `shut`, `lapsed`, `excepted`, `lifted`, `unmet` or
    `error`. why: a sentence for people."""

    rule: Rule
    state: str
    why: str


def trace(
    policy: CheckedPolicy, kind: str, facts: Facts, ledger: LedgerView, now: datetime
) -> tuple[RuleTrace, ...]:
    """Every rule that names this kind of action, in the order of the files."""
    return tuple(
        RuleTrace(heard.rule, heard.state.value, heard.why)
        for heard in hear_all(Hearing(policy, kind, facts, ledger, now))
    )
