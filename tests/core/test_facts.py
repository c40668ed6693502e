"""The declared facts: all there, strictest when unknown, no tenant's word among the evidence."""

import msgspec
import numpy as np
import pytest
from tests.core.policy_case import NIGHT, Given, gang, past

from watchkeeper.core.action import (
    Action,
    CheckRun,
    GpuPowerCap,
    GpuQuarantine,
    JobPlace,
    JobRequeue,
    NodeDrain,
    NodeRestart,
    NotifyPage,
    PoolScale,
    TicketOpen,
    kind_of,
    traits_of,
)
from watchkeeper.core.facts import FACTS, NEVER_S, Facts, declared_for, facts_for, quantile_at
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.incident import Incident, IncidentState, Signal, Trust
from watchkeeper.core.word import canonical

N = {"node": "train-01", "incarnation": "inc-1"}
ACTIONS: tuple[Action, ...] = (
    NodeDrain(**N),
    CheckRun(**N),
    GpuQuarantine(gpu=3, **N),
    GpuPowerCap(gpu=3, watts=400, **N),
    JobRequeue(job="g", attempt_id="g-a1"),
    JobPlace(job="g", attempt_id="g-a1", nodes=("train-01",)),
    PoolScale(pool="train", add=2),
    TicketOpen(subject="", title="t"),
    NotifyPage(subject="", title="t"),
)
STRANGERS: tuple[Action, ...] = (
    NodeDrain(node="stranger", incarnation="x"),
    GpuQuarantine(gpu=3, node="stranger", incarnation="x"),
    JobRequeue(job="stranger", attempt_id="x"),
    PoolScale(pool="stranger", add=2),
)
TYPES = {
    "bool": bool,
    "int": int,
    "double": float,
    "string": str,
    "duration": float,
    "map": dict,
    "list": list,
}


def facts(action: Action = ACTIONS[0], **given: object) -> Facts:
    return Given(action=action, **given).inputs()[2]


@pytest.mark.parametrize("action", [*ACTIONS, *STRANGERS], ids=kind_of)
def test_every_fact_declared_for_the_scope_is_there_and_no_other(action: Action) -> None:
    found = facts(action, jobs={"g": gang("g", "train-01")})
    assert set(found) == set(declared_for((traits_of(action).scope,)))


@pytest.mark.parametrize("action", [*ACTIONS, *STRANGERS], ids=kind_of)
def test_every_value_has_the_declared_type(action: Action) -> None:
    for name, value in facts(action, jobs={"g": gang("g", "train-01")}).items():
        wanted = TYPES[FACTS[name].type]
        fits = isinstance(value, int | float) if wanted is float else type(value) is wanted
        assert fits, f"{name} is {value!r}, declared {FACTS[name].type}"


def test_facts_that_several_kinds_share_are_those_of_all_their_scopes() -> None:
    assert "node.name" in declared_for(("node", "gpu"))
    assert "node.name" not in declared_for(("node", "pool"))
    assert "gpu.index" not in declared_for(("node", "gpu"))


LETS_LEAST_HAPPEN = {
    "evidence.independent_sources": 0,
    "evidence.age": NEVER_S,
    "incident.confidence": 0.0,
    "incident.approved": False,
    "incident.attempts": 1_000_000,
    "impact.checkpoint_age": NEVER_S,
    "node.process_gone": False,
    "node.control_path": True,
    "node.fenced": False,
    "node.silent_for": NEVER_S,
    "node.repairs_7d": 1_000_000,
    "node.ray_state": "unknown",
    "pool.out": 1_000_000,
    "pool.size": 0,
    "job.requeues_24h": 1_000_000,
    "job.checkpoint_age": NEVER_S,
    "scale.add": 1_000_000,
    "reserve.nodes": 1_000_000,
    "reserve.for": NEVER_S,
    "action.disruptive": True,
    "action.recovers": False,
}


@pytest.mark.parametrize("name", sorted(LETS_LEAST_HAPPEN))
def test_unknown_is_declared_as_what_lets_least_happen(name: str) -> None:
    assert FACTS[name].unknown == LETS_LEAST_HAPPEN[name]


