"""Who decides between the steps that are open to a thread: rules, or a model.

A reasoner picks one option of a closed set by its id. It cannot add one, and what it answers
beside that is refused: then the first option, which is the rules' own, stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from watchkeeper.core.action import Action, targets_of, traits_of
from watchkeeper.core.crew import Briefing, Draft, StepResult, Thought
from watchkeeper.core.incident import Incident
from watchkeeper.core.model import Chosen, ModelCall
from watchkeeper.core.word import digest

if TYPE_CHECKING:
    from watchkeeper_agents.tools import Tools

STEP, GENTLER, WAIT, TICKET, ESCALATE = "step", "gentler", "wait", "ticket", "escalate"


@dataclass(frozen=True, slots=True)
class Option:
    """One thing a thread may do now. id: `step`, `gentler`, `wait`, `ticket` or `escalate`. says:
    in plain words. action: what it would ask for; None where nothing."""

    id: str
    says: str
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. facts: typed facts in words, never text from the cluster. options: the first
    is what the rules would do. A model is told the incident, the tools' answers and the figures
    (`models.case`), and none of the words here. orders: of the planner's options, what goes first
    in each, and what waits for it."""

    thread: str
    facts: tuple[str, ...]
    options: tuple[Option, ...]
    agent: str = ""
    incident: Incident | None = None
    tools: Tools | None = None
    attempts: tuple[StepResult, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    orders: tuple[tuple[Draft, ...], ...] = ()

    @property
    def key(self) -> str:
        """The same for the same question: the same steps on the same patients, after as many
        results. A reasoner is asked once."""
        told = [(o.id, o.action and (o.action, targets_of(o.action))) for o in self.options]
        fault = self.incident.fault if self.incident is not None else ""
        results = sum(traits_of(r.action).changes for r in self.attempts)  # a ticket is no step
        return f"{self.thread} {digest((fault, told, results))[:16]}"


class Answer(NamedTuple):
    """What a reasoner says. chosen: what travels with a step that a model chose. notes: for the
    log. hold_s: how long it may hold back the rules' step in all; None: as long as it likes."""

    option: str
    why: str
    chosen: Chosen | None = None
    notes: tuple[str, ...] = ()
    hold_s: float | None = None


@dataclass(frozen=True, slots=True)
class Pick:
    """What was picked, why, and by whom. fell_back says why the reasoner's answer did not count.
    thinking: no answer yet; nothing is to be done meanwhile."""

    option: str
    why: str
    model: str
    fell_back: str = ""
    thinking: bool = False
    chosen: Chosen | None = None
    notes: tuple[str, ...] = ()
    hold_s: float | None = None


class Thinking(Exception):
    """The answer is on its way. The message says who is asked, and until when it is waited for."""


class ByRules(Exception):
    """This question is for the rules. The message says why, or "" where that is the plan."""


class Reasoner(Protocol):
    """Rules or a model, behind one question."""

    @property
    def name(self) -> str:
        """As the log shows it, such as `rules`."""
        ...

    def pick(self, question: Question) -> tuple[str, str] | Answer:
        """(id of an option, why). May raise anything: the rules then stand. Thinking: ask again
        next turn."""
        ...


@runtime_checkable
class Accountable(Protocol):
    """A reasoner whose questions cost something."""

    def calls(self) -> tuple[ModelCall, ...]:
        """Every call since this was asked last, for the record."""
        ...

    def look(self, briefing: Briefing) -> tuple[Thought, ...]:
        """What it has to say for people alone, such as of raw text that it read. Never blocks."""
        ...


@runtime_checkable
class Weighing(Protocol):
    """A reasoner that may be asked more than whether a step is taken."""

    def sits(self, agent: str) -> bool:
        """Does it think for this agent at all?"""
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
        answer = Answer(*reasoner.pick(question))
    except Thinking as on_its_way:
        return Pick(WAIT, str(on_its_way), reasoner.name, thinking=True)
    except ByRules as rules:
        return Pick(first, "", "rules", str(rules))
    except Exception as err:  # whatever a model's client raises, the rules go on
        return Pick(first, "", "rules", f"{reasoner.name} failed: {type(err).__name__}")
    if answer.option not in {o.id for o in question.options}:
        return Pick(
            first, "", "rules", f"{reasoner.name} chose {answer.option!r}, which is not open"
        )
    name = answer.chosen.model if answer.chosen is not None else reasoner.name
    return Pick(
        answer.option,
        answer.why,
        name,
        chosen=answer.chosen,
        notes=answer.notes,
        hold_s=answer.hold_s,
    )
