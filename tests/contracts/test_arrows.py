"""The folders are the architecture: every arrow holds, and each contract has been seen to break."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / ".importlinter"
PACKAGES = (
    "runtime/watchkeeper",
    "agents/watchkeeper_agents",
    "evals/watchkeeper_evals",
)

# Each contract, the module that breaks it, and its one offending import.
BREAKS = {
    "house": ("watchkeeper.core.planted", "import watchkeeper.control.turn"),
    "safety": ("watchkeeper_agents.planted", "from watchkeeper.control import execute"),
    "console": ("watchkeeper.console.planted", "import watchkeeper.adapters.stop_file"),
    "pure": ("watchkeeper.policy.planted", "import random"),
    "door-redis": ("watchkeeper.control.planted", "import redis"),
    "door-ray": ("watchkeeper.twin.planted", "import ray"),
    "door-sklearn": ("watchkeeper.placement.planted", "import sklearn"),
    "door-ortools": ("watchkeeper.placement.planted", "import ortools"),
    "door-policy": ("watchkeeper.adapters.planted", "import yaml"),
    "door-fastapi": ("watchkeeper.control.planted", "import fastapi"),
    "door-langgraph": ("watchkeeper.adapters.planted", "import langgraph"),
    "door-models": ("watchkeeper_agents.planted", "import langchain"),
    "reader": ("watchkeeper_agents.models.reading.planted", "import watchkeeper_agents.tools"),
    "door-mcp": ("watchkeeper.console.planted", "import mcp"),
    "door-sign-on": ("watchkeeper.console.planted", "import authlib"),
    "app": ("watchkeeper.control.planted", "import watchkeeper.app.settings"),
}

# Arrows that must not be, whichever contract forbids them.
NEVER = {
    "the crew reaches the executor through the twin": (
        "watchkeeper_agents.planted",
        "import watchkeeper.twin.memory",
    ),
    "an adapter calls control": (
        "watchkeeper.adapters.planted",
        "import watchkeeper.control.gate",
    ),
    "control knows an adapter": (
        "watchkeeper.control.planted",
        "import watchkeeper.adapters.journal_file",
    ),
    "one pure room knows another": (
        "watchkeeper.health.planted",
        "import watchkeeper.remedy.ladder",
    ),
    "a pure room reads a clock": ("watchkeeper.health.planted", "import time"),
    "a core word opens a socket": ("watchkeeper.core.planted", "import socket"),
    "the console asks its own evals": ("watchkeeper.console.planted", "import watchkeeper_evals"),
}


def contracts() -> dict[str, str]:
    """Id of each contract in .importlinter to its name."""
    config = configparser.ConfigParser()
    config.read(CONFIG)
    prefix = "importlinter:contract:"
    return {
        section.removeprefix(prefix): config[section]["name"]
        for section in config.sections()
        if section.startswith(prefix)
    }


def lint(*, roots: Path, folder: Path) -> dict[str, bool]:
    """Run lint-imports over packages in a folder; name of each contract to whether it is kept."""
    env = {**os.environ, "PYTHONPATH": str(roots), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("lint-imports")),
            *("--config", str(CONFIG), "--cache-dir", str(folder / "cache")),
        ],
        capture_output=True,
        text=True,
        env=env,
        cwd=folder,
    )
    found = re.findall(r"^(.+?) (KEPT|BROKEN)(?: \(.*\))?$", done.stdout, re.M)
    assert found, done.stdout + done.stderr
    return {name: word == "KEPT" for name, word in found}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source roots as one folder: .py files only."""
    roots = tmp_path_factory.mktemp("roots")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            roots / Path(package).name,
            ignore=lambda folder, names: [
                n for n in names if not n.endswith(".py") and not (Path(folder) / n).is_dir()
            ],
        )
    return roots


def with_planted(copy: Path, module: str, text: str) -> dict[str, bool]:
    """The contracts with one module more."""
    file = copy.joinpath(*module.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")
    try:
        return lint(roots=copy, folder=copy)
    finally:
        file.unlink()


def test_every_contract_has_a_module_here_that_breaks_it() -> None:
    assert set(BREAKS) == set(contracts())


def test_every_contract_is_kept(copy: Path) -> None:
    kept = lint(roots=copy, folder=copy)
    assert kept == dict.fromkeys(contracts().values(), True)


@pytest.mark.parametrize("contract", BREAKS)
def test_one_import_breaks(copy: Path, contract: str) -> None:
    module, text = BREAKS[contract]
    kept = with_planted(copy, module, text)
    assert kept[contracts()[contract]] is False, f"{text} in {module} went unseen"


@pytest.mark.parametrize("arrow", NEVER)
def test_it_is_seen_when(copy: Path, arrow: str) -> None:
    module, text = NEVER[arrow]
    assert not all(with_planted(copy, module, text).values()), f"{text} in {module} went unseen"
