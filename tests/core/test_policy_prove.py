"""What `policy check --prove` answers, question by question. Read each table as the rule it is."""

# ruff: noqa: E501  (tables read best one case a line)

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.core.policy_case import HEAD, NIGHT, PEOPLE, shipped
from typer.testing import CliRunner

from watchkeeper.app.policy_cli import policy_app
from watchkeeper.core.errors import UsageError
from watchkeeper.policy.load import load
from watchkeeper.policy.model import Budget, CheckedPolicy, Exemption, Limit, Rule, Window
from watchkeeper.policy.proof.prove import Outcome, Proof, prove
from watchkeeper.policy.proof.question import (
    IsDenied,
    IsEquivalent,
    IsNarrower,
    NeedsAPerson,
    parse,
)

PROVED, NOT_SO, NOT_DECIDED = Outcome.PROVED, Outcome.NOT_SO, Outcome.NOT_DECIDED
DAYS = "days: [mon, tue, wed, thu, fri, sat, sun]"
WINDOWS = f"""
windows:
  night: {{{DAYS}, from: "22:00", to: "06:00", tz: Europe/Berlin}}
  late: {{{DAYS}, from: "23:00", to: "05:00", tz: Europe/Berlin}}
  day: {{{DAYS}, from: "06:00", to: "22:00", tz: Europe/Berlin}}
  elsewhere: {{{DAYS}, from: "06:00", to: "22:00", tz: UTC}}
  workday: {{{DAYS}, from: "06:00", to: "22:00", tz: Europe/Berlin, holidays: DE}}
"""
ALLOW = "effect: allow, actions: [node.drain]"
ASK = "effect: ask, actions: [node.drain]"
DENY = "effect: deny, actions: [node.drain]"


def policy(*rules: str, rest: str = "", at: datetime = NIGHT) -> CheckedPolicy:
    """A policy of these rules, each without its id: r0, r1 and so on."""
    rows = "".join(f"  - {{id: r{i}, {rule}}}\n" for i, rule in enumerate(rules))
    body = HEAD + PEOPLE + WINDOWS.lstrip("\n") + rest + f"rules:\n{rows}"
    return load({"policies/t.yaml": body}, at)


def asked(question: str, one: CheckedPolicy, two: CheckedPolicy | None = None) -> Proof:
    return prove(parse(question), one, NIGHT, two)


@pytest.mark.parametrize(
    ("question", "outcome"),
    [
        ("pool.reserve is denied", PROVED),
        ("node.replace is denied", NOT_SO),
        ("gpu.power_cap needs a person", PROVED),
        ("gpu.power_cap is denied", NOT_SO),
        ("pool.reserve needs a person", PROVED),
        ("node.replace needs a person", NOT_SO),
        ("node.drain needs a person", NOT_SO),
        ("pool.scale needs a person", NOT_SO),
        ("node.* is denied", NOT_SO),
        ("* needs a person", NOT_SO),
        ("is narrower than policies", PROVED),
        ("is equivalent to policies", PROVED),
    ],
)
def test_what_is_true_of_the_shipped_orders(question: str, outcome: Outcome) -> None:
    assert asked(question, shipped(), shipped()).outcome is outcome


