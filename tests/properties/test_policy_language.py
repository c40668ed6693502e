"""What holds for every policy in the whole language: enforcement, shadow, exceptions, limits,
budgets, break-glass and escalation, drawn at random over a small lab.

tests/properties/test_policy_promises.py holds the promises of the plain language.
"""

# ruff: noqa: E501  (strategies read best one case a line)

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from tests.core.policy_case import DEAD, HEAD, NIGHT, Given, gang, nodes, past

from watchkeeper.core.action import CheckRun, NodeCordon, NodeDrain, NodeRestart, kind_of
from watchkeeper.core.facts import FACTS
from watchkeeper.core.verdict import Autonomy, Decision, Orders, Verdict
from watchkeeper.policy.expr import (
    Condition,
    activate,
    batch,
    compile_condition,
    evaluate,
    not_silent,
)
from watchkeeper.policy.hear import Hearing, State, hear, hear_all
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy

PEOPLE = "people: {oncall: [ann, bob], platform: [cid, ann], leads: [dan], break-glass: [dan]}\n"
WINDOWS = (
    "windows:\n"
    '  night: {days: [mon, tue, wed, thu, fri, sat, sun], from: "22:00", to: "06:00", tz: UTC}\n'
    '  wednesday: {days: [wed], from: "00:00", to: "24:00", tz: Europe/Berlin}\n'
)
PRICES = "prices: {default: 2 USD}\n"
N = {"node": "train-01", "incarnation": "inc-1"}
KINDS = ["node.cordon", "node.drain", "node.restart", "check.run"]
FINE = [
    "true",
    "node.gpus > 4",
    "node.gpus > 40",
    "incident.approved",
    "!node.fenced",
    'node.ray_state == "dead"',
    '"a" in node.labels && node.labels["a"] == "b"',
    "evidence.independent_sources >= 2",
    'node.silent_for < duration("1m")',
    'node.pool in ["train", "spot"]',
    '["blue", ""].exists(t, t in impact.tenants)',
]
ERRS = "node.gpus / (node.gpus - 8) > 0"  # a division by zero: our nodes have 8
CONDITIONS = [*FINE, *FINE, *FINE, ERRS]


class R(NamedTuple):
    """One rule without its name."""

    effect: str
    kinds: tuple[str, ...]
    when: str
    more: tuple[str, ...]

    def row(self, ident: str, number: int) -> str:
        # The number makes each rule one of its kind, so that none says the same as another.
        fields = [f"id: {ident}", f"effect: {self.effect}", f"actions: [{', '.join(self.kinds)}]"]
        fields += [f"when: '({self.when}) && node.gpus != {100 + number}'", *self.more]
        return f"  - {{{', '.join(fields)}}}\n"

    @property
    def hard(self) -> bool:
        return not any(w in m for m in self.more for w in ("soft", "advisory", "shadow"))


ENFORCEMENT = ["hard", "hard", "soft", "soft", "advisory"]


@st.composite
def rules(
    draw: Any,
    effects: tuple[str, ...] = ("allow", "allow", "ask", "deny"),
    conditions: tuple[str, ...] = tuple(CONDITIONS),
    enforcement: tuple[str, ...] = tuple(ENFORCEMENT),
    shadow: tuple[bool, ...] = (False, False, False, True),
) -> R:
    effect = draw(st.sampled_from(effects))
    kinds = draw(st.sampled_from([KINDS, KINDS[:3], KINDS[1:], KINDS[:1]]))
    more = []
    if windows := draw(st.lists(st.sampled_from(["night", "wednesday"]), max_size=1)):
        more.append(f"during: [{', '.join(windows)}]")
    if effect != "deny" and draw(st.booleans()):
        more.append(
            f"require: {{confidence: {draw(st.sampled_from(['0.5', '0.95']))}, verify_within: 5m}}"
        )
    if effect != "allow":
        more.append(f"enforcement: {draw(st.sampled_from(enforcement))}")
    if effect == "ask" and draw(st.booleans()):
        groups = draw(st.sampled_from(["[oncall]", "[platform]", "[oncall, platform, leads]"]))
        calls = draw(
            st.sampled_from(
                [
                    "",
                    ", escalate: {after: 2m, to: [leads]}",
                    ", escalate: {after: 4m, to: [platform, leads]}",
                ]
            )
        )
        expires = draw(st.sampled_from(["5m", "10m", "15m"]))
        more.append(
            f"approvals: {{quorum: {draw(st.integers(1, 2))}, from: {groups}, expires: {expires}{calls}}}"
        )
    if draw(st.sampled_from(shadow)):
        more.append("mode: shadow")
    return R(effect, tuple(kinds), draw(st.sampled_from(conditions)), tuple(more))


