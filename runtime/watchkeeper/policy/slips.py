"""What an author meant where a condition does not parse: words of other languages, by their place.

Asked by `expr` after the compiler refused a text. A hint only; it never changes what is refused.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_TEXTS = re.compile(r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|//[^\n]*""")
_WORDS = {"and": "&&", "or": "||", "not": "!"}
_SIGNS = {
    "=": "==",
    "===": "==",
    "!==": "!=",
    "<>": "!=",
    "=<": "<=",
    "=>": ">=",
    "&": "&&",
    "|": "||",
}
_SLIP = re.compile(r"(?<![\w.])(?:and|or|not)(?![\w.(])|[=<>!&|]+|\bin\s*\(", re.IGNORECASE)

FUNCTIONS = (
    *("startsWith", "endsWith", "contains", "matches", "size", "duration", "timestamp", "double"),
    *("int", "string", "has", "exists", "all", "exists_one", "map", "filter", "getHours"),
    *("getDayOfWeek", "getDayOfMonth", "getDate", "getMonth", "getMinutes", "getFullYear"),
)
"""Functions that conditions of orders have a use for: CEL knows a few more."""

_CALLED = {
    **dict.fromkeys(("beginsWith", "hasPrefix", "prefix", "startWith"), "startsWith"),
    **dict.fromkeys(("hasSuffix", "suffix", "endWith"), "endsWith"),
    **dict.fromkeys(("includes", "include", "has_key", "hasKey"), "contains"),
    **dict.fromkeys(("len", "length", "count"), "size"),
    **dict.fromkeys(("regex", "like", "match", "test"), "matches"),
    **dict.fromkeys(("any", "some"), "exists"),
    **dict.fromkeys(("every", "each"), "all"),
    **dict.fromkeys(("hour", "hours"), "getHours"),
}


class Slip(NamedTuple):
    """One slip: its offset, what to write, and what is written."""

    at: int
    message: str
    written: str


def slips_in(text: str) -> tuple[Slip, ...]:
    """Operators of other languages, in the order of the text; in texts and comments none are."""
    bare = _TEXTS.sub(lambda match: "_" * len(match[0]), text)
    found = []
    for match in _SLIP.finditer(bare):
        written = match[0]
        if written.lower().startswith("in") and written.endswith("("):
            said = 'several words stand in brackets: in ["a", "b"]'
            found.append(Slip(match.end() - 1, said, "("))
            continue
        right = _WORDS.get(written.lower()) or _SIGNS.get(written)
        if right:
            found.append(Slip(match.start(), f"write {right} and not {written}", written))
    return tuple(found)


def function_meant(name: str) -> str:
    """The function that another language calls so; "" where none is known."""
    lower = name.lower()
    return next((right for called, right in _CALLED.items() if called.lower() == lower), "")
