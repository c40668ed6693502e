"""Bad input as a user meets it: one clear sentence on stderr, what to do next, the documented exit
code, and nothing started. The port is held throughout, so that no case here can start a lab."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stories.world import DAY, Story

from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.app.door import Door
from watchkeeper.app.door_calls import calls
from watchkeeper.core.event import Kind
from watchkeeper.twin.memory import ManualClock

POLICIES = Path(__file__).parents[2] / "policies"
NOBODY = "redis://127.0.0.1:1/0"


class Console:
    """A shell in a home of its own, with the port that `up` would take held by somebody else."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port

    def __call__(self, *argv: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "WATCHKEEPER_HOME": str(home or self.home), "COLUMNS": "200"}
        env.pop("WATCHKEEPER_PERSON", None)
        return subprocess.run(
            [sys.executable, "-m", "watchkeeper.app.cli", *argv],
            capture_output=True,
            text=True,
            env=env,
            timeout=120,
        )

    def up(self, *argv: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self("up", "--port", str(self.port), *argv, home=home)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Console]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield Console(tmp_path / "home", taken.getsockname()[1])


def told(done: subprocess.CompletedProcess[str], code: int, says: str) -> str:
    """Exit code, and one line on stderr that is a sentence; returns that line."""
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert done.returncode == code, (done.returncode, done.stderr, done.stdout)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    line = lines[0]
    assert re.match(r"watchkeeper: \S.*[.)]$", line), line
    assert re.search(says, line), line
    return line


def unstarted(home: Path) -> bool:
    """Nothing was brought up: no Redis, no lab, no watch left a trace."""
    return not any((home / name).exists() for name in ("redis", "lab", "run/watch.json"))


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        pytest.param(
            ["--redis", NOBODY], 5, "Redis at .* did not serve us.*See that it runs", id="redis"
        ),
        pytest.param(
            ["--redis", "http://x"], 2, "is no Redis URL.*Write redis://HOST", id="redis-url"
        ),
        pytest.param(
            ["--policies", "/nowhere/at-all"],
            2,
            "There is no policy folder at /nowhere/at-all. Make one",
            id="no-policies",
        ),
        pytest.param(
            ["--policies", __file__], 2, "is a file; --policies wants the folder", id="a-file"
        ),
        pytest.param(["--lab-time", "half past nine"], 2, 'Write "HH:MM"', id="lab-time"),
        pytest.param(["--lab-time", "25:00"], 2, 'Write "HH:MM"', id="lab-hour"),
        pytest.param(
            ["--lab-time", "02:30", "--ray-address", "h:1"], 2, "belong to the lab", id="both"
        ),
        pytest.param(["--provider", "/nowhere.toml"], 2, "no provider file", id="provider"),
        pytest.param([], 7, r"Port \d+ .* is taken.*Choose another with --port", id="port"),
    ],
)
def test_up_refuses_before_anything_is_started(
    shell: Console, argv: list[str], code: int, says: str
) -> None:
    told(shell.up(*argv), code, says)
    assert unstarted(shell.home)


def test_up_names_every_mistake_of_the_policy_with_its_place(
    shell: Console, tmp_path: Path
) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    (folder / "a.yaml").write_text("apiVersion: watchkeeper/v1\nkind: Policy\nrulez: []\n")
    (folder / "b.yaml").write_text("rules: [\n")
    done = shell.up("--policies", str(folder))
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"orders/a\.yaml:3:1: .*rulez.*Did you mean 'rules'", done.stderr)
    assert re.search(r"orders/b\.yaml:\d+:\d+: ", done.stderr)
    assert unstarted(shell.home)


def test_a_second_up_in_the_same_home_is_refused(shell: Console) -> None:
    (shell.home / "run").mkdir(parents=True)
    with (shell.home / "run" / "supervisor.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told(shell.up(), 7, "already up in .*See `watchkeeper status`, or set WATCHKEEPER_HOME")
    assert unstarted(shell.home)


def broken_journal(home: Path) -> None:
    journal = FileJournal(home / "journal", ManualClock())
    for word in ("one", "two", "three"):
        journal.append(Kind.NOTE, (), {"text": word})
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes().replace(b"two", b"2.0"))


def test_up_on_a_corrupt_journal_says_where_and_what_to_do(shell: Console) -> None:
    broken_journal(shell.home)
    told(shell.up(), 4, r"does not hold: line 2 \(event 2\) was changed.*Keep the file")
    assert unstarted(shell.home)


def test_up_on_a_journal_with_a_missing_tail_does_not_start(shell: Console) -> None:
    broken_journal(shell.home)
    (shell.home / "journal" / "journal.jsonl").write_bytes(b"")
    told(shell.up(), 4, "the tail is missing: it ends at event 0, and event 3 was written")


@pytest.mark.parametrize("argv", [["up"], ["stop"]], ids=" ".join)
def test_a_home_that_cannot_be_made(shell: Console, tmp_path: Path, argv: list[str]) -> None:
    (tmp_path / "file").write_text("")
    home = tmp_path / "file" / "home"
    done = shell.up(home=home) if argv == ["up"] else shell(*argv, home=home)
    told(done, 2, "cannot be made: Not a directory. Set WATCHKEEPER_HOME")


