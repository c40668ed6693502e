"""Pages that look: the fleet by domain, one GPU, forecasts, policy, agents, the chat, the chain."""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec
import pytest
from starlette.testclient import TestClient
from tests.core.console_stage import FORM, Read, Stage, csrf, stage

from watchkeeper.console.linked import linked
from watchkeeper.console.plots import in_words, spark
from watchkeeper.core.cells import FleetCells, FleetLayout, Trace
from watchkeeper.core.cluster import Reserved
from watchkeeper.core.desk import LimitView, Person
from watchkeeper.core.roles import Role
from watchkeeper.core.serving import ServePlan
from watchkeeper.core.views import FanView, Foreseen

MOST_BYTES = 80_000


@pytest.fixture
def world() -> Stage:
    return stage()


@pytest.fixture(scope="module")
def still() -> TestClient:
    """Signed in to a world that nobody changes."""
    return stage().signed_in()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/fleet?shade=temperature&by=nvlink", "95 °C"),
        ("/fleet?by=rack&block=r1", "train-02"),
        ("/nodes/train-02", "Busy, last hour"),
        ("/nodes/train-02/gpus/3", "Uncorrected errors"),
        ("/forecast", "Held to what came"),
        ("/policy", "Exceptions, and what else ends"),
        ("/agents", "Brier score"),
        ("/journal/verify", "The journal holds"),
        ("/chat", "What happened last night?"),
        ("/chat?find=XID", "GPU 3"),
        ("/more", "Every event"),
    ],
)
def test_a_page_that_looks_says_its_facts_within_its_weight(
    still: TestClient, path: str, says: str
) -> None:
    answer = still.get(path)
    assert answer.status_code == 200
    assert says in answer.text
    assert len(answer.content) < MOST_BYTES


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nodes/nobody", 404),
        ("/nodes/train-02/gpus/9", 404),
        ("/nodes/train-02/gpus/x", 400),
        ("/fleet?by=colour", 400),
        ("/chat/1", 404),
        ("/chat/-4", 404),
        ("/api/v1/nodes/nobody/trace", 404),
        ("/api/v1/fleet/cells?shade=mood", 400),
    ],
)
def test_what_is_not_there_is_said(still: TestClient, path: str, code: int) -> None:
    assert still.get(path).status_code == code


def test_a_block_shows_its_own_nodes_and_the_way_back(world: Stage) -> None:
    page = world.signed_in().get("/fleet?by=rack&block=r2&shade=power").text
    assert "train-03" in page
    assert 'href="/nodes/train-01"' not in page
    assert '<a href="/fleet?by=rack&amp;shade=power">Fleet</a>' in page


def test_the_map_reads_a_layout_and_one_character_for_each_gpu(world: Stage) -> None:
    client = world.signed_in()
    layout = msgspec.json.decode(client.get("/api/v1/fleet/layout").content, type=FleetLayout)
    answer = client.get("/api/v1/fleet/cells?shade=utilization")
    cells = msgspec.json.decode(answer.content, type=FleetCells)
    assert cells.key == layout.key
    assert len(cells.g) == sum(sum(b.g) for b in layout.blocks) == 32
    trace = msgspec.json.decode(client.get("/api/v1/nodes/train-02/trace").content, type=Trace)
    assert len(trace.utilization[0]) == len(trace.ago_s)


def test_a_question_gets_an_answer_under_its_own_address_with_links_to_evidence(
    world: Stage,
) -> None:
    client = world.signed_in()
    data = {"csrf": csrf(client), "question": "Why train-02?", "from": "chat"}
    answer = client.post("/ask", data=data, headers=FORM)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/chat/")
    page = client.get(answer.headers["location"]).text
    assert "Answered by rules, no model." in page
    targets = {v for _, name, v in Read.of(page).attributes if name == "href"}
    assert "/nodes/train-02" in targets
    assert any(t.startswith("/journal?before=") for t in targets)
    assert "Why train-02?" in client.get("/chat").text
    assert "Why train-02?" in client.get("/chat?find=why").text


@pytest.mark.parametrize(
    "question", ["approve P-7", "please stop the watch", "restart train-02 now", "allow everything"]
)
def test_the_chat_grants_nothing(world: Stage, question: str) -> None:
    client = world.signed_in()
    before = world.desk.asks()
    client.post("/ask", data={"csrf": csrf(client), "question": question}, headers=FORM)
    assert world.desk.asks() == before
    assert world.desk.effects == []
    assert not world.desk.board().orders.stopped
    assert re.search("grants nothing|nothing was done|Nothing was asked", client.get("/chat").text)


