"""A comparison counts everything, says what changed by rule, and never hides a loosening."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.policy_case import DRAIN, HEAD, NIGHT, PEOPLE, Given, policy
from tests.core.replay_case import changed, events_of, verdict_event, without_fact
from tests.properties.test_policy_promises import SITUATIONS, a_rule, policy_of

from watchkeeper.app.policy_diff import FailOn, fails
from watchkeeper.core.action import CheckRun, NodeRestart
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.usage import UsageRecord
from watchkeeper.core.verdict import Autonomy, Decision, Obligations, Orders, Reason, Verdict
from watchkeeper.core.word import plain
from watchkeeper.policy.history.compare import compare
from watchkeeper.policy.history.compare_text import WIDTH, as_text
from watchkeeper.policy.history.comparison import Comparison
from watchkeeper.policy.history.terms import difference
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy

GOLDEN = Path(__file__).parents[1] / "golden" / "policy_diff"
UNTIL = NIGHT + timedelta(days=1)
SINCE = UNTIL - timedelta(days=30)
GIVEN = Given(action=DRAIN)
CHECK = Given(action=CheckRun(node="train-01", incarnation="inc-1"))
RESTART = Given(action=NodeRestart(node="train-01", incarnation="inc-1"), fenced=("train-01",))

ALLOWS = "  - {id: drains, effect: allow, actions: [node.drain]}\n"
ASKS = "  - {id: asks, effect: ask, actions: [node.drain]}\n"
DENIES = "  - {id: forbids, effect: deny, actions: [node.drain], when: node.gpus > 1}\n"
FEW = "limits: [{id: few, actions: [node.drain], per: fleet, max_out: {count: 0}}]\n"
CHECKS = "  - {id: checks, effect: allow, actions: [check.run]}\n"


def held(events: list[Event], old: CheckedPolicy, new: CheckedPolicy) -> Comparison:
    return compare(events, old, new, since=SINCE, until=UNTIL)


def told(found: Comparison, examples: int = 3) -> str:
    return as_text(found, old="old", new="new", since="30 days", examples=examples)


def counts(found: Comparison) -> dict[str, int]:
    return {section.what: len(section.changes) for section in found.sections}


@pytest.mark.parametrize(
    ("before", "after", "what", "wider"),
    [
        (ALLOWS, ALLOWS + DENIES, "newly_denied", False),
        (ALLOWS, ASKS, "newly_asked", False),
        (ASKS, ALLOWS, "newly_allowed", True),
        (ALLOWS + DENIES, ALLOWS, "newly_allowed", True),
        (DENIES, ASKS, "newly_asked", True),
        (ASKS, CHECKS, "newly_denied", False),
    ],
    ids=["deny added", "allow to ask", "ask to allow", "deny taken", "deny to ask", "rule gone"],
)
def test_each_transition_is_told_with_its_direction(
    before: str, after: str, what: str, wider: bool
) -> None:
    old, new = policy(before), policy(after)
    found = held(events_of([GIVEN, GIVEN], old), old, new)
    assert counts(found) == {what: 2}
    assert (found.widened, found.narrowed) == ((2, 0) if wider else (0, 2))


def test_groups_name_the_rule_that_carries_the_new_decision_and_what_carried_the_old() -> None:
    old, new = policy(ALLOWS + CHECKS), policy(ALLOWS + DENIES)
    found = held(events_of([GIVEN, CHECK, GIVEN], old), old, new)
    (section,) = found.sections
    named = [
        (str(g.carriers[0]), len(g.changes), str(g.was[0].carriers[0])) for g in section.groups
    ]
    assert named == [
        ("policies/t.yaml:7 forbids", 2, "policies/t.yaml:6 drains"),
        ("no rule matches", 1, "policies/t.yaml:7 checks"),
    ]


@pytest.mark.parametrize(
    ("case", "new_rules", "rest", "carrier"),
    [
        (GIVEN, ALLOWS, FEW, "policies/t.yaml:5 few"),
        (GIVEN.but(confidence=0.1),
         "  - {id: sure, effect: allow, actions: [node.drain], require: {confidence: 0.9}}\n", "",
         "policies/t.yaml:6 sure (unmet)"),
    ],
    ids=["limit", "requirement"],
)  # fmt: skip
def test_limits_and_unmet_requirements_carry_a_refusal_by_name(
    case: Given, new_rules: str, rest: str, carrier: str
) -> None:
    old, new = policy(ALLOWS), policy(new_rules, rest=rest)
    (section,) = held(events_of([case], old), old, new).sections
    assert [str(c) for c in section.groups[0].carriers] == [carrier]


def test_the_dial_carries_what_it_caps() -> None:
    case = GIVEN.but(orders=Orders(autonomy=Autonomy.ASK))
    old, new = policy(CHECKS), policy(ALLOWS)
    (section,) = held(events_of([case], old), old, new).sections
    assert [str(c) for c in section.groups[0].carriers] == ["dial ask"]


def test_what_cannot_be_replayed_is_counted_with_its_reason_and_never_skipped() -> None:
    old = policy(ALLOWS)
    new = policy('  - {id: r1, effect: allow, actions: [node.drain], when: node.rack == "r1"}\n')
    whole = verdict_event(GIVEN, old, seq=1)
    lacking = [without_fact(verdict_event(GIVEN, old, seq=i), "node.rack") for i in (2, 3)]
    broken = changed(verdict_event(GIVEN, old, seq=4), orders={})
    found = held([whole, *lacking, broken], old, new)
    assert (found.judged, found.replayed) == (4, 1)
    most = found.unreplayed[0]
    assert most.why == "lack node.rack, which NEW reads"
    assert (most.count, most.first) == (2, 2)
    assert sum(u.count for u in found.unreplayed) == 3
    text = told(found)
    assert text.startswith("Replayed 1 of 4 decisions of the last 30 days")
    assert text.splitlines()[1] == "3 could not be replayed:"


def test_the_reason_says_which_set_reads_what_is_missing() -> None:
    by_rack = policy('  - {id: a, effect: allow, actions: [node.drain], when: node.rack == "r"}\n')
    by_gpus = policy("  - {id: a, effect: allow, actions: [node.drain], when: node.gpus > 1}\n")
    event = without_fact(verdict_event(GIVEN, policy(ALLOWS)), "node.rack", "node.gpus")
    assert held([event], by_rack, by_gpus).unreplayed[0].why == (
        "lack node.rack, which OLD reads; and node.gpus, which NEW reads"
    )
    assert held([event], by_rack, by_rack).unreplayed[0].why == ("lack node.rack, which both read")


def test_decisions_are_counted_as_judged_and_proposals_beside_them() -> None:
    old = policy(ALLOWS)
    twice = [verdict_event(GIVEN, old, seq=i, proposal="P-7") for i in (1, 2)]
    found = held([*twice, verdict_event(GIVEN, old, seq=3, proposal="P-8")], old, policy(ASKS))
    assert (found.replayed, found.proposals) == (3, 2)
    assert "Replayed 3 of 3 decisions" in told(found)
    assert "for 2 proposals" in told(found)
    assert "judged 2 times" in told(found)


def test_only_the_period_counts() -> None:
    old = policy(ALLOWS)
    early = msgspec.structs.replace(verdict_event(GIVEN, old), at=SINCE - timedelta(seconds=1))
    late = msgspec.structs.replace(verdict_event(GIVEN, old), at=UNTIL + timedelta(seconds=1))
    found = held([early, late], old, policy(DENIES))
    assert found.judged == 0
    assert "nothing was compared" in told(found)


def test_a_replay_that_differs_from_the_record_is_said_loudly() -> None:
    old = policy(ALLOWS)
    event = verdict_event(GIVEN, old)
    tampered = {**event.data["verdict"], "decision": "deny"}
    found = held(
        [msgspec.structs.replace(event, data={**event.data, "verdict": tampered})], old, old
    )
    assert (found.checked, len(found.mismatches)) == (1, 1)
    assert "CAUTION: 1 replay of 1 differs from what was recorded" in told(found)


def test_a_set_is_recognised_although_its_folder_has_another_name() -> None:
    files = {"t.yaml": HEAD + PEOPLE + "rules:\n" + ALLOWS}
    running = load({f"orders/{n}": t for n, t in files.items()}, NIGHT)
    copy = load({f"copy/{n}": t for n, t in files.items()}, NIGHT)
    other = policy(ASKS)
    event = verdict_event(GIVEN, running, seq=2)
    for old, new in ((copy, other), (other, copy)):
        found = held([event], old, new)
        assert (found.checked, found.mismatches) == (1, ())


def test_a_set_that_gave_none_of_the_verdicts_is_not_self_checked_and_says_so() -> None:
    found = held([verdict_event(GIVEN, policy(CHECKS))], policy(ALLOWS), policy(ASKS))
    assert found.checked == 0
    assert "could not be checked" in told(found)


ONE = Obligations(quorum=1, groups=("oncall",), expires_s=900.0, on_timeout="deny")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"quorum": 2}, "ask_tightened"),
        ({"quorum": 0}, "ask_loosened"),
        ({"groups": ("oncall", "platform")}, "ask_loosened"),
        ({"groups": ()}, "ask_tightened"),
        ({"groups": ("platform",)}, "ask_loosened"),
        ({"expires_s": 60.0}, "ask_tightened"),
        ({"expires_s": 3600.0}, "ask_loosened"),
        ({"on_timeout": "escalate"}, "ask_loosened"),
        ({"quorum": 2, "expires_s": 3600.0}, "ask_loosened"),
        ({"escalate_after_s": 60.0, "escalate_to": ("platform",)}, "ask_loosened"),
        ({}, ""),
    ],
    ids=str,
)
def test_terms_of_an_ask_are_held_against_each_other(change: dict[str, object], what: str) -> None:
    people = {"oncall": ("ann",), "platform": ("cid",)}
    old = Verdict(decision=Decision.ASK, reasons=(), policy_version="", obligations=ONE)
    duty = msgspec.structs.replace(ONE, **change)
    new = msgspec.structs.replace(old, obligations=duty)
    assert difference(old, new, people, people).what == what


def test_a_name_added_to_a_group_loosens_what_the_group_answers() -> None:
    old = policy(ASKS)
    files = {"policies/t.yaml": HEAD + PEOPLE.replace("[ann, bob]", "[ann, bob, eve]")}
    new = load({k: f"{v}rules:\n{ASKS}" for k, v in files.items()}, NIGHT)
    found = held(events_of([GIVEN], old), old, new)
    assert counts(found) == {"ask_loosened": 1}
    assert "answered by eve as well" in found.sections[0].changes[0].terms


def test_a_no_that_break_glass_may_lift_is_softer() -> None:
    reason = Reason(kind="rule", id="freeze", says=Decision.DENY, text="")
    hard = Verdict(decision=Decision.DENY, reasons=(reason,), policy_version="")
    soft = msgspec.structs.replace(hard, liftable=("freeze",))
    assert difference(hard, soft, {}, {})[:3] == ("deny_softened", True, False)
    assert difference(soft, hard, {}, {})[:3] == ("deny_hardened", False, True)


def test_another_time_to_verify_is_told_and_neither_wider_nor_narrower() -> None:
    old = policy(ALLOWS.replace("}", ", require: {verify_within: 5m}}"))
    found = held(events_of([GIVEN], old), old, policy(ALLOWS))
    assert counts(found) == {"verify_changed": 1}
    assert (found.widened, found.narrowed, found.changed) == (0, 0, 1)


def test_a_shadow_rule_changes_nothing_and_is_told_apart() -> None:
    old = policy(ALLOWS)
    new = policy(ALLOWS + DENIES.replace("}", ", mode: shadow}"))
    found = held(events_of([GIVEN, CHECK], old), old, new)
    assert found.changed == 0
    (group,) = found.shadow
    assert [(c.old, c.new) for c in group.changes] == [(Decision.ALLOW, Decision.DENY)]
    assert "policies/t.yaml:7 forbids: 1 allow -> deny" in told(found)


PRICED = "  - {id: cheap, effect: allow, actions: [node.drain], when: impact.money < 100.0}\n"


@pytest.mark.parametrize(
    ("new_price", "replayed"), [("2.5", 1), ("9.9", 0)], ids=["same prices", "other prices"]
)
def test_money_is_replayed_only_at_the_prices_it_was_reckoned_at(
    new_price: str, replayed: int
) -> None:
    prices = "prices: {{default: {} EUR}}\n"
    old = policy(PRICED, rest=prices.format("2.5"))
    new = policy(PRICED + CHECKS, rest=prices.format(new_price))
    event = verdict_event(GIVEN, old, impact__money=12.0)
    assert held([event], old, old).replayed == 1
    found = held([event], old, new)
    assert found.replayed == replayed
    if not replayed:
        assert found.unreplayed[0].why == "lack money at its prices, which NEW reads"


def test_budgets_are_not_replayed_on_lines_that_hold_no_costs() -> None:
    budget = "budgets: [{id: few, actions: [node.drain], per: fleet, every: 30d, disruptions: 9}]\n"
    old, new = policy(ALLOWS), policy(ALLOWS, rest=budget)
    event = verdict_event(GIVEN, old)
    assert held([event], old, new).replayed == 1
    ledger = {k: v for k, v in event.data["input"]["ledger"].items() if k != "reaches_s"}
    found = held([changed(event, ledger=ledger)], old, new)
    assert found.replayed == 0
    assert "the past that budgets count, which NEW reads" in found.unreplayed[0].why


def story() -> Comparison:
    """Four weeks in small: one of each kind of change, two proposals, three lines that fail."""
    old = policy(
        "  - {id: drains, effect: allow, actions: [node.drain], "
        "require: {confidence: 0.8}, reason: Two instruments agree.}\n"
        "  - {id: unsure, effect: ask, actions: [node.drain], when: incident.confidence < 0.8, "
        "approvals: {quorum: 2, from: [group:oncall], expires: 15m}}\n"
        "  - {id: checks, effect: allow, actions: [check.run]}\n"
    )
    new = policy(
        "  - {id: drains, effect: allow, actions: [node.drain], "
        "require: {confidence: 0.8}, reason: Two instruments agree.}\n"
        "  - {id: unsure, effect: ask, actions: [node.drain], when: incident.confidence < 0.8, "
        "approvals: {quorum: 1, from: [group:oncall], expires: 30m}}\n"
        '  - {id: rack-one, effect: deny, actions: [node.drain], when: node.rack == "r1" && '
        "incident.confidence >= 0.95, reason: Rack one is being rewired.}\n"
        "  - {id: checks, effect: ask, actions: [check.run]}\n"
        "  - {id: restarts, effect: allow, actions: [node.restart]}\n"
    )
    cases = [GIVEN.but(confidence=0.97)] * 4 + [GIVEN.but(confidence=0.3)] * 2
    events = events_of([*cases, CHECK, RESTART, GIVEN], old)
    events += [verdict_event(GIVEN.but(confidence=0.97), old, seq=10, proposal="P-4")]
    events += [without_fact(verdict_event(GIVEN, old, seq=i), "node.rack") for i in (11, 12)]
    events += [changed(verdict_event(GIVEN, old, seq=13), orders={})]
    found = held(events, old, new)
    return msgspec.structs.replace(found, old_version="a" * 12, new_version="b" * 12)


def test_the_whole_report_reads_as_in_the_golden_file() -> None:
    text = told(story(), examples=2) + "\n"
    assert text == (GOLDEN / "report.txt").read_text()


def test_no_line_of_a_report_is_wider_than_a_hundred_columns() -> None:
    assert max(len(line) for line in told(story()).splitlines()) <= WIDTH


def test_the_json_form_holds_every_change() -> None:
    found = story()
    back = msgspec.json.decode(msgspec.json.encode(found), type=Comparison)
    assert back == found
    assert sum(len(s.changes) for s in back.sections) == back.changed


PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
RULES = st.lists(a_rule(), min_size=1, max_size=5)
MANY = st.lists(SITUATIONS, min_size=1, max_size=5)


@PROPERTY
@given(rules=RULES, cases=MANY)
def test_a_policy_held_against_itself_changes_nothing(rules: list[str], cases: list[Given]) -> None:
    orders = policy_of(rules)
    found = held(events_of(cases, orders), orders, policy_of(rules, shuffled=3))
    assert (found.judged, found.replayed, found.unchanged) == (len(cases),) * 3
    assert (found.sections, found.mismatches) == ((), ())
    assert (found.widened, found.narrowed) == (0, 0)


@PROPERTY
@given(rules=RULES, added=a_rule(effects=("deny",)), cases=MANY)
def test_adding_a_deny_rule_never_widens(rules: list[str], added: str, cases: list[Given]) -> None:
    old, new = policy_of(rules), policy_of([*rules, added])
    found = held(events_of(cases, old), old, new)
    assert set(counts(found)) <= {"newly_denied", "deny_hardened"}
    assert found.widened == 0


@PROPERTY
@given(rules=RULES, other=RULES, cases=MANY)
def test_the_other_way_round_every_change_is_its_mirror(
    rules: list[str], other: list[str], cases: list[Given]
) -> None:
    one, two = policy_of(rules), policy_of(other)
    events = events_of(cases, one)
    there, back = held(events, one, two), held(events, two, one)
    assert there.changed == back.changed
    assert there.replayed == there.unchanged + sum(counts(there).values())
    newly = [c for s in there.sections if s.what.startswith("newly_") for c in s.changes]
    mirrored = [c for s in back.sections if s.what.startswith("newly_") for c in s.changes]
    assert {(c.seq, c.old, c.new) for c in newly} == {(c.seq, c.new, c.old) for c in mirrored}


def test_where_no_decision_could_be_replayed_nothing_is_known_and_a_gate_does_not_pass() -> None:
    old = policy(ALLOWS)
    event = verdict_event(GIVEN, old)
    broken = msgspec.structs.replace(event, data={**event.data, "input": {}})
    found = held([broken], old, old)
    assert (found.judged, found.replayed) == (1, 0)
    assert not fails(found, FailOn.NEVER)
    assert fails(found, FailOn.WIDENED)
    assert not fails(held([event], old, old), FailOn.WIDENED)


def test_quotas_are_held_against_what_was_metered() -> None:
    def shares(text: str) -> CheckedPolicy:
        return load({"shares.yaml": HEAD + f"quotas: {{{text}}}\n"}, NIGHT)

    def quarter(number: int, gpus: float) -> Event:
        usage = UsageRecord(
            first=NIGHT, last=NIGHT, known_s=900.0, gpu_hours={},
            tenants={"train": {"nlp": gpus / 8}, "infer": {"nlp": gpus / 8}},
        )  # fmt: skip
        return Event(
            seq=number, at=NIGHT, policy_at=NIGHT, steady=0.0, kind=Kind.METERED,
            subject=("usage",), data={"usage": plain(usage)}, prev="",
        )  # fmt: skip

    events = [quarter(1, 4.0), quarter(2, 12.0), quarter(3, 20.0)]
    old = shares("nlp: {gpus: 8}, same: {gpus: 1}")
    new = shares("nlp: {gpus: 16, gpus_at_most: 16}, same: {gpus: 1}, more: {gpus: 2}")
    found = held(events, old, new)
    more, nlp = found.quotas
    assert (nlp.beyond_old, nlp.beyond_new, nlp.borrowed_old, nlp.borrowed_new) == (0, 1, 2, 1)
    assert (more.old, more.new, more.borrowed_new) == ("none", "2 its own, as many as are free", 0)
    assert "nlp: 8 its own, as many as are free -> 16 its own, at most 16." in told(found)
    assert "Of 3 metered quarters of an hour it held more" in told(found)
    assert not held(events, old, old).quotas