@pytest.mark.parametrize(
    "argv",
    [
        ["status"],
        ["approve", "P-1"],
        ["inject", "node-loss"],
        ["resume"],
        ["explain", "INC-1"],
    ],
    ids=lambda argv: argv[0],
)
def test_without_a_watch_it_says_how_to_start_one(shell: Console, argv: list[str]) -> None:
    told(shell(*argv), 6, "No watch answers in .*Start one with `watchkeeper up`")


def test_stop_works_without_a_watch(shell: Console) -> None:
    done = shell("stop", "--reason", "maintenance")
    assert (done.returncode, done.stderr) == (0, "")
    assert "maintenance" in (shell.home / "STOP").read_text()


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["journal", "verify"], 2, "There is no journal at .*Start a watch"),
        (["journal", "tail"], 2, "There is no journal at"),
        (["policy", "check", "--policies", "/nowhere"], 2, "no policy folder at /nowhere"),
        (
            ["policy", "check", "--policies", str(POLICIES), "--at", "someday"],
            2,
            "--at 'someday' is not a time. Write it as",
        ),
        (["up", "--twin", "--lab"], 2, "--twin is a cluster of its own"),
        (["init", str(POLICIES)], 2, "holds .* already. Name another directory"),
        (["init", __file__ + "/x"], 2, "cannot be copied to"),
        (["diagnose", "--log", "/nowhere.log"], 2, "/nowhere.log"),
    ],
    ids=lambda v: " ".join(v[:2]) if isinstance(v, list) else "",
)
def test_other_commands_say_what_is_wrong(
    shell: Console, argv: list[str], code: int, says: str
) -> None:
    told(shell(*argv), code, says)


@pytest.mark.parametrize(
    "argv",
    [
        ["up", "--port", "99999"],
        ["up", "--autonomy", "yolo"],
        ["inject", "meteor"],
        ["autonomy", "full"],
        ["no-such-command"],
    ],
    ids=lambda argv: " ".join(argv),
)
def test_usage_errors_end_with_2_and_no_traceback(shell: Console, argv: list[str]) -> None:
    done = shell(*argv)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert re.search(f"{re.escape(argv[-1])}|--port", done.stderr)


def test_journal_verify_finds_a_changed_line(shell: Console) -> None:
    broken_journal(shell.home)
    told(shell("journal", "verify"), 4, "The journal does not hold: line 2")


def test_a_journal_that_is_not_text_is_no_crash(shell: Console) -> None:
    broken_journal(shell.home)
    (shell.home / "journal" / "journal.jsonl").write_bytes(b"\xff\xfe\x00" * 100 + b"\n")
    told(shell("journal", "verify"), 4, "line 1 is not an event")
    told(shell("journal", "export"), 4, "line 1 is not an event")


def test_an_export_that_cannot_be_written(shell: Console) -> None:
    broken_journal(shell.home)
    told(shell("journal", "export", "--to", "/nowhere/out.jsonl"), 2, "cannot be written")


@pytest.fixture
def asking(shell: Console) -> Iterator[Story]:
    """A watch that answers at the door of the shell's home, and waits for a person."""
    shell.home.mkdir()
    story = Story(shell.home, hour=DAY)
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    door = Door(
        shell.home / "watch.sock", calls(story.desk, lambda: None, None, story.record, "http://x")
    )
    yield story
    door.close()
    story.journal.close()


def test_who_is_not_of_the_policy_cannot_approve(shell: Console, asking: Story) -> None:
    ident = asking.desk.asks()[0].id
    told(
        shell("approve", ident, "--as", "mallory"),
        2,
        r"'mallory' is not one of the policy's people \(lead, primary.*--as NAME",
    )
    told(shell("approve", "P-999", "--as", "primary"), 2, "There is no question P-999.*approvals")
    assert asking.desk.asks()[0].status.state == "waiting"


def test_what_the_running_watch_refuses_is_said_as_plainly(shell: Console, asking: Story) -> None:
    told(shell("inject", "node-loss"), 2, "inject works in the lab and the twin only")
    told(shell("explain", "foo"), 2, "Nothing in the journal is called foo")
    told(shell("up", "--port", str(shell.port)), 7, "is taken")
    ident = asking.desk.asks()[0].id
    assert shell("deny", ident, "--as", "primary", "--reason", "not today").returncode == 0
    late = shell("approve", ident, "--as", "primary")
    assert (late.returncode, len(late.stderr.splitlines())) == (9, 1)
    assert "Already decided by primary at " in late.stderr
    assert " UTC: Denied. not today" in late.stderr


def test_the_log_can_be_followed_and_ends_with_one_sentence_when_the_watch_does(
    shell: Console, asking: Story
) -> None:
    env = {**os.environ, "WATCHKEEPER_HOME": str(shell.home), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "watchkeeper.app.cli", "watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as follower:
        assert follower.stdout is not None
        seen = ""
        while "Asks" not in seen:
            seen += follower.stdout.readline()
        asking.record.write(Kind.CHAT, question="why", answer="because of the XID", by="primary")
        while "because of the XID" not in seen:
            line = follower.stdout.readline()
            assert line, follower.stderr and follower.stderr.read()
            seen += line
        follower.terminate()
