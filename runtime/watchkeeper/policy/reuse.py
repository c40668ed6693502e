"""Variables and lists: what an author writes once and uses in many conditions.

`var.NAME` stands for its expression in parentheses, `list.NAME` for a list of words. They are
written out in the text before it is compiled, and a fault is carried back to where the author
wrote the name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
    //[^\n]*
  | [rRbB]{0,2}(?: \"{3}.*?\"{3} | '{3}.*?'{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
  | (?<![\w.]) (?P<what>var|list)\.(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
"""Comments and texts are passed over: a name inside them is not a use."""


class Use(NamedTuple):
    """One `var.NAME` or `list.NAME`; `at` and `end` are offsets in the author's text."""

    what: str
    name: str
    at: int
    end: int


class _Piece(NamedTuple):
    begin: int
    origin: int
    put_in: bool


class Expanded(NamedTuple):
    """A condition written out, and where each piece of it comes from."""

    text: str
    pieces: tuple[_Piece, ...]

    def origin_of(self, at: int) -> int:
        """Where an offset of the written-out text stands in what the author wrote."""
        piece = next((p for p in reversed(self.pieces) if p.begin <= at), _Piece(0, 0, False))
        return piece.origin + (0 if piece.put_in else at - piece.begin)


def uses_in(text: str) -> Iterator[Use]:
    """Every use of a variable or list, in the order of the text."""
    for match in _TOKEN.finditer(text):
        if match["what"]:
            yield Use(match["what"], match["name"], match.start(), match.end())


def expand(text: str, stands_for: Callable[[Use], str | None]) -> Expanded:
    """The text with every use written out. A use for which `stands_for` is None stays."""
    out, pieces, done, length = [], [_Piece(0, 0, False)], 0, 0
    for use in uses_in(text):
        meant = stands_for(use)
        if meant is None:
            continue
        before = text[done : use.at]
        out += [before, meant]
        length += len(before)
        pieces.append(_Piece(length, use.at, True))
        length += len(meant)
        pieces.append(_Piece(length, use.end, False))
        done = use.end
    return Expanded("".join([*out, text[done:]]), tuple(pieces))


def as_literal(words: tuple[str, ...]) -> str:
    """A list of words in the language of conditions."""
    return "[" + ", ".join(json.dumps(word) for word in words) + "]"


def written_out(variables: Mapping[str, str], lists: Mapping[str, tuple[str, ...]]) -> Meanings:
    """What every name stands for, with variables inside variables written out as well.

    Names that stand for themselves, directly or in a circle, are in `circles` and nothing else.
    """
    meanings: dict[str, str] = {}
    circles: set[str] = set()

    def meaning(use: Use, within: tuple[str, ...]) -> str | None:
        if use.what == "list":
            words = lists.get(use.name)
            return None if words is None else as_literal(words)
        if use.name in within:
            circles.update(within[within.index(use.name) :])
            return None
        if use.name not in variables:
            return None
        if use.name not in meanings:
            inner = expand(variables[use.name], lambda u: meaning(u, (*within, use.name)))
            meanings[use.name] = f"({inner.text}\n)"
        return meanings[use.name]

    for name in variables:
        meaning(Use("var", name, 0, 0), ())
    kept = {name: text for name, text in meanings.items() if name not in circles}
    return Meanings(kept, {n: as_literal(w) for n, w in lists.items()}, frozenset(circles))


class Meanings(NamedTuple):
    """variables and lists: name to the text that stands for it. circles: variables that would
    stand for themselves."""

    variables: Mapping[str, str]
    lists: Mapping[str, str]
    circles: frozenset[str]

    def of(self, use: Use) -> str | None:
        """The text for one use; None where the name is not known."""
        return (self.variables if use.what == "var" else self.lists).get(use.name)
