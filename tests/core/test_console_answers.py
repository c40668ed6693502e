"""Answering in the console: bound to what was shown, once, by somebody who may, and inert."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.browser.fake_desk import FakeDesk
from tests.core.console_stage import Read, Stage, answer_form, csrf, stage

from watchkeeper.core.errors import JournalBroken
from watchkeeper.core.event import Kind

replace = msgspec.structs.replace


@pytest.fixture
def world() -> Stage:
    return stage()


def answered(desk: FakeDesk) -> int:
    return sum(1 for e in desk.events(limit=1000) if e.kind is Kind.ANSWERED)


@pytest.mark.parametrize(
    ("answer", "state", "says"),
    [
        ("approve", "approved", "You approved this at"),
        ("deny", "denied", "You denied this at"),
        ("not_now", "not_now", "You said not now at"),
    ],
)
def test_each_answer_is_recorded_and_the_page_says_so(
    world: Stage, answer: str, state: str, says: str
) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk, answer=answer, reason="seen it")
    given = client.post("/a/P-7/answer", data=form)
    assert (given.status_code, given.headers["location"]) == (303, "/a/P-7")
    ask = world.desk.ask("P-7")
    assert ask is not None
    assert (ask.status.state, ask.status.by) == (state, "ann")
    page = Read.of(client.get("/a/P-7").text)
    assert says in page.text
    assert "answer" not in page.fields


def test_nobody_else_is_told_that_they_answered(world: Stage) -> None:
    ann, bob = world.signed_in(), world.signed_in("bob")
    ann.post("/a/P-7/answer", data=answer_form(ann, world.desk))
    assert "You approved" not in bob.get("/a/P-7").text


def test_a_hundred_clicks_at_once_are_one_answer_and_every_one_gets_its_page(world: Stage) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk)
    cookies = dict(client.cookies)

    def click(_: int) -> int:
        one = world.stranger()
        one.cookies.update(cookies)
        return one.post("/a/P-7/answer", data=form).status_code

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(click, range(100)))
    assert codes == [303] * 100
    assert answered(world.desk) == 1
    assert world.desk.effects == ["P-7"]


@pytest.mark.parametrize("typed", ["", "train-01", "TRAIN-02", "train-02 please"])
def test_a_hard_approval_needs_the_name_typed(world: Stage, typed: str) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk, typed=typed)
    answer = client.post("/a/P-7/answer", data=form)
    assert answer.status_code == 409
    assert "type train-02 exactly" in Read.of(answer.text).text
    assert answered(world.desk) == 0


def test_denying_needs_nothing_typed(world: Stage) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk, answer="deny", typed="")
    assert client.post("/a/P-7/answer", data=form).status_code == 303


def test_a_harmless_question_is_answered_without_typing(world: Stage) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk, "P-8", typed="")
    assert client.post("/a/P-8/answer", data=form).status_code == 303


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.redraw("P-7"), "What you saw is not what is asked now"),
        (lambda d: d.void("P-7"), "Already decided by the watch"),
        (lambda d: d.expire("P-7"), "Nobody answered in time"),
    ],
    ids=["changed under you", "void", "expired"],
)
def test_what_changed_under_the_reader_is_409_with_the_present_state(
    world: Stage, change: object, says: str
) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk)
    change(world.desk)  # type: ignore[operator]
    answer = client.post("/a/P-7/answer", data=form)
    page = Read.of(answer.text)
    assert answer.status_code == 409
    assert says in page.text
    assert answered(world.desk) == 0
    ask = world.desk.ask("P-7")
    assert ask is not None
    if ask.status.state == "waiting":  # the form is there again, bound to what is asked now
        assert (page.fields["digest"], page.fields["nonce"]) == (ask.digest, ask.nonce)


def test_who_may_not_answer_is_told_why(world: Stage) -> None:
    client = world.signed_in("eve")
    answer = client.post("/a/P-7/answer", data=answer_form(client, world.desk))
    assert answer.status_code == 409
    assert "eve is not in oncall" in Read.of(answer.text).text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.make_stale(48), "the last reading is 48 s old"),
        (lambda d: d.make_stale(None), "nothing was read yet"),
        (lambda d: d.not_ready("ray: no answer"), "ray: no answer"),
    ],
    ids=["old readings", "no readings", "not ready"],
)
def test_s4_old_readings_switch_approve_off_and_nothing_else(
    world: Stage, change: object, says: str
) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk)
    change(world.desk)  # type: ignore[operator]
    shown = client.get("/a/P-7")
    assert f"Approve is off: {says}" in Read.of(shown.text).text
    refused = client.post("/a/P-7/answer", data=form)
    assert refused.status_code == 409
    assert answered(world.desk) == 0
    form["answer"] = "not_now"
    assert client.post("/a/P-7/answer", data=form).status_code == 303
    assert client.post("/stop", data={"csrf": csrf(client)}).status_code == 303


def test_an_answer_that_is_none_of_the_three_is_400(world: Stage) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk, answer="always")
    assert client.post("/a/P-7/answer", data=form).status_code == 400


def test_a_question_that_does_not_exist_is_404(world: Stage) -> None:
    client = world.signed_in()
    assert client.post("/a/P-99/answer", data=answer_form(client, world.desk)).status_code == 404
    assert client.get("/a/P-99").status_code == 404


def test_no_journal_no_answer_and_the_page_says_it(world: Stage) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk)

    def full(*_: object, **__: object) -> None:
        raise JournalBroken("The disk of the journal is full. Free space; nothing was changed.")

    world.desk.answer = full  # type: ignore[method-assign, assignment]
    answer = client.post("/a/P-7/answer", data=form)
    assert answer.status_code == 503
    assert "disk of the journal is full" in Read.of(answer.text).text


def test_stop_resume_and_the_dial_work_as_forms(world: Stage) -> None:
    client = world.signed_in()
    token = csrf(client)
    client.post("/stop", data={"csrf": token, "reason": "look first"})
    assert "Stopped by ann" in Read.of(client.get("/").text).text
    client.post("/resume", data={"csrf": token, "reason": "looked"})
    assert not world.desk.board().orders.stopped
    assert client.post("/autonomy", data={"csrf": token, "level": "observe"}).status_code == 303
    assert world.desk.board().orders.autonomy.value == "observe"
    assert client.post("/autonomy", data={"csrf": token, "level": "yolo"}).status_code == 400


def test_a_question_to_the_watch_is_answered_in_the_log(world: Stage) -> None:
    client = world.signed_in()
    asked = client.post("/ask", data={"csrf": csrf(client), "question": "What is wrong?"})
    newest = world.desk.events()[-1].seq
    assert (asked.status_code, asked.headers["location"]) == (303, f"/#l{newest}")
    assert "train-02 is failed" in Read.of(client.get("/").text).text
    assert client.post("/ask", data={"csrf": csrf(client), "question": " "}).status_code == 400


ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% raw %}",
    "</textarea><form action=//evil.example>",
    "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "good\u202eexe.elif\u2066",
)
ALLOWED_TAGS = {"script": 1}


def poison(world: Stage, text: str) -> None:
    """Put the text into every field that text from outside can reach."""
    desk = world.desk
    ask = desk.ask("P-7")
    assert ask is not None
    evidence = tuple(replace(s, raw=text, source=text) for s in ask.shown.evidence)
    shown = replace(ask.shown, evidence=evidence)
    fields = ("title", "why_now", "if_approved", "if_ignored", "blast", "undo", "rule")
    desk.put(
        replace(
            ask,
            shown=shown,
            rule_where=text,
            steps=(text,),
            incident_title=text,
            status=replace(ask.status, text=text),
            **dict.fromkeys(fields, text),
        )
    )
    board = desk.board()
    desk.change(
        halted=text,
        policy_error=text,
        last_decision=text,
        window=text,
        lab_time=text,
        sources={text: text},
        nodes=tuple(
            replace(n, what=text, rack=text, pool=text, jobs=(text,), gpu_source=text)
            for n in board.nodes
        ),
        jobs=tuple(
            replace(j, name=text, tenant=text, requeue=text, why_waits=text) for j in board.jobs
        ),
        pools=tuple(
            replace(p, pool=text, forecast_why=text, looked_back=(text,)) for p in board.pools
        ),
        limits=tuple(replace(limit, id=text, text=text, where=text) for limit in board.limits),
        orders=replace(
            board.orders,
            stopped=True,
            stopped_by=text,
            stop_reason=text,
            stopped_at=board.at,
        ),
    )
    story = desk.story("INC-2")
    assert story is not None
    steps = tuple(replace(s, title=text, text=text, where=text, raw=text) for s in story.steps)
    incident = replace(
        story.incident,
        title=text,
        jobs=(text,),
        closed_because=text,
        signals=tuple(replace(s, raw=text) for s in story.incident.signals),
        hypotheses=tuple(replace(h, claim=text, why=text) for h in story.incident.hypotheses),
    )
    desk.put_story(replace(story, incident=incident, steps=steps, people=(text,)))
    desk.say_line(text, text, question=text, where=text, sources=(text,), incident="INC-2")
    costs = desk.costs_are
    lines = tuple(replace(line, pool=text, tenant=text) for line in costs.bill.lines)
    bill = replace(costs.bill, lines=lines, notes=(text,), currency=text)
    burns = tuple(replace(b, id=text, says=text, tenant=text, where=text) for b in costs.burns)
    desk.costs_are = replace(costs, prices=text, bill=bill, burns=burns)


def test_the_page_says_why_a_gang_waits_and_what_a_plan_was_worth(world: Stage) -> None:
    board = world.desk.board()
    why = "bert-7 needs 4 whole nodes in one rack; 2 are free in r1; earliest 03:40."
    back = "Planned 40 GPUs for 01:00 to 02:00 UTC (told), 16 were needed at most: 24 too many."
    first, *rest = board.jobs
    world.desk.change(
        jobs=(replace(first, name="bert-7", state="waiting", why_waits=why), *rest),
        pools=tuple(replace(p, looked_back=(back,)) for p in board.pools),
    )
    page = re.sub(r"<[^>]+>", "", world.signed_in().get("/").text)
    assert why in page
    assert back in page


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
@pytest.mark.parametrize(
    "path",
    ["/", "/a/P-7", "/incidents", "/i/INC-2", "/fleet", "/nodes/train-02", "/journal", "/costs"],
)
def test_text_from_outside_is_inert_on_every_page(world: Stage, path: str, text: str) -> None:
    client = world.signed_in()
    clean = Read.of(client.get(path).text)
    poison(world, text)
    answer = client.get(path)
    assert answer.status_code == 200
    read = Read.of(answer.text)
    assert read.tags.count("script") == clean.tags.count("script")
    assert read.tags.count("img") == clean.tags.count("img")
    assert not [a for a in read.attributes if a[1].startswith("on")]
    targets = [v for _, name, v in read.attributes if name in ("href", "src", "action")]
    elsewhere = [t for t in targets if urlsplit(t).scheme or urlsplit(t).netloc]
    assert [t for t in elsewhere if not t.startswith("data:image/")] == []
    assert "49{%" not in answer.text
    assert not set(answer.text) & set("\x1b\x07\u202e\u2066")
