"""The watch page lives: the stream, the lost connection, Stop, the dial, the map, its weight."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable

import msgspec
import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import DESK, PHONE, Pages
from tests.browser.fake_desk import ANN, FakeDesk

from watchkeeper.core.desk import Ask, GpuView
from watchkeeper.core.verdict import Autonomy

Watch = Callable[..., Page]
WEIGHT = 80_000
"""Bytes of HTML, CSS and JavaScript of the watch page together, as the wire carries text at worst:
not compressed."""


def test_a_new_line_arrives_without_a_reload(watch: Watch, desk: FakeDesk) -> None:
    page = watch()
    page.evaluate("window.here = 1")
    expect(page.locator("#lines > li").first).to_be_visible()
    desk.say_line("Saw", "XID 79 on <b>train-02</b>, a new line", tone="bad")
    first = page.locator("#lines > li").first
    expect(first).to_contain_text("XID 79 on <b>train-02</b>, a new line")
    assert page.evaluate("window.here") == 1


def test_a_page_that_was_away_gets_what_it_missed_once_and_in_order(
    pages: Pages, watch: Watch, desk: FakeDesk
) -> None:
    pages.expected = ("ERR_INTERNET_DISCONNECTED", "net::ERR")
    page = watch()
    expect(page.locator("#lines > li").first).to_be_visible()
    page.context.set_offline(True)
    expect(page.locator("#offline")).to_be_visible()
    for n in range(3):
        desk.say_line("Saw", f"missed line {n}")
    page.context.set_offline(False)
    expect(page.locator("#lines")).to_contain_text("missed line 2")
    expect(page.locator("#offline")).to_be_hidden()
    told = page.locator("#lines > li > div > p").all_inner_texts()
    assert [t for t in told if "missed line" in t] == [f"missed line {n}" for n in (2, 1, 0)]


def test_a_tap_while_offline_is_refused_and_named_and_never_sent_later(
    pages: Pages, watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    pages.expected = ("ERR_INTERNET_DISCONNECTED", "net::ERR")
    page = watch(PHONE)
    page.goto(f"{base_url}/a/{hard.id}")
    page.context.set_offline(True)
    page.get_by_role("button", name="Not now").click()
    expect(page.locator("#offline")).to_contain_text("Not now was not sent.")
    expect(page.locator("#offline")).to_contain_text(re.compile(r"since \d\d:\d\d:\d\d UTC"))
    page.context.set_offline(False)
    expect(page.locator("#offline")).to_be_hidden()
    answered = desk.ask(hard.id)
    assert answered is not None
    assert answered.status.state == "waiting"


@pytest.mark.parametrize("javascript", [True, False], ids=["scripts", "no-scripts"])
def test_stop_holds_and_a_person_resumes_with_a_reason(
    watch: Watch, desk: FakeDesk, javascript: bool
) -> None:
    page = watch(PHONE, javascript=javascript)
    page.get_by_role("button", name="Stop").click()
    banner = page.get_by_role("region", name="Stopped")
    expect(banner).to_contain_text(f"Stopped by {ANN.name} at ")
    expect(page.locator("#state")).to_contain_text("Stopped")
    assert desk.board().orders.stopped
    banner.get_by_label("Why it may go on").fill("Checked by hand.")
    banner.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("region", name="Stopped")).to_have_count(0)
    assert not desk.board().orders.stopped
    expect(page.locator("#lines > li").first).to_contain_text("Checked by hand.")


def test_a_watch_that_halted_itself_says_why(watch: Watch, desk: FakeDesk) -> None:
    desk.halt()
    page = watch()
    expect(page.get_by_role("region", name="Stopped")).to_contain_text("The watch halted itself.")
    expect(page.get_by_role("region", name="Stopped")).to_contain_text("fell silent at once")


def test_the_dial_is_set_when_it_is_turned(watch: Watch, desk: FakeDesk) -> None:
    page = watch()
    page.get_by_role("radio", name="Observe").check()
    expect(page.get_by_role("radio", name="Observe")).to_be_checked()
    expect(page.locator("#autonomy")).to_contain_text("Changes nothing.")
    assert desk.board().orders.autonomy is Autonomy.OBSERVE


def test_a_question_to_the_watch_is_answered_in_the_log(watch: Watch) -> None:
    page = watch()
    page.get_by_label("Ask the watch").fill("What is wrong?")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#lines > li").first).to_contain_text("What is wrong?")
    expect(page.locator("#lines > li").first).to_contain_text("train-02 is failed")


def test_the_keyboard_reads_the_map_and_reaches_the_answers(
    watch: Watch, base_url: str, hard: Ask
) -> None:
    page = watch()
    cursor = page.locator("#fleet-cursor")
    page.locator("#fleet-map").focus()
    expect(cursor).to_contain_text("GPU")
    before = cursor.inner_text()
    page.keyboard.press("ArrowRight")
    expect(cursor).not_to_have_text(before)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/fleet\?.*block="))  # from the fleet to the rack
    page.locator("#fleet-map").focus()
    expect(page.locator("#fleet-cursor")).to_contain_text("Open train-")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/nodes/"))

    page.goto(f"{base_url}/a/{hard.id}")
    names: list[str] = []
    for _ in range(25):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate("document.activeElement.textContent || document.activeElement.name || ''")
        )
    assert [n for n in names if n in ("typed", "Approve", "Not now", "Change…", "Deny…")] == [
        "typed", "Approve", "Not now", "Change…", "Deny…",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [360, 390, 1280], ids=str)
def test_no_page_scrolls_sideways(
    watch: Watch, desk: FakeDesk, base_url: str, hard: Ask, width: int
) -> None:
    page = watch((width, 800))
    node, incident = desk.board().nodes[0].name, desk.incidents()[0].id
    for path in ("/", f"/a/{hard.id}", "/incidents", f"/i/{incident}", "/fleet", f"/nodes/{node}",
                 "/journal", "/costs?pool=train&add=2&plan=train"):  # fmt: skip
        page.goto(base_url + path)
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0, f"{path} is {over} px too wide at {width}"
        small = page.evaluate(
            "[...document.querySelectorAll('button,a.b,.tabs a')].filter(e => e.offsetHeight"
            " && e.offsetHeight < (innerWidth < 860 ? 40 : 32)).map(e => e.textContent)"
        )
        assert small == [], f"{path} has taps that are too small"
        assert page.locator("h1").count() == 1
        assert page.locator("[style]:not(canvas)").count() == 0


def test_the_watch_page_weighs_little_after_a_long_night(
    watch: Watch, desk: FakeDesk, base_url: str
) -> None:
    for n in range(80):
        desk.say_line(
            "Did",
            f"Restarted train-{n:02d} after a confirmed driver hang. Cordoned until its check.",
            tone="good",
            where="policies/night.yaml:23",
            sources=("kernel log", "ray"),
            incident=f"INC-{n}",
        )
    page = watch()
    parts = {"html": page.request.get(base_url).body()}
    for path in ("/static/app.css", "/static/app.js"):
        parts[path] = page.request.get(base_url + path).body()
    weights = {name: len(body) for name, body in parts.items()}
    assert sum(weights.values()) < WEIGHT, weights
    assert sum(len(gzip.compress(body)) for body in parts.values()) < WEIGHT / 3


def test_the_page_tells_what_it_must(watch: Watch, desk: FakeDesk) -> None:
    page = watch(DESK)
    expect(page).to_have_title(re.compile(rf"^\({len(desk.asks())}\) "))
    expect(page.locator("#state")).to_contain_text("Simulated data")
    expect(page.locator("#state")).to_contain_text("GPUs report")
    expect(page.locator("#state")).to_contain_text("Policy")
    expect(page.locator("#state")).to_contain_text(desk.health().journal_head[:8])
    for name in ("Waits for you", "Log", "Fleet", "Gangs", "Demand", "Autonomy", "Standing orders",
                 "Sources"):  # fmt: skip
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    for node in desk.board().nodes:
        expect(page.locator(".worst")).to_contain_text(node.name)
    expect(page.locator("svg.demand").first).to_be_visible()


def test_the_count_follows_without_a_reload_while_somebody_writes(
    watch: Watch, desk: FakeDesk, easy: Ask
) -> None:
    page = watch()
    expect(page.locator("#count")).to_contain_text("2")
    page.get_by_label("Ask the watch").fill("half a sentence")
    desk.expire(easy.id)
    expect(page.locator("#count")).to_contain_text("1")
    expect(page).to_have_title(re.compile(r"^\(1\) "))
    expect(page.get_by_label("Ask the watch")).to_have_value("half a sentence")
    expect(page.locator("#news")).to_be_visible()


def _at_rest(page: Page) -> None:
    """As if nobody had touched the page for a while, and nothing rests on a question."""
    page.mouse.move(2, 2)
    page.clock.run_for(6_000)


def test_one_question_in_place_of_another_is_noticed_and_shown(
    pages: Pages, base_url: str, desk: FakeDesk, hard: Ask, easy: Ask, watch: Watch
) -> None:
    page = watch()
    page.clock.install()
    page.reload()
    expect(page.locator(f"[data-ask='{easy.id}']")).to_be_visible()
    _at_rest(page)
    page.evaluate("window.here = 1")
    desk.put(msgspec.structs.replace(easy, id="P-99", title="Cordon train-04?"))
    desk.expire(easy.id)
    expect(page.get_by_role("heading", name="Cordon train-04?")).to_be_visible()
    expect(page.locator(f"[data-ask='{easy.id}']")).to_have_count(0)
    expect(page.locator("#count")).to_contain_text("2")
    expect(page.locator("#news")).to_be_hidden()
    assert page.evaluate("window.here") == 1


def test_a_question_never_changes_under_a_pointer_and_the_one_that_went_cannot_be_approved(
    watch: Watch, desk: FakeDesk, easy: Ask
) -> None:
    page = watch()
    card = page.locator(f"article[data-ask='{easy.id}']")
    card.get_by_role("button", name="Approve").hover()
    page.get_by_label("Ask the watch").fill("half a sentence")
    desk.put(msgspec.structs.replace(easy, id="P-99", title="Cordon train-04?"))
    desk.expire(easy.id)
    show = page.get_by_role("link", name="1 question changed. Show it")
    expect(show).to_be_visible()
    expect(card.get_by_role("button", name="This changed. Read it again.")).to_be_disabled()
    show.click()
    expect(page.get_by_role("heading", name="Cordon train-04?")).to_be_visible()
    expect(show).to_be_hidden()
    expect(page.get_by_label("Ask the watch")).to_have_value("half a sentence")


def test_what_the_page_tells_of_the_fleet_follows_and_the_focus_stays(
    watch: Watch, desk: FakeDesk
) -> None:
    page = watch()
    page.clock.install()
    page.reload()
    expect(page.locator("#sources")).to_be_visible()
    page.locator(".worst a").first.focus()
    held = page.evaluate("document.activeElement.href")
    board = desk.board()
    sick, *rest = board.nodes
    desk.change(
        nodes=(
            *rest,
            msgspec.structs.replace(sick, state="suspect", what="Two readings late", rank=1),
        ),
        jobs=(msgspec.structs.replace(board.jobs[0], name="brand-new-gang"),),
        sources={"kernel log": "read 1 s ago"},
    )
    page.clock.run_for(11_000)
    expect(page.locator("#worst")).to_contain_text("Two readings late")
    expect(page.locator("#gangs")).to_contain_text("brand-new-gang")
    expect(page.locator("#sources")).to_contain_text("read 1 s ago")
    assert page.evaluate("document.activeElement.href") == held


def test_a_reason_that_is_being_written_is_not_drawn_over(watch: Watch, desk: FakeDesk) -> None:
    desk.halt()
    page = watch()
    page.clock.install()
    page.reload()
    page.get_by_label("Why it may go on").fill("Checked by")
    page.clock.run_for(11_000)
    desk.say_line("Saw", "One more line.")
    expect(page.locator("#lines")).to_contain_text("One more line.")
    expect(page.get_by_label("Why it may go on")).to_have_value("Checked by")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["wide", "phone"])
def test_a_fleet_of_ten_thousand_gpus_is_drawn_with_one_mark_for_each_node(
    watch: Watch, desk: FakeDesk, size: tuple[int, int]
) -> None:
    one = desk.board().nodes[-1]
    gpus = tuple(GpuView(index=i, state="ok", utilization=64.0) for i in range(8))
    bad = (GpuView(index=0, state="failed"), *gpus[1:])
    nodes = tuple(
        msgspec.structs.replace(
            one, name=f"train-h100-{n:04d}", rack=f"rack-{n // 8:03d}", state="healthy",
            what="8 of 8 GPUs report", gpus=bad if n == 700 else gpus,
        )
        for n in range(1250)
    )  # fmt: skip
    page = watch(size)
    health = msgspec.structs.replace(desk.health(), nodes=1250, gpus=10_000)
    desk.change(nodes=nodes, health=health, gpus_total=10_000, gpus_reporting=10_000)
    page.reload()
    assert len(page.request.get(f"{page.url}api/v1/fleet/cells").body()) < 20_000
    expect(page.locator("#fleet-cursor")).to_contain_text("Each square is a node")
    expect(page.locator("#fleet-map")).to_have_attribute("data-drawn-ms", re.compile(r"\d"))
    box = page.locator("#fleet-map").bounding_box()
    assert box is not None
    assert box["height"] < 320
    page.locator("#fleet-map").focus()
    cursor = page.locator("#fleet-cursor")
    expect(cursor).to_contain_text("train-h100-0700, 8 GPUs, rack rack-087: failed")
    page.keyboard.press("Home")
    expect(cursor).to_contain_text("train-h100-0000, 8 GPUs, rack rack-000: on average 60 to 70 %")
    page.keyboard.press("PageDown")
    expect(cursor).to_contain_text("train-h100-0008, 8 GPUs, rack rack-001")
    page.keyboard.press("n")
    expect(cursor).to_contain_text("train-h100-0700")
    page.keyboard.press("Home")
    page.keyboard.press("PageDown")
    page.keyboard.press("ArrowDown")
    expect(cursor).not_to_contain_text("train-h100-0008")
    page.keyboard.press("End")
    expect(cursor).to_contain_text("train-h100-1249")
    over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert over <= 0
