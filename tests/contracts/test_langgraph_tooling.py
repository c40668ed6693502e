"""The graphs open with LangGraph's own tooling: what langgraph.json names is there, gives its
schemas, runs over a simulated briefing, and is drawn in the docs as it is."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from watchkeeper_agents.studio import example_input

ROOT = Path(__file__).parents[2]
GRAPHS: dict[str, str] = json.loads((ROOT / "langgraph.json").read_text())["graphs"]


def opened(name: str) -> Any:
    """As the tooling opens it: file, colon, factory."""
    file, _, factory = GRAPHS[name].partition(":")
    spec = importlib.util.spec_from_file_location(f"opened_{name}", ROOT / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, factory)()


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_each_graph_gives_the_schemas_that_the_tooling_asks_for(name: str) -> None:
    graph = opened(name)
    for schema in (graph.get_input_jsonschema(), graph.get_output_jsonschema()):
        assert schema["type"] == "object"
        assert schema["properties"]
    assert graph.get_context_jsonschema() is None, "it brings its own context"


def test_a_turn_can_be_played_and_every_step_of_it_is_plain_json() -> None:
    seen = opened("turn").invoke({})
    seen = json.loads(json.dumps(seen))  # raises for what the tooling could not show
    assert [d["action"]["kind"] for d in seen["reply"]["drafts"]] == ["job.requeue", "node.restart"]


def test_a_thread_parks_where_it_asks() -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    graph = opened("thread")
    graph.checkpointer = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}
    graph.invoke(example_input(), config)
    assert graph.get_state(config).next == ("ask",)


def drawn(text: str) -> set[str]:
    return {
        f"{a}>{b}" for a, b in re.findall(r"^\s*(\w+) (?:-->|-\.->) (\w+);$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_the_docs_draw_each_graph_as_it_is(name: str) -> None:
    page = (ROOT / "docs" / "model.md").read_text()
    blocks = [
        drawn(b) for b in re.findall(r"^```mermaid\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ]
    assert drawn(opened(name).get_graph().draw_mermaid()) in blocks
