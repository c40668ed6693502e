"""What no policy can switch off: each invariant against a policy that allows everything."""

from __future__ import annotations

import math

import pytest
from msgspec import structs
from tests.core.policy_case import (
    AUTO,
    DAY,
    DEAD,
    DRAIN,
    NIGHT,
    UNCONFIRMED,
    UNKNOWN,
    Given,
    gang,
    nodes,
    past,
    policy,
)

from watchkeeper.core.action import (
    Action,
    CheckRun,
    GpuQuarantine,
    JobPlace,
    JobPreempt,
    JobRequeue,
    NodeCordon,
    NodeDrain,
    NodeRestart,
    NodeUncordon,
    NotifyPage,
    PoolScale,
    TicketOpen,
)
from watchkeeper.core.cluster import Job, JobState, RayState, World
from watchkeeper.core.ledger import LedgerView
from watchkeeper.core.verdict import Autonomy, Orders, Verdict
from watchkeeper.policy.invariants import INVARIANTS, mass_unhealthy, most_unhealthy
from watchkeeper.policy.judge import judge

N = {"node": "train-01", "incarnation": "inc-1"}
CORDON, RESTART, CHECK, UNCORDON = (
    NodeCordon(**N),
    NodeRestart(**N),
    CheckRun(**N),
    NodeUncordon(**N),
)
STOPPED_GANG = {"g": gang("g", state=JobState.STOPPED)}
PERSON = "person:ann"


@pytest.fixture(scope="module", name="open_policy")
def _open_policy() -> object:
    return policy('  - {id: anything, effect: allow, actions: ["*"]}\n')


def refused(given: Given, open_policy: object) -> set[str]:
    """The ids of the invariants that refused; {} when the wide-open policy had its way."""
    verdict: Verdict = given.judged(open_policy)  # type: ignore[arg-type]
    ids = {r.id for r in verdict.reasons if r.kind == "invariant"}
    assert verdict.decision.value == ("deny" if ids else "allow"), verdict.because
    assert verdict.refused_by == ("invariant" if ids else "")
    return ids


@pytest.mark.parametrize(
    ("given", "fine"),
    [
        (Given(), True),
        (Given(action=NodeDrain(node="train-09", incarnation="x")), False),
        (Given(action=GpuQuarantine(node="train-09", incarnation="x", gpu=1)), False),
        (Given(action=JobRequeue(job="g", attempt_id="a"), jobs=STOPPED_GANG), True),
        (Given(action=JobRequeue(job="nobody", attempt_id="a"), jobs=STOPPED_GANG), False),
        (Given(action=PoolScale(pool="train", add=1)), True),
        (Given(action=PoolScale(pool="nowhere", add=1)), False),
        (
            Given(action=JobPlace(job="g", attempt_id="a", nodes=("train-09",)), jobs=STOPPED_GANG),
            False,
        ),
    ],
    ids=["node", "no node", "no gpu", "job", "no job", "pool", "no pool", "no place"],
)
def test_s1_targets_must_be_in_the_inventory(given: Given, fine: bool, open_policy: object) -> None:
    assert ("S1" not in refused(given, open_policy)) is fine


@pytest.mark.parametrize(
    ("dead", "action", "fine"),
    [
        ((), DRAIN, True),
        (("train_02",), DRAIN, False),  # rack r1 would be out whole
        (("train_03",), DRAIN, True),  # half of the pool
        (("train_03", "train_04"), DRAIN, False),  # more than half of the pool
        (("train_01", "train_02"), RESTART, True),  # what is out already takes nothing out
        (("train_03", "train_04"), CHECK, True),
    ],
)
def test_s2_never_more_than_half_of_a_domain_is_out_by_our_doing(
    dead: tuple[str, ...], action: Action, fine: bool, open_policy: object
) -> None:
    given = Given(action=action, nodes=nodes(**dict.fromkeys(dead, DEAD)))
    assert ("S2" not in refused(given, open_policy)) is fine