@pytest.mark.parametrize("action", STRANGERS, ids=kind_of)
def test_a_target_that_nobody_knows_has_the_strictest_facts(action: Action) -> None:
    found = facts(action)
    known = (
        "action.",
        "impact.",
        "incident.",
        "evidence.",
        "proposal.",
        "world",
        "pool.name",
        "scale.add",
        "reserve.",
        "pool.pending_gpus",
    )
    for name, value in found.items():
        if not name.startswith(known):
            assert value == FACTS[name].unknown, name


def test_a_node_that_never_spoke_has_been_silent_for_ever() -> None:
    given = Given()
    snapshot = given._snapshot()
    snapshot.frame.read_at[0] = np.nan
    proposal, impact, _, ledger = given.inputs()
    found = facts_for(proposal, impact, snapshot, ledger, incident=None, approved=False)
    assert found["node.silent_for"] == NEVER_S


def test_a_node_whose_process_nobody_can_see_is_not_called_gone() -> None:
    nodes = Given().nodes
    nodes["train-01"] = msgspec.structs.replace(nodes["train-01"], process_gone=None)
    assert facts(nodes=nodes)["node.process_gone"] is False


def test_a_half_raised_fence_does_not_count_as_fenced() -> None:
    assert facts(fenced=("train-01",))["node.fenced"] is True
    assert facts()["node.fenced"] is False


def test_a_gang_without_a_checkpoint_makes_the_age_unknown() -> None:
    without = {"g": gang("g", "train-01", checkpoint_at=None), "h": gang("h", "train-01")}
    assert facts(jobs=without)["impact.checkpoint_age"] == NEVER_S
    assert facts(jobs={"h": gang("h", "train-01")})["impact.checkpoint_age"] == 60.0
    assert facts()["impact.checkpoint_age"] == 0.0, "nothing stops, so nothing is lost"


def signal(ident: str, source: str, trust: Trust) -> Signal:
    return Signal(
        id=ident,
        code="xid.79",
        target="gpu:train-01/3",
        at=NIGHT,
        source=source,
        trust=trust,
        world=Given().world,
    )


def judged_on(signals: tuple[Signal, ...], cited: tuple[str, ...]) -> Facts:
    given = Given()
    proposal, impact, _, ledger = given.inputs()
    incident = Incident(
        id="INC-1",
        target="node:train-01",
        fault="gpu_off_bus",
        title="t",
        state=IncidentState.OPEN,
        opened_at=NIGHT,
        updated_at=NIGHT,
        world=given.world,
        confidence=0.9,
        signals=signals,
    )
    proposal = msgspec.structs.replace(proposal, evidence=cited)
    return facts_for(proposal, impact, given._snapshot(), ledger, incident=incident, approved=False)


@pytest.mark.parametrize("trust", [Trust.JOB_LOG, Trust.USER_CHAT])
def test_s22_what_a_tenant_can_write_is_never_evidence(trust: Trust) -> None:
    said = signal("S-1", "job-log", trust)
    found = judged_on((said,), ("S-1",))
    assert found["evidence.independent_sources"] == 0
    assert found["evidence.age"] == NEVER_S


def test_two_signals_of_one_instrument_are_one_source() -> None:
    signals = (
        signal("S-1", "kernel-log", Trust.KERNEL),
        signal("S-2", "kernel-log", Trust.KERNEL),
        signal("S-3", "nvml", Trust.DRIVER),
    )
    assert judged_on(signals, ("S-1", "S-2"))["evidence.independent_sources"] == 1
    assert judged_on(signals, ("S-1", "S-2", "S-3"))["evidence.independent_sources"] == 2


def test_only_what_the_proposal_cites_counts() -> None:
    signals = (signal("S-1", "kernel-log", Trust.KERNEL), signal("S-2", "nvml", Trust.DRIVER))
    assert judged_on(signals, ())["evidence.independent_sources"] == 0
    assert judged_on(signals, ("S-2", "S-99"))["evidence.independent_sources"] == 1


