"""The page that tries a change of the orders: for policy-authors, and nothing is taken up."""

from __future__ import annotations

import pytest
from tests.core.console_stage import Read, Stage, csrf, stage

from watchkeeper.core.desk import Person

PAT = Person(name="pat", groups=("oncall",), roles=("viewer", "policy-author"))
OPAL = Person(name="opal", groups=("oncall",), roles=("viewer", "operator", "approver"))


@pytest.fixture
def world() -> Stage:
    world = stage()
    world.desk.people_are(PAT, OPAL)
    return world


def test_an_author_begins_from_a_file_as_it_is_in_force(world: Stage) -> None:
    page = world.signed_in("pat").get("/policy/try?file=policies/freeze.yaml")
    assert page.status_code == 200
    assert (
        "metadata: {name: freeze}\nrules:\n  - id: year-end-freeze\n    effect: deny" in page.text
    )
    assert "Nothing is taken up." in Read.of(page.text).text


def test_what_was_typed_comes_back_with_what_check_tests_and_replay_say(world: Stage) -> None:
    pat = world.signed_in("pat")
    before = world.desk.events()
    text = "rules:\r\n  - {id: quiet, effect: deny, actions: [node.drain]}"
    answer = pat.post("/policy/try", data={"csrf": csrf(pat), "file": "q.yaml", "text": text})
    said = Read.of(answer.text).text
    for part in (
        "Sound, and it allows less",
        "14 of 14",
        "208 of 212",
        "event 1204, P-31, node.drain: allow -> deny",
        "Sound: 5 rules, 2 windows.",
        "{id: quiet, effect: deny, actions: [node.drain]}",
    ):
        assert part in said, part
    assert world.desk.events() == before


def test_a_file_that_does_not_load_says_where(world: Stage) -> None:
    pat = world.signed_in("pat")
    form = {"csrf": csrf(pat), "file": "q.yaml", "text": "<script>alert(1)</script>"}
    answer = pat.post("/policy/try", data=form)
    assert "It does not load" in answer.text
    assert "q.yaml:1:1" in answer.text
    assert "<script>alert" not in answer.text


def test_nothing_to_try_is_refused_and_others_find_the_door_shut(world: Stage) -> None:
    pat, opal = world.signed_in("pat"), world.signed_in("opal")
    form = {"csrf": csrf(pat), "file": "q.yaml", "text": " "}
    assert pat.post("/policy/try", data=form).status_code == 400
    assert opal.get("/policy/try").status_code == 403
    assert "/policy/try" not in opal.get("/policy").text
    assert "/policy/try" in pat.get("/policy").text
    assert pat.get("/policy/try?draft=99").status_code == 404