def test_s2_half_of_three_is_one(open_policy: object) -> None:
    three = {n: node for n, node in nodes(train_03=DEAD).items() if n != "train-04"}
    assert refused(Given(nodes=three), open_policy) == {"S2"}


def test_s2_counts_a_node_that_stands_alone_as_its_own_domain(open_policy: object) -> None:
    alone = {"train-01": nodes()["train-01"]}
    assert refused(Given(nodes=alone), open_policy) == set()


@pytest.mark.parametrize(
    ("done", "age_s", "fine"), [(19, 60, True), (20, 60, False), (20, 3601, True)]
)
def test_s3_twenty_disruptive_actions_an_hour_are_the_ceiling(
    done: int, age_s: float, fine: bool, open_policy: object
) -> None:
    effects = tuple(past("node.cordon", proposal=f"P-{i + 10}", age_s=age_s) for i in range(done))
    harmless = (past("check.run", proposal="P-9"),) * 30
    assert ("S3" not in refused(Given(effects=effects + harmless), open_policy)) is fine
    assert refused(Given(action=CHECK, effects=effects), open_policy) == set()


@pytest.mark.parametrize("action", [DRAIN, CORDON, CHECK, UNCORDON, PoolScale(pool="train", add=1)])
@pytest.mark.parametrize("by", ["agent:remediation", PERSON])
def test_s4_while_stopped_nothing_changes_whoever_asks(
    action: Action, by: str, open_policy: object
) -> None:
    stopped = Orders(autonomy=Autonomy.AUTO, stopped=True, stopped_by="ann")
    given = Given(action=action, by=by, orders=stopped)
    assert "S4" in refused(given, open_policy)
    assert "S4" not in refused(given.but(orders=AUTO), open_policy)


@pytest.mark.parametrize(
    "action", [TicketOpen(subject="x", title="t"), NotifyPage(subject="x", title="t")]
)
def test_tickets_and_pages_go_out_while_stopped_halted_and_without_a_policy(action: Action) -> None:
    given = Given(
        action=action,
        orders=Orders(autonomy=Autonomy.OBSERVE, stopped=True),
        ledger={"halted": "S9", "reconciled": False},
    )
    assert given.judged(None).decision.value == "allow"


def test_s5_a_new_session_waits_until_it_is_reconciled(open_policy: object) -> None:
    assert refused(Given(ledger={"reconciled": False}), open_policy) == {"S5"}


@pytest.mark.parametrize(
    ("given", "fine"),
    [
        (Given(), False),
        (Given(fenced=("train-01",)), True),
        (Given(fenced=("train-01",), jobs={"g": gang("g", "train-01")}), False),
        (Given(nodes=nodes(train_01={"ray_state": RayState.DRAINING})), True),
        (
            Given(
                nodes=nodes(train_01={"ray_state": RayState.DRAINING}),
                jobs={"g": gang("g", "train-01")},
            ),
            False,
        ),
        (Given(nodes=nodes(train_01=DEAD)), True),
    ],
    ids=["open", "fenced", "fenced with work", "drained", "draining with work", "dead"],
)
def test_s7_a_node_in_use_is_not_restarted(given: Given, fine: bool, open_policy: object) -> None:
    assert ("S7" not in refused(given.but(action=RESTART), open_policy)) is fine


@pytest.mark.parametrize(
    ("size", "most"),
    [(0, 1), (1, 1), (2, 1), (4, 1), (5, 1), (9, 1), (10, 2), (14, 2), (15, 3), (1000, 200)],
)
def test_s9_more_than_a_fifth_of_a_pool_and_more_than_one_node_halts(size: int, most: int) -> None:
    assert most_unhealthy(size) == most
    held = LedgerView(size={"pool:p": size}, newly_unhealthy={"p": most})
    over = LedgerView(size={"pool:p": size}, newly_unhealthy={"p": most + 1})
    assert mass_unhealthy(held) == ""
    assert f"{most + 1} of {size} nodes of p" in mass_unhealthy(over)


