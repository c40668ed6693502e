"""Escalation: who else is called when nobody answers, and what several questions demand together.

How it comes to pass is told in tests/stories/test_break_glass.py.
"""

from __future__ import annotations

import pytest
from tests.core.policy_case import HEAD, NIGHT, Given

from watchkeeper.core.errors import PolicyError
from watchkeeper.core.verdict import Decision, Obligations
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy

PEOPLE = "people: {oncall: [ann, bob], platform: [cid], leads: [dan], chiefs: [eve]}\n"
ALL = ("chiefs", "leads", "oncall", "platform")


def asks(*approvals: str) -> CheckedPolicy:
    rows = "".join(
        f"  - {{id: q{i}, effect: ask, actions: [node.drain], when: node.gpus > {i},"
        f" approvals: {{{text}}}}}\n"
        for i, text in enumerate(approvals)
    )
    return load({"policies/t.yaml": HEAD + PEOPLE + "rules:\n" + rows}, NIGHT)


def demanded(*approvals: str) -> Obligations:
    verdict = Given().judged(asks(*approvals))
    assert verdict.decision is Decision.ASK, verdict.because
    assert verdict.obligations is not None
    return verdict.obligations


def test_a_question_calls_others_after_its_time() -> None:
    duty = demanded("from: [oncall], expires: 15m, escalate: {after: 5m, to: [leads, chiefs]}")
    assert (duty.groups, duty.escalate_after_s, duty.escalate_to) == (
        ("oncall",),
        300.0,
        ("chiefs", "leads"),
    )


def test_a_question_calls_nobody_where_it_does_not_say_so() -> None:
    duty = demanded("from: [oncall]")
    assert (duty.escalate_after_s, duty.escalate_to) == (None, ())


CALLS_LEADS = "from: [oncall], escalate: {after: 5m, to: [leads]}"


@pytest.mark.parametrize(
    ("approvals", "groups", "after", "called"),
    [
        ((CALLS_LEADS, CALLS_LEADS), ("oncall",), 300.0, ("leads",)),
        (
            (CALLS_LEADS, "from: [oncall], escalate: {after: 9m, to: [leads]}"),
            ("oncall",),
            540.0,
            ("leads",),
        ),
        ((CALLS_LEADS, "from: [oncall, platform]"), ("oncall",), None, ()),
        ((CALLS_LEADS, "from: [oncall, leads]"), ("oncall",), 300.0, ("leads",)),
        ((CALLS_LEADS, "quorum: 1"), ("oncall",), 300.0, ("leads",)),
        (
            (CALLS_LEADS, "from: [oncall], escalate: {after: 5m, to: [chiefs]}"),
            ("oncall",),
            None,
            (),
        ),
        (
            (CALLS_LEADS, "from: [oncall, leads], escalate: {after: 9m, to: [chiefs]}"),
            ("oncall",),
            300.0,
            ("leads",),
        ),
        (
            ("from: [oncall, leads], escalate: {after: 9m, to: [chiefs]}", CALLS_LEADS),
            ("oncall",),
            300.0,
            ("leads",),
        ),
        (
            (
                "from: [oncall], escalate: {after: 9m, to: [leads, chiefs]}",
                "from: [oncall, leads, chiefs], escalate: {after: 1m, to: [platform]}",
                "from: [oncall, chiefs], escalate: {after: 5m, to: [leads]}",
            ),
            ("oncall",),
            540.0,
            ("chiefs", "leads"),
        ),
    ],
    ids=[
        "the same call twice",
        "the later of two calls of the same group",
        "the other asks no one else: nobody else may answer both",
        "the other asks them from the start",
        "the other asks everybody",
        "two calls of different groups",
        "the call that comes first and adds somebody",
        "wherever it stands",
        "the first time that all three let them",
    ],
)
def test_together_others_may_answer_only_once_every_question_lets_them(
    approvals: tuple[str, ...],
    groups: tuple[str, ...],
    after: float | None,
    called: tuple[str, ...],
) -> None:
    duty = demanded(*approvals)
    assert (duty.groups, duty.escalate_after_s, duty.escalate_to) == (groups, after, called)


def test_the_largest_quorum_the_shortest_time_and_the_strictest_silence_count() -> None:
    duty = demanded(
        "quorum: 2, from: [oncall], expires: 20m, on_timeout: deny",
        "quorum: 1, expires: 10m, on_timeout: escalate",
    )
    assert (duty.quorum, duty.expires_s, duty.on_timeout) == (2, 600.0, "escalate")
    assert demanded("on_timeout: deny").on_timeout == "deny"
    assert demanded("quorum: 1").groups == ALL


def test_who_is_called_later_is_not_counted_on_from_the_start() -> None:
    with pytest.raises(PolicyError, match="asks 2 of 1 people"):
        asks("quorum: 2, from: [platform], escalate: {after: 5m, to: [oncall]}")


@pytest.mark.parametrize(
    ("approvals", "piece", "nearest"),
    [
        ("from: [oncall], escalate: {after: 5m, to: [lead]}", "no group is called 'lead'", "leads"),
        ("from: [oncall], escalate: {to: [leads]}", "lacks the key 'after'", ""),
        ("from: [oncall], escalate: {after: 5m}", "lacks the key 'to'", ""),
        (
            "from: [oncall], expires: 5m, escalate: {after: 5m, to: [leads]}",
            "`escalate` comes after the question has expired (300 s)",
            "",
        ),
        (
            "from: [oncall], escalate: {after: 15m, to: [leads]}",
            "`escalate` comes after the question has expired (900 s)",
            "",
        ),
    ],
    ids=["nobody of that name", "no time", "nobody", "too late", "too late for the usual time"],
)
def test_a_call_that_could_never_come_is_refused(approvals: str, piece: str, nearest: str) -> None:
    with pytest.raises(PolicyError) as caught:
        asks(approvals)
    assert any(
        piece in p.message and p.suggestion == nearest and p.line == 6
        for p in caught.value.problems
    ), caught.value
