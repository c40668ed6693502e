"""What the ladder answers, and what it looks at. Words only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from watchkeeper.core.action import Action, kind_of
from watchkeeper.core.crew import StepResult
from watchkeeper.core.proposal import Effect
from watchkeeper.core.telemetry import Snapshot
from watchkeeper.core.word import Word


class Step(Word, frozen=True):
    """One rung: what to ask for, why, what must then be seen, and the rung's name
    (`gpu_off_bus: node.drain`)."""

    action: Action
    reason: str
    effect: Effect
    rung: str


class Steps(Word, frozen=True):
    """Climb: the first is the next rung, the rest what would follow if all goes well.

    A later step on an incarnation that does not exist yet carries incarnation "".
    """

    steps: tuple[Step, ...]

    @property
    def next(self) -> Step:
        return self.steps[0]

    @property
    def rest(self) -> tuple[Action, ...]:
        return tuple(step.action for step in self.steps[1:])


class Wait(Word, frozen=True):
    """Do nothing yet. for_change: nothing but a change of the node, its fence, or what of it is
    free, makes this another answer. again_s: seconds after which it may be another one though
    nothing of the incident's own changed; 0: no more than any wait."""

    why: str
    for_change: bool = False
    again_s: float = 0.0


class Done(Word, frozen=True):
    """The patient is well and serves again."""

    why: str


class Escalate(Word, frozen=True):
    """The ladder ends; a person must go on. page: wake somebody; else a ticket will do."""

    why: str
    page: bool = False


Plan: TypeAlias = Steps | Wait | Done | Escalate


@dataclass(frozen=True, slots=True)
class RemedySettings:
    """drain_deadline_s: how long running work may take to end. dwell_s: how long a silence or an
    unconfirmed death must last (S10). settle_s: how long to watch for what a first word brings
    with it. silent_after_s: telemetry older than this counts as silence. ray_limit_s: a view of
    Ray's older than this is Unknown. checkpoint_every_s: how often gangs save (assumption; it
    decides only whether a drain waits). company_s: how long a dead node waits for others of its
    rack, switch or feed, when some fell together. linger_s: how long an incident may still grow,
    where nobody waits for its node: counters are read each minute. queue_after_s: how long a
    stopped gang waits for its node before it joins the queue, where nobody has room. diagnose_s:
    how long it takes to find who is to blame for a hang or a slow gang (an hour is ours)."""

    drain_deadline_s: float = 60.0
    dwell_s: float = 300.0
    settle_s: float = 30.0
    silent_after_s: float = 60.0
    ray_limit_s: float = 30.0
    checkpoint_every_s: float = 1800.0
    company_s: float = 60.0
    linger_s: float = 60.0
    queue_after_s: float = 600.0
    diagnose_s: float = 3600.0


@dataclass(frozen=True, eq=False, slots=True)
class RemedyView:
    """What a plan is made of. serves: kinds of action that a provider serves here. checked: node
    -> incarnation whose check.run last passed. attempts: results so far in this incident, of
    every thread step, oldest first; rebuilt from the journal after a crash. repairs_7d: node ->
    repairs of it for other incidents within 7 days, where the caller knows them. held_back: pool
    -> spare nodes that are kept for what is surely broken. denied: gang -> who said no of late to
    its requeue, in whatever incident. down: domain that is down (`leaf:l1`) -> classes of fault of
    its nodes that this explains."""

    snapshot: Snapshot
    serves: frozenset[str]
    checked: Mapping[str, str] = field(default_factory=dict)
    attempts: tuple[StepResult, ...] = ()
    settings: RemedySettings = field(default_factory=RemedySettings)
    repairs_7d: Mapping[str, int] = field(default_factory=dict)
    held_back: Mapping[str, int] = field(default_factory=dict)
    denied: Mapping[str, str] = field(default_factory=dict)
    down: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def refused(self, kind: str) -> bool:
        """Policy said no to this kind in this incident: for a last resort that is a person's. An
        invariant's no may be over soon (a death that is not confirmed yet), and so may a limit's
        (a rack that is out fills it); neither is such a word."""
        return any(
            (r.kind, r.value) == ("verdict", "deny")
            and r.refused_by not in ("invariant", "limit")
            and kind_of(r.action) == kind
            for r in self.attempts
        )

    def can_preempt(self, attempt: str) -> bool:
        """A provider ends gangs, the policy did not refuse it, and it was not tried on this
        attempt."""
        kind = "job.preempt"
        return kind in self.serves and not self.refused(kind) and not self.tried(kind, attempt)

    def tried(self, kind: str, incarnation: str | None = None) -> tuple[StepResult, ...]:
        """Effects of this kind that were carried out here, on one incarnation (or attempt of a
        job) or on any. A verdict or a person's no is not an effect."""
        return tuple(
            r
            for r in self.attempts
            if r.kind == "outcome"
            and r.value != "refused"
            and kind_of(r.action) == kind
            and incarnation in (None, _patient(r.action))
        )


def _patient(action: Action) -> str:
    return str(getattr(action, "incarnation", "") or getattr(action, "attempt_id", ""))