def test_s9_too_many_unhealthy_denies_halts_and_pages_also_for_other_pools(
    open_policy: object,
) -> None:
    for pool in ("train", "other"):
        given = Given(action=CHECK, ledger={"newly_unhealthy": {pool: 2}})
        verdict = given.judged(open_policy)  # type: ignore[arg-type]
        assert verdict.halts
        assert "S9" in verdict.alert
        assert refused(given, open_policy) == {"S9"}


def test_s9_a_halted_watch_does_nothing_but_what_a_person_recovers(open_policy: object) -> None:
    halted = {"halted": "2 of 4 nodes", "newly_unhealthy": {"train": 2}}
    recover = Given(action=UNCORDON, fenced=("train-01",), ledger=halted)
    assert refused(recover, open_policy) == {"S9"}
    assert refused(recover.but(by=PERSON), open_policy) == set()
    assert refused(recover.but(by=PERSON, action=DRAIN), open_policy) == {"S9"}
    assert not recover.but(by=PERSON).judged(open_policy).halts  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "silent_s", "sources", "fine"),
    [
        ({}, 1, 0, True),
        ({}, 60, 2, False),
        ({}, 300, 1, False),
        ({}, 300, 2, True),
        (UNKNOWN, 1, 2, False),
        (UNKNOWN, 299, 2, False),
        (UNKNOWN, 300, 1, False),
        (UNKNOWN, 300, 2, True),
        (UNCONFIRMED, 1, 2, False),
        (UNCONFIRMED, 400, 1, False),
        (UNCONFIRMED, 400, 2, True),
        (DEAD, 1, 0, True),
    ],
)
def test_s10_silence_is_unknown_until_it_is_long_and_a_second_source_agrees(
    state: dict[str, object], silent_s: float, sources: int, fine: bool, open_policy: object
) -> None:
    given = Given(action=DRAIN, nodes=nodes(train_01=state), silent_s=silent_s, sources=sources)
    assert ("S10" not in refused(given, open_policy)) is fine


@pytest.mark.parametrize(
    "missing", ["node.silent_for", "node.ray_state", "evidence.independent_sources"]
)
def test_s10_a_fact_that_is_missing_is_not_good_news(missing: str, open_policy: object) -> None:
    proposal, impact, facts, ledger = Given(nodes=nodes(train_01=UNKNOWN), silent_s=400).inputs()
    del facts[missing]
    verdict = judge(proposal, impact, facts, open_policy, ledger, AUTO, NIGHT)  # type: ignore[arg-type]
    ids = {r.id for r in verdict.reasons}
    assert ("S10" in ids) is (missing != "node.ray_state")


@pytest.mark.parametrize(
    "action", [DRAIN, CORDON, CHECK, UNCORDON, RESTART, GpuQuarantine(gpu=1, **N)]
)
def test_s13_the_control_path_is_never_touched(action: Action, open_policy: object) -> None:
    head = Given(action=action, nodes=nodes(train_01={"control_path": True}), by=PERSON)
    assert "S13" in refused(head, open_policy)


def test_s13_a_node_of_which_nobody_says_what_it_carries_is_not_touched(
    open_policy: object,
) -> None:
    proposal, impact, facts, ledger = Given().inputs()
    del facts["node.control_path"]
    verdict = judge(proposal, impact, facts, open_policy, ledger, AUTO, NIGHT)  # type: ignore[arg-type]
    assert [r.id for r in verdict.reasons if r.kind == "invariant"] == ["S13"]


