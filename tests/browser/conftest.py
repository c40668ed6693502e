"""A real browser before a real console over a simulated desk."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page
from tests.browser.fake_desk import ANN, FakeDesk

from watchkeeper.adapters.system_clock import SystemClock, SystemIds
from watchkeeper.console.app import create_app
from watchkeeper.core.desk import Ask, Desk, Person

DESK = (1280, 800)
PHONE = (390, 844)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker(pytest.mark.browser)


@pytest.fixture
def desk() -> FakeDesk:
    """A fresh simulated morning."""
    return FakeDesk(SystemClock(), SystemIds())


@dataclass
class Served:
    """A console that is being served in a thread of this process."""

    url: str
    server: uvicorn.Server
    thread: threading.Thread

    def end(self) -> None:
        self.server.should_exit = True
        self.server.force_exit = True
        self.thread.join(10)


def serve(desk: Desk, **more: Any) -> Served:
    """Serve a console over this desk on a free port of the loopback. more: as `create_app` has."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # who comes before the server is up waits in line
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(desk, SystemClock(), SystemIds(), public_url=url, **more)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    return Served(url, server, thread)


@pytest.fixture
def base_url(desk: FakeDesk) -> Iterator[str]:
    served = serve(desk)
    yield served.url
    served.server.should_exit = True
    desk.say_line("Watch", "The test ends.")  # wakes the streams, which then see it
    served.end()


@dataclass
class Pages:
    """Opens pages, and remembers everything that went wrong on them."""

    browser: Browser
    troubles: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    """Parts of messages that this test is about."""

    def open(
        self,
        size: tuple[int, int] = DESK,
        *,
        scheme: str = "dark",
        javascript: bool = True,
        **more: Any,
    ) -> Page:
        """A page in a context of its own. Its dialogs, errors and CSP violations are troubles."""
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,  # type: ignore[arg-type]
            java_script_enabled=javascript,
            **more,
        )
        context.set_default_timeout(4_000)
        page = context.new_page()
        page.on("console", lambda m: self._note(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self._note(str(e)))
        page.on("dialog", lambda d: (self._note(f"dialog: {d.message}"), d.dismiss())[-1])
        return page

    def _note(self, text: str) -> None:
        if not any(part in text for part in self.expected):
            self.troubles.append(text)


@pytest.fixture
def pages(browser: Browser, base_url: str) -> Iterator[Pages]:
    """`pages.open(size)` gives a page. At the end none may have had an error. (It asks for
    `base_url` so that pages close before their server does.)"""
    opened = Pages(browser)
    yield opened
    for context in list(browser.contexts):
        context.close()
    assert opened.troubles == []


def log_in(page: Page, base_url: str, desk: FakeDesk, person: Person = ANN) -> None:
    """Follow a fresh one-time link and press its button, as a person would."""
    link = next(path for name, path in desk.login_links() if name == person.name)
    page.goto(base_url + link)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{base_url}/")


@pytest.fixture
def hard(desk: FakeDesk) -> Ask:
    """The waiting question that wants a name typed."""
    return next(a for a in desk.asks() if a.typed_name)


@pytest.fixture
def easy(desk: FakeDesk) -> Ask:
    """The waiting question that may be answered on its card."""
    return next(a for a in desk.asks() if not a.typed_name)


@pytest.fixture
def watch(pages: Pages, base_url: str, desk: FakeDesk) -> Callable[..., Page]:
    """`watch(size, ...)`: a signed-in page on the watch."""

    def opened(size: tuple[int, int] = DESK, person: Person = ANN, **more: Any) -> Page:
        page = pages.open(size, **more)
        log_in(page, base_url, desk, person)
        return page

    return opened
