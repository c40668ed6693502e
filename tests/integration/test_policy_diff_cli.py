"""`policy diff` as it is typed: a journal of a whole watch, the shipped orders, a changed copy."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "stories"))

from world import DAY, NIGHT, POLICIES, Answer, Kind, Story

AT = "2026-11-19"
Diff = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night and a day at the watch: repaired alone by night, asked by day."""
    path = tmp_path_factory.mktemp("home")
    story = Story(path, hour=NIGHT, pools={"train": 8})
    story.cluster.run("llm", ("train-01", "train-02"))
    story.cluster.run("vision", ("train-03", "train-04"))
    story.turns(2)
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.done() and story.quiet())
    story.clock.pass_s((DAY - NIGHT).total_seconds())
    for name, job in story.cluster.jobs.items():  # they were at work: else they hang since
        now = story.clock.now()
        worked = msgspec.structs.replace(job, step=(job.step or 0) + 1000, step_at=now)
        story.cluster.jobs[name] = worked
    story.turns(2)
    story.cluster.xid("train-04", 1, 79)
    story.until(lambda: story.desk.asks())
    story.answer(Answer.APPROVE)
    story.until(lambda: story.quiet())
    assert len(story.events(Kind.VERDICT)) > 10
    story.journal.close()
    return path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The shipped orders in a folder of another name."""
    return Path(shutil.copytree(POLICIES, tmp_path / "next"))


@pytest.fixture
def diff(home: Path) -> Diff:
    def run(*argv: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "watchkeeper.app.cli", "policy", "diff"]
        env = os.environ | {"WATCHKEEPER_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "100"}
        done = subprocess.run(
            [*command, *map(str, argv)], capture_output=True, text=True, env=env, timeout=60
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def edit(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


def test_the_same_orders_in_another_folder_change_nothing_and_are_recognised(
    diff: Diff, copy: Path
) -> None:
    found = json.loads(diff(POLICIES, copy, "--at", AT, "-o", "json", "--fail-on", "any").stdout)
    assert found["replayed"] == found["judged"] == found["checked"] == found["unchanged"] > 10
    assert found["unreplayed"] == found["mismatches"] == found["sections"] == []
    moved = json.loads(diff(copy, copy, "--at", AT, "-o", "json").stdout)
    assert moved["checked"] == found["checked"], "OLD is known again although its folder is another"


def test_a_stricter_night_is_told_with_numbers_rule_and_examples(diff: Diff, copy: Path) -> None:
    edit(
        copy,
        "night-orders.yaml",
        "independent_sources: 2, verify",
        "independent_sources: 3, verify",
    )
    text = diff(POLICIES, copy, "--at", AT).stdout
    assert re.match(r"Replayed (\d+) of \1 decisions of the last 30 days \(2026-10-20 … ", text)
    assert "Newly denied: " in text
    assert re.search(r"next/night-orders.yaml:\d+ take-out-what-is-surely-broken \(unmet\)", text)
    assert re.search(r"Drain train-02 .*  INC-1  P-\d", text)
    assert "Newly allowed" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert len(text.splitlines()) <= 45, "one screen"
    diff(POLICIES, copy, "--at", AT, "--fail-on", "widened")
    diff(POLICIES, copy, "--at", AT, "--fail-on", "narrowed", code=1)
    diff(copy, POLICIES, "--at", AT, "--fail-on", "widened", code=1)


def test_looser_terms_of_an_ask_count_as_widened(diff: Diff, copy: Path) -> None:
    edit(copy, "day-orders.yaml", "quorum: 1, from: [group:oncall]", "quorum: 1, from: [group:oncall, group:platform]")  # noqa: E501  # fmt: skip
    text = diff(POLICIES, copy, "--at", AT, "--fail-on", "widened", code=1).stdout
    assert "Still asked, on looser terms" in text
    assert "answered by lead, platform as well" in text


def test_an_exported_journal_gives_the_same_answer(diff: Diff, home: Path, copy: Path, tmp_path: Path) -> None:  # noqa: E501  # fmt: skip
    edit(copy, "day-orders.yaml", "expires: 2h", "expires: 5m")
    out = tmp_path / "export.jsonl"
    command = [sys.executable, "-m", "watchkeeper.app.cli", "journal", "export", "--to", str(out)]
    env = os.environ | {"WATCHKEEPER_HOME": str(home)}
    subprocess.run(command, env=env, check=True, timeout=60)
    exported = diff(POLICIES, copy, "--at", AT, "--journal", out).stdout
    assert exported == diff(POLICIES, copy, "--at", AT).stdout


def lines_of(home: Path) -> list[str]:
    return (home / "journal" / "journal.jsonl").read_text().splitlines(keepends=True)


def test_a_part_of_a_journal_is_replayed_and_said_to_be_unverified_from_the_beginning(
    diff: Diff, home: Path, copy: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.jsonl"
    part.write_text("".join(lines_of(home)[6:]))
    text = diff(POLICIES, copy, "--at", AT, "--journal", part).stdout
    assert "begins with event 7: its lines hold together, but they could not be" in text


@pytest.mark.parametrize("first", [0, 3], ids=["whole", "part"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda lines: [*lines[:10], "{half a li\n", *lines[11:]], "line {} is not an event"),
        (lambda lines: [*lines[:10], *lines[11:]], "line {} "),
        (lambda lines: [*lines[:10], lines[10].replace('"steady":', '"steady":1'), *lines[11:]], "line {} "),  # noqa: E501
    ],
    ids=["garbled", "missing", "altered"],
)  # fmt: skip
def test_a_damaged_journal_ends_with_4_and_the_line(
    diff: Diff, home: Path, copy: Path, tmp_path: Path, first: int, damage: object, says: str
) -> None:
    assert callable(damage)
    broken = tmp_path / "broken.jsonl"
    broken.write_text("".join(damage(lines_of(home))[first:]))
    said = diff(POLICIES, copy, "--at", AT, "--journal", broken, code=4).stderr
    assert says.format(11 - first) in said


def test_a_folder_that_does_not_load_ends_with_3_and_is_named(diff: Diff, copy: Path) -> None:
    edit(copy, "day-orders.yaml", "effect: ask", "effect: perhaps")
    said = diff(POLICIES, copy, code=3).stderr
    assert f"NEW ({copy}) does not load" in said
    assert "next/day-orders.yaml:" in said


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--since", "yesterday"), "30d, 12h or 90m"),
        (("--journal", "/nowhere/journal.jsonl"), "There is no journal file"),
    ],
    ids=["since", "journal"],
)
def test_what_is_mistyped_ends_with_2(diff: Diff, argv: tuple[str, ...], says: str) -> None:
    assert says in diff(POLICIES, POLICIES, *argv, code=2).stderr


def test_no_decision_in_the_period_is_said(diff: Diff) -> None:
    text = diff(POLICIES, POLICIES, "--at", "2026-06-01").stdout
    assert "There are no decisions in the last 30 days" in text


def test_where_nothing_can_be_replayed_a_gate_fails_and_says_why(diff: Diff, copy: Path) -> None:
    for file in copy.glob("*_test.yaml"):
        file.unlink()
    (copy / "spend.yaml").write_text(
        "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: spend}\n"
        "prices: {default: 2 USD}\nbudgets: [{id: b, every: 1d, money: 9 USD, actions: ['*']}]\n"
        "rules: [{id: x, effect: deny, actions: [check.run], when: impact.money > 1e9}]\n"
    )
    text = diff(POLICIES, copy, "--at", AT, "--fail-on", "widened", code=1).stdout
    assert "money at its prices, which NEW reads" in text
    assert "--fail-on widened: exit code 1. There are decisions, and none could be" in text
    assert max(map(len, text.splitlines())) <= 100
