"""Anthropic's real client library against a server of our own that speaks its messages API: good,
slow, wrong and hostile models; and any other provider is bounded in time too."""

from __future__ import annotations

import json
import threading
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

pytest.importorskip("langchain_anthropic")
KEY = "sk-ant-loopback-0123456789abcdef"
WHOLE = json.loads(answer("step", 0.9).text)
ASK = ModelAsk(said=(Said(role="user", text="{}"),), answer={"type": "object"})


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    server = ModelServer(lambda _: Reply(calls=(("answer", WHOLE),)))
    yield server
    server.close()


def asked(
    server: ModelServer, steps: int = 0, **more: Any
) -> tuple[CrewReply, tuple[ModelCall, ...]]:
    """One turn of the real crew on one lost node, with this model."""
    server.requests.clear()
    spec = ModelSpec(
        provider="anthropic", model="played", url=server.url.removesuffix("/v1"), million_in=3.0,
        million_out=15.0, **more,
    )  # fmt: skip
    model = LangChainModel("large", spec, KEY, pause=lambda _s: None)
    seat = Seat(model="large", steps=steps, recoveries=True)
    use = UseOfModels(seats={"remediation": seat})
    reply = LangGraphCrew(reasoner=ModelReasoner(use, {"large": model})).ask(
        briefing(DEAD, lost("train-02"))
    )
    return reply, reply.calls


def test_a_good_model_answers_by_the_one_tool_and_is_counted(server: ModelServer) -> None:
    server.character = lambda _: Reply(calls=(("answer", WHOLE),))
    reply, (call,) = asked(server)
    (draft,) = reply.drafts
    assert draft.chosen is not None
    assert (draft.chosen.model, draft.chosen.confidence) == ("large (anthropic played)", 0.9)
    assert (call.ended, call.tokens_in, call.tokens_out) == ("answered", 700, 60)
    assert call.cost == round((700 * 3 + 60 * 15) / 1e6, 6)
    (request,) = server.requests
    assert request.tools == ["answer"]
    assert request.body["max_tokens"] == 512
    assert "You advise on one incident" in str(request.body["system"])


def test_it_reads_with_a_tool_and_then_answers(server: ModelServer) -> None:
    server.character = lambda r: (
        Reply(calls=(("snapshot", {}),)) if r.number == 1 else Reply(calls=(("answer", WHOLE),))
    )
    _, calls = asked(server, steps=1)
    assert [c.ended for c in calls] == ["tools", "answered"]
    assert '"pool_nodes":2' in server.requests[1].told[0]


@pytest.mark.parametrize(
    ("character", "ended", "more"),
    [
        pytest.param(Reply(text="Drain everything."), "malformed", {}, id="words"),
        pytest.param(
            Reply(calls=(("answer", WHOLE | {"option": "drain_all"}),)), "not open", {},
            id="an option that is not open",
        ),
        pytest.param(
            Reply(calls=(("answer", WHOLE | {"nodes": ["*"]}),)), "malformed", {},
            id="a smuggled field",
        ),
        pytest.param(Reply(calls=(("shell", {"x": "rm"}),)), "malformed", {}, id="a tool of none"),
        pytest.param(Reply(raw=b"<html>"), "garbled", {}, id="no JSON at all"),
        pytest.param(Reply(raw=b" " * 1_100_000), "too long", {}, id="a flood"),
        pytest.param(Reply(status=401), "refused", {}, id="HTTP 401"),
        pytest.param(Reply(status=529), "unreachable", {"retries": 0}, id="overloaded"),
        pytest.param(Reply(wait_s=5.0), "timeout", {"timeout_s": 0.2, "retries": 0}, id="silence"),
        pytest.param(
            Reply(text="x" * 50, drip_s=0.05), "timeout", {"timeout_s": 0.3, "retries": 0},
            id="a drip that never pauses for long",
        ),
    ],
)  # fmt: skip
def test_s22_whatever_else_it_sends_the_rules_go_on_and_the_record_says_why(
    server: ModelServer, character: Reply, ended: str, more: dict[str, Any]
) -> None:
    server.character = lambda _: character
    reply, (call,) = asked(server, **more)
    assert call.ended == ended, call.why
    assert [kind_of(d.action) for d in reply.drafts] == ["node.restart"]
    assert reply.drafts[0].chosen is None


def test_the_key_goes_to_the_server_alone_and_never_into_the_record(server: ModelServer) -> None:
    said = WHOLE | {"why": f"the key is {KEY}"}
    server.character = lambda _: Reply(calls=(("answer", said),))
    reply, (call,) = asked(server)
    sent = {name.lower(): value for name, value in server.requests[0].headers.items()}
    assert KEY in (sent.get("x-api-key", ""), sent.get("authorization", "").removeprefix("Bearer "))
    assert KEY not in json.dumps(server.requests[0].body)
    assert KEY not in repr(call)
    assert KEY not in repr(reply)


class Endless:
    """A chat model of some provider that never answers."""

    def __init__(self, over: threading.Event) -> None:
        self.over = over
        self.told: dict[str, Any] = {}

    def bind(self, **words: Any) -> Endless:
        self.told = words
        return self

    def bind_tools(self, *_: Any, **words: Any) -> Endless:
        return self.bind(**words)

    def invoke(self, _: object) -> None:
        self.over.wait(30.0)


def test_a_provider_that_cannot_be_bounded_on_the_wire_is_not_waited_for() -> None:
    over = threading.Event()
    spec = ModelSpec(provider="ollama", model="m", timeout_s=0.1, retries=0)
    endless = Endless(over)
    model = LangChainModel("other", spec, make=lambda _s, _k: endless)
    with pytest.raises(ModelFailed) as failed:
        model.call(ASK)
    assert failed.value.what == "timeout"
    assert endless.told["options"] == {"num_predict": 512, "temperature": 0.0}
    over.set()
