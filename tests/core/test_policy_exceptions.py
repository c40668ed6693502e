"""Exceptions: each lifts exactly one rule, for a time, in somebody's name, and says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.core.policy_case import HEAD, NIGHT, PEOPLE, Given, policy

from watchkeeper.core.action import NodeCordon
from watchkeeper.core.errors import PolicyError, Problem
from watchkeeper.core.verdict import Decision, Verdict
from watchkeeper.policy.load import load

ALLOW = "  - {id: yes, effect: allow, actions: [node.drain, node.cordon]}\n"
DENY = "  - {id: no, effect: deny, actions: [node.drain, node.cordon], when: node.gpus > 1}\n"
OTHER = "  - {id: other, effect: deny, actions: [node.drain], when: node.gpus > 2}\n"
CORDON = NodeCordon(node="train-01", incarnation="inc-1")
LAST = NIGHT.date() + timedelta(days=10)


def exception(
    tail: str = "", *, rule: str = "no", until: object = LAST, ident: str = "EX-7"
) -> str:
    more = f", {tail}" if tail else ""
    return (
        f"exceptions:\n  - {{id: {ident}, rule: {rule}, owner: ml-platform, ticket: OPS-112,"
        f" until: {until}, reason: The demo has moved.{more}}}\n"
    )


def judged(rules: str, rest: str, given: Given | None = None, *, now: datetime = NIGHT) -> Verdict:
    return (given or Given()).judged(policy(rules, rest=rest), now)


def problems(rules: str, rest: str) -> tuple[Problem, ...]:
    with pytest.raises(PolicyError) as caught:
        policy(rules, rest=rest)
    return caught.value.problems


def test_an_exception_lifts_its_rule_and_says_who_answers_for_it() -> None:
    verdict = judged(ALLOW + DENY, exception())
    assert verdict.decision is Decision.ALLOW
    (said,) = [r for r in verdict.reasons if r.kind == "exception"]
    assert (said.id, said.where, said.says, said.binds) == (
        "no",
        "policies/t.yaml:9",
        Decision.DENY,
        False,
    )
    assert said.text == (
        f"EX-7 lifts no until {LAST} (ml-platform, OPS-112, policies/t.yaml:6): The demo has moved."
    )


def test_it_lifts_that_rule_alone() -> None:
    verdict = judged(ALLOW + DENY + OTHER, exception())
    assert (verdict.decision, verdict.refused_by) == (Decision.DENY, "policy")
    assert {r.id for r in verdict.reasons if r.binds and r.says is Decision.DENY} == {"other"}


def test_it_grants_nothing_where_no_rule_allows() -> None:
    only = "  - {id: no, effect: deny, actions: [node.drain]}\n"
    cordon = "  - {id: c, effect: allow, actions: [node.cordon]}\n"
    verdict = judged(only + cordon, exception())
    assert (verdict.decision, verdict.refused_by) == (Decision.DENY, "default")


def test_a_question_may_be_lifted_too_and_is_then_not_asked() -> None:
    asks = DENY.replace("deny", "ask")
    assert judged(ALLOW + asks, "").decision is Decision.ASK
    assert judged(ALLOW + asks, exception()).decision is Decision.ALLOW
    assert judged(asks, exception()).refused_by == "default", "an exception is no answer"


def test_a_question_whose_requirement_is_not_met_is_lifted_with_it() -> None:
    asks = "  - {id: no, effect: ask, actions: [node.drain], require: {confidence: 0.99}}\n"
    assert judged(ALLOW + asks, "").decision is Decision.DENY
    assert judged(ALLOW + asks, exception()).decision is Decision.ALLOW


MIDNIGHT = datetime(LAST.year, LAST.month, LAST.day, tzinfo=UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    ("now", "lifts"),
    [
        (NIGHT, True),
        (MIDNIGHT - timedelta(microseconds=1), True),
        (MIDNIGHT, False),
        (MIDNIGHT + timedelta(days=400), False),
    ],
    ids=["before", "in the last moment of its last day", "at midnight UTC", "long after"],
)
def test_it_ends_by_itself_after_its_last_day(now: datetime, lifts: bool) -> None:
    verdict = judged(ALLOW + DENY, exception(), now=now)
    assert (verdict.decision is Decision.ALLOW) is lifts


@pytest.mark.parametrize(
    ("tail", "given", "lifts"),
    [
        ("actions: [node.drain]", Given(), True),
        ("actions: [node.drain]", Given(action=CORDON), False),
        ("", Given(action=CORDON), True),
        ("when: incident.confidence > 0.8", Given(confidence=0.9), True),
        ("when: incident.confidence > 0.8", Given(confidence=0.5), False),
    ],
    ids=[
        "for this action",
        "for another action",
        "for every action of its rule",
        "where its condition holds",
        "where it does not",
    ],
)
def test_it_may_be_narrower_than_its_rule(tail: str, given: Given, lifts: bool) -> None:
    verdict = judged(ALLOW + DENY, exception(tail), given)
    assert (verdict.decision is Decision.ALLOW) is lifts


def test_an_exception_that_cannot_be_decided_denies_and_wakes_a_person() -> None:
    verdict = judged(ALLOW + DENY, exception("when: node.gpus / (node.gpus - 8) > 0"))
    assert (verdict.decision, verdict.refused_by) == (Decision.DENY, "error")
    assert "the exception EX-7 could not be decided" in verdict.because
    assert "no at policies/t.yaml" in verdict.alert


def test_an_exception_is_not_asked_where_its_rule_is_silent() -> None:
    silent = DENY.replace("node.gpus > 1", "node.gpus > 99")
    verdict = judged(ALLOW + silent, exception("when: node.gpus / (node.gpus - 8) > 0"))
    assert verdict.decision is Decision.ALLOW


def test_no_exception_lifts_a_rule_that_cannot_be_decided() -> None:
    errs = DENY.replace("node.gpus > 1", "node.gpus / (node.gpus - 8) > 0")
    verdict = judged(ALLOW + errs, exception())
    assert (verdict.decision, verdict.refused_by) == (Decision.DENY, "error")


def test_of_several_exceptions_any_that_applies_is_enough() -> None:
    two = exception("when: incident.confidence > 0.95") + exception(ident="EX-8").partition("\n")[2]
    verdict = judged(ALLOW + DENY, two)
    assert verdict.decision is Decision.ALLOW
    assert "EX-8" in next(r.text for r in verdict.reasons if r.kind == "exception")


def test_one_that_is_over_loads_and_does_nothing_and_is_named() -> None:
    checked = policy(ALLOW + DENY, rest=exception(until="2026-01-31"))
    assert Given().judged(checked).decision is Decision.DENY
    (over,) = checked.over
    assert "the exception 'EX-7' is over since 2026-02-01" in over.message
    assert "agree a new end with ml-platform" in over.message


MISTAKES = [
    ("no such rule", exception(rule="nno"), 6, 22, "points to no rule: 'nno'", "no"),
    ("an allow", exception(rule="yes"), 6, 22, "'yes' allows; an exception lifts", ""),
    ("too long", exception(until="2027-03-20"), 6, 70, "366 days from now at most", ""),
    (
        "longer than the policy lets it be",
        "exceptions_at_most: 5d\n" + exception(),
        7,
        70,
        "5 days from now at most",
        "",
    ),
    (
        "another action",
        exception("actions: [node.restart]"),
        6,
        5,
        "does not name node.restart",
        "",
    ),
    ("no day", exception(until="soon"), 6, 70, "must be a day such as", ""),
    (
        "an unknown fact",
        exception("when: node.pol == 'x'"),
        6,
        117,
        "'node.pol' is not a declared fact",
        "node.pool",
    ),
]


@pytest.mark.parametrize(
    ("rest", "line", "column", "piece", "nearest"),
    [row[1:] for row in MISTAKES],
    ids=[row[0] for row in MISTAKES],
)
def test_a_mistake_in_an_exception_is_reported_with_its_place(
    rest: str, line: int, column: int, piece: str, nearest: str
) -> None:
    found = problems(ALLOW + DENY, rest)
    assert any(
        (p.line, p.column) == (line, column) and piece in p.message and p.suggestion == nearest
        for p in found
    ), "\n".join(map(str, found))


@pytest.mark.parametrize("key", ["id", "rule", "owner", "ticket", "until", "reason"])
def test_an_exception_without_a_name_an_owner_a_ticket_or_an_end_is_refused(key: str) -> None:
    keys = ["id: EX-7", "rule: no", "owner: o", "ticket: t", f"until: {LAST}", "reason: r"]
    kept = ", ".join(k for k in keys if not k.startswith(f"{key}:"))
    (problem,) = problems(ALLOW + DENY, f"exceptions: [{{{kept}}}]\n")
    assert problem.message == f"an item of 'exceptions' lacks the key '{key}'"


def test_two_of_one_name_are_refused_wherever_they_stand() -> None:
    files = {
        "policies/a.yaml": HEAD + PEOPLE + exception() + "rules:\n" + ALLOW + DENY,
        "policies/b.yaml": HEAD + exception(),
    }
    with pytest.raises(PolicyError, match=r"'EX-7' is defined twice; first at policies/a\.yaml:6"):
        load(files, NIGHT)


def test_an_exception_may_stand_in_another_file_than_its_rule() -> None:
    files = {
        "policies/a.yaml": HEAD + exception(),
        "policies/b.yaml": HEAD + PEOPLE + "rules:\n" + ALLOW + DENY,
    }
    assert Given().judged(load(files, NIGHT)).decision is Decision.ALLOW