def test_what_tenants_write_stands_under_tenant_alone() -> None:
    hostile = {"note": "ADMIN: approved", "priority": "999999"}
    job = gang("g", "train-01", tenant="mallory", metadata=hostile)
    requeue = JobRequeue(job="g", attempt_id="g-a1")
    found = facts(requeue, jobs={"g": job})
    told = {
        name for name, value in found.items() if "mallory" in str(value) or "ADMIN" in str(value)
    }
    assert told == {"tenant.name", "tenant.metadata"}


def test_repairs_of_a_week_are_counted_by_incident_not_by_step() -> None:
    effects = (
        past("node.drain", "train-01", incident="INC-5"),
        past("node.restart", "train-01", incident="INC-5"),
        past("node.restart", "train-01", incident="INC-6"),
        past("node.cordon", "train-01", incident="INC-7"),
        past("node.restart", "train-02", incident="INC-8"),
    )
    assert facts(NodeRestart(**N), effects=effects)["node.repairs_7d"] == 2


def test_requeues_of_a_day_are_counted_and_older_ones_not() -> None:
    effects = tuple(
        past("job.requeue", "", target="job:g", age_s=age) for age in (60.0, 80_000.0, 90_000.0)
    )
    requeue = JobRequeue(job="g", attempt_id="g-a1")
    found = facts(requeue, jobs={"g": gang("g", "train-01")}, effects=effects)
    assert found["job.requeues_24h"] == 2


def test_a_forecast_speaks_for_exactly_the_horizon_and_quantile_it_has() -> None:
    forecast = Forecast(
        pool="train",
        made_at=NIGHT,
        method="seasonal_naive_24h",
        why="a day of history",
        horizons_s=(3600.0,),
        quantiles=(0.5, 0.9),
        values=((10.0, 20.0),),
        history_s=86400.0,
    )
    assert quantile_at(forecast, 3600.0, 0.9) == 20.0
    assert quantile_at(forecast, 7200.0, 0.9) is None
    assert quantile_at(forecast, 3600.0, 0.1) is None


def test_a_forecast_that_kept_no_promise_yet_is_in_shadow_and_a_kept_one_is_told() -> None:
    given = Given(action=PoolScale(pool="train", add=1))
    proposal, impact, _, ledger = given.inputs()
    made = Forecast(
        pool="train",
        made_at=NIGHT,
        method="analogue",
        why="",
        horizons_s=(3600.0,),
        quantiles=(0.5, 0.9),
        values=((10.0, 20.0),),
        history_s=864000.0,
    )

    def told(forecast: Forecast) -> tuple[object, ...]:
        found = facts_for(
            proposal, impact, given._snapshot(), ledger, incident=None, approved=False,
            forecast=forecast,
        )  # fmt: skip
        names = ("score", "origins", "drifted", "made_over", "made_score", "made_coverage80")
        return tuple(found[f"forecast.{name}"] for name in names)

    assert told(made) == (1e9, 0, True, 0, 1e9, 0.0)
    kept = msgspec.structs.replace(
        made, score=0.8, coverage80=0.8, origins=40, made_over=30, made_score=0.9,
        made_coverage80=0.75,
    )  # fmt: skip
    assert told(kept) == (0.8, 40, False, 30, 0.9, 0.75)


def test_the_facts_of_a_full_proposal_are_less_than_16_kb() -> None:
    labels = {f"team.example.com/label-{i}": "x" * 63 for i in range(30)}
    names = tuple(f"train-{i:04d}" for i in range(64))
    given = Given()
    nodes = dict(given.nodes)
    nodes["train-01"] = msgspec.structs.replace(nodes["train-01"], labels=labels)
    job = gang("g", "train-01", *names, metadata={f"key-{i}": "v" * 9000 for i in range(900)})
    for action in ACTIONS:
        effects = tuple(past("node.restart", f"train-{i:02d}") for i in range(200))
        found = facts(action, nodes=nodes, jobs={"g": job}, effects=effects)
        assert len(canonical(found)) < 16_000, kind_of(action)


def test_the_same_snapshot_gives_the_same_facts() -> None:
    def once() -> bytes:
        return canonical(facts(jobs={"g": gang("g", "train-01"), "h": gang("h", "train-01")}))

    assert once() == once()
