"""People at the twin's desk: they answer questions late, and resume a watch that has halted.

Whether a step is right is looked up in the truth; whether a person sees that is drawn by
`twin.people`. They use the same Desk as everybody. Never asked by the watch.
"""

from __future__ import annotations

import heapq

from watchkeeper.app.twin_parts import Parts
from watchkeeper.control.papers import File
from watchkeeper.core.action import Action, JobPreempt, JobRequeue, PoolScale, kind_of, node_of
from watchkeeper.core.cluster import JobState
from watchkeeper.core.desk import Person
from watchkeeper.core.errors import Refused
from watchkeeper.core.verdict import Answer
from watchkeeper.twin.cluster import TwinCluster
from watchkeeper.twin.people import OnCall
from watchkeeper.twin.referee import deserves
from watchkeeper.twin.words import HOUR_S, TwinSpec

RESUMES = 1_000_000
"""Draws for halts lie beyond those for questions."""
EACH = 4
"""Draws kept for the people of one question."""
LOOKS_AGAIN_S = 4 * HOUR_S
"""Who slept through a page of a halt sees it this much later. Assumed."""
FIRST = Person(name="primary", groups=("oncall",))


class People:
    """Answers that are on their way. Empty and idle when `present` is False."""

    def __init__(self, spec: TwinSpec, *, present: bool = True, on_call: OnCall | None = None):
        self._spec, self._present = spec, present
        self._on_call = on_call or OnCall()
        self._coming: list[tuple[float, int, str, Person, Answer]] = []
        self._asked: set[str] = set()
        self._halts = 0
        self._resume_s: float | None = None
        self.asked = self.asked_at_night = self.answered = self.resumed = 0

    def next_s(self) -> float:
        """When somebody answers next; inf when nobody is about to."""
        first = self._coming[0][0] if self._coming else float("inf")
        return min(first, float("inf") if self._resume_s is None else self._resume_s)

    def hear(self, parts: Parts) -> None:
        """Take in what was asked since the last call; draw who answers what, and when."""
        books, clock = parts.watch.record.books, parts.cluster.clock
        for file in books.waiting():
            if file.proposal.id not in self._asked and file.question is not None:
                self._asked.add(file.proposal.id)
                self._draw(file, parts)
        if (books.halted or books.closed_kinds) and self._resume_s is None and self._present:
            self._halts += 1
            number = RESUMES + self._halts
            reply = self._on_call.answer(self._spec, number, clock.now(), right=True)
            after_s = reply.after_s if reply is not None else LOOKS_AGAIN_S
            self._resume_s = clock.s + after_s

    def answer(self, parts: Parts) -> None:
        """Give every answer whose time has come."""
        now_s = parts.cluster.clock.s
        while self._coming and self._coming[0][0] <= now_s:
            _, _, ident, person, word = heapq.heappop(self._coming)
            ask = parts.desk.ask(ident)
            if ask is None or ask.status.state != "waiting":
                continue
            try:
                parts.desk.answer(ident, word, person, digest=ask.digest, nonce=ask.nonce)
                self.answered += 1
            except Refused:
                continue
        if self._resume_s is not None and self._resume_s <= now_s:
            self._resume_s = None
            self.resumed += 1
            parts.desk.resume(FIRST, "looked at it")

    def _draw(self, file: File, parts: Parts) -> None:
        question = file.question
        assert question is not None
        clock = parts.cluster.clock
        number = int(file.proposal.id.partition("-")[2]) * EACH
        self.asked += 1
        self.asked_at_night += not self._on_call.is_day(question.asked_at)
        if not self._present:
            return
        right = is_right(parts.cluster, (file.action, *file.proposal.plan))
        people = parts.desk.people() or (FIRST,)
        able = [p for p in people if not question.groups or set(p.groups) & set(question.groups)]
        for k, person in enumerate(able[: min(question.needs, EACH)]):
            reply = self._on_call.answer(self._spec, number + k, question.asked_at, right=right)
            if reply is None:
                continue
            word = Answer.APPROVE if reply.approves else Answer.DENY
            entry = (clock.s + reply.after_s, number + k, file.proposal.id, person, word)
            heapq.heappush(self._coming, entry)


def is_right(cluster: TwinCluster, steps: tuple[Action, ...]) -> bool:
    """Is there a true fault that one of these steps cures, or a gang that waits for it?"""
    for action in steps:
        if isinstance(action, JobRequeue | PoolScale):
            return True  # nothing is lost by it: a stopped gang runs, a waiting one gets nodes
        if isinstance(action, JobPreempt) and _makes_room(cluster, action):
            return True
        name = node_of(action)
        nodes = [cluster.machines.index[name]] if name in cluster.machines.index else []
        job = cluster.work.gangs.get(str(getattr(action, "job", "")))
        nodes += job.nodes if job is not None else []
        if deserves(cluster.ailments, kind_of(action), nodes, int(getattr(action, "gpu", -1))):
            return True
    return False


def _makes_room(cluster: TwinCluster, action: JobPreempt) -> bool:
    """The gang that it is for waits, and comes before this one."""
    gangs = cluster.work.gangs
    waits, victim = gangs.get(action.for_job), gangs.get(action.job)
    return (
        waits is not None
        and victim is not None
        and waits.state is JobState.WAITING
        and waits.priority > victim.priority
    )
