"""Changing a question, and deciding several at once: what the forms send, and what is refused."""

from __future__ import annotations

import msgspec
import pytest
from tests.core.console_stage import FORM, Read, csrf, stage

from watchkeeper.console.together import alike
from watchkeeper.core.word import digest

replace = msgspec.structs.replace


def hidden(text: str) -> dict[str, str]:
    return dict(Read.of(text).fields)


def test_a_change_is_checked_against_policy_before_there_is_a_button_that_asks_for_it() -> None:
    s = stage()
    client = s.signed_in()
    before = client.get("/a/P-7/change").text
    assert "Ask for this instead" not in before
    assert 'name="1.deadline_s"' in before
    seen = client.get("/a/P-7/change?1.deadline_s=120&steps=4").text
    assert "so it stays the same request" in seen
    fields = hidden(seen)
    answer = client.post("/a/P-7/change", data=fields, headers=FORM)
    assert answer.status_code == 303
    made = answer.headers["location"].rpartition("/")[2]
    assert "within 120 s" in client.get(f"/a/{made}").text
    assert "is asked instead" in client.get("/a/P-7").text


def test_what_is_not_less_is_said_to_need_another_person_before_the_tap() -> None:
    client = stage().signed_in()
    seen = client.get("/a/P-7/change?1.deadline_s=5").text
    assert "it becomes your own request" in seen
    assert "another person" in seen


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ("1.deadline_s=60", 200, "Nothing is changed yet"),
        ("1.deadline_s=-4", 400, "from 0 to 86400"),
        ("0.node=train-01", 400, "no argument that can be changed"),
        ("steps=%3Cscript%3E", 400, "from 1 to 4"),
    ],
)
def test_a_change_that_is_none_or_that_the_schema_refuses_has_no_button(
    query: str, code: int, says: str
) -> None:
    answer = stage().signed_in().get(f"/a/P-7/change?{query}")
    assert answer.status_code == code
    assert says in answer.text
    assert "Ask for this instead" not in answer.text
    assert "<script>" not in answer.text.replace('<script type="module"', "")


def test_other_values_than_those_checked_are_refused() -> None:
    s = stage()
    client = s.signed_in()
    fields = hidden(client.get("/a/P-7/change?1.deadline_s=120").text)
    answer = client.post("/a/P-7/change", data={**fields, "1.deadline_s": "90"}, headers=FORM)
    assert answer.status_code == 409
    assert s.desk.ask("P-7").status.state == "waiting"  # type: ignore[union-attr]


def another(s: object, ident: str, **proposal: object) -> None:
    """One more question like P-8, in an incident."""
    desk = s.desk  # type: ignore[attr-defined]
    first = desk.ask("P-8")
    shown = replace(first.shown, proposal=replace(first.shown.proposal, id=ident, **proposal))
    desk.put(replace(first, id=ident, shown=shown, digest=digest(shown), nonce=f"n-{ident}"))


def test_only_questions_of_one_class_and_one_incident_are_decided_together() -> None:
    s = stage()
    for ident, incident in (("P-20", "INC-2"), ("P-21", "INC-2"), ("P-22", "INC-1")):
        another(s, ident, incident=incident)
    first = s.desk.ask("P-20")
    assert first is not None
    assert [a.id for a in alike(first, s.desk.asks())] == ["P-21"]
    client = s.signed_in()
    page = client.get("/a/P-20").text
    assert "/a/together?of=P-20,P-21" in page
    token = csrf(client)
    given = {f"on-{i}": f"{s.desk.ask(i).digest}:n-{i}" for i in ("P-20", "P-21", "P-22")}  # type: ignore[union-attr]
    mixed = client.post(
        "/a/together", data={"csrf": token, "answer": "approve", **given}, headers=FORM
    )
    assert mixed.status_code == 409
    assert s.desk.effects == []
    del given["on-P-22"]
    given["on-P-21"] = f"{s.desk.ask('P-21').digest}:stale"  # type: ignore[union-attr]
    both = client.post(
        "/a/together", data={"csrf": token, "answer": "approve", **given}, headers=FORM
    )
    assert both.status_code == 303
    assert s.desk.effects == ["P-20"], "one was shown as it was no more"
    after = client.get(both.headers["location"]).text
    assert "Already decided by ann at" in after
    assert "on-P-21" in after, "the other still waits"


def test_what_stops_work_is_never_approved_together() -> None:
    s = stage()
    client = s.signed_in()
    ask = s.desk.ask("P-7")
    assert ask is not None
    data = {"csrf": csrf(client), "answer": "approve", "on-P-7": f"{ask.digest}:{ask.nonce}"}
    assert client.post("/a/together", data=data, headers=FORM).status_code == 409
    assert s.desk.effects == []
    assert "Approve those chosen" not in client.get("/a/together?of=P-7").text
