"""A console over the simulated morning, and a browser that holds a session."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser

from starlette.testclient import TestClient
from tests.browser.fake_desk import FakeDesk

from watchkeeper.console.app import create_app
from watchkeeper.twin.memory import CountingIds, ManualClock

URL = "http://127.0.0.1:8080"
HOST = "127.0.0.1:8080"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class Stage:
    """The desk behind the console, its clock, and clients of it."""

    desk: FakeDesk
    clock: ManualClock
    app: object
    url: str = URL

    def stranger(self) -> TestClient:
        """A client without a session."""
        return TestClient(
            self.app,  # type: ignore[arg-type]
            base_url=self.url,
            client=("127.0.0.1", 50000),
            follow_redirects=False,
            raise_server_exceptions=False,
        )

    def link(self, name: str = "ann") -> str:
        """A fresh one-time token."""
        return dict(self.desk.login_links())[name].partition("=")[2]

    def signed_in(self, name: str = "ann") -> TestClient:
        client = self.stranger()
        answer = client.post("/login", data={"token": self.link(name)})
        assert answer.status_code == 303, answer.text
        return client


def stage(url: str = URL) -> Stage:
    clock = ManualClock()
    ids = CountingIds()
    desk = FakeDesk(clock, ids)
    return Stage(desk=desk, clock=clock, app=create_app(desk, clock, ids, public_url=url), url=url)


def csrf(client: TestClient) -> str:
    """The session's form token, as a page carries it."""
    return Read.of(client.get("/").text).fields["csrf"]


def answer_form(
    client: TestClient, desk: FakeDesk, proposal: str = "P-7", **more: str
) -> dict[str, str]:
    """What the decision page would send to approve."""
    ask = desk.ask(proposal)
    assert ask is not None
    return {
        "answer": "approve",
        "digest": ask.digest,
        "nonce": ask.nonce,
        "csrf": csrf(client),
        "typed": ask.typed_name,
        "reason": "",
        **more,
    }


class Read(HTMLParser):
    """A page as a browser takes it apart: tags, attributes, hidden fields, visible text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.fields: dict[str, str] = {}
        self.said: list[str] = []

    @classmethod
    def of(cls, html: str) -> Read:
        read = cls()
        read.feed(html)
        read.close()
        return read

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        given = dict(attrs)
        if tag == "input" and given.get("type") == "hidden":
            self.fields[str(given.get("name"))] = given.get("value") or ""

    def handle_data(self, data: str) -> None:
        self.said.append(data)
