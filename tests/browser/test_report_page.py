"""The morning report in a real browser: read and judged on a phone, with and without scripts."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace
from playwright.sync_api import Page, expect
from tests.browser.conftest import PHONE, Pages
from tests.browser.fake_desk import FakeDesk

Watch = Callable[..., Page]
SMALL = (360, 740)
WEIGHT = 80_000
TAP = 44


def test_the_report_fits_a_small_phone_names_its_buttons_and_weighs_little(
    watch: Watch, base_url: str
) -> None:
    page = watch(SMALL)
    page.goto(f"{base_url}/report")
    expect(page.get_by_role("heading", name="Waits for you")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= SMALL[0]
    judged = page.locator(".judge button")
    spoken = judged.evaluate_all("all => all.map(b => b.ariaLabel)")
    assert len(spoken) == len(set(spoken)), "each says of what it speaks"
    heights = judged.evaluate_all("all => all.map(b => b.getBoundingClientRect().height)")
    assert min(heights) >= TAP
    assert page.locator(".strip:visible").count() == 1
    parts = [page.content(), *(page.request.get(f"{base_url}/static/{f}").text()
                               for f in ("app.css", "app.js"))]  # fmt: skip
    assert sum(len(part.encode()) for part in parts) < WEIGHT


def test_an_item_is_judged_with_the_keyboard_alone_and_without_scripts(
    watch: Watch, base_url: str, desk: FakeDesk
) -> None:
    page = watch(PHONE, javascript=False)
    desk.put_report(desk.report())
    page.goto(f"{base_url}/report")
    button = page.get_by_role("button", name="Wrong: Did not reset GPU 3 on train-02.")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/report#i-*")
    expect(page.get_by_text("Saved as an eval case.")).to_be_visible()
    assert [(j.key, j.useful) for j in desk.judgements] == [("did_not:P-6", False)]


def test_a_report_that_changed_meanwhile_is_not_judged_unseen(
    watch: Watch, base_url: str, desk: FakeDesk, pages: Pages
) -> None:
    pages.expected = ("409",)
    page = watch(PHONE)
    told = desk.report()
    desk.put_report(told)
    page.goto(f"{base_url}/report")
    sections = tuple(s for s in told.sections if s.id != "did")
    desk.put_report(replace(told, sections=sections))
    page.get_by_role("button", name="Useful: train-04").click()
    expect(page.get_by_role("alert")).to_contain_text("The report has changed")
    assert desk.judgements == []
