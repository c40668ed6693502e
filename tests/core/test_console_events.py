"""The live stream, over a real server: what is new, once, and only while somebody is signed in."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
import uvicorn
from tests.core.console_stage import Stage, stage

from watchkeeper.console import broadcast, events
from watchkeeper.console.sessions import IDLE_S
from watchkeeper.console.signatures import signature
from watchkeeper.control.desk import LOG_KEPT
from watchkeeper.core.desk import Person

PATIENT_S = 30.0
"""A busy machine may take its time; what never comes still fails."""


def stream_of(url: str, *, headers: dict[str, str]) -> AbstractContextManager[httpx.Response]:
    return httpx.stream("GET", url, headers=headers, timeout=PATIENT_S)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Stage, dict[str, str]]]:
    """A console on a free port, and the headers of a session there."""
    monkeypatch.setattr(broadcast, "SLICE_S", 0.1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = stage(f"http://127.0.0.1:{port}")
    config = uvicorn.Config(
        world.app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    login = httpx.post(f"{world.url}/login", data={"token": world.link()})
    yield world, {"cookie": login.headers["set-cookie"].partition(";")[0]}
    server.should_exit = True
    thread.join(10)


def read(lines: Iterator[str], kind: str) -> dict[str, str]:
    """The next event of this kind."""
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = event.get(name, "") + value
        else:
            if event.get("event") == kind:
                return event
            event = {}
    raise AssertionError(f"the stream ended without {kind}")


def test_a_page_gets_each_new_line_once_with_its_number(
    live: tuple[Stage, dict[str, str]],
) -> None:
    world, headers = live
    with stream_of(f"{world.url}/events?after=12", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        state = json.loads(read(lines, "state")["data"])
        assert (state["waiting"], state["newest"]) == (2, 12)
        assert "Simulated" in state["html"]
        for n in range(3):
            world.desk.say_line("Saw", f"news <b>{n}</b>")
            event = read(lines, "line")
            assert event["id"] == str(13 + n)
            assert f"news &lt;b&gt;{n}&lt;/b&gt;" in event["data"].replace("\u2011", "-")


def test_a_page_that_was_away_goes_on_after_the_last_line_it_saw(
    live: tuple[Stage, dict[str, str]],
) -> None:
    world, headers = live
    away = {**headers, "last-event-id": "10"}
    with stream_of(f"{world.url}/events?after=3", headers=away) as stream:
        lines = stream.iter_lines()
        assert [read(lines, "line")["id"] for _ in range(2)] == ["11", "12"]


def test_a_decision_changes_the_state_line_of_every_page(
    live: tuple[Stage, dict[str, str]],
) -> None:
    world, headers = live
    url = f"{world.url}/events?after=12"
    with (
        stream_of(url, headers=headers) as one,
        stream_of(url, headers=headers) as two,
    ):
        both = [one.iter_lines(), two.iter_lines()]
        for lines in both:
            assert "Stopped" not in json.loads(read(lines, "state")["data"])["html"]
        world.desk.stop(world.desk.people()[0], "drill")
        for lines in both:
            assert "Stopped" in json.loads(read(lines, "state")["data"])["html"]


def test_the_state_names_what_waits_so_that_a_page_notices_another_question(
    live: tuple[Stage, dict[str, str]],
) -> None:
    world, headers = live
    with stream_of(f"{world.url}/events?after=12", headers=headers) as stream:
        lines = stream.iter_lines()

        def told() -> dict[str, Any]:
            return dict(json.loads(read(lines, "state")["data"]))

        first = told()
        shown = {ask.id: ask for ask in world.desk.asks()}
        assert set(first["asks"]) == set(shown)
        assert first["asks"]["P-7"] == f"waiting:0:{shown['P-7'].digest[:8]}"
        world.desk.redraw("P-7")
        drawn = told()
        assert drawn["waiting"] == first["waiting"]
        assert drawn["waits"] != first["waits"]
        assert drawn["asks"]["P-7"] != first["asks"]["P-7"]
        assert drawn["asks"]["P-8"] == first["asks"]["P-8"]
        world.desk.void("P-7")
        assert "P-7" not in told()["asks"]


def test_a_question_whose_time_is_up_has_another_signature_before_the_desk_ends_it() -> None:
    world = stage()
    ask = world.desk.asks()[0]
    assert signature(ask, world.clock.now()).startswith("waiting:")
    assert signature(ask, ask.expires_at).startswith("expired:")


def ids_until(lines: Iterator[str], last: str) -> list[str]:
    found: list[str] = []
    while not found or found[-1] != last:
        found.append(read(lines, "line")["id"])
    return found


def test_fourteen_seconds_without_a_network_lose_nothing_and_repeat_nothing(
    live: tuple[Stage, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "RING", 8)  # so that most was dropped from what is kept drawn
    monkeypatch.setattr(events, "LINES_AT_ONCE", 7)
    world, headers = live
    with stream_of(f"{world.url}/events?after=12", headers=headers) as stream:
        lines = stream.iter_lines()
        world.desk.say_line("Saw", "before")
        seen = read(lines, "line")["id"]
    with stream_of(f"{world.url}/events?after=12", headers=headers) as other:
        kept = other.iter_lines()
        read(kept, "line")
        for n in range(30):
            world.desk.say_line("Saw", f"while away {n}")
        world.clock.pass_s(14)
        back = {**headers, "last-event-id": seen}
        with stream_of(f"{world.url}/events?after=3", headers=back) as stream:
            got = ids_until(stream.iter_lines(), "43")
        assert got == [str(n) for n in range(14, 44)]
        assert ids_until(kept, "43") == got


@pytest.mark.parametrize("after", [1, 10_000], ids=["too long away", "of another journal"])
def test_a_page_that_cannot_be_told_all_is_told_to_load_again(
    live: tuple[Stage, dict[str, str]], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(events, "MAX_BEHIND", 5)
    world, headers = live
    with stream_of(f"{world.url}/events?after={after}", headers=headers) as stream:
        lines = stream.iter_lines()
        assert read(lines, "gap") == {"id": "12", "event": "gap", "data": events.GAP}
        world.desk.say_line("Saw", "news")
        assert read(lines, "line")["id"] == "13"


def test_the_desk_keeps_as_many_lines_as_a_page_may_have_missed() -> None:
    assert events.MAX_BEHIND <= LOG_KEPT


def test_what_did_not_change_is_not_sent_again(live: tuple[Stage, dict[str, str]]) -> None:
    world, headers = live
    with stream_of(f"{world.url}/events?after=12", headers=headers) as stream:
        lines = stream.iter_lines()
        assert set(json.loads(read(lines, "state")["data"])["asks"]) == {"P-7", "P-8"}
        world.desk.stop(world.desk.people()[0], "drill")
        told = json.loads(read(lines, "state")["data"])
        assert "Stopped" in told["html"]
        assert "asks" not in told
        world.desk.void("P-7")
        assert set(json.loads(read(lines, "state")["data"])["asks"]) == {"P-8"}


def test_the_stream_ends_when_its_person_leaves_the_policy(
    live: tuple[Stage, dict[str, str]],
) -> None:
    world, headers = live
    with stream_of(f"{world.url}/events?after=12", headers=headers) as stream:
        lines = stream.iter_lines()
        read(lines, "state")
        world.desk.people_are(Person(name="bob", groups=("oncall",)))
        assert "ended" in read(lines, "end")["data"]


def test_a_hundred_open_pages_get_each_line_once(live: tuple[Stage, dict[str, str]]) -> None:
    world, _ = live
    got: list[list[str]] = []

    async def listen(client: httpx.AsyncClient, cookie: str) -> None:
        headers = {"cookie": cookie}
        async with client.stream("GET", f"{world.url}/events?after=12", headers=headers) as stream:
            found: list[str] = []
            ready.release()
            async for line in stream.aiter_lines():
                if line.startswith("id: "):
                    found.append(line[4:])
                if len(found) == 3:
                    break
            got.append(found)

    async def all_of_them(cookies: list[str]) -> None:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            tasks = [asyncio.create_task(listen(client, cookies[n % 2])) for n in range(100)]
            for _ in tasks:
                await ready.acquire()
            for n in range(3):
                await asyncio.to_thread(world.desk.say_line, "Saw", f"line {n}")
            await asyncio.gather(*tasks)

    ready = asyncio.Semaphore(0)
    cookies = []
    for name in ("ann", "bob"):
        login = httpx.post(f"{world.url}/login", data={"token": world.link(name)})
        cookies.append(login.headers["set-cookie"].partition(";")[0])
    asyncio.run(all_of_them(cookies))
    assert got == [["13", "14", "15"]] * 100


def test_one_person_cannot_take_every_place(
    live: tuple[Stage, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_OF_ONE", 1)
    world, headers = live
    url = f"{world.url}/events?after=12"
    bob = httpx.post(f"{world.url}/login", data={"token": world.link("bob")})
    other = {"cookie": bob.headers["set-cookie"].partition(";")[0]}
    with stream_of(url, headers=headers) as mine:
        lines = mine.iter_lines()
        read(lines, "state")
        assert httpx.get(url, headers=headers).status_code == 503
        with stream_of(url, headers=other) as his:
            assert his.status_code == 200


def test_the_stream_ends_with_the_session_and_keeps_nobody_signed_in(
    live: tuple[Stage, dict[str, str]],
) -> None:
    world, headers = live
    with stream_of(f"{world.url}/events?after=12", headers=headers) as stream:
        lines = stream.iter_lines()
        read(lines, "state")
        world.clock.pass_s(IDLE_S + 1)
        assert "ended" in read(lines, "end")["data"]
        assert list(lines) == []
    assert httpx.get(f"{world.url}/fleet", headers=headers).status_code == 401


def test_streams_are_bounded_and_a_closed_one_gives_its_place_back(
    live: tuple[Stage, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS", 1)
    world, headers = live
    url = f"{world.url}/events?after=12"
    with stream_of(url, headers=headers) as first:
        lines = first.iter_lines()  # held: a dropped iterator closes its stream
        read(lines, "state")
        refused = httpx.get(url, headers=headers)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with stream_of(url, headers=headers) as again:
            if again.status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("the place was not given back")
