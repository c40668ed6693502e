"""Handing a gang in: what is typed reaches the line, and what cannot be so is said at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.app.cli import app
from watchkeeper.app.door import Door
from watchkeeper.app.door_calls import calls
from watchkeeper.app.settings import Home
from watchkeeper.control.record import Record
from watchkeeper.core.errors import NotRunning, UsageError
from watchkeeper.core.event import Kind
from watchkeeper.twin.memory import ManualClock


class Taken:
    """Remembers what was handed in."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.cancelled: list[str] = []

    def submit(self, body: dict[str, object]) -> str:
        self.bodies.append(body)
        return str(body["name"])

    def cancel(self, name: str) -> None:
        self.cancelled.append(name)


class NoDesk:
    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_more: None


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Taken, Record]]:
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path))
    line, record = Taken(), Record(FileJournal(tmp_path / "journal", ManualClock()))
    served = calls(NoDesk(), lambda: None, None, record, "", line)  # type: ignore[arg-type]
    waiting = {"jobs": [{"name": "a", "state": "waiting", "gpus": 8.0, "why_waits": "a waits."}]}
    door = Door(Home.find().socket, {**served, "board": lambda: waiting})
    yield line, record
    door.close()
    record.journal.close()  # type: ignore[attr-defined]


def typed(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, words)
    return done.exit_code, f"{done.output}{done.exception or ''}"


def test_a_gang_is_handed_in_with_its_shape_and_the_record_says_who(
    taken: tuple[Taken, Record],
) -> None:
    line, record = taken
    code, said = typed(
        "submit", "bert-7", "--workers", "4", "--gpus", "8", "--priority", "9", "--runtime", "90m",
        "--within", "rack", "--as", "ann", "--", "python", "train.py", "--data", "a b",
    )  # fmt: skip
    assert (code, said) == (
        0, "bert-7 waits for 32 GPUs. `watchkeeper queue` says why it still does.\n",
    )  # fmt: skip
    (body,) = line.bodies
    assert body["entrypoint"] == "python train.py --data 'a b'"
    assert (body["workers"], body["runtime_s"], body["within"]) == (4, 5400.0, "rack")
    notes = [e for e in record.journal.events() if e.kind is Kind.NOTE]
    assert [(n.data["text"], n.data["by"]) for n in notes] == [
        ("bert-7 was handed in.", "person:ann")
    ]


def test_it_is_taken_back_and_who_waits_is_told(taken: tuple[Taken, Record]) -> None:
    assert typed("queue") == (0, "a waits.\n")
    assert typed("cancel", "bert-7")[0] == 0
    assert taken[0].cancelled == ["bert-7"]


@pytest.mark.parametrize("runtime", ["4", "h", "four hours", "0h", "-1h"])
def test_a_time_that_is_none_is_refused(taken: tuple[Taken, Record], runtime: str) -> None:
    code, said = typed("submit", "x", f"--runtime={runtime}", "--", "true")
    assert code != 0
    assert runtime in said
    assert taken[0].bodies == []


def test_where_no_job_api_is_known_it_says_what_is_missing() -> None:
    served = calls(NoDesk(), lambda: None, None, None, "")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--job-api"):
        served["submit"](body={"name": "x"})


@pytest.mark.parametrize(
    ("decision", "code", "says", "not_said"),
    [
        ("deny", 9, "P-4: So. Only an order that allows `pool.reserve` lets", "watchkeeper status"),
        ("ask", 0, "P-4: So. `watchkeeper approvals` shows who is asked.", "watchkeeper status"),
        ("allow", 0, "P-4: So. `watchkeeper status` shows what is reserved.", "pool.reserve"),
    ],
)
def test_a_reservation_ends_with_the_code_of_what_policy_said(
    monkeypatch: pytest.MonkeyPatch, decision: str, code: int, says: str, not_said: str
) -> None:
    answer = {"proposal": "P-4", "decision": decision, "says": "So."}
    monkeypatch.setattr("watchkeeper.app.queue_cli.ask_watch", lambda *_args, **_more: answer)
    monkeypatch.setattr("watchkeeper.app.queue_cli.watch_now", lambda: datetime.now(UTC))
    done = CliRunner().invoke(app, ["reserve", "train", "--nodes", "2", "--until", "18:00"])
    said = f"{done.output}{done.exception or ''}"
    assert getattr(done.exception, "exit_code", 0) == code
    assert says in said
    assert not_said not in said


@pytest.mark.parametrize(
    ("typed_as", "until"),
    [
        (("--for", "2h"), "2031-03-04T07:00:00+00:00"),
        (("--until", "06:00"), "2031-03-04T06:00:00+00:00"),
    ],
)
def test_a_hold_is_counted_from_the_time_of_the_watch_which_may_be_a_twins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed_as: tuple[str, str], until: str
) -> None:
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path))
    held: list[dict[str, Any]] = []

    def hold(**asked: Any) -> dict[str, Any]:
        held.append(asked)
        return {"id": "H-1", "what": asked["what"]}

    twins = datetime(2031, 3, 4, 5, 0, tzinfo=UTC)
    door = Door(Home.find().socket, {"now": lambda: twins, "hold": hold})
    code, said = typed("hold", "node:train-01", *typed_as, "--as", "ann")
    door.close()
    assert code == 0, said
    assert held[0]["until"] == until
    assert "until 2031-03-04 0" in said


def test_who_loses_a_node_names_it() -> None:
    served = calls(NoDesk(), lambda: None, lambda **_more: "", None, "")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--node NAME"):
        served["inject"](fault="node-loss")


def test_an_assistant_at_a_home_without_a_watch_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mcp")
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path))
    done = CliRunner().invoke(app, ["mcp"])
    assert getattr(done.exception, "exit_code", 0) == NotRunning.exit_code
