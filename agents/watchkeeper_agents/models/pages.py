"""Prompts and runbooks: files with versions, read once. What a model is told beside the facts of
its question is in these files, and nowhere else.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from watchkeeper.core.errors import Bug
from watchkeeper.core.word import Word
from watchkeeper.remedy.runbook import runbook_of

_VERSION = re.compile(r"<!-- version: (\d+) -->\n")
_STEP = re.compile(r"^(\d+)\. (.+(?:\n   .+)*)", re.MULTILINE)


class Prompt(Word, frozen=True):
    """One prompt. id: as the record names it, `remediation@2 1f0a3c9e`: file, version, and the
    beginning of its SHA-256, so that a changed file never goes by an old name."""

    id: str
    text: str


class RunbookStep(Word, frozen=True):
    """One numbered line of a runbook. id: `r3`."""

    id: str
    says: str


class Runbook(Word, frozen=True):
    """One page, as a model or a ticket gets it."""

    name: str
    steps: tuple[RunbookStep, ...]

    @property
    def path(self) -> str:
        return f"docs/runbooks/{self.name}.md"


@lru_cache(maxsize=64)
def prompt(name: str) -> Prompt:
    """The prompt of an agent, or of a tool belt, by file name. Raises Bug: a file lacks its
    version."""
    text = files("watchkeeper_agents").joinpath("prompts", f"{name}.md").read_text("utf-8")
    found = _VERSION.match(text)
    if found is None:
        raise Bug(f"prompts/{name}.md does not begin with its version")
    short = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Prompt(id=f"{name}@{found[1]} {short}", text=text[found.end() :].strip())


@lru_cache(maxsize=64)
def tool_says(name: str, file: str = "tools") -> str:
    """What a tool's description tells a model: its section of prompts/tools.md, or another."""
    whole = prompt(file).text
    for part in re.split(r"^## ", whole, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        if head.strip() == name:
            return " ".join(body.split())
    raise Bug(f"prompts/{file}.md says nothing of {name}")


@lru_cache(maxsize=64)
def runbook(fault: str) -> Runbook | None:
    """The runbook of a class of fault; None where there is none."""
    name = runbook_of(fault)
    if not name:
        return None
    text = _folder().joinpath(f"{name}.md").read_text("utf-8")
    steps = tuple(
        RunbookStep(id=f"r{number}", says=" ".join(says.split()))
        for number, says in _STEP.findall(text)
    )
    return Runbook(name=name, steps=steps)


def _folder() -> Path:
    """In the wheel they lie in the package; in a checkout in docs/, where people read them."""
    packed = Path(str(files("watchkeeper_agents").joinpath("runbooks")))
    return packed if packed.is_dir() else Path(__file__).parents[3] / "docs" / "runbooks"