@pytest.mark.parametrize(("times", "fine"), [(4, True), (5, False)])
def test_s19_a_job_is_requeued_at_most_five_times_a_day(
    times: int, fine: bool, open_policy: object
) -> None:
    done = tuple(
        past("job.requeue", node="", target="job:g", proposal=f"P-{i + 10}") for i in range(times)
    )
    given = Given(action=JobRequeue(job="g", attempt_id="a"), jobs=STOPPED_GANG, effects=done)
    assert ("S19" not in refused(given, open_policy)) is fine


@pytest.mark.parametrize(
    ("gpus", "times", "fine"),
    [(1023, 5, False), (1024, 5, True), (2048, 6, True), (2048, 7, False), (2e6, 5, False)],
)
def test_s19_a_large_gang_is_requeued_once_more_for_each_1024_gpus(
    gpus: float, times: int, fine: bool, open_policy: object
) -> None:
    done = tuple(
        past("job.requeue", node="", target="job:g", proposal=f"P-{i + 10}") for i in range(times)
    )
    gang = {name: structs.replace(job, gpus=gpus) for name, job in STOPPED_GANG.items()}
    given = Given(action=JobRequeue(job="g", attempt_id="a"), jobs=gang, effects=done)
    assert ("S19" not in refused(given, open_policy)) is fine


def repairs(incidents: int) -> tuple:  # type: ignore[type-arg]
    """So many earlier incidents of train-01, each with a drain and a restart."""
    return tuple(
        past(
            action,
            "train-01",
            incident=f"INC-{i + 50}",
            proposal=f"P-{i + 50}-{action}",
            age_s=90000,
        )
        for i in range(incidents)
        for action in ("node.cordon", "node.drain", "node.restart")
    )


@pytest.mark.parametrize("action", [DRAIN, RESTART, UNCORDON])
@pytest.mark.parametrize(("before", "fine"), [(2, True), (3, False)])
def test_s20_after_three_repairs_in_a_week_a_person_takes_over(
    action: Action, before: int, fine: bool, open_policy: object
) -> None:
    given = Given(action=action, fenced=("train-01",), effects=repairs(before))
    assert ("S20" not in refused(given, open_policy)) is fine


def test_s20_the_steps_of_one_repair_count_once_and_its_repeats_each(open_policy: object) -> None:
    own = (
        past("node.drain", "train-01", incident="INC-1", proposal="P-2"),
        past("node.restart", "train-01", incident="INC-1", proposal="P-3"),
    )
    third = Given(action=RESTART, nodes=nodes(train_01=DEAD), effects=repairs(2) + own[:1])
    assert refused(third, open_policy) == set()
    assert refused(third.but(effects=repairs(2) + own), open_policy) == {"S20"}


def test_s20_taking_the_node_out_checking_it_and_a_persons_word_still_pass(
    open_policy: object,
) -> None:
    spent = Given(fenced=("train-01",), effects=repairs(5))
    for action in (CORDON, CHECK, GpuQuarantine(gpu=1, **N)):
        assert refused(spent.but(action=action), open_policy) == set()
    assert refused(spent.but(action=UNCORDON, by=PERSON), open_policy) == set()
    assert "S20" in spent.but(action=DRAIN).judged(open_policy).alert  # type: ignore[arg-type]


def test_s21_a_kind_that_made_things_worse_stays_closed(open_policy: object) -> None:
    closed = {"closed": ("node.drain",)}
    assert refused(Given(ledger=closed), open_policy) == {"S21"}
    assert refused(Given(ledger=closed, action=CORDON), open_policy) == set()


JOBS: dict[str, Job] = {"g": gang("g", "train-01", "train-03")}


