"""`make nightly`: every long proof, one after the other, and its figures as docs/evidence.md tells
them.

Each step keeps what it found under --out; after an interruption the same command goes on. A step
that passed under the same code is not taken again. Hours: say `--only noise,planner` for a part.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.core.errors import WatchkeeperError
from watchkeeper_evals.nightly_says import (
    of_lab,
    of_model,
    of_mutants,
    of_night,
    of_noise,
    of_pages,
    of_tests,
)
from watchkeeper_evals.remediation.sources import code_digest, commit

ROOT = Path(__file__).parents[2]
Found = dict[str, Any]
FIRST_SEED, SEEDS, NODES, DAYS = 117, 20, 2048, 54.0
"""The published evaluation. Seeds from 117 on trained nothing and were looked at by nobody; 101 to
116 were looked at after they had been played."""
NOISE_SEEDS = 2
PLANNER_SEEDS = 400


class Asked(NamedTuple):
    """The command's options, as typed."""

    out: Path
    jobs: int
    seeds: int
    first_seed: int
    nodes: int
    days: float
    noise_seeds: int
    planner_seeds: int


class Step(NamedTuple):
    """One proof. take: play it and give what was found, with `ok`. says: that as Markdown."""

    name: str
    take: Callable[[Asked], Found]
    says: Callable[[Found], str]
    tests: tuple[str, ...] = ()


def night(asked: Asked) -> Found:
    """The watch, three baselines and the oracle on every seed."""
    return _remediation(asked, asked.seeds, "night", ())


def noise(asked: Asked) -> Found:
    """Nothing breaks: the watch alone."""
    return _remediation(
        asked, asked.noise_seeds, "noise", ("--noise-only", "--only", "watchkeeper")
    )


def _remediation(asked: Asked, seeds: int, name: str, more: tuple[str, ...]) -> Found:
    """In a process of its own: it may be long, and its memory goes with it."""
    words = [
        *(sys.executable, "-m", "watchkeeper.app.cli", "eval", "remediation"),
        *("--nodes", str(asked.nodes), "--days", f"{asked.days:g}", "--seeds", str(seeds)),
        *("--first-seed", str(asked.first_seed), "--jobs", str(asked.jobs)),
        *("--out", str(asked.out / "remediation"), "--report", str(asked.out / f"{name}.html")),
        *("--policies", str(ROOT / "policies"), "--json", *more),
    ]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise WatchkeeperError(f"eval remediation ended with {done.returncode}; see above.")
    figures: Found = json.loads(done.stdout)
    broken = figures["invariant_violations"]
    return figures | {"ok": broken == 0 and not (name == "noise" and figures["actions"])}


def tests_of(*files: str, seeded: bool) -> Callable[[Asked], Found]:
    """Runs these tests with what they print. seeded: with as many seeds as were asked for."""

    def take(asked: Asked) -> Found:
        seeds = {"WATCHKEEPER_SEEDS": str(asked.planner_seeds)} if seeded else {}
        words = [sys.executable, "-m", "pytest", "-rA", "-q", "--timeout=0", *files]
        done = subprocess.run(
            words,
            cwd=ROOT,
            env=os.environ | {"WATCHKEEPER_NIGHTLY": "1"} | seeds,
            capture_output=True,
            text=True,
            check=False,
        )
        whole = done.stdout.strip().splitlines()
        said = [line for line in whole if re.match(r"[a-z_ ,=-]+(: |, power)", line)]
        if done.returncode:
            print("\n".join(whole[-40:]), file=sys.stderr)
        return {
            "ok": done.returncode == 0,
            "files": list(files),
            "seeds": seeds.get("WATCHKEEPER_SEEDS"),
            "summary": whole[-1].strip("= ") if whole else "nothing was said",
            "said": said,
        }

    return take


def mutants(_asked: Asked) -> Found:
    """Every change of the judge's code against its tests."""
    words = [sys.executable, "-m", "watchkeeper_evals.mutants"]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout.strip():
        raise WatchkeeperError(
            f"watchkeeper_evals.mutants ended with {done.returncode}; see above."
        )
    found: Found = json.loads(done.stdout)
    return found | {"ok": done.returncode == 0}


