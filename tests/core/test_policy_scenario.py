"""What a test does not say: a quiet cluster in which nothing is refused by accident, and nothing is
granted that was not given."""

# ruff: noqa: E501  (the table reads best one case a line)

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.core.policy_case import AUTO, DEAD, NIGHT, Given, gang, nodes, past, policy

from watchkeeper.core.action import (
    KINDS,
    TRAITS,
    Action,
    CheckRun,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeRestart,
    NodeUncordon,
    PoolScale,
    kind_of,
)
from watchkeeper.core.cluster import JobState
from watchkeeper.core.facts import FACTS, NEVER_S
from watchkeeper.core.verdict import Decision
from watchkeeper.policy.invariants import Case as InvariantCase
from watchkeeper.policy.invariants import refusals
from watchkeeper.policy.judge import judge
from watchkeeper.policy.load import CHANGING
from watchkeeper.policy.model import Prices
from watchkeeper.policy.trial.scenario import QUIET, Scenario, build
from watchkeeper.policy.trial.scenario_past import INCIDENT, Flaw

AT = datetime(2026, 3, 18, 1, 30, tzinfo=UTC)
FREE = Prices()
SCALE = {"scale.add": 1}
N = {"node": "train-01", "incarnation": "inc-1"}


def scenario(kind: str, /, **given: Any) -> Scenario:
    """`node__rack="r1"` gives node.rack."""
    found = build(kind, _dotted(kind, given), AT, FREE)
    assert isinstance(found, Scenario), found
    return found


def flaw(kind: str, /, **given: Any) -> Flaw:
    found = build(kind, _dotted(kind, given), AT, FREE)
    assert isinstance(found, Flaw)
    return found