BOUNDS = [
    "limits actions: [node.drain, node.restart], per: pool, max_out: {count: 1}",
    "limits actions: [node.drain, check.run], per: fleet, rate: {count: 1, per: 1h}",
    "limits actions: [node.drain, node.cordon], per: pool, concurrency: 1",
    "limits actions: ['node.*'], per: rack, max_out: {percent: 50}, rate: {count: 2, per: 2h}",
    "budgets every: 1d, disruptions: 1",
    "budgets every: 1d, disruptions: 1, per: tenant",
    "budgets every: 1d, gpu_hours: 0.4, per: pool",
    "budgets every: 7d, money: 1 USD",
]
bounds = st.lists(
    st.tuples(
        st.sampled_from(BOUNDS),
        st.sampled_from(ENFORCEMENT),
        st.sampled_from(["enforce", "enforce", "enforce", "shadow"]),
    ),
    max_size=3,
)
Bounds = list[tuple[str, str, str]]
OPEN = R("allow", tuple(KINDS), "true", ())
RULES = st.builds(
    lambda base, more: [*base, *more],
    st.sampled_from([[OPEN], [OPEN], [OPEN], []]),
    st.lists(rules(), min_size=1, max_size=4),
)
"""Mostly with one rule that allows everything, so that what the others do can be seen."""


def text_of(
    named: dict[str, R], bound: Bounds = (), rest: str = "", *, shuffle: int = 0
) -> dict[str, str]:  # type: ignore[assignment]
    """Rules, limits and budgets over two files; in another order for another `shuffle`."""
    rows = [r.row(ident, sum(map(ord, ident))) for ident, r in named.items()]
    sections: dict[str, list[str]] = {"limits": [], "budgets": []}
    for i, (body, enforcement, mode) in enumerate(bound):
        section, _, fields = body.partition(" ")
        sections[section].append(
            f"  - {{id: {section[0]}{i}, {fields}, enforcement: {enforcement}, mode: {mode}}}\n"
        )
    if shuffle:
        dice = random.Random(shuffle)
        for found in (rows, *sections.values()):
            dice.shuffle(found)
    bounds_text = "".join(f"{s}:\n{''.join(found)}" for s, found in sections.items() if found)
    half = len(rows) // 2
    one, two = HEAD + PEOPLE + WINDOWS + PRICES + bounds_text, HEAD + rest
    one += "rules:\n" + "".join(rows[:half]) if rows[:half] else ""
    two += "rules:\n" + "".join(rows[half:]) if rows[half:] else ""
    names = (
        ("policies/b.yaml", "policies/a.yaml")
        if shuffle % 2
        else ("policies/a.yaml", "policies/b.yaml")
    )
    return dict(zip(names, (one, two), strict=True))


def policy(
    named: dict[str, R], bound: Bounds = (), rest: str = "", *, shuffle: int = 0
) -> CheckedPolicy:  # type: ignore[assignment]
    return load(text_of(named, bound, rest, shuffle=shuffle), NIGHT)


def name(found: list[R]) -> dict[str, R]:
    return {f"r{i}": r for i, r in enumerate(found)}


def some_past(*incidents: str) -> st.SearchStrategy[Any]:
    return st.builds(
        past,
        st.sampled_from(["node.drain", "node.restart", "check.run"]),
        st.sampled_from(["train-03", "train-03", "train-01"]),
        incident=st.sampled_from(incidents),
        age_s=st.sampled_from([60.0, 5000.0, 90_000.0, 700_000.0]),
        open=st.sampled_from([False, False, True]),
        gpu_hours=st.sampled_from([0.0, 0.1, 0.4]),
        money=st.sampled_from([0.0, 0.5, 2.0]),
        domains=st.sampled_from(
            [("pool:train", "rack:r2"), ("pool:train", "tenant:blue"), ("pool:other",)]
        ),
    )


