"""`watchkeeper policy test` as its user meets it: what is printed, what is written, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

ORDERS = """\
apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: t}
people: {oncall: [ann]}
rules:
  - {id: check, effect: allow, actions: [check.run]}
  - {id: drain, effect: allow, actions: [node.drain], require: {confidence: 0.8}}
"""
TESTS = """\
# yaml-language-server: $schema=./policy-test.schema.json
apiVersion: watchkeeper/v1
kind: PolicyTest
metadata: {name: t}
at: 2026-03-18T02:30 Europe/Berlin
tests:
  - name: a check may be run
    given: {proposal: {action: check.run}}
    expect: {verdict: allow, rules: [check]}
  - name: a drain on good evidence
    given: {proposal: {action: node.drain}, incident: {confidence: 0.9}}
    expect: {verdict: allow, rules: [drain]}
"""
THIN = """\
  - name: a drain on thin evidence
    given: {proposal: {action: node.drain}, incident: {confidence: 0.5}}
    expect: {verdict: deny, refused_by: default}
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "t.yaml").write_text(ORDERS)
    (folder / "t_test.yaml").write_text(TESTS)
    return folder


def policy_test(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    home = {**os.environ, "WATCHKEEPER_HOME": str(folder.parent / "home"), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "watchkeeper.app.cli", "policy", "test", *argv],
        capture_output=True,
        text=True,
        env=home,
        cwd=folder.parent,
        timeout=120,
    )


def test_tests_that_pass_end_with_0_and_one_sentence(folder: Path) -> None:
    done = policy_test(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 tests in 1 file: 2 passed, 0 failed.\n"


def test_a_test_that_fails_ends_with_1_and_is_shown_and_written_as_junit(folder: Path) -> None:
    (folder / "t_test.yaml").write_text(
        TESTS.replace("verdict: allow, rules: [drain]", "verdict: ask")
    )
    done = policy_test(folder, "--junit", "out.xml")
    assert done.returncode == 1
    assert "policies/t_test.yaml:10: FAILED: a drain on good evidence" in done.stdout
    assert "verdict: expected ask, got allow" in done.stdout
    root = Xml.fromstring((folder.parent / "out.xml").read_text())
    assert (root.get("tests"), root.get("failures")) == ("2", "1")


def test_coverage_below_the_wanted_share_ends_with_1(folder: Path) -> None:
    low = policy_test(folder, "--min-coverage", "100")
    assert low.returncode == 1
    assert "policies/t.yaml:7: drain: never false (true 1, false 0)" in low.stdout
    assert "less than the 100 %" in low.stdout
    assert policy_test(folder, "--coverage").returncode == 0
    (folder / "t_test.yaml").write_text(TESTS + THIN)
    full = policy_test(folder, "--min-coverage", "100")
    assert full.returncode == 0
    assert "Coverage: 2 of 2 rules, 100 %." in full.stdout


def test_a_test_file_that_does_not_load_ends_with_3_and_every_mistake(folder: Path) -> None:
    wrong = TESTS.replace("confidence: 0.9", "confidense: 0.9").replace("[check]", "[chek]")
    (folder / "t_test.yaml").write_text(wrong)
    done = policy_test(folder)
    assert done.returncode == 3
    assert "policies/t_test.yaml:9:37: the policy has no 'chek'" in done.stdout
    assert "Did you mean 'check'?" in done.stdout
    assert "policies/t_test.yaml:11:56: 'incident' has no key 'confidense'" in done.stdout
    assert "2 problems in the tests. No test was run." in done.stdout


def test_orders_that_do_not_load_end_with_3(folder: Path) -> None:
    (folder / "t.yaml").write_text(ORDERS.replace("allow", "alow", 1))
    done = policy_test(folder)
    assert done.returncode == 3
    assert "policies/t.yaml:6:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_tests_says_so(folder: Path) -> None:
    (folder / "t_test.yaml").unlink()
    done = policy_test(folder)
    assert done.returncode == 1  # as a test run that found nothing
    assert "There are no tests in policies, and" in done.stdout
    assert "files called NAME_test.yaml" in done.stdout
    assert policy_test(folder, "--coverage", "--min-coverage", "1").returncode == 1
    assert policy_test(folder, "--min-coverage", "0").returncode == 1


def test_json_is_one_object(folder: Path) -> None:
    done = policy_test(folder, "-o", "json")
    value = json.loads(done.stdout)
    assert (value["passed"], value["tests"], value["coverage"]["percent"]) == (True, 2, 50.0)


def test_dated_orders_are_checked_as_of_at_and_each_test_keeps_its_own_clock(folder: Path) -> None:
    dated = ORDERS + "  - {id: freeze, effect: deny, actions: [node.reboot], until: 2026-04-01}\n"
    (folder / "t.yaml").write_text(dated)
    over = policy_test(folder, "--at", "2026-05-01")
    assert over.returncode == 3
    assert "freeze" in over.stderr
    then = policy_test(folder, "--at", "2026-03-01")
    assert then.returncode == 0, then.stdout + then.stderr


def test_a_folder_or_a_file_that_is_not_to_be_had_is_a_usage_error(folder: Path) -> None:
    nowhere = policy_test(folder, "--policies", "nowhere")
    assert nowhere.returncode == 2
    assert "no policy folder at nowhere" in nowhere.stderr
    unwritable = policy_test(folder, "--junit", "no/such/folder/out.xml")
    assert unwritable.returncode == 2
    assert "cannot be written" in unwritable.stderr
    assert policy_test(folder, "--at", "noon").returncode == 2
