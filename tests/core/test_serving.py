"""Model servers, without Ray: what their metrics say, the plan made of it, and nodes in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.core.crew_stage import AT, briefing, kinds, node, snapshot, want
from tests.stories.world import Story

from watchkeeper.adapters.ray_serve import (
    ANSWERED,
    MOST,
    PROCESSED,
    ROUTED,
    RayServe,
    Tally,
    quantile,
)
from watchkeeper.app.print_tables import status_table
from watchkeeper.control.serving import plan_serving
from watchkeeper.core.cluster import ClusterState, World
from watchkeeper.core.errors import ClusterUnavailable, PolicyError
from watchkeeper.core.event import Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.serving import SERVE, ServePlan, Serving
from watchkeeper.core.word import plain
from watchkeeper.policy.load import load
from watchkeeper_agents.crew import LangGraphCrew

INF = float("inf")


def metrics(routed: float, answered: dict[float, float], worker: str = "w1") -> str:
    """What one node tells: Ray's own lines beside ours, with labels that we do not read."""
    lines = ["# HELP ray_serve_num_router_requests_total The number.", 'ray_node_cpu{x="1"} 3']
    lines.append(f'{ROUTED}{{application="chat",deployment="M",WorkerId="{worker}"}} {routed}')
    for name, labels in ((ANSWERED, ""), (PROCESSED, ',deployment="M"')):
        lines += [
            f'{name}{{application="chat"{labels},WorkerId="{worker}",le="{edge}"}} {count}'
            for edge, count in answered.items()
        ]
    return "\n".join([*lines, f'{ROUTED}{{application="chat"}} not-a-number', ROUTED])


@pytest.mark.parametrize(
    ("buckets", "level", "found"),
    [
        pytest.param({}, 0.5, None, id="nothing was answered"),
        pytest.param({100.0: 0.0, INF: 0.0}, 0.5, None, id="nothing in this time"),
        pytest.param({100.0: 10.0, INF: 10.0}, 0.5, 50.0, id="a straight line in its bucket"),
        pytest.param({100.0: 5.0, 200.0: 10.0, INF: 10.0}, 0.95, 190.0, id="in the second"),
        pytest.param({100.0: 5.0, INF: 10.0}, 0.95, 100.0, id="above the last edge: at least that"),
    ],
)
def test_a_percentile_of_buckets(buckets: dict[float, float], level: float, found: Any) -> None:
    assert quantile(buckets, level) == found


def test_what_came_between_two_looks_is_counted_once_whoever_counts_and_begins_anew() -> None:
    tally, key = Tally(window_s=60.0), (ROUTED, "chat", "M")
    tally.add(0.0, {"a": metrics(1000.0, {})})
    assert (tally.span_s, sum(tally.came(key).values())) == (0.0, 0.0), "before us is not counted"
    tally.add(20.0, {"a": metrics(1010.0, {})})
    tally.add(40.0, {"a": metrics(4.0, {}) + "\n" + metrics(6.0, {}, "w2")})
    assert sum(tally.came(key).values()) == 20.0, "one began anew at zero, one is new"
    tally.add(60.0, {})
    tally.add(80.0, {"a": metrics(9.0, {})})
    assert tally.span_s == 60.0
    assert sum(tally.came(key).values()) == 15.0, "a look without an answer loses nothing"


class _Gcs:
    def __init__(self, *names: str) -> None:
        self.names = names

    def actors(self) -> list[Any]:
        return [type("A", (), {"name": n, "namespace": "serve"}) for n in self.names]

    def nodes(self) -> list[Any]:
        facts = {"alive": True, "node_id": "n1", "metrics_port": 9, "address": "10.0.0.1"}
        return [type("N", (), facts)]

    def close(self) -> None: ...


class _Api:
    def read(self, path: str) -> Any:
        replicas = [{"state": "RUNNING", "node_id": "n1"}, {"state": "STARTING"}]
        deployment = {
            "name": "M", "target_num_replicas": 3, "required_resources": {"GPU": 2.0, "CPU": 1},
            "replicas": replicas, "status": "UPDATING",
        }  # fmt: skip
        topology = {"ingress_deployment": "M"}
        app = {"deployments": {"M": deployment}, "deployment_topology": topology}
        odd = {"<script>": app, **{f"many-{i}": app for i in range(100)}}
        return {"applications": {"chat": app, **odd}, "proxies": {}, "target_capacity": None}


class _Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> datetime:
        return AT + timedelta(seconds=self.s)

    def steady(self) -> float:
        return self.s


def test_deployments_are_read_with_their_rate_their_latency_and_where_they_run() -> None:
    clock, told = _Clock(), [metrics(0.0, {100.0: 0, 500.0: 0, INF: 0})]
    serve = RayServe(_Gcs("SERVE_CONTROLLER_ACTOR"), _Api(), clock, fetch=lambda _: told[0])  # type: ignore[arg-type]
    state = ClusterState(
        session="s", cluster="c", world=World.LAB, read_at=AT, nodes={"train-01": node("train-01")}
    )
    state = msgspec.structs.replace(
        state, nodes={"t": msgspec.structs.replace(state.nodes["train-01"], incarnation="n1")}
    )
    serve.look(state)
    assert serve.latest[0].rate is None, "one look is no rate, and no rate is not zero"
    clock.s, told[0] = 30.0, metrics(60.0, {100.0: 30, 500.0: 60, INF: 60})
    serve.look(state)
    found, *others = serve.latest
    assert len(others) == MOST - 1, "whoever may deploy may make up any number of names"
    assert all("<" not in each.name for each in others)
    assert (found.name, found.pool, found.replicas, found.wanted, found.gpus) == (
        "chat/M", "train", 1, 3, 2.0,
    )  # fmt: skip
    assert (found.rate, found.latency_s, found.whole) == (2.0, (0.1, 0.46, 0.492), True)
    clock.s = 300.0
    assert serve.latest == (), "what is old is not known any more"


