"""What is proved is so: no facts, no moment and no past ever contradict a proof."""

# ruff: noqa: E501  (strategies read best one case a line)

from __future__ import annotations

import functools
import random
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from tests.core.policy_case import AUTO, HEAD, NIGHT, PEOPLE, Given, past

from watchkeeper.core.action import NodeCordon, NodeDrain
from watchkeeper.core.errors import PolicyError
from watchkeeper.core.verdict import Decision, Obligations, Verdict
from watchkeeper.policy.judge import judge
from watchkeeper.policy.load import load
from watchkeeper.policy.model import CheckedPolicy
from watchkeeper.policy.proof.prove import Outcome, Proof, prove
from watchkeeper.policy.proof.question import IsDenied, IsNarrower, NeedsAPerson

N = {"node": "train-01", "incarnation": "inc-1"}
ACTIONS = {"node.drain": NodeDrain(**N), "node.cordon": NodeCordon(**N)}
WINDOWS = (
    "windows:\n"
    '  night: {days: [mon, tue, wed, thu, fri, sat, sun], from: "22:00", to: "06:00", tz: Europe/Berlin}\n'
    '  late: {days: [mon, tue, wed, thu, fri, sat, sun], from: "23:00", to: "05:00", tz: Europe/Berlin}\n'
    '  day: {days: [mon, tue, wed, thu, fri, sat, sun], from: "06:00", to: "22:00", tz: Europe/Berlin}\n'
    '  work: {days: [mon, tue, wed, thu, fri], from: "02:30", to: "18:00", tz: Europe/Berlin, holidays: DE}\n'
    '  sunday: {days: [sun], from: "00:00", to: "24:00", tz: UTC}\n'
    '  freeze: {days: [mon, tue, wed, thu, fri], from: "00:00", to: "24:00", tz: UTC, first: 2026-03-20, last: 2026-03-25}\n'
)
ATOMS = [
    "incident.approved",
    "incident.approved == true",
    "node.fenced",
    "node.fenced != false",
    "node.gpus < 4",
    "node.gpus >= 4",
    "4 <= node.gpus",
    "node.gpus > 3",
    "node.gpus == 8",
    "node.gpus != 8",
    "incident.confidence >= 0.8",
    "incident.confidence < 0.8",
    "0.8 >= incident.confidence",
    "incident.confidence != 0.5",
    'node.ray_state == "dead"',
    '"alive" == node.ray_state',
    'node.ray_state in ["dead", "draining"]',
    'node.ray_state != "alive"',
    '"a" in node.labels',
    "has(node.labels.a)",
    '"a" in node.labels && node.labels["a"] == "b"',
    '!("a" in node.labels) || node.labels.a == "c"',
    '("a" in node.labels) && node.labels.a.startsWith("b")',
    'node.silent_for < duration("1m")',
    'node.silent_for >= duration("60s")',
    'duration("1m30s") > node.silent_for',
    'impact.checkpoint_age <= duration("15m")',
    "node.gpus / (node.gpus - 8) > 0",
    "10 / node.gpus > 2",
    "(node.fenced || 10 / node.gpus > 2)",
    "int(incident.confidence * 10.0) > 5",
    'node.labels.exists(k, k == "a")',
    'now.getHours("UTC") < 6',
    'now < timestamp("2026-03-25T00:00:00Z")',
    'action.kind == "node.drain"',
    'action.kind in ["node.cordon", "node.reboot"]',
    'action.kind.endsWith("drain")',
    "action.disruptive",
    "action.recovers",
    "pool.out < pool.size",
    'node.pool.matches("tr.*")',
    'node.pool == "train"',
    "incident.confidence / 0.0 > 1.0",
]
DAYS = ["2026-03-19", "2026-03-25", "2026-03-28"]


@st.composite
def a_condition(draw: Any, pool: list[str], depth: int = 1) -> str:
    """A condition over few parts, so that those of two rules have something to do with each other."""
    shape = draw(st.sampled_from(["part", "part", "not", "and", "or", "if"])) if depth else "part"
    inner = st.deferred(lambda: a_condition(pool, depth - 1))
    match shape:
        case "not":
            return f"!({draw(inner)})"
        case "and":
            return f"({draw(inner)}) && ({draw(inner)})"
        case "or":
            return f"({draw(inner)}) || ({draw(inner)})"
        case "if":
            return f"(({draw(inner)}) ? ({draw(inner)}) : ({draw(inner)}))"
    return str(draw(st.sampled_from(pool)))


