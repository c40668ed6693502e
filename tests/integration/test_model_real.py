"""Opt-in: the whole way with a small real model behind an OpenAI-compatible server, such as
llama.cpp with a 98 MB SmolLM2. It shows plumbing and guard, never judgement: a foolish model does
no harm.

WATCHKEEPER_REAL_MODEL names the server, such as http://127.0.0.1:8000/v1; `start` types what
docs/model.md says, in a folder of its own, and uses that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contracts.docs_commands import SMALL_MODEL
from tests.core.crew_stage import DEAD, briefing, lost

from watchkeeper.adapters.model_langchain import LangChainModel, ModelSpec
from watchkeeper.core.action import kind_of
from watchkeeper_agents.crew import LangGraphCrew
from watchkeeper_agents.models.reasoner import ModelReasoner
from watchkeeper_agents.models.settings import Seat, UseOfModels

URL = os.environ.get("WATCHKEEPER_REAL_MODEL", "")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The server that is named, or one that is started by the commands of the page."""
    if URL != "start":
        yield URL
        return
    (tmp_path / "tests").symlink_to(Path(__file__).parents[1])
    *prepare, serve = SMALL_MODEL
    for command in prepare:
        subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    server = subprocess.Popen(serve.split(), cwd=tmp_path)
    try:
        _answers("http://127.0.0.1:8000/v1/models")
        yield "http://127.0.0.1:8000/v1"
    finally:
        server.terminate()
        server.wait(10)
        shutil.rmtree(tmp_path / "model-server")


def _answers(url: str) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError("the small model's server did not come up")


@pytest.mark.skipif(not URL, reason="WATCHKEEPER_REAL_MODEL names no server")
@pytest.mark.timeout(1500)
def test_s22_a_foolish_real_model_chooses_among_what_is_open_and_nothing_else_happens(
    url: str,
) -> None:
    spec = ModelSpec(
        provider="openai", model="any", url=url, timeout_s=900.0, retries=0, answer="json_object"
    )
    seat = Seat(model="real", most_tokens=200, recoveries=True)
    use = UseOfModels(seats={"remediation": seat})
    reasoner = ModelReasoner(use, {"real": LangChainModel("real", spec)})
    reply = LangGraphCrew(reasoner=reasoner).ask(briefing(DEAD, lost("train-02")))
    (call,) = reply.calls
    print(
        f"real model: {call.ended} {call.option!r}, confidence {call.confidence}, "
        f"{call.tokens_in} tokens in, {call.tokens_out} out, {call.took_s:.1f} s: {call.answer}"
        f" {call.why}"
    )
    assert call.ended in ("answered", "malformed", "not open")
    assert call.tokens_in > 0
    assert {kind_of(d.action) for d in reply.drafts} <= {"node.restart", "ticket.open"}
