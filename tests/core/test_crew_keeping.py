"""Nodes kept in time for a need that comes back: proposed on a proven forecast, once a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.core.crew_stage import AT, FORECAST, briefing, job, kinds, node, snapshot

from watchkeeper.core.action import PoolReserve
from watchkeeper.core.cluster import Job, JobState, PoolDemand, Reserved
from watchkeeper.core.crew import Briefing
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.money import QuotaOrder
from watchkeeper.core.verdict import Decision
from watchkeeper_agents.crew import LangGraphCrew

HOURS = tuple(3600.0 * h for h in range(1, 7))


def hourly(pool: str, likely: tuple[float, ...], **over: Any) -> Forecast:
    """Six hours ahead: what is likely, and a quarter more at 90 %."""
    fields: dict[str, Any] = {
        "pool": pool, "horizons_s": HOURS, "quantiles": (0.5, 0.9), "score": 0.8, "origins": 60,
        "values": tuple((v, v * 1.25) for v in likely), "history_s": 14 * 86400.0,
        "coverage80": 0.8, "method": "ridge", **over,
    }  # fmt: skip
    return msgspec.structs.replace(FORECAST, **fields)


MORNING = hourly("tenant:nlp", (0, 0, 17, 18, 19, 0))
BUSY = hourly("train", (8, 8, 24, 24, 24, 8))
KEPT = Reserved(
    ident="R1", pool="train", nodes=1, begin=AT, until=AT + timedelta(hours=9), tenant="nlp"
)


def asked(
    mine: Forecast = MORNING, pool: Forecast = BUSY, *jobs: Job, reserved: Any = (), **more: Any
) -> Briefing:
    done = job("nightly", tenant="nlp", state=JobState.SUCCEEDED, nodes=())
    nodes = [node(f"train-0{i}", gpus_free=8.0) for i in range(1, 4)]
    demand = PoolDemand(pool="train", total_gpus=24, running_gpus=0, pending_gpus=0, waiting_jobs=0)
    seen = snapshot(*nodes, jobs=(done, *jobs), demand=(demand,))
    seen = replace(seen, state=msgspec.structs.replace(seen.state, reserved=reserved))
    briefed = briefing(seen, forecasts={"tenant:nlp": mine, "train": pool})
    return replace(briefed, serves=briefed.serves | {"pool.reserve"}, **more)


def test_a_need_that_comes_back_while_the_pool_is_full_is_asked_for_with_its_figures() -> None:
    (draft,) = LangGraphCrew().ask(asked()).drafts
    action = draft.action
    assert isinstance(action, PoolReserve)
    assert (action.pool, action.nodes, action.tenant) == ("train", 2, "nlp")
    assert action.begin is not None
    assert action.until is not None
    assert action.begin <= AT + timedelta(hours=2)
    assert timedelta(hours=2) < action.until - action.begin <= timedelta(hours=5)
    assert draft.evidence == ("tenant:nlp",)
    assert "nlp will likely want 17 GPUs in train" in draft.reason
    assert "30 are wanted then at the 90% quantile" in draft.reason
    assert "lost 0.80 of what persistence lost, over 60 past moments of 14 days" in draft.reason


RUNS = job("now", tenant="nlp", state=JobState.RUNNING, nodes=("train-01", "train-02"), gpus=16.0)
OWN = QuotaOrder(tenant="nlp", gpus=16)


@pytest.mark.parametrize(
    "briefed",
    [
        pytest.param(asked(hourly("tenant:nlp", (0, 0, 17, 18, 19, 0), score=None)), id="no error"),
        pytest.param(asked(hourly("tenant:nlp", (0, 0, 17, 18, 19, 0), score=1.0)), id="no better"),
        pytest.param(asked(hourly("tenant:nlp", (0, 0, 17, 18, 19, 0), drifted=True)), id="drift"),
        pytest.param(asked(hourly("tenant:nlp", (17,) * 6, history_s=5e5)), id="not a week of it"),
        pytest.param(asked(hourly("tenant:nlp", (7,) * 6)), id="less than a node"),
        pytest.param(asked(MORNING, hourly("train", (8,) * 6)), id="there is room for it"),
        pytest.param(asked(MORNING, BUSY, RUNS), id="it holds them already"),
        pytest.param(asked(reserved=(KEPT,)), id="it has them kept"),
        pytest.param(asked(quotas=(OWN,)), id="its quota lets it claim as many back"),
    ],
)
def test_nothing_is_kept_without_a_proven_need_that_would_miss_its_nodes(briefed: Briefing) -> None:
    reply = LangGraphCrew().ask(briefed)
    assert "pool.reserve" not in kinds(reply)


def test_what_no_order_allows_is_told_and_not_asked_once_a_day() -> None:
    crew, briefed = LangGraphCrew(), asked(would=lambda _action, _incident: Decision.DENY)
    first, second = crew.ask(briefed), crew.ask(briefed)
    assert (first.drafts, second.drafts) == ((), ())
    assert ["No order lets it be kept" in t.text for t in first.thoughts] == [True]
    assert second.thoughts == ()