def sometimes(draw: Any, out_of: int = 3) -> bool:
    return bool(draw(st.integers(1, out_of)) == 1)


@st.composite
def a_rule(
    draw: Any, pool: list[str], effects: tuple[str, ...] = ("allow", "allow", "ask", "deny")
) -> dict[str, str]:
    effect = draw(st.sampled_from(effects))
    kinds = draw(st.sampled_from(["[node.drain]", "[node.drain, node.cordon]", '["*"]']))
    rule = {"effect": effect, "actions": kinds}
    if kinds == '["*"]':  # node facts are not facts of every kind
        conditions = [
            "incident.approved",
            "incident.confidence >= 0.8",
            'action.kind == "node.drain"',
            "",
        ]
        when = draw(st.sampled_from(conditions))
    else:
        when = "" if sometimes(draw, 4) else draw(a_condition(pool))
    if when:
        rule["when"] = f"'{when}'"
    if sometimes(draw):
        names = st.sampled_from(["night", "late", "day", "work", "sunday", "freeze"])
        rule["during"] = (
            f"[{', '.join(draw(st.lists(names, min_size=1, max_size=2, unique=True)))}]"
        )
    if effect != "deny" and sometimes(draw):
        needs = {"confidence": "0.8", "independent_sources": "2", "checkpoint_age": "15m"}
        chosen = draw(st.lists(st.sampled_from(sorted(needs)), min_size=1, max_size=2, unique=True))
        rule["require"] = "{" + ", ".join(f"{k}: {needs[k]}" for k in chosen) + "}"
    if effect == "ask" and sometimes(draw, 2):
        quorum, groups = (
            draw(st.integers(1, 2)),
            draw(st.sampled_from(["[oncall]", "[platform, oncall]", "[platform]"])),
        )
        later = ", escalate: {after: 1m, to: [platform]}" if sometimes(draw) else ""
        rule["approvals"] = f"{{quorum: {quorum}, from: {groups}{later}}}"
    if effect != "allow" and sometimes(draw):
        rule["enforcement"] = draw(st.sampled_from(["soft", "advisory"]))
    if sometimes(draw, 8):
        rule["mode"] = "shadow"
    if sometimes(draw, 5):
        rule["until"] = draw(st.sampled_from(DAYS))
    return rule


@st.composite
def an_exception(draw: Any, of: list[int]) -> str:
    at = draw(st.sampled_from(of))
    when = draw(
        st.sampled_from(
            ["", "incident.confidence >= 0.8", "incident.approved", "1 / incident.attempts > 0"]
        )
    )
    condition = f", when: '{when}'" if when else ""
    until = draw(st.sampled_from(DAYS))
    return f"  - {{id: x{draw(st.integers(0, 99))}, rule: r{at}, owner: o, ticket: T-1, until: {until}, reason: because{condition}}}\n"


LIMITS = st.lists(
    st.one_of(
        st.builds(
            "actions: [node.drain], per: pool, max_out: {{count: {}}}".format, st.integers(0, 2)
        ),
        st.builds(
            "actions: [node.drain, node.cordon], per: {}, rate: {{count: {}, per: {}}}".format,
            st.sampled_from(["fleet", "pool"]),
            st.integers(0, 3),
            st.sampled_from(["1h", "2h"]),
        ),
        st.builds(
            "actions: [node.drain], per: fleet, rate: {{count: {}, per: 1h}}, enforcement: {}".format,
            st.integers(0, 3),
            st.sampled_from(["soft", "hard", "advisory"]),
        ),
        st.builds("actions: [node.drain], per: fleet, concurrency: {}".format, st.integers(0, 2)),
    ),
    max_size=2,
)
BUDGETS = st.lists(
    st.builds(
        "per: fleet, every: {}, disruptions: {}, enforcement: {}".format,
        st.sampled_from(["1h", "1d"]),
        st.integers(0, 3),
        st.sampled_from(["soft", "hard"]),
    ),
    max_size=1,
)


