"""Text from the cluster made harmless to look at: a stranger wrote it. For every way out: pages,
notifications, files and terminals.

Takes out what could move a cursor, turn the reading direction or hide, and caps it. Pure; does not
escape: Jinja does that.
"""

from __future__ import annotations

import re
import unicodedata

_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor moves
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC and kin: titles, links, clipboard
    r"|\x1b.?"
    r"|\x9b[0-?]*[ -/]*[@-~]",
    re.DOTALL,
)
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_DOT = "\N{MIDDLE DOT}"


def tame(value: object, cap: int = 300, lines: bool = False) -> str:
    """Text of the cluster made harmless to look at: no terminal codes, no control, format (bidi,
    zero width) or private characters, at most `cap` characters. `lines` keeps line ends and tabs;
    else every run of white space is one space."""
    text = _ANSI.sub("", str(value)[: cap * 8])
    kept = "".join(
        c for c in text if c in "\n\t" or unicodedata.category(c) not in _HIDDEN or c == "\r"
    ).replace("\r\n", "\n")
    kept = kept.replace("\r", "\n")
    kept = kept.strip() if lines else " ".join(kept.split())
    return kept if len(kept) <= cap else kept[: cap - 1].rstrip() + "…"


def tame_lines(value: object, cap: int = 2000) -> str:
    """`tame`, for raw text that is shown line by line."""
    return tame(value, cap, lines=True)


def hidden(char: str) -> bool:
    """Would this move a cursor, turn the reading direction, or not be seen? Not: line end, tab."""
    return unicodedata.category(char) in _HIDDEN and char not in "\n\t"


def harmless(text: str) -> str:
    """Text for a terminal: what one would obey, or hide, becomes a visible dot. Line ends and tabs
    stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_DOT if hidden(c) else c for c in text)


def harmless_json(text: str) -> str:
    """JSON with the same meaning in which such characters are written as escapes: they can stand
    in strings only, so the data is exact, and harmless on a terminal."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(_escape(c) if hidden(c) or c == "\x7f" else c for c in text)


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