PERSON = [
    # why,                                                     rules, answer
    ("nothing is allowed", [ASK], PROVED),
    ("an allow alone", [ALLOW], NOT_SO),
    ("an ask beside it that always matches", [ALLOW, ASK], PROVED),
    ("an ask only at night", [ALLOW, f"{ASK}, during: night"], NOT_SO),
    ("an ask by day and by night", [ALLOW, f"{ASK}, during: night", f"{ASK}, during: day"], PROVED),
    ("a day of another zone", [ALLOW, f"{ASK}, during: night", f"{ASK}, during: elsewhere"], NOT_SO),
    ("a day that holidays shut", [ALLOW, f"{ASK}, during: night", f"{ASK}, during: workday"], NOT_SO),
    ("the ask covers the hours of the allow", [f"{ALLOW}, during: late", f"{ASK}, during: night"], PROVED),
    ("the allow has more hours than the ask", [f"{ALLOW}, during: night", f"{ASK}, during: late"], NOT_SO),
    ("a person approved it", [f"{ALLOW}, when: incident.approved"], PROVED),
    ("a person approved it, written out", [f"{ALLOW}, when: incident.approved == true"], PROVED),
    ("nobody approved it", [f"{ALLOW}, when: '!incident.approved'"], NOT_SO),
    ("an ask in shadow", [ALLOW, f"{ASK}, mode: shadow"], NOT_SO),
    ("an ask that only advises", [ALLOW, f"{ASK}, enforcement: advisory"], NOT_SO),
    ("an ask that only a person lifts", [ALLOW, f"{ASK}, enforcement: soft"], PROVED),
    ("an ask that will lapse", [ALLOW, f"{ASK}, until: 2026-03-25"], NOT_SO),
    ("an allow that has lapsed", [f"{ALLOW}, until: 2026-03-01", ASK], PROVED),
    ("a deny that will lapse after the allow", [f"{ALLOW}, until: 2026-03-25", f"{DENY}, until: 2026-03-28"], PROVED),
    ("a deny that will lapse before the allow", [f"{ALLOW}, until: 2026-03-28", f"{DENY}, until: 2026-03-25"], NOT_SO),
    ("an ask whose requirement is unmet denies", [ALLOW, f"{ASK}, require: {{confidence: 0.9}}"], PROVED),
    ("opposite conditions on a whole number", [ALLOW, f"{ASK}, when: node.gpus < 4", f"{ASK}, when: node.gpus >= 4"], PROVED),
    ("a gap between whole numbers holds none", [ALLOW, f"{ASK}, when: node.gpus < 4", f"{ASK}, when: node.gpus > 3"], PROVED),
    ("a gap that holds a number", [ALLOW, f"{ASK}, when: node.gpus < 4", f"{ASK}, when: node.gpus > 4"], NOT_SO),
    ("a double may be no number", [ALLOW, f"{ASK}, when: incident.confidence < 0.8", f"{ASK}, when: incident.confidence >= 0.8"], NOT_SO),
    ("a requirement against its opposite", [f"{ALLOW}, require: {{confidence: 0.8}}", f"{ASK}, when: incident.confidence >= 0.5"], PROVED),
    ("a looser requirement", [f"{ALLOW}, require: {{confidence: 0.5}}", f"{ASK}, when: incident.confidence >= 0.8"], NOT_SO),
    ("durations in other units", [ALLOW, f"{ASK}, when: 'node.silent_for < duration(\"1m30s\")'", f"{ASK}, when: 'node.silent_for >= duration(\"90s\")'"], PROVED),
    ("one text is not another", [f"{ALLOW}, when: 'node.ray_state == \"dead\"'", f"{ASK}, when: 'node.ray_state != \"alive\"'"], PROVED),
    ("one of two texts", [f"{ALLOW}, when: 'node.ray_state in [\"dead\", \"draining\"]'", f"{ASK}, when: '\"dead\" == node.ray_state'"], NOT_SO),
    ("the kind is known", [f"{ALLOW}, when: 'action.kind == \"node.cordon\"'"], PROVED),
    ("the kind is known by its beginning", [f"{ALLOW}, when: '!action.kind.startsWith(\"node.\")'"], PROVED),
    ("what the kind does is known", [f"{ALLOW}, when: action.recovers && !action.disruptive"], PROVED),
    ("a label that is there", [f"{ALLOW}, when: '\"a\" in node.labels && node.labels[\"a\"] == \"b\"'", f"{ASK}, when: has(node.labels.a)"], PROVED),
    ("a label with two values", [f"{ALLOW}, when: '\"a\" in node.labels && node.labels[\"a\"] == \"b\"'", f"{ASK}, when: '\"a\" in node.labels && node.labels.a == \"c\"'"], NOT_SO),
    ("a choice", [f"{ALLOW}, when: 'node.fenced ? node.gpus > 4 : node.gpus > 8'", f"{ASK}, when: node.gpus > 4"], PROVED),
    ("an error denies, so it is no way around", [f"{ALLOW}, when: 10 / node.gpus > 2", f"{ASK}, when: 10 / node.gpus > 2"], PROVED),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "outcome"), [c[1:] for c in PERSON], ids=[c[0] for c in PERSON])
