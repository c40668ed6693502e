"""Strikes out what a model says beyond what it was told: sentences with a figure, a name or a link
that the record did not give, and sentences that tell a person what to do. Pure."""

from __future__ import annotations

import re

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_FIGURE = re.compile(r"\d+(?:[.:,]\d+)*")
_NAME = re.compile(
    r"[A-Za-z][A-Za-z0-9]*(?:[-_./][A-Za-z0-9]+)+|[A-Za-z]+\d[A-Za-z0-9-]*|/[a-z]\S*"
)
_WORDED = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
    "dozen": "12", "hundred": "100", "thousand": "1000", "million": "1000000",
}  # fmt: skip
_SHARE = re.compile(r"\b(?:half|third|quarter|twice|double|percent)\b|%", re.IGNORECASE)
_ADVICE = re.compile(
    r"\b(?:approve|deny|allow|grant|confirm|click|press|visit|go to|log ?in|sign in|password|"
    r"token|credential|execute|should|must|please|trust me|safe to|ignore|resume|watchkeeper|"
    r"link left out)\b",
    re.IGNORECASE,
)
_MARKED = re.compile(r"[`*_#<>\[\]{}|\\]")


def grounded(words: str, record: str, question: str) -> str:
    """The sentences that rest on the record; "" where none does. question: what was asked, whose
    own names may be said again."""
    figures = set(_FIGURE.findall(record))
    names = {n.lower() for n in _NAME.findall(f"{record} {question}")}
    known = record.lower()
    kept = []
    for sentence in _SENTENCE.split(_MARKED.sub("", words)):
        if _ADVICE.search(sentence) or (_SHARE.search(sentence) and "%" not in record):
            continue
        if not set(_FIGURE.findall(sentence)) <= figures:
            continue
        counted = {_WORDED[w] for w in re.findall(r"[a-z]+", sentence.lower()) if w in _WORDED}
        if not counted - {"1"} <= figures:  # "one of them" is a way to speak, not a figure
            continue
        said = [n.lower().rstrip(".,") for n in _NAME.findall(sentence)]
        if not all(n in names or n in known for n in said):
            continue
        kept.append(sentence.strip())
    return " ".join(k for k in kept if k)
