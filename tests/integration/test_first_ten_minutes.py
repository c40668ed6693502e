"""The night shift on a real Ray cluster: the README's first ten minutes, what else the pages say of
a running watch, typed word for word, and what a night must survive.

One lab serves the whole story; the tests run in the order they are written.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.contracts.docs_commands import ANSWERS, FIRST_TEN_MINUTES, MAKE, OPERATING, words

from .up import CLI, Up

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The lab, with the options of the README's own `make up`."""
    home: Path = tmp_path_factory.mktemp("ten") / "home"
    options = shlex.split(MAKE[2])[2].removeprefix("UP=")
    up = Up(home, *shlex.split(options))
    try:
        yield up
    finally:
        up.stop()


def waiting(up: Up) -> list[str]:
    """Ids of the questions that wait."""
    return [ask["id"] for ask in up.ask("asks")]


def follow(up: Up, until: str, within_s: float) -> str:
    """`watchkeeper watch`, left with Ctrl-C once a line says `until`. Returns what it printed."""
    process = subprocess.Popen(
        [*CLI, "watch"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=up.env
    )
    late = threading.Timer(within_s, process.kill)
    late.start()
    said: list[str] = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            said.append(line)
            if until in line:
                process.send_signal(signal.SIGINT)
        process.wait(10)
    finally:
        late.cancel()
        process.kill()
    text = "".join(said)
    assert until in text, text
    assert process.returncode == 0, text
    return text


def goes_on_from_its_checkpoint(up: Up, before: dict[str, Any]) -> None:
    """The gang runs once more, and did not begin from zero."""
    after = up.job(before["name"])
    assert after["attempt"] == before["attempt"] + 1
    assert after["step"] >= before["checkpoint_step"]
    saved = after["checkpoint_step"]
    up.until(lambda: up.job(before["name"])["step"] > saved, 30, "it makes no step")


def test_the_first_ten_minutes_go_as_the_readme_tells(up: Up) -> None:
    # Each item: what must hold before the next command is typed.
    typed = iter(FIRST_TEN_MINUTES)

    def type_next(*instead: str) -> str:
        return up.run(*(instead or words(next(typed))))

    assert "GPU DATA SIMULATED" in type_next()  # status
    up.until(up.gangs_run, 60, "the gangs never ran")
    lost = up.node("train-04")
    gang = next((job for job in up.board()["jobs"] if "train-04" in job["nodes"]), None)
    assert "train-04" in type_next()  # inject node-loss
    next(typed)
    said = follow(up, "train-04 serves again", 90)
    assert "policies/always.yaml" in said
    assert "Verified: train-04 is alive" in said
    assert up.node("train-04")["incarnation"] != lost["incarnation"]
    assert [k for k in up.effects() if k.startswith(("node", "check"))] == [
        "node.restart",
        "check.run",
        "node.uncordon",
    ]
    assert "Restart train-04" in type_next()  # explain INC-1
    up.until(up.gangs_run, 60, "the gangs never ran again")
    assert gang, "a gang ran on the node that was lost"
    goes_on_from_its_checkpoint(up, gang)
    assert not up.events("approval.asked"), "nobody was asked"
    for event in up.events("verdict.given"):
        rules = [r for r in event["data"]["verdict"]["reasons"] if r["kind"] == "rule"]
        assert rules, event
        assert all(r["where"].startswith("policies/") and r["where"][-1].isdigit() for r in rules)
    assert "The dial is at ask." in type_next()
    assert "79" in type_next()  # inject xid
    up.until(lambda: up.board()["halted"], 30, "it never halted")
    assert "more than 1 at once points to a sensor or to the facility" in type_next()  # watch
    assert "Resumed." in type_next()
    up.until(lambda: waiting(up), 30, "it never asked")
    assert "train-02" in type_next()  # approvals
    explain = words(next(typed))
    why = up.run(*_for(explain, waiting(up)[0]))
    assert "Rules for node.cordon" in why
    assert "the dial stands at ask" in why
    approve = words(next(typed))
    assert "approved" in up.run(*_for(approve, waiting(up)[0]))
    next(typed)
    said = follow(up, "train-02 serves again", 120)
    assert "Verified: The check of train-02 passed." in said
    up.until(lambda: _answered_or_running(up), 60, "the gangs never ran again")
    assert "Stopped." in type_next()
    up.until(lambda: up.board()["orders"]["stopped"], 10, "it never stopped")
    assert "Resumed." in type_next()
    up.until(lambda: not up.board()["orders"]["stopped"], 10, "it never resumed")
    assert "events hold" in type_next()
    assert next(typed, None) is None
    assert "Traceback" not in up.said()


def _for(command: list[str], proposal: str) -> list[str]:
    """The page's command with the id that this lab shows."""
    return [proposal if word == "P-5" else word for word in command]


def _answered_or_running(up: Up) -> bool:
    """A gang that is asked for by itself gets a yes too."""
    for proposal in waiting(up):
        up.run("approve", proposal, "--as", "primary")
    return up.gangs_run()


@pytest.mark.parametrize("command", ANSWERS)
def test_not_now_and_deny_are_taken_as_the_page_says(up: Up, command: str) -> None:
    node = {"notnow": "train-03", "deny": "train-01"}[words(command)[0]]
    up.run("autonomy", "ask", "--as", "primary")
    up.run("inject", "xid", "--code", "79", "--node", node, "--gpu", "1")

    def asked() -> list[str]:
        if up.board()["halted"]:
            up.run("resume", "--as", "primary")
        return waiting(up)

    up.until(asked, 45, "it never asked")
    proposal = waiting(up)[0]
    assert node in up.run("explain", proposal)
    up.run(*_for(words(command), proposal))
    assert proposal not in waiting(up)
    assert not [e for e in up.events("effect.started") if e["data"]["proposal"] == proposal]


@pytest.mark.parametrize("command", OPERATING)
def test_a_command_of_the_operators_page_is_taken(up: Up, command: str) -> None:
    assert up.run(*words(command))


def test_s4_flushall_clears_no_stop(up: Up) -> None:
    """The last word of the operator's page was a stop."""
    assert up.board()["orders"]["stopped"]
    redis.Redis(unix_socket_path=str(up.home / "redis" / "redis.sock")).flushall()
    up.until(lambda: up.events("redis.rebuilt"), 20, "the flush was not noticed")
    assert up.board()["orders"]["stopped"]
    assert up.run("journal", "verify").split()[1:3] == ["events", "hold."]


def test_s9_half_of_the_nodes_silent_at_once_halts_pages_and_repairs_neither(up: Up) -> None:
    silent = ("train-02", "train-04")
    up.run("resume", "--as", "primary")
    up.until(lambda: not up.board()["halted"], 10, "it did not resume")
    seen = len(up.events())
    up.run("inject", "silence", "--node", silent[0], "--node", silent[1])
    up.until(lambda: up.board()["halted"], 60, "it never halted")
    assert "halted" in (up.home / "pages.log").read_text()
    begun = [e["subject"] for e in up.events()[seen:] if e["kind"] == "effect.started"]
    assert not [who for who in begun if set(who) & set(silent)]


def test_ctrl_c_ends_everything_and_the_record_holds(up: Up) -> None:
    assert up.stop() == []
    assert up.process.returncode == 0
    assert "events hold" in up.run("journal", "verify")