def test_does_it_need_a_person(rules: list[str], outcome: Outcome) -> None:
    proof = asked("node.drain needs a person", policy(*rules))
    assert proof.outcome is outcome, proof.text


DENIED = [
    ("nothing grants it", [f"{DENY}, when: node.fenced"], "", PROVED),
    ("asked is not denied", [ASK], "", NOT_SO),
    ("a deny that only a person lifts is not always", [f"{ALLOW}, when: node.fenced", f"{DENY}, enforcement: soft, when: node.fenced"], "", NOT_SO),
    ("a hard deny", [f"{ALLOW}, when: node.gpus > 8", f"{DENY}, when: node.gpus > 4"], "", PROVED),
    ("a hard deny with an exception", [f"{ALLOW}, when: node.fenced", f"{DENY}, when: node.fenced"], "exceptions:\n  - {id: x, rule: r1, owner: o, ticket: T, until: 2026-03-25, reason: r}\n", NOT_SO),
    ("an exception that never holds there", [f"{ALLOW}, when: node.fenced", f"{DENY}, when: node.fenced"], "exceptions:\n  - {id: x, rule: r1, owner: o, ticket: T, until: 2026-03-25, reason: r, when: '!node.fenced'}\n", PROVED),
    ("break-glass lifts no requirement", [f"{ASK}, enforcement: soft, when: incident.confidence < 0.5, require: {{confidence: 0.9}}"], "", PROVED),
    ("a soft ask lifted lets it happen", [f"{ASK}, enforcement: soft, when: node.fenced"], "", NOT_SO),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "rest", "outcome"), [c[1:] for c in DENIED], ids=[c[0] for c in DENIED]
)
def test_is_it_always_denied(rules: list[str], rest: str, outcome: Outcome) -> None:
    proof = asked("node.drain is denied", policy(*rules, rest=rest))
    assert proof.outcome is outcome, proof.text


LIMIT = "limits:\n  - {{id: {}, actions: [node.drain], per: pool, {}}}\n"
COUNT_2 = LIMIT.format("few", "max_out: {count: 2}")
COUNT_4 = LIMIT.format("some", "max_out: {count: 4}")
SOFT_2 = LIMIT.format("few", "max_out: {count: 2}, enforcement: soft")
HOURLY = LIMIT.format("few", "rate: {count: 2, per: 1h}")
DAILY = LIMIT.format("few", "rate: {count: 2, per: 1d}")
ERRS = "10 / node.gpus > 2"
LAPSES = "exceptions:\n  - {id: x, rule: r1, owner: o, ticket: T, until: 2026-03-25, reason: r}\n"
ONE = f"{ASK}, approvals: {{quorum: 1, from: [oncall]}}"
TWO = f"{ASK}, approvals: {{quorum: 2, from: [oncall]}}"
OTHERS = f"{ASK}, approvals: {{quorum: 1, from: [platform]}}"
LATER = f"{ASK}, approvals: {{from: [oncall], escalate: {{after: 1m, to: [platform]}}}}"
SOONER = f"{ASK}, approvals: {{from: [oncall], escalate: {{after: 30s, to: [platform]}}}}"

