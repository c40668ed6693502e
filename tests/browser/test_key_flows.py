"""The six key flows on a phone: by touch, without scripts, by keyboard alone, without a network.
One table of flows, one of hands; one console and one page for a whole row of flows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.conftest import PHONE, Pages
from tests.browser.fake_desk import ANN, FakeDesk

Watch = Callable[..., Page]
NIGHTLY = bool(os.environ.get("WATCHKEEPER_NIGHTLY"))
MOST_TABS = 160


@dataclass
class Hand:
    """How a person works the page. `decide` is the press that sends something."""

    page: Page
    desk: FakeDesk
    base_url: str
    scripts: bool = True
    keys: bool = False
    online: bool = True

    def open(self, path: str) -> None:
        self.page.goto(self.base_url + path)

    def link(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("link", name=name, exact=isinstance(name, str)).first

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name, exact=isinstance(name, str)).first

    def press(self, what: Locator) -> None:
        if self.keys:
            self._reach(what)
            self.page.keyboard.press("Enter")
        else:
            what.tap()

    def write(self, what: Locator, text: str) -> None:
        if self.keys:
            self._reach(what)
            self.page.keyboard.type(text)
        else:
            what.tap()
            what.fill(text)

    def decide(self, what: Locator, called: str) -> bool:
        """Press what sends something. Without a network it is refused and named, and nothing is
        sent when the network is back: False."""
        if self.online:
            self.press(what)
            return True
        before = self.desk.events()
        self.page.context.set_offline(True)
        self.press(what)
        expect(self.page.locator("#offline")).to_contain_text(f"{called} was not sent.")
        self.page.context.set_offline(False)
        expect(self.page.locator("#offline")).to_be_hidden()
        assert self.desk.events() == before, f"{called} was sent later"
        return False

    def follow(self, what: Locator, called: str) -> bool:
        """Press a link that leaves the page. Without a network it is said, and the page stays to be
        read: False."""
        if self.online:
            self.press(what)
            return True
        here = self.page.url
        self.page.context.set_offline(True)
        self.press(what)
        expect(self.page.locator("#offline")).to_contain_text(f"{called} was not opened.")
        assert self.page.url == here
        self.page.context.set_offline(False)
        expect(self.page.locator("#offline")).to_be_hidden()
        return False

    def _reach(self, what: Locator) -> None:
        """By Tab alone; who gets there sees where they are."""
        found = what.element_handle()
        assert found is not None
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            if found.evaluate("e => e === document.activeElement"):
                assert found.evaluate("e => parseFloat(getComputedStyle(e).outlineWidth)") >= 2
                return
        pytest.fail(f"no Tab reaches {what}")


def read_the_watch(hand: Hand) -> None:
    hand.open("/")
    for name in ("Waits for you", "Log", "Fleet", "Gangs"):
        expect(hand.page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    expect(hand.page.locator("#state")).to_contain_text("Simulated data")
    if not hand.online:
        hand.page.context.set_offline(True)
        expect(hand.page.locator("#offline")).to_contain_text(re.compile(r"since \d\d:\d\d:\d\d"))
    hand.desk.say_line("Saw", "A line that came while it was read.")
    if not hand.online:
        hand.page.context.set_offline(False)
    if not hand.scripts:
        hand.open("/")
    expect(hand.page.locator("#lines > li").first).to_contain_text("A line that came while")


def approve(hand: Hand) -> None:
    hand.open("/")
    hand.press(hand.link("Review and decide"))
    hand.write(hand.page.get_by_label("Type train-02 to approve"), "train-02")
    if hand.decide(hand.button("Approve"), "Approve"):
        expect(hand.page.get_by_text("You approved this at")).to_be_visible()
    assert hand.desk.effects == (["P-7"] if hand.online else [])


def deny_and_put_off_with_a_reason(hand: Hand) -> None:
    easy = hand.desk.ask("P-8")
    assert easy is not None
    hand.desk.put(msgspec.structs.replace(easy, id="P-9", title="Cordon train-04?"))
    hand.open("/a/P-8")
    hand.press(hand.link("Deny…"))
    hand.write(hand.page.get_by_label("Reason, kept in the journal"), "Tonight is a release.")
    if hand.decide(hand.button("Deny"), "Deny"):
        expect(hand.page.get_by_text("Tonight is a release.").first).to_be_visible()
    hand.open("/a/P-9")
    if hand.decide(hand.button("Not now"), "Not now"):
        expect(hand.page.get_by_text("You said not now at")).to_be_visible()
    found = [hand.desk.ask(ident) for ident in ("P-8", "P-9")]
    wanted = ["denied", "not_now"] if hand.online else ["waiting", "waiting"]
    assert [ask.status.state for ask in found if ask] == wanted


def stop_and_resume(hand: Hand) -> None:
    hand.open("/")
    banner = hand.page.get_by_role("region", name="Stopped")
    if hand.decide(hand.button("Stop"), "Stop"):
        expect(banner).to_contain_text(f"Stopped by {ANN.name} at ")
        assert hand.desk.board().orders.stopped
    else:
        hand.desk.stop(ANN, "By the command line.")
        hand.open("/")
    hand.write(banner.get_by_label("Why it may go on"), "Checked by hand.")
    if hand.decide(banner.get_by_role("button", name="Resume"), "Resume"):
        expect(banner).to_have_count(0)
    assert hand.desk.board().orders.stopped is not hand.online
    hand.desk.resume(ANN)


def follow_an_incident_to_its_cause(hand: Hand) -> None:
    hand.open("/")
    hand.press(hand.link("More"))
    hand.press(hand.page.get_by_role("main").get_by_role("link", name="Incidents"))
    hand.press(hand.link(re.compile("train-02")))
    story = hand.page.locator("#story")
    expect(story).to_contain_text("signal")
    expect(hand.page.locator("#hyp")).to_contain_text("Supported")
    expect(hand.page.get_by_role("heading", name="Signals")).to_be_visible()
    node = hand.page.get_by_role("main").get_by_role("link", name="train-02", exact=True)
    if hand.follow(node.last, "train-02"):
        expect(hand.page.get_by_role("heading", level=1)).to_contain_text("train-02")
        hand.press(hand.link("GPU 3"))
        expect(hand.page.get_by_role("main")).to_contain_text("GPU 3 fell off the bus")
    else:
        expect(story).to_contain_text("signal")


def read_the_report_and_mark_an_item(hand: Hand) -> None:
    hand.desk.put_report(hand.desk.report())
    hand.open("/report")
    expect(hand.page.get_by_role("heading", name="Waits for you")).to_be_visible()
    wrong = hand.button("Wrong: Did not reset GPU 3 on train-02.")
    if hand.decide(wrong, "Wrong"):
        expect(hand.page.get_by_text("Saved as an eval case.")).to_be_visible()
    said = [(j.key, j.useful) for j in hand.desk.judgements]
    assert said == ([("did_not:P-6", False)] if hand.online else [])


FLOWS = (
    read_the_watch,
    deny_and_put_off_with_a_reason,
    approve,
    stop_and_resume,
    follow_an_incident_to_its_cause,
    read_the_report_and_mark_an_item,
)
HANDS: dict[str, dict[str, bool]] = {
    "by touch": {},
    "without scripts": {"scripts": False},
    "by keyboard alone": {"keys": True},
    "without a network": {"online": False},
    "by keyboard alone without scripts": {"keys": True, "scripts": False},
}
BY_DAY = ("without a network", "by keyboard alone without scripts")
"""The hardest two; what is done by touch, other tests do by day as well."""


@pytest.mark.parametrize("how", HANDS if NIGHTLY else BY_DAY)
def test_the_six_key_flows_on_a_phone(
    pages: Pages, watch: Watch, desk: FakeDesk, base_url: str, how: str
) -> None:
    pages.expected = ("ERR_INTERNET_DISCONNECTED", "net::ERR")
    asked = HANDS[how]
    page = watch(PHONE, javascript=asked.get("scripts", True), has_touch=True)
    hand = Hand(page, desk, base_url, **asked)
    for flow in FLOWS:
        flow(hand)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