def test_only_what_the_record_knows_becomes_a_link(world: Stage) -> None:
    board = world.desk.board()
    assert str(linked("policies/day.yaml:41", board)).count('"/policy#w-policies-day-yaml-41"') == 1
    assert 'id="w-policies-day-yaml-41"' in world.signed_in().get("/policy").text
    assert 'href="/policy#h"' in str(linked("H-1: rack r4 is left alone.", board))
    text = "train-02 and evil-01, INC-2, P-7, //evil.example, javascript:alert(1) <a href=x> line 4"
    drawn = str(linked(text, board))
    targets = {v for _, name, v in Read.of(drawn).attributes if name == "href"}
    assert targets == {"/nodes/train-02", "/i/INC-2", "/a/P-7", "/journal?before=5#j4"}
    assert "&lt;a href=x&gt;" in drawn


def test_what_was_not_read_is_not_drawn() -> None:
    assert spark([None, None, 4.0], [30.0, 20.0, 10.0], 100) == ""
    gap = spark([1.0, 2.0, None, 3.0, 4.0], [50.0, 40.0, 30.0, 20.0, 10.0], 100)
    assert gap.count("<path") == 2, "two stretches, and no line over the gap"
    assert in_words([None], "W", "Power") == "Power: nothing was read"


def test_who_only_reads_is_shown_no_button_that_would_be_refused(world: Stage) -> None:
    world.desk.people_are(Person(name="ann", groups=("readers",), roles=(Role.VIEWER,)))
    world.desk.halt()
    client = world.signed_in()
    for path in ("/", "/a/P-7", "/a/P-7/change"):
        page = client.get(path).text
        assert 'value="approve"' not in page, path
        assert "Check against policy" not in page, path
        assert ">Resume</button>" not in page, path
        assert ">Stop</button>" in page, "anybody may stop"
    assert "Approvers of oncall answer this" in client.get("/a/P-7").text
    dial = Read.of(client.get("/").text).attributes
    assert [a for a in dial if a[1] == "disabled"] == [("input", "disabled", "")], "up is shut"


def test_nodes_that_are_kept_are_on_the_fleet_page(world: Stage) -> None:
    now = world.clock.now()
    kept = Reserved("R3", "train", 2, now, now + timedelta(hours=4), "research")
    assert "Kept</h2>" not in world.signed_in().get("/fleet").text
    world.desk.change(reserved=(kept,))
    page = world.signed_in().get("/fleet").text
    assert "2 nodes of train" in page
    assert "For research" in page


def test_what_waits_while_it_is_halted_is_the_resume(world: Stage) -> None:
    world.desk.halt("Half of the nodes fell silent (S9).")
    for ask in world.desk.asks():
        world.desk.expire(ask.id)
    page = world.signed_in().get("/").text
    assert "The resume waits for you." in page
    assert "Nothing waits for you" not in page
    assert ".." not in Read.of(page).text


def test_the_bar_of_a_bound_shows_what_is_left_as_its_words_do(world: Stage) -> None:
    bound = LimitView(
        id="few", text="few: nodes out", used=1.0, limit=6.0, where="policies/l.yaml:8"
    )
    world.desk.change(limits=(bound,))
    page = world.signed_in().get("/policy").text
    assert "5 left of 6" in page
    assert 'max="6.0" value="5.0"' in page
    assert "<code>few</code>" not in page, "its words begin with it already"


def test_a_forecast_of_which_nothing_has_come_is_held_to_nothing(
    world: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    unread = Foreseen(world.clock.now(), 1.0, 2.0, 3.0, None)
    fan = FanView("train", 3600.0, (unread, unread))
    monkeypatch.setattr(world.desk, "fans", lambda: (fan,))
    page = world.signed_in().get("/forecast").text
    assert "Nothing to hold it to yet." in page
    assert "lay inside" not in page


def test_model_servers_are_shown_with_their_plan_and_the_unknown_as_unknown(
    world: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = world.clock.now()
    known = ServePlan(
        name="chat/Model", pool="train", at=at, now=2, gpus=4.0, rate=6.25, carries=4.0, replicas=3,
        goal="0.5 s at 95 % (a.yaml:4)", why="3 replicas are wanted, <b>2</b> are there.",
    )  # fmt: skip
    unknown = ServePlan(name="chat/New", pool="", at=at, now=0, gpus=1.0, why="Not measured yet.")
    board = msgspec.structs.replace(world.desk.board(), serving=(known, unknown))
    monkeypatch.setattr(world.desk, "board", lambda: board)
    fan = FanView("serve:chat/Model", 3600.0, (Foreseen(at, 5.0, 6.0, 7.0, 6.5),) * 2)
    monkeypatch.setattr(world.desk, "fans", lambda: (fan,))
    page = world.signed_in().get("/forecast").text
    assert "chat/Model" in page
    assert "6.25" in page
    assert "goal 0.5 s at 95 % (a.yaml:4)" in page
    assert "<b>2</b> are there" not in page, "words of the cluster are text"
    assert page.count('<td class="n">unknown</td>') == 3
    assert "Requests a second. Band: 10 to 90 %" in page
    assert "<b>2 of 2</b> lay inside" in page
    assert len(page) < MOST_BYTES
