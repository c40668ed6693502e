"""A model behind the reasoner's question: asked off the turn's thread, heard when it answers, and
passed over when it is late, wrong, too dear or no longer believed.

Its word reaches as far as one option of the closed set. It can make a repair later, by `hold_s` in
all, or gentler; it can neither add a step nor take one out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

from watchkeeper.core.action import kind_of
from watchkeeper.core.model import Chosen, ModelCall, ModelClient
from watchkeeper_agents.models.answer import AnswerSaid
from watchkeeper_agents.models.case import Case, case_of
from watchkeeper_agents.models.converse import Clerk, Talk, converse
from watchkeeper_agents.models.pages import runbook
from watchkeeper_agents.models.settings import Seat, UseOfModels
from watchkeeper_agents.models.spending import Breaker, Purse
from watchkeeper_agents.models.trust import strategy
from watchkeeper_agents.reasoner import STEP, Answer, ByRules, Question, Thinking

Run: TypeAlias = Callable[[Callable[[], Talk]], "Future[Talk]"]
"""Starts one conversation and gives its future: at once done where it ran in line."""

MOST_KEPT = 2048
"""Questions whose answers are remembered; the oldest is forgotten first."""


def in_line(work: Callable[[], Talk]) -> Future[Talk]:
    """Runs it now. For a twin, where no real time passes, and for tests."""
    future: Future[Talk] = Future()
    try:
        future.set_result(work())
    except Exception as err:  # as a pool would keep it
        future.set_exception(err)
    return future


@dataclass(slots=True)
class _Asked:
    """One question under way. over: it was late, and the rules went on."""

    future: Future[Talk]
    began: float
    case: Case
    over: bool = False


class ModelReasoner:
    """Meets `Reasoner` and `Accountable`. use: who asks which model, and what it may cost. clients:
    by the names in `use`. past: earlier calls, so that a restart refills no cap."""

    name = "model"

    def __init__(
        self,
        use: UseOfModels,
        clients: Mapping[str, ModelClient],
        run: Run = in_line,
        past: Iterable[ModelCall] = (),
    ) -> None:
        self._use, self._clients, self._run = use, clients, run
        self._clerk = Clerk(
            Purse(use.caps), {name: Breaker(use.breaker) for name in clients}, threading.Lock()
        )
        for call in past:
            self._clerk.purse.spend(call)
        self._asked: dict[str, _Asked] = {}

    def pick(self, question: Question) -> Answer:
        """See `Reasoner.pick`. Raises ByRules, Thinking."""
        seat = self._use.seats.get(question.agent)
        if seat is None or question.incident is None or question.tools is None:
            raise ByRules
        fault = question.incident.fault
        if (seat.classes and fault not in seat.classes) or len(question.options) < 2:
            raise ByRules
        now = question.tools.snapshot.steady
        asked = self._asked.get(question.key)
        if asked is None:
            asked = self._begin(question, seat, now)
        return self._heard(question, seat, asked, now)

    def calls(self) -> tuple[ModelCall, ...]:
        """See `Accountable.calls`."""
        return self._clerk.take()

    def _begin(self, question: Question, seat: Seat, now: float) -> _Asked:
        assert question.incident is not None
        assert question.tools is not None
        client = self._clients[seat.model]
        who = strategy(
            question.tools.briefing.scores,
            question.agent,
            client.name,
            question.incident.fault,
            now,
            self._use.trust,
        )
        if who.who != STRATEGY_MODEL:
            raise ByRules(f"{client.name} is not asked about {question.incident.fault}: {who.why}")
        case = case_of(question)
        clerk = self._clerk

        def work() -> Talk:
            return converse(client, seat, question, case, now, clerk)

        asked = _Asked(self._run(work), now, case)
        self._asked[question.key] = asked
        while len(self._asked) > MOST_KEPT:
            del self._asked[next(iter(self._asked))]
        return asked

    def _heard(self, question: Question, seat: Seat, asked: _Asked, now: float) -> Answer:
        client = self._clients[seat.model]
        if asked.over:
            raise ByRules
        if not asked.future.done():
            left = seat.patience_s - (now - asked.began)
            if left > 0:
                raise Thinking(f"{client.name} is asked; the rules go on in {left:.0f} s at most.")
            asked.over = True
            asked.future.cancel()
            self._clerk.late(client, seat, question, asked.case, now)
            raise ByRules(f"{client.name} gave no answer within {seat.patience_s:g} s")
        talk = asked.future.result()
        if talk.said is None:
            raise ByRules(f"{client.name}: {talk.why}")
        return _answer(question, seat, asked.case, talk, talk.said, client.name)


STRATEGY_MODEL = "model"


def _answer(
    question: Question, seat: Seat, case: Case, talk: Talk, said: AnswerSaid, model: str
) -> Answer:
    chosen = Chosen(model=model, prompt=talk.prompt, confidence=said.confidence, label=case.label)
    first = question.options[0]
    what = kind_of(first.action) if said.option == STEP and first.action else said.option
    heading = f"{model} chose {what}, confidence {said.confidence:.2f}"
    notes = (f"{heading}, in its own words: {said.why}" if said.why else f"{heading}.",)
    more = told_of_causes(said, case)
    return Answer(said.option, notes[0], chosen, (*notes, *more), seat.hold_s)


def told_of_causes(said: AnswerSaid, case: Case) -> tuple[str, ...]:
    """How it ranks our hypotheses and what it would look at first, in our words, not in its own."""
    causes, evidence = {c.id: c for c in case.causes}, {e.id: e for e in case.evidence}
    told = []
    for c in said.causes:
        on = ", ".join(evidence[e].means for e in c.because)
        told.append(f"{causes[c.id].says} {c.status.value}" + (f" ({on})" if on else ""))
    lines = [f"It ranks the causes: {'; '.join(told)}."] if told else []
    page = runbook(case.fault)
    if page is not None and said.checks:
        steps = {s.id: s.says for s in page.steps}
        first = " ".join(f"{s[1:]}. {steps[s]}" for s in said.checks[:3])
        lines.append(f"It would look first at {page.path}: {first}")
    return tuple(lines)