class Draft(NamedTuple):
    """A policy before it is text, so that a second one can differ from it in one thing. pool:
    the parts that its conditions are made of."""

    pool: list[str]
    rules: list[dict[str, str]]
    exceptions: list[str]
    limits: list[str]
    budgets: list[str]

    def text(self) -> str:
        rows = [
            f"  - {{id: r{i}, {', '.join(f'{k}: {v}' for k, v in r.items())}}}\n"
            for i, r in enumerate(self.rules)
        ]
        limits = [f"  - {{id: l{i}, {limit}}}\n" for i, limit in enumerate(self.limits)]
        budgets = [f"  - {{id: b{i}, {budget}}}\n" for i, budget in enumerate(self.budgets)]
        parts = (
            ("rules", rows),
            ("exceptions", self.exceptions),
            ("limits", limits),
            ("budgets", budgets),
        )
        return HEAD + PEOPLE + WINDOWS + "".join(f"{name}:\n{''.join(x)}" for name, x in parts if x)

    def checked(self) -> CheckedPolicy:
        try:
            return load({"policies/t.yaml": self.text()}, NIGHT)
        except PolicyError as err:
            slips = (
                "says the same",
                "can never decide",
                "allows; an exception lifts",
                "defined twice",
                "is always",
                "asks 2 of 1",
                "can never",
                "comes after",
            )
            odd = [str(p) for p in err.problems if not any(slip in p.message for slip in slips)]
            assert not odd, odd
            assume(False)
            raise


@st.composite
def a_draft(draw: Any) -> Draft:
    pool = draw(st.lists(st.sampled_from(ATOMS), min_size=1, max_size=3, unique=True))
    rules = draw(st.lists(a_rule(pool), max_size=2))
    rules.append(draw(a_rule(pool, ("allow", "allow", "ask"))))
    lifted = [i for i, r in enumerate(rules) if r["effect"] != "allow"]
    exceptions = [draw(an_exception(lifted))] if lifted and sometimes(draw, 2) else []
    return Draft(pool, rules, exceptions, draw(LIMITS), draw(BUDGETS))


@st.composite
def a_change(draw: Any, draft: Draft) -> Draft:
    """The same orders but for one or two things."""
    rules = [dict(rule) for rule in draft.rules]
    exceptions, limits, budgets = list(draft.exceptions), list(draft.limits), list(draft.budgets)
    for _ in range(draw(st.integers(1, 2))):
        rule = rules[draw(st.integers(0, len(rules) - 1))]
        match draw(st.sampled_from(["drop", "add", "key", "when", "bound", "exception"])):
            case "drop":
                rule["effect"] = "deny"
                rule.pop("require", None)
                rule.pop("approvals", None)
            case "add":
                rules.append(draw(a_rule(draft.pool)))
            case "key":
                gone = draw(
                    st.sampled_from(
                        ["during", "require", "until", "mode", "enforcement", "approvals"]
                    )
                )
                if rule.pop(gone, None) is None and gone == "during":
                    rule["during"] = "[late]"
            case "when":
                if rule["actions"] != '["*"]':
                    more = draw(a_condition(draft.pool, depth=0))
                    joined = draw(st.sampled_from(["&&", "||"]))
                    own = rule.get("when", "'true'")[1:-1]
                    rule["when"] = f"'{more}'" if own == "true" else f"'({own}) {joined} ({more})'"
            case "bound":
                limits = draw(LIMITS)
            case _:
                exceptions = []
    return Draft(draft.pool, rules, exceptions, limits, budgets)


NAN = float("nan")
VALUES: dict[str, list[Any]] = {
    "incident.approved": [False, False, True],
    "incident.confidence": [0.0, 0.5, 0.65, 0.8, 0.9, NAN],
    "incident.attempts": [0, 1, 5],
    "evidence.independent_sources": [0, 1, 2, 3],
    "impact.checkpoint_age": [0.0, 900.0, 900.0000001, 5000.0],
    "node.fenced": [False, True],
    "node.gpus": [0, 3, 4, 5, 8, 9],
    "node.ray_state": ["alive", "dead", "draining", "unknown"],
    "node.labels": [{}, {"a": "b"}, {"a": "c"}, {"a": "z", "q": "r"}, {"a": "b\0"}],
    "node.silent_for": [0.0, 59.9999999, 60.0, 75.0, 90.0, 600.0],
    "pool.out": [0, 4],
    "node.pool": ["train", "train", "x", "x" * 5000],
}
MOMENTS = [NIGHT + timedelta(hours=h) for h in (0, 2.7, 3, 4, 12, 20, 21)]
IDS = [f"{x}{i}" for x in "rlb" for i in range(5)]


@functools.cache
def plain_inputs(kind: str) -> Any:
    return Given(action=ACTIONS[kind]).inputs()


