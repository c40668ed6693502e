"""The MCP server through the SDK's own client, over a whole watch in memory: what it reads is tame,
what it suggests waits for a person, and nothing else is there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.stories.world import ALICE, Story

from watchkeeper import __version__
from watchkeeper.app.door_calls import calls
from watchkeeper.core.errors import Refused
from watchkeeper.core.verdict import Answer

pytest.importorskip("mcp")
OPEN = """apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: open, owner: nobody}
people: {oncall: [primary, secondary]}
rules:
  - {id: anything, effect: allow, actions: ["*"]}
  - {id: no-replace, effect: deny, actions: [node.replace], reason: not here}
"""


class Idle:
    """The crew's place, empty."""

    def ask(self, briefing: Any) -> Any:
        from watchkeeper.core.crew import CrewReply

        return CrewReply()


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    story = Story(tmp_path, policies={"policies/open.yaml": OPEN}, crew=Idle)
    story.turns(2)
    yield story
    story.journal.close()


def door(story: Story) -> Callable[..., Any]:
    """As `app.door.ask` answers, without a socket: plain values. A turn is held when one is due."""
    table = calls(story.desk, lambda: None, None, story.record, "http://127.0.0.1:8080")

    def ask(call: str, **args: Any) -> Any:
        if call != "suggest":
            return msgspec.to_builtins(table[call](**args))
        return _while_turning(story, lambda: table[call](**args))

    return ask


def _while_turning(story: Story, work: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as err:  # handed to the caller's thread
            found.append(err)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        if story.watch.wishes:
            story.turns(1)
        thread.join(0.005)
    if isinstance(found[0], Exception):
        raise found[0]
    return msgspec.to_builtins(found[0])


def use(story: Story, *wanted: tuple[str, dict[str, Any]]) -> list[Any]:
    """What the SDK's client gets for these calls of tools."""
    import anyio
    from mcp import Client

    from watchkeeper.app.mcp_server import server

    async def session() -> list[Any]:
        async with Client(server(door(story), "helper")) as client:
            told = []
            for name, args in wanted:
                answer = await client.call_tool(name, args)
                told.append(json.loads(answer.content[0].text))
            return told

    return anyio.run(session)


def life(story: Story, node: str) -> str:
    return story.cluster.nodes[node].incarnation


def test_the_tools_say_what_they_are_and_only_one_does_more_than_read(story: Story) -> None:
    import anyio
    from mcp import Client

    from watchkeeper.app.mcp_server import server

    assert server(door(story), "helper").version == __version__

    async def tools() -> list[Any]:
        async with Client(server(door(story), "helper")) as client:
            return (await client.list_tools()).tools

    found = anyio.run(tools)
    assert {t.name for t in found} == {
        "status", "incidents", "explain", "questions", "log", "forecast", "runbook", "propose",
    }  # fmt: skip
    assert [t.name for t in found if not t.annotations.read_only_hint] == ["propose"]
    assert all(len(t.description) > 30 for t in found)


def test_s15_what_an_assistant_suggests_is_pending_whatever_policy_allows(story: Story) -> None:
    action = {"kind": "node.cordon", "node": "train-02", "incarnation": life(story, "train-02")}
    (told,) = use(story, ("propose", {"action": action, "reason": "it looks odd"}))
    assert told["status"] == "pending"
    assert told["approval_url"] == f"http://127.0.0.1:8080/a/{told['proposal']}"
    story.turns(5)
    assert story.done() == []
    (ask,) = story.desk.asks()
    assert ask.shown.proposal.by == "agent:mcp/helper"
    assert "An assistant (helper) suggests it, saying: it looks odd" in ask.why_now
    story.answer(Answer.APPROVE, ALICE)
    story.until(lambda: story.done() == ["node.cordon"])


def test_what_policy_denies_is_denied_and_nothing_waits(story: Story) -> None:
    action = {"kind": "node.replace", "node": "train-02", "incarnation": life(story, "train-02")}
    (told,) = use(story, ("propose", {"action": action, "reason": "x"}))
    assert told.get("status") == "denied" or "says" in told
    assert story.desk.asks() == ()


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ({"kind": "node.drain", "node": "*", "incarnation": "x"}, "one explicit name"),
        ({"kind": "shell", "cmd": "reboot"}, "not an action"),
        ({"kind": "node.cordon", "node": "train-02"}, "missing required field"),
        ({"kind": "notify.page", "subject": "x", "title": "x"}, "cannot be suggested"),
    ],
)
def test_s1_what_is_no_action_on_explicit_targets_is_refused_in_words(
    story: Story, action: dict[str, Any], says: str
) -> None:
    (told,) = use(story, ("propose", {"action": action, "reason": "x"}))
    assert says in told["says"]


def test_the_same_suggestion_is_not_asked_twice_and_an_unknown_incident_is_none(
    story: Story,
) -> None:
    action = {"kind": "node.cordon", "node": "train-02", "incarnation": life(story, "train-02")}
    wish = {"action": action, "reason": "x"}
    first, again, other = use(
        story, ("propose", wish), ("propose", wish), ("propose", wish | {"incident": "INC-99"})
    )
    assert first["status"] == "pending"
    assert "waits for an answer already" in again["says"]
    assert "There is no incident INC-99" in other["says"]


def test_reads_are_tame_and_hold_nothing_that_answers_a_question(story: Story) -> None:
    story.cluster.run("evil\x1b[2J\u202e", ("train-01",))
    story.cluster.lose("train-02")
    story.turns(3)
    action = {"kind": "node.cordon", "node": "train-03", "incarnation": life(story, "train-03")}
    _, status, incidents, questions, log, page = use(
        story,
        ("propose", {"action": action, "reason": "x"}),
        ("status", {}),
        ("incidents", {"limit": 5}),
        ("questions", {}),
        ("log", {"limit": 5}),
        ("runbook", {"fault": "gpu_off_bus"}),
    )
    whole = json.dumps([status, incidents, questions, log])
    assert "\\u001b" not in whole
    assert "\\u202e" not in whole
    assert "nonce" not in json.dumps(questions)
    assert "digest" not in json.dumps(questions)
    assert incidents[0]["fault"] == "node_lost"
    assert [n["name"] for n in status["sick_nodes"]] == ["train-02"]
    assert page["page"] == "docs/runbooks/gpu-off-bus.md"
    assert len(log) <= 5


def test_suggestions_of_an_hour_are_bounded(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchkeeper.control.suggesting.MOST_AN_HOUR", 1)
    ask = door(story)
    first = {"kind": "node.cordon", "node": "train-02", "incarnation": life(story, "train-02")}
    second = {"kind": "node.cordon", "node": "train-03", "incarnation": life(story, "train-03")}
    ask("suggest", action=first, assistant="helper")
    with pytest.raises(Refused, match="within the hour"):
        ask("suggest", action=second, assistant="helper")