def model(_asked: Asked) -> Found:
    """Hostile models in the crew's seats, beside the rules on the same seeds."""
    words = [sys.executable, "-m", "watchkeeper_evals.model_eval", "--policies"]
    done = subprocess.run(
        [*words, str(ROOT / "policies")], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if not done.stdout.strip():
        raise WatchkeeperError(f"watchkeeper_evals.model_eval ended with {done.returncode}.")
    found: Found = json.loads(done.stdout)
    return found


def pages(_asked: Asked) -> Found:
    """What the console costs: the map of 10,000 GPUs, open pages, and many questions. It measures
    and does not judge, since the machine has other work."""
    found: Found = {"ok": True}
    for name in ("map_load", "console_load"):
        words = [sys.executable, "-m", f"tests.browser.{name}"]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise WatchkeeperError(f"tests.browser.{name} ended with {done.returncode}.")
        found[name] = json.loads(done.stdout)
    return found


PLANNER_TESTS = ("tests/properties/test_any_planner.py", "tests/stories/test_crash_anywhere.py")
SAME_TESTS = ("tests/stories/test_twin_run.py", "tests/integration/test_eval_remediation.py")
GUARD_TESTS = ("tests/integration/test_eval_guard.py",)
LAB_TESTS = ("tests/integration/test_ray_queue.py", "tests/integration/test_ray_serve.py")
CONSOLE_TESTS = ("tests/core/test_console_schema.py", "tests/browser")
STEPS = (
    Step("guard", tests_of(*GUARD_TESTS, seeded=False), of_tests, GUARD_TESTS),
    Step("console", tests_of(*CONSOLE_TESTS, seeded=False), of_tests, CONSOLE_TESTS),
    Step("lab", tests_of(*LAB_TESTS, seeded=False), of_lab, LAB_TESTS),
    Step("pages", pages, of_pages, ("tests/browser",)),
    Step("same", tests_of(*SAME_TESTS, seeded=False), of_tests, SAME_TESTS),
    Step("planner", tests_of(*PLANNER_TESTS, seeded=True), of_tests, PLANNER_TESTS),
    Step("model", model, of_model),
    Step("noise", noise, of_noise),
    Step("night", night, of_night),
    Step("mutants", mutants, of_mutants, ("tests/core", "tests/properties")),
)
"""The short ones first, so that a broken one is seen before the hours of the others."""


def main() -> int:
    """Exit 1 when a step fails; the others are taken all the same."""
    asked, names = _asked()
    asked.out.mkdir(parents=True, exist_ok=True)
    told, ok = [], True
    for step in STEPS:
        if names and step.name not in names:
            continue
        found = taken(step, asked)
        ok &= bool(found["ok"])
        told.append(_headed(step, found))
    text = "\n\n".join(told) + "\n"
    (asked.out / "evidence.md").write_text(text, "utf-8")
    print(text)
    print(f"Kept as {asked.out / 'evidence.md'}.", file=sys.stderr)
    return 0 if ok else 1


def taken(step: Step, asked: Asked) -> Found:
    """What a step found, from its file where it passed under the same code and options."""
    path, key = asked.out / f"{step.name}.json", _key(step, asked)
    if path.exists():
        kept: Found = json.loads(path.read_text("utf-8"))
        if kept.get("key") == key and kept.get("ok"):
            print(f"{step.name}: passed before, under the same code.", file=sys.stderr)
            return kept
    print(f"{step.name} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    about: Found = {"key": key, "commit": commit(), "load_1m": round(os.getloadavg()[0], 1)}
    try:
        found = step.take(asked)
    except WatchkeeperError as err:
        found = {"ok": False, "failed": str(err)}
    found |= about | {"took_s": round(time.monotonic() - began)}
    if key == _key(step, asked):
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    else:
        print(f"{step.name} is not kept: the code has changed meanwhile.", file=sys.stderr)
    return found


def _key(step: Step, asked: Asked) -> str:
    """Code, tests and options that decide what a step finds."""
    whole = hashlib.sha256(code_digest().encode())
    for name in step.tests:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            whole.update(file.read_bytes())
    whole.update(repr(asked._replace(out=Path(), jobs=1)).encode())
    return whole.hexdigest()[:16]


def _headed(step: Step, found: Found) -> str:
    if "failed" in found:
        return f"## {step.name}: FAILED\n\n{found['failed']}"
    said = "" if found["ok"] else "**It failed.** "
    tail = f"Commit {found['commit']}, load average {found['load_1m']} at its start, "
    return f"{step.says(found)}\n\n{said}{tail}{found['took_s'] / 60:.0f} min."


def _asked() -> tuple[Asked, set[str]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "nightly")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--days", type=float, default=DAYS)
    parser.add_argument("--noise-seeds", type=int, default=NOISE_SEEDS)
    parser.add_argument("--planner-seeds", type=int, default=PLANNER_SEEDS)
    parser.add_argument("--only", default="", help=", ".join(step.name for step in STEPS))
    words = vars(parser.parse_args())
    names = {name.strip() for name in words.pop("only").split(",") if name.strip()}
    if unknown := names - {step.name for step in STEPS}:
        parser.error(f"there is no step {sorted(unknown)[0]!r}")
    words["out"] = words["out"].resolve()
    return Asked(**words), names


if __name__ == "__main__":
    raise SystemExit(main())
