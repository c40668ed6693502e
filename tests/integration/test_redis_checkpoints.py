"""The crew's threads on a real Redis: they outlive a process, and nothing loaded is believed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, TypedDict

import pytest
import redis
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from watchkeeper.adapters.checkpoint_json import StrictJson, require_plain
from watchkeeper.adapters.redis_checkpoints import RedisCheckpoints
from watchkeeper.core.errors import ClusterUnavailable, Malformed

pytestmark = pytest.mark.redis


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


@pytest.fixture
def saver(redis_url: str, client: redis.Redis) -> RedisCheckpoints:
    return RedisCheckpoints(redis_url, "lab-test")


class State(TypedDict, total=False):
    tried: list[str]
    result: dict[str, str]


def parking_graph(saver: Any) -> Any:
    """ask -> (interrupt) -> learn -> ask ..., until two rungs were tried."""

    def think(state: State) -> State:
        return {"tried": [*state.get("tried", []), f"rung-{len(state.get('tried', []))}"]}

    def ask(state: State) -> State:
        return {"result": interrupt({"draft": state["tried"][-1]})}

    graph = StateGraph(State)
    graph.add_node("think", think)
    graph.add_node("ask", ask)
    graph.add_edge(START, "think")
    graph.add_edge("think", "ask")
    graph.add_conditional_edges("ask", lambda s: END if len(s["tried"]) == 2 else "think")
    return graph.compile(checkpointer=saver)


def on(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


def test_a_thread_parked_by_one_process_is_resumed_by_another(
    redis_url: str, saver: RedisCheckpoints
) -> None:
    first = parking_graph(saver).invoke({}, on("INC-1"), durability="exit")
    assert first["__interrupt__"][0].value == {"draft": "rung-0"}
    saver.close()

    reopened = parking_graph(RedisCheckpoints(redis_url, "lab-test"))
    answer = {"value": "recovered"}
    second = reopened.invoke(Command(resume=answer), on("INC-1"), durability="sync")

    assert second["result"] == answer
    assert second["__interrupt__"][0].value == {"draft": "rung-1"}


@pytest.mark.parametrize("durability", ["exit", "sync", "async"])
def test_it_behaves_as_the_in_memory_saver_does(saver: RedisCheckpoints, durability: Any) -> None:
    def story(keeper: Any) -> list[Any]:
        graph = parking_graph(keeper)
        told: list[Any] = []
        for given in ({}, Command(resume={"n": "1"}), Command(resume={"n": "2"})):
            out = graph.invoke(given, on("capacity:train/a"), durability=durability)
            told.append({k: v for k, v in out.items() if k != "__interrupt__"})
            told.append([i.value for i in out.get("__interrupt__", ())])
            state = graph.get_state(on("capacity:train/a"))
            told += [state.values, state.next, state.metadata["step"]]
        for past in graph.get_state_history(on("capacity:train/a")):
            told += [past.values, past.next, past.metadata]
            told.append([[w.value for w in task.interrupts] for task in past.tasks])
        return told

    assert story(saver) == story(InMemorySaver())


def test_the_async_twins_do_the_same(saver: RedisCheckpoints) -> None:
    async def story() -> list[str]:
        graph = parking_graph(saver)
        await graph.ainvoke({}, on("INC-2"))
        out = await graph.ainvoke(Command(resume={"ok": "yes"}), on("INC-2"))
        listed = [c async for c in saver.alist(on("INC-2"), limit=2)]
        assert len(listed) == 2
        await saver.aprune(["INC-2"])
        assert len([c async for c in saver.alist(on("INC-2"))]) == 1
        await saver.adelete_thread("INC-2")
        assert await saver.aget_tuple(on("INC-2")) is None
        return list(out["tried"])

    assert asyncio.run(story()) == ["rung-0", "rung-1"]


def test_flushall_loses_the_thread_and_nothing_else_happens(
    saver: RedisCheckpoints, client: redis.Redis
) -> None:
    graph = parking_graph(saver)
    graph.invoke({}, on("INC-3"))
    client.flushall()

    assert saver.get_tuple(on("INC-3")) is None
    assert graph.get_state(on("INC-3")).values == {}
    anew = graph.invoke({}, on("INC-3"))
    assert anew["tried"] == ["rung-0"]


def test_deleting_one_thread_leaves_its_neighbour_and_no_key_of_its_own(
    saver: RedisCheckpoints, client: redis.Redis
) -> None:
    graph = parking_graph(saver)
    graph.invoke({}, on("INC-4"))
    graph.invoke({}, on("INC-44"))

    saver.delete_thread("INC-4")

    assert saver.get_tuple(on("INC-4")) is None
    assert saver.get_tuple(on("INC-44")) is not None
    assert saver.threads() == ["INC-44"]
    assert not client.keys("wk:lab-test:ckpt:*:INC-4") + client.keys("wk:lab-test:ckpt:w:INC-4:*")


def test_history_is_bounded_and_every_key_expires(redis_url: str, client: redis.Redis) -> None:
    saver = RedisCheckpoints(redis_url, "lab-test", keep=4, ttl_s=900)
    graph = parking_graph(saver)
    for _ in range(12):
        graph.invoke({"tried": []}, on("INC-5"), durability="sync")

    assert len(list(saver.list(on("INC-5")))) == 4
    ttls = {key: client.ttl(key) for key in client.keys("*")}
    assert ttls
    assert all(0 < ttl <= 900 for ttl in ttls.values()), ttls
    assert all(key.startswith(b"wk:lab-test:ckpt:") for key in ttls)


def test_prune_keeps_the_latest_and_the_thread_still_resumes(saver: RedisCheckpoints) -> None:
    graph = parking_graph(saver)
    graph.invoke({}, on("INC-6"), durability="sync")
    saver.prune(["INC-6"])

    assert len(list(saver.list(on("INC-6")))) == 1
    out = graph.invoke(Command(resume={"a": "b"}), on("INC-6"))
    assert out["tried"] == ["rung-0", "rung-1"]
    with pytest.raises(ValueError, match="strategy"):
        saver.prune(["INC-6"], strategy="burn")


PICKLE = b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."


@pytest.mark.parametrize(
    "poison",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"checkpoint": ', id="cut short"),
        pytest.param(PICKLE, id="a pickle"),
        pytest.param(b"[1,2,3]", id="JSON of another shape"),
        pytest.param(b'{"checkpoint":{},"metadata":{}}', id="fields missing"),
        pytest.param(
            b'{"checkpoint":{"v":4,"id":"x","ts":"t","channel_values":{},"channel_versions":{},'
            b'"versions_seen":{}},"metadata":{}}',
            id="another checkpoint's id",
        ),
    ],
)
def test_a_malformed_checkpoint_counts_as_lost(
    saver: RedisCheckpoints, client: redis.Redis, poison: bytes
) -> None:
    graph = parking_graph(saver)
    graph.invoke({}, on("INC-7"))
    for name in client.hkeys("wk:lab-test:ckpt:c:INC-7"):
        client.hset("wk:lab-test:ckpt:c:INC-7", name, poison)

    assert saver.get_tuple(on("INC-7")) is None
    assert list(saver.list(on("INC-7"))) == []
    assert graph.invoke({}, on("INC-7"))["tried"] == ["rung-0"]


def test_a_malformed_write_loses_the_thread_too(
    saver: RedisCheckpoints, client: redis.Redis
) -> None:
    parking_graph(saver).invoke({}, on("INC-8"))
    poison = b'{"task":"t","index":-3,"channel":"__interrupt__","path":"","value":7}'
    for key in client.keys("wk:lab-test:ckpt:w:INC-8:*"):
        client.hset(key, "t|-3", poison)

    assert saver.get_tuple(on("INC-8")) is None


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: "a"}, {"a": float("nan")}, {"a": object()}, b"x", {"a": {1, 2}}],
    ids=["tuple", "number as key", "nan", "object", "bytes", "set"],
)
def test_what_is_not_plain_json_is_refused_when_written(value: Any) -> None:
    with pytest.raises(Malformed):
        require_plain(value)
    with pytest.raises(Malformed):
        StrictJson().dumps_typed(value)


def test_only_json_is_ever_loaded() -> None:
    with pytest.raises(Malformed, match="pickle"):
        StrictJson().loads_typed(("pickle", PICKLE))


def test_an_unreachable_redis_says_so_in_one_sentence(tmp_path: Path) -> None:
    saver = RedisCheckpoints(f"unix://{tmp_path}/none", "lab-test")
    with pytest.raises(ClusterUnavailable, match="Check that Redis answers"):
        parking_graph(saver).invoke({}, on("INC-9"))


def test_clusters_do_not_see_each_other(redis_url: str, saver: RedisCheckpoints) -> None:
    parking_graph(saver).invoke({}, on("INC-1"))
    assert RedisCheckpoints(redis_url, "lab-other").get_tuple(on("INC-1")) is None


def test_one_step_costs_milliseconds_not_more(saver: RedisCheckpoints) -> None:
    """The budget is 1.5 ms a step in quiet; the bound here only catches a change of order."""
    graph: Any = StateGraph(State)
    names = [f"n{i}" for i in range(5)]
    for name in names:
        graph.add_node(name, lambda s: {"tried": [*s.get("tried", []), "x"]})
    for a, b in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(a, b)
    compiled = graph.compile(checkpointer=saver)
    spent = []
    for i in range(30):
        begun = time.perf_counter()
        compiled.invoke({}, on(f"T-{i}"), durability="sync")
        spent.append((time.perf_counter() - begun) / 5 * 1000)
    median = sorted(spent)[len(spent) // 2]
    print(f"{median:.2f} ms a step, p95 {sorted(spent)[-2]:.2f}")
    assert median < 15
