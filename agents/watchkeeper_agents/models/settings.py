"""How the crew uses models: which agent asks which, how far its word reaches, what it may cost.

Words only; `app.model_settings` reads them from a file.
"""

from __future__ import annotations

from watchkeeper.core.word import Word

AGENTS = ("remediation", "scheduler", "planner", "summariser", "chat")
"""Who may ask a model. The first three propose, or say which proposal goes first: they see typed
facts only. The summariser reads raw text, and has no tools. The chat reads what a person typed,
and words what the record answers; it proposes nothing without their button."""


class Seat(Word, frozen=True):
    """One agent's use of a model.

    model: its name in the settings. classes: fault classes that it is asked about; () for all.
    steps: calls of read-only tools that one question may take; 0 offers no tools. patience_s: how
    long an answer is waited for before the rules go on. hold_s: how long in all a model may hold
    back the rules' step in one incident, by waiting or by leaving it to a person. recoveries: it
    is also asked about steps that give work or capacity back, or take none: a requeue, a check, a
    restart of what is dead. There is little to weigh there, and each minute costs.
    """

    model: str
    classes: tuple[str, ...] = ()
    steps: int = 0
    patience_s: float = 30.0
    hold_s: float = 120.0
    recoveries: bool = False
    most_tokens: int = 512


class Cap(Word, frozen=True):
    """The most that may be spent: calls, tokens in and out, seconds of answering, and money."""

    calls: int
    tokens: int
    seconds: float
    money: float


class Caps(Word, frozen=True):
    """Per incident (or other thread) and per day."""

    incident: Cap = Cap(calls=12, tokens=40_000, seconds=240.0, money=0.5)
    day: Cap = Cap(calls=2_000, tokens=4_000_000, seconds=36_000.0, money=20.0)


class BreakerSettings(Word, frozen=True):
    """After `failures` in a row a model is not asked for pause_s; each further failure doubles the
    pause, up to longest_s. Then one question tries it again."""

    failures: int = 3
    pause_s: float = 60.0
    longest_s: float = 3600.0


class TrustSettings(Word, frozen=True):
    """When measured results send a class of incident back to the rules.

    least: results before anything is concluded. brier: the mean squared error of its confidence
    beyond which it is not believed (0.25 is what saying 0.5 each time gives). behind: how far its
    success may lie behind the rules' on the same class. wrong: so many wrong ones in a row, each
    said with confidence 0.7 or more, demote at once, of this class or of all together. seconds
    and money: the most that an answer may take, and that a success may cost, on the mean. newest:
    results that count. days: how long they count.
    """

    least: int = 8
    brier: float = 0.25
    behind: float = 0.1
    wrong: int = 3
    seconds: float = 30.0
    money: float = 1.0
    newest: int = 100
    days: float = 30.0


class UseOfModels(Word, frozen=True):
    """All of it. seats: agent -> its seat; an agent without one goes by rules."""

    seats: dict[str, Seat] = {}
    caps: Caps = Caps()
    breaker: BreakerSettings = BreakerSettings()
    trust: TrustSettings = TrustSettings()
