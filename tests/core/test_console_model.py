"""What a model said is on the page of the question, last and as advice; how far each is believed is
on the page of agents."""

from __future__ import annotations

import msgspec
import pytest
from tests.core.console_stage import Read, Stage, stage

from watchkeeper.control.explain import told_event
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.model import Chosen
from watchkeeper.core.proposal import Predicted
from watchkeeper.core.word import plain

replace = msgspec.structs.replace

ORDERED = Chosen(
    model="small", prompt="planner@1", confidence=0.6, label="ray", agent="planner",
    why="It brings 8 GPUs back <script>alert(1)</script>\u202e",
)  # fmt: skip
CHOSEN = Chosen(
    model="large", prompt="scheduler@2", confidence=0.8, label="kernel",
    why="Stopping it costs 1.5 GPU-hours, waiting costs 12.", ordered=ORDERED,
)  # fmt: skip
SEEN = Predicted(holds=True, after_s=30.0, gangs_stopped=1, gpus_out=8.0, nodes_out=1)


@pytest.fixture
def world() -> Stage:
    made = stage()
    ask = made.desk.ask("P-7")
    assert ask is not None
    proposal = replace(ask.shown.proposal, chosen=CHOSEN, predicted=SEEN)
    made.desk._asks["P-7"] = replace(ask, shown=replace(ask.shown, proposal=proposal))
    return made


def test_the_trade_off_in_words_stands_last_on_the_question_as_advice(world: Stage) -> None:
    html = world.signed_in().get("/a/P-7").text
    page = Read.of(html).text
    assert "A model's advice" in page
    assert "Stopping it costs 1.5 GPU-hours , waiting costs 12." in page
    assert "large chose this step among those that were open, confidence 0.80 , told" in page
    assert "small let this step go first" in page
    assert page.index("If you approve") < page.index("A model's advice")
    assert page.index("The rule") < page.index("A model's advice")
    assert "<script>alert" not in html
    assert "\u202e" not in html


def test_explain_tells_the_advice_and_what_was_foreseen(world: Stage) -> None:
    ask = world.desk.ask("P-7")
    assert ask is not None
    made = ask.shown.proposal
    event = Event(
        seq=1, at=made.at, policy_at=made.at, steady=1.0, kind=Kind.PROPOSED, subject=("P-7",),
        data={"proposal": plain(made)}, prev="0" * 64,
    )  # fmt: skip
    told = told_event(event)
    assert "Rehearsed in the twin: done after about 30 s, 1 gang stopped" in told
    assert "large chose it, confidence 0.80, on kernel evidence at least, as advice" in told
    assert "small let it go first, confidence 0.60" in told
    assert "\u202e" not in told


def test_who_decides_on_each_class_and_why_is_on_the_page_with_plots(world: Stage) -> None:
    html = world.signed_in().get("/agents").text
    page = Read.of(html).text
    assert "How far its models are believed" in page
    assert "its last 3 words on this class were sure and wrong" in page
    assert "Taken back on: node.drain said with 0.93, 15 min ago" in page
    assert "Speaks for trust-remediation-on-node-lost.yaml" in page
    assert "node.restart: said 0.72: 75% of 4 came true; said 0.95: 100% of 18 came true" in html