NARROWER = [
    # why,                          these rules, their rest, than these, their rest, answer
    ("the same", [ALLOW], "", [ALLOW], "", PROVED),
    ("asks what was allowed", [ASK], "", [ALLOW], "", PROVED),
    ("allows what was asked", [ALLOW], "", [ASK], "", NOT_SO),
    ("allows what no rule allows", [ALLOW], "", [f"{ALLOW}, when: node.fenced"], "", NOT_SO),
    ("allows less", [f"{ALLOW}, when: node.fenced"], "", [ALLOW], "", PROVED),
    ("a shorter window", [f"{ALLOW}, during: late"], "", [f"{ALLOW}, during: night"], "", PROVED),
    ("a longer window", [f"{ALLOW}, during: night"], "", [f"{ALLOW}, during: late"], "", NOT_SO),
    ("asks two for one", [TWO], "", [ONE], "", PROVED),
    ("asks one for two", [ONE], "", [TWO], "", NOT_SO),
    ("asks other people", [OTHERS], "", [ONE], "", NOT_SO),
    ("more may answer later", [LATER], "", [ONE], "", NOT_SO),
    ("fewer may answer later", [ONE], "", [LATER], "", PROVED),
    ("as many may answer later", [LATER], "", [LATER], "", PROVED),
    ("others may answer sooner", [SOONER], "", [LATER], "", NOT_SO),
    ("others may answer later than that", [LATER], "", [SOONER], "", PROVED),
    ("asks where nobody could answer", [ONE], "", [ONE, OTHERS], "", NOT_SO),
    ("nobody can answer, so it is a no", [ONE, OTHERS], "", [f"{ALLOW}, when: node.fenced"], "", PROVED),
    ("a limit more", [ALLOW], COUNT_2, [ALLOW], "", PROVED),
    ("a limit less", [ALLOW], "", [ALLOW], COUNT_2, NOT_SO),
    ("a tighter limit", [ALLOW], COUNT_2, [ALLOW], COUNT_4, PROVED),
    ("a looser limit", [ALLOW], COUNT_4, [ALLOW], COUNT_2, NOT_SO),
    ("a limit that break-glass lifts", [ALLOW], SOFT_2, [ALLOW], COUNT_2, NOT_SO),
    ("a limit that nobody lifts", [ALLOW], COUNT_2, [ALLOW], SOFT_2, PROVED),
    ("a rate over a longer time", [ALLOW], DAILY, [ALLOW], HOURLY, PROVED),
    ("a rate over a shorter time", [ALLOW], HOURLY, [ALLOW], DAILY, NOT_SO),
    ("a rate for a count", [ALLOW], HOURLY, [ALLOW], COUNT_2, NOT_SO),
    ("a deny softened", [ALLOW, f"{DENY}, when: node.fenced, enforcement: soft"], "", [ALLOW, f"{DENY}, when: node.fenced"], "", NOT_SO),
    ("a deny hardened", [ALLOW, f"{DENY}, when: node.fenced"], "", [ALLOW, f"{DENY}, when: node.fenced, enforcement: soft"], "", PROVED),
    ("a deny with an exception", [ALLOW, f"{DENY}, when: node.fenced"], LAPSES, [ALLOW, f"{DENY}, when: node.fenced"], "", NOT_SO),
    ("an exception taken back", [ALLOW, f"{DENY}, when: node.fenced"], "", [ALLOW, f"{DENY}, when: node.fenced"], LAPSES, PROVED),
    ("a deny that would fail is gone", [ALLOW], "", [ALLOW, f"{DENY}, when: {ERRS} && {ERRS} && false"], "", PROVED),
    ("an allow that would fail is gone", [ALLOW], "", [ALLOW, f"{ALLOW}, when: {ERRS}"], "", NOT_SO),
    ("advice that would fail is gone", [ALLOW], "", [ALLOW, f"{DENY}, when: {ERRS}, enforcement: advisory"], "", NOT_SO),
    ("a shadow that would fail is gone", [ALLOW], "", [ALLOW, f"{DENY}, when: {ERRS}, mode: shadow"], "", PROVED),
    ("an error that a test keeps away", [f"{ALLOW}, when: node.fenced"], "", [f"{ALLOW}, when: node.fenced || {ERRS}"], "", PROVED),
    ("a loop that may run too long", [f"{ALLOW}, when: node.fenced"], "", [f"{ALLOW}, when: 'node.fenced || node.labels.exists(k, k == \"a\")'"], "", NOT_SO),
    ("a text that cannot be read", [ALLOW], "", [ALLOW, f"{ALLOW}, when: 'node.pool == \"a\"'"], "", NOT_SO),
    ("a text of ours", [ALLOW], "", [ALLOW, f"{ALLOW}, when: 'node.ray_state == \"dead\"'"], "", PROVED),
    ("labels that are too many to be read", [ALLOW], "", [ALLOW, f"{ALLOW}, when: '\"a\" in node.labels'"], "", NOT_SO),
    ("a checkpoint between two microseconds", [f"{ALLOW}, when: 'impact.checkpoint_age <= duration(\"15m\")'"], "", [f"{ALLOW}, require: {{checkpoint_age: 15m}}"], "", NOT_SO),
    ("arithmetic that cannot fail", [ALLOW], "", [ALLOW, f"{ALLOW}, when: incident.confidence / 0.0 > 1.0"], "", PROVED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "more", "two", "other", "outcome"),
    [c[1:] for c in NARROWER],
    ids=[c[0] for c in NARROWER],
)
def test_is_it_narrower(
    one: list[str], more: str, two: list[str], other: str, outcome: Outcome
) -> None:
    proof = asked("is narrower than old", policy(*one, rest=more), policy(*two, rest=other))
    assert proof.outcome is outcome, proof.text