IDS = ["r1", "r2", "l0", "l1", "b0", "b1"]
LIFTED = st.lists(st.sampled_from(IDS), max_size=2, unique=True)
DRAIN, CORDON, RESTART = NodeDrain(**N), NodeCordon(**N), NodeRestart(**N)
STARTS = [
    {"action": DRAIN}, {"action": DRAIN}, {"action": CORDON}, {"action": CheckRun(**N)},
    {"action": RESTART, "nodes": nodes(train_01=DEAD)}, {"action": RESTART},
    {"action": DRAIN, "nodes": nodes(train_03=DEAD)}, {"action": DRAIN, "fenced": ("train-01",)},
    {"action": CORDON, "nodes": nodes(train_01={"labels": {"a": "b"}})},
]  # fmt: skip
SITUATIONS = st.builds(
    lambda start, lifted, **rest: Given(**start, ledger={"lifted": tuple(lifted)}, **rest),
    st.sampled_from(STARTS),
    st.one_of(st.just([]), LIFTED),
    jobs=st.sampled_from([{}, {}, {"g": gang("g", "train-01", tenant="blue")}]),
    silent_s=st.sampled_from([1.0, 1.0, 1.0, 90.0]),
    sources=st.integers(1, 3),
    confidence=st.sampled_from([0.3, 0.9, 1.0]),
    approved=st.booleans(),
    orders=st.sampled_from(
        [Orders(autonomy=a) for a in (*[Autonomy.AUTO] * 5, Autonomy.ASK, Autonomy.OBSERVE)]
    ),
    effects=st.lists(some_past("INC-0", "INC-1", "INC-2"), max_size=3).map(tuple),
)
MOMENTS = st.integers(0, 60 * 24 * 21).map(lambda m: datetime(2026, 3, 15, tzinfo=UTC) + timedelta(minutes=m))  # fmt: skip
SHUFFLES = st.integers(1, 1000)


def answering(verdict: Verdict, waited_s: float) -> set[str]:
    """The groups that may answer after this time."""
    duty = verdict.obligations
    assert duty is not None
    called = duty.escalate_after_s is not None and waited_s >= duty.escalate_after_s
    return {*duty.groups, *(duty.escalate_to if called else ())}


def no_looser(strict: Verdict, loose: Verdict) -> None:
    assert strict.decision.strictness >= loose.decision.strictness
    if strict.decision is Decision.ASK and loose.decision is Decision.ASK:
        a, b = strict.obligations, loose.obligations
        assert a is not None
        assert b is not None
        assert a.quorum >= b.quorum
        assert a.expires_s <= b.expires_s
        for waited_s in (0.0, 130.0, 250.0, 899.0):
            assert answering(strict, waited_s) <= answering(loose, waited_s)


def tells(verdict: Verdict) -> dict[str, Any]:
    """Everything that follows from a verdict: what is done, asked, verified, told."""
    return {
        "decision": verdict.decision,
        "refused_by": verdict.refused_by,
        "obligations": verdict.obligations,
        "verify": verdict.verify_within_s,
        "halts": verdict.halts,
        "alert": bare(verdict.alert),
        "liftable": verdict.liftable,
        "binding": {(r.kind, r.id, r.says) for r in verdict.reasons if r.binds},
    }


def bare(text: str) -> str:
    """Without places, which an added line moves."""
    return re.sub(r"policies/\w+\.yaml:\d+", "HERE", text)


# Adding rules.


@settings(max_examples=50, deadline=None)
@given(RULES, rules(effects=("allow",)), bounds, SITUATIONS, MOMENTS)
def test_adding_an_allow_never_loosens_what_anything_but_the_default_said(
    found: list[R], extra: R, bound: Bounds, case: Given, now: datetime
) -> None:
    before = case.judged(policy(name(found), bound), now)
    after = case.judged(policy({**name(found), "extra": extra}, bound), now)
    event(f"{before.decision} {before.refused_by} to {after.decision}")
    if before.refused_by != "default":
        no_looser(after, before)


@settings(max_examples=50, deadline=None)
@given(RULES, rules(effects=("deny",)), bounds, SITUATIONS, MOMENTS)
def test_adding_a_deny_never_widens_whatever_its_enforcement(
    found: list[R], extra: R, bound: Bounds, case: Given, now: datetime
) -> None:
    before = case.judged(policy(name(found), bound), now)
    after = case.judged(policy({**name(found), "extra": extra}, bound), now)
    event(f"{before.decision} to {after.decision}")
    no_looser(after, before)


