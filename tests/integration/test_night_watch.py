"""The night shift on a real Ray cluster: it repairs alone, inside policy, and halts when it must.

One lab serves the whole story; the tests run in the order they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from .up import Up

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("night") / "home", "--lab-time", "02:30")
    up.until(up.gangs_run, 60, "the gangs never ran")
    yield up
    assert up.stop() == [], "Ctrl-C leaves no orphan"


def test_a_lost_node_comes_back_and_its_gang_goes_on_from_its_checkpoint(night: Up) -> None:
    gang = night.job("llm-pretrain")
    node = gang["nodes"][0]
    before = night.node(node)["incarnation"]
    night.run("inject", "node-loss", "--node", node)
    night.until(lambda: "job.requeue" in night.effects(), 90, "it was never requeued")
    night.until(lambda: night.job("llm-pretrain")["state"] == "running", 30, "it does not run")
    saved = night.job("llm-pretrain")["checkpoint_step"]
    night.until(lambda: night.job("llm-pretrain")["step"] > saved, 30, "it makes no step")
    after = night.job("llm-pretrain")
    assert after["attempt"] == gang["attempt"] + 1
    assert after["step"] >= gang["checkpoint_step"], "it did not begin from zero"
    assert night.node(node)["incarnation"] != before
    assert [k for k in night.effects() if k.startswith(("node", "check"))][:3] == [
        "node.restart",
        "check.run",
        "node.uncordon",
    ]
    assert not night.events("approval.asked"), "nobody was asked"


def test_the_verdict_names_rule_file_and_line(night: Up) -> None:
    for event in night.events("verdict.given"):
        rules = [r for r in event["data"]["verdict"]["reasons"] if r["kind"] == "rule"]
        assert rules, event
        assert all(r["where"].startswith("policies/") and r["where"][-1].isdigit() for r in rules)


def test_s9_half_of_the_nodes_silent_at_once_halts_pages_and_repairs_nothing(night: Up) -> None:
    done = len(night.effects())
    night.run("inject", "silence", "--node", "train-03", "--node", "train-04")
    night.until(lambda: night.board()["halted"], 60, "it never halted")
    pages = (night.home / "pages.log").read_text()
    assert "halted" in pages
    assert len(night.effects()) == done


def test_s4_s9_flushall_refills_nothing_and_clears_no_stop(night: Up) -> None:
    socket = night.home / "redis" / "redis.sock"
    client = redis.Redis(unix_socket_path=str(socket))
    night.run("stop", "--as", "primary", "--reason", "a look first")
    night.until(lambda: night.board()["orders"]["stopped"], 10, "stop was not seen")
    client.flushall()
    night.until(lambda: night.events("redis.rebuilt"), 20, "the flush was not noticed")
    board = night.board()
    assert board["orders"]["stopped"]
    assert board["halted"]
    assert night.run("journal", "verify").split()[1:3] == ["events", "hold."]
    night.run("resume", "--as", "primary")
    assert not night.board()["orders"]["stopped"]


def test_the_journal_tells_the_night(night: Up, tmp_path: Path) -> None:
    out = tmp_path / "night.jsonl"
    night.run("journal", "export", "--to", str(out))
    assert len(out.read_text().splitlines()) > 20
    told = night.run("explain", "INC-1")
    assert "Restart" in told
    assert "policies/always.yaml:" in told
