"""The command line's door: one request a line, one answer a line, and nothing but named calls."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from watchkeeper.app.door import MAX_REQUEST, Door, ask
from watchkeeper.app.print_tables import approvals_table, harmless, incidents_table, log_lines
from watchkeeper.core.errors import Bug, JournalBroken, Malformed, NotRunning, Refused, UsageError


def fail(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


CALLS = {
    "echo": lambda **given: given,
    "timed": lambda timeout_s: timeout_s,
    "refuse": fail(Refused("It was answered before.")),
    "usage": fail(UsageError("Name a node.")),
    "broken": fail(JournalBroken("No space.")),
    "crash": fail(RuntimeError("boom")),
}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    door = Door(tmp_path / "watch.sock", CALLS)
    yield tmp_path / "watch.sock"
    door.close()


def test_a_call_is_answered_with_plain_values(path: Path) -> None:
    assert ask(path, "echo", node="a", count=3) == {"node": "a", "count": 3}


def test_a_calls_own_timeout_is_the_calls_and_not_ours(path: Path) -> None:
    assert ask(path, "timed", within_s=5.0, timeout_s=20.0) == 20.0


def test_only_the_owner_can_open_it(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        ("refuse", Refused, "It was answered before."),
        ("usage", UsageError, "Name a node."),
        ("broken", JournalBroken, "No space."),
        ("crash", Bug, "boom"),
        ("nothing-of-the-kind", Malformed, "not a request"),
    ],
)
def test_what_a_call_raised_there_is_raised_here(
    path: Path, call: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ask(path, call)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b"7\n",
        b"\xff\xfe\n",
        b'{"call":"echo","args":[1]}\n',
        b'{"call":["echo"]}\n',
        b"[" * 50_000 + b"\n",
        b"x" * (MAX_REQUEST + 10) + b"\n",
    ],
    ids=lambda b: repr(b[:12]),
)
def test_what_is_no_request_is_refused_and_the_door_stays_open(path: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(10)
        link.connect(str(path))
        link.sendall(line)
        link.shutdown(socket.SHUT_WR)
        try:
            answer = link.makefile("rb").readline()
        except ConnectionResetError:  # it hung up on a line that never ends
            answer = b""
    assert not answer or msgspec.json.decode(answer)["error"] == "Malformed"
    assert ask(path, "echo", a=1) == {"a": 1}


def test_without_a_watch_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="Start one with `watchkeeper up`"):
        ask(tmp_path / "watch.sock", "echo")


def test_a_watch_that_ends_in_mid_answer_is_not_running(tmp_path: Path) -> None:
    place = tmp_path / "watch.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(place))
        server.listen()
        hang_up = threading.Thread(target=lambda: server.accept()[0].close())
        hang_up.start()
        with pytest.raises(NotRunning):
            ask(place, "echo")
        hang_up.join()


def test_a_socket_left_by_a_killed_watch_is_taken_over(tmp_path: Path) -> None:
    place = tmp_path / "watch.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(place))
    door = Door(place, CALLS)
    assert ask(place, "echo", a=1) == {"a": 1}
    door.close()
    assert not place.exists()


def test_a_home_too_deep_for_a_socket_still_has_a_door(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    door = Door(deep / "watch.sock", CALLS)
    assert ask(deep / "watch.sock", "echo", a=1) == {"a": 1}
    door.close()
    assert os.listdir(deep) == []


HOSTILE = "gang[/red][bold]\x1b]0;owned\x07\x1b[2J"


def test_s22_names_from_the_cluster_are_neither_markup_nor_terminal_commands() -> None:
    row = {
        "id": "INC-1",
        "state": "open",
        "title": HOSTILE,
        "confidence": 0.9,
        "opened_at": "2026-11-18T12:00:00Z",
    }
    line = {
        "at": "2026-11-18T12:00:00Z",
        "kind": "Saw",
        "text": HOSTILE,
        "where": "",
        "question": "",
    }
    question = {
        "id": "P-1",
        "title": HOSTILE,
        "why_now": "",
        "blast": "",
        "rule_where": "",
        "expires_at": "2026-11-18T12:15:00Z",
    }
    for text in (incidents_table([row]), log_lines([line]), approvals_table([question])):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "gang[/red]" in text, "brackets are printed, not obeyed"


def test_plain_text_is_printed_as_it_is() -> None:
    assert harmless("train-02: 61 °C, Müller\n\tnext") == "train-02: 61 °C, Müller\n\tnext"
