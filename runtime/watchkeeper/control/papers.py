"""What the books hold, in words: a File for each Proposal with its question, its effect and how it
ended, and each use of break-glass. Made by `folding` and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from watchkeeper.control.life import BUSY, IN_HAND, State
from watchkeeper.core.action import Action
from watchkeeper.core.desk import Shown
from watchkeeper.core.event import Event
from watchkeeper.core.proposal import Impact, Proposal
from watchkeeper.core.verdict import Approval, Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Question:
    """An ask as it was put to people: what was shown, under which digest, until when."""

    shown: Shown
    digest: str
    nonce: str
    asked_at: datetime
    expires_at: datetime
    expires_steady: float
    needs: int
    groups: tuple[str, ...]
    on_timeout: str
    if_approved: str
    typed_name: str = ""
    escalate_steady: float | None = None
    escalate_to: tuple[str, ...] = ()
    starts: float = 0.0
    """GPUs of the gangs that it would start."""


@dataclass(frozen=True, slots=True)
class Lift:
    """One break-glass: who lifted which soft rules for which proposal, and why. It owes a review
    by another person until review_by.

    bound: what the proposal and the steps shown with it would touch; the lift carries no further.
    before: who had lifted other rules for the same proposal; their rules are among `rules`.
    """

    proposal: str
    incident: str
    rules: tuple[str, ...]
    person: str
    reason: str
    at: datetime
    steady: float
    review_by: datetime
    bound: Impact
    before: tuple[str, ...] = ()
    reviewed_by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """What keeps a repair from beginning, and stands on an open ticket: a hold, or a rule that
    refuses for a time, by its id. proposal, thread: what was refused first."""

    incident: str
    proposal: str
    thread: str
    hold: str = ""
    rule: str = ""

    @property
    def key(self) -> str:
        """Of its ticket."""
        return f"barred:{self.incident}:{self.proposal}"


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect from *started* on."""

    key: str
    token: int
    started_steady: float
    started_at: datetime
    verify_by: float
    before: str
    domains: tuple[str, ...]
    session: str
    enforce_at: float | None = None
    enforced: bool = False
    issued: bool = False
    provider: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """All that is known about one Proposal. under: the orders that its verdict was given under, as
    the crew is told them (`core.crew.orders_of`)."""

    proposal: Proposal
    impact: Impact
    thread: str
    state: State
    changed_at: datetime
    changed_steady: float
    verdict: Verdict | None = None
    question: Question | None = None
    approvals: tuple[Approval, ...] = ()
    effect: Effect | None = None
    outcome: Outcome | None = None
    ended_by: str = ""
    why: str = ""
    under: tuple[str, ...] = ()

    @property
    def action(self) -> Action:
        return self.proposal.action

    @property
    def busy(self) -> bool:
        return self.state in BUSY

    @property
    def in_hand(self) -> bool:
        return self.state in IN_HAND


STRANGER = " (not of the policy's people)"


def stopper(event: Event) -> str:
    """Who stopped the watch, as it is told: whether the policy knew them then is said too."""
    return f"{event.data['by']}{STRANGER if event.data.get('stranger') else ''}"
