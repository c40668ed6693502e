"""Words of a model made harmless to look at, before they reach a log line or a ticket. Pure."""

from __future__ import annotations

import re
import unicodedata

from watchkeeper.core.redact import redact

_LINK = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://\S+|\bwww\.\S+", re.IGNORECASE)
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def in_plain_words(text: str, cap: int = 400) -> str:
    """Words of a model made harmless to look at: no control, format or private characters, no
    links, no secrets, one line, at most `cap` characters."""
    kept = "".join(
        " " if c in "\n\r\t" else c
        for c in text[: cap * 8]
        if c in "\n\r\t" or unicodedata.category(c) not in _HIDDEN
    )
    kept = " ".join(_LINK.sub("[link left out]", redact(kept)).split())
    return kept if len(kept) <= cap else kept[: cap - 1].rstrip() + "…"