@settings(max_examples=50, deadline=None)
@given(RULES, rules(effects=("ask",)), bounds, SITUATIONS, MOMENTS)
def test_adding_an_ask_loosens_nothing_but_the_default_and_that_only_to_a_question(
    found: list[R], extra: R, bound: Bounds, case: Given, now: datetime
) -> None:
    before = case.judged(policy(name(found), bound), now)
    after = case.judged(policy({**name(found), "extra": extra}, bound), now)
    event(f"{before.decision} {before.refused_by} to {after.decision}")
    if before.refused_by == "default":
        assert after.decision is not Decision.ALLOW
    else:
        no_looser(after, before)


@settings(max_examples=40, deadline=None)
@given(RULES, bounds, st.sampled_from(BOUNDS), st.sampled_from(ENFORCEMENT), SITUATIONS, MOMENTS)
def test_adding_a_limit_or_a_budget_never_widens(
    found: list[R], bound: Bounds, extra: str, enforcement: str, case: Given, now: datetime
) -> None:
    more = [*bound, (extra, enforcement, "enforce")]
    before, after = (case.judged(policy(name(found), b), now) for b in (bound, more))
    no_looser(after, before)


# Order.


@settings(max_examples=40, deadline=None)
@given(RULES, bounds, SITUATIONS, MOMENTS, SHUFFLES)
def test_the_order_of_files_rules_limits_and_budgets_never_matters(
    found: list[R], bound: Bounds, case: Given, now: datetime, shuffle: int
) -> None:
    named = name(found)
    named_bounds = [(b, e, m) for b, e, m in bound]
    one = case.judged(policy(named, named_bounds), now)
    two = case.judged(policy(named, named_bounds, shuffle=shuffle), now)
    assert tells(one) == tells(two)
    assert (one.window, one.would_be) == (two.window, two.would_be)
    said = [{(r.kind, r.id, r.says, r.shadow, bare(r.text)) for r in v.reasons} for v in (one, two)]
    assert said[0] == said[1]


@settings(max_examples=20, deadline=None)
@given(RULES, bounds)
def test_the_version_does_not_hang_on_the_order_in_which_files_are_read(
    found: list[R], bound: Bounds
) -> None:
    files = text_of(name(found), bound)
    backwards = dict(reversed(files.items()))
    assert load(files, NIGHT).version == load(backwards, NIGHT).version


# Exceptions.


@settings(max_examples=120, deadline=None)
@given(
    RULES,
    rules(effects=("ask", "deny"), shadow=(False, False, False, True)),
    bounds,
    st.sampled_from(["true", *FINE]),
    st.sampled_from([None, None, "node.drain", "node.cordon"]),
    st.sampled_from(["2026-03-17", "2026-12-01", "2026-12-01"]),
    SITUATIONS,
    MOMENTS,
)
def test_an_exception_lifts_the_rule_it_names_and_nothing_else(
    found: list[R], rule: R, bound: Bounds, when: str, only: str | None, until: str, case: Given, now: datetime
) -> None:  # fmt: skip
    assume(only is None or only in rule.kinds)
    named = {**name(found), "named": rule}
    narrower = f", actions: [{only}]" if only else ""
    exception = (
        f"exceptions:\n  - {{id: ex, rule: named, owner: o, ticket: t, until: {until}, reason: r,"
        f" when: '{when} && node.gpus != 99'{narrower}}}\n"
    )
    with_it, without_it = policy(named, bound, exception), policy(named, bound)
    without_the_rule = policy(name(found), bound)
    _, _, facts, ledger = case.inputs()
    kind, (exempt,) = kind_of(case.action), with_it.exemptions
    states = {h.rule.id: h.state for h in hear_all(Hearing(without_it, kind, facts, ledger, now))}
    assert exempt.when is not None
    applies = (
        states.get("named") is not State.ERROR  # what cannot be decided, nothing lifts
        and now < exempt.until
        and kind in exempt.actions
        and evaluate(exempt.when, activate(facts, exempt.when.names, now)).holds
    )
    event(f"applies: {applies}, the rule is {states.get('named')}")
    same_as = without_the_rule if applies else without_it
    assert tells(case.judged(with_it, now)) == tells(case.judged(same_as, now))


# Break-glass.

