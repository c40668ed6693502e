"""The scheduler agent: it admits whole gangs in their turn, and of the ways to serve one that is
blocked it proposes the cheapest, with the figures that say so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.core.crew_stage import (
    ALL,
    AT,
    FORECAST,
    briefing,
    ends,
    job,
    kinds,
    lost,
    node,
    short,
    snapshot,
    told,
    want,
)

from watchkeeper.core.action import JobPlace, JobPreempt, PoolScale
from watchkeeper.core.cluster import Job, JobState, Node, Reserved
from watchkeeper.core.crew import Draft, StepResult
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.money import CapacityOrder, QuotaOrder, UsedUp
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.placement.running import Terms
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.words import CrewSettings

SERVES = ALL | {"job.place", "job.preempt"}
NO_NODES = SERVES - {"pool.scale"}
PROVEN = msgspec.structs.replace(
    FORECAST, method="seasonal_naive_24h", score=0.8, coverage80=0.82, horizons_s=(900.0, 3600.0),
    values=((14.0, 20.0), (32.0, 40.0)),
)  # fmt: skip


def gang(name: str, nodes: int = 2, **over: Any) -> Job:
    """A gang of whole nodes that waits for our admission."""
    gpus = 8.0 * nodes
    return job(
        name,
        **{
            "state": JobState.WAITING, "held": True, "nodes": (), "gpus": gpus,
            "pending_gpus": gpus, "pending_bundle_gpus": 8.0, "priority": 10,
            "checkpoint_step": None, "checkpoint_at": None, "attempt": 0, **over,
        },
    )  # fmt: skip


def runs(name: str, *nodes: str, saved_s: float = 60.0, **over: Any) -> Job:
    return job(
        name,
        **{
            "state": JobState.RUNNING, "state_since": AT - timedelta(hours=3), "nodes": nodes,
            "gpus": 8.0 * len(nodes), "checkpoint_at": AT - timedelta(seconds=saved_s), **over,
        },
    )  # fmt: skip


def fleet(*free: str, of: int = 3) -> list[Node]:
    names = [f"train-{i:02}" for i in range(1, of + 1)]
    return [node(n, gpus_free=8.0 if n in free else 0.0, nvlink_domain="nvl-0") for n in names]


def full(*waiting: Job) -> Snapshot:
    """Three nodes: two gangs of low priority, and one node free."""
    low = (runs("old", "train-01", saved_s=3000.0), runs("fresh", "train-02", saved_s=30.0))
    return snapshot(*fleet("train-03"), jobs=(*low, *waiting), demand=want(16.0))


def test_held_gangs_are_placed_in_their_turn_each_whole_on_nodes_that_are_named() -> None:
    seen = snapshot(
        *fleet("train-01", "train-02", "train-03"),
        jobs=(gang("second", 1, priority=1), gang("first", 2), gang("third", 1, priority=0)),
        demand=want(32.0),
    )
    reply = LangGraphCrew().ask(briefing(seen, serves=SERVES))
    placed = {d.action.job: d.action for d in reply.drafts if isinstance(d.action, JobPlace)}
    assert sorted(placed) == ["first", "second"], "the third finds no room, and none of it starts"
    taken = [name for action in placed.values() for name in action.nodes]
    assert len(taken) == len(set(taken)) == 3
    assert (placed["first"].workers, len(placed["first"].nodes)) == (2, 2)
    assert reply.drafts[0].thread == "gang:first"
    assert "number 1 of 3 in the line" in reply.drafts[0].reason


def test_what_a_person_refused_a_gang_is_not_asked_for_again_at_once() -> None:
    crew = LangGraphCrew()

    def ask(at: float, *results: StepResult) -> tuple[Draft, ...]:
        free = fleet("train-01", "train-02")
        seen = snapshot(*free, jobs=(gang("a"),), demand=want(16.0), steady=at)
        return crew.ask(briefing(seen, serves=SERVES, results=results)).drafts

    (first,) = ask(100.0)
    assert first.thread == "gang:a"
    assert ask(101.0, told(first, "answer", "deny", says="not there")) == ()
    assert ask(111.0) == ask(141.0) == (), "a no holds"


def test_nodes_that_a_person_refused_are_not_asked_for_again_at_once() -> None:
    crew = LangGraphCrew()

    def ask(at: float, *results: StepResult) -> tuple[Draft, ...]:
        calm = snapshot(*fleet(of=2), demand=want(0.0, nowhere=False), steady=at)
        about = briefing(calm, serves=SERVES, forecasts={"train": PROVEN}, results=results)
        return crew.ask(about).drafts

    (first,) = ask(100.0)
    assert first.thread == "capacity:train"
    assert ask(101.0, told(first, "answer", "deny", says="too dear")) == ()
    assert ask(111.0) == ask(141.0) == (), "a no holds"


def test_a_gang_that_waits_in_rays_own_queue_is_not_placed_by_us() -> None:
    seen = snapshot(*fleet("train-01"), jobs=(gang("ray's", 1, held=False),), demand=want(8.0))
    assert LangGraphCrew().ask(briefing(seen, serves=SERVES)).drafts == ()


def test_a_node_under_suspicion_gets_no_gang() -> None:
    from tests.core.crew_stage import lost

    seen = snapshot(*fleet("train-01", of=1), jobs=(gang("g", 1),), demand=want(8.0))
    doubt = lost("train-01", jobs=())
    reply = LangGraphCrew().ask(briefing(seen, doubt, serves=SERVES, busy=("INC-1",)))
    assert reply.drafts == ()


def test_the_urgent_preempts_the_cheapest_victim_with_the_figures_and_the_plan() -> None:
    seen = full(gang("urgent", tenant="red"))
    (draft,) = LangGraphCrew().ask(briefing(seen, short(), serves=SERVES)).drafts
    assert draft.action == JobPreempt(job="fresh", attempt_id="a1", for_job="urgent")
    assert draft.plan == (
        JobPlace(job="urgent", attempt_id="a1", nodes=("train-02", "train-03"), workers=2),
    )
    assert draft.reason == (
        "urgent needs 2 whole nodes; 1 is free; the rest is held by fresh (8 GPUs) and old "
        "(8 GPUs); no runtime estimate says when that ends. 16 GPUs wait in train, this gang for "
        "0 s; 16 of 16 are in use. Making room stops fresh (8 GPUs, priority 0, saved 30 s ago); "
        "that loses 0.7 GPU-hours. 1 more node would come in about 5 min, which costs 1.3 "
        "GPU-hours of waiting."
    )


def test_while_room_is_made_for_the_urgent_nobody_slips_in_before_it() -> None:
    seen = full(gang("urgent"), gang("small", 1, priority=1))
    reply = LangGraphCrew().ask(briefing(seen, short(), serves=SERVES))
    assert kinds(reply) == ["job.preempt"], "small would fit on the node that urgent needs"


@pytest.mark.parametrize(
    ("change", "victim"),
    [
        pytest.param({"priority": 10}, None, id="equal priority is spared"),
        pytest.param({"preemptible": False}, None, id="so is what may not be stopped"),
        pytest.param({"state_since": AT - timedelta(minutes=5)}, None, id="and what just began"),
        pytest.param({"priority": 9}, "fresh", id="lower priority is not"),
    ],
)
def test_who_is_spared(change: dict[str, Any], victim: str | None) -> None:
    nodes = fleet("train-03", of=3)[1:]
    seen = snapshot(
        *nodes, jobs=(runs("fresh", "train-02", **change), gang("urgent")), demand=want()
    )
    reply = LangGraphCrew().ask(briefing(seen, short(), serves=NO_NODES))
    found = [d.action.job for d in reply.drafts if isinstance(d.action, JobPreempt)]
    assert found == ([victim] if victim else [])


def test_where_victims_would_lose_more_than_nodes_take_to_come_nodes_are_asked_for() -> None:
    low = (runs("a", "train-01", saved_s=9000.0), runs("b", "train-02", saved_s=9000.0))
    seen = snapshot(*fleet("train-03"), jobs=(*low, gang("urgent")), demand=want())
    (draft,) = LangGraphCrew().ask(briefing(seen, short(), serves=SERVES)).drafts
    assert draft.action == PoolScale(pool="train", add=1)
    assert "Making room stops a (8 GPUs, priority 0, saved 150 min ago)" in draft.reason


def test_where_an_estimate_says_that_room_comes_soon_it_waits() -> None:
    low = runs(
        "nearly-done", "train-01", "train-02", saved_s=600.0, runtime_s=22 * 60.0,
        state_since=AT - timedelta(minutes=20),
    )  # fmt: skip
    seen = snapshot(*fleet("train-03"), jobs=(low, gang("urgent")), demand=want())
    reply = LangGraphCrew().ask(briefing(seen, short(), serves=SERVES))
    assert (reply.drafts, ends(reply)) == ((), {"INC-9": "waiting"})
    assert "earliest 02:32, when nearly-done ends." in reply.conclusions[0].why


def test_while_a_victim_leaves_its_nodes_nobody_else_is_stopped() -> None:
    seen = full(gang("urgent"), gang("stopped", 1, priority=1, attempt=1))
    reply = LangGraphCrew().ask(briefing(seen, short(), serves=SERVES))
    assert (reply.drafts, ends(reply)) == ((), {"INC-9": "waiting"})
    assert reply.conclusions[0].why == "urgent waits until stopped has left its nodes."


def test_after_a_refused_way_the_next_cheapest_is_asked_for() -> None:
    crew, seen = LangGraphCrew(), full(gang("urgent"))
    (first,) = crew.ask(briefing(seen, short(), serves=SERVES)).drafts
    refused = told(first, "verdict", "deny", refused_by="policy", says="nobody is stopped here")
    (second,) = crew.ask(briefing(seen, short(), serves=SERVES, results=(refused,))).drafts
    assert second.action == PoolScale(pool="train", add=1)
    also = told(second, "verdict", "deny", "P-2", refused_by="policy", says="nor bought")
    third = crew.ask(briefing(seen, short(), serves=SERVES, results=(also,)))
    assert (third.drafts, ends(third)) == ((), {"INC-9": "waiting"})


def test_where_rays_autoscaler_owns_scaling_we_add_no_nodes() -> None:
    seen = full(gang("urgent", priority=0))
    owned = Snapshot(
        at=seen.at, steady=seen.steady, frame=seen.frame, sources=seen.sources,
        state=msgspec.structs.replace(seen.state, scaler="Ray's autoscaler"),
    )  # fmt: skip
    reply = LangGraphCrew().ask(briefing(owned, short(), serves=SERVES))
    assert (reply.drafts, ends(reply)) == ((), {"INC-9": "waiting"})
    assert "Ray's autoscaler scales train, so we do not." in reply.conclusions[0].why


def test_a_proven_forecast_asks_for_nodes_before_anybody_waits() -> None:
    calm = snapshot(*fleet(of=2), demand=want(0.0, nowhere=False))
    crew = LangGraphCrew()
    (draft,) = crew.ask(briefing(calm, serves=SERVES, forecasts={"train": PROVEN})).drafts
    assert draft.action == PoolScale(pool="train", add=3)
    assert (draft.thread, draft.incident, draft.confidence) == ("capacity:train", "", 0.82)
    assert "40 GPUs are wanted in 60 min at the 90% quantile; train has 16" in draft.reason
    assert "seasonal_naive_24h lost 0.80 of what persistence lost; its 80 % interval held 82%" in (
        draft.reason
    )
    refused = told(draft, "verdict", "deny", refused_by="policy", says="forecasts are in shadow")
    again = crew.ask(briefing(calm, serves=SERVES, forecasts={"train": PROVEN}, results=(refused,)))
    assert again.drafts == (), "what was refused is not asked for every turn"


@pytest.mark.parametrize(
    ("order", "add"),
    [
        pytest.param(CapacityOrder(pool="train", service_level=0.5), 2, id="a lower level"),
        pytest.param(
            CapacityOrder(pool="train", service_level=0.9, nodes_at_most=3), 1, id="a bound"
        ),
        pytest.param(
            CapacityOrder(pool="train", service_level=0.9, nodes_at_most=2), None, id="it is full"
        ),
    ],
)
def test_the_service_level_and_the_bound_of_a_pool_are_the_policys(
    order: CapacityOrder, add: int | None
) -> None:
    calm = snapshot(*fleet(of=2), demand=want(0.0, nowhere=False))
    asked = briefing(calm, serves=SERVES, forecasts={"train": PROVEN})
    reply = LangGraphCrew().ask(replace(asked, capacity={"train": order}))
    found = [d.action.add for d in reply.drafts if isinstance(d.action, PoolScale)]
    assert found == ([add] if add else [])


@pytest.mark.parametrize(
    "forecast",
    [
        pytest.param(FORECAST, id="never measured"),
        pytest.param(msgspec.structs.replace(PROVEN, score=1.02), id="worse than persistence"),
    ],
)
def test_a_forecast_that_is_not_proven_proposes_nothing(forecast: Forecast) -> None:
    calm = snapshot(*fleet(of=2), demand=want(0.0, nowhere=False))
    reply = LangGraphCrew().ask(briefing(calm, serves=SERVES, forecasts={"train": forecast}))
    assert (reply.drafts, len(reply.thoughts)) == ((), 1)


GROWS = CrewSettings(grow_after_s=60.0, terms=Terms(least_runtime_s=60.0, restart_s=120.0))


@pytest.mark.parametrize(
    ("waiting", "saved_s", "asked"),
    [
        pytest.param((), 20.0, ["job.preempt"], id="nobody waits"),
        pytest.param((), 900.0, [], id="it would lose what it has not saved"),
        pytest.param((gang("g", 1),), 20.0, ["job.place"], id="somebody waits, and has the room"),
    ],
)
def test_an_elastic_gang_grows_back_only_while_nobody_waits(
    waiting: tuple[Job, ...], saved_s: float, asked: list[str]
) -> None:
    small = runs("elastic", "train-01", workers=2, least=1, saved_s=saved_s)
    seen = snapshot(*fleet("train-02", of=2), jobs=(small, *waiting), demand=want(0.0))
    assert kinds(LangGraphCrew(settings=GROWS).ask(briefing(seen, serves=SERVES))) == asked


KEPT = Reserved(
    ident="R1", pool="train", nodes=1, tenant="other",
    begin=AT - timedelta(hours=1), until=AT + timedelta(hours=1),
)  # fmt: skip


FULL_QUOTA = QuotaOrder(tenant="nlp", gpus=8, gpus_at_most=8.0)
USED_UP = UsedUp(tenant="nlp", pool="", says="The month is used up.")
SUSPECT = lost("train-02", jobs=())


@pytest.mark.parametrize(
    ("briefed", "reserved"),
    [
        pytest.param({}, (KEPT,), id="the free node is kept for another tenant"),
        pytest.param({"quotas": (FULL_QUOTA,)}, (), id="its tenant may hold no more"),
        pytest.param({"used_up": (USED_UP,)}, (), id="its tenant's allowance is used up"),
        pytest.param({"incidents": (SUSPECT,)}, (), id="the free node is suspect"),
    ],
)
def test_an_elastic_gang_is_not_stopped_for_room_that_it_would_not_get(
    briefed: dict[str, Any], reserved: tuple[Reserved, ...]
) -> None:
    small = runs("elastic", "train-01", workers=2, least=1, saved_s=20.0, tenant="nlp")
    seen = snapshot(*fleet("train-02", of=2), jobs=(small,), demand=want(0.0))
    seen = replace(seen, state=msgspec.structs.replace(seen.state, reserved=reserved))
    asked = replace(briefing(seen, serves=SERVES), **briefed)
    made = LangGraphCrew(settings=GROWS).ask(asked).drafts
    assert not [d for d in made if isinstance(d.action, JobPreempt)]


@pytest.mark.parametrize(
    ("stopped_s", "free", "asked"),
    [
        pytest.param(3.0, ("train-01",), [], id="its own seats are on their way"),
        pytest.param(3.0, ("train-01", "train-02"), ["job.place"], id="all of it fits"),
        pytest.param(30.0, ("train-01",), ["job.place"], id="nothing more came"),
    ],
)
def test_an_elastic_gang_that_stopped_just_now_is_not_seated_smaller_beside_its_own_seats(
    stopped_s: float, free: tuple[str, ...], asked: list[str]
) -> None:
    since = AT - timedelta(seconds=stopped_s)
    stopped = gang("elastic", 2, workers=2, least=1, attempt=1, state_since=since)
    seen = snapshot(*fleet(*free, of=2), jobs=(stopped,), demand=want())
    assert kinds(LangGraphCrew().ask(briefing(seen, serves=SERVES))) == asked


def test_an_elastic_gang_begins_with_fewer_workers_within_its_bounds() -> None:
    seen = snapshot(
        *fleet("train-01", of=2), jobs=(gang("elastic", 2, workers=2, least=1),), demand=want()
    )
    (draft,) = LangGraphCrew().ask(briefing(seen, serves=SERVES)).drafts
    assert draft.action == JobPlace(job="elastic", attempt_id="a1", nodes=("train-01",), workers=1)
    assert "begins with 1 of 2 workers" in draft.reason


def test_an_elastic_victim_shrinks_before_one_that_must_stop() -> None:
    elastic = runs("elastic", "train-01", "train-02", workers=2, least=1, saved_s=600.0)
    rigid = runs("rigid", "train-03", saved_s=600.0)
    seen = snapshot(*fleet(), jobs=(elastic, rigid, gang("urgent", 1)), demand=want(8.0))
    (draft,) = LangGraphCrew().ask(briefing(seen, short(), serves=NO_NODES)).drafts
    assert "Making room stops elastic" in draft.reason
    assert "goes on with 1 of 2 workers); that loses 1.3 GPU-hours" in draft.reason