def test_where_nothing_serves_the_dashboard_is_not_asked() -> None:
    class Deaf:
        def read(self, path: str) -> Any:
            raise ClusterUnavailable(path)

    serve = RayServe(_Gcs("other"), Deaf(), _Clock())  # type: ignore[arg-type]
    serve.look(ClusterState(session="", cluster="", world=World.LAB, read_at=AT, nodes={}))
    assert serve.latest == ()


GOAL = """apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: served}
serving:
  default: {latency: 2s}
  chat/M: {latency: 500ms, percentile: 95, ready_after: 5m, service_level: 90}
"""


def test_goals_are_read_from_the_orders_and_a_percentile_that_nobody_measures_is_refused() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    found = load({"a.yaml": GOAL}, at).serving
    assert (found["chat/M"].latency_s, found["chat/M"].start_s, found["chat/M"].level) == (
        0.5, 300.0, 0.9,
    )  # fmt: skip
    assert found["default"].percentile == 95
    with pytest.raises(PolicyError, match="90 is not measured; 50, 95, 99 are"):
        load({"a.yaml": GOAL.replace("percentile: 95", "percentile: 90")}, at)


RATES = Forecast(
    pool=SERVE + "chat/M", made_at=AT, method="ridge", why="", horizons_s=(3600.0,),
    quantiles=(0.5, 0.9, 0.95), values=((6.0, 9.5, 11.0),), history_s=864000.0, score=0.8,
    coverage80=0.8, origins=40,
)  # fmt: skip
SERVED = Serving(
    name="chat/M", pool="train", replicas=2, wanted=2, gpus=4.0, read_at=AT, rate=6.0,
    latency_s=(0.1, 0.3, 0.4), span_s=60.0, whole=True,
)  # fmt: skip


class _Minutes:
    """A mirror that remembers what one replica carried: up to 4 requests/s within the goal."""

    def served(self, name: str) -> list[tuple[float, ...]]:
        return [(i * 60.0, 0.1 * i, 1.0, 0.1, 0.3 if i <= 40 else 0.9, 1.0) for i in range(1, 61)]


def test_rates_become_replicas_by_what_was_measured_and_the_plan_is_written_once(
    tmp_path: Path,
) -> None:
    story = Story(tmp_path, policies={"a.yaml": GOAL})
    watch, seen = story.watch, snapshot(node("train-01"), demand=want(0.0))
    seen = _with(seen, SERVED)
    watch.mirror = _Minutes()  # type: ignore[assignment]
    watch.record.books.forecasts[RATES.pool] = RATES
    plan_serving(watch, seen)
    plan_serving(watch, seen)
    written = [e for e in story.journal.events() if e.kind is Kind.SERVING]
    assert len(written) == 1
    made = watch.record.books.serving["chat/M"]
    assert made.carries == pytest.approx(4.0, abs=0.5)
    assert (made.reached, made.replicas, made.act_now, made.more_gpus) == (True, 3, True, 4.0)
    assert "3 replicas are wanted, 2 are there" in made.why
    assert story.desk.board().serving == (), "of what the last reading does not show, nothing"


def _with(seen: Any, *serving: Serving) -> Any:
    return replace(seen, state=msgspec.structs.replace(seen.state, serving=serving))


PLAN = ServePlan(
    name="chat/M", pool="train", at=AT, now=2, gpus=4.0, why="3 replicas are wanted, 2 are there.",
    goal="0.5 s at 95 %", replicas=3, carries=4.0, act_now=True, start_s=300.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("free", "forecast", "asked", "says"),
    [
        pytest.param(0.0, RATES, ["pool.scale"], "Add 1 node to train", id="no GPU is free"),
        pytest.param(4.0, RATES, [], "has 4 GPUs free for them", id="there is room"),
        pytest.param(3.0, RATES, ["pool.scale"], "Add 1 node", id="three are no whole replica"),
        pytest.param(0.0, msgspec.structs.replace(RATES, score=None), [], "was not measured yet",
                     id="its error is unknown"),
        pytest.param(0.0, msgspec.structs.replace(RATES, drifted=True), [], "drifted of late",
                     id="it drifted"),
        pytest.param(0.0, msgspec.structs.replace(RATES, score=1.1), [], "no better than",
                     id="it is no better than persistence"),
    ],
)  # fmt: skip
def test_nodes_are_asked_for_before_the_goal_is_missed_and_on_a_proven_forecast_alone(
    free: float, forecast: Forecast, asked: list[str], says: str
) -> None:
    seen = snapshot(node("train-01", gpus_free=free), demand=want(0.0, nowhere=False))
    briefed = briefing(seen, forecasts={RATES.pool: forecast})
    reply = LangGraphCrew().ask(replace(briefed, serving={"chat/M": PLAN}))
    assert kinds(reply) == asked
    assert any(says in t.text for t in reply.thoughts)
    if reply.drafts:
        assert reply.drafts[0].evidence == (RATES.pool,)
        assert "lost 0.80 of what persistence lost" in reply.drafts[0].reason


def test_the_terminal_shows_each_deployment_with_its_plan(tmp_path: Path) -> None:
    board = plain(Story(tmp_path, policies={"a.yaml": GOAL}).desk.board())
    assert "Model servers" not in status_table(board)
    shown = status_table({**board, "serving": [plain(PLAN)]})
    assert "Model servers" in shown
    assert "chat/M: 3 replicas are wanted, 2 are there." in shown
