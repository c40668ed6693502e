"""Plays a page of docs/policy: writes its files, types its commands, compares what they print.

A page is a script. Before a block stands, where it is needed, one HTML comment:

    <!-- file: PATH -->      the YAML block is written there
    <!-- change: PATH -->    a diff block: lines with - are replaced by lines with +
    <!-- exit: N -->         the sh block ends with this code
    <!-- needs a watch -->   the sh block is not typed here (tests/contracts/docs_commands.py says
                             how it is run)

A text block right after commands is what they print. `WATCHKEEPER_WRITE_DOCS=1` writes it anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.S | re.M
)
NEEDS_A_WATCH = "needs a watch"


@dataclass(frozen=True)
class Block:
    """One fenced block. mark: what the comment before it says. at: offsets of its body."""

    language: str
    body: str
    mark: str
    at: tuple[int, int]
    line: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(
            m["language"], m["body"], m["mark"] or "", m.span("body"), text[: m.start()].count("\n")
        )
        for m in _BLOCK.finditer(text)
    ]


def typed(body: str) -> list[str]:
    """The commands of an sh block, without their comments."""
    bare = [re.sub(r"\s+#\s.*$", "", line).strip() for line in body.splitlines()]
    return [line for line in bare if line]


def play(page: Path, workspace: Path, home: Path) -> str:
    """Play a page in an empty workspace. Returns the page with what the commands really print."""
    text = page.read_text()
    said, printed, edits = "", False, []
    for block in blocks(text):
        word, _, value = block.mark.partition(": ")
        match block.language:
            case "yaml" | "diff" if word in ("file", "change"):
                _write(workspace / value, block)
                printed = False
            case "sh" if word != NEEDS_A_WATCH:
                code = int(value) if word == "exit" else 0
                said = "".join(_type(c, workspace, home, code) for c in typed(block.body))
                printed = True
            case "text" if printed:
                edits.append((block.at, said))
                printed = False
            case _:
                printed = False
    for (begin, end), new in reversed(edits):
        text = text[:begin] + new + text[end:]
    return text


def _write(file: Path, block: Block) -> None:
    if block.language == "yaml":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.body)
        return
    text = file.read_text()
    for old, new in _hunks(block.body):
        assert text.count(old) == 1, f"line {block.line}: {old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    file.write_text(text)


def _hunks(diff: str) -> Iterator[tuple[str, str]]:
    """Each run of lines with - and +; what has neither divides them."""
    for hunk in re.findall(r"(?:^[-+].*\n)+", diff, re.M):
        lines = hunk.splitlines(keepends=True)
        yield (
            "".join(line[1:] for line in lines if line[0] == "-"),
            "".join(line[1:] for line in lines if line[0] == "+"),
        )


def _type(command: str, workspace: Path, home: Path, code: int) -> str:
    """Run one command as a shell would. What it prints, with no space at the ends of lines."""
    shim = home / "bin"
    shim.mkdir(parents=True, exist_ok=True)
    program = shim / "watchkeeper"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m watchkeeper.app.cli "$@"\n')
    program.chmod(0o755)
    path = f"{shim}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=workspace,
        env={**os.environ, "WATCHKEEPER_HOME": str(home), "PATH": path, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{command}\n{done.stdout}"
    said = re.sub(r"[ \t]+$", "", done.stdout, flags=re.M).rstrip("\n")
    return f"{said}\n" if said else ""
