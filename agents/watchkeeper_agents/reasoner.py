"""Who decides between the steps that are open to a thread: rules, or later a model.

A reasoner picks one option of a closed set by its id. It cannot add one, and what it answers
beside that is refused: then the first option, which is the rules' own, stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Option:
    """One thing a thread may do now. id: `step`, `wait` or `escalate`. says: in plain words."""

    id: str
    says: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. facts: typed facts in words, never text from the cluster. options: the first
    is what the rules would do."""

    thread: str
    facts: tuple[str, ...]
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Pick:
    """What was picked, why, and by whom. fell_back says why the reasoner's answer did not count."""

    option: str
    why: str
    model: str
    fell_back: str = ""


class Reasoner(Protocol):
    """Rules or a model, behind one question."""

    @property
    def name(self) -> str:
        """As the log shows it, such as `rules`."""
        ...

    def pick(self, question: Question) -> tuple[str, str]:
        """(id of an option, why). May raise anything: the rules then stand."""
        ...


class Rules:
    """The default: takes the first option, always. Needs no model and no network."""

    name = "rules"

    def pick(self, question: Question) -> tuple[str, str]:
        """The rules' own option."""
        return question.options[0].id, ""


def decide(reasoner: Reasoner, question: Question) -> Pick:
    """One option of the closed set, whatever the reasoner does."""
    first = question.options[0].id
    try:
        option, why = reasoner.pick(question)
    except Exception as err:  # whatever a model's client raises, the rules go on
        return Pick(first, "", "rules", f"{reasoner.name} failed: {type(err).__name__}")
    if option not in {o.id for o in question.options}:
        return Pick(first, "", "rules", f"{reasoner.name} chose {option!r}, which is not open")
    return Pick(option, why, reasoner.name)