SOFT = rules(
    effects=("ask", "deny"),
    conditions=tuple(FINE),
    enforcement=("soft", "soft", "soft", "hard"),
    shadow=(False,),
)
MOSTLY_SOFT = st.lists(SOFT, min_size=0, max_size=3).map(lambda more: [OPEN, *more])
SOFT_BOUNDS = st.lists(
    st.tuples(
        st.sampled_from(BOUNDS), st.sampled_from(["soft", "soft", "hard"]), st.just("enforce")
    ),
    max_size=2,
)


@settings(max_examples=40, deadline=None)
@given(RULES, bounds, SITUATIONS, MOMENTS)
def test_no_break_glass_lifts_what_is_not_soft(
    found: list[R], bound: Bounds, case: Given, now: datetime
) -> None:
    checked = policy(name(found), bound)
    orders = [*checked.rules, *checked.limits, *checked.budgets]
    not_soft = tuple(o.id for o in orders if o.enforcement != "soft")
    plain, lifted = (
        case.but(ledger={"lifted": ids}).judged(checked, now) for ids in ((), not_soft)
    )
    assert plain == lifted


@settings(max_examples=120, deadline=None)
@given(MOSTLY_SOFT, SOFT_BOUNDS, SITUATIONS, MOMENTS)
def test_lifting_what_is_liftable_lets_it_happen_or_be_asked_and_lifts_no_invariant(
    found: list[R], bound: Bounds, case: Given, now: datetime
) -> None:
    checked = policy(name(found), bound)
    before = case.judged(checked, now)
    lifted = (*case.ledger["lifted"], *before.liftable)
    after = case.but(ledger={"lifted": lifted}).judged(checked, now)
    event(f"{before.decision} {len(before.liftable)} liftable, then {after.decision}")
    if before.liftable:
        orders = [*checked.rules, *checked.limits, *checked.budgets]
        assert all(o.enforcement == "soft" for o in orders if o.id in before.liftable)
        nobody = any(r.id == "nobody-to-ask" for r in after.reasons)
        assert nobody or after.decision.strictness < before.decision.strictness
    if any(r.kind in ("invariant", "error") and r.binds for r in before.reasons):
        assert before.liftable == ()
    assert after.decision.strictness <= before.decision.strictness


# Shadow and advice.

FINE_RULES = rules(
    effects=("ask", "deny"), conditions=tuple(FINE), enforcement=("advisory",), shadow=(False,)
)


@settings(max_examples=50, deadline=None)
@given(RULES, st.one_of(FINE_RULES, rules(shadow=(True,))), bounds, SITUATIONS, MOMENTS)
def test_a_rule_in_shadow_and_advice_change_nothing_that_follows(
    found: list[R], extra: R, bound: Bounds, case: Given, now: datetime
) -> None:
    before = case.judged(policy(name(found), bound), now)
    after = case.judged(policy({**name(found), "extra": extra}, bound), now)
    assert tells(after) == tells(before)


@settings(max_examples=40, deadline=None)
@given(RULES, bounds, st.sampled_from(BOUNDS), st.sampled_from([("advisory", "enforce"), ("hard", "shadow"), ("soft", "shadow")]), SITUATIONS, MOMENTS)  # fmt: skip
def test_a_bound_in_shadow_and_an_advisory_bound_change_nothing_that_follows(
    found: list[R], bound: Bounds, extra: str, how: tuple[str, str], case: Given, now: datetime
) -> None:
    more = [*bound, (extra, *how)]
    before, after = (case.judged(policy(name(found), b), now) for b in (bound, more))
    assert tells(after) == tells(before)


@settings(max_examples=50, deadline=None)
@given(RULES, bounds, SITUATIONS, MOMENTS)
def test_the_would_be_decision_is_that_of_the_policy_without_its_shadows(
    found: list[R], bound: Bounds, case: Given, now: datetime
) -> None:
    named = name(found)
    bared = {
        n: r._replace(more=tuple(m for m in r.more if m != "mode: shadow"))
        for n, r in named.items()
    }
    enforced = [(b, e, "enforce") for b, e, _ in bound]
    verdict = case.judged(policy(named, bound), now)
    real = case.judged(policy(bared, enforced), now)
    assert (verdict.would_be or verdict.decision) is real.decision


# Errors.