def test_equivalent_is_narrower_both_ways() -> None:
    twice = policy(ALLOW, f"{ASK}, when: node.fenced && node.fenced")
    once = policy(ALLOW, f"{ASK}, when: node.fenced")
    less = policy(ALLOW, ASK)
    assert asked("is equivalent to old", twice, once).outcome is PROVED
    assert asked("is narrower than old", less, once).outcome is PROVED
    assert asked("is equivalent to old", less, once).outcome is NOT_SO


def test_twenty_atoms_are_decided_and_one_more_is_not() -> None:
    def of(atoms: int) -> CheckedPolicy:
        parts = " && ".join(f'("k{i}" in node.labels)' for i in range(atoms))
        return policy(f"{ALLOW}, when: '{parts}'", f"{ASK}, when: '\"k0\" in node.labels'")

    decided = asked("node.drain needs a person", of(20))
    assert (decided.outcome, decided.atoms, decided.cases) == (PROVED, 20, 2**20)
    undecided = asked("node.drain needs a person", of(21))
    assert undecided.text == "Not decided: 21 atoms for node.drain; at most 20."


def test_a_counter_example_names_the_rule_and_only_what_matters() -> None:
    proof = asked(
        "node.drain needs a person",
        policy(
            f"{ALLOW}, during: night, require: {{confidence: 0.8}}",
            f"{ASK}, when: node.fenced && node.gpus > 4",
            f"{DENY}, when: node.gpus > 8",
        ),
    )
    assert proof.when == (
        "night is open",
        "incident.confidence >= 0.8 is true",
        "node.gpus <= 4 is true",
    )
    assert proof.text.startswith("Not so: node.drain is allowed by policies/t.yaml:12 r0, when")
    assert "may be a false alarm" in proof.text


def test_a_comparison_says_what_each_side_does() -> None:
    proof = asked("is narrower than old", policy(ONE), policy(TWO))
    assert "asked about here by policies/t.yaml:12 r0, of 1 of ann, bob" in proof.text
    assert "old asks 2 of ann, bob" in proof.text
    proof = asked("is narrower than old", policy(ALLOW), policy(f"{ALLOW}, when: node.fenced"))
    assert "and old denies it (no rule allows it), when node.fenced is false" in proof.text


