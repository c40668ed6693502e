"""A person decides: on a wide screen, on a phone, with and without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import DESK, PHONE, Pages, log_in
from tests.browser.fake_desk import ANN, BOB, EVE, FakeDesk

from watchkeeper.core.desk import Ask
from watchkeeper.core.verdict import Answer

Watch = Callable[..., Page]
DECIDE = "form[aria-label=Decide]"


def read_and_approve(page: Page, desk: FakeDesk, ask: Ask) -> None:
    page.goto(page.url.rstrip("/") + f"/a/{ask.id}")
    page.get_by_label(f"Type {ask.typed_name} to approve").fill(ask.typed_name)
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("You approved this at")).to_be_visible()


@pytest.mark.parametrize(
    ("size", "javascript"),
    [(DESK, True), (PHONE, True), (DESK, False), (PHONE, False)],
    ids=["wide", "phone", "wide-without-scripts", "phone-without-scripts"],
)
def test_a_person_reads_and_approves(
    watch: Watch, desk: FakeDesk, hard: Ask, size: tuple[int, int], javascript: bool
) -> None:
    page = watch(size, javascript=javascript)
    page.get_by_role("link", name="Review and decide").first.click()
    page.get_by_label(f"Type {hard.typed_name} to approve").fill(hard.typed_name)
    page.get_by_role("button", name="Approve", exact=True).click()

    expect(page.get_by_text("You approved this at")).to_be_visible()
    answered = desk.ask(hard.id)
    assert answered is not None
    assert [(a.person, a.answer) for a in answered.approvals][-1] == (ANN.name, Answer.APPROVE)
    assert answered.approvals[-1].digest == hard.digest


def test_a_harmless_question_is_answered_on_its_card(
    watch: Watch, desk: FakeDesk, easy: Ask
) -> None:
    page = watch(person=BOB)
    card = (
        page.get_by_role("article")
        .filter(has_text=easy.id)
        .or_(page.locator(f"article[aria-labelledby='o-{easy.id}']"))
    )
    card.last.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("You approved this at")).to_be_visible()
    assert desk.effects == [easy.id]


def test_a_second_tap_is_the_same_answer(watch: Watch, desk: FakeDesk, easy: Ask) -> None:
    page = watch()
    page.locator(f"article[aria-labelledby='o-{easy.id}']").get_by_role(
        "button", name="Approve"
    ).dblclick(no_wait_after=True)
    expect(page.get_by_text("You approved this at")).to_be_visible()
    answered = desk.ask(easy.id)
    assert answered is not None
    assert len(answered.approvals) == len(easy.approvals) + 1


@pytest.mark.parametrize("javascript", [True, False], ids=["scripts", "no-scripts"])
def test_a_person_denies_and_says_why(
    watch: Watch, desk: FakeDesk, base_url: str, hard: Ask, javascript: bool
) -> None:
    page = watch(PHONE, javascript=javascript)
    page.goto(f"{base_url}/a/{hard.id}")
    reason = page.get_by_label("Reason, kept in the journal")
    expect(reason).to_be_hidden()
    page.get_by_role("link", name="Deny…").click()
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_hidden()
    reason.fill("The tenant asked for one more hour.")
    page.get_by_role("button", name="Deny", exact=True).click()

    expect(page.get_by_text(f"Already decided by {ANN.name}")).to_be_visible()
    expect(page.get_by_text("The tenant asked for one more hour.")).to_be_visible()
    expect(page.locator(DECIDE)).to_have_count(0)
    answered = desk.ask(hard.id)
    assert answered is not None
    assert answered.status.state == "denied"


def test_the_three_answers_come_back_from_the_reason(
    watch: Watch, base_url: str, hard: Ask
) -> None:
    page = watch(PHONE)
    page.goto(f"{base_url}/a/{hard.id}#deny")
    page.get_by_role("link", name="Back to all answers").click()
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Not now")).to_be_visible()


def test_not_now_needs_no_name_typed(
    watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    page = watch()
    page.goto(f"{base_url}/a/{hard.id}")
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_text("You said not now at")).to_be_visible()
    answered = desk.ask(hard.id)
    assert answered is not None
    assert answered.status.state == "not_now"


def test_a_wrong_name_approves_nothing(
    pages: Pages, watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    pages.expected = ("409",)
    page = watch()
    page.goto(f"{base_url}/a/{hard.id}")
    page.get_by_label(f"Type {hard.typed_name} to approve").fill("train-99")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Not done.")
    answered = desk.ask(hard.id)
    assert answered is not None
    assert answered.approvals == hard.approvals


def test_a_decided_question_says_who_and_when_and_has_no_form(
    watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    desk.answer(hard.id, Answer.DENY, BOB, digest=hard.digest, nonce=hard.nonce, reason="No.")
    page = watch()
    page.goto(f"{base_url}/a/{hard.id}")
    expect(page.locator("main")).to_contain_text(
        re.compile(
            rf"Already decided by {BOB.name} at \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC: denied\."
        )
    )
    expect(page.locator(DECIDE)).to_have_count(0)
    expect(page).to_have_title(re.compile(r"^Denied: "))


def test_an_answer_that_comes_too_late_is_refused_and_says_by_whom_it_was_decided(
    pages: Pages, watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    pages.expected = ("409",)
    page = watch()
    page.goto(f"{base_url}/a/{hard.id}")
    desk.answer(hard.id, Answer.DENY, BOB, digest=hard.digest, nonce=hard.nonce)
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_role("alert")).to_contain_text(f"Already decided by {BOB.name}")
    expect(page.locator(DECIDE)).to_have_count(0)


def test_a_question_that_changed_under_its_reader_is_read_again(
    pages: Pages, watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    pages.expected = ("409",)
    page = watch(javascript=False)  # with scripts Approve would be off before the tap
    page.goto(f"{base_url}/a/{hard.id}")
    desk.redraw(hard.id)
    page.get_by_label(f"Type {hard.typed_name} to approve").fill(hard.typed_name)
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Read it again.")
    answered = desk.ask(hard.id)
    assert answered is not None
    assert answered.approvals == hard.approvals


def _voided(desk: FakeDesk, ask: Ask) -> None:
    desk.void(ask.id)


def _denied(desk: FakeDesk, ask: Ask) -> None:
    desk.answer(ask.id, Answer.DENY, BOB, digest=ask.digest, nonce=ask.nonce)


def _expired(desk: FakeDesk, ask: Ask) -> None:
    desk.expire(ask.id)


def _time_is_up(desk: FakeDesk, ask: Ask) -> None:
    desk.put(msgspec.structs.replace(ask, expires_at=ask.asked_at))
    desk.say_line("Watch", "Time passes.")  # the desk itself ends the question later


def _redrawn(desk: FakeDesk, ask: Ask) -> None:
    desk.redraw(ask.id)
    desk.say_line("Watch", "The question was drawn anew.")


@pytest.mark.parametrize(
    "change", [_voided, _denied, _expired, _time_is_up, _redrawn], ids=lambda f: f.__name__[1:]
)
def test_a_question_that_changes_under_an_open_page_says_so_and_turns_approve_off(
    watch: Watch, desk: FakeDesk, base_url: str, hard: Ask, change: Callable[[FakeDesk, Ask], None]
) -> None:
    page = watch(PHONE)
    page.goto(f"{base_url}/a/{hard.id}")
    typed = page.get_by_label(f"Type {hard.typed_name} to approve")
    typed.fill(hard.typed_name)
    desk.say_line("Saw", "Something else, about another node.")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_enabled()
    expect(page.locator("#changed")).to_be_hidden()

    change(desk, hard)
    expect(page.get_by_role("alert")).to_contain_text("This changed. Read it again")
    expect(page.get_by_role("button", name="This changed. Read it again.")).to_be_disabled()
    expect(typed).to_have_value(hard.typed_name)
    page.evaluate("window.here = 1")
    page.get_by_role("link", name="Read it again").click()
    page.wait_for_function("window.here === undefined")
    expect(page.locator("#changed:visible")).to_have_count(0)
    expect(page.get_by_role("button", name="This changed. Read it again.")).to_have_count(0)


def test_an_own_answer_is_no_change_under_the_reader(
    pages: Pages, watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    page = watch()
    page.goto(f"{base_url}/a/{hard.id}")
    page.get_by_role("button", name="Not now").click()
    expect(page.get_by_text("You said not now at")).to_be_visible()
    expect(page.get_by_text("This changed.")).to_have_count(0)


def test_readings_that_come_back_under_a_page_drawn_stale_ask_to_read_it_again(
    watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    desk.make_stale(48.0)
    page = watch()
    page.goto(f"{base_url}/a/{hard.id}")
    expect(page.get_by_role("button", name=re.compile("48 s old"))).to_be_disabled()
    desk.make_stale(2.0)
    desk.say_line("Saw", "Telemetry is back.")
    page.get_by_role("link", name="Read it again").click()
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_enabled()


def test_a_link_followed_from_a_chat_leads_to_the_question_without_signing_in_again(
    pages: Pages, watch: Watch, base_url: str, hard: Ask
) -> None:
    pages.expected = ("401",)
    page = watch()
    elsewhere = base_url.replace("127.0.0.1", "localhost") + "/chat"  # another site, to a browser
    page.route(
        elsewhere,
        lambda route: route.fulfill(
            content_type="text/html", body=f'<a href="{base_url}/a/{hard.id}">The watch asks</a>'
        ),
    )
    page.goto(elsewhere)
    page.get_by_role("link", name="The watch asks").click()
    page.get_by_role("link", name="Open this page").click()
    expect(page.get_by_role("heading", name=hard.title)).to_be_visible()


def test_an_expired_question_has_no_form(
    watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    desk.put(msgspec.structs.replace(hard, expires_at=hard.asked_at - timedelta(seconds=1)))
    page = watch()
    page.goto(f"{base_url}/a/{hard.id}")
    expect(page.locator("main")).to_contain_text("No answer counts any more.")
    expect(page.locator(DECIDE)).to_have_count(0)
    desk.expire(hard.id)
    page.reload()
    expect(page.locator("main")).to_contain_text("Nobody answered in time.")


@pytest.mark.parametrize("javascript", [True, False], ids=["scripts", "no-scripts"])
def test_on_stale_readings_approve_is_off_and_says_why_and_the_rest_stays(
    watch: Watch, desk: FakeDesk, base_url: str, hard: Ask, javascript: bool
) -> None:
    desk.make_stale(48.0)
    page = watch(PHONE, javascript=javascript)
    page.goto(f"{base_url}/a/{hard.id}")
    off = page.get_by_role("button", name=re.compile("Approve is off: .*48 s old"))
    expect(off).to_be_disabled()
    expect(page.get_by_role("button", name="Not now")).to_be_enabled()
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    expect(page.locator("#state")).to_contain_text("Stale")


def test_readings_that_grow_stale_under_an_open_page_turn_approve_off(
    watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    page = watch()
    page.goto(f"{base_url}/a/{hard.id}")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_enabled()
    desk.make_stale(48.0)
    desk.say_line("Saw", "Telemetry fell silent.")
    expect(page.get_by_role("button", name="Approve is off: readings are stale")).to_be_disabled()


def test_who_may_not_answer_is_told_so_before_trying(
    watch: Watch, base_url: str, hard: Ask
) -> None:
    page = watch(person=EVE)
    page.goto(f"{base_url}/a/{hard.id}")
    expect(page.get_by_role("button", name=re.compile("^Only .* may answer$"))).to_be_disabled()


def test_every_fact_stands_above_the_decision_on_a_phone(
    watch: Watch, base_url: str, hard: Ask
) -> None:
    page = watch(PHONE)
    page.goto(f"{base_url}/a/{hard.id}")
    bar = page.locator(DECIDE).bounding_box()
    assert bar is not None
    for what in ("main h1", ".why", ".fork", *(f".fact > div:nth-child({i})" for i in range(1, 6))):
        box = page.locator(what).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= bar["y"], f"{what} is hidden by the decide bar"
    assert bar["y"] + bar["height"] <= PHONE[1]
    for name in ("Blast radius", "Steps", "Rule", "Evidence", "Undo"):
        expect(page.locator(".fact dt").filter(has_text=name)).to_be_visible()
    expect(page.locator(".fact")).to_contain_text(hard.rule_where)


def test_the_title_carries_the_time_left_and_the_question(
    watch: Watch, base_url: str, hard: Ask
) -> None:
    page = watch()
    page.goto(f"{base_url}/a/{hard.id}")
    expect(page).to_have_title(
        re.compile(rf"^\d+ (min|s|h)( \d+ min)? left: {re.escape(hard.title)}$")
    )


def test_a_stranger_sees_no_question(
    pages: Pages, base_url: str, desk: FakeDesk, hard: Ask
) -> None:
    pages.expected = ("401",)
    page = pages.open()
    page.goto(f"{base_url}/a/{hard.id}")
    expect(page.locator("body")).not_to_contain_text(hard.typed_name)
    expect(page.get_by_text("watchkeeper login")).to_be_visible()
    log_in(page, base_url, desk)
    page.goto(f"{base_url}/a/{hard.id}")
    expect(page.get_by_role("heading", name=hard.title)).to_be_visible()