@settings(max_examples=40, deadline=None)
@given(RULES, rules(conditions=(ERRS,), shadow=(False,)), bounds, SITUATIONS, MOMENTS)
def test_an_error_in_any_enforced_rule_denies_and_wakes_a_person(
    found: list[R], extra: R, bound: Bounds, case: Given, now: datetime
) -> None:
    always = extra._replace(
        more=tuple(m for m in extra.more if "during" not in m), kinds=tuple(KINDS)
    )
    verdict = case.judged(policy({**name(found), "extra": always}, bound), now)
    assert verdict.decision is Decision.DENY
    assert verdict.refused_by in ("invariant", "error")
    assert "could not be decided" in verdict.alert
    assert verdict.liftable == ()


# Together and one by one.

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 9), st.floats(), st.text(max_size=3), st.just("x" * 2000),
    st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2), st.lists(st.text(max_size=2), max_size=2),
)  # fmt: skip
USED = sorted({n for text in [*FINE, ERRS] for n in FACTS if n in text} | {"node.labels"})
CHANGES = st.dictionaries(st.sampled_from(USED), st.one_of(st.just(...), JUNK), max_size=3)


def changed(facts: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The facts with some of them gone (...) and others of any kind at all."""
    return {n: changes.get(n, v) for n, v in facts.items() if changes.get(n, v) is not ...}


def compiled(text: str) -> Condition:
    found = compile_condition(text)
    assert isinstance(found, Condition), found
    return found


PARTS = st.sampled_from(
    [*FINE, ERRS, 'node.labels["a"] == "b"', "1 / (node.gpus - 8) == 1 || node.fenced", "now.getHours() < 6",
     "node.gpus > 4 // a comment", "[1, 2].all(x, x < node.gpus)", "node.gpus % (node.gpus - 8) == 0 && node.fenced"]
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(st.lists(PARTS, max_size=8), SITUATIONS, CHANGES, MOMENTS)
def test_conditions_together_say_what_each_says_alone(
    texts: list[str], case: Given, changes: dict[str, Any], now: datetime
) -> None:
    conditions = tuple(compiled(text) for text in texts)
    names = frozenset().union(*(c.names for c in conditions))
    facts = changed(case.inputs()[2], changes)
    try:
        activation = activate(facts, names, now)
    except Exception:
        assume(False)
        raise
    alone = [evaluate(c, activation) for c in conditions]
    together = not_silent(batch(conditions), activation)
    event(f"errors: {sum(bool(a.error) for a in alone)} of {len(alone)}")
    assert together == [(at, a) for at, a in enumerate(alone) if a.holds or a.error]


@settings(max_examples=100, deadline=None)
@given(RULES, SITUATIONS, CHANGES, MOMENTS)
def test_the_rules_that_speak_are_those_of_all_that_do(
    found: list[R], case: Given, changes: dict[str, Any], now: datetime
) -> None:
    checked = policy(name(found))
    _, _, real, ledger = case.inputs()
    facts, kind = changed(real, changes), kind_of(case.action)
    try:
        every = hear_all(Hearing(checked, kind, facts, ledger, now))
    except Exception:
        assume(False)
        raise
    spoken = hear(Hearing(checked, kind, facts, ledger, now))
    event(f"{len(spoken)} of {len(every)} speak")
    assert {h.rule.id: h for h in spoken} == {h.rule.id: h for h in every if h.state.speaks}


# Budgets and rates.


@settings(max_examples=50, deadline=None)
@given(RULES, bounds, SITUATIONS, some_past("INC-0", "INC-2", "INC-5"), MOMENTS)
def test_more_that_was_done_for_others_never_loosens(
    found: list[R], bound: Bounds, case: Given, one_more: Any, now: datetime
) -> None:
    checked = policy(name(found), bound)
    before = case.judged(checked, now)
    after = case.but(effects=(*case.effects, one_more)).judged(checked, now)
    no_looser(after, before)


@settings(max_examples=40, deadline=None)
@given(RULES, bounds, SITUATIONS, MOMENTS, MOMENTS)
def test_s28_no_step_of_the_wall_clock_refills_what_was_spent(
    found: list[R], bound: Bounds, case: Given, now: datetime, then: datetime
) -> None:
    timeless = [r._replace(more=tuple(m for m in r.more if "during" not in m)) for r in found]
    checked = policy(name(timeless), bound)
    assert case.judged(checked, now) == case.judged(checked, then)
