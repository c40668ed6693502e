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
  | (?: [rR][bB]? | [bB][rR] )
    (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
  | [bB]?
    (?: \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
      | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
  | (?<![\w.]) (?P<what>var|list)\.(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
"""Comments and texts are passed over: a name inside them is not a use. In a raw text, r"...", a
backslash hides nothing."""


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
        piece = self._piece(at)
        return piece.origin + (0 if piece.put_in else at - piece.begin)

    def use_at(self, at: int) -> int | None:
        """Where the name stands, in what the author wrote, that this offset was put in for; None
        where the author wrote it so."""
        piece = self._piece(at)
        return piece.origin if piece.put_in else None

    def _piece(self, at: int) -> _Piece:
        return next((p for p in reversed(self.pieces) if p.begin <= at), _Piece(0, 0, False))


def uses_in(text: str) -> Iterator[Use]:
    """Every use of a variable or list, in the order of the text."""
    if "var." not in text and "list." not in text:
        return  # nearly all conditions
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
    return "[" + ", ".join(json.dumps(word, ensure_ascii=False) for word in words) + "]"


def written_out(
    variables: Mapping[str, str], lists: Mapping[str, tuple[str, ...]], longest: int
) -> Meanings:
    """What every name stands for, with variables inside variables written out as well.

    A name that stands for itself, directly or in a circle, stands for nothing; nor does one that
    grows longer than `longest`, so that a few short lines cannot fill the memory, nor one that
    uses any of these.
    """
    literals = {name: as_literal(words) for name, words in lists.items()}
    texts: dict[str, str] = {}
    known = Meanings(texts, {n: t for n, t in literals.items() if len(t) <= longest})
    too_long = {("list", name) for name in literals.keys() - known.lists.keys()}
    needs = {name: _inner(text) & variables.keys() for name, text in variables.items()}
    order = _inner_first(needs)
    for name in order:
        text = variables[name]
        inner = [known.of(use) for use in uses_in(text)]
        if None in inner:
            continue  # it rests on a name that stands for nothing
        if len(text) + sum(len(meant or "") for meant in inner) > longest:
            too_long.add(("var", name))
        else:
            texts[name] = f"({expand(text, known.of).text}\n)"
    return known._replace(circles=_circles(needs, order), too_long=frozenset(too_long))


def _inner(text: str) -> set[str]:
    return {use.name for use in uses_in(text) if use.what == "var"}


def _inner_first(needs: Mapping[str, set[str]]) -> list[str]:
    """Names, each after all that it needs; without those in a circle, or that need one."""
    users: dict[str, list[str]] = {}
    for name, inner in needs.items():
        for other in inner:
            users.setdefault(other, []).append(name)
    missing = {name: len(inner) for name, inner in needs.items()}
    ready = [name for name, count in missing.items() if not count]
    order = []
    while ready:
        name = ready.pop()
        order.append(name)
        for user in users.get(name, ()):
            missing[user] -= 1
            if not missing[user]:
                ready.append(user)
    return order


def _circles(needs: Mapping[str, set[str]], order: list[str]) -> frozenset[str]:
    """Of the names that found no place in the order: those that others there need as well."""
    stuck = needs.keys() - set(order)
    used_by: dict[str, set[str]] = {name: set() for name in stuck}
    for name in stuck:
        for other in needs[name] & stuck:
            used_by[other].add(name)
    return frozenset(stuck - set(_inner_first(used_by)))


class Meanings(NamedTuple):
    """variables and lists: name to the text that stands for it, inner variables first. circles:
    variables that would stand for themselves. too_long: (`var` or `list`, name)."""

    variables: Mapping[str, str]
    lists: Mapping[str, str]
    circles: frozenset[str] = frozenset()
    too_long: frozenset[tuple[str, str]] = frozenset()

    def of(self, use: Use) -> str | None:
        """The text for one use; None where it stands for nothing."""
        return (self.variables if use.what == "var" else self.lists).get(use.name)