@pytest.mark.parametrize(
    ("back_s", "begun", "fine"),
    [
        (None, 10, True),
        (10.0, 0, True),
        (61.0, 1, False),
        (179.0, 1, False),
        (181.0, 1, True),
        (181.0, 2, False),
        (899.0, 4, True),
        (899.0, 5, False),
        (900.0, 5, True),
        (math.nan, 0, False),
    ],
)
def test_s23_after_an_outage_one_repair_begins_in_each_three_minutes(
    back_s: float | None, begun: int, fine: bool, open_policy: object
) -> None:
    effects = tuple(past("node.cordon", incident=f"INC-{i + 10}") for i in range(begun))
    before = past("node.drain", incident="INC-9", age_s=5000.0)
    given = Given(effects=(*effects, before), ledger={"back_s": back_s})
    assert ("S23" not in refused(given, open_policy)) is fine
    assert "S23" not in refused(given.but(action=CHECK), open_policy), "it disturbs nobody"
    own = (*effects, past("node.cordon", incident="INC-1"))
    if back_s is not None and back_s > 60.0:
        assert "S23" not in refused(given.but(effects=own), open_policy), "its own next step"


@pytest.mark.parametrize(
    ("action", "other", "fine"),
    [
        (DRAIN, past("node.drain", "train-02", open=True), False),
        (DRAIN, past("node.drain", "train-02", open=False), True),
        (DRAIN, past("node.drain", "train-03", open=True), True),
        (DRAIN, past("check.run", "train-02", open=True), True),
        (CHECK, past("node.drain", "train-02", open=True), True),
        (DRAIN, past("node.drain", "train-03", open=True, domains=("job:g",)), False),
        (DRAIN, past("check.run", "train-01", open=True), False),
        (UNCORDON, past("node.drain", "train-01", open=True), False),
        (DRAIN, past("node.cordon", "train-01", open=True, incident="INC-1"), True),
        (DRAIN, past("node.drain", "train-02", open=True, incident="INC-1"), False),
        (DRAIN, past("node.melt", "train-02", open=True), False),
    ],
    ids=[
        "same rack",
        "same rack, finished",
        "other rack",
        "a check beside it",
        "checking beside a drain",
        "same gang",
        "same node",
        "same node, giving it back",
        "the next step of the same repair",
        "another node of the same incident",
        "an action that this version does not know",
    ],
)
def test_s27_one_disruptive_action_at_a_time_in_a_domain(
    action: Action, other: object, fine: bool, open_policy: object
) -> None:
    given = Given(action=action, jobs=JOBS, effects=(other,))  # type: ignore[arg-type]
    assert ("S27" not in refused(given, open_policy)) is fine


def test_s27_own_effect_does_not_stand_in_its_own_way(open_policy: object) -> None:
    own = past("node.drain", "train-01", open=True, proposal="P-1", incident="")
    assert refused(Given(effects=(own,), incident=""), open_policy) == set()


@pytest.mark.parametrize(("own", "there"), [(World.LAB, World.REAL), (World.TWIN, World.LAB)])
def test_s29_worlds_never_mix(own: World, there: World, open_policy: object) -> None:
    assert refused(Given(proposal_world=own, world=there), open_policy) == {"S29"}
    assert refused(Given(proposal_world=there, world=there), open_policy) == set()


def test_all_refusals_are_told_and_none_needs_a_policy() -> None:
    given = Given(
        proposal_world=World.TWIN,
        orders=Orders(autonomy=Autonomy.AUTO, stopped=True),
        ledger={"reconciled": False},
    )
    verdict = given.judged(None, DAY)
    assert {"S4", "S5", "S29"} <= {r.id for r in verdict.reasons}


def test_every_invariant_is_written_down_for_operators() -> None:
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "invariants.md").read_text()
    for invariant in INVARIANTS:
        assert f"| {invariant.id} |" in page
    for number in range(1, 30):
        assert f"| S{number} |" in page


def test_preempting_is_disruptive_and_named_gangs_are_serial(open_policy: object) -> None:
    other = past("node.drain", "train-03", open=True, domains=("job:g",))
    preempt = Given(action=JobPreempt(job="g", attempt_id="a"), jobs=JOBS, effects=(other,))
    assert refused(preempt, open_policy) == {"S27"}
