"""The pages for the author of orders are true: what they show loads, runs and prints just that."""

from __future__ import annotations

import json
import os
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
import yaml
from tests.core.docs_player import NEEDS_A_WATCH, Block, blocks, play, typed
from tests.core.policy_case import DEAD, NIGHT, Given, gang, nodes, shipped
from typer.testing import CliRunner

from watchkeeper.adapters.journal_file import FileJournal
from watchkeeper.app.cli import app
from watchkeeper.app.starters import copy_starters
from watchkeeper.core.action import NodeRestart
from watchkeeper.core.errors import WatchkeeperError
from watchkeeper.core.event import Kind
from watchkeeper.core.word import digest, plain
from watchkeeper.policy.judge import judge
from watchkeeper.policy.load import load
from watchkeeper.policy.reference import TABLES, filled
from watchkeeper.policy.schema import POLICY, Many, Record
from watchkeeper.policy.trial.cases import run
from watchkeeper.twin.memory import ManualClock

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "policy"
TUTORIAL, REFERENCE, COOKBOOK = (DOCS / f"{n}.md" for n in ("tutorial", "reference", "cookbook"))
WRITE = os.environ.get("WATCHKEEPER_WRITE_DOCS") == "1"


def _at(day: int, hour: int, minute: int) -> datetime:
    """A moment of March 2026 in Berlin, as journals write it."""
    local = datetime(2026, 3, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin"))
    return local.astimezone(UTC)


WEEK = (
    (_at(21, 2, 30), Given()),
    (_at(21, 3, 10), Given(jobs={"llm": gang("llm", "train-01")})),
    (_at(21, 14, 0), Given(jobs={"llm": gang("llm", "train-01")})),
    (
        _at(22, 1, 0),
        Given(nodes=nodes(train_01=DEAD), action=NodeRestart(node="train-01", incarnation="inc-1")),
    ),
    (_at(24, 2, 0), Given(jobs={"llm": gang("llm", "train-01")})),
)
"""What the journal of the tutorial holds: a weekend of a small lab."""


def record_a_week(home: Path) -> None:
    """A journal as control writes it: the starting orders, and verdicts under them."""
    orders, clock = shipped(), ManualClock(WEEK[0][0])
    journal = FileJournal(home / "journal", clock)
    journal.append(
        Kind.POLICY_LOADED,
        (orders.version,),
        {"version": orders.version, "files": dict(orders.sources)},
    )
    for number, (at, given) in enumerate(WEEK, 1):
        clock.pass_s((at - clock.now()).total_seconds())
        proposal, impact, facts, ledger = given.inputs()
        proposal = msgspec.structs.replace(proposal, id=f"P-{number}", at=at)
        inputs = {
            "proposal": plain(proposal),
            "impact": plain(impact),
            "facts": facts,
            "ledger": plain(ledger),
            "orders": plain(given.orders),
            "policy_version": orders.version,
            "now": at.isoformat(),
        }
        verdict = judge(proposal, impact, facts, orders, ledger, given.orders, at)
        verdict = msgspec.structs.replace(verdict, input_digest=digest(inputs))
        data = {"proposal": proposal.id, "verdict": plain(verdict), "input": inputs}
        journal.append(Kind.VERDICT, (proposal.id, proposal.incident), data)
    journal.close()


def test_the_tutorial_can_be_typed_from_top_to_bottom_and_prints_what_it_shows(
    tmp_path: Path,
) -> None:
    home, workspace = tmp_path / "home", tmp_path / "workspace"
    workspace.mkdir()
    record_a_week(home)
    played = play(TUTORIAL, workspace, home)
    if WRITE:
        TUTORIAL.write_text(played)
    assert TUTORIAL.read_text() == played, "WATCHKEEPER_WRITE_DOCS=1 writes the page anew"


RECIPE_HEAD = "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: recipe}\n"
TESTS_HEAD = (
    "apiVersion: watchkeeper/v1\nkind: PolicyTest\nmetadata: {name: recipe}\n"
    "at: 2026-03-18T02:30 Europe/Berlin\n"
)
PEOPLE = (ROOT / "policies" / "people.yaml").read_text() + "  break-glass: [lead]\n"


def recipes() -> list[tuple[str, list[Block]]]:
    """Each recipe of the cookbook with its blocks."""
    parts = re.split(r"^## ([0-9]+\. .+)$", COOKBOOK.read_text(), flags=re.M)
    return [(parts[i], blocks(parts[i + 1])) for i in range(1, len(parts), 2)]


@pytest.mark.parametrize(("name", "found"), recipes(), ids=[name for name, _ in recipes()])
def test_a_recipe_is_sound_and_its_test_passes(name: str, found: list[Block]) -> None:
    assert [block.language for block in found] == ["yaml", "yaml"]
    orders, tests = found
    policy = load({"people.yaml": PEOPLE, "recipe.yaml": RECIPE_HEAD + orders.body}, NIGHT)
    assert [str(w) for w in policy.warnings if "no group" in w.message] == []
    assert not policy.over
    results = run(policy, {"recipe_test.yaml": TESTS_HEAD + tests.body})
    assert [str(p) for p in results.problems] == []
    assert [r.differences for r in results.failures] == []
    assert sum(not d.trues and not d.rule.shadow for d in results.coverage.rules) <= 1


def test_the_cookbook_has_every_recipe_in_its_contents() -> None:
    contents = COOKBOOK.read_text().split("\n## ", 1)[0]
    for name, _ in recipes():
        number = name.split(".")[0]
        anchor = re.sub(r"[^a-z0-9 -]", "", name.lower()).replace(" ", "-")
        assert f"[{number}](#{anchor})" in contents


def test_the_tables_of_the_reference_are_those_of_the_loader() -> None:
    text = REFERENCE.read_text()
    assert set(re.findall(r"<!-- table: (\w+) -->", text)) == set(TABLES)
    assert filled(text) == text, "run: make schema"


def test_the_reference_says_what_each_key_of_a_rule_means_in_its_prose() -> None:
    prose = re.sub(r"<!-- table.*?<!-- /table -->", "", REFERENCE.read_text(), flags=re.S)
    rule = POLICY.fields["rules"]
    assert isinstance(rule, Many)
    assert isinstance(rule.item, Record)
    for key in {*rule.item.fields} - {"id", "effect", "reason", "during", "approvals"}:
        assert f"`{key}" in prose, key


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda p: p.stem)
def test_every_link_into_a_page_finds_its_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)\s#]*)#([^)\s]+)\)", page.read_text()):
        there = (page.parent / target) if target else page
        headings = re.findall(r"^#+ (.+)$", there.read_text(), flags=re.M)
        anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
        assert anchor in anchors, f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda p: p.stem)
