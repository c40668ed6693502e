"""Every page, as people with different eyes and hands meet it: axe finds nothing serious, nothing
scrolls sideways, text from outside stays text; and the pictures of the key states."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Page, expect
from tests.browser.conftest import DESK, PHONE, Pages
from tests.browser.fake_desk import ANN, FakeDesk

from watchkeeper.core.desk import Ask, GpuView
from watchkeeper.core.word import digest

Watch = Callable[..., Page]
replace = msgspec.structs.replace
SMALLEST = (360, 740)
PAGES = {
    "watch": "/",
    "ask": "/a/P-7",
    "change": "/a/P-7/change?1.deadline_s=120&steps=4",
    "together": "/a/together?of=P-7",
    "fleet": "/fleet",
    "block": "/fleet?by=rack&block=r1&shade=temperature",
    "node": "/nodes/train-02",
    "gpu": "/nodes/train-02/gpus/2",
    "incidents": "/incidents",
    "incident": "/i/INC-2",
    "forecast": "/forecast",
    "policy": "/policy",
    "glass": "/break-glass",
    "glass-one": "/break-glass/P-5",
    "agents": "/agents",
    "costs": "/costs",
    "journal": "/journal",
    "verify": "/journal/verify",
    "report": "/report",
    "chat": "/chat?find=train-02",
    "more": "/more",
    "nothing": "/nowhere",
}
NIGHTLY = bool(os.environ.get("WATCHKEEPER_NIGHTLY"))
WCAG = "runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'], "
"""By day the rules that can be serious; by night what axe calls good practice too."""
RUN = "{" + ("" if NIGHTLY else WCAG) + "resultTypes: ['violations'], preload: false}"
PICTURES = os.environ.get("WATCHKEEPER_SCREENSHOTS", "")


@lru_cache(maxsize=1)
def axe() -> str:
    """axe-core, from the package that carries it; none of it is ours."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def findings(page: Page) -> list[str]:
    """What axe finds serious or critical: rule, and where. Our Content-Security-Policy forbids
    foreign scripts in the page, so it runs in the debugger's own world."""
    page.evaluate(axe())
    found: list[dict[str, Any]] = page.evaluate(f"axe.run(document, {RUN}).then(r => r.violations)")
    return [
        f"{each['id']}: {each['nodes'][0]['target']} {each['nodes'][0].get('failureSummary', '')}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def sideways(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


LOOKS = {
    "phone-dark": (SMALLEST, "dark"),
    "desk-light": (DESK, "light"),
    "phone-light": (SMALLEST, "light"),
    "desk-dark": (DESK, "dark"),
}


@pytest.mark.parametrize("look", LOOKS if NIGHTLY else [*LOOKS][:2])
def test_axe_finds_nothing_serious_on_any_page_and_none_scrolls_sideways(
    pages: Pages, watch: Watch, base_url: str, look: str
) -> None:
    """By day half of the pages on a small dark phone and the others on a light desk; by night every
    page in every look."""
    pages.expected = ("404",)
    size, scheme = LOOKS[look]
    page = watch(size, scheme=scheme, reduced_motion="reduce")
    first = [*LOOKS].index(look)
    wrong = {}
    for name in [*PAGES] if NIGHTLY else [*PAGES][first::2]:
        page.goto(base_url + PAGES[name])
        if found := [*findings(page), *(["scrolls sideways"] if sideways(page) > 0 else [])]:
            wrong[name] = found
    assert wrong == {}


STATES: dict[str, Callable[[FakeDesk], object]] = {
    "stale": lambda desk: desk.make_stale(),
    "halted": lambda desk: desk.halt(),
    "not-ready": lambda desk: desk.not_ready("Ray does not answer"),
    "empty": lambda desk: desk.change(nodes=(), jobs=(), pools=(), limits=()),
    "decided": lambda desk: desk.expire("P-7"),
}


@pytest.mark.parametrize("state", STATES if NIGHTLY else ["stale"])
def test_axe_finds_nothing_serious_in_any_state(
    watch: Watch, desk: FakeDesk, base_url: str, state: str
) -> None:
    page = watch(PHONE)
    STATES[state](desk)
    for path in ("/", "/a/P-7", "/fleet") if NIGHTLY else ("/a/P-7",):
        page.goto(base_url + path)
        assert findings(page) == [], path


def test_a_policy_author_tries_a_change_on_a_page_that_axe_passes(
    watch: Watch, desk: FakeDesk, base_url: str
) -> None:
    desk.people_are(replace(ANN, name="pat", roles=("viewer", "policy-author")))
    page = watch(SMALLEST, person=replace(ANN, name="pat"))
    page.goto(f"{base_url}/policy/try?file=policies/freeze.yaml")
    assert findings(page) == []
    page.get_by_role("button", name="Check, test and replay").click()
    page.wait_for_selector("#fo")
    assert findings(page) == []
    assert sideways(page) <= 0


ATTACKS = (
    "<img src=x onerror=alert(1)>",
    "</p><script>alert(1)</script>",
    '" autofocus onfocus=alert(1) x="',
    "javascript:alert(1)//",
    "{{7*7}}${7*7}",
    "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "safe\u202eelif\u2066evil\u2069",
    "&lt;svg/onload=alert(1)&gt;",
)


def test_every_attack_string_shows_as_text_on_every_page(
    watch: Watch, desk: FakeDesk, base_url: str, hard: Ask
) -> None:
    text = " ".join(ATTACKS)
    board = desk.board()
    node = board.nodes[0]
    gang = replace(board.jobs[0], name=text, tenant=text, why_waits=text, state="waiting")
    desk.change(
        nodes=(replace(node, what=text, rack=text, pool=text, jobs=(text,)), *board.nodes[1:]),
        jobs=(gang, *board.jobs[1:]),
        pools=tuple(replace(p, forecast_why=text, looked_back=(text,)) for p in board.pools),
        limits=tuple(replace(limit, text=text) for limit in board.limits),
        policy_error=text,
    )
    signals = tuple(replace(s, raw=text) for s in hard.shown.evidence)
    shown = replace(
        hard.shown, evidence=signals, proposal=replace(hard.shown.proposal, reason=text)
    )
    desk.put(replace(hard, why_now=text, title=text, shown=shown, digest=digest(shown)))
    desk.say_line("Saw", text, tone="bad", incident="INC-2")
    page = watch(PHONE)
    page.goto(f"{base_url}/chat")
    page.get_by_label("Your question").fill(text.replace("\x1b", "").replace("\x07", "")[:400])
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_url("**/chat/*")
    for name, path in PAGES.items():
        if name == "nothing" or not (
            NIGHTLY or name in ("watch", "ask", "block", "incident", "chat")
        ):
            continue  # by day the pages of the most text; the server's own test has them all
        page.goto(base_url + path)
        seen = page.evaluate(
            "[document.images.length, document.querySelectorAll('[onerror],[onload],[onfocus]')"
            ".length, [...document.scripts].every(s => s.src.startsWith(location.origin)),"
            "[...document.links].every(a => a.origin === location.origin)]"
        )
        assert seen == [0, 0, True, True], name
        body = page.inner_text("body")
        assert not {"\u202e", "\u2066", "\x1b"} & set(body), name
        assert sideways(page) <= 0, name
    page.goto(base_url)
    expect(page.locator("body")).to_contain_text("<img src=x onerror=alert(1)>")


def test_an_incident_goes_on_while_it_is_read(watch: Watch, desk: FakeDesk, base_url: str) -> None:
    page = watch()
    page.goto(f"{base_url}/i/INC-2")
    page.evaluate("window.here = 1")
    story = desk.story("INC-2")
    assert story is not None
    more = replace(story.steps[-1], seq=99, title="Did: Cordon train-02", text="", tone="good")
    desk.put_story(replace(story, steps=(*story.steps, more)))
    desk.say_line("Did", "Cordon train-02.", incident="INC-2")
    expect(page.locator("#story")).to_contain_text("Did: Cordon train-02")
    expect(page.locator("#s99")).to_contain_text("verification")
    assert page.evaluate("window.here") == 1


def test_the_rest_of_the_key_flows_need_no_script_on_a_phone(
    watch: Watch, desk: FakeDesk, base_url: str
) -> None:
    """Change and approve, ask and find, zoom from the fleet to one GPU, verify the journal."""
    page = watch(PHONE, javascript=False)
    page.goto(f"{base_url}/a/P-7")
    page.get_by_role("link", name="Change…").click()
    page.get_by_label("Time to finish work").fill("300")
    page.get_by_role("button", name="Check against policy").click()
    expect(page.get_by_text("so it stays the same request")).to_be_visible()
    page.get_by_role("button", name="Ask for this instead").click()
    page.get_by_label("Type train-02 to approve").fill("train-02")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status").first).to_contain_text("You approved this at")
    assert len(desk.effects) == 1

    page.goto(base_url)
    page.get_by_role("link", name="Ask", exact=True).click()
    page.get_by_label("Your question").fill("Why train-02?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator(".answer").get_by_role("link", name="train-02").first.click()
    page.get_by_role("link", name="GPU 2", exact=True).click()
    expect(page.get_by_role("img", name="Heat: now")).to_be_visible()
    page.get_by_role("link", name="r1").click()
    expect(page.get_by_role("link", name="train-01")).to_be_visible()

    page.get_by_role("link", name="More").click()
    page.get_by_role("main").get_by_role("link", name="Journal").click()
    page.get_by_role("link", name="Verify the chain").click()
    expect(page.get_by_role("heading", name="The journal holds")).to_be_visible()


SHOWN = (
    ("approve", "/a/P-7", PHONE, "dark"),
    ("change", "/a/P-7/change?1.deadline_s=120&steps=4", PHONE, "light"),
    ("incident", "/i/INC-2", (1440, 900), "light"),
    ("policy", "/policy", (1440, 900), "dark"),
    ("agents", "/agents", (1440, 900), "light"),
    ("forecast", "/forecast", PHONE, "dark"),
    ("gpu", "/nodes/train-03/gpus/2", PHONE, "dark"),
)
"""What the docs show: name, page, window, colours."""


@pytest.mark.skipif(not PICTURES, reason="WATCHKEEPER_SCREENSHOTS names no folder")
def test_pictures_of_the_key_states(watch: Watch, desk: FakeDesk, base_url: str) -> None:
    folder = Path(PICTURES) / "console"
    folder.mkdir(parents=True, exist_ok=True)
    ask = desk.say(ANN, "Why train-02?")

    def picture(name: str, path: str, size: tuple[int, int], scheme: str) -> None:
        page = watch(size, scheme=scheme, reduced_motion="reduce")
        page.goto(base_url + path)
        if page.locator("#fleet-map").count():
            page.wait_for_selector("#fleet-map[data-drawn-ms]")
        page.screenshot(path=folder / f"{name}.png")
        page.context.close()

    for name, path, size, scheme in SHOWN:
        picture(name, path, size, scheme)
    picture("answer", f"/chat/{ask.seq}", PHONE, "dark")
    desk.make_stale()
    picture("stale", "/a/P-7", PHONE, "light")
    desk.make_stale(3.0)
    desk.people_are(
        replace(ANN, groups=("oncall", "break-glass"), roles=("viewer", "break-glass")),
        replace(ANN, name="pat", roles=("viewer", "policy-author")),
    )
    picture("glass", "/break-glass/P-5", PHONE, "light")
    page = watch((1440, 900), person=replace(ANN, name="pat"), reduced_motion="reduce")
    page.goto(f"{base_url}/policy/try?file=policies/freeze.yaml")
    page.get_by_role("button", name="Check, test and replay").click()
    page.wait_for_selector("#fo")
    page.screenshot(path=folder / "try.png")
    page.context.close()
    desk.people_are(ANN)
    desk.change(**large(desk))
    picture("fleet", "/fleet?shade=temperature", (1440, 900), "dark")


def large(desk: FakeDesk) -> dict[str, Any]:
    """The board of a fleet of 10,000 GPUs, some of them ill."""
    one = desk.board().nodes[-1]

    def gpus(n: int) -> tuple[GpuView, ...]:
        heat = [48 + (n * 7 + i * 5) % 40 for i in range(8)]
        states = ["failed" if n % 97 == 5 and i == 3 else "ok" for i in range(8)]
        if n % 211 == 40:
            states = ["cordoned"] * 8
        return tuple(
            GpuView(index=i, state=states[i], utilization=64.0, temperature=heat[i])
            for i in range(8)
        )

    nodes = tuple(
        replace(
            one,
            name=f"train-{n:04d}",
            rack=f"r{n // 16:02d}",
            state="failed" if n % 97 == 5 else "cordoned" if n % 211 == 40 else "healthy",
            rank=1 if n % 97 == 5 else 7 if n % 211 == 40 else 8,
            what="GPU 3 fell off the bus (XID 79)" if n % 97 == 5 else "8 of 8 GPUs report",
            gpus=gpus(n),
        )
        for n in range(1250)
    )
    health = replace(desk.health(), nodes=1250, gpus=10_000)
    return {"nodes": nodes, "health": health, "gpus_total": 10_000, "gpus_reporting": 9_987}
