"""The report's page and files: read by who is signed in, judged through a form, text stays text."""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec
import pytest
from starlette.testclient import TestClient
from tests.browser import morning_report
from tests.core.console_stage import HOST, Read, Stage, csrf, stage

from watchkeeper.core.word import digest

ATTACK = (
    "<script>alert(1)</script> \x1b[31m\u202e{{7*7}} [x](javascript:alert(1)) \"onload='x' & more"
)
PATHS = (
    "/report",
    "/report.md",
    "/api/v1/report",
    "/i/INC-1/postmortem.md",
    "/i/INC-1/postmortem.html",
    "/api/v1/incidents/INC-1/postmortem",
)


@pytest.fixture(scope="module")
def built() -> Stage:
    """One console for all: to build one takes half a second."""
    return stage()


@pytest.fixture
def world(built: Stage) -> Stage:
    built.desk.judgements.clear()
    built.desk.put_report(None)
    return built


def form_of(client: TestClient, world: Stage, key: str = "did:INC-1") -> dict[str, str]:
    """What the page would send for this item."""
    page = client.get("/report").text
    found = re.search(
        rf'name="item" value="{key}"><input type="hidden" name="digest" value="(\w+)"'
        r'><input type="hidden" name="since" value="([^"]+)"'
        r'><input type="hidden" name="until" value="([^"]+)"',
        page,
    )
    assert found is not None
    return {
        "csrf": csrf(client),
        "item": key,
        "digest": found[1],
        "since": found[2],
        "until": found[3],
        "asked": "",
        "said": "useful",
    }


@pytest.mark.parametrize("path", PATHS)
def test_a_stranger_reads_nothing_and_a_person_reads_all(world: Stage, path: str) -> None:
    assert world.stranger().get(path).status_code == 401
    answer = world.signed_in("eve").get(path)
    assert answer.status_code == 200
    assert "train" in answer.text


def test_the_page_tells_every_part_in_its_order(world: Stage) -> None:
    text = Read.of(world.signed_in().get("/report").text).text
    parts = [
        "2 incidents: 1 resolved, 1 open.",
        "Waits for you",
        "What it did",
        "What it did not do, and why",
        "And 2 more",
        "What it saw",
        "Budgets used",
        "Exceptions, and what else ends",
        "Ends soon,",
        "How its forecasts held",
        "What it is unsure of",
        "Nothing that it tells.",
        "Simulated data: lab",
        "Times in this report are Europe/Berlin.",
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_an_item_is_judged_without_a_script_and_says_so(world: Stage) -> None:
    client = world.signed_in()
    answer = client.post("/report/judge", data=form_of(client, world))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/report#i-")
    (judgement,) = world.desk.judgements
    assert (judgement.key, judgement.useful, judgement.person) == ("did:INC-1", True, "ann")


def test_what_was_said_of_an_item_stands_beside_it(world: Stage) -> None:
    now = world.clock.now()
    world.desk.put_report(morning_report.report(now - timedelta(hours=13), now))
    client = world.signed_in()
    client.post("/report/judge", data=form_of(client, world) | {"said": "wrong"})
    page = client.get("/report").text
    assert page.count("Saved as an eval case.") == 1
    assert page.count('aria-pressed="true"') == 1
    assert "Saved as an eval case." not in world.signed_in("bob").get("/report").text


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"csrf": "wrong"}, 403),
        ({"digest": "0" * 64}, 409),
        ({"item": "did:INC-9"}, 409),
        ({"said": "perhaps"}, 400),
        ({"since": "yesterday"}, 400),
        ({"until": "2026-11-20T06:00"}, 400),
    ],
    ids=["no token", "another item", "no such item", "no such word", "no time", "no zone"],
)
def test_a_form_that_is_not_the_pages_own_keeps_nothing(
    world: Stage, change: dict[str, str], code: int
) -> None:
    client = world.signed_in()
    answer = client.post("/report/judge", data=form_of(client, world) | change)
    assert answer.status_code == code
    assert world.desk.judgements == []


def test_another_site_cannot_judge(world: Stage) -> None:
    client = world.signed_in()
    form = form_of(client, world)
    headers = {"origin": "https://evil.example", "host": HOST}
    assert client.post("/report/judge", data=form, headers=headers).status_code == 403
    assert world.desk.judgements == []


@pytest.mark.parametrize("since", ["soon", "99999d", "2026-99-99", "'; drop", "9" * 60])
def test_a_span_that_is_none_is_told_with_an_example(world: Stage, since: str) -> None:
    answer = world.signed_in().get("/report", params={"since": since})
    assert answer.status_code == 400


def test_the_postmortem_is_a_file_and_an_unknown_incident_is_not_there(world: Stage) -> None:
    client = world.signed_in()
    answer = client.get("/i/INC-1/postmortem.html")
    assert answer.headers["content-disposition"] == ('attachment; filename="postmortem-INC-1.html"')
    assert "<script" not in answer.text
    assert client.get("/i/INC-99/postmortem.md").status_code == 404


def test_hostile_text_is_text_in_every_form(world: Stage) -> None:
    now = world.clock.now()
    told = morning_report.report(now - timedelta(hours=13), now)
    first = told.sections[0]
    item = msgspec.structs.replace(first.items[0], text=ATTACK, more=ATTACK, where=ATTACK)
    marks = (msgspec.structs.replace(told.marks[0], label=ATTACK),)
    world.desk.put_report(
        msgspec.structs.replace(
            told,
            sections=(msgspec.structs.replace(first, items=(item,)), *told.sections[1:]),
            marks=marks,
            cluster=ATTACK,
        )
    )
    client = world.signed_in()
    page, markdown = client.get("/report").text, client.get("/report.md").text
    for text in (page, markdown):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "49" not in re.sub(r"[0-9a-f]{12,}", "", text).replace("1.49", "")
    assert "alert(1)" in Read.of(page).text
    assert Read.of(page).tags.count("script") == 1, "our own"
    assert not [a for _, a, _ in Read.of(page).attributes if a.startswith("on")]
    outside_code = re.sub(r"`[^`\n]*`", "", markdown)
    assert "<script>" not in outside_code
    assert "](javascript" not in outside_code.replace("\\](javascript", "")


def test_the_digest_on_the_page_is_of_the_item_as_shown(world: Stage) -> None:
    now = world.clock.now()
    told = morning_report.report(now - timedelta(hours=13), now)
    item = told.item("did:INC-1")
    assert item is not None
    assert f'name="digest" value="{digest(item)}"' in world.signed_in().get("/report").text