def test_every_yaml_of_the_pages_is_loaded_by_a_test(page: Path) -> None:
    found = [block for block in blocks(page.read_text()) if block.language == "yaml"]
    if page == COOKBOOK:
        assert len(found) == 2 * len(recipes())
    else:
        assert all(block.mark.startswith("file: ") for block in found)


def test_every_command_of_the_pages_is_typed_or_needs_a_watch() -> None:
    for page in (REFERENCE, COOKBOOK):
        assert not [b for b in blocks(page.read_text()) if b.language == "sh"]
    waiting = [b for b in blocks(TUTORIAL.read_text()) if b.mark == NEEDS_A_WATCH]
    assert [c.split()[1] for b in waiting for c in typed(b.body)] == [
        "up",
        "status",
        "break-glass",
        "review",
    ]


def test_the_file_of_facts_of_the_reference_is_explained_as_yaml_and_as_json(
    tmp_path: Path,
) -> None:
    (block,) = [b for b in blocks(REFERENCE.read_text()) if b.mark == "file: facts.yaml"]
    as_json = json.dumps(yaml.safe_load(block.body), default=str)
    told = []
    for name, text in (("facts.yaml", block.body), ("facts.json", as_json)):
        (tmp_path / name).write_text(text)
        command = ["policy", "explain", str(tmp_path / name), "--policies", str(ROOT / "policies")]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        told.append(done.output.partition("\n")[2])
    assert told[0] == told[1]
    assert "ALLOW: Drain node-01" in told[0]


EXIT_CODES = (
    ("check --policies {sound} --at {at}", 0),
    ("check --policies {sound} --at {at} --prove 'node.drain is denied'", 1),
    ("check --policies {broken} --at {at}", 3),
    ("check --policies {sound} --at 2028-01-01", 3),
    ("check --policies {missing}", 2),
    ("test --policies {sound} --at {at}", 0),
    ("test --policies {failing} --at {at}", 1),
    ("test --policies {sound} --at {at} --min-coverage 100", 0),
    ("test --policies {untested} --at {at}", 1),
    ("test --policies {untested} --at {at} --min-coverage 100", 1),
    ("explain {sound} --policies {sound} --at {at}", 2),
    ("explain {missing}/facts.yaml --policies {sound} --at {at}", 2),
    ("explain {sound}/always.yaml --policies {sound} --at {at}", 8),
    ("test --policies {broken} --at {at}", 3),
    ("explain {sound}/tenants_test.yaml --policies {sound} --at {at}", 0),
    ("explain P-99 --journal {missing}", 2),
    ("diff {sound} {broken} --at {at}", 3),
    ("verify --policies {sound} --key {missing}", 2),
)


@pytest.mark.parametrize(("command", "code"), EXIT_CODES, ids=[c for c, _ in EXIT_CODES])
def test_the_commands_end_with_the_codes_of_the_reference(
    command: str, code: int, tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("sound", "broken", "failing", "untested")}
    for folder in folders.values():
        copy_starters(folder, ("tenants", "change-freeze", "break-glass"))
    (folders["broken"] / "always.yaml").write_text("kind: Policy\n")
    test = folders["failing"] / "tenants_test.yaml"
    test.write_text(test.read_text().replace("verdict: deny", "verdict: allow", 1))
    for test in folders["untested"].glob("*_test.yaml"):
        test.unlink()
    places = {**folders, "missing": tmp_path / "missing", "at": "2026-03-18"}
    done = CliRunner().invoke(app, ["policy", *shlex.split(command.format(**places))])
    match done.exception:
        case WatchkeeperError() as err:
            assert err.exit_code == code, done.output
        case None | SystemExit():
            assert done.exit_code == code, done.output
        case other:
            raise AssertionError(done.output) from other
