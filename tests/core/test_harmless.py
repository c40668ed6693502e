"""Text that strangers wrote: whatever way it goes out, no terminal obeys it and nothing hides.

Each field of each word that a desk gives is planted with every attack; what comes out is searched.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sse_starlette import ServerSentEvent
from tests.browser.fake_desk import FakeDesk
from tests.core.console_people import PEOPLE, address
from tests.core.console_stage import URL, Stage, stage
from typer.main import get_command

from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.adapters.notify import Notify
from watchkeeper.app import print_tables, printing
from watchkeeper.app.cli import app as commands
from watchkeeper.app.cli import main
from watchkeeper.console.access import TABLE
from watchkeeper.console.app import create_app
from watchkeeper.console.broadcast import Broadcast
from watchkeeper.console.events import Streams
from watchkeeper.core.event import Kind
from watchkeeper.core.tame import harmless, harmless_json, hidden
from watchkeeper.core.word import plain
from watchkeeper.policy.yaml_text import as_yaml
from watchkeeper.twin.memory import CountingIds, ManualClock

ATTACKS = {
    "clear the screen": "\x1b[2J\x1b[H",
    "a title": "\x1b]0;owned\x07",
    "a link": "\x1b]8;;https://evil.example\x1b\\",
    "the clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "one byte for two": "\x9b31m\x85",
    "another reading direction": "\u202egnp.exe\u2066\u2069\u061c",
    "not to be seen": "\u200b\u2060\ufeff\u00ad\u180e",
    "tags": "\U000e0041\U000e0042",
    "lines": "\u2028\u2029\ufff9",
    "delete": "\x7f\x08\x08\x08",
    "nothing": "\x00",
}
MARKUP = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>{{7*7}}"
PLANTED = "".join(ATTACKS.values()) + MARKUP
CLOSED_SETS = frozenset(
    {
        "id", "state", "kind", "tone", "digest", "nonce", "hash", "prev", "incident", "proposal",
        "index", "group", "answer", "horizon", "zone", "currency", "tz", "scope",
    }
)  # fmt: skip
"""Fields whose text is of our own closed sets, or an id of ours: no stranger writes them."""

MAY_STAND = frozenset("\n\t\r")


def poison(value: Any, field: str = "") -> Any:
    """The same word with every free text of it planted."""
    if isinstance(value, str) and type(value) is str and field not in CLOSED_SETS:
        return value + PLANTED
    if isinstance(value, msgspec.Struct):
        fields = {f: poison(getattr(value, f), f) for f in value.__struct_fields__}
        try:
            return type(value)(**fields)
        except ValueError:
            return value  # the word itself refuses such a name
    if isinstance(value, tuple | list):
        return type(value)(poison(v, field) for v in value)
    if isinstance(value, dict):
        return {k: poison(v, str(k)) for k, v in value.items()}
    return value


class Poisoned:
    """A desk each of whose answers is planted."""

    READS = frozenset(
        {"board", "log", "incidents", "story", "asks", "ask", "events", "health", "explain"}
    )

    def __init__(self, desk: FakeDesk) -> None:
        self._desk = desk

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._desk, name)
        if name not in self.READS:
            return found
        return lambda *a, **k: poison(found(*a, **k))


def found_in(text: str) -> list[str]:
    return sorted({f"U+{ord(c):04X}" for c in text if hidden(c) and c not in MAY_STAND})


@pytest.fixture(scope="module")
def planted() -> Stage:
    clock, ids = ManualClock(), CountingIds()
    desk = FakeDesk(clock, ids)
    desk.people_are(*PEOPLE.values())
    app = create_app(Poisoned(desk), clock, ids, public_url=URL)  # type: ignore[arg-type]
    return Stage(desk=desk, clock=clock, app=app)


def test_no_page_and_no_json_carries_what_was_planted(
    planted: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def once(streams: Streams, *_: Any) -> AsyncIterator[ServerSentEvent]:
        beat = Broadcast(streams._house)._draw(1, None)
        for seq, html in beat.lines:
            yield ServerSentEvent(data=html, event="line", id=str(seq))
        yield ServerSentEvent(data=beat.state, event="state")

    monkeypatch.setattr(Streams, "_events", once)
    client = planted.signed_in("only-operator")
    wrong, with_plants = [], 0
    for method, path in sorted(TABLE):
        if method != "GET" or path.startswith("/login"):
            continue
        answer = client.get(address(path))
        if answer.status_code == 404:
            continue  # a node whose planted name nobody asks for
        assert answer.status_code < 500, path
        with_plants += "alert" in answer.text
        if characters := found_in(answer.text):
            wrong.append(f"{path}: {characters}")
        if "html" in answer.headers["content-type"] and ("<img src=x" in answer.text):
            wrong.append(f"{path}: markup")
        if "event-stream" in answer.headers["content-type"] and "<img src=x" in answer.text:
            wrong.append(f"{path}: markup")
    assert not wrong
    assert with_plants > 15  # the plants did reach the pages


def test_json_that_was_made_harmless_means_the_same() -> None:
    data = {"planted": PLANTED, "ok": "Ä 10\u00a0000 µs ✓"}
    text = harmless_json(json.dumps(data, ensure_ascii=False))
    assert found_in(text) == []
    assert json.loads(text) == data
    assert "Ä 10\u00a0000 µs ✓" in text


@given(st.text())
def test_any_text_survives_as_json_and_any_terminal_survives_any_text(text: str) -> None:
    assert json.loads(harmless_json(json.dumps(text, ensure_ascii=False))) == text
    assert found_in(harmless(text)) == []
    kept = [c for c in text if not hidden(c)]
    assert [c for c in harmless(text) if c != "\N{MIDDLE DOT}"] == [
        c for c in kept if c != "\N{MIDDLE DOT}"
    ]


@pytest.mark.parametrize("output", list(printing.Output))
def test_no_listing_of_the_command_line_carries_what_was_planted(
    output: printing.Output, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = Poisoned(stage().desk)
    for value, table in (
        (desk.board(), print_tables.status_table),
        (desk.incidents(), print_tables.incidents_table),
        (desk.asks(), print_tables.approvals_table),
        (desk.log(), print_tables.log_lines),
    ):
        printing.show(output, plain(value), table(plain(value)))
    printing.say(PLANTED)
    said = capsys.readouterr().out
    assert "alert" in said
    assert found_in(said) == []


def test_yaml_that_was_made_harmless_means_the_same() -> None:
    value = {"planted": PLANTED, "plain": "Ä µs"}
    text = as_yaml(value)
    assert found_in(text) == []
    assert yaml.safe_load(text) == value


def test_the_journals_tail_and_an_error_are_harmless_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = FileJournal(tmp_path / "journal", ManualClock())
    journal.append(Kind.NOTE, (), {"text": PLANTED}, durable=True)
    journal.close()
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path))
    done = CliRunner().invoke(get_command(commands), ["journal", "tail"])
    assert done.exit_code == 0
    assert found_in(done.output) == []
    assert json.loads(done.output)["data"]["text"] == PLANTED
    monkeypatch.setattr("sys.argv", ["watchkeeper", "explain", f"INC{PLANTED[:-1]}".strip("\0")])
    with pytest.raises(SystemExit):
        main()
    assert found_in(capsys.readouterr().err) == []


def test_a_page_that_goes_out_is_plain_text(tmp_path: Path) -> None:
    notify = Notify(tmp_path / "pages.log", None, ManualClock())
    notify.page("k", f"train-02 {PLANTED}", f"first line\n{PLANTED}\nlast line")
    notify.close()
    line = (tmp_path / "pages.log").read_text()
    assert found_in(line) == []
    said = json.loads(line)
    assert found_in(said["title"] + said["body"]) == []
    assert said["title"].startswith("train-02 ")
    assert said["body"].splitlines()[-1] == "last line"


def test_the_attacks_are_attacks() -> None:
    for name, text in ATTACKS.items():
        assert any(unicodedata.category(c)[0] in "CZ" for c in text), name
        assert found_in(text), name