def _dotted(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    more = SCALE if kind == "pool.scale" else {}
    return {**more, **{key.replace("__", "."): value for key, value in given.items()}}


def refused(found: Scenario) -> list[str]:
    kind = kind_of(found.proposal.action)
    past = tuple(e for e in found.ledger.effects if e.proposal != found.proposal.id)
    case = InvariantCase(*found, past, TRAITS[kind], kind)
    return [invariant.id for invariant, _ in refusals(case)]


NEEDS_A_FENCE = {"node.restart": {"node__fenced": True}}


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_quiet_cluster_no_invariant_refuses_by_accident(kind: str) -> None:
    assert refused(scenario(kind, **NEEDS_A_FENCE.get(kind, {}))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_fact_of_the_scope_is_there_in_its_declared_type(kind: str) -> None:
    facts = scenario(kind).facts
    assert facts.keys() == {n for n, f in FACTS.items() if TRAITS[kind].scope in f.scopes}
    types: dict[str, type | tuple[type, ...]] = {
        "bool": bool,
        "int": int,
        "double": (int, float),
        "string": str,
        "duration": (int, float),
        "map": dict,
        "list": list,
    }
    for name, value in facts.items():
        assert isinstance(value, types[FACTS[name].type]), name


EVIDENCE = (
    "proposal.confidence",
    "incident.class",
    "incident.confidence",
    "incident.approved",
    "evidence.independent_sources",
    "evidence.age",
    "node.process_gone",
    "node.fenced",
    "node.labels",
    "job.priority",
    "job.checkpoint_age",
    "tenant.name",
    "tenant.metadata",
    "pool.pending_gpus",
    "forecast.p50_1h",
    "forecast.p90_1h",
)


def test_what_is_granted_on_evidence_is_unknown_until_it_is_given() -> None:
    for kind in KINDS:
        facts = scenario(kind).facts
        for name in set(EVIDENCE) & facts.keys():
            assert facts[name] == FACTS[name].unknown, name
    assert not set(EVIDENCE) & QUIET.keys()


@pytest.mark.parametrize("kind", CHANGING)
def test_an_allow_that_rests_on_evidence_is_not_granted_to_a_case_that_gives_none(
    kind: str,
) -> None:
    when = (
        "incident.confidence > 0.0 || evidence.independent_sources > 0 || incident.approved"
        ' || evidence.age < duration("24h") || proposal.confidence > 0.0'
    )
    orders = policy(f"  - {{id: a, effect: allow, actions: ['{kind}'], when: '{when}'}}\n")
    proposal, impact, facts, ledger, dial = scenario(kind)
    verdict = judge(proposal, impact, facts, orders, ledger, dial, AT)
    assert verdict.decision is Decision.DENY


def test_a_fact_that_is_given_is_the_fact_that_is_judged() -> None:
    given = {
        "incident__confidence": 0.95,
        "evidence__age": 30.0,
        "node__labels": {"reserved-for": "demo"},
        "node__ray_state": "draining",
        "impact__gpu_hours": 3.5,
    }
    facts = scenario("node.drain", **given).facts
    for key, value in given.items():
        assert facts[key.replace("__", ".")] == value


# ---- the same as from a real snapshot ----

REAL: list[tuple[str, Action, Given, dict[str, Any]]] = [
    ("a node without work", NodeDrain(**N), Given(), {}),
    ("a cordon", NodeCordon(**N), Given(), {}),
    ("a check", CheckRun(**N), Given(), {}),
    ("a fenced node", NodeUncordon(**N), Given(fenced=("train-01",)), {"node__fenced": True}),
    (
        "a dead node",
        NodeRestart(**N),
        Given(nodes=nodes(train_01=DEAD), silent_s=4.0),
        {"node__ray_state": "dead", "node__process_gone": True, "node__silent_for": 4.0},
    ),
    (
        "a node with a gang",
        NodeDrain(**N),
        Given(jobs={"g": gang("g", "train-01", tenant="blue", priority=3)}),
        {
            "job__name": "g",
            "job__tenant": "blue",
            "job__checkpoint_age": 60.0,
            "job__priority": 3,
        },
    ),
    (
        "another node out, in the same rack",
        NodeDrain(**N),
        Given(nodes=nodes(train_02=DEAD)),
        {"ledger__out": {"pool:train": 1, "rack:r1": 1}},
    ),
    (
        "a gang to preempt",
        JobPreempt(job="g", attempt_id="g-a1"),
        Given(jobs={"g": gang("g", "train-01", tenant="blue", priority=3)}),
        {
            "job__name": "g",
            "job__tenant": "blue",
            "job__checkpoint_age": 60.0,
            "job__priority": 3,
        },
    ),
    (
        "a gang that stopped, requeued once",
        JobRequeue(job="g", attempt_id="g-a1"),
        Given(
            jobs={"g": gang("g", state=JobState.STOPPED, priority=0)},
            effects=(past("job.requeue", node="", target="job:g"),),
        ),
        {
            "job__name": "g",
            "job__checkpoint_age": 60.0,
            "job__priority": 0,
            "job__requeues_24h": 1,
        },
    ),
    (
        "a pool to grow",
        PoolScale(pool="train", add=1),
        Given(pending_gpus=8.0),
        {"pool__pending_gpus": 8.0},
    ),
]


@pytest.mark.parametrize(("what", "action", "real", "given"), REAL, ids=[row[0] for row in REAL])
def test_a_case_has_the_facts_and_the_impact_of_the_snapshot_it_describes(
    what: str, action: Action, real: Given, given: dict[str, Any]
) -> None:
    _, impact, facts, ledger = real.but(action=action).inputs()
    kind = kind_of(action)
    lab = {
        "pool__size": 4,
        "ledger__size": {"rack:r1": 2},
        "incident__class": "gpu_off_bus",
        "incident__confidence": 0.9,
        "proposal__confidence": 0.9,
        "evidence__independent_sources": 2,
        "evidence__age": 0.0,
        "pool__power_kw": 0.0,
    }
    if TRAITS[kind].scope in ("node", "gpu"):
        lab |= {
            "node__name": "train-01",
            "node__pool": "train",
            "node__rack": "r1",
            "node__leaf": "",
            "node__nvlink_domain": "nv-1",
        }
    else:
        lab["pool__name"] = "train"
    found = scenario(kind, **{**lab, **given})
    assert found.facts == facts
    assert (found.impact.jobs, found.impact.gpus) == (impact.jobs, impact.gpus)
    assert found.impact.gpu_hours == pytest.approx(impact.gpu_hours)
    assert found.impact.nodes == impact.nodes
    assert found.impact.tenants == impact.tenants
    assert found.impact.checkpoint_age_s == impact.checkpoint_age_s
    assert found.impact.domain_out == impact.domain_out
    assert found.impact.domain_size == impact.domain_size
    before_after = (found.impact.pool_out_before, found.impact.pool_out_after)
    assert before_after == (impact.pool_out_before, impact.pool_out_after)
    for key in impact.domain_size:
        assert found.ledger.size.get(key) == ledger.size.get(key)
        assert found.ledger.out.get(key, 0) == ledger.out.get(key, 0)


# ---- impact ----


def test_gangs_that_are_only_counted_have_a_name_and_an_unknown_checkpoint() -> None:
    found = scenario("node.drain", impact__jobs=3, job__name="g", job__checkpoint_age=60.0)
    assert found.impact.jobs == ("g", "job-2", "job-3")
    assert found.facts["impact.jobs"] == 3
    assert found.facts["impact.checkpoint_age"] == NEVER_S
    assert found.facts["impact.gpu_hours"] == FACTS["impact.gpu_hours"].unknown


def test_a_gang_without_a_checkpoint_loses_nobody_knows_how_much() -> None:
    found = scenario("node.drain", job__name="g")
    assert found.facts["impact.jobs"] == 1
    assert found.facts["impact.checkpoint_age"] == NEVER_S
    assert found.facts["impact.gpu_hours"] == FACTS["impact.gpu_hours"].unknown


def test_a_cordon_stops_no_gang_and_a_given_number_of_none_is_none() -> None:
    assert scenario("node.cordon", job__name="g").impact.jobs == ()
    assert scenario("node.drain", job__name="g", impact__jobs=0).impact.jobs == ()


def test_money_is_the_gpu_hours_at_the_price_of_the_pool_and_added_nodes_cost_a_day() -> None:
    prices = Prices("USD", {"train": 2.0})
    drained = build("node.drain", {"node.pool": "train", "impact.gpu_hours": 10.0}, AT, prices)
    grown = build("pool.scale", {"pool.name": "train", "scale.add": 2}, AT, prices)
    elsewhere = build("node.drain", {"node.pool": "other"}, AT, prices)
    given = build("node.drain", {"node.pool": "train", "impact.money": 7.0}, AT, prices)
    shown = [s.impact.money for s in (drained, grown, elsewhere, given) if isinstance(s, Scenario)]
    assert shown == [20.0, 2 * 8 * 24 * 2.0, None, 7.0]


# ---- the ledger ----


def test_s20_repairs_that_a_fact_counts_are_effects_in_the_ledger() -> None:
    found = scenario("node.drain", node__repairs_7d=3)
    assert [e.action for e in found.ledger.effects] == ["node.drain"] * 3
    assert all(e.age_s < timedelta(days=7).total_seconds() for e in found.ledger.effects)
    assert refused(found) == ["S20"]


def test_s19_requeues_that_a_fact_counts_are_effects_in_the_ledger() -> None:
    assert refused(scenario("job.requeue", job__requeues_24h=4)) == []
    assert refused(scenario("job.requeue", job__requeues_24h=5)) == ["S19"]


def test_effects_of_the_ledger_are_counted_by_the_facts() -> None:
    written = [
        {"action": "node.drain", "node": "node-01", "ago": 600.0},
        {"action": "node.restart", "node": "node-01", "ago": 60.0, "incident": "this"},
        {"action": "node.drain", "ago": 30.0, "times": 2, "tenant": "blue", "rack": "r9"},
    ]
    found = scenario("node.drain", ledger__effects=written)
    assert found.facts["node.repairs_7d"] == 2
    assert found.facts["incident.attempts"] == 1
    newest = found.ledger.effects[0]
    assert [e.age_s for e in found.ledger.effects] == [30.0, 30.0, 60.0, 600.0]
    assert (newest.node, newest.target) == ("another-node", "node:another-node")
    assert set(newest.domains) == {"pool:workers", "tenant:blue", "rack:r9"}
    assert len({e.proposal for e in found.ledger.effects}) == 4
    assert found.ledger.effects[2].incident == INCIDENT
    assert "rack:rack-1" in found.ledger.effects[3].domains


def test_s3_the_ceiling_of_an_hour_can_be_reached_in_one_line() -> None:
    busy = [{"action": "node.drain", "ago": 600.0, "times": 20}]
    assert refused(scenario("node.drain", ledger__effects=busy)) == ["S3"]


def test_s27_an_effect_that_is_open_in_the_same_rack_is_waited_for() -> None:
    open_here = [{"action": "node.drain", "ago": 60.0, "rack": "rack-1", "open": "true"}]
    assert refused(scenario("node.drain", ledger__effects=open_here)) == ["S27"]
    done_here = [{**open_here[0], "open": "false"}]
    assert refused(scenario("node.drain", ledger__effects=done_here)) == []


def test_s9_a_pool_that_falls_ill_at_once_halts_and_has_a_size() -> None:
    assert refused(scenario("node.drain", ledger__newly_unhealthy={"train": 5})) == ["S9"]
    assert refused(scenario("node.drain", ledger__newly_unhealthy={"train": 4})) == []


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"orders__stopped": True}, "S4"),
        ({"ledger__reconciled": False}, "S5"),
        ({"ledger__halted": "a storm"}, "S9"),
        ({"node__ray_state": "unknown"}, "S10"),
        ({"node__control_path": True}, "S13"),
        ({"ledger__closed": ["node.drain"]}, "S21"),
        ({"proposal__world": "real"}, "S29"),
        ({"ledger__out": {"rack:rack-1": 6}}, "S2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_of_these_can_be_given_and_is_refused(given: dict[str, Any], wanted: str) -> None:
    assert refused(scenario("node.drain", **given)) == [wanted]


def test_a_target_that_is_dead_counts_as_out_in_its_domains() -> None:
    found = scenario("node.restart", node__ray_state="dead", node__process_gone=True)
    assert found.ledger.out == dict.fromkeys(
        ("pool:workers", "rack:rack-1", "leaf:leaf-1", "fleet"), 1
    )
    assert (found.impact.pool_out_before, found.impact.pool_out_after) == (1, 1)
    assert set(found.impact.domain_out.values()) == {0}
    assert found.facts["pool.out"] == 1


CONTRADICTIONS: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("two pools", "node.drain", {"pool__name": "a", "node__pool": "b"}, "node.pool", "'b'"),
    ("two sizes", "node.drain", {"pool__size": 4, "ledger__size": {"pool:workers": 5}}, "pool.size", "4"),
    ("two counts", "node.drain", {"pool__out": 1, "ledger__out": {"pool:workers": 2}}, "pool.out", "2"),
    ("more out than there are", "node.drain", {"pool__out": 21}, "pool.out", "it has 20"),
    ("a dead node and none out", "node.restart", {"node__ray_state": "dead", "pool__out": 0}, "pool.out", "itself is out"),
    ("fewer repairs than the ledger", "node.drain", {"node__repairs_7d": 0, "ledger__effects": [{"action": "node.drain", "node": "node-01", "ago": 1.0}]}, "node.repairs_7d", "holds 1"),
    ("two tenants", "job.preempt", {"tenant__name": "a", "job__tenant": "b"}, "job.tenant", "'a'"),
    ("a node of many names", "node.drain", {"node__name": "train-*"}, "proposal.action", "one explicit name"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "kind", "given", "key", "says"), CONTRADICTIONS, ids=[c[0] for c in CONTRADICTIONS]
)
def test_a_case_that_contradicts_itself_is_no_case(
    what: str, kind: str, given: dict[str, Any], key: str, says: str
) -> None:
    found = flaw(kind, **given)
    assert found.key == key
    assert says in found.message


def test_growing_a_pool_needs_a_number() -> None:
    found = build("pool.scale", {}, AT, FREE)
    assert isinstance(found, Flaw)
    assert "scale: {add: 1}" in found.message


def test_the_dial_stands_at_auto_and_can_be_given() -> None:
    assert scenario("node.drain").orders == AUTO
    assert scenario("node.drain", orders__autonomy="observe").orders.autonomy.value == "observe"
    assert NIGHT == AT
