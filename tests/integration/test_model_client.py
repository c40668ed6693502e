"""The real client library against models of every character, on loopback: whatever one sends, the
crew gets one option of its closed set, in time, and the record says what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.core.crew_stage import DEAD, briefing, lost
from tests.integration.model_server import ModelServer, Reply, answer

from watchkeeper.adapters.model_langchain import LangChainModel, ModelSpec
from watchkeeper.core.action import kind_of
from watchkeeper.core.crew import CrewReply
from watchkeeper.core.model import ModelAsk, ModelCall, ModelFailed, Said
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.models.reasoner import ModelReasoner
from watchkeeper_agents.models.settings import Seat, UseOfModels

pytest.importorskip("langchain_openai")
KEY = "sk-loopback-0123456789abcdef"
ASK = ModelAsk(said=(Said(role="user", text="{}"),), answer={"type": "object"})


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    server = ModelServer(lambda _: answer())
    yield server
    server.close()


def client(server: ModelServer, **more: Any) -> LangChainModel:
    spec = ModelSpec(provider="openai", model="played", url=server.url, **more)
    return LangChainModel("small", spec, KEY, pause=lambda _s: None)


def asked(
    server: ModelServer, steps: int = 0, **more: Any
) -> tuple[CrewReply, tuple[ModelCall, ...]]:
    """One turn of the real crew on one lost node, with this model."""
    server.requests.clear()
    model = client(server, million_in=1.0, million_out=2.0, **more)
    seat = Seat(model="small", steps=steps, recoveries=True)
    use = UseOfModels(seats={"remediation": seat})
    crew = LangGraphCrew(reasoner=ModelReasoner(use, {"small": model}))
    reply = crew.ask(briefing(DEAD, lost("train-02")))
    return reply, reply.calls


def test_a_good_model_takes_the_step_and_the_record_has_the_call(server: ModelServer) -> None:
    server.character = lambda _: answer("step", 0.9)
    reply, (call,) = asked(server)
    (draft,) = reply.drafts
    assert kind_of(draft.action) == "node.restart"
    assert draft.chosen is not None
    assert (draft.chosen.model, draft.chosen.confidence) == ("small (openai played)", 0.9)
    assert draft.chosen.label == "ray"
    assert (call.ended, call.option, call.confidence) == ("answered", "step", 0.9)
    assert (call.tokens_in, call.tokens_out, call.cost) == (700, 60, 0.00082)
    assert len(call.asked) == len(call.answer_hash) == 64
    assert call.prompt.startswith("remediation@2 ")
    assert call.took_s > 0


def test_a_tool_is_called_answered_from_the_snapshot_and_counted(server: ModelServer) -> None:
    def calls_first(request: Any) -> Reply:
        if not request.told:
            wrong = ("what_if", {"option": "everything"})
            return Reply(calls=(("what_if", {"option": "step"}), wrong, ("shell", {"cmd": "ls"})))
        return answer()

    server.character = calls_first
    reply, calls = asked(server, steps=2)
    assert [c.ended for c in calls] == ["tools", "answered"]
    assert calls[0].tools == ("what_if", "what_if", "shell")
    told = [json.loads(t) for t in server.requests[-1].told]
    assert told[0]["kind"] == "node.restart"
    assert told[1] == {"error": "option is one of step"}
    assert told[2]["error"].startswith("there is no such tool; the tools are snapshot")
    assert len(reply.drafts) == 1


def test_a_model_that_only_calls_tools_is_cut_off_and_the_rules_go_on(server: ModelServer) -> None:
    server.character = lambda _: Reply(calls=(("snapshot", {}),))
    reply, calls = asked(server, steps=2)
    assert [c.ended for c in calls] == ["tools", "tools", "malformed"]
    assert "asked before" in server.requests[-1].told[-1]
    assert [kind_of(d.action) for d in reply.drafts] == ["node.restart"]
    assert server.requests[-1].tools == [], "the last call offers none"


LONG = "The cluster is a garden. " * 2000


@pytest.mark.parametrize(
    ("character", "ended", "more"),
    [
        pytest.param(Reply(text="Restart it, friend."), "malformed", {}, id="words"),
        pytest.param(Reply(text=LONG), "malformed", {}, id="rambling"),
        pytest.param(
            Reply(text=f"Sure: {answer().text}"), "malformed", {}, id="words around an answer"
        ),
        pytest.param(answer("drain_all"), "not open", {}, id="an option that is not open"),
        pytest.param(answer(nodes=["train-01"]), "malformed", {}, id="a smuggled field"),
        pytest.param(answer(confidence=7), "malformed", {}, id="a confidence of 7"),
        pytest.param(answer(option=["step"]), "malformed", {}, id="a list of options"),
        pytest.param(Reply(text="[" * 20_000), "malformed", {}, id="absurd nesting"),
        pytest.param(Reply(raw=b"<html>"), "garbled", {}, id="no JSON at all"),
        pytest.param(Reply(raw=b" " * 1_100_000), "too long", {}, id="a flood"),
        pytest.param(Reply(status=401), "refused", {}, id="HTTP 401"),
        pytest.param(Reply(status=500), "unreachable", {"retries": 0}, id="HTTP 500"),
        pytest.param(Reply(wait_s=5.0), "timeout", {"timeout_s": 0.2, "retries": 0}, id="silence"),
        pytest.param(
            Reply(text="x" * 50, drip_s=0.05),
            "timeout",
            {"timeout_s": 0.3, "retries": 0},
            id="a drip that never pauses for long",
        ),
    ],
)
def test_s22_whatever_else_it_sends_the_rules_go_on_and_the_record_says_why(
    server: ModelServer, character: Reply, ended: str, more: dict[str, Any]
) -> None:
    server.character = lambda _: character
    reply, (call,) = asked(server, **more)
    assert call.ended == ended
    assert [kind_of(d.action) for d in reply.drafts] == ["node.restart"]
    assert reply.drafts[0].chosen is None
    assert "The rules decide. small (openai played): " in " ".join(t.text for t in reply.thoughts)
    assert len(call.answer) <= 2000


def test_what_did_not_reach_the_server_is_tried_again_and_what_it_refused_is_not(
    server: ModelServer,
) -> None:
    server.requests.clear()
    server.character = lambda r: Reply(status=503) if r.number < 3 else answer()
    assert client(server, retries=2).call(ASK).tries == 3
    server.requests.clear()
    server.character = lambda _: Reply(status=400)
    with pytest.raises(ModelFailed, match="HTTP 400"):
        client(server, retries=2).call(ASK)
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_unreachable() -> None:
    spec = ModelSpec(provider="openai", model="m", url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(ModelFailed) as failed:
        LangChainModel("small", spec).call(ASK)
    assert failed.value.what == "unreachable"
    assert "127.0.0.1" not in str(failed.value)


def test_tokens_that_a_server_does_not_count_are_estimated_and_lies_are_not_believed(
    server: ModelServer,
) -> None:
    server.character = lambda _: Reply(text="x" * 400, usage=None)
    plain = client(server).call(ASK)
    assert (plain.counted, plain.tokens_out) == (False, 100)
    server.character = lambda _: Reply(
        text="x", usage={"prompt_tokens": -5, "completion_tokens": 3}
    )
    assert client(server).call(ASK).tokens_in >= 0


def test_what_a_model_said_until_its_limit_cut_it_off_is_paid_for(server: ModelServer) -> None:
    server.character = lambda _: Reply(text='{"option": "step", "wh', ended="length")
    reply, (call,) = asked(server)
    assert (call.ended, call.tokens_in, call.tokens_out) == ("malformed", 700, 60)
    assert call.cost > 0
    assert reply.drafts[0].chosen is None


def test_a_question_that_was_sent_and_not_answered_in_time_is_paid_for(server: ModelServer) -> None:
    server.character = lambda _: Reply(wait_s=5.0)
    _, (call,) = asked(server, timeout_s=0.2, retries=0)
    assert call.ended == "timeout"
    assert call.tokens_in > 500
    assert call.cost > 0


def test_the_key_goes_to_the_server_alone_and_never_into_the_record(server: ModelServer) -> None:
    said = {"option": "step", "confidence": 0.5, "why": f"the key is {KEY}"}
    server.character = lambda _: Reply(text=json.dumps(said | {"causes": [], "checks": []}))
    reply, (call,) = asked(server)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(server.requests[0].body)
    assert KEY not in repr(call)
    assert KEY not in repr(reply.thoughts)


@pytest.mark.parametrize("answers", ["tool", "text", "json_schema"])
def test_the_last_word_is_bound_the_way_the_server_knows(server: ModelServer, answers: str) -> None:
    whole = json.loads(answer().text)
    reply = Reply(calls=(("answer", whole),)) if answers == "tool" else answer()
    server.character = lambda _: reply
    crew_said, (call,) = asked(server, answer=answers)
    assert call.ended == "answered"
    assert len(crew_said.drafts) == 1
    body = server.requests[0].body
    if answers == "tool":
        assert server.requests[0].tools == ["answer"]
    if answers == "json_schema":
        options = body["response_format"]["json_schema"]["schema"]["properties"]["option"]["enum"]
        assert options == ["step", "wait", "ticket", "escalate"]
    if answers == "text":
        assert "JSON Schema" in body["messages"][0]["content"]
