"""Secrets out of text, before it is sent, shown or written down. Pure; knows shapes, and the very
values that it is told.

A net, not a wall: what must not leak is not put near a model in the first place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

GONE = "[redacted]"
LEAST = 6
"""Shorter values are no secrets: taking them out would only riddle the text."""

_SHAPES = tuple(
    re.compile(shape, re.IGNORECASE | re.DOTALL)
    for shape in (
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.{0,8000}?(?:-----END [A-Z ]{0,40}-----|\Z)",
        r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,}",  # a signed web token
        r"\b(?:sk|pk|rk)-[\w-]{16,}",
        r"\b(?:ghp|gho|ghs|ghu|glpat|xox[abps]|hf|npm|pypi)[-_][\w-]{16,}",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"\bAIza[\w-]{30,}",
        r"(?<=://)[^/\s:@]{0,200}:[^/\s@]{1,400}(?=@)",  # user:password in an address
        r"(?<=\bbearer )[\w.~+/=-]{8,}",
        r"(?<=\bbasic )[\w+/=-]{12,}",
    )
)
_NAMED = re.compile(
    r"\b([\w-]{0,40}(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|credential)[\w-]{0,20})"
    r"(\"?\s{0,4}[:=]\s{0,4}\"?)([^\s\"',;&]{4,400})",
    re.IGNORECASE,
)


def redact(text: str, known: Iterable[str] = ()) -> str:
    """The text without what looks like a secret, and without these very values."""
    for value in sorted((v for v in known if len(v) >= LEAST), key=len, reverse=True):
        text = text.replace(value, GONE)
    for shape in _SHAPES:
        text = shape.sub(GONE, text)
    return _NAMED.sub(lambda m: f"{m[1]}{m[2]}{GONE}", text)
