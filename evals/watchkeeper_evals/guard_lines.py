"""The lines of a guard corpus: what one says, and how a file of them is read.

A file is taken whole or not at all: every line that cannot be read is named, with its number and
the reason, so that no attack drops out of the count unseen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

from watchkeeper.core.errors import Malformed
from watchkeeper.core.word import Word, parse

MOST_BYTES = 256 * 1024 * 1024
MOST_TOLD = 20
"""Bad lines that one error names; the rest are counted."""


class Call(Word, frozen=True):
    """One tool and its arguments, as a planner or a hostile client sends them. args may be
    anything at all: that it is not an object is for the schema to refuse."""

    tool: str
    args: Any = {}


class Given(Word, frozen=True):
    """The state of the standing scene for one call; every field has the default that lets most
    happen.

    at: `night` (few questions) or `day`. autonomy: the dial. stopped: the latch is set. world:
    where the evidence is from ("" = this world). before: calls that were made first and count
    alone as preparation. past: disruptive effects of the last hour, on other nodes. drift: the
    targets are another incarnation by the time of the effect. ask: the action of a question that
    waits for people, asked for by `asked_by`.
    """

    at: str = "night"
    autonomy: str = "auto"
    stopped: bool = False
    world: str = ""
    before: tuple[Call, ...] = ()
    past: int = 0
    drift: bool = False
    ask: dict[str, Any] = {}
    asked_by: str = "agent:remediation"

    def __post_init__(self) -> None:
        for what, value, known in (
            ("at", self.at, ("night", "day")),
            ("autonomy", self.autonomy, ("observe", "ask", "auto")),
            ("world", self.world, ("", "real", "lab", "twin")),
        ):
            if value not in known:
                raise ValueError(f"given.{what} must be one of {known}, not {value!r}")
        if not 0 <= self.past <= 100:
            raise ValueError("given.past must be between 0 and 100")


class CallLine(Word, frozen=True):
    """One call, whether it is benign, and of which class. line: its number in the file."""

    line: int
    call: Call
    benign: bool
    given: Given = Given()
    of: str = "other"


class TextLine(Word, frozen=True):
    """One text of the kind that a log, a tenant or a person may write."""

    line: int
    text: str
    benign: bool
    of: str = "other"


Line: TypeAlias = CallLine | TextLine


def read_corpus(path: Path) -> tuple[Line, ...]:
    """Every line of the file. Raises Malformed: the file cannot be read or holds nothing, or any
    line is not a call or a text; each such line is named by number."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Malformed(f"{path} is larger than {MOST_BYTES // 2**20} MiB. Split it.")
        data = path.read_bytes()
    except OSError as err:
        raise Malformed(
            f"The corpus {path} cannot be read: {err.strerror or err}. Name a file of JSON lines "
            "with --corpus."
        ) from err
    found: list[Line] = []
    wrong: list[str] = []
    for number, raw in enumerate(data.split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            found.append(read_line(raw.removeprefix(b"\xef\xbb\xbf"), number))
        except Malformed as err:
            wrong.append(f"{path}:{number}: {err}")
    if wrong:
        more = f"\nand {len(wrong) - MOST_TOLD} more lines" if len(wrong) > MOST_TOLD else ""
        raise Malformed("\n".join(wrong[:MOST_TOLD]) + more)
    if not found:
        raise Malformed(f"{path} holds no line. An empty corpus would prove nothing.")
    return tuple(found)


def read_line(raw: bytes, number: int) -> Line:
    """One line. Keys that we do not know are passed over, but for those of `given`. Raises
    Malformed."""
    try:
        said = json.loads(raw)  # takes NaN and endless integers, which an attacker may send
    except (ValueError, RecursionError) as err:
        raise Malformed(f"not JSON: {type(err).__name__}: {err}") from err
    if not isinstance(said, dict):
        raise Malformed("a line must be an object with `kind`, and not " + type(said).__name__)
    if not isinstance(said.get("benign"), bool):
        raise Malformed("`benign` must be true or false")
    of = str(said.get("class", "other"))
    match said.get("kind"):
        case "call":
            return _call_line(said, number, of)
        case "text":
            text = said.get("text")
            if not isinstance(text, str):
                raise Malformed("a text line needs `text`, a string")
            return TextLine(line=number, text=text, benign=said["benign"], of=of)
        case kind:
            raise Malformed(f"unknown kind {kind!r}; the kinds are call and text")


def _call_line(said: dict[str, Any], number: int, of: str) -> CallLine:
    tool = said.get("tool")
    if not isinstance(tool, str):
        raise Malformed("a call line needs `tool`, a string")
    given = said.get("given", {})
    if not isinstance(given, dict):
        raise Malformed("`given` must be an object")
    return CallLine(
        line=number,
        call=Call(tool=tool, args=said.get("args", {})),
        benign=said["benign"],
        given=parse(given, Given, "given"),
        of=of,
    )


def as_json(value: object) -> bytes:
    """A value as it travels, ASCII alone, so that lone surrogates and NaN reach the parser as
    they were written."""
    try:
        return json.dumps(value).encode()
    except (ValueError, RecursionError) as err:
        raise Malformed(f"cannot be sent: {err}") from err


def action_json(tool: str, args: object) -> bytes:
    """An action as text: its kind, and the arguments beside it. Raises Malformed when the
    arguments are no object, or would name another kind."""
    if not isinstance(args, dict):
        raise Malformed("the arguments of an action must be an object")
    if "kind" in args:
        raise Malformed("unknown field `kind` among the arguments of an action")
    return as_json({"kind": tool, **args})
