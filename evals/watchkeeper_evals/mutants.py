"""How good are the tests of the judge? Every small change of its code that no test notices.

`python -m watchkeeper_evals.mutants` copies the product to a scratch folder, lets mutmut change
one line at a time there, and runs the tests of the decision against each change. Takes tens of
minutes, so it is part of `make nightly`; its figures are kept in docs/evidence.md.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DECISION = ("judge", "votes", "hear", "limits", "budgets", "obligations")
"""The decision and limits modules of `watchkeeper.policy`."""

TESTS = (
    "tests/core/test_policy_judge.py",
    "tests/core/test_policy_enforcement.py",
    "tests/core/test_policy_exceptions.py",
    "tests/core/test_policy_limits.py",
    "tests/core/test_policy_budgets.py",
    "tests/core/test_policy_concurrency.py",
    "tests/core/test_policy_escalation.py",
    "tests/core/test_policy_invariants.py",
    "tests/core/test_policy_exact.py",
    "tests/core/test_policy_explain.py",
    "tests/core/test_policy_shipped_orders.py",
    "tests/core/test_ledger.py",
    "tests/properties/test_policy_promises.py",
    "tests/properties/test_policy_language.py",
)
KILLED, SURVIVED, UNSEEN, SLOW = 1, 0, 33, (24, 36, 152, 255)
"""mutmut's exit codes: a test failed; none did; no test ran it; it ran into the time limit."""


def main() -> int:
    """Exit 1 when fewer than --least percent of the changes are noticed."""
    asked = _asked()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wk-mutants-") as folder:
        scratch = Path(folder)
        _copy(scratch, asked.modules)
        if asked.sample:
            # The names are known only after a first run; it tries the first change of each function
            # of one module.
            _run(scratch, asked.children, f"watchkeeper.policy.{asked.modules[-1]}.*__mutmut_1")
            names = sorted(_codes(scratch, asked.modules))
            drawn = random.Random(asked.seed).sample(names, asked.sample)  # noqa: S311
            _run(scratch, asked.children, *drawn)
        else:
            _run(scratch, asked.children)
        found = _found(scratch, asked.modules)
        found["seed"] = asked.seed if asked.sample else None
    found["wall_s"] = round(time.monotonic() - began)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0 if found["score_percent"] >= asked.least else 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", nargs="+", default=list(DECISION))
    parser.add_argument("--least", type=float, default=90.0)
    parser.add_argument("--children", type=int, default=2)
    parser.add_argument("--sample", type=int, default=0, help="draw so many changes; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _copy(scratch: Path, modules: list[str]) -> None:
    shutil.copytree(ROOT / "runtime" / "watchkeeper", scratch / "src" / "watchkeeper")
    for name in ("tests", "policies", "docs"):
        shutil.copytree(ROOT / name, scratch / name)
    paths = [f"src/watchkeeper/policy/{name}.py" for name in modules]
    tests = [test for test in TESTS if (ROOT / test).exists()]
    (scratch / "pyproject.toml").write_text(
        "[tool.mutmut]\n"
        'source_paths = ["src"]\n'
        f"only_mutate = {json.dumps(paths)}\n"
        f"pytest_add_cli_args_test_selection = {json.dumps(tests)}\n"
        'also_copy = ["policies", "docs", "tests"]\n'
        "[tool.pytest.ini_options]\n"
        'pythonpath = ["."]\n'
        'addopts = "-q --import-mode=importlib -p no:cacheprovider"\n'
        'markers = ["ray", "redis", "browser"]\n'
    )


def _run(scratch: Path, children: int, *names: str) -> None:
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(children), *names]
    with (scratch / "log.txt").open("w") as log:
        done = subprocess.run(command, cwd=scratch, stdout=log, stderr=log, check=False)
    if done.returncode:
        tail = (scratch / "log.txt").read_text(errors="replace")[-2000:]
        raise SystemExit(f"mutmut ended with {done.returncode}:\n{tail}")


def _codes(scratch: Path, modules: list[str]) -> dict[str, int | None]:
    """Every change by name, with how its tests ended; None where they were not run."""
    codes: dict[str, int | None] = {}
    for name in modules:
        meta = scratch / "mutants" / "src" / "watchkeeper" / "policy" / f"{name}.py.meta"
        codes |= json.loads(meta.read_text())["exit_code_by_key"]
    return codes


def _found(scratch: Path, modules: list[str]) -> dict[str, Any]:
    every = _codes(scratch, modules)
    codes = {key: code for key, code in every.items() if code is not None}
    alive = sorted(key for key, code in codes.items() if code in (SURVIVED, UNSEEN))
    noticed = len(codes) - len(alive)
    return {
        "modules": modules,
        "mutants": len(every),
        "tried": len(codes),
        "noticed": noticed,
        "score_percent": round(100 * noticed / len(codes), 1),
        "by_exit_code": {str(code): n for code, n in Counter(codes.values()).items()},
        "survivors": {key: _shown(scratch, key) for key in alive},
    }


def _shown(scratch: Path, key: str) -> str:
    """The changed lines alone."""
    command = [sys.executable, "-m", "mutmut", "show", key]
    text = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False).stdout
    return "\n".join(
        line
        for line in text.splitlines()
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    )


if __name__ == "__main__":
    sys.exit(main())