def test_tickets_and_pages_are_always_allowed() -> None:
    assert "changes nothing" in asked("ticket.open is denied", policy(ALLOW)).text
    assert asked("* is denied", policy(f"{ASK}, when: node.fenced")).kinds == ("node.drain",)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("node.drain needs a person", NeedsAPerson("node.drain", ("node.drain",))),
        ("  node.drain   is denied ", IsDenied("node.drain", ("node.drain",))),
        ("gpu.* is denied", IsDenied("gpu.*", ("gpu.reset", "gpu.quarantine", "gpu.power_cap"))),
        ("is narrower than ../old orders", IsNarrower("../old orders")),
        ("is equivalent to old", IsEquivalent("old")),
    ],
)
def test_the_forms_of_a_question(text: str, question: object) -> None:
    assert parse(text) == question


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("node.drain is forbidden", "node.drain is denied"),
        ("node.drian is denied", "node.drain is denied"),
        ("node.drain needs a human", "node.drain needs a person"),
        ("is narower than old", "is narrower than old"),
        ("is narrower than", "is narrower than FOLDER"),
        ("is narrower", "is narrower than FOLDER"),
    ],
)
def test_an_unknown_question_names_the_forms_and_the_nearest(text: str, nearest: str) -> None:
    with pytest.raises(UsageError, match="is equivalent to FOLDER") as raised:
        parse(text)
    assert f"Did you mean {nearest!r}?" in str(raised.value)


@pytest.mark.parametrize(
    ("word", "known"),
    [
        (Rule, "id effect actions where during when require approvals verify_within_s shadow until reason enforcement"),
        (Exemption, "id rule actions where owner ticket until reason when"),
        (Limit, "id actions per where max_count max_percent rate_count rate_per_s concurrency reason enforcement shadow"),
        (Budget, "id actions per every_s where disruptions gpu_hours money currency reason enforcement shadow"),
        (Window, "name days from_min to_min zone holidays where first last"),
    ],
)  # fmt: skip
def test_a_word_that_the_language_gains_must_be_taught_here_as_well(word: type, known: str) -> None:
    assert {field.name for field in dataclasses.fields(word)} == set(known.split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    old = tmp_path / "old"
    old.mkdir()
    (old / "a.yaml").write_text(HEAD + PEOPLE + f"rules:\n  - {{id: a, {ALLOW}}}\n")
    return old


def test_check_ends_with_zero_only_when_all_is_proved(folder: Path) -> None:
    at = ["check", "--policies", str(folder), "--at", datetime(2026, 3, 1, tzinfo=UTC).isoformat()]
    same = ["--prove", f"is narrower than {folder}"]
    run = CliRunner().invoke(policy_app, [*at, *same, "--prove", "node.reboot is denied"])
    assert run.exit_code == 0
    assert run.stdout.count("Proved:") == 2
    run = CliRunner().invoke(policy_app, [*at, *same, "--prove", "node.drain is denied"])
    assert run.exit_code == 1
    assert "Not so: node.drain is allowed by old/a.yaml:6 a." in run.stdout
    run = CliRunner().invoke(policy_app, [*at, "-o", "json", "--prove", "* needs a person"])
    assert [p["actions"] for p in json.loads(run.stdout)["proofs"]] == [["node.drain"]]
    (folder / "b.yaml").write_text("apiVersion: no")
    run = CliRunner().invoke(policy_app, [*at, "--prove", "node.reboot is denied"])
    assert run.exit_code == 3
    assert "Proved" not in run.stdout


def test_a_counter_example_is_shown_on_short_lines_and_the_surest_comes_first() -> None:
    long = " && ".join(f"node.pool != 'a-pool-of-a-long-name-{i}'" for i in range(5))
    rules = (
        f'effect: allow, actions: [node.cordon], when: "{long}"',
        "effect: allow, actions: [node.drain]",
    )
    proof = prove(parse("node.* needs a person"), policy(*rules), NIGHT)
    assert proof.kinds == ("node.drain", "node.cordon")
    first = proof.shown.splitlines()[0]
    assert re.fullmatch(r"Not so: node\.drain is allowed by policies/t\.yaml:\d+ r1\.", first)
    alone = prove(parse("node.cordon needs a person"), policy(*rules), NIGHT)
    assert len(alone.text) > 200
    assert max(map(len, alone.shown.splitlines())) <= 100
    assert " ".join(alone.shown.split()) == alone.text
