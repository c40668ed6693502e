"""The pages are true: commands run, links lead somewhere, examples load, tables match the code."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from click.testing import CliRunner
from tests.contracts.docs_commands import (
    ALONE,
    FIRST_TEN_MINUTES,
    KNOWN,
    LAB,
    MAKE,
    PAGES,
    PARSED,
    ROOT,
    commands,
    fenced,
    words,
)

from watchkeeper.adapters.command import read_config
from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.adapters.system_clock import SystemClock
from watchkeeper.app.cli import app
from watchkeeper.core import errors
from watchkeeper.core.event import Kind
from watchkeeper.policy.check import report
from watchkeeper.policy.price_book import load_prices

OPERATE = ROOT / "docs" / "operate.md"
page_ids = [str(p.relative_to(ROOT)) for p in PAGES]
written = [(page, command) for page in PAGES for command in commands(page)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a short record and no watch."""
    home = tmp_path / "home"
    journal = FileJournal(home / "journal", SystemClock())
    for number in range(7):
        journal.append(Kind.NOTE, (), {"text": f"line {number}"}, durable=True)
    journal.close()
    return home


def test_every_command_that_a_page_names_is_run_by_a_test() -> None:
    unknown = [f"{page.name}: {command}" for page, command in written if command not in KNOWN]
    assert not unknown, "add it to tests/contracts/docs_commands.py"


def test_every_command_that_tests_run_is_on_a_page() -> None:
    assert {command for _, command in written} >= KNOWN


def test_the_first_ten_minutes_are_run_in_the_readmes_own_order() -> None:
    begun = set(LAB) - (set(ALONE) - set(FIRST_TEN_MINUTES))
    lab = [c for c in commands(ROOT / "README.md") if c in begun]
    assert lab == list(FIRST_TEN_MINUTES)


