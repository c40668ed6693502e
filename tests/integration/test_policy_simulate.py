"""`policy simulate` as its user types it: nights of a twin, labelled as simulated everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLI = [sys.executable, "-m", "watchkeeper.app.cli", "policy", "simulate"]
SMALL = ["--nights", "1", "--nodes", "48", "--faults", "60"]


def simulate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *SMALL, *words], capture_output=True, text=True, cwd=ROOT, timeout=200, check=False
    )


def test_a_night_is_counted_and_called_simulated() -> None:
    done = simulate("--policies", "policies")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Simulated: a twin of 48 nodes")
    for said in ("Effects carried out", "Questions to people", "of them false", "ETTR"):
        assert said in done.stdout
    assert "turns held of" in done.stderr, "progress and cadence go to standard error"


def test_other_orders_are_played_on_the_same_seeds_beside_them(tmp_path: Path) -> None:
    strict = tmp_path / "strict"
    strict.mkdir()
    (strict / "fences.yaml").write_text(
        "apiVersion: watchkeeper/v1\nkind: Policy\nmetadata: {name: fences, owner: ops}\n"
        "rules:\n  - {id: fences-alone, effect: allow, actions: [node.cordon]}\n"
    )
    done = simulate("--policies", "policies", "--against", str(strict), "-o", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["simulated"] is True
    ours, theirs = told["orders"]
    assert ours["faults"] > 0 < theirs["faults"], "those that come back after a cure count too"
    assert ours["gpu_hours"] == theirs["gpu_hours"]
    assert ours["done_alone"] != theirs["done_alone"], "the orders decide what is done"
    assert ours["broken_promises"] == theirs["broken_promises"] == []


def test_orders_that_do_not_load_end_with_their_exit_code(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("apiVersion: watchkeeper/v1\nkind: Policy\n")
    assert simulate("--policies", str(tmp_path)).returncode == 3
