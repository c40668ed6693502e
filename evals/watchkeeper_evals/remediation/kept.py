"""Runs that are kept in a folder, one JSON file for each controller and seed.

A long evaluation that was interrupted goes on where it stopped: what lies here under the same code
and the same setup is not played again. Nothing is overwritten: other code has a folder of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from watchkeeper.core.errors import Malformed, UsageError
from watchkeeper.core.word import Word
from watchkeeper_evals.remediation.runs import SeedRun
from watchkeeper_evals.remediation.setup import Setup
from watchkeeper_evals.remediation.sources import code_digest, commit

ABOUT = "about.json"


class About(Word, frozen=True):
    """What the runs of one folder have in common. code and setup: digests."""

    code: str
    setup: str
    commit: str
    nodes: int
    gpus_per_node: int
    days: float
    noise_only: bool
    policies: str
    simulated: bool = True


def setup_digest(setup: Setup) -> str:
    """16 hex digits of everything that decides a run but seed and code: fleet, length, orders."""
    plain = replace(setup, seeds=1, first_seed=0, policies="")
    whole = msgspec.json.encode(plain, order="deterministic")
    return hashlib.sha256(whole).hexdigest()[:16]


class Kept:
    """The runs of one code and setup under a folder. Raises UsageError when it cannot be made."""

    def __init__(self, root: Path, about: About) -> None:
        self.about = about
        self.folder = root / f"setup-{about.setup[:8]}-code-{about.code[:8]}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UsageError(f"{self.folder} cannot be made: {err.strerror}.") from err
        if not (self.folder / ABOUT).exists():
            _write(self.folder / ABOUT, msgspec.json.format(msgspec.json.encode(about), indent=1))

    @staticmethod
    def of(root: Path, setup: Setup) -> Kept:
        """What is kept there for the code that runs now."""
        return Kept(root, _about(setup))

    @staticmethod
    def found(root: Path, setup: Setup) -> Kept:
        """The same, or where that code has played nothing, the newest of another code for the same
        setup. Raises UsageError when there is none."""
        mine = _about(setup)
        others = [
            (path.stat().st_mtime, about)
            for path in sorted(root.glob(f"setup-*-code-*/{ABOUT}"))
            if (about := _read_about(path)).setup == mine.setup
        ]
        same = [about for _, about in others if about.code == mine.code]
        if same:
            return Kept(root, same[0])
        if not others:
            raise UsageError(f"Nothing is kept in {root} for such a fleet, length and orders.")
        return Kept(root, max(others, key=lambda pair: pair[0])[1])

    def path(self, seed: int, controller: str) -> Path:
        return self.folder / f"{controller}-seed-{seed:06d}.json"

    def take(self, seed: int, controller: str) -> SeedRun | None:
        """The run that is kept, if it is. Raises Malformed for a file that is damaged."""
        path = self.path(seed, controller)
        try:
            return msgspec.json.decode(path.read_bytes(), type=SeedRun)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as err:
            raise Malformed(f"{path} cannot be read: {err}. Remove it to play it again.") from err

    def keep(self, run: SeedRun) -> None:
        """Keep it, whole or not at all."""
        _write(self.path(run.seed, run.controller), msgspec.json.encode(run))

    def still(self) -> bool:
        """Whether the files of the code are those that the folder is named after."""
        return code_digest() == self.about.code

    def every(self) -> Iterator[tuple[int, str]]:
        """(seed, controller) of all that is kept, in order of name."""
        for path in sorted(self.folder.glob("*-seed-*.json")):
            controller, _, seed = path.stem.rpartition("-seed-")
            if seed.isdigit():
                yield int(seed), controller


def _about(setup: Setup) -> About:
    return About(
        code=code_digest(),
        setup=setup_digest(setup),
        commit=commit(),
        nodes=setup.nodes,
        gpus_per_node=setup.gpus_per_node,
        days=setup.days,
        noise_only=setup.noise_only,
        policies=setup.policies,
    )


def _read_about(path: Path) -> About:
    try:
        return msgspec.json.decode(path.read_bytes(), type=About)
    except (OSError, msgspec.MsgspecError) as err:
        raise Malformed(f"{path} cannot be read: {err}.") from err


def _write(path: Path, content: bytes) -> None:
    half = path.with_suffix(f".{os.getpid()}.half")
    half.write_bytes(content)
    half.replace(path)
