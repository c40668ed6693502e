"""Numbers in a model's words: those that an engine gave stay, all others are taken out.

Pure. A model weighs in words; what it says with a number in it is shown to people only where the
number was in its case or in a tool's answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

LEFT_OUT = "[a figure of its own, left out]"
_NAME = re.compile(r"[A-Za-z][\w.-]*\d[\w-]*|s?xid\.\d+")
_TOKEN = re.compile(r"[^\s()\[\]{}<>\"'“”‘’;!?]*\d[^\s()\[\]{}<>\"'“”‘’;!?]*(?:\s%)?")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_REST = re.compile(r"[^\W\d]{0,12}|[%°$€£#~≈<>=+*/:.,-]")
_COUNTED = """zero . two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen twenty"""
_WORDS = {
    word: float(value) for value, word in enumerate(_COUNTED.split()) if word != "."
} | {
    "thirty": 30.0, "forty": 40.0, "fifty": 50.0, "sixty": 60.0, "seventy": 70.0, "eighty": 80.0,
    "ninety": 90.0, "hundred": 100.0, "thousand": 1e3, "million": 1e6, "dozen": 12.0,
    "half": 0.5, "twice": 2.0, "double": 2.0, "third": 1 / 3, "quarter": 0.25,
}  # fmt: skip
_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})s?\b", re.IGNORECASE)
NEAR = 0.06
"""A figure may be said rounded, by this share of it at most."""


def kept_to_figures(text: str, *given: Any) -> str:
    """`text`, with every number left out that is in none of `given` (plain values: dicts, lists,
    numbers, texts). A number counts as given when it is one of them, rounded as it is written, or
    as a percentage of one; a made-up name such as `node-1` when it stands there. "one" and "first"
    are words, not numbers."""
    numbers, names = _given(given)
    text = unicodedata.normalize("NFKC", "".join(_tame(c) for c in text))

    def token(found: re.Match[str]) -> str:
        whole = found[0]
        bare = whole.strip(".,: ")
        if bare.lower() in names:
            return whole
        if _NAME.fullmatch(bare) and not _REST.fullmatch(_NUMBER.sub("", bare)):
            return whole.replace(bare, LEFT_OUT, 1)
        said = _NUMBER.findall(bare)
        if all(_is_given(number, "%" in whole, numbers) for number in said):
            return whole
        return whole.replace(bare, LEFT_OUT, 1)

    def word(found: re.Match[str]) -> str:
        value = _WORDS.get(found[0].lower(), _WORDS.get(found[0].lower().rstrip("s"), -1.0))
        return found[0] if any(_near(value, g, 0) for g in numbers) else LEFT_OUT

    kept = _WORD.sub(word, _TOKEN.sub(token, text))
    return re.sub(rf"(?:{re.escape(LEFT_OUT)}[\s,-]*)+(?={re.escape(LEFT_OUT)})", "", kept)


def _tame(char: str) -> str:
    """Digits of any script as 0 to 9; other signs for numbers (½, Ⅳ, 四) as what they are: none."""
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    return "" if unicodedata.category(char) in ("Nl", "No") else char


def _is_given(text: str, percent: bool, numbers: frozenset[float]) -> bool:
    plain = text.replace(",", "")
    try:
        value = float(plain)
    except ValueError:  # 1.2.3: a version, a time, an address; no figure of ours
        return False
    decimals = len(plain.partition(".")[2])
    if any(_near(value, g, decimals) for g in numbers):
        return True
    return percent and any(_near(value, g * 100, decimals) for g in numbers if abs(g) <= 1)


def _near(said: float, given: float, decimals: int) -> bool:
    """It is that figure, as far as it was written out."""
    given = abs(given)
    return said == given or (
        abs(said - given) <= 0.5 * 10.0**-decimals and abs(said - given) <= NEAR * given
    )


def _given(values: Any) -> tuple[frozenset[float], frozenset[str]]:
    numbers, names = set[float](), set[str]()
    for value in _leaves(values):
        if isinstance(value, str):
            names.update(n.lower() for n in _NAME.findall(value))
            numbers.update(float(n) for n in re.findall(r"\d+(?:\.\d+)?", _NAME.sub("", value)))
        elif not isinstance(value, bool):
            numbers.add(float(value))
    return frozenset(numbers), frozenset(names)


def _leaves(value: Any) -> Iterator[str | int | float]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(key)
            yield from _leaves(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, str | int | float):
        yield value