@pytest.mark.parametrize("command", ALONE)
def test_a_command_that_needs_no_watch_does_what_the_page_says(
    command: str, home: Path, tmp_path: Path
) -> None:
    moved = [w.replace("/tmp/", f"{tmp_path}/") for w in words(command)]
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper.app.cli", *moved],
        cwd=ROOT,
        env={**os.environ, "WATCHKEEPER_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize("command", sorted({*LAB, *PARSED, *ALONE}))
def test_the_command_line_knows_the_command_and_its_options(command: str) -> None:
    leaf, rest = _leaf(words(command))
    leaf.make_context(str(leaf.name), rest)


def test_every_command_of_the_pages_explains_itself() -> None:
    paths = {tuple(_path(words(command))) for command in (*LAB, *PARSED, *ALONE)}
    for path in sorted(paths):
        done = CliRunner().invoke(_command(), [*path, "--help"])
        assert done.exit_code == 0, path
        assert "Usage:" in done.output


def _path(args: list[str]) -> list[str]:
    return args[: len(args) - len(_leaf(args)[1])]


@functools.cache
def _command() -> Any:
    """The whole command line; to build it takes longer than to ask it."""
    return typer.main.get_command(app)


def _leaf(args: list[str]) -> tuple[Any, list[str]]:
    command = _command()
    while hasattr(command, "commands"):
        assert args[0] in command.commands, f"there is no command {args[0]}"
        command, args = command.commands[args[0]], args[1:]
    return command, args


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("command", MAKE)
def test_make_has_the_target_and_hands_its_options_on(command: str) -> None:
    plain = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(
        ["bash", "-c", f"{command} --dry-run"],
        cwd=ROOT,
        env=plain,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = {MAKE[0]: "watchkeeper up --policies policies", MAKE[1]: "tests/both"}
    assert expected.get(command, "up --policies policies --lab-time 02:30") in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_a_line_of_the_shipped_orders_that_the_page_names_begins_an_order(page: Path) -> None:
    for file, line in re.findall(r"\b(policies/[\w-]+\.yaml):(\d+)", page.read_text()):
        named = (ROOT / file).read_text().splitlines()[int(line) - 1]
        assert named.startswith("  - id: "), f"{file}:{line} is {named!r}"


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_every_link_of_the_page_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    local = [link.split("#")[0] for link in links if "://" not in link and link[0] != "#"]
    targets = {(page.parent / link).resolve() for link in local}
    assert not {t for t in targets if not t.exists()}


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = [p for p in PAGES if p.parent != ROOT and p.name != "README.md"]
    missing = [p.name for p in pages if str(p.relative_to(ROOT / "docs")) not in index]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_every_yaml_of_the_page_loads_or_is_an_excerpt_of_the_shipped_orders(page: Path) -> None:
    shipped = "\n".join(p.read_text() for p in (ROOT / "policies").glob("*.yaml"))
    if page.parent.name == "policy":
        return  # tests/core/test_policy_docs.py plays these pages, and runs every recipe
    for block in fenced(page, "yaml"):
        if "kind: PriceBook" in block:
            assert load_prices(page.name, block).pools
        elif "apiVersion:" in block:
            text, sound = report({page.name: block}, datetime(2026, 11, 22, tzinfo=UTC))
            assert sound, text
        else:
            assert block.strip() in _without_comments(shipped)


def _without_comments(text: str) -> str:
    return re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)


def test_the_providers_file_of_the_operators_page_is_read(tmp_path: Path) -> None:
    (block,) = fenced(OPERATE, "toml")
    file = tmp_path / "providers.toml"
    file.write_text(block)
    assert {"node.restart", "gpu.reset", "terminate"} <= set(read_config(file).commands)


def test_the_exit_codes_of_the_operators_page_are_those_of_the_errors() -> None:
    listed = {int(c) for c in re.findall(r"^\| (\d+) \|", OPERATE.read_text(), re.MULTILINE)}
    raised = {
        e.exit_code
        for e in vars(errors).values()
        if isinstance(e, type) and issubclass(e, errors.WatchkeeperError) and e.exit_code < 70
    }
    assert listed == raised | {0}


def test_the_section_that_a_broken_journals_error_names_is_there() -> None:
    assert "### A broken journal" in OPERATE.read_text()


@pytest.mark.redis
def test_the_redis_users_of_the_operators_page_can_do_their_work_and_no_more(
    tmp_path: Path,
) -> None:
    """The ACL lines are given to a real server; each side then works as its user."""
    import redis

    from watchkeeper.adapters.redis_mirror import RedisMirror
    from watchkeeper.adapters.redis_server import find_server, start
    from watchkeeper.adapters.redis_sink import RedisSink
    from watchkeeper.adapters.redis_telemetry import RedisTelemetry
    from watchkeeper.core.cluster import World
    from watchkeeper.core.sources import Sample, unknown_host
    from watchkeeper.core.telemetry import GPU_FIELDS

    server = start(tmp_path / "redis", find_server())
    try:
        admin = redis.Redis.from_url(server.url)
        for line in next(b for b in fenced(OPERATE, "text") if "ACL" in b).splitlines():
            admin.execute_command(*line.split())
        socket = server.url.removeprefix("unix://").split("?")[0]
        cluster = "real-1a2b3c4d"

        def as_user(name: str) -> str:
            return f"unix://{name}:PASSWORD@{socket}"

        no_gpus = np.empty((0, len(GPU_FIELDS)), np.float32)
        sample = Sample("train-01", time.time(), World.REAL, no_gpus, unknown_host())
        sink = RedisSink(as_user("collect"), cluster)
        sink.check()
        sink.send(sample)
        mirror = RedisMirror(as_user("watch"), cluster)
        assert mirror.lost()
        telemetry = RedisTelemetry(as_user("watch"), cluster, World.REAL, clock=SystemClock())
        assert "train-01" in telemetry.read().frame.nodes
        collector = redis.Redis.from_url(as_user("collect"))
        for refused in (
            ("XRANGE", f"wk:{cluster}:samples:0", "-", "+"),
            ("XADD", f"wk:{cluster}:copy:orders", "*", "s", "x"),
            ("FLUSHALL",),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                collector.execute_command(*refused)
    finally:
        server.stop()


def test_every_target_of_the_makefile_has_its_rule() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.M)
    ruled = re.findall(r"^([a-z-]+):", makefile, re.M)
    assert sorted(phony.split()) == sorted(ruled)
