"""A model behind the reasoner's question: asked off the turn's thread, heard when it answers, and
passed over when it is late, wrong, too dear or no longer believed.

Its word reaches as far as one option of the closed set. It can make a repair later, by `hold_s` in
all, or gentler; it can neither add a step nor take one out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from watchkeeper.core.action import Action, kind_of, traits_of
from watchkeeper.core.crew import Briefing, Thought
from watchkeeper.core.model import Chosen, ModelCall, ModelClient
from watchkeeper.core.word import digest
from watchkeeper_agents.models.answer import AnswerSaid
from watchkeeper_agents.models.case import Case, case_of
from watchkeeper_agents.models.clerk import Clerk, Run, in_line
from watchkeeper_agents.models.converse import Talk, converse
from watchkeeper_agents.models.pages import prompt, runbook
from watchkeeper_agents.models.reading.reader import reader_of
from watchkeeper_agents.models.settings import Seat, UseOfModels
from watchkeeper_agents.models.trust import strategy
from watchkeeper_agents.reasoner import STEP, Answer, ByRules, Question, Thinking

MOST_AT_ONCE = 16
"""Questions that wait for an answer at one time; in a burst the others are the rules'."""
MOST_KEPT = 2048
"""Questions whose answers are remembered; the oldest is forgotten first."""


@dataclass(slots=True)
class _Asked:
    """One question under way. over: it was late, and the rules went on. told: what came of it is in
    the log."""

    future: Future[Talk]
    began: float
    case: Case
    over: bool = False
    told: bool = False


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
        past = tuple(past)
        self._use, self._clients, self._run = use, clients, run
        self.clerk = Clerk(use, clients, past)
        """Keeps the books of every call, also of those that the chat makes beside the crew."""
        self._asked: dict[str, _Asked] = {}
        self._passed: dict[str, float] = {}
        for call in past:
            if call.agent == PLANNER:
                self._passed.setdefault(call.about, call.steady)
        self._reader = reader_of(use, clients, self.clerk, run)

    def look(self, briefing: Briefing) -> tuple[Thought, ...]:
        """What the tool-less reader made of the raw text of open incidents, for the log."""
        if self._reader is None:
            return ()
        return self._reader.look(briefing.incidents, briefing.snapshot.steady)

    def pick(self, question: Question) -> Answer:
        """See `Reasoner.pick`. Raises ByRules, Thinking."""
        seat = self._use.seats.get(question.agent)
        if seat is None or question.incident is None or question.tools is None:
            raise ByRules
        fault = question.incident.fault
        if (seat.classes and fault not in seat.classes) or len(question.options) < 2:
            raise ByRules
        weighed = question.options if question.agent == PLANNER else question.options[:1]
        steps = [o.action for o in weighed if o.action is not None]
        if steps and not seat.recoveries and not any(map(_takes_something, steps)):
            raise ByRules
        now = question.tools.snapshot.steady
        if question.agent == PLANNER and not 0 <= now - self._since(question, now) <= seat.hold_s:
            raise ByRules
        asked = self._asked.get(question.key)
        if asked is None:
            asked = self._begin(question, seat, now)
        return self._heard(question, seat, asked, now)

    def sits(self, agent: str) -> bool:
        """See `Weighing.sits`."""
        return agent in self._use.seats

    def _since(self, question: Question, now: float) -> float:
        """When it was first asked whether this step shall wait for another: it may be made to wait
        for so long, in all. From the record, so that a restart begins nothing anew."""
        since = self._passed.setdefault(question.thread, now)
        while len(self._passed) > MOST_KEPT:
            del self._passed[next(iter(self._passed))]
        return since

    def calls(self) -> tuple[ModelCall, ...]:
        """See `Accountable.calls`."""
        return self.clerk.take()

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
        case = case_of(question)
        clerk = self.clerk

        def work() -> Talk:
            return converse(client, seat, question, case, now, clerk)

        why = "" if who.who == STRATEGY_MODEL else f"not asked about {case.fault}: {who.why}"
        if sum(not a.future.done() for a in self._asked.values()) >= MOST_AT_ONCE:
            why = f"{MOST_AT_ONCE} questions wait for it already"
        future = in_line(lambda: Talk(prompt="", why=why)) if why else self._run(work)
        asked = _Asked(future, now, case)
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
            self.clerk.note(seat.model, _late(client, seat, question, asked.case, now))
            raise ByRules(f"{client.name} gave no answer within {seat.patience_s:g} s")
        talk, first = asked.future.result(), not asked.told
        asked.told = True
        if talk.said is None:
            raise ByRules(f"The rules decide. {client.name}: {talk.why}" if first else "")
        answer = _answer(question, seat, asked.case, talk, talk.said, client.name)
        return answer if first else answer._replace(notes=())


STRATEGY_MODEL = "model"
PLANNER = "planner"


def _takes_something(action: Action) -> bool:
    """It can take work or capacity away, and does not just give some back."""
    traits = traits_of(action)
    return traits.disruptive and not traits.recovers


def _late(client: ModelClient, seat: Seat, question: Question, case: Case, now: float) -> ModelCall:
    """It was waited for long enough. Its own call is written down too, once it ends."""
    return ModelCall(
        agent=question.agent,
        model=client.name,
        about=question.thread,
        prompt=prompt(question.agent).id,
        asked=digest(case),
        ended="late",
        steady=now,
        fault=case.fault,
        why=f"no answer within {seat.patience_s:g} s",
    )


def _answer(
    question: Question, seat: Seat, case: Case, talk: Talk, said: AnswerSaid, model: str
) -> Answer:
    chosen = Chosen(
        model=model,
        prompt=talk.prompt,
        confidence=said.confidence,
        label=case.label,
        why=said.why,
    )
    first = question.options[0]
    what = kind_of(first.action) if said.option == STEP and first.action else said.option
    if question.orders:
        what = "that " + next(o.says for o in question.options if o.id == said.option)
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
