"""An order typed on a phone, without scripts: its card, the button under it, and a hold that is
taken back; axe reads the card."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from playwright.sync_api import Page, expect
from tests.browser.conftest import PHONE
from tests.browser.fake_desk import FakeDesk
from tests.browser.test_every_page import axe

from watchkeeper.core.chat import PolicyDraft
from watchkeeper.core.event import Kind

Watch = Callable[..., Page]
DRAFT = PolicyDraft(
    sentence="never drain <b>x</b>",
    file="drafted-never-drain.yaml",
    text='rules:\n  - {id: a, effect: deny, reason: "<script>alert(1)</script>"}\n',
    test_file="drafted-never-drain_test.yaml",
    tests="tests: []",
    sound=True,
    check="The policy is sound: 5 files.",
    tested="83 of 83 tests hold with it.",
    diff="Decided otherwise: none; 12 as before.",
    by="rules, no model",
)


def ask(page: Page, words: str) -> None:
    page.get_by_label("Your question").fill(words)
    page.get_by_role("button", name="Ask", exact=True).click()


def serious(page: Page) -> list[str]:
    page.evaluate(axe())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    return [v["id"] for v in found["violations"] if v["impact"] in ("serious", "critical")]


def test_on_a_phone_without_scripts_an_order_becomes_a_card_and_is_sent(
    watch: Watch, desk: FakeDesk, base_url: str
) -> None:
    page = watch(PHONE, javascript=False)
    page.goto(f"{base_url}/chat")
    ask(page, "please cordon train-02 and train-03")
    expect(page.get_by_role("heading", name="What this would ask")).to_be_visible()
    expect(page.get_by_text("Policy asks another person.")).to_have_count(2)
    page.get_by_role("button", name="Send to policy as ann").click()
    expect(page.get_by_role("heading", name="Sent")).to_be_visible()
    expect(page.get_by_text("Policy asks another person.")).to_have_count(0)
    expect(page.locator("p.answer.big")).to_contain_text("It waits for another person.")
    expect(page.get_by_role("link", name="P-7").first).to_be_visible()
    assert desk.effects == []

    ask(page, "leave train-01 alone until 07:00")
    page.goto(f"{base_url}/policy")
    page.get_by_role("button", name="Release H-1").click()
    expect(page.get_by_text("Nothing is held.")).to_be_visible()


def test_a_card_and_a_drafted_policy_are_read_by_axe_and_fit_a_phone(
    watch: Watch, desk: FakeDesk, base_url: str
) -> None:
    page = watch((360, 740))
    page.goto(f"{base_url}/chat")
    ask(page, "cordon train-02")
    page.wait_for_url("**/chat/*")
    assert serious(page) == []
    line = desk.say_line("You asked", "Drafted.", question="draft", kind_of=Kind.CHAT)
    desk.drafts[line.seq] = msgspec.structs.replace(DRAFT)
    page.goto(f"{base_url}/chat/{line.seq}")
    expect(page.get_by_text("<script>alert(1)</script>")).to_be_visible()
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
