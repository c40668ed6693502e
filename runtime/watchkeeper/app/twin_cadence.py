"""When is the next turn due? Every tick, or only where something can come of it.

A quiet tick is skipped when nothing visible has changed, nobody answers, and no time that the
watch keeps has run out. Every delay of the watch is counted from a moment at which something
happened; so turns are held for a while after each such moment, and again at each delay after it.
A test plays a day both ways and compares every signal, verdict and effect.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass

from watchkeeper.app.twin_parts import Parts
from watchkeeper.app.twin_people import People
from watchkeeper.control.life import State
from watchkeeper.control.verify import BLIND_S

CLOSE_S = 70.0
"""After something happened, every tick has a turn for this long: most delays are shorter."""
DELAYS_S = (120.0, 150.0, 180.0, 300.0, 330.0, 600.0, 660.0, 900.0, 1800.0, 3600.0)
"""Later delays of sense, ladders, crew and gate; each is held two ticks long."""
HELD_TICKS = 2
HEARTBEAT_S = 600.0
"""A turn at least so often."""
OPEN_S = 60.0
"""The same while an incident is open that nobody works on and nobody was asked about."""


@dataclass(frozen=True)
class Held:
    """How many turns were held, and of how many ticks; what for."""

    turns: int
    ticks: int
    why: dict[str, int]

    def says(self) -> str:
        """The cadence in one line."""
        share = self.turns / max(1, self.ticks)
        return f"{self.turns} turns held of {self.ticks} ticks ({share:.1%})"


class Dense:
    """A turn at every tick."""

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self.turns = 0

    def after(self, tick: int, parts: Parts, people: People) -> int:  # noqa: ARG002
        """The tick of the next turn."""
        self.turns += 1
        return tick + 1

    def held(self, ticks: int) -> Held:
        return Held(self.turns, ticks, {"every tick": self.turns})


class Skipping:
    """Turns where something can come of them."""

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._wakes: list[int] = []
        self._close_until = 0
        self._head = 0
        self._mark: tuple[int, ...] = ()
        self.turns = 0
        self.why: Counter[str] = Counter()

    def after(self, tick: int, parts: Parts, people: People) -> int:
        """The tick of the next turn. Moves the twin up to the event that makes it due."""
        self.turns += 1
        now_s = tick * self._tick_s
        head = parts.journal.head[0]
        if head != self._head:
            self._head = head
            self._happened(now_s)
        self._mark, before = parts.cluster.mark, self._mark
        if self._mark != before and before:
            self._happened(now_s)  # our own doing, within this turn
        due, why = self._due(tick, parts, people)
        return self._until_something_happens(tick, due, why, parts)

    def held(self, ticks: int) -> Held:
        return Held(self.turns, ticks, dict(self.why))

    def _happened(self, at_s: float) -> None:
        self._close_until = max(self._close_until, self._tick_of(at_s + CLOSE_S))
        for delay in DELAYS_S:
            first = self._tick_of(at_s + delay)
            for k in range(HELD_TICKS):
                heapq.heappush(self._wakes, first + k)

    def _tick_of(self, at_s: float) -> int:
        """The first tick at or after a time."""
        return math.ceil(at_s / self._tick_s - 1e-9)

    def _due(self, tick: int, parts: Parts, people: People) -> tuple[int, str]:
        if tick < self._close_until:
            return tick + 1, "just happened"
        while self._wakes and self._wakes[0] <= tick:
            heapq.heappop(self._wakes)
        books = parts.watch.record.books
        due = [(tick + self._tick_of(HEARTBEAT_S), "heartbeat")]
        if self._wakes:
            due.append((self._wakes[0], "a delay"))
        if any(f.state in (State.CLEARED, State.MADE) for f in books.files.values() if f.busy):
            return tick + 1, "to be done"
        times = [people.next_s()]
        busy = set()
        for file in books.files.values():
            if not file.busy:
                continue
            busy.add(file.thread)
            effect, question = file.effect, file.question
            if file.in_hand and effect is not None:
                times += [effect.verify_by, effect.verify_by + BLIND_S]
                if effect.enforce_at is not None and not effect.enforced:
                    times.append(effect.enforce_at)
            elif question is not None:
                times.append(question.expires_steady)
                if question.escalate_steady is not None:
                    times.append(question.escalate_steady)
        now_s = tick * self._tick_s
        later = [t for t in times if now_s < t < math.inf]
        if later:
            due.append((self._tick_of(min(later)), "a time of ours"))
        if any(i.is_open and i.id not in busy for i in books.incidents.values()):
            due.append((tick + self._tick_of(OPEN_S), "an open incident"))
        first, why = min(due)
        return max(tick + 1, first), why

    def _until_something_happens(self, tick: int, due: int, why: str, parts: Parts) -> int:
        cluster = parts.cluster
        while (at_s := cluster.next_event_s()) <= due * self._tick_s:
            first = self._tick_of(at_s)
            cluster.advance(at_s)
            if cluster.mark != self._mark:
                self._saw(at_s, cluster.mark)
                due, why = min((due, why), (max(first, tick + 1), "an event"))
        self.why[why] += 1
        return due

    def _saw(self, at_s: float, mark: tuple[int, ...]) -> None:
        """Something visible happened by itself."""
        self._mark = mark
        self._happened(at_s)
