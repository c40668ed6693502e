"""What models may still cost, and whether one is worth asking: caps and circuit breaker.

Pure folds of calls on the watch's own clock, so that a wall clock that is set refills nothing
(S28) and a restart, which folds the record again, neither.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from watchkeeper.core.model import ModelCall
from watchkeeper_agents.models.settings import BreakerSettings, Cap, Caps

DAY_S = 86400.0
CHARS_A_TOKEN = 3
"""Fewer than any tokenizer makes of English or JSON, so that a cap is reckoned on the safe side."""
FAILED = frozenset(
    {"timeout", "unreachable", "refused", "too long", "garbled", "malformed", "not open", "late"}
)
"""How a call ends that counts against its model."""


@dataclass(slots=True)
class Spent:
    """A sum of calls."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    money: float = 0.0

    def add(self, call: ModelCall, sign: int = 1) -> None:
        """One call more, or, with sign -1, one that is too old to count."""
        self.calls += sign
        self.tokens += sign * (call.tokens_in + call.tokens_out)
        self.seconds += sign * call.took_s
        self.money += sign * call.cost

    def over(self, cap: Cap, tokens: int, money: float) -> str:
        """Which cap the next call, of so many tokens and so much money, would pass; "" if none."""
        if self.calls + 1 > cap.calls:
            return f"{cap.calls} calls"
        if self.tokens + tokens > cap.tokens:
            return f"{cap.tokens} tokens"
        if self.seconds >= cap.seconds:
            return f"{cap.seconds:g} s of answering"
        if self.money + money > cap.money and money > 0:
            return f"{cap.money:g} of money"
        return ""


MOST_THREADS = 4096
"""Threads whose spending is remembered; the oldest is forgotten first."""


class Purse:
    """What was spent in the last day, and on each thread."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._day: deque[ModelCall] = deque()
        self._sum = Spent()
        self._threads: dict[str, Spent] = {}

    def spend(self, call: ModelCall) -> None:
        """Fold one call in."""
        self._day.append(call)
        self._sum.add(call)
        self._threads.setdefault(call.about, Spent()).add(call)
        while len(self._threads) > MOST_THREADS:
            del self._threads[next(iter(self._threads))]

    def shut(self, about: str, now: float, tokens: int, money: float) -> str:
        """Why the next call of this thread may not be made; "" when it may. now: steady seconds."""
        while self._day and now - self._day[0].steady >= DAY_S:
            self._sum.add(self._day.popleft(), -1)
        over = self._threads.get(about, Spent()).over(self._caps.incident, tokens, money)
        if over:
            return f"this incident's cap of {over} is reached"
        over = self._sum.over(self._caps.day, tokens, money)
        return f"the day's cap of {over} is reached" if over else ""


@dataclass(slots=True)
class Breaker:
    """One model's circuit breaker: closed, open until a time, then one try."""

    settings: BreakerSettings = field(default_factory=BreakerSettings)
    failures: int = 0
    until: float = 0.0
    trying: bool = False

    def hear(self, call: ModelCall) -> None:
        """One call ended."""
        self.trying = False
        if call.ended not in FAILED:
            self.failures, self.until = 0, 0.0
            return
        self.failures += 1
        over = self.failures - self.settings.failures
        if over >= 0:
            pause = min(self.settings.longest_s, self.settings.pause_s * 2.0 ** min(over, 30))
            self.until = call.steady + pause

    def shut(self, now: float) -> str:
        """Why the model is not asked now; "" when it is. Asking when the pause is over lets one
        question through."""
        if self.failures < self.settings.failures:
            return ""
        if now < self.until:
            return (
                f"it failed {self.failures} times in a row; asked again in {self.until - now:.0f} s"
            )
        if self.trying:
            return "it is being tried again"
        self.trying = True
        return ""