def judged(
    rng: random.Random, *policies: CheckedPolicy, lifts: bool, approved: bool
) -> tuple[str, list[Verdict]]:
    """One situation, drawn at random, under each of the policies."""
    kind = rng.choice(sorted(ACTIONS))
    proposal, impact, known, ledger = plain_inputs(kind)
    facts = known | {name: rng.choice(values) for name, values in VALUES.items()}
    if not approved:
        facts["incident.approved"] = False
    effects = [
        past(
            rng.choice(["node.drain", "node.cordon", "check.run"]),
            "train-03",
            age_s=rng.choice([10.0, 4000.0, 90000.0]),
            open=False,
            incident=f"INC-{i + 5}",
        )
        for i in range(rng.choice([0, 0, 1, 2, 4]))
    ]
    lifted = tuple(rng.sample(IDS, rng.choice([0, 2, 6, 15]))) if lifts else ()
    ledger = msgspec.structs.replace(ledger, effects=tuple(effects), lifted=lifted)
    now = rng.choice(MOMENTS) + timedelta(days=rng.randrange(13), minutes=rng.randrange(60))
    return kind, [judge(proposal, impact, facts, p, ledger, AUTO, now) for p in policies]


def answering(asked: Obligations, policy: CheckedPolicy) -> set[str]:
    return {p for g in (*asked.groups, *asked.escalate_to) for p in policy.people[g]}


def contradicts(one: Verdict, two: Verdict, policy: CheckedPolicy, other: CheckedPolicy) -> bool:
    """Does the first let more happen, or ask fewer people, than the second?"""
    if one.decision is not two.decision:
        return one.decision.strictness < two.decision.strictness
    if one.obligations is None or two.obligations is None:
        return False
    more = answering(one.obligations, policy) - answering(two.obligations, other)
    return one.obligations.quorum < two.obligations.quorum or bool(more)


SEEDS = st.integers(0, 2**32)
TRIES = 150


def needs_a_person(policy: CheckedPolicy, seed: int) -> tuple[Proof, bool]:
    """(the answer for node.drain, was there a contradiction?)"""
    proof = prove(NeedsAPerson("node.drain", ("node.drain",)), policy, NIGHT)
    rng = random.Random(seed)
    seen = [judged(rng, policy, lifts=False, approved=False) for _ in range(TRIES)]
    return proof, any(k == "node.drain" and v[0].decision is Decision.ALLOW for k, v in seen)


def is_denied(policy: CheckedPolicy, seed: int) -> tuple[Proof, bool]:
    proof = prove(IsDenied("node.drain", ("node.drain",)), policy, NIGHT)
    rng = random.Random(seed)
    seen = [judged(rng, policy, lifts=True, approved=True) for _ in range(TRIES)]
    return proof, any(k == "node.drain" and v[0].decision is not Decision.DENY for k, v in seen)


def is_narrower(policy: CheckedPolicy, other: CheckedPolicy, seed: int) -> tuple[Proof, bool]:
    proof = prove(IsNarrower("other"), policy, NIGHT, other)
    rng = random.Random(seed)
    seen = [judged(rng, policy, other, lifts=True, approved=True) for _ in range(TRIES)]
    return proof, any(contradicts(*v, policy, other) for _, v in seen)


def consistent(proof: Proof, contradicted: bool) -> None:
    event(f"{proof.outcome}, contradicted: {contradicted}")
    assert not (proof.outcome is Outcome.PROVED and contradicted), proof.text


@settings(max_examples=15, deadline=None)
@given(a_draft(), SEEDS)
def test_where_it_is_proved_that_a_person_is_needed_nothing_is_ever_allowed_alone(
    draft: Draft, seed: int
) -> None:
    consistent(*needs_a_person(draft.checked(), seed))


@settings(max_examples=15, deadline=None)
@given(a_draft(), SEEDS)
def test_where_it_is_proved_that_it_is_denied_it_is_never_allowed_nor_asked(
    draft: Draft, seed: int
) -> None:
    consistent(*is_denied(draft.checked(), seed))


@settings(max_examples=25, deadline=None)
@given(a_draft().flatmap(lambda d: st.tuples(st.just(d), a_change(d))), SEEDS)
def test_where_it_is_proved_that_orders_are_narrower_they_never_let_more_happen(
    drafts: tuple[Draft, Draft], seed: int
) -> None:
    one, two = drafts[0].checked(), drafts[1].checked()
    consistent(*is_narrower(one, two, seed))
    consistent(*is_narrower(two, one, seed))
