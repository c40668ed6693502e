"""YAML text to a tree that knows where each word stands. Nothing is guessed: a scalar stays text.

Built from the parser's events, because PyYAML's own composer keeps the last of two equal keys,
reads `no` as false and 12:30 as 750, and can be made to overflow the stack by deep nesting.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml
from msgspec import Struct

from watchkeeper.core.errors import Problem
from watchkeeper.core.tame import hidden

MAX_CHARS = 1_000_000
MAX_DEPTH = 16
MAX_NODES = 100_000


class Mark(NamedTuple):
    """A place, 1-based."""

    line: int
    column: int


class Scalar(Struct, frozen=True, gc=False):
    """One word or text. `style` is "" for plain, else the quote or block sign; `indent` is the
    number of spaces before the first line of a block."""

    mark: Mark
    text: str
    style: str
    last_line: int
    indent: int = 0


class Sequence(Struct, frozen=True, gc=False):
    """A list."""

    mark: Mark
    items: tuple[Tree, ...]


class Mapping(Struct, frozen=True, gc=False):
    """Keys to values, as written; a key that stands twice is already reported."""

    mark: Mark
    items: tuple[tuple[Scalar, Tree], ...]


Tree = Scalar | Sequence | Mapping


class _Stop(Exception):
    """The text cannot be read on; the problem says why."""

    def __init__(self, mark: Mark, message: str, offending: str = "") -> None:
        self.mark, self.message, self.offending = mark, message, offending
        super().__init__(message)


def compose(file: str, text: str) -> tuple[Tree | None, list[Problem]]:
    """One YAML document as a tree, with the problems found on the way.

    None when there is no readable document. Anchors and aliases work; the whole tree, aliases
    written out, may hold MAX_NODES nodes, so an alias bomb is refused while it is still small.
    """
    problems: list[Problem] = []

    def problem(mark: Mark, message: str, offending: str = "") -> None:
        problems.append(Problem(file, mark.line, mark.column, message, offending))

    if len(text) > MAX_CHARS:
        problem(Mark(1, 1), f"the file has {len(text)} characters; at most {MAX_CHARS} are read")
        return None, problems
    try:
        return _Composer(text, problem).document(), problems
    except _Stop as stop:
        problem(stop.mark, stop.message, stop.offending)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
        problem(place, f"this is not YAML: {err.problem or err.context}{_quotes(text, place.line)}")
    except yaml.reader.ReaderError as err:
        before = text[: err.position]
        place = Mark(before.count("\n") + 1, err.position - before.rfind("\n"))
        problem(place, f"this is not YAML: {err.reason}")
    except yaml.YAMLError as err:
        problem(Mark(1, 1), f"this is not YAML: {err}")
    return None, problems


_VALUE = re.compile(r"^[\s-]*[\w-]+:\s+(?P<value>\S.*)$")


def _quotes(text: str, line: int) -> str:
    """Where a text on this line wants quotes, the advice to put it in some."""
    lines = text.split("\n")
    match = _VALUE.match(lines[line - 1]) if line <= len(lines) else None
    value = match["value"] if match else ""
    if value[:1] in tuple("*&!@%`"):
        return f"; a text that begins with {value[0]} stands in quotes"
    if value[:1] in ("'", '"'):
        return "; a text that begins with a quote stands in quotes as a whole, of the other kind"
    if value[:1] not in ("", "{", "[", "|", ">") and re.search(r":(\s|$)", value):
        return '; a text that holds ": " stands in quotes'
    return ""


class _Composer:
    """Builds the tree from parser events; the one place that knows PyYAML's event classes."""

    def __init__(self, text: str, problem: Callable[..., None]) -> None:
        self._parser = yaml.CSafeLoader(text)
        self._lines = text.split("\n")
        self._problem = problem
        self._anchors: dict[str, tuple[Tree, int]] = {}
        self._nodes = 0

    def document(self) -> Tree | None:
        self._next()  # the stream
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            self._problem(Mark(1, 1), "the file is empty")
            return None
        tree = self._tree(self._next(), 0)
        self._next()  # the end of the document
        extra = self._next()
        if not isinstance(extra, yaml.StreamEndEvent):
            raise _Stop(_mark(extra), "a file holds one document; put the next in its own file")
        return tree

    def _next(self) -> Any:
        """The parser's next event: iterative in C, so depth costs no stack."""
        return self._parser.get_event()

    def _tree(self, event: Any, depth: int) -> Tree:
        before = self._nodes
        self._count(event, 1)
        if depth > MAX_DEPTH:
            raise _Stop(_mark(event), f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                said = f"no anchor &{event.anchor} stands before this"
                raise _Stop(_mark(event), f"{said}; a text that begins with * stands in quotes")
            tree, size = self._anchors[event.anchor]
            self._count(event, size)
            return tree
        tag = str(event.tag or "")
        if tag not in ("", "!") and not tag.startswith("tag:yaml.org,2002:"):
            said = f"the tag {tag} is not allowed here; a text that begins with ! stands in quotes"
            raise _Stop(_mark(event), said, tag)
        if "python" in tag:
            raise _Stop(_mark(event), f"the tag {tag} is not allowed here", tag)
        tree = self._plain_tree(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = (tree, self._nodes - before)
        return tree

    def _plain_tree(self, event: Any, depth: int) -> Tree:
        if isinstance(event, yaml.ScalarEvent):
            style = event.style if event.style in ("'", '"', "|", ">") else ""
            indent = self._indent(_mark(event).line) if style == "|" else 0
            last = getattr(event.end_mark, "line", 0) + 1
            return Scalar(_mark(event), event.value, style, last, indent)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(inner := self._next(), yaml.SequenceEndEvent):
                items.append(self._tree(inner, depth + 1))
            return Sequence(_mark(event), tuple(items))
        return self._mapping(event, depth)

    def _mapping(self, event: Any, depth: int) -> Mapping:
        items: list[tuple[Scalar, Tree]] = []
        first: dict[str, int] = {}
        while not isinstance(inner := self._next(), yaml.MappingEndEvent):
            key = self._tree(inner, depth + 1)
            value = self._tree(self._next(), depth + 1)
            if not isinstance(key, Scalar):
                self._problem(key.mark, "a key must be one word")
            elif key.text in first:
                said = f"the key {key.text!r} stands twice; first on line {first[key.text]}"
                self._problem(key.mark, said, key.text)
            else:
                first[key.text] = key.mark.line
                items.append((key, value))
        return Mapping(_mark(event), tuple(items))

    def _indent(self, line: int) -> int:
        """Spaces before the text of this 0-based line."""
        first = self._lines[line] if line < len(self._lines) else ""
        return len(first) - len(first.lstrip(" "))

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _Stop(_mark(event), f"more than {MAX_NODES} values, aliases written out")


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def as_yaml(value: object) -> str:
    """Plain values as YAML, for `-o yaml`; keys keep their order."""
    text = str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
    if any(hidden(c) for c in text):  # PyYAML passes on what turns the reading direction
        text = str(yaml.safe_dump(value, sort_keys=False, allow_unicode=False))
    return text
