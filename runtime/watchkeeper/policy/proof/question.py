"""What `policy check --prove` can be asked, in words: a text to a Question, or the nearest one.

    node.replace needs a person      node.* needs a person      * needs a person
    node.reboot is denied
    is narrower than FOLDER          is equivalent to FOLDER

Reads no folder: who asks loads it.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TypeAlias

from watchkeeper.core.action import KINDS
from watchkeeper.core.errors import UsageError
from watchkeeper.policy.load import CHANGING
from watchkeeper.policy.schema import FAMILIES

FORMS = (
    "ACTION needs a person",
    "ACTION is denied",
    "is narrower than FOLDER",
    "is equivalent to FOLDER",
)
_ACTIONS = ("*", *FAMILIES, *KINDS)


@dataclass(frozen=True, slots=True)
class NeedsAPerson:
    """Does nothing let these kinds happen without a person? what: as it was written."""

    what: str
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IsDenied:
    """Are these kinds always denied?"""

    what: str
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IsNarrower:
    """Does this policy allow nothing, and ask no fewer people, that the other one would not?"""

    folder: str


@dataclass(frozen=True, slots=True)
class IsEquivalent:
    """Are both narrower than each other?"""

    folder: str


Question: TypeAlias = NeedsAPerson | IsDenied | IsNarrower | IsEquivalent


def parse(text: str) -> Question:
    """The question that a text asks. Raises UsageError, which names the forms and the nearest."""
    said = " ".join(text.split())
    if found := re.fullmatch(r"is (narrower than|equivalent to) (.+)", said):
        return IsNarrower(found[2]) if found[1] == "narrower than" else IsEquivalent(found[2])
    if found := re.fullmatch(r"(\S+) (needs a person|is denied)", said):
        what = found[1]
        if what in _ACTIONS:
            kinds = _kinds(what)
            asks = found[2] == "needs a person"
            return NeedsAPerson(what, kinds) if asks else IsDenied(what, kinds)
    raise UsageError(_unknown(said))


def folder_of(question: Question) -> str:
    """The folder of the other policy, or "" where a question is about one policy alone."""
    return question.folder if isinstance(question, IsNarrower | IsEquivalent) else ""


def _kinds(what: str) -> tuple[str, ...]:
    if what == "*":
        return CHANGING
    if what.endswith(".*"):
        return tuple(kind for kind in CHANGING if kind.startswith(what[:-1]))
    return (what,)


def _unknown(said: str) -> str:
    forms = "; ".join(FORMS)
    hint = ""
    if near := _nearest(said):
        hint = f" Did you mean {near!r}?"
    return (
        f"--prove {said!r} is not a question.{hint} The forms are: {forms}. "
        "ACTION is a kind such as node.drain, a family such as node.*, or *."
    )


def _nearest(said: str) -> str:
    """The valid question most like this one: with its own action or folder where it has one."""
    first, _, rest = said.partition(" ")
    if first == "is":
        whole = difflib.get_close_matches(rest, ("narrower than", "equivalent to"), 1, 0.5)
        # A question about a folder that names none: FORMS say where it goes, better than a guess.
        if whole and len(rest.split()) <= 2:
            return f"is {whole[0]} FOLDER"
    actions = difflib.get_close_matches(first, _ACTIONS, 1, 0.6)
    valid = [f"{action} {tail}" for action in actions for tail in ("needs a person", "is denied")]
    folder = rest.rpartition(" ")[2] or "FOLDER"
    valid += [f"is {form} {folder}" for form in ("narrower than", "equivalent to")]
    return next(iter(difflib.get_close_matches(said, valid, 1, 0.4)), "")
