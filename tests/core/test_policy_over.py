"""Dates: what is over does nothing. `check` refuses it, at the date it is told; a running watch
loads it all the same, so that no date is a time bomb."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.core.policy_case import HEAD, PEOPLE, Given

from watchkeeper.core.verdict import Decision
from watchkeeper.policy.check import report
from watchkeeper.policy.load import load

ALLOW = "  - {id: yes, effect: allow, actions: [node.drain]}\n"
DATED = {
    "a rule": (
        "",
        "  - {id: no, effect: deny, actions: [node.drain], when: node.gpus > 1,"
        " until: 2026-03-31}\n",
        7,
        "the rule 'no' is over since 2026-04-01 00:00Z",
        Decision.DENY,
        Decision.ALLOW,
    ),
    "an exception": (
        "exceptions:\n"
        "  - {id: ex, rule: no, owner: ml, ticket: T-1, until: 2026-03-31, reason: r}\n",
        "  - {id: no, effect: deny, actions: [node.drain], when: node.gpus > 1}\n",
        6,
        "the exception 'ex' is over since 2026-04-01 00:00Z; take it out, "
        "or agree a new end with ml",
        Decision.ALLOW,
        Decision.DENY,
    ),
    "a window": (
        'windows: {w: {days: [tue, wed], from: "00:00", to: "24:00", tz: UTC, last: 2026-03-31}}\n',
        "  - {id: no, effect: deny, actions: [node.drain], during: w}\n",
        5,
        "the window 'w' is over since 2026-03-31",
        Decision.DENY,
        Decision.ALLOW,
    ),
}
LAST_DAY = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
AFTER = datetime(2026, 4, 1, tzinfo=UTC)

each = pytest.mark.parametrize(
    ("rest", "rule", "line", "says", "before", "after"), DATED.values(), ids=DATED.keys()
)


def files(rest: str, rule: str) -> dict[str, str]:
    return {"policies/t.yaml": HEAD + PEOPLE + rest + "rules:\n" + ALLOW + rule}


@each
def test_check_refuses_what_is_over_at_the_date_it_is_told(
    rest: str, rule: str, line: int, says: str, before: Decision, after: Decision
) -> None:
    text, sound = report(files(rest, rule), LAST_DAY)
    assert sound, text
    text, sound = report(files(rest, rule), AFTER)
    assert not sound
    assert f"policies/t.yaml:{line}:1: {says}" in text
    assert "1 problem in 1 file." in text
    assert "A running watch loads the folder all the same." in text


@each
def test_load_takes_it_names_it_and_it_does_nothing(
    rest: str, rule: str, line: int, says: str, before: Decision, after: Decision
) -> None:
    assert load(files(rest, rule), LAST_DAY).over == ()
    late = load(files(rest, rule), AFTER)
    assert [(p.line, p.message) for p in late.over] == [(line, says)]
    assert Given().judged(late, AFTER).decision is after


@each
def test_the_same_set_changes_its_mind_by_itself_at_midnight(
    rest: str, rule: str, line: int, says: str, before: Decision, after: Decision
) -> None:
    checked = load(files(rest, rule), LAST_DAY)
    assert Given().judged(checked, LAST_DAY).decision is before
    assert Given().judged(checked, AFTER).decision is after


def test_the_date_of_the_check_changes_no_version() -> None:
    dated = files(*DATED["a rule"][:2])
    assert load(dated, LAST_DAY).version == load(dated, AFTER).version


def test_an_exception_may_reach_a_year_ahead_of_the_date_of_the_check_and_no_further() -> None:
    rest, rule, *_ = DATED["an exception"]
    text, sound = report(files(rest, rule), datetime(2025, 1, 1, tzinfo=UTC))
    assert not sound
    assert "an exception may last 366 days from now at most" in text
    assert report(files(rest, rule), datetime(2025, 4, 1, tzinfo=UTC))[1]


def test_errors_are_told_before_what_is_over() -> None:
    rest, rule, *_ = DATED["a rule"]
    text, sound = report(files(rest, rule.replace("node.gpus", "node.gpu")), AFTER)
    assert not sound
    assert "'node.gpu' is not a declared fact" in text
