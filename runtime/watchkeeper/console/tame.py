"""Text from the cluster made harmless to look at: a stranger wrote it.

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
