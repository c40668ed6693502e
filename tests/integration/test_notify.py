"""Pages and tickets go out, once each, and with nothing else working."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.adapters.notify import Notify
from watchkeeper.core.errors import UsageError


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 3, tzinfo=UTC) + timedelta(seconds=self.s)

    policy_now = now

    def steady(self) -> float:
        return self.s


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "home" / "notices.jsonl"


def test_a_page_and_a_ticket_are_on_file_with_time_and_key(log: Path) -> None:
    notify = Notify(log, None, Hand())
    assert notify.page("halt", "The watch halted", "half of the pool is silent")
    assert notify.ticket("t", "Check node-7", "three repairs in 7 days")
    assert [(n["kind"], n["key"], n["title"]) for n in lines(log)] == [
        ("page", "halt", "The watch halted"),
        ("ticket", "t", "Check node-7"),
    ]
    assert lines(log)[0]["at"] == "2026-11-22T03:00:00+00:00"
    assert log.stat().st_mode & 0o077 == 0


def test_one_key_goes_out_once_also_after_a_restart(log: Path) -> None:
    notify = Notify(log, None, Hand())
    assert [notify.page("k", "t", "b"), notify.page("k", "t", "b")] == [True, False]
    assert notify.ticket("k", "t", "b")  # a ticket is not the page
    assert not Notify(log, None, Hand()).page("k", "t", "b")


def test_a_torn_log_is_no_reason_not_to_page(log: Path) -> None:
    log.parent.mkdir()
    log.write_bytes(b'{"kind":"page","key":"a"\n\xff\n[]\n{"kind":"page","key":"b"}\n')
    notify = Notify(log, None, Hand())
    assert notify.page("a", "t", "b")
    assert not notify.page("b", "t", "b")


def test_a_flood_is_cut_off_and_said_so_once(log: Path) -> None:
    clock = Hand()
    notify = Notify(log, None, clock, pages_per_hour=3)
    sent = [notify.page(f"k{i}", "t", "b") for i in range(10)]
    assert sent == [True] * 3 + [False] * 7
    assert [n["title"] for n in lines(log)][3:] == ["More pages were held back"]
    clock.s += 3601
    assert notify.page("k9", "t", "b")  # held back is not forgotten


def test_a_log_that_cannot_be_written_falls_back_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert Notify(tmp_path / "file" / "log", None, Hand()).page("k", "The watch halted", "b")
    told = capsys.readouterr().err
    assert "cannot be written" in told
    assert "The watch halted" in told


class Hook(HTTPServer):
    got: list[dict[str, Any]]
    wait: threading.Event


@pytest.fixture
def hook() -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.wait.wait(10)
            server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = Hook(("127.0.0.1", 0), Handler)
    server.got, server.wait = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.wait.set()
    server.shutdown()
    server.server_close()


def test_the_webhook_gets_it_and_never_blocks_the_turn(log: Path, hook: Hook) -> None:
    notify = Notify(log, f"http://127.0.0.1:{hook.server_port}/page", Hand())
    started = time.monotonic()
    notify.page("k", "The watch halted", "b")
    assert time.monotonic() - started < 1.0  # the hook does not answer yet
    hook.wait.set()
    notify.close(5)
    assert [n["title"] for n in hook.got] == ["The watch halted"]


def test_a_webhook_that_fails_is_on_file(log: Path) -> None:
    notify = Notify(log, "http://127.0.0.1:1/", Hand())
    assert notify.page("k", "t", "b")
    notify.close(5)
    assert [n["kind"] for n in lines(log)] == ["page", "webhook.failed"]


def test_what_is_no_http_url_is_refused() -> None:
    with pytest.raises(UsageError, match="no webhook"):
        Notify(Path("x"), "file:///etc/passwd", Hand())
